"""Results on stdout: as text for people, as JSON for programs."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def tell(found: Any, format: str, show: "Callable[[Console], None]") -> None:
    """Print a result.

    Args:
        found: Has ``to_json``.
        format: ``"text"`` or ``"json"``.
        show: Puts it on a console as text.
    """
    if format == "json":
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200  # a file has no width, and numbers cut short are no use in it
    show(Console(highlight=False, soft_wrap=True, width=width))
