"""The command line: parse, call library functions, show progress, print, choose the exit code."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiftable.errors import InputError

if TYPE_CHECKING:
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
        str,
        typer.Argument(
            help="demo, timm/NAME, torchvision/NAME, hf/ID, package.module:factory, "
            "a .onnx, .tflite or .pt2 file, or http(s)://…"
        ),
    ] = "demo",
    images: Annotated[
        str | None,
        typer.Argument(help="An image, folder, CSV (file,class_index) or parquet; or shapes, drawn as needed."),
    ] = None,
    motion: Annotated[
        str | None, typer.Option(help="What moves: crop, camera, canvas or roll. [default: crop; camera for --parity]")
    ] = None,
    fill: Annotated[
        str | None, typer.Option(help="Round the picture on a canvas: black, mean, noise or inpaint. [default: black]")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Short side of the picture on a canvas, in px. [default: 100 of 224]")
    ] = None,
    canvas_size: Annotated[int | None, typer.Option(help="Side of the canvas, in px. [default: the view's]")] = None,
    walk: Annotated[
        str | None, typer.Option(help="Where to: sweep, pairs, random or grid. [default: sweep; pairs for --parity]")
    ] = None,
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
    class_offset: Annotated[
        int | None, typer.Option(min=0, help="First outputs that are no classes: 1 with a background class.")
    ] = None,
    task: Annotated[str, typer.Option(help="What the model does: classify or embed.")] = "classify",
    threshold: Annotated[
        float | None, typer.Option(help="From which score on a sigmoid's class is named. [default: 0.5]")
    ] = None,
    class_names: Annotated[Path | None, typer.Option(help="Text file, one class name per line.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. [default: an accelerator if any]")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the model on a CPU.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Views at once. [default: by device]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at once.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 0,
    controls: Annotated[
        bool | None,
        typer.Option(help="Also show what is no motion: still, ±1 grey level, JPEG 95. [default: but for --parity]"),
    ] = None,
    enlarge: Annotated[bool, typer.Option(help="Enlarge images where the walk would leave them.")] = True,
    runtime: Annotated[
        str, typer.Option(help="What answers for a PyTorch model: torch, onnx, openvino, or auto (the fastest).")
    ] = "torch",
    precision: Annotated[str, typer.Option(help="fp32, or bf16 with near ties answered again in fp32.")] = "fp32",
    compile: Annotated[bool, typer.Option(help="Use torch.compile; near ties are answered again without.")] = False,
    fast: Annotated[bool, typer.Option(help="Faster layout and folded norms, where the answers stay the same.")] = True,
    parity: Annotated[
        bool, typer.Option(help="Feed the model in other ways, too: which answers change, still and under shift?")
    ] = False,
    against: Annotated[
        list[str] | None, typer.Option(help="For --parity: another file of the model, an export; may be repeated.")
    ] = None,
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
    _one_of("--format", format, ("text", "json"))
    if images is None and model != "demo":
        raise InputError("no images given", todo="name a folder after the model")
    from shiftable import auditing as audits
    from shiftable import report
    from shiftable.auditing.motions import make_motion
    from shiftable.auditing.variants import open_against
    from shiftable.auditing.walks import make_walk
    from shiftable.engine import keep_freed_memory

    keep_freed_memory()
    if against and not parity:
        raise InputError("--against is for --parity", todo="add --parity, or leave it out")
    motion, walk = motion or ("camera" if parity else "crop"), walk or ("pairs" if parity else "sweep")
    folder = out or Path("audits", "-".join([_short_name(model), *(["parity"] if parity else [motion, walk])]))
    given: dict[str, Any] = {"fill": fill, "size_px": size, "canvas_px": canvas_size}
    where: dict[str, Any] = {"steps": steps, "direction": direction, "walks": walks, "radius_px": radius}
    make_motion(motion, **given)  # a slip is better told before a model is opened
    make_walk(walk, **where)
    opened = _open(
        model,
        folder / "reference" if parity else folder,
        model_args=model_arg or [],
        preprocessing=preprocessing,
        class_names=class_names,
        device=device,
        threads=threads,
        runtime=runtime,
        overwrite=overwrite,
        weights=weights,
        scores=_one_of("--scores", scores, (None, "logits", "probabilities", "sigmoid")),
        class_offset=class_offset,
        task=_one_of("--task", task, ("classify", "embed")),
        fast=fast,
        precision=_one_of("--precision", precision, ("fp32", "bf16")),
        compile=compile,
    )
    with _progress() as progress:
        run: Any = audits.audit
        if parity:
            others = open_against(against or [], opened, device=device, threads=threads)
            run = partial(audits.parity, against=others)
        found = run(
            opened,
            images or "shapes",
            motion=motion,
            walk=walk,
            **given,
            **where,
            threshold=threshold,
            labels=labels,
            metrics=metric,
            controls=not parity if controls is None else controls,
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
    page = report.write_parity(found) if parity else report.write_report(found, class_names=opened.class_names)
    _tell(found, page, format)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders written by shiftable audit.")],
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("comparison"),
    format: Annotated[str, typer.Option(help="What to print: text or json.")] = "text",
) -> None:
    """Put several audits side by side: stability raw, at matched accuracy and at matched margin."""
    _one_of("--format", format, ("text", "json"))
    from shiftable.auditing import compare as compare_audits
    from shiftable.auditing import read_audit
    from shiftable.report import write_comparison

    found = compare_audits([read_audit(folder) for folder in folders])
    _tell(found, write_comparison(found, out), format)


def _tell(found: Any, page: Path, format: str) -> None:
    """Print a result."""
    if format == "json":
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    from shiftable.report import terminal

    show: dict[str, Any] = {
        "Audit": terminal.show_audit,
        "Comparison": terminal.show_comparison,
        "Parity": terminal.show_parity,
    }
    width = None if sys.stdout.isatty() else 200  # a file has no width, and numbers cut short are no use in it
    show[type(found).__name__](Console(highlight=False, soft_wrap=True, width=width), found, page)


def _short_name(model: str) -> str:
    """A model's name as a folder may be called; of an address neither the user nor the query, which may be secret."""
    if "://" in model:
        from shiftable.models.http_settings import without_secrets

        model = without_secrets(model).partition("://")[2].partition("?")[0].rstrip("/")
    return re.sub(r"\W+", "_", model if "/" not in model else model.rpartition("/")[2] or model)


