"""What is asked of models that answer where things are: how their answers are taken, tabulated and written.

Their table of predictions has the columns of every audit that say where a view was (image, control, walk, step, dy, dx,
scale, angle, frame), and

    objects: of detectors and key-point models, how many rows of the table of objects belong to this one;
    view_y, view_x: where the view begins, in px of the view, counted from where the unmoved one does: window.y · view
    height / window.height. Content that moved down by 2 px in the view has view_y = -2, whatever dy counts.
    pixels, changed, miou: of segmenters, how many pixels of this view the previous one shows too, how many of these are
    of another class than there, and the mean intersection over union of the classes in either; null at step 0.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64

from shiftable.auditing.objects.detections import SCHEMA as OBJECTS
from shiftable.auditing.objects.detections import tabulate_detections
from shiftable.auditing.objects.masks import compare_masks
from shiftable.auditing.objects.points import tabulate_poses
from shiftable.auditing.predictions import SCHEMA, THRESHOLD, Apart
from shiftable.auditing.showing import Show, Shown
from shiftable.data import Sample
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.answers import KEPT_FROM
from shiftable.models.checked_answers import checked

OF_EVERY_AUDIT = ("image", "control", "walk", "step", "dy", "dx", "scale", "angle", "frame")
BEGINS = ("view_y", "view_x")
PLACE = pa.schema([*map(SCHEMA.field, OF_EVERY_AUDIT), *((name, pa.float64()) for name in BEGINS)])
MATCHED_FROM = 0.3
"""The score from which a match counts, where nobody says otherwise: an object that falls from 0.51 to 0.49 is there."""

Tables = tuple[pa.Table, pa.Table | None]
"""The rows of predictions of one image, and of objects where the task has any."""


@dataclass(frozen=True)
class Placing:
    """A task whose answers say where things are.

    Args:
        whose: Models of it, in words.
        gather: From checked answers to as many views to an array of one item per view.
        tabulate: The rows of one image.
        columns: What its predictions have beside the place.
        thresholds: Those it has.
    """

    whose: str
    gather: Callable[[Sequence[Any]], np.ndarray]
    tabulate: Callable[[Shown, np.ndarray], Tables]
    columns: pa.Schema
    thresholds: tuple[str, ...] = ()


def gather_objects(answers: Sequence[Any]) -> np.ndarray:
    """A list as an array of objects; np.array would look into them."""
    gathered = np.empty(len(answers), dtype=object)
    gathered[:] = list(answers)
    return gathered


def gather_masks(answers: Sequence[Any]) -> np.ndarray:
    """Masks in as few bytes as they fit into: an image's are all kept until the last is there."""
    masks = np.stack(answers)
    return masks.astype(np.min_scalar_type(int(masks.max(initial=0))))


def _detections(shown: Shown, answers: np.ndarray) -> Tables:
    counts, objects = tabulate_detections(shown, list(answers))
    return _placed(shown, {"objects": pa.array(counts, pa.int32())}), objects


def _poses(shown: Shown, answers: np.ndarray) -> Tables:
    counts, objects = tabulate_poses(shown, list(answers))
    return _placed(shown, {"objects": pa.array(counts, pa.int32())}), objects


def _masks(shown: Shown, answers: np.ndarray) -> Tables:
    return _placed(shown, compare_masks(shown, list(answers))), None


COUNTED = pa.schema([("objects", pa.int32())])
COMPARED = pa.schema([("pixels", pa.int64()), ("changed", pa.int64()), ("miou", pa.float64())])

PLACED: Mapping[str, Placing] = {
    "detect": Placing("detectors", gather_objects, _detections, COUNTED, ("score_threshold", "match_threshold")),
    "segment": Placing("segmenters", gather_masks, _masks, COMPARED),
    "keypoints": Placing("key-point models", gather_objects, _poses, COUNTED, ("score_threshold",)),
}


def choose_thresholds(task: str, score: float | None, match: float | None) -> dict[str, float]:
    """The thresholds that an audit of this task has, checked; none where it has none.

    Args:
        task: The model's.
        score: From which score on an object counts as seen; None takes 0.5.
        match: From which score on it counts as still there; None takes 0.3, or the score threshold if that is lower.

    Raises:
        InputError: For a threshold that the task does not have, or that is no score objects are kept from.

    Example:
        >>> choose_thresholds("detect", 0.6, None), choose_thresholds("segment", None, None)
        ({'score_threshold': 0.6, 'match_threshold': 0.3}, {})
    """
    having = PLACED[task].thresholds if task in PLACED else ()
    for name, value in {"score_threshold": score, "match_threshold": match}.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not None and name not in having:
            whose = " and ".join(each.whose for each in PLACED.values() if name in each.thresholds)
            raise InputError(f"is for {whose}, this model's task is {task}", where=flag, todo="leave it out")
        if value is not None and not KEPT_FROM <= value <= 1:
            raise InputError(f"{value} is no score to begin from", where=flag, todo=f"give {KEPT_FROM} to 1")
    seen = THRESHOLD if score is None else score
    there = min(seen, MATCHED_FROM) if match is None else match
    if there > seen:
        raise InputError(
            f"{there} is above the score threshold of {seen}, so what is seen would vanish where it stands",
            where="--match-threshold",
            todo=f"give {seen} or less",
        )
    chosen = {"score_threshold": float(seen), "match_threshold": float(there)}
    return {name: chosen[name] for name in having}


