"""The command line: parse, call library functions, show progress, print, choose the exit code."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftable.errors import InputError

if TYPE_CHECKING:
    from shiftable.auditing import Audit
    from shiftable.models import Model

DONE, UNUSABLE, STOPPED = 0, 2, 130

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def shiftable(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Audit how much a vision model's answer changes when the picture hardly does."""
    if version:
        from shiftable import __version__

        typer.echo(__version__)


@app.command()
def audit(
    model: Annotated[
        str, typer.Argument(help="demo, timm/NAME, torchvision/NAME, hf/ID or package.module:factory.")
    ] = "demo",
    images: Annotated[
        str | None,
        typer.Argument(help="An image, folder, CSV (file,class_index) or parquet; or shapes, drawn as needed."),
    ] = None,
    motion: Annotated[str, typer.Option(help="What moves: crop or roll.")] = "crop",
    walk: Annotated[str, typer.Option(help="Where to: sweep, pairs, random or grid.")] = "sweep",
    steps: Annotated[int | None, typer.Option(help="Views of a sweep, 1 px apart. [default: 33]")] = None,
    direction: Annotated[str | None, typer.Option(help="vertical, horizontal or diagonal. [default: by walk]")] = None,
    walks: Annotated[int | None, typer.Option(help="Walks per image, of pairs and random. [default: 4]")] = None,
    radius: Annotated[int | None, typer.Option(help="How far a grid reaches, in px. [default: 3]")] = None,
    labels: Annotated[str | None, typer.Option(help="CSV with file,class_index.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. [default: audits/MODEL-MOTION-WALK]")
    ] = None,
    count: Annotated[int | None, typer.Option("--images", min=1, help="Only the first N images.")] = None,
    weights: Annotated[str | None, typer.Option(help="Checkpoint to load: .safetensors, or weights-only .pt.")] = None,
    model_arg: Annotated[
        list[str] | None, typer.Option(help="key=value for the model's factory; may be repeated.")
    ] = None,
    preprocessing: Annotated[
        str | None, typer.Option(help="JSON file, or 'field=value;…': resize_px, resampler, mean, std, view_size, …")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(help="What the model answers: logits, probabilities or sigmoid.")
    ] = None,
    class_names: Annotated[Path | None, typer.Option(help="Text file, one class name per line.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. [default: an accelerator if any]")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the model on a CPU.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Views at once. [default: by device]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at once.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 0,
    controls: Annotated[bool, typer.Option(help="Also show what is no motion: still, ±1 grey level, JPEG 95.")] = True,
    enlarge: Annotated[bool, typer.Option(help="Enlarge images where the walk would leave them.")] = True,
    fast: Annotated[bool, typer.Option(help="Faster layout and folded norms, where the answers stay the same.")] = True,
    strict: Annotated[
        bool, typer.Option(help="Stop at an image that can't be used, instead of leaving it out.")
    ] = False,
    keep_scores: Annotated[bool, typer.Option(help="Keep the model's full answers in the table.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Delete another audit in the folder.")] = False,
    format: Annotated[str, typer.Option(help="What to print: text or json.")] = "text",
) -> None:
    """Show a model its images a pixel apart, and count how often it changes its mind.

    Without arguments: the embedded demo model on drawn shapes. A stopped audit goes on when it is started again.
    """
    if format not in ("text", "json"):
        raise InputError(f"unknown format {format!r}", where="--format", todo="take text or json")
    if images is None and model != "demo":
        raise InputError("no images given", todo=f"shiftable audit {model} FOLDER")
    from shiftable.auditing import audit as run_audit
    from shiftable.engine import keep_freed_memory
    from shiftable.report import write_report

    keep_freed_memory()
    folder = out or Path("audits", "-".join([re.sub(r"\W+", "_", model.rpartition("/")[2]), motion, walk]))
    opened = _open(model, folder, weights, model_arg or [], preprocessing, scores, class_names, device, threads, fast)
    with _progress() as progress:
        found = run_audit(
            opened,
            images or "shapes",
            motion=motion,
            walk=walk,
            steps=steps,
            direction=direction,
            walks=walks,
            radius_px=radius,
            labels=labels,
            metrics=metric,
            controls=controls,
            enlarge=enlarge,
            count=count,
            seed=seed,
            out=folder,
            overwrite=overwrite,
            strict=strict,
            keep_scores=keep_scores,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
        )
    page = write_report(found, class_names=opened.class_names)
    if format == "json":
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        _print(found, page)


def _open(
    model: str,
    folder: Path,
    weights: str | None,
    model_args: list[str],
    preprocessing: str | None,
    scores: str | None,
    class_names: Path | None,
    device: str | None,
    threads: int | None,
    fast: bool,
) -> "Model":
    from shiftable.auditing.record import read_run
    from shiftable.models import open_model
    from shiftable.models.preprocessing import parse_changes, parse_value

    if scores not in (None, "logits", "probabilities", "sigmoid"):
        raise InputError(f"unknown scores {scores!r}", where="--scores", todo="take logits, probabilities or sigmoid")
    begun = (read_run(folder) or {}).get("settings", {})  # a run that goes on keeps to what it was begun with
    _use_threads(threads or begun.get("threads"))
    pairs = [argument.partition("=") for argument in model_args]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"{wrong[0]!r} has no value", where="--model-arg", todo="write key=value")
    return open_model(
        model,
        weights=weights,
        model_args={name: parse_value(value) for name, _, value in pairs},
        preprocessing=parse_changes(preprocessing) if preprocessing else None,
        scores=scores,  # type: ignore[arg-type]
        class_names=_lines(class_names) if class_names else None,
        device=device or begun.get("device"),
        fast=fast,
    )


def _use_threads(threads: int | None) -> None:
    from importlib.util import find_spec

    if threads and find_spec("torch"):
        import torch

        torch.set_num_threads(threads)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't be read ({error})", where=path, todo="give a text file, one name per line") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a plain line every few seconds elsewhere. On stderr: stdout is for results."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress()
        return
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("images", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress(every_s: float = 10) -> Callable[[int, int], None]:
    begin = last = time.monotonic()
    first: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = done  # what an earlier run had done already took none of this one's time
            if done:
                print(f"going on after {done} of {total} images", file=sys.stderr, flush=True)  # noqa: T201
        if now - last >= every_s and done > first:
            last = now
            left_s = (now - begin) / (done - first) * (total - done)
            print(f"{done} of {total} images, about {left_s:.0f} s left", file=sys.stderr, flush=True)  # noqa: T201

    return show


def _print(found: "Audit", page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table("metric", "value", "95 % interval", "images", "pairs", box=None, pad_edge=False)
    for name, each in found.metrics.items():
        table.add_row(name, *_numbers(each))
    for control, metrics in found.controls.items():
        for name, each in metrics.items():
            table.add_row(f"[dim]{control}: {name}[/]", *_numbers(each))
    console.print(table)
    for warning in found.warnings:
        console.print(f"[bold]note:[/] {warning}", markup=True)
    console.print(f"report: {page}", markup=False)


def _numbers(estimate: Any) -> tuple[str, str, str, str]:
    interval = f"{estimate.low:.4f} to {estimate.high:.4f}" if estimate.low == estimate.low else "–"
    return f"{estimate.value:.4f}", interval, str(estimate.images), str(estimate.pairs)


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
