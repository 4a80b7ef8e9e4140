"""``shiftable audit``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of, open_asked, short_name
from shiftable.cli.progress import shown_progress
from shiftable.cli.telling import tell
from shiftable.errors import InputError


def audit(
    model: options.Model = "demo",
    images: Annotated[
        str | None,
        typer.Argument(
            help="An image, folder, CSV (file,class_index) or parquet; shapes, drawn as needed; a video or a folder of "
            "them for --motion video."
        ),
    ] = None,
    motion: Annotated[
        str | None,
        typer.Option(
            help="What moves: crop, camera, canvas, roll, keep-box, subpixel, scale, rotate or video. "
            "[default: crop; camera for --parity]"
        ),
    ] = None,
    step: options.Step = None,
    on: options.On = None,
    fill: options.Fill = None,
    size: options.Size = None,
    canvas_size: options.CanvasSize = None,
    boxes: Annotated[
        str | None, typer.Option(help="For keep-box: VOC or ImageNet XML (file or folder), COCO JSON, or CSV.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="For keep-box: slide over the resized image or the source. [default: resized]")
    ] = None,
    walk: Annotated[
        str | None, typer.Option(help="Where to: sweep, pairs, random or grid. [default: sweep; pairs for --parity]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Views of a sweep, one step apart. [default: 33]")] = None,
    direction: options.Direction = None,
    walks: Annotated[int | None, typer.Option(help="Walks per image, of pairs and random. [default: 4]")] = None,
    radius: Annotated[int | None, typer.Option(help="How far a grid reaches, in steps. [default: 3]")] = None,
    labels: Annotated[str | None, typer.Option(help="CSV with file,class_index.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. [default: audits/MODEL-MOTION-WALK]")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--images", min=1, help="Only the first N images; the first N frames of a video.")
    ] = None,
    weights: options.Weights = None,
    model_arg: options.ModelArg = None,
    preprocessing: options.Preprocessing = None,
    scores: options.Scores = None,
    class_offset: options.ClassOffset = None,
    task: Annotated[
        str, typer.Option(help="What the model does: classify, embed, detect, segment or keypoints.")
    ] = "classify",
    decoder: Annotated[
        str | None,
        typer.Option(help="package.module:function or FILE.py:function that makes boxes, points or masks of outputs."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From which score on a sigmoid's class is named. [default: 0.5]")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="From which score on an object or point is seen. [default: 0.5]")
    ] = None,
    match_threshold: Annotated[
        float | None, typer.Option(help="Down to which score it is searched in the next view. [default: 0.3]")
    ] = None,
    class_names: options.ClassNames = None,
    device: options.Device = None,
    threads: options.Threads = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Views at once. [default: by device]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at once.")] = 2,
    seed: options.Seed = 0,
    controls: Annotated[
        bool | None,
        typer.Option(help="Also show what is no motion: still, ±1 grey level, JPEG 95. [default: but for --parity]"),
    ] = None,
    enlarge: options.Enlarge = True,
    runtime: options.Runtime = "torch",
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
    format: options.Format = "text",
) -> None:
    """Show a model its images a step apart, and count how often it changes its mind.

    Without arguments: the embedded demo model on drawn shapes. A stopped audit goes on when it is started again.
    """
    one_of("--format", format, ("text", "json"))
    if images is None and model != "demo":
        raise InputError("no images given", todo="name a folder after the model")
    from shiftable import auditing as audits
    from shiftable import report
    from shiftable.auditing.feeding.variants import open_against
    from shiftable.engine import keep_freed_memory

    keep_freed_memory()
    if against and not parity:
        raise InputError("--against is for --parity", todo="add --parity, or leave it out")
    motion = motion or ("camera" if parity else "crop")
    walk = walk or (None if motion == "video" else "pairs" if parity else "sweep")
    how = "parity" if parity else "-".join(name for name in (motion, walk) if name)
    folder = out or Path("audits", f"{short_name(model)}-{how}")
    asked: dict[str, Any] = {
        "motion": motion, "step": step, "on": on, "fill": fill, "size_px": size, "canvas_px": canvas_size,
        "boxes": boxes, "at": at, "walk": walk, "steps": steps, "direction": direction, "walks": walks,
        "radius_px": radius,
    }  # fmt: skip
    _check(asked)  # a slip is better told before a model is opened
    opened = open_asked(
        model,
        folder / "reference" if parity else folder,
        model_args=model_arg,
        preprocessing=preprocessing,
        class_names=class_names,
        device=device,
        threads=threads,
        runtime=runtime,
        overwrite=overwrite,
        weights=weights,
        scores=scores,
        class_offset=class_offset,
        task=task,
        decoder=decoder,
        fast=fast,
        precision=precision,
        compile=compile,
    )
    with shown_progress("frames" if motion == "video" else "images") as progress:
        run: Any = audits.audit
        if parity:
            others = open_against(against or [], opened, device=device, threads=threads)
            run = partial(audits.parity, against=others)
        found = run(
            opened,
            images or "shapes",
            **asked,
            threshold=threshold,
            score_threshold=score_threshold,
            match_threshold=match_threshold,
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
    if parity:
        page = report.write_parity(found)
        tell(found, format, lambda console: report.show_parity(console, found, page))
    else:
        page = report.write_report(found, class_names=opened.class_names, model=opened)
        tell(found, format, lambda console: report.show_audit(console, found, page))


def _check(asked: dict[str, Any]) -> None:
    """Raises InputError for motions, walks and options that don't go together."""
    from shiftable.auditing.motions import MOTIONS, make_motion
    from shiftable.auditing.showing import refuse_grid
    from shiftable.auditing.videos.audit import refuse_options
    from shiftable.auditing.walks import make_walk

    if asked["motion"] == "video":
        refuse_options(**{option: value for option, value in asked.items() if option != "motion"})
        return
    where = {option: asked[option] for option in ("steps", "direction", "walks", "radius_px")}
    how = {name: value for name, value in asked.items() if name not in ("motion", "walk", "boxes", *where)}
    moving = make_motion(asked["motion"], **how)
    refuse_grid(moving, make_walk(asked["walk"], axes=moving.axes, **where))
    if asked["boxes"] and not moving.needs_boxes:
        needing = " or ".join(name for name, each in MOTIONS.items() if each.needs_boxes)
        raise InputError(f"{moving.name} uses no boxes", where="--boxes", todo=f"it is for --motion {needing}")
