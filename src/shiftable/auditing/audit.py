"""The audit: how often a model changes its mind when the picture moves by one pixel."""

import hashlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from shiftable.auditing.asking import answer_shard, count_outputs, tabulate_scores
from shiftable.auditing.metrics import choose_metrics
from shiftable.auditing.motions import make_motion
from shiftable.auditing.predictions import positive_from
from shiftable.auditing.rechecking import first_views, rechecked
from shiftable.auditing.record import AUDIT, RUN, open_folder, surroundings, write_json
from shiftable.auditing.results import Audit, sum_up
from shiftable.auditing.retrieval import gather_references, tabulate_neighbours, without_labels
from shiftable.auditing.scoring import Kind
from shiftable.auditing.showing import Show, show_or_say
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample, check_labels, find_samples, label_by_folder, label_by_table, read_labels
from shiftable.engine import run_shards
from shiftable.errors import InputError
from shiftable.models import Model, open_model
from shiftable.models.outputs import check_background


def audit(
    model: Model | str,
    images: str | Path | Sequence[Sample],
    *,
    motion: str = "crop",
    fill: str | None = None,
    size_px: int | None = None,
    canvas_px: int | None = None,
    walk: str = "sweep",
    steps: int | None = None,
    direction: str | None = None,
    walks: int | None = None,
    radius_px: int | None = None,
    labels: str | Path | Mapping[str, int] | None = None,
    threshold: float | None = None,
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
        motion: What moves: one of ``MOTIONS``.
        fill: What surrounds the picture on a canvas: black, mean, noise or inpaint.
        size_px: The short side of the picture on a canvas.
        canvas_px: The canvas's side; the model's view if None.
        walk: Where to: one of ``SHAPES``; the next four are its options, see `make_walk`.
        steps: Views of a sweep.
        direction: Which way a step goes.
        walks: Walks per image.
        radius_px: How far a grid reaches.
        labels: A CSV with ``file,class_index``, or a mapping of ids to classes. Most metrics need none.
        threshold: From which score on a class of a sigmoid model counts as named; None takes 0.5.
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
    moving = make_motion(motion, seed=seed, fill=fill, size_px=size_px, canvas_px=canvas_px)
    plan = make_walk(walk, steps=steps, direction=direction, walks=walks, radius_px=radius_px)
    model = open_model(model) if isinstance(model, str) else model
    show = Show(moving, plan, model.preprocessing, model.view_size, controls, enlarge, seed)
    outputs, embeds = count_outputs(model), model.task == "embed"
    samples, remarks = _samples(images, labels, None if embeds else outputs, count)
    classes = len(samples) if embeds else outputs
    kind: Kind = "similarity" if embeds else model.scores
    threshold = positive_from(threshold, kind)
    labelled = any(sample.label is not None for sample in samples)
    if labelled:
        check_background(classes, getattr(model, "class_offset", 0), model.spec)
    names = choose_metrics(walk, labelled, metrics, kind)
    source = str(images) if isinstance(images, str | Path) else None
    asked = _asked(model, classes, show, source, samples)
    asked["model"] |= {"scores": kind, "dimensions": outputs} if embeds else {}
    score_step: float | None = getattr(model, "score_step", None)
    also = {"threshold": threshold, "score_step": score_step}
    asked["model"] |= {name: value for name, value in also.items() if value is not None}
    options = {"controls": controls, "enlarge": enlarge, "strict": strict, "keep_scores": keep_scores, "metrics": names}

    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="shiftable-"))
    run = _start(folder, {**asked, "options": options}, model, batch_size, overwrite)
    batch_size = int(run["settings"]["batch_size"])
    at_once: int = getattr(model, "at_once", 1)
    shards = partial(_shards, samples, batches=int(run["batches_per_shard"]), batch_size=batch_size)
    exact: Model | None = getattr(model, "exact", None)
    recheck = exact and rechecked(
        model, exact, first_views(show, samples), top5=labelled, seed=seed, positive_from=threshold
    )
    answering = recheck or model
    remarks = [*getattr(model, "remarks", ()), *(recheck.remarks if recheck else ()), *_frames(show), *remarks]
    begin = time.perf_counter()
    answered: list[int] = []  # views, call by call; the model may be asked from several threads

    def ask(views: np.ndarray) -> np.ndarray:
        answered.append(len(views))
        return answering(views)

    tabulated = partial(tabulate_scores, kind, threshold, score_step, keep_scores)
    if embeds:
        references = gather_references(ask, show, shards(views=1), folder, batch_size, strict, workers)
        tabulated = partial(tabulate_neighbours, references, keep_scores)
    run_shards(
        shards(views=show.views_per_image),
        folder / "predictions",
        load=partial(show_or_say, show),
        work=partial(answer_shard, ask, tabulated, outputs, classes, batch_size, at_once, strict, keep_scores),
        workers=workers,
        progress=progress,
    )
    found = sum_up(folder, asked, names, remarks, controls, show.enlarged)
    write_json(folder / AUDIT, found.to_json())
    if answered:
        seconds, views = time.perf_counter() - begin, sum(answered)
        pace = {"seconds": seconds, "views": views, "views_per_second": views / seconds}
        again = {"recheck": recheck.summary()} if recheck else {}
        write_json(folder / RUN, {**run, **pace, **again})
    if not out:
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def _samples(
    images: str | Path | Sequence[Sample],
    labels: str | Path | Mapping[str, int] | None,
    classes: int | None,
    count: int | None,
) -> tuple[list[Sample], list[str]]:
    """The images with their labels; without, where the model has no classes (None)."""
    samples = find_samples(images, count) if isinstance(images, str | Path) else list(images)[:count]
    if not samples:
        raise InputError("there are no images", todo="give at least one")
    if classes is None:
        return without_labels(samples, labels is not None)
    if labels is not None:
        where = labels if isinstance(labels, str | Path) else "labels"
        samples = label_by_table(samples, labels if isinstance(labels, Mapping) else read_labels(labels), where)
        remark = None
    else:
        where = images if isinstance(images, str | Path) else "images"
        samples, remark = label_by_folder(samples, classes)
    check_labels(samples, classes, where)
    return samples, [remark] if remark else []


