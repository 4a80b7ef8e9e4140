"""What a report says beyond the metrics: what threshold and place matter, and which pairs are the worst."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from shiftable.auditing.intervals import Estimate
from shiftable.auditing.objects.detections import SAME_PX
from shiftable.auditing.objects.metrics import (
    OBJECT_CONTROL_METRICS,
    OBJECT_METRICS,
    Found,
    estimate_objects,
    moved,
    per_image,
    read_found,
)
from shiftable.auditing.results import read_audit

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

RESAMPLES = 500  # for many small estimates of which none decides anything


class WorstPair(NamedTuple):
    """Two views, one step apart, of which the model says different things.

    Args:
        image: Its id.
        walk: The walk's number.
        step: The second view's.
        change: Objects vanished and appeared, or points dropped and appeared, or the share of pixels changed.
    """

    image: str
    walk: int
    step: int
    change: float


def vanished_by_threshold(folder: str | Path, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, Estimate]:
    """The share of a detector's objects that vanish, by the score from which on they count as seen.

    The next view is searched down to the same fraction of that threshold as in the audit: 0.6, where nobody said
    otherwise. Thresholds that no object reaches are left out.

    Args:
        folder: A detector's audit.
        thresholds: Scores.
    """
    recorded = read_audit(folder).model["thresholds"]
    fraction = recorded["match_threshold"] / recorded["score_threshold"]
    sums: dict[float, list[np.ndarray]] = {threshold: [] for threshold in thresholds}
    for found in _motion(folder, recorded):
        for threshold in thresholds:
            other = replace(found, score_from=threshold, match_from=fraction * threshold)
            sums[threshold].append(per_image(other, "vanished"))
    estimates = {at: estimate_objects("vanished", np.concatenate(parts)) for at, parts in sums.items() if parts}
    return {threshold: found for threshold, found in estimates.items() if found is not None}


def error_by_phase(folder: str | Path, modulus: int) -> dict[str, list[Estimate | None]]:
    """How the answers change, by the place at which a step begins: does it matter where on the model's grid it is?

    Args:
        folder: The audit of a detector, a segmenter or a key-point model.
        modulus: What the offset of the step's begin is divided by, in px of the view along the direction of the step: a
            stride of the model, such as 8, 16 or 32. How far the content has moved from the unmoved view is rounded to
            whole px of the view, where the model's grid is, so pictures of different sizes can be put together.

    Returns:
        Metric of ``OBJECT_CONTROL_METRICS`` → an estimate for every remainder from 0; None where nothing was counted.
    """
    audit = read_audit(folder)
    names = OBJECT_CONTROL_METRICS[audit.model["task"]]
    sums: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for found in _motion(folder, audit.model.get("thresholds", {})):
        phase, images = _phases(found, modulus), len(found.views.images)
        cell = found.views.image * modulus + phase
        for name in names:
            rows = OBJECT_METRICS[name].of(found)
            parts = [np.bincount(cell, weights=side, minlength=images * modulus) for side in rows]
            sums[name].append(np.stack(parts, axis=-1).reshape(images, modulus, 2))
    whole = {name: np.concatenate(parts) for name, parts in sums.items()}
    return {
        name: [estimate_objects(name, table[:, phase], audit.seed, RESAMPLES) for phase in range(modulus)]
        for name, table in whole.items()
    }


def worst_pairs(folder: str | Path, count: int, per_image: int | None = None) -> list[WorstPair]:
    """The pairs of adjacent steps whose answers differ most, worst first; those that do not differ are left out.

    Of pairs with equally many objects or points vanished and appeared, those come first whose others moved farther.

    Args:
        folder: The audit of a detector, a segmenter or a key-point model.
        count: How many at most.
        per_image: How many of one image at most; None takes any number.
    """
    audit = read_audit(folder)
    task = audit.model["task"]
    worst: list[tuple[float, float, WorstPair]] = []
    for found in _motion(folder, audit.model.get("thresholds", {})):
        worst = _largest([*worst, *_changes(found, task)], count, per_image)
    return [pair for _, _, pair in worst]


def centre_errors(folder: str | Path, edges: Sequence[float]) -> Int[np.ndarray, "bin"]:
    """How many objects' centres (or seen points) moved by how much: a histogram, the last bin holding all beyond.

    Args:
        folder: The audit of a detector or a key-point model.
        edges: The bins' lower edges in px, ascending, the first 0.
    """
    audit = read_audit(folder)
    counts = np.zeros(len(edges), int)
    for found in _motion(folder, audit.model["thresholds"]):
        _, distance = moved(found, seen=audit.model["task"] == "keypoints")
        counts += np.bincount(np.searchsorted(edges, distance, side="right") - 1, minlength=len(edges))
    return counts


def left_out(folder: str | Path) -> tuple[int, int]:
    """(how many, of how many): the objects or points seen at the first step of a pair that reach the border.

    Most metrics leave them out.

    Args:
        folder: The audit of a detector or a key-point model.
    """
    counted = everything = 0
    for found in _motion(folder, read_audit(folder).model["thresholds"]):
        counted, everything = counted + len(found.first), everything + len(found.with_border.first)
    return everything - counted, everything


def _motion(folder: str | Path, thresholds: Mapping[str, float]) -> Iterator[Found]:
    return (found.of(None) for found in read_found(folder, thresholds))


def _phases(found: Found, modulus: int) -> Int[np.ndarray, "row"]:
    """How far the content had moved in the view at each row's previous step, along the axis of the step, modulo this.

    In whole px of the view; 0 where neither axis moves, as when a picture grows.
    """
    views = found.views
    offsets = np.stack([views["dy"], views["dx"]])
    down, right = offsets != np.roll(offsets, 1, axis=1)
    before = np.roll(np.stack([views["view_y"], views["view_x"]]), 1, axis=1)
    along = -np.where(down, before[0], np.where(right, before[1], 0))  # content moves down where views begin higher up
    return np.asarray(np.mod(np.floor(along + 0.5 + 1e-6).astype(int), modulus))


def _changes(found: Found, task: str) -> Iterator[tuple[float, float, WorstPair]]:
    """(change, second change, pair) of those that differ."""
    change, also = _differences(found, task)
    rows = np.flatnonzero((change > 0) | (also > SAME_PX))
    table = found.views.table.select(["image", "walk", "step"]).take(rows).to_pylist()
    for row, place in zip(rows, table, strict=True):
        pair = WorstPair(place["image"], place["walk"], place["step"], float(change[row]))
        yield float(change[row]), float(also[row]), pair


def _differences(found: Found, task: str) -> tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]]:
    """By how much each row differs from the previous step's, and what decides between equals."""
    if task == "segment":
        changed, pixels = OBJECT_METRICS["pixels_changed"].of(found)
        return changed / np.maximum(pixels, 1), changed
    gone, new, moved = {
        "detect": ("vanished", "appeared", "centre_error_px"),
        "keypoints": ("points_dropped", "points_appeared", "point_error_px"),
    }[task]
    counts = OBJECT_METRICS[gone].of(found)[0] + OBJECT_METRICS[new].of(found)[0]
    return counts, OBJECT_METRICS[moved].of(found)[0]


def _largest(
    pairs: Sequence[tuple[float, float, WorstPair]], count: int, per_image: int | None
) -> list[tuple[float, float, WorstPair]]:
    """The first of equals stay first, so that the order of the shards decides nothing."""
    if per_image is None:
        return nlargest(count, pairs, key=lambda each: each[:2])
    taken: dict[str, int] = {}
    chosen: list[tuple[float, float, WorstPair]] = []
    for each in sorted(pairs, key=lambda each: each[:2], reverse=True):
        name = each[2].image
        if taken.get(name, 0) < per_image and len(chosen) < count:
            taken[name] = taken.get(name, 0) + 1
            chosen.append(each)
    return chosen
