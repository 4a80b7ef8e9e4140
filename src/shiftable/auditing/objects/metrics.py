"""Metrics of detectors, segmenters and key-point models: what two neighbouring views say of the same place.

An object is *seen* where its score reaches the score threshold. It is *still there* a step later if it has a match
whose score reaches the match threshold, which is lower: a box that falls from 0.51 to 0.49 has not vanished.

An object counts only if it lies *inside* what this view and its neighbours along the walk show: at the border objects
leave the picture, and a model that then says so is right. Of a pair that is asked of the object that the pair is about:
of the earlier one, and of what appeared of the later one. ``dropped_with_border`` leaves none out.

How many objects or pixels are compared depends on the answers, so most of these are ratios of sums over images; what
every pair or view has one of (``miou``, ``objects_per_view``) is averaged over each image first. The image is the unit
of every interval. Sizes and distances are in px of the still scene: of the source for a camera, of the resized image
for a crop.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, Shaped

from shiftable.auditing.intervals import Estimate, Weighting, magnitude, rate
from shiftable.auditing.metrics import ALL, METRICS, STEPPED
from shiftable.auditing.predictions import Predictions, part_paths
from shiftable.errors import InputError, unknown

NUMBERS = ("score", "dscore", "dcx", "dcy", "dw", "dh")

PerRow: TypeAlias = tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]]
"""(numerators, denominators) per row of predictions; what is about a pair stands in the row of its second step."""

PerObject: TypeAlias = tuple[Int[np.ndarray, "some"], Shaped[np.ndarray, "some"]]
"""Which objects count, and what is averaged over them."""


@dataclass(frozen=True)
class Found:
    """What a model found in the views of some images: rows of predictions, and the rows of objects that they have.

    Args:
        views: The predictions.
        numbers: Columns of the objects: score, dscore, dcx, dcy, dw and dh, NaN where there is no match.
        match: Of each object, which one of the view before it is, or -1.
        inside: Which objects lie in what their view and its neighbours show: see the table of objects.
        score_from: From which score on an object is seen.
        match_from: From which score on a match counts; 0 for key points, of which every match counts.
    """

    views: Predictions
    numbers: Mapping[str, Float[np.ndarray, "object"]]
    match: Int[np.ndarray, "object"]
    inside: Bool[np.ndarray, "object"]
    score_from: float
    match_from: float

    @cached_property
    def counts(self) -> Int[np.ndarray, "row"]:
        """How many objects each row of predictions has; none where masks were compared."""
        there = "objects" in self.views.table.column_names
        return self.views["objects"].astype(int) if there else np.zeros(len(self.views.image), int)

    @cached_property
    def row(self) -> Int[np.ndarray, "object"]:
        """The row of predictions that each object belongs to."""
        return np.asarray(np.repeat(np.arange(len(self.views.image)), self.counts))

    @cached_property
    def later(self) -> Int[np.ndarray, "object"]:
        """Of each object, the number among all of these of the one that it is a step later, or -1."""
        start = np.cumsum(self.counts) - self.counts
        matched = np.flatnonzero(self.match >= 0)
        later = np.full(len(self.match), -1)
        later[start[self.row[matched] - 1] + self.match[matched]] = matched
        return later

    @cached_property
    def seen(self) -> Bool[np.ndarray, "object"]:
        """Which objects reach the score threshold."""
        return self.reach(self.score_from)

    @cached_property
    def first(self) -> Int[np.ndarray, "some"]:
        """The objects that are seen inside and whose view has a next one."""
        goes_on = np.append(self.views["step"][1:] > 0, False)
        return np.flatnonzero(self.seen & self.inside & goes_on[self.row])

    @cached_property
    def second(self) -> Int[np.ndarray, "some"]:
        """The objects that are seen inside and whose view has one before it."""
        return np.flatnonzero(self.seen & self.inside & (self.views["step"] > 0)[self.row])

    @cached_property
    def kept(self) -> Int[np.ndarray, "some"]:
        """The objects that are, with a score of the match threshold at least, what was seen inside a step before."""
        later = self.later[self.first]
        return np.asarray(later[(later >= 0) & self.reach(self.match_from)[later]])

    @cached_property
    def with_border(self) -> "Found":
        """The same, as if every object were inside."""
        return replace(self, inside=np.ones(len(self.inside), bool))

    def reach(self, score: float) -> Bool[np.ndarray, "object"]:
        """Which objects have this score; a float32 0.7 counts as 0.7."""
        return np.asarray(self.numbers["score"] >= min(score, float(np.float32(score))))

    def of(self, control: str | None) -> "Found":
        """The rows of one control, or those of the motion (None)."""
        column = self.views.table["control"]
        keep = pc.is_null(column) if control is None else pc.fill_null(pc.equal(column, control), False)
        objects = keep.to_numpy()[self.row]
        numbers = {name: values[objects] for name, values in self.numbers.items()}
        kept = {"match": self.match[objects], "inside": self.inside[objects]}
        return replace(self, views=self.views.of(control), numbers=numbers, **kept)

    def per_row(self, objects: Int[np.ndarray, "some"], values: np.ndarray | None = None, ahead: int = 0) -> np.ndarray:
        """The sum of values (or the number) of these objects, in their own row or ``ahead`` rows on."""
        return np.bincount(self.row[objects] + ahead, weights=values, minlength=len(self.views.image)).astype(float)


@dataclass(frozen=True)
class ObjectMetric:
    """A number that an audit of a detector, segmenter or key-point model reports.

    Args:
        of: Gives its numerators and denominators per row.
        tasks: Those that it is defined for.
        unit: ``"rate"``: a share, 0 to 1. ``"magnitude"``: a mean of anything.
        walks: The walk shapes that define it.
        weighting: Ratio of sums over images, or the mean over images of the quotient.
        stable_is: The value of a model whose answers move with the picture, or None where it is not about change.
    """

    of: Callable[[Found], PerRow]
    tasks: tuple[str, ...]
    unit: Literal["rate", "magnitude"]
    walks: frozenset[str] = STEPPED
    weighting: Weighting = "pairs"
    stable_is: float | None = 0.0


def vanished(found: Found) -> PerRow:
    """Share of the objects seen inside at one step that have no match of the match threshold at the next. 0 to 1."""
    return _ahead(found, *lost(found, found.match_from))


def dropped(found: Found) -> PerRow:
    """Share of the objects seen inside at one step that vanish or are no longer seen at the next. 0 to 1.

    What an application with a fixed threshold loses.
    """
    return _ahead(found, *lost(found, found.score_from))


def dropped_with_border(found: Found) -> PerRow:
    """As ``dropped``, of all objects: those that leave the picture too. 0 to 1.

    At the border even a model without fault drops some, so this is for comparing with figures that leave none out.
    """
    return dropped(found.with_border)


def appeared(found: Found) -> PerRow:
    """Share of the objects seen inside at one step that have no match of the match threshold at the one before.

    0 to 1.
    """
    return _sums(found, *_new(found, found.match_from))


def points_dropped(found: Found) -> PerRow:
    """Share of the points seen inside at one step that are not seen at the next. 0 to 1."""
    return _ahead(found, *lost(found, found.score_from))


def points_appeared(found: Found) -> PerRow:
    """Share of the points seen inside at one step that were not seen at the step before. 0 to 1."""
    return _sums(found, *_new(found, found.score_from))


def confidence_change(found: Found) -> PerRow:
    """Mean absolute change of the score of objects seen inside at one step and still there at the next. 0 to 1.

    A key point is still there if its person is.
    """
    return _sums(found, found.kept, np.abs(found.numbers["dscore"])[found.kept])


def centre_error_px(found: Found) -> PerRow:
    """Mean distance between the centres of an object seen inside at one step and still there at the next, in px."""
    return _sums(found, *moved(found))


def size_error_px(found: Found) -> PerRow:
    """Mean of the absolute changes of width and height of such objects, (``|dw|`` + ``|dh|``) / 2, in px."""
    changes = (np.abs(found.numbers["dw"]) + np.abs(found.numbers["dh"])) / 2
    return _sums(found, found.kept, changes[found.kept])


def point_error_px(found: Found) -> PerRow:
    """Mean distance between the places of a point that is seen at both steps, inside at the first, in px."""
    return _sums(found, *moved(found, seen=True))


def objects_per_view(found: Found) -> PerRow:
    """Mean number of objects seen in a view."""
    return found.per_row(np.flatnonzero(found.seen)), np.ones(len(found.views.image))


def pixels_changed(found: Found) -> PerRow:
    """Share of the pixels shown at two steps that are of another class. 0 to 1."""
    changed, pixels = (np.nan_to_num(found.views[name].astype(float)) for name in ("changed", "pixels"))
    return changed, pixels


def miou(found: Found) -> PerRow:
    """Mean over pairs of steps of the classes' mean intersection over union. 0 to 1."""
    values = found.views["miou"].astype(float)
    return np.nan_to_num(values), (~np.isnan(values)).astype(float)


