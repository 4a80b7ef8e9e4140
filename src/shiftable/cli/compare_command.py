"""``shiftable compare``."""

from pathlib import Path
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of
from shiftable.cli.telling import tell


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders written by shiftable audit.")],
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("comparison"),
    format: options.Format = "text",
) -> None:
    """Put several audits side by side: stability raw, at matched accuracy and at matched margin."""
    one_of("--format", format, ("text", "json"))
    from shiftable.auditing import compare as compare_audits
    from shiftable.auditing import read_audit
    from shiftable.report import show_comparison, write_comparison

    found = compare_audits([read_audit(folder) for folder in folders])
    page = write_comparison(found, out)
    tell(found, format, lambda console: show_comparison(console, found, page))
