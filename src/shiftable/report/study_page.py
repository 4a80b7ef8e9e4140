"""The page of a study: question, method, figures, tables, what they show, and what others found."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shiftable.engine import write_atomically
from shiftable.report import explain_sections
from shiftable.report.explain_figures import explain_figure
from shiftable.report.pages import render
from shiftable.report.study_drawings import drawing, words
from shiftable.studies.rows import estimate, grouped, said, those
from shiftable.studies.running import PICTURES, read_record
from shiftable.studies.study import Row, Study, Table

PAGE, FIGURES = "report.html", "figures"
SCALES = {
    "quick": "This is a quick run, which shows that the study works and little else: too few pictures, too little "
    "training. Run it without --quick for its result.",
}
"""What a reader must be told first, by scale."""


def write_study(study: Study, rows: Sequence[Row], folder: Path) -> Path:
    """Write the page of a study that was run in ``folder``, and its figures as PNG.

    Args:
        study: Which.
        rows: What it measured.
        folder: Where `studies.running.run_study` ran it.

    Returns:
        The page, ``report.html``.
    """
    told, record = study.tell(rows), read_record(folder)
    drawings = {figure.name: drawing(figure, rows, folder / PICTURES) for figure in told.figures}
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, each in drawings.items():
        write_atomically(folder / FIGURES / f"{name}.png", partial(explain_figure, each))
    content = {
        "study": study,
        "told": told,
        "pictures": {name: explain_sections.picture(each) for name, each in drawings.items()},
        "tables": [_table(table, rows) for table in told.tables],
        "note": SCALES.get(str(record["scale"])),
        "facts": _facts(record),
        "command": record.get("command"),
    }
    text = render("study.html", content)
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8"))
    return folder / PAGE


def write_index(studies: Sequence[tuple[Study, str]], out: Path) -> Path:
    """Write the page that leads to the studies beside it.

    Args:
        studies: Each with its answer; its page is in a folder of its name.
        out: The folder that holds theirs.
    """
    text = render("studies.html", {"studies": studies})
    write_atomically(out / "index.html", lambda draft: draft.write_text(text, "utf-8"))
    return out / "index.html"


def _table(table: Table, rows: Sequence[Row]) -> dict[str, Any]:
    found = []
    for key, group in grouped(those(rows if table.rows is None else table.rows, table.where), *table.by).items():
        cells = [said(estimate(group, name), name in table.percent) for name in table.columns]
        found.append(([words(value) for value in key], ["–" if cell.startswith("nan") else cell for cell in cells]))
    heads = [name.replace("_", " ") for name in table.by]
    return {"title": table.title, "heads": [*heads, *table.columns.values()], "rows": found}


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Terms and what they were."""
    machine = record.get("machine", {})
    return [
        ("Scale", str(record["scale"])),
        ("Seed", str(record["seed"])),
        ("Date", str(record["date"])),
        ("Machine", ", ".join(f"{name} {value}" for name, value in machine.items())),
        ("Versions", ", ".join(f"{name} {value}" for name, value in record.get("versions", {}).items())),
    ]