def unlabelled(samples: Sequence[Sample], task: str, asked: bool) -> tuple[list[Sample], list[str]]:
    """The images without classes, with a remark if some were given: such answers are compared with themselves."""
    remarks = [f"the answers of {PLACED[task].whose} are compared with one another: the labels are not used"]
    return [replace(sample, label=None) for sample in samples], remarks if asked else []


def check_windows(show: Show, samples: Iterable[Sample]) -> None:
    """Look at the first image that can be used: is it known what part of it each view shows?

    Raises:
        InputError: If not, for then answers can't be laid over one another.
    """
    for sample in samples:
        try:
            stage = show.stage(sample)
        except InputError:  # the audit itself will say so
            continue
        if stage.window is None:
            raise InputError(
                f"views of the motion {show.motion.name} show no upright rectangle of the image, so boxes, points and "
                "masks can't be put back into it",
                where="--motion",
                todo="take --motion camera or crop",
            )
        return


def write_tables(task: str, classes: int, tables: Sequence[Tables], apart: Apart, path: Path) -> None:
    """One shard's rows: the objects first, beside the predictions' folder, then the predictions, which end the shard.

    Args:
        task: The model's.
        classes: How many the model tells apart, or 0.
        tables: One pair per image.
        apart: What is to be said of some images.
        path: Where `run_shards` wants the predictions.
    """
    schema = pa.unify_schemas([PLACE, PLACED[task].columns])
    found = [objects for _, objects in tables if objects is not None]
    if "objects" in schema.names:
        part = re.search(r"part-\d+\.parquet", path.name)  # the path is that of a draft
        assert part, path
        folder = objects_folder(path.parent.parent)
        folder.mkdir(exist_ok=True)
        table = pa.concat_tables([OBJECTS.empty_table(), *found])
        write_atomically(folder / part[0], lambda draft: pq.write_table(table, draft, compression="zstd"))
    views = pa.concat_tables([schema.empty_table(), *(rows for rows, _ in tables)])
    pq.write_table(views.replace_schema_metadata(apart.notes(classes)), path, compression="zstd")


def objects_folder(audit: Path) -> Path:
    """Where an audit's table of objects is."""
    return audit / "objects"


def clear_drafts(audit: Path) -> None:
    """Remove what a killed run left half-written among the objects."""
    for leftover in objects_folder(audit).glob(".part-*"):
        leftover.unlink()


def gathered(task: str, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The model, its answers as an array with one checked item per view."""
    which: Any = task

    def ask(views: np.ndarray) -> np.ndarray:
        answers: Any = model(views)
        if not isinstance(answers, list | tuple | np.ndarray) or len(answers) != len(views):
            many = f"{len(answers)} answers" if isinstance(answers, list | tuple | np.ndarray) else "no list of answers"
            raise InputError(f"{len(views)} views got {many}", where=model.spec, todo="give one per view")
        return PLACED[task].gather([checked(each, which, model.view_size, model.spec) for each in answers])

    return ask


def _placed(shown: Shown, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The rows of predictions: where each view was, and these columns."""
    rows = shown.rows
    place = {name: [getattr(row, name) for row in rows] for name in OF_EVERY_AUDIT if name != "image"}
    place |= dict(zip(BEGINS, _begins(shown).tolist(), strict=True))
    arrays = {name: pa.array(values, PLACE.field(name).type) for name, values in place.items()}
    return pa.table({"image": pa.array([shown.sample.id] * len(rows), pa.string()), **arrays, **columns})


def _begins(shown: Shown) -> Float64[np.ndarray, "2 row"]:
    """(down, right): how much later than the unmoved view, which is the first, each row's begins, in px of the view."""
    windows, views = shown.windows or (), [row.view for row in shown.rows]
    here = np.array([windows[view] for view in views], float)
    sizes = [shown.views[view].shape[:2] for view in views]
    return np.asarray(((here[:, :2] - np.array(windows[0][:2])) * sizes / here[:, 2:]).T)
