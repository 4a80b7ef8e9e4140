"""``shiftable study``."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.progress import shown_progress
from shiftable.errors import InputError, missing_extra, unknown


def study(
    name: Annotated[str | None, typer.Argument(help="The study's name, or all. Without one: a list.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: whether it works, not what is true.")] = False,
    full: Annotated[bool, typer.Option("--full", help="As large as a GPU allows.")] = False,
    shared: Annotated[
        Path | None, typer.Option(help="Folder with models/ and data/. [default: $SHIFTABLE_SHARED or ../shared]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: studies/NAME]")] = None,
    nets: Annotated[
        Path | None,
        typer.Option(help="Where trained nets are kept, and found again by other studies. [default: nets/ of --out]"),
    ] = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option(help="Delete another run in the folder.")] = False,
) -> None:
    """Run one of the paper's experiments or questions, and write its page.

    What is done is kept arm by arm: a study that was stopped goes on when it is started again.
    """
    if find_spec("torch") is None:
        raise missing_extra("torch", "torch")
    from shiftable.studies.menu import STUDIES

    if name is None:
        width = max(map(len, STUDIES))
        for each in STUDIES.values():
            typer.echo(f"{each.name:{width}}  {each.question}")
        return
    if name != "all" and name not in STUDIES:
        raise unknown("study", name, ["all", *STUDIES])
    if quick and full:
        raise InputError("a study is quick or full, not both", where="--quick --full", todo="leave one out")
    from shiftable import report
    from shiftable.engine import keep_freed_memory
    from shiftable.studies.running import find_shared, run_study
    from shiftable.studies.study import Scale

    keep_freed_memory()
    if threads:
        import torch

        torch.set_num_threads(threads)
    scale: Scale = "quick" if quick else "full" if full else "usual"
    ending = "-quick" if quick else "-full" if full else ""
    folder = out or Path("studies", name + ending)
    command = shlex.join(["shiftable", *sys.argv[1:]])
    chosen = list(STUDIES.values()) if name == "all" else [STUDIES[name]]
    told = []
    for each in chosen:
        place = folder / each.name if name == "all" else folder
        with shown_progress(f"arms of {each.name}") as progress:
            rows = run_study(
                each, place, scale=scale, shared=find_shared(shared), seed=seed, nets=nets or folder / "nets",
                overwrite=overwrite, command=command, progress=progress,
            )  # fmt: skip
        page = report.write_study(each, rows, place)
        found = each.tell(rows)
        told.append((each, found.answer))
        typer.echo(f"{each.question}\n{found.answer}")
        for finding in found.findings:
            typer.echo(f"- {finding}")
        typer.echo(f"page: {page}\n")
    if name == "all":
        typer.echo(f"all pages: {report.write_index(told, folder)}")
