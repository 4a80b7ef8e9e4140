"""Put the studies that were run into the docs: their pages, rows and records, and docs/paper/results.md.

    shiftable study all --out out/studies --threads 2      # hours on two cores; it goes on where it was stopped
    python scripts/publish_studies.py out/studies docs/paper

Pages are built again from the rows, so words may be mended without measuring anything.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from shiftable import report
from shiftable.studies.menu import STUDIES
from shiftable.studies.rows import read_rows
from shiftable.studies.running import RECORD, ROWS, read_record
from shiftable.studies.study import Row

HEAD = """# What came out

Made by `scripts/publish_studies.py` from the rows beside each page. In brackets 95 % intervals.
"""
LEFT_BEHIND = re.compile(r'<a href="figures/[^"]*">(.*?)</a>')
"""Links to what stays in the folder of results."""


def main() -> None:
    """Copy what is there, and say what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", type=Path, help="the --out of shiftable study all")
    parser.add_argument("pages", type=Path)
    options = parser.parse_args()
    parts = [HEAD]
    for name, study in STUDIES.items():
        folder, place = options.studies / name, options.pages / name
        if not (folder / ROWS).exists():
            print(f"{name}: not run, or not to its end")
            continue
        rows = read_rows(folder / ROWS)
        text = report.write_study(study, rows, folder).read_text("utf-8")
        place.mkdir(parents=True, exist_ok=True)
        (place / "report.html").write_text(LEFT_BEHIND.sub(r"\1", text), "utf-8")
        for file in (ROWS, RECORD):
            shutil.copy(folder / file, place / file)
        parts.append(_section(name, rows, read_record(folder)["command"]))
    (options.pages / "results.md").write_text("\n".join(parts), "utf-8")


def _section(name: str, rows: Sequence[Row], command: str) -> str:
    study, told = STUDIES[name], STUDIES[name].tell(rows)
    findings = "\n".join(f"- {finding}" for finding in told.findings)
    return (
        f"## {study.title}\n\n*{study.question}* [Page]({name}/report.html), [rows]({name}/rows.csv).\n\n"
        f"**{told.answer}**\n\n{findings}\n\n`{command}`\n"
    )


if __name__ == "__main__":
    main()
