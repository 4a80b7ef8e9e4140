"""The audit: how often a model changes its mind when the picture moves by one pixel."""

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from shiftable.auditing.asking import answer_shard, checked_scores, tabulate_scores, write_scores
from shiftable.auditing.motions import make_motion, motion_remarks
from shiftable.auditing.motions.floors import interpolation_floor
from shiftable.auditing.objects.tasks import PLACED, check_windows, clear_drafts, gathered, write_tables
from shiftable.auditing.predictions import read_skipped
from shiftable.auditing.preparing import Boxes, Labels, Prepared, describe, find_images, prepare
from shiftable.auditing.rechecking import first_views, rechecked
from shiftable.auditing.record import AUDIT, RUN, discard, start_run, write_json
from shiftable.auditing.results import Audit, sum_up
from shiftable.auditing.retrieval import gather_references, tabulate_neighbours
from shiftable.auditing.showing import Show, Shown, show_or_say
from shiftable.auditing.videos.audit import audit_video, refuse_options
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample
from shiftable.data.video import Video
from shiftable.engine import run_shards
from shiftable.errors import InputError
from shiftable.models import Model, open_model


def audit(
    model: Model | str,
    images: str | Path | Sequence[Sample] | Sequence[Video],
    *,
    motion: str = "crop",
    step: float | None = None,
    on: str | None = None,
    fill: str | None = None,
    size_px: int | None = None,
    canvas_px: int | None = None,
    boxes: Boxes = None,
    at: str | None = None,
    walk: str | None = None,
    steps: int | None = None,
    direction: str | None = None,
    walks: int | None = None,
    radius_px: int | None = None,
    labels: Labels = None,
    threshold: float | None = None,
    score_threshold: float | None = None,
    match_threshold: float | None = None,
    metrics: Sequence[str] | None = None,
    controls: bool = True,
    enlarge: bool = True,
    count: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    keep_scores: bool = False,
    batch_size: int | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Show a model its images again and again, a pixel apart, and count how often it changes its mind.

    An audit that was stopped goes on when it is started again with the same arguments, and ends in the same
    ``audit.json``.

    Args:
        model: An open model, or a name for `open_model`.
        images: As `find_samples` takes them, or samples.
        motion: What moves: one of ``MOTIONS``, the next seven being options of some, see there; or ``"video"``: the
            images are videos, see `audit_video`.
        step: How far a step goes, of motions that don't go by whole pixels.
        on: What such a motion moves.
        fill: What surrounds the picture on a canvas: black, mean, noise or inpaint.
        size_px: The short side of the picture on a canvas.
        canvas_px: The canvas's side; the model's view if None.
        boxes: Where the objects are, as `read_boxes` takes it or gives it, for the motion that keeps them in view.
        at: What that motion slides over: ``"resized"``, or ``"source"`` for the original pixels.
        walk: Where to: one of ``SHAPES``, None taking a sweep; the next four are its options, see `make_walk`.
        steps: Views of a sweep.
        direction: Which way a step goes.
        walks: Walks per image.
        radius_px: How far a grid reaches.
        labels: A CSV with ``file,class_index``, or a mapping of ids to classes. Most metrics need none.
        threshold: From which score on a class of a sigmoid model counts as named; None takes 0.5.
        score_threshold: From which score on a detector's object or a key point counts as seen; None takes 0.5.
        match_threshold: From which score on a detector's object, seen a step before, counts as still there; None takes
            0.3.
        metrics: The ones wanted; None takes all that are defined.
        controls: Also show what is no motion: the same view, one grey level more or less, JPEG quality 95.
        enlarge: Whether images may be enlarged where the model leaves too little room for the walk.
        count: Only the first so many images.
        seed: Of everything drawn at random.
        out: The folder to write to; None writes to a temporary one, which goes when the result does.
        overwrite: Delete another audit that is in the folder.
        strict: Stop at an image that can't be used, instead of leaving it out.
        keep_scores: Keep the model's full answers in the table, as float16.
        batch_size: Views at once; None takes the model's own.
        workers: Images decoded at once.
        progress: Told (images done, images in all).

    Raises:
        InputError: If anything of this can't be used. What was done so far is kept, and taken up again.
    """
    if motion == "video":
        refuse_options(
            step=step, on=on, fill=fill, size_px=size_px, canvas_px=canvas_px, boxes=boxes, at=at, walk=walk,
            steps=steps, direction=direction, walks=walks, radius_px=radius_px, score_threshold=score_threshold,
            match_threshold=match_threshold,
        )  # fmt: skip
        videos: Any = images
        return audit_video(
            model, videos, labels=labels, threshold=threshold, metrics=metrics, controls=controls, count=count,
            seed=seed, out=out, overwrite=overwrite, strict=strict, batch_size=batch_size, progress=progress,
        )  # fmt: skip
    walk = walk or "sweep"
    moving = make_motion(motion, seed=seed, step=step, on=on, fill=fill, size_px=size_px, canvas_px=canvas_px, at=at)
    plan = make_walk(walk, steps=steps, direction=direction, walks=walks, radius_px=radius_px, axes=moving.axes)
    model = open_model(model) if isinstance(model, str) else model
    show = Show(moving, plan, model.preprocessing, model.view_size, controls, enlarge, seed)
    pictures: Any = images
    source = str(images) if isinstance(images, str | Path) else None
    thresholds = {"threshold": threshold, "score_threshold": score_threshold, "match_threshold": match_threshold}
    prepared = prepare(
        model, find_images(pictures, boxes, count, moving), source or "images", labels, walk, metrics, thresholds,
        keep_scores, whole_walks=not moving.needs_boxes,
    )  # fmt: skip
    samples, names = prepared.samples, prepared.names
    placed = model.task in PLACED
    if placed:
        check_windows(show, samples)
    asked = _asked(model, prepared, show, source, boxes)
    options = {"controls": controls, "enlarge": enlarge, "strict": strict, "keep_scores": keep_scores, "metrics": names}

    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="shiftable-"))
    at_once: int = getattr(model, "at_once", 1)
    # a file for less would not pay; and a shard's end lets those run idle that are asked at once
    batches = 32 * at_once if at_once > 1 else 8
    run = start_run(
        folder, {**asked, "options": options}, model, batch_size, overwrite, batches_per_shard=batches
    )  # fmt: skip
    batch_size = int(run["settings"]["batch_size"])
    shards = partial(_shards, samples, batches=int(run["batches_per_shard"]), batch_size=batch_size)
    exact: Model | None = getattr(model, "exact", None)
    recheck = exact and rechecked(
        model, exact, first_views(show, samples), top5=prepared.labelled, seed=seed, positive_from=prepared.threshold
    )
    answering = gathered(model.task, model) if placed else recheck or model
    remarks = [
        *getattr(model, "remarks", ()),
        *(recheck.remarks if recheck else ()),
        *_frames(show),
        *motion_remarks(moving, model.preprocessing),
        *prepared.remarks,
    ]
    begin = time.perf_counter()
    answered: list[int] = []  # views, call by call; the model may be asked from several threads

    def ask(views: np.ndarray) -> np.ndarray:
        answered.append(len(views))
        return answering(views)

    tabulated: Callable[[Shown, np.ndarray], Any]
    if placed:
        clear_drafts(folder)
        tabulated, write = PLACED[model.task].tabulate, partial(write_tables, model.task, prepared.classes)
    else:
        tabulated = partial(tabulate_scores, prepared.kind, prepared.threshold, prepared.score_step, keep_scores)
        if model.task == "embed":
            references = gather_references(ask, show, shards(views=1), folder, batch_size, strict, workers)
            tabulated = partial(tabulate_neighbours, references, keep_scores)
        tabulated = partial(checked_scores, tabulated, prepared.outputs)
        write = partial(write_scores, prepared.classes, keep_scores)
    run_shards(
        shards(views=show.views_per_image),
        folder / "predictions",
        load=partial(show_or_say, show),
        work=partial(answer_shard, ask, tabulated, write, batch_size, at_once, strict),
        workers=workers,
        progress=progress,
    )
    try:
        found = sum_up(folder, asked, names, remarks, controls, show.enlarged)
    except InputError:
        if len(read_skipped(folder)) == len(samples):  # nothing to go on with, and in the way of the next try
            discard(folder)
        raise
    write_json(folder / AUDIT, found.to_json())
    if answered:
        seconds, views = time.perf_counter() - begin, sum(answered)
        pace = {"seconds": seconds, "views": views, "views_per_second": views / seconds}
        again = {"recheck": recheck.summary()} if recheck else {}
        write_json(folder / RUN, {**run, **pace, **again})
    if not out:
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def _frames(show: Show) -> list[str]:
    """What a reader must know of a camera's frames."""
    if show.motion.where != "camera" or not any(show.room_px):
        return []
    sides = zip(show.room_px, ("lower", "narrower"), strict=True)
    less = " and ".join(f"{room} px {side}" for room, side in sides if room)
    return [f"frames are {less} than their images, to make room for the walk, so objects are larger in them"]


def _asked(model: Model, prepared: Prepared, show: Show, source: str | None, boxes: Boxes) -> dict[str, Any]:
    """What the audit is a function of."""
    about_model, about_images = describe(model, prepared, show.motion, source, boxes)
    floor = interpolation_floor(show.motion, model.preprocessing, model.view_size, seed=show.seed)
    return {
        "model": about_model,
        "images": about_images,
        "motion": {
            "name": show.motion.name,
            "where": show.motion.where,
            "enlarged": show.enlarged,
            **show.motion.options,
            **({"floor": floor.to_json()} if floor else {}),
        },
        "walk": show.walk.to_json(),
        "seed": show.seed,
    }


def _shards(samples: Sequence[Sample], batches: int, batch_size: int, views: int) -> list[list[tuple[int, Sample]]]:
    """Numbered samples, as many to a shard as fill whole batches, and so many of these at least."""
    size = batch_size // gcd(batch_size, views)
    size *= -(-batches * batch_size // (size * views))
    numbered = list(enumerate(samples))
    return [numbered[at : at + size] for at in range(0, len(numbered), size)]
