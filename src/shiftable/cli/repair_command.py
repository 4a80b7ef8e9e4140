"""``shiftable repair``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of, open_asked, short_name
from shiftable.cli.progress import shown_progress
from shiftable.cli.telling import tell
from shiftable.errors import InputError

BUDGET, DEMO_BUDGET = 1.1, 2.0


def repair(
    model: options.Model = "demo",
    images: Annotated[
        str | None,
        typer.Argument(help="A folder, CSV (file,class_index) or parquet of images; shapes, drawn as needed."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="How long an answer may take, times what it takes now. [default: 1.1; demo: 2]")
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(help="Share of images that the repaired net must answer as the original does.")
    ] = 0.9,
    max_accuracy_loss: Annotated[
        float, typer.Option(help="How much accuracy it may cost, 0 to 1, where labels are known.")
    ] = 0.02,
    motion: Annotated[str, typer.Option(help="What moves: crop or camera.")] = "crop",
    walk: Annotated[str, typer.Option(help="Where to: pairs or sweep.")] = "pairs",
    walks: Annotated[int | None, typer.Option(help="Pairs per image. [default: 8]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="CSV with file,class_index: what does it cost in accuracy?")
    ] = None,
    finetune: Annotated[
        int, typer.Option(min=0, help="Also tune the blurred net, without labels, for so many steps. Takes longer.")
    ] = 0,
    tune_images: Annotated[str | None, typer.Option(help="Images to tune on. [default: a third of the images]")] = None,
    polyphase: Annotated[
        bool, typer.Option(help="Also propose adaptive polyphase sampling, exact for circular padding.")
    ] = False,
    video: Annotated[str | None, typer.Option(help="A video, or a folder of them, to be shown to both models.")] = None,
    export: Annotated[
        list[str] | None, typer.Option(help="Also write it as onnx or pt2, and audit that again; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan of every site and the candidates, and measure nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: repaired/MODEL]")] = None,
    count: Annotated[int, typer.Option("--images", min=2, help="Only the first N images.")] = 200,
    weights: options.Weights = None,
    model_arg: options.ModelArg = None,
    preprocessing: options.Preprocessing = None,
    scores: options.Scores = None,
    class_offset: options.ClassOffset = None,
    class_names: options.ClassNames = None,
    device: options.Device = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option(help="Delete another repair in the folder.")] = False,
    format: options.Format = "text",
) -> None:
    """Make a model's answers hold still when the picture moves, within a budget of time, and prove it.

    Measures a crop chosen by content, averages over phases and, of PyTorch nets, surgery; adds up what helps; audits
    before and after on other images. A stopped repair goes on when it is started again. Without arguments: the embedded
    demo model on drawn shapes.
    """
    one_of("--format", format, ("text", "json"))
    if images is None and model != "demo" and not dry_run:
        raise InputError("no images given", todo="name a folder after the model")
    from shiftable import report
    from shiftable.data import find_samples
    from shiftable.engine import keep_freed_memory
    from shiftable.repairing.proposing import propose, room_of
    from shiftable.repairing.repair import repair as repair_model

    keep_freed_memory()
    if budget is None:  # beside the demo's millisecond, choosing a crop takes long
        budget = DEMO_BUDGET if model == "demo" else BUDGET
    folder = out or Path("repaired", short_name(model))
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
    if dry_run:
        shown = find_samples(images or "shapes", count) if images or model == "demo" else []
        proposed = propose(opened, shown, room_of(opened), budget, polyphase=polyphase)
        tell(proposed, format, lambda console: report.show_proposed(console, proposed))
        return
    asked: dict[str, Any] = {
        "min_agreement": min_agreement, "max_accuracy_loss": max_accuracy_loss, "motion": motion, "walk": walk,
        "walks": walks, "labels": labels, "finetune": finetune, "tune_images": tune_images, "polyphase": polyphase,
        "video": video, "export": export or (), "count": count, "seed": seed, "overwrite": overwrite,
    }  # fmt: skip
    with shown_progress("images") as progress:
        _, found = repair_model(opened, images or "shapes", budget, **asked, out=folder, progress=progress)
    page = report.write_repair(found, class_names=opened.class_names, samples=find_samples(images or "shapes", count))
    tell(found, format, lambda console: report.show_repair(console, found, page))
