"""From the table of predictions to what a page shows, a shard at a time.

All that is kept of every image is a handful of numbers; the rows themselves are kept of the few images that are drawn.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from shiftable.auditing import METRICS, Audit, Predictions, Walk, read_parts
from shiftable.auditing.motions import MOTIONS
from shiftable.auditing.predictions import changed

COUNTED = [
    *(
        "image",
        "control",
        "walk",
        "step",
        "dy",
        "dx",
        "scale",
        "angle",
        "top1",
        "top1_p",
        "first_p",
        "ref",
        "top5",
        "label",
        "label_rank",
    ),
]
DRAWN = [*COUNTED, "top5_p", "ref_p", "label_p"]

PerImage = Float[np.ndarray, "image"]


@dataclass(frozen=True)
class Tallies:
    """A few numbers per image, in the order of the table.

    Args:
        flips: Pairs with two different answers.
        pairs: Pairs in all.
        right: Share of the views answered right; without a label, answered as the unmoved view.
        steepest: The largest change of probability at a flip; 0 where there is none.
        jagged: Jaggedness on a sweep (that of the unmoved view's answer where there are no labels), else the flips. NaN
            where it is not known.
        agreement: On a grid, the share of images that are answered at a place as they are unmoved, step by step down
            and to the right; else None.
    """

    flips: PerImage
    pairs: PerImage
    right: PerImage
    steepest: PerImage
    jagged: PerImage
    agreement: Float[np.ndarray, "dy dx"] | None

    @property
    def instability(self) -> PerImage:
        """Share of an image's pairs with two different answers."""
        return np.asarray(self.flips / np.maximum(self.pairs, 1))


def histogram_metric(audit: Audit) -> str | None:
    """The metric whose histogram says most: sweeps of one length have jaggedness, other walks have flips (None)."""
    if audit.walk["shape"] != "sweep" or (
        audit.motion["name"] in MOTIONS and MOTIONS[audit.motion["name"]].needs_boxes
    ):
        return None
    return "jaggedness" if audit.images["labelled"] else "jaggedness_self"


def tally(audit: Audit) -> Tallies:
    """The first pass over the table."""
    jagged, size = histogram_metric(audit), 2 * Walk(**audit.walk).radius_px + 1
    columns: list[list[PerImage]] = []
    agreeing, seen = np.zeros(size * size), np.zeros(size * size)
    for part in _moving(audit, COUNTED):
        columns.append(_tally_part(part, jagged))
        if audit.walk["shape"] == "grid":
            rows = np.flatnonzero(
                part["walk"] < size
            )  # these walks go along the rows; the others meet each place again
            cell = (part["walk"][rows] * size + part["step"][rows]).astype(np.int64)
            agreeing += np.bincount(cell, (part["top1"] == part["ref"])[rows], minlength=size * size)
            seen += np.bincount(cell, minlength=size * size)
    flips, pairs, right, steepest, crossings = (np.concatenate(column) for column in zip(*columns, strict=True))
    agreement = (agreeing / seen).reshape(size, size) if audit.walk["shape"] == "grid" else None
    return Tallies(flips, pairs, right, steepest, crossings, agreement)


def _tally_part(part: Predictions, jagged: str | None) -> list[PerImage]:
    flips, pairs = METRICS["p_top1_change"].of(part)
    everything = np.arange(len(part.image))
    hits = part["top1"] == target(part)
    views = part.per_image(np.ones(len(everything)), everything)
    steepest = np.zeros(len(part.images))
    np.maximum.at(steepest, part.image[part.moved], steepness(part) * changed(part))
    if jagged is None:
        return [flips, pairs, part.per_image(hits, everything) / views, steepest, flips]
    crossings, known = METRICS[jagged].of(part)
    return [flips, pairs, part.per_image(hits, everything) / views, steepest, np.where(known > 0, crossings, np.nan)]


def target(part: Predictions) -> Int[np.ndarray, "row"]:
    """The class that counts as right: the label, or, without one, the answer to the unmoved view."""
    label = part["label"]
    return np.where(np.isnan(label.astype(float)), part["ref"], np.nan_to_num(label.astype(float))).astype(np.int64)


def steepness(part: Predictions) -> Float[np.ndarray, "pair"]:
    """How far the probability of the first view's answer moves, pair by pair: `mac` before the mean."""
    moved = part.moved
    return np.asarray(np.abs(part["top1_p"][moved - 1] - part["first_p"][moved]))


def choose_rows(tallies: Tallies, most: int) -> Int[np.ndarray, "row"]:
    """The numbers of the images to draw: all, or so many at equal quantiles of instability."""
    order = np.lexsort((tallies.right, tallies.instability))
    return np.asarray(order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)])


def choose_worst(tallies: Tallies, most: int, by_steepness: bool) -> Int[np.ndarray, "row"]:
    """The numbers of the images that change most, worst first; none that never changes.

    Args:
        tallies: Of all images.
        most: How many at most.
        by_steepness: By how far the probability moves at a flip, where an image has too few pairs to count flips.
    """
    keys = (tallies.flips, tallies.steepest) if by_steepness else (tallies.steepest, tallies.flips)
    order = np.lexsort(keys)[::-1][:most]
    return order[tallies.flips[order] > 0]


def rows_of(audit: Audit, numbers: Collection[Any]) -> dict[int, Predictions]:
    """The second pass: all rows of some images, by the images' numbers."""
    wanted, found, first = {int(number) for number in numbers}, {}, 0
    for part in _moving(audit, DRAWN):
        starts = np.flatnonzero(np.diff(part.image, prepend=-1))
        ends = np.append(starts[1:], len(part.image))
        for local in range(len(part.images)):
            if first + local in wanted:
                rows = part.table.slice(starts[local], ends[local] - starts[local])
                # a copy: a slice would hold on to the whole shard
                found[first + local] = Predictions(rows.take(np.arange(len(rows))), part.classes)
        first += len(part.images)
    return found


def _moving(audit: Audit, columns: list[str]) -> Iterator[Predictions]:
    """The shards' rows of motion, without the controls'."""
    return (part.of(None) for part in read_parts(audit.folder, columns))
