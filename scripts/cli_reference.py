"""Write docs/cli.md from the command line's own help.

python scripts/cli_reference.py            # --check only says whether it is up to date
"""

import argparse
import sys
from pathlib import Path

import typer

from shiftable.cli import app

PAGE = Path("docs/cli.md")


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is not up to date")
    options = parser.parse_args()
    text = reference()
    if options.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE} is not up to date: run python {sys.argv[0]}")
        return
    PAGE.write_text(text, encoding="utf-8")


def reference() -> str:
    """The page: every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line", "", "Every command says the same with `--help`. Exit codes: 0 done, 1 the gate says no, "
             "2 the input can't be used (one line on stderr: what, where, what to do next)."]  # fmt: skip
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        parts += ["", f"## shiftable {name}", "", (command.help or "").strip(), "",
                  f"```\nshiftable {name} {usage}\n```", "", "| option | |", "|---|---|"]  # fmt: skip
        for each in command.params:
            record = each.get_help_record(context)
            if record is None:
                record = (each.human_readable_name, getattr(each, "help", "") or "")
            names, words = (" ".join(str(part).split()).replace("|", "\\|") for part in record)
            words = words.replace("<", "&lt;").replace("[", "\\[")
            parts.append(f"| `{names}` | {words} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