OBJECT_METRICS: Mapping[str, ObjectMetric] = {
    "vanished": ObjectMetric(vanished, ("detect",), "rate"),
    "appeared": ObjectMetric(appeared, ("detect",), "rate"),
    "dropped": ObjectMetric(dropped, ("detect",), "rate"),
    "dropped_with_border": ObjectMetric(dropped_with_border, ("detect",), "rate"),
    "confidence_change": ObjectMetric(confidence_change, ("detect", "keypoints"), "magnitude"),
    "centre_error_px": ObjectMetric(centre_error_px, ("detect",), "magnitude"),
    "size_error_px": ObjectMetric(size_error_px, ("detect",), "magnitude"),
    "objects_per_view": ObjectMetric(objects_per_view, ("detect",), "magnitude", ALL, "images", None),
    "pixels_changed": ObjectMetric(pixels_changed, ("segment",), "magnitude"),
    "miou": ObjectMetric(miou, ("segment",), "magnitude", weighting="images", stable_is=1.0),
    "point_error_px": ObjectMetric(point_error_px, ("keypoints",), "magnitude"),
    "points_dropped": ObjectMetric(points_dropped, ("keypoints",), "rate"),
    "points_appeared": ObjectMetric(points_appeared, ("keypoints",), "rate"),
}

