"""What can't change: the exact set of shifts inside which a chosen crop is the same, byte for byte."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from shiftable.models.crop_rules import RULES, margin
from shiftable.models.crop_selection import Axis, Chosen, brightness, considered, lay_axes, looks, select
from shiftable.models.preprocessing import CropSelection, Size


@dataclass(frozen=True)
class SafeShifts:
    """The shifts of an image's content inside which its crop stays as it is.

    Args:
        chosen: The crop.
        safe: Whether the crop is the same when the content moves by ``dy[i]`` px down and ``dx[j]`` px right, and
            anything whatever comes in at the borders. True at (0, 0).
        dy: The shifts down, in px of the image: all that the crop could follow at all.
        dx: The same, to the right.
    """

    chosen: Chosen
    safe: Bool[np.ndarray, "down right"]
    dy: range
    dx: range

    @property
    def radius_px(self) -> int:
        """The largest r such that every shift by at most r px along both axes is safe."""
        far = np.maximum(*(abs(axis) for axis in np.meshgrid(self.dy, self.dx, indexing="ij")))
        unsafe = far[~self.safe]
        return int(min(unsafe.min(initial=far.max() + 1) - 1, -self.dy[0], self.dy[-1], -self.dx[0], self.dx[-1]))

    @property
    def neighbours(self) -> float:
        """The share that is safe of the four shifts by one px up, down, left and right."""
        return float(np.mean([self(dy, dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))]))

    def __call__(self, dy: int, dx: int) -> bool:
        """Whether this shift is known to be safe."""
        return dy in self.dy and dx in self.dx and bool(self.safe[self.dy.index(dy), self.dx.index(dx)])


def safe_shifts(
    image: UInt8[np.ndarray, "height width 3"], selection: CropSelection, resize_px: int | Size, view_size: Size
) -> SafeShifts:
    """The exact set of whole-pixel shifts of what the rule sees inside which nothing can change.

    After DESIGN's D = {d : the kept place is among the places moved by d, and no stronger strict maximum}: here every
    shift's own choice is calculated from the one image, which shows all that the choice would look at. What would lie
    outside counts as unsafe; that happens only where the crop is small (less than about three times the room).

    Of a letterbox, what can't change is where the picture lies in it: what it shows of the picture before and after is
    the same bytes, but its rim has moved.

    It holds for integer shifts of the pixels that the rule sees, all of them alike: not for noise, light, zoom,
    fractions of a pixel, or an object that moves before a still background.

    Args:
        image: RGB; as for `select`.
        selection: As for `select`.
        resize_px: As for `select`.
        view_size: As for `select`.

    Raises:
        InputError: As `select`.
    """
    chosen = select(image, selection, resize_px, view_size)
    y, x = lay_axes((image.shape[0], image.shape[1]), resize_px, view_size, selection)
    dy, dx = range(1 - y.places, y.places), range(1 - x.places, x.places)
    safe = np.zeros((len(dy), len(dx)), bool)
    safe[y.places - 1, x.places - 1] = True
    rule = RULES[selection.rule]
    if rule is None or not looks((y, x)) or not chosen.found:
        return SafeShifts(chosen, safe, dy, dx)  # the centre moves with every step

    (start_y, end_y), (start_x, end_x) = _known(y, image.shape[0]), _known(x, image.shape[1])
    around_y, around_x = margin(y.width) + 1, margin(x.width) + 1
    patch = brightness(
        image[start_y - around_y : end_y + around_y, start_x - around_x : end_x + around_x],
        np.int32 if rule.fits_32_bits((y.width, x.width)) else np.int64,
    )
    row, column, found = _strongest_of_each(considered(patch, (y.width, x.width), rule), (y.seen, x.seen))
    # the content moves down by as much as what is looked at moves up
    down = y.start - start_y - np.arange(len(row))[:, None]
    right = x.start - start_x - np.arange(row.shape[1])
    place_y = np.where(found, y.place(row + start_y - y.start + down), y.middle)
    place_x = np.where(found, x.place(column + start_x - x.start + right), x.middle)
    same = (place_y == chosen.top - y.first + down) & (place_x == chosen.left - x.first + right)
    safe[np.ix_(down[:, 0] - dy[0], right - dx[0])] = same
    return SafeShifts(chosen, safe, dy, dx)


def _known(axis: Axis, length: int) -> tuple[int, int]:
    """The first px that can be looked at in some shift, and the first after them: as far as the image has them."""
    around = margin(axis.width) + 1
    start = max(axis.start - axis.places + 1, around)
    return start, min(axis.start + axis.seen + axis.places - 1, length - around)


def _strongest_of_each(
    scores: Int[np.ndarray, "height width"], window: Size
) -> tuple[Int[np.ndarray, "row column"], Int[np.ndarray, "row column"], Bool[np.ndarray, "row column"]]:
    """(row, column, whether there is one and no equal) of the strongest score in every window of this size."""
    # a score's rank and where it is, in one number: of equal ones the last wins in one, the first in the other
    _, ranks = np.unique(scores, return_inverse=True)
    ranks, at = ranks.reshape(scores.shape).astype(np.int64), np.arange(scores.size).reshape(scores.shape)
    last = _highest(ranks * scores.size + at, window)
    first = _highest(ranks * scores.size + at[::-1, ::-1], window)
    where, same = last % scores.size, scores.size - 1 - first % scores.size
    row, column = where // scores.shape[1], where % scores.shape[1]
    return row, column, (where == same) & (scores[row, column] > 0)


def _highest(numbers: Int[np.ndarray, "height width"], window: Size) -> Int[np.ndarray, "row column"]:
    """The largest number in every window, put together of those of windows of 1, 2, 4, … px."""
    for axis, width in enumerate(window):
        turned, size = np.moveaxis(numbers, axis, 0), 1
        count = len(turned) - width + 1
        while 2 * size <= width:
            turned = np.maximum(turned[:-size], turned[size:])
            size *= 2
        numbers = np.moveaxis(np.maximum(turned[:count], turned[width - size : width - size + count]), 0, axis)
    return numbers
