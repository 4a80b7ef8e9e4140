"""The audit: how often a model changes its mind when the picture moves by one pixel."""

import hashlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing.metrics import choose_metrics
from shiftable.auditing.motions import MOTIONS
from shiftable.auditing.predictions import tabulate, write_part
from shiftable.auditing.record import AUDIT, RUN, open_folder, surroundings, write_json
from shiftable.auditing.results import Audit, sum_up
from shiftable.auditing.showing import Show, Shown, show_or_say
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample, check_labels, find_samples, label_by_folder, label_by_table, read_labels
from shiftable.engine import in_batches, run_shards
from shiftable.errors import InputError, unknown
from shiftable.models import Model, open_model
from shiftable.models.protocol import Scores


def audit(
    model: Model | str,
    images: str | Path | Sequence[Sample],
    *,
    motion: str = "crop",
    walk: str = "sweep",
    steps: int | None = None,
    direction: str | None = None,
    walks: int | None = None,
    radius_px: int | None = None,
    labels: str | Path | Mapping[str, int] | None = None,
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
        walk: Where to: one of ``SHAPES``; the next four are its options, see `make_walk`.
        steps: Views of a sweep.
        direction: Which way a step goes.
        walks: Walks per image.
        radius_px: How far a grid reaches.
        labels: A CSV with ``file,class_index``, or a mapping of ids to classes. Most metrics need none.
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
    model = open_model(model) if isinstance(model, str) else model
    if motion not in MOTIONS:
        raise unknown("motion", motion, MOTIONS)
    plan = make_walk(walk, steps=steps, direction=direction, walks=walks, radius_px=radius_px)
    show = Show(MOTIONS[motion], plan, model.preprocessing, model.view_size, controls, enlarge, seed)
    classes = _count_classes(model)
    samples, remarks = _samples(images, labels, classes, count)
    names = choose_metrics(walk, any(sample.label is not None for sample in samples), metrics)
    source = str(images) if isinstance(images, str | Path) else None
    asked = _asked(model, classes, show, source, samples)
    options = {"controls": controls, "enlarge": enlarge, "strict": strict, "keep_scores": keep_scores, "metrics": names}

    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="shiftable-"))
    run = _start(folder, {**asked, "options": options}, model, batch_size, overwrite)
    batch_size = int(run["settings"]["batch_size"])
    begin, answered = time.perf_counter(), 0

    def ask(views: np.ndarray) -> np.ndarray:
        nonlocal answered
        answered += len(views)
        return model(views)

    run_shards(
        _shards(samples, show.views_per_image, batch_size),
        folder / "predictions",
        load=partial(show_or_say, show),
        work=partial(_answer, ask, model.scores, classes, batch_size, strict, keep_scores),
        workers=workers,
        progress=progress,
    )
    found = sum_up(folder, asked, names, remarks, controls, show.enlarged)
    write_json(folder / AUDIT, found.to_json())
    if answered:
        seconds = time.perf_counter() - begin
        write_json(folder / RUN, {**run, "seconds": seconds, "views": answered, "views_per_second": answered / seconds})
    if not out:
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def _samples(
    images: str | Path | Sequence[Sample],
    labels: str | Path | Mapping[str, int] | None,
    classes: int,
    count: int | None,
) -> tuple[list[Sample], list[str]]:
    samples = find_samples(images, count) if isinstance(images, str | Path) else list(images)[:count]
    if not samples:
        raise InputError("there are no images", todo="give at least one")
    if labels is not None:
        where = labels if isinstance(labels, str | Path) else "labels"
        samples = label_by_table(samples, labels if isinstance(labels, Mapping) else read_labels(labels), where)
        remark = None
    else:
        where = images if isinstance(images, str | Path) else "images"
        samples, remark = label_by_folder(samples, classes)
    check_labels(samples, classes, where)
    return samples, [remark] if remark else []


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
        },
        "images": {
            "source": source,
            "listed": len(samples),
            "sha256": hashlib.sha256(listing.encode()).hexdigest(),
            "labelled": sum(sample.label is not None for sample in samples),
        },
        "motion": {"name": show.motion.name, "where": show.motion.where, "enlarged": show.enlarged},
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
        run = {"asked": asked, "settings": settings, **surroundings()}
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


def _shards(samples: Sequence[Sample], views: int, batch_size: int) -> list[list[tuple[int, Sample]]]:
    """Numbered samples, as many to a shard as fill whole batches."""
    size = batch_size // gcd(batch_size, views)
    size *= -(-8 * batch_size // (size * views))  # eight batches or more: a file for less would not pay
    numbered = list(enumerate(samples))
    return [numbered[at : at + size] for at in range(0, len(numbered), size)]


def _count_classes(model: Model) -> int:
    """How many classes the model tells apart, from its answer to a grey view."""
    if model.task != "classify":
        raise InputError(f"models for the task {model.task!r} can't be audited yet", todo="give a classifier")
    answer = np.asarray(model(np.full((1, *model.view_size, 3), 128, np.uint8)))
    if answer.ndim != 2 or len(answer) != 1:
        raise InputError(
            f"its scores for one view have the shape {answer.shape}",
            where=model.spec,
            todo="they must be (view, class)",
        )
    if answer.shape[1] < 2:
        raise InputError("it has a single class, so its answer can't change", where=model.spec)
    return int(answer.shape[1])


def _answer(
    ask: Callable[[np.ndarray], np.ndarray],
    kind: Scores,
    classes: int,
    batch_size: int,
    strict: bool,
    keep_scores: bool,
    loaded: Iterable[Shown | InputError],
    path: Path,
) -> None:
    """One shard: ask the model about all views and write the table."""
    skipped: list[dict[str, str]] = []

    def usable() -> Iterator[tuple[Shown, Sequence[np.ndarray]]]:
        for shown in loaded:
            if isinstance(shown, Shown):
                yield shown, shown.views
            elif strict:
                raise shown
            else:
                skipped.append({"image": str(shown.where), "reason": shown.what})

    tables = [
        tabulate(shown.sample.id, shown.rows, _checked(scores, classes, shown), kind, shown.sample.label, keep_scores)
        for shown, scores in in_batches(usable(), ask, batch_size)
    ]
    write_part(tables, skipped, classes, keep_scores, path)


def _checked(scores: np.ndarray, classes: int, shown: Shown) -> Float[np.ndarray, "view class"]:
    if scores.shape != (len(shown.views), classes):
        raise InputError(
            f"the model's scores have the shape {scores.shape}, not {(len(shown.views), classes)}",
            where=shown.sample.id,
        )
    if np.isnan(scores).any():
        view = int(np.isnan(scores).any(axis=1).argmax())
        raise InputError(f"the model answers NaN (view {view})", where=shown.sample.id, todo="look at its weights")
    return scores