OBJECT_CONTROL_METRICS: Mapping[str, tuple[str, ...]] = {
    "detect": ("vanished", "confidence_change", "centre_error_px"),
    "segment": ("pixels_changed",),
    "keypoints": ("points_dropped", "confidence_change", "point_error_px"),
}
"""Task → what is reported of that which is no motion too, and told apart by the place a step begins at.

A model that answers the same view alike has 0 in all of it.
"""


def choose_object_metrics(task: str, walk: str, asked: Sequence[str] | None = None) -> list[str]:
    """The metrics that an audit of a detector, segmenter or key-point model can report.

    Args:
        task: The model's.
        walk: The walks' shape.
        asked: The ones that were asked for; None takes all there are.

    Raises:
        InputError: If one that was asked for is unknown, or undefined for the task or on these walks.
    """
    for name in asked or ():
        if name in METRICS and name not in OBJECT_METRICS:
            raise InputError(
                f"{name} is for models that score classes, this one's task is {task}",
                where="--metric",
                todo=f"take {_those_of(task)}",
            )
        if name not in OBJECT_METRICS:
            raise unknown("metric", name, [name for name, metric in OBJECT_METRICS.items() if task in metric.tasks])
        metric = OBJECT_METRICS[name]
        if task not in metric.tasks:
            raise InputError(
                f"{name} is for the task {' or '.join(metric.tasks)}, not {task}",
                where="--metric",
                todo=f"take {_those_of(task)}",
            )
        if walk not in metric.walks:
            others = " or ".join(sorted(metric.walks))
            raise InputError(f"{name} is not defined on {walk} walks", where="--metric", todo=f"take --walk {others}")
    chosen = [
        name
        for name, metric in OBJECT_METRICS.items()
        if task in metric.tasks and walk in metric.walks and (asked is None or name in asked)
    ]
    if not chosen:
        raise InputError(f"nothing is defined for the task {task} on {walk} walks", where="--walk", todo="take sweep")
    return chosen


