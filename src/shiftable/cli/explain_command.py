"""``shiftable explain``."""

from pathlib import Path
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of, open_asked, short_name
from shiftable.cli.progress import shown_progress
from shiftable.cli.telling import tell
from shiftable.errors import InputError


def explain(
    model: options.Model = "demo",
    images: Annotated[
        str | None, typer.Argument(help="An image, folder, CSV (file,class_index) or parquet; shapes, drawn as needed.")
    ] = None,
    count: Annotated[int, typer.Option("--images", min=2, help="Only the first N images.")] = 32,
    steps: Annotated[int | None, typer.Option(min=3, help="Views of each image, one px apart. [default: 33]")] = None,
    direction: Annotated[str, typer.Option(help="Which way they move: horizontal or vertical.")] = "horizontal",
    layer: Annotated[
        list[str] | None, typer.Option(help="Look at this layer's responses; may be repeated. [default: by depth]")
    ] = None,
    dense: Annotated[
        int, typer.Option(min=0, help="Images whose answer to every shift in both directions is worked out.")
    ] = 2,
    interventions: Annotated[
        bool, typer.Option(help="Blur each site in turn and measure again: which one is to blame? Takes longer.")
    ] = False,
    pairs: Annotated[
        int, typer.Option(min=0, help="Blur each two of the N best sites together, too. Includes --interventions.")
    ] = 0,
    labels: Annotated[str | None, typer.Option(help="CSV with file,class_index: what does a blur cost?")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Folder of another net's diagnosis, to be drawn beside; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: explained/MODEL]")] = None,
    weights: options.Weights = None,
    model_arg: options.ModelArg = None,
    preprocessing: options.Preprocessing = None,
    scores: options.Scores = None,
    class_offset: options.ClassOffset = None,
    class_names: options.ClassNames = None,
    device: options.Device = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option(help="Delete another diagnosis in the folder.")] = False,
    format: options.Format = "text",
) -> None:
    """Find out why a model's answer moves with the picture, and which layer is to blame.

    Looks into any PyTorch net; of ONNX, TFLite and HTTP models it tells what their answers alone give away. Without
    arguments: the embedded demo model on drawn shapes.
    """
    one_of("--format", format, ("text", "json"))
    one_of("--direction", direction, ("horizontal", "vertical"))
    if images is None and model != "demo":
        raise InputError("no images given", todo="name a folder after the model")
    from shiftable import explaining, report
    from shiftable.engine import keep_freed_memory

    keep_freed_memory()
    folder = out or Path("explained", short_name(model))
    others = [report.read_beside(each) for each in beside or []]  # a slip is better told before the work
    report.claim_folder(folder, overwrite)
    opened = open_asked(
        model,
        None,
        model_args=model_arg,
        preprocessing=preprocessing,
        class_names=class_names,
        device=device,
        threads=threads,
        weights=weights,
        scores=scores,
        class_offset=class_offset,
    )
    with shown_progress("steps") as progress:
        found = explaining.explain(
            opened,
            images or "shapes",
            count=count,
            steps=steps,
            direction=direction,
            layers=layer or None,
            dense=dense,
            interventions=interventions or pairs > 0,
            pairs=pairs,
            labels=labels,
            seed=seed,
            progress=progress,
        )
    page = report.write_diagnosis(found, folder, beside=others)
    tell(found, format, lambda console: report.show_diagnosis(console, found, page))