def _frames(show: Show) -> list[str]:
    """What a reader must know of a camera's frames."""
    if show.motion.where != "camera" or not any(show.room_px):
        return []
    sides = zip(show.room_px, ("lower", "narrower"), strict=True)
    less = " and ".join(f"{room} px {side}" for room, side in sides if room)
    return [f"frames are {less} than their images, to make room for the walk, so objects are larger in them"]


def _asked(model: Model, classes: int, show: Show, source: str | None, samples: Sequence[Sample]) -> dict[str, Any]:
    """What the audit is a function of."""
    listing = "\n".join(f"{sample.id}\t{sample.label}" for sample in samples)
    return {
        "model": {
            "spec": model.spec,
            "weights_sha256": model.weights_sha256,
            "task": model.task,
            "view_size": list(model.view_size),
            "preprocessing": model.preprocessing.to_json(),
            "scores": model.scores,
            "classes": classes,
            "class_offset": getattr(model, "class_offset", None) or 0,
            "size": dict(getattr(model, "size", {})),
        },
        "images": {
            "source": source,
            "listed": len(samples),
            "sha256": hashlib.sha256(listing.encode()).hexdigest(),
            "labelled": sum(sample.label is not None for sample in samples),
        },
        "motion": {
            "name": show.motion.name,
            "where": show.motion.where,
            "enlarged": show.enlarged,
            **show.motion.options,
        },
        "walk": show.walk.to_json(),
        "seed": show.seed,
    }


def _start(
    folder: Path, asked: Mapping[str, Any], model: Model, batch_size: int | None, overwrite: bool
) -> dict[str, Any]:
    """The record of the run: the one that was begun before, else a new one."""
    before = open_folder(folder, asked, overwrite)
    settings = {**model.settings, "batch_size": batch_size or model.batch_size}
    if before is None:
        run = {
            "asked": asked,
            "settings": settings,
            # a file for less would not pay; and a shard's end lets those run idle that are asked at once
            "batches_per_shard": 32 * at_once if (at_once := getattr(model, "at_once", 1)) > 1 else 8,
            "client": dict(getattr(model, "client", {})),
            "checks": dict(getattr(model, "checks", {})),
            **surroundings(),
        }
        write_json(folder / RUN, run)
        return run
    kept = before["settings"]
    for name, value in settings.items():
        if name != "batch_size" and kept.get(name) != value:
            raise InputError(
                f"was begun with {name} {kept.get(name)}, this is {value}",
                where=folder,
                todo=f"go on with {name} {kept.get(name)}, or --overwrite to begin anew",
            )
    if batch_size not in (None, kept["batch_size"]):
        raise InputError(f"was begun with batch size {kept['batch_size']}", where=folder, todo="leave --batch-size out")
    return before


def _shards(samples: Sequence[Sample], batches: int, batch_size: int, views: int) -> list[list[tuple[int, Sample]]]:
    """Numbered samples, as many to a shard as fill whole batches, and so many of these at least."""
    size = batch_size // gcd(batch_size, views)
    size *= -(-batches * batch_size // (size * views))
    numbered = list(enumerate(samples))
    return [numbered[at : at + size] for at in range(0, len(numbered), size)]
