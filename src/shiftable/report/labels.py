"""Names beside points, so that none covers another."""

from collections.abc import Sequence
from math import hypot
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

NEAR = 12.0
"""How far a name may be from its point without a line to it."""

STEP = 8.0
"""How far apart the places are that are tried, across."""

Boxes = Float[np.ndarray, "box 4"]


class Box(NamedTuple):
    """A rectangle, in a chart's own units; down is positive."""

    left: float
    top: float
    right: float
    bottom: float

    def leader(self, bar: "Box") -> tuple[float, float, float, float] | None:
        """The line (x, y, x, y) from an interval to its name, if the name is not beside it."""
        x = (bar.left + bar.right) / 2
        end = min(max(x, self.left), self.right)
        start = min(max((self.top + self.bottom) / 2, bar.top), bar.bottom)
        level = min(max(start, self.top), self.bottom)
        return None if hypot(end - x, level - start) <= NEAR else (x, start, end, level)


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    bars: Sequence[Box],
    mark: float = 5.0,
) -> list[Box | None]:
    """Where to write a name for each point: beside it where there is room, else as near as there is.

    Args:
        points: (x, y).
        sizes: (width, height) of the names.
        frame: What they must stay inside of.
        bars: The points' intervals. A name may stand beside its own; it covers one only where there is no other room.
        mark: How far a point's mark reaches; no name covers one.

    Returns:
        A box per name; None where there is no room at all.
    """
    taken = [Box(x - mark, y - mark, x + mark, y + mark) for x, y in points]
    placed: list[Box | None] = []
    for point, size, bar in zip(points, sizes, bars, strict=True):
        near = _near(point, size, frame, bar, mark + 2)
        room = near[~_overlap(near, np.array(taken))]
        clear = room[~_overlap(room, np.array(bars))]
        best = [Box(*box) for box in (*clear[:1].tolist(), *room[:1].tolist())][:1]
        placed.append(best[0] if best else None)
        taken += best
    return placed


def _near(point: tuple[float, float], size: tuple[float, float], frame: Box, bar: Box, gap: float) -> Boxes:
    """Boxes in the frame: beside the point, then all on a grid, those nearest to the point's bar first."""
    (x, y), (width, height) = point, size
    side, half = gap + width / 2, (gap + height / 2) / 2
    beside = [(x + across, y + down) for down in (0.0, -half, half) for across in (side, -side)]
    rows = np.arange(frame.top + height / 2, frame.bottom - height / 2 + 1e-9, height / 2)
    columns = np.arange(frame.left + width / 2, frame.right - width / 2 + 1e-9, STEP)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    aside = np.maximum(np.abs(grid[:, 0] - x) - width / 2, 0)
    above = np.maximum(bar.top - grid[:, 1], grid[:, 1] - bar.bottom) - height / 2
    far = np.hypot(aside, np.maximum(above, 0)) + 0.2 * np.hypot(*(grid - [x, y]).T)
    middles = np.concatenate([beside, grid[np.argsort(far, kind="stable")]])
    corner = np.array([width, height]) / 2
    boxes = np.concatenate([middles - corner, middles + corner], axis=1)
    inside = (boxes[:, :2] >= frame[:2]).all(axis=1) & (boxes[:, 2:] <= frame[2:]).all(axis=1)
    return np.asarray(boxes[inside])


def _overlap(boxes: Boxes, others: Float[np.ndarray, "other 4"]) -> Bool[np.ndarray, "box"]:
    """Which boxes share more than an edge with any of the others."""
    starts, ends = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.asarray((starts < ends).all(axis=2).any(axis=1))
