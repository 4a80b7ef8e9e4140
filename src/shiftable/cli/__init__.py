"""The command line: parse, call library functions, show progress, print, choose the exit code."""

import sys
from typing import Annotated

import typer

from shiftable.cli.audit_command import audit
from shiftable.cli.bias_command import bias
from shiftable.cli.compare_command import compare
from shiftable.cli.explain_command import explain
from shiftable.cli.repair_command import repair
from shiftable.cli.study_command import study
from shiftable.cli.tiles_command import tiles
from shiftable.cli.trace_command import trace
from shiftable.errors import InputError

DONE, UNUSABLE, STOPPED = 0, 2, 130

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (audit, trace, compare, explain, repair, tiles, bias, study):
    app.command()(command)


@app.callback(invoke_without_command=True)
def shiftable(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Audit how much a vision model's answer changes when the picture hardly does, and find out why."""
    if version:
        from shiftable import __version__

        typer.echo(__version__)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0: done. 2: the input can't be used; one line on stderr says what, where, and what to do next.
    """
    command = typer.main.get_command(app)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return command.main(arguments or ["--help"], prog_name="shiftable", standalone_mode=False) or DONE
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on from here", STOPPED)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of Click's, wherever Typer keeps its Click
            return _fail(f"{error.format_message()} See shiftable --help.")
        if type(error).__name__ == "Abort":
            return _fail("stopped; the same command goes on from here", STOPPED)
        raise


def _fail(message: str, code: int = UNUSABLE) -> int:
    print(f"shiftable: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code