def read_found(folder: str | Path, thresholds: Mapping[str, float]) -> Iterator[Found]:
    """What an audit of such a model found, a shard at a time: whole images, in order.

    Args:
        folder: The audit's.
        thresholds: Its ``score_threshold`` and ``match_threshold``, as far as it has them.
    """
    for path in part_paths(folder):
        table = pq.read_table(path, partitioning=None)
        if not len(table):  # none of a shard's images may be usable
            continue
        classes = int(table.schema.metadata[b"classes"])
        numbers: dict[str, np.ndarray] = {name: np.zeros(0) for name in NUMBERS}
        match, inside = np.zeros(0, int), np.zeros(0, bool)
        if "objects" in table.column_names:
            columns = ["match", "inside", *NUMBERS]
            objects = pq.read_table(Path(folder, "objects", path.name), columns=columns, partitioning=None)
            numbers = {name: objects[name].to_numpy() for name in NUMBERS}
            match = pc.fill_null(objects["match"], -1).to_numpy().astype(int)
            inside = objects["inside"].to_numpy()
        score_from, match_from = (thresholds.get(f"{name}_threshold", 0.0) for name in ("score", "match"))
        yield Found(Predictions(table, classes), numbers, match, inside, score_from, match_from)


def measure_objects(shards: Iterable[Found], names: Sequence[str], seed: int = 0) -> dict[str, Estimate]:
    """Several metrics of an audit, its shards being read once and one at a time; absent where nothing is counted."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for found in shards:
        for name in names:
            parts[name].append(per_image(found, name))
    estimates = {name: estimate_objects(name, np.concatenate(parts[name]), seed) for name in names if parts[name]}
    return {name: estimate for name, estimate in estimates.items() if estimate is not None}


def per_image(found: Found, name: str) -> Float[np.ndarray, "image 2"]:
    """A metric's numerator and denominator of every image."""
    rows = OBJECT_METRICS[name].of(found)
    images = len(found.views.images)
    return np.stack([np.bincount(found.views.image, weights=side, minlength=images) for side in rows], axis=1)


def estimate_objects(
    name: str, sums: Float[np.ndarray, "image 2"], seed: int = 0, resamples: int = 2000
) -> Estimate | None:
    """A metric with its interval, from what all shards gave; None where nothing was counted."""
    metric = OBJECT_METRICS[name]
    numerators, denominators = np.ascontiguousarray(sums.T)
    if not denominators.any():
        return None
    if metric.unit == "rate":
        return rate(numerators, denominators, weighting=metric.weighting)
    return magnitude(numerators, denominators, weighting=metric.weighting, seed=seed, resamples=resamples)


def lost(found: Found, still_from: float) -> PerObject:
    """What is seen inside at the first step of a pair, and whether it has no match of that score at the second."""
    later = found.later[found.first]
    return found.first, (later < 0) | ~found.reach(still_from)[later]


def moved(found: Found, seen: bool = False) -> PerObject:
    """What is still there at the second step of a pair, and how far its centre has moved, in px.

    Args:
        found: The objects.
        seen: Whether only those count that are seen at the second step too.
    """
    kept = found.kept[found.seen[found.kept]] if seen else found.kept
    return kept, np.hypot(found.numbers["dcx"], found.numbers["dcy"])[kept]


def _new(found: Found, before_from: float) -> PerObject:
    """What is seen inside at the second step of a pair, and whether it has no match of that score at the first."""
    earlier = np.full(len(found.match), -1)
    has = found.later >= 0
    earlier[found.later[has]] = np.flatnonzero(has)
    before = earlier[found.second]
    return found.second, (before < 0) | ~found.reach(before_from)[before]


def _sums(found: Found, objects: Int[np.ndarray, "some"], values: Shaped[np.ndarray, "some"]) -> PerRow:
    """The values of these objects, and their number, in their own rows."""
    return found.per_row(objects, values), found.per_row(objects)


def _ahead(found: Found, objects: Int[np.ndarray, "some"], values: Shaped[np.ndarray, "some"]) -> PerRow:
    """The same for objects of first steps, in the rows of the second."""
    return found.per_row(objects, values, ahead=1), found.per_row(objects, ahead=1)


def _those_of(task: str) -> str:
    return ", ".join(name for name, metric in OBJECT_METRICS.items() if task in metric.tasks)