def _one_of(flag: str, value: str | None, choices: tuple[str | None, ...]) -> Any:
    """The value, if it is on the list."""
    if value not in choices:
        menu = " or ".join(choice for choice in choices if choice)
        raise InputError(f"unknown {flag.removeprefix('--')} {value!r}", where=flag, todo=f"take {menu}")
    return value


def _open(
    model: str,
    folder: Path,
    *,
    model_args: list[str],
    preprocessing: str | None,
    class_names: Path | None,
    device: str | None,
    threads: int | None,
    runtime: str,
    overwrite: bool,
    **options: Any,
) -> "Model":
    from shiftable.auditing.record import read_run
    from shiftable.models import open_model
    from shiftable.models.opening import ARTEFACTS
    from shiftable.models.preprocessing import parse_changes, parse_value

    _one_of("--runtime", runtime, ("torch", "onnx", "openvino", "auto"))
    # a run that goes on keeps to what it was begun with
    begun = {} if overwrite else (read_run(folder) or {}).get("settings", {})
    threads = threads or begun.get("threads")
    if not any(re.fullmatch(pattern, model) for pattern, _ in ARTEFACTS.values()):
        _use_threads(threads)  # PyTorch's are the process's
    pairs = [argument.partition("=") for argument in model_args]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"{wrong[0]!r} has no value", where="--model-arg", todo="write key=value")
    return open_model(
        model,
        model_args={name: parse_value(value) for name, _, value in pairs},
        preprocessing=parse_changes(preprocessing) if preprocessing else None,
        class_names=_lines(class_names) if class_names else None,
        device=device or begun.get("device"),
        threads=threads,
        runtime=begun.get("runtime", runtime) if runtime == "auto" else runtime,  # type: ignore[arg-type]
        **options,
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
