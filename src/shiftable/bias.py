"""Where photographers put objects, and how large: boxes against what no preference would give.

Azulay & Weiss 2019, section 4, show that ImageNet's objects lie near the middle and are of typical sizes, so that a net
need not learn invariance to answer its test set. Here the same is asked of any set of boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from shiftable.auditing.intervals import Estimate, magnitude
from shiftable.data import Box
from shiftable.errors import InputError

Side: TypeAlias = Literal["across", "down", "size"]
SIDES: tuple[Side, ...] = ("across", "down", "size")
Values: TypeAlias = Float[np.ndarray, "box"]

BINS = 20
LEAST_BOXES = 30
"""A class with fewer is not told of by itself."""
EDGE_PX = 1.0
"""What comes nearer to the edge touches it: annotations are whole pixels."""


@dataclass(frozen=True)
class Preference:
    """How far boxes are from having no preference along one measure.

    Args:
        side: ``"across"`` and ``"down"``: where a box stands in the room that it has, 0 at one edge of the image and 1
            at the other; uniform if it was put anywhere. ``"size"``: the square root of its share of the image's area.
        distance: From uniform: the largest difference of the two distribution functions, 0 to 1 (Kolmogorov–Smirnov).
        spread: Mean distance from the middle (½) over that of the uniform distribution: 1 is no preference, 0 is
            always the middle. Of sizes, the same about ½.
        p_value: Of so large a distance without preference; of the largest box of each image alone, for boxes of one
            image depend on each other.
        counts: A histogram over 0 to 1.
    """

    side: Side
    distance: float
    spread: Estimate
    p_value: float
    counts: Int[np.ndarray, "bin"] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            "side": self.side,
            "distance": self.distance,
            "spread": self.spread.to_json(),
            "p_value": self.p_value,
            "counts": self.counts.tolist(),
        }


@dataclass(frozen=True)
class Bias:
    """Where objects are, and how large.

    Args:
        images: With a box or more.
        boxes: In all.
        left_out: Boxes whose image's size is not known.
        touching: Boxes that touch the image's edge at the left or right, and at the top or bottom. Many go on behind
            it, so where they stand is not known: they are left out across, or down.
        preferences: By side.
        classes: The same, by class of ``LEAST_BOXES`` boxes or more, most boxes first.
        heat: Share of all images at which a place is inside a box, on a grid of the image, mean 1.
    """

    images: int
    boxes: int
    left_out: int
    touching: tuple[int, int]
    preferences: Mapping[Side, Preference]
    classes: Mapping[str, Mapping[Side, Preference]] = field(repr=False)
    heat: Float[np.ndarray, "y x"] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and text."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "left_out": self.left_out,
            "touching": {"across": self.touching[0], "down": self.touching[1]},
            "preferences": {side: each.to_json() for side, each in self.preferences.items()},
            "classes": {
                name: {side: each.to_json() for side, each in found.items()} for name, found in self.classes.items()
            },
            "heat": np.round(self.heat, 4).tolist(),
        }


def bias(boxes: Mapping[str, Sequence[Box]], *, seed: int = 0) -> Bias:
    """How far the boxes of a data set are from standing anywhere, and from having any size.

    Intervals, 95 %, resample images: boxes of one image depend on each other.

    Args:
        boxes: Image → its boxes, as `read_boxes` gives them; they must know their image's size.
        seed: Of the resampling.

    Raises:
        InputError: If no box knows the size of its image.

    Example:
        >>> middle = {str(at): (Box(40, 40, 60, 60, image_size=(100, 100)),) for at in range(50)}
        >>> round(bias(middle).preferences["across"].spread.value, 2)
        0.0
    """
    known = [
        (image, box)
        for image, (name, several) in enumerate(boxes.items())
        for box in several
        if box.image_size is not None
    ]
    total = sum(map(len, boxes.values()))
    if not known:
        raise InputError(
            "no box knows its image's size", where="the boxes", todo="give annotations with width and height"
        )
    image = np.array([number for number, _ in known])
    edges = np.array([(box.x0, box.y0, box.x1, box.y1) for _, box in known], float)
    size = np.array([box.image_size for _, box in known], float)
    values = _values(edges, size)
    labels = np.array([box.label or "" for _, box in known])
    named, counts = np.unique(labels[labels != ""], return_counts=True)
    classes = {
        str(name): _preferences(image[labels == name], {s: v[labels == name] for s, v in values.items()}, seed)
        for name, count in sorted(zip(named, counts, strict=True), key=lambda each: -each[1])
        if count >= LEAST_BOXES
    }
    return Bias(
        images=len(np.unique(image)),
        boxes=len(known),
        left_out=total - len(known),
        touching=(int(np.isnan(values["across"]).sum()), int(np.isnan(values["down"]).sum())),
        preferences=_preferences(image, values, seed),
        classes=classes,
        heat=_heat(edges, size),
    )


def _values(edges: Float[np.ndarray, "box 4"], size: Float[np.ndarray, "box 2"]) -> dict[Side, Values]:
    """Each measure of each box; NaN where a box touches the edge."""
    x0, y0, x1, y1 = edges.T
    height, width = size.T
    with np.errstate(divide="ignore", invalid="ignore"):
        across, down = x0 / (width - (x1 - x0)), y0 / (height - (y1 - y0))
    area = (x1 - x0) * (y1 - y0) / (width * height)
    return {
        "across": np.where((x0 >= EDGE_PX) & (x1 <= width - EDGE_PX), across, np.nan),
        "down": np.where((y0 >= EDGE_PX) & (y1 <= height - EDGE_PX), down, np.nan),
        "size": np.sqrt(area),
    }


def _preferences(image: Int[np.ndarray, "box"], values: Mapping[Side, Values], seed: int) -> dict[Side, Preference]:
    largest = _largest_of_each(image, values["size"])
    return {side: _preference(side, image, values[side], largest, seed) for side in SIDES}


def _preference(
    side: Side, image: Int[np.ndarray, "box"], values: Values, largest: Int[np.ndarray, "image"], seed: int
) -> Preference:
    from scipy.stats import kstest

    known = np.isfinite(values)
    if not known.any():
        nothing = Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
        return Preference(side, float("nan"), nothing, float("nan"), np.zeros(BINS, np.int64))
    number, found = np.unique(image[known], return_inverse=True)[1], values[known]
    distance = float(kstest(found, "uniform").statistic)
    alone = values[largest]
    alone = alone[np.isfinite(alone)]
    p_value = float(kstest(alone, "uniform").pvalue) if len(alone) else float("nan")
    counts = np.bincount(number).astype(float)
    spread = magnitude(np.bincount(number, np.abs(found - 0.5) / 0.25), counts, weighting="pairs", seed=seed)
    return Preference(side, distance, spread, p_value, np.histogram(np.clip(found, 0, 1), BINS, (0, 1))[0])


def _largest_of_each(image: Int[np.ndarray, "box"], size: Values) -> Int[np.ndarray, "image"]:
    """The number of the largest box of each image."""
    order = np.lexsort((size, image))
    last = np.append(np.flatnonzero(np.diff(image[order])), len(order) - 1)
    return np.asarray(order[last])


def _heat(edges: Float[np.ndarray, "box 4"], size: Float[np.ndarray, "box 2"]) -> Float[np.ndarray, "y x"]:
    """How often each place of the image, on a grid, is inside a box; over the mean."""
    grid = (np.arange(2 * BINS) + 0.5) / (2 * BINS)
    x0, y0, x1, y1 = (edges / size[:, [1, 0, 1, 0]]).T
    inside_y = (grid >= y0[:, None]) & (grid < y1[:, None])
    inside_x = (grid >= x0[:, None]) & (grid < x1[:, None])
    counts = inside_y.T.astype(np.float64) @ inside_x.astype(np.float64)
    return np.asarray(counts / max(counts.mean(), 1e-12))
