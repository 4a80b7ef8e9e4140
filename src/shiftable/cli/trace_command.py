"""``shiftable trace``."""

from pathlib import Path
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of, open_asked, short_name
from shiftable.cli.telling import tell


def trace(
    model: options.Model,
    source: Annotated[str, typer.Argument(metavar="IMAGE|VIDEO", help="An image, or a video.")],
    motion: Annotated[
        list[str] | None,
        typer.Option(
            help="What moves: crop, camera, canvas, roll, subpixel, scale, rotate, video; may be repeated. "
            "[default: crop, scale and rotate of an image]"
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Views of an image, one step apart. [default: 33]")] = None,
    direction: options.Direction = None,
    step: options.Step = None,
    on: options.On = None,
    fill: options.Fill = None,
    size: options.Size = None,
    canvas_size: options.CanvasSize = None,
    start: Annotated[float, typer.Option(min=0, help="Where in a video to begin, in s.")] = 0.0,
    frames: Annotated[int | None, typer.Option(min=2, help="How many frames of it, at most 600. [default: 60]")] = None,
    label: Annotated[int | None, typer.Option(min=0, help="The right class, to be drawn as well.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="At most so many lines.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Folder for the page. [default: traces/MODEL-IMAGE]")] = None,
    weights: options.Weights = None,
    model_arg: options.ModelArg = None,
    preprocessing: options.Preprocessing = None,
    scores: options.Scores = None,
    class_offset: options.ClassOffset = None,
    class_names: options.ClassNames = None,
    device: options.Device = None,
    threads: options.Threads = None,
    runtime: options.Runtime = "torch",
    enlarge: options.Enlarge = True,
    seed: options.Seed = 0,
    format: options.Format = "text",
) -> None:
    """Follow one image, or one video, step by step: its views, and the probability of the leading classes."""
    one_of("--format", format, ("text", "json"))
    from shiftable import auditing, report

    folder = out or Path("traces", f"{short_name(model)}-{short_name(Path(source).stem)}")
    opened = open_asked(
        model,
        None,
        model_args=model_arg,
        preprocessing=preprocessing,
        class_names=class_names,
        device=device,
        threads=threads,
        runtime=runtime,
        weights=weights,
        scores=scores,
        class_offset=class_offset,
    )
    found = auditing.trace(
        opened,
        source,
        motion=motion or None,
        steps=steps,
        direction=direction,
        step=step,
        on=on,
        fill=fill,
        size_px=size,
        canvas_px=canvas_size,
        label=label,
        classes=classes,
        start_s=start,
        frames=frames,
        enlarge=enlarge,
        seed=seed,
    )
    page = report.write_trace(found, folder)
    tell(found, format, lambda console: report.show_trace(console, found, page))
