"""What is where in a picture, in whole numbers: score maps that move with the picture, and their strongest maxima.

Every map is made of sums and differences of whole grey levels, so NumPy, PyTorch and any other language calculate the
same numbers to the last bit, in whatever order. Arrays of NumPy and PyTorch are both taken; they have any leading axes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Widths: TypeAlias = tuple[int, int]
"""The width of the inner box along (y, x), in px: what is smaller is smoothed away. 5 px is a blur of sigma 2 px."""

Map: TypeAlias = Any
"""An array of whole numbers, NumPy's or PyTorch's, of the shape (…, height, width)."""

BRIGHTEST = 4 * 255
"""Brightness is red + 2 green + blue."""


class Rule(NamedTuple):
    """How a place is chosen.

    Args:
        score: The map, of brightness and the widths. It has lost ``margin(width)`` px at each side.
        strict: Whether only what exceeds all of its eight neighbours counts. A maximum on the rim of what is looked at
            need not be one: it is often the slope of something outside, and moves with the rim.
        wide: Whether more is looked at than the places to choose from. The strongest maximum of all is then the anchor,
            and the place is the one that lies a multiple of the number of places from it.
        gain: The largest number on the way, as a multiple of the brightest and of the square of the inner box's area.
    """

    score: Callable[[Map, Widths], Map]
    strict: bool = True
    wide: bool = False
    gain: int = 16

    def fits_32_bits(self, widths: Widths) -> bool:
        """Whether 32 bits hold every number that comes up."""
        return self.gain * BRIGHTEST * (widths[0] * widths[1]) ** 2 < 2**31


def margin(width: int) -> int:
    """How many px a score map is shorter at each end than the picture."""
    return 2 * width - 1


def blobs(brightness: Map, widths: Widths) -> Map:
    """How much brighter or darker a place is than its surroundings: the absolute difference of two blurs.

    The blurs are triangles, of boxes of w and of 2w px (sigma 2 and 4 px for w = 5), after the difference of Gaussians
    in Shifman & Weiss 2024, whose stand-in they are: they need additions only.
    """
    fine = triangle(brightness, widths)
    coarse = fine
    for axis, width in zip((-2, -1), widths, strict=True):
        for _ in range(2):  # a triangle of twice the width is three of the width, weighted 1, 2, 1
            coarse = _from(coarse, 0, width, axis) + _from(coarse, width, 0, axis)
    return abs(16 * _inner(fine, widths) - coarse)


def ripples(brightness: Map, widths: Widths) -> Map:
    """The absolute Laplacian of the finer blur."""
    around = triangle(brightness, widths)
    middle = _inner(around, (1, 1))
    rows, columns = _from(around, 1, 1, -1), _from(around, 1, 1, -2)
    sides = _from(rows, 0, 2, -2) + _from(rows, 2, 0, -2) + _from(columns, 0, 2, -1) + _from(columns, 2, 0, -1)
    return _inner(abs(4 * middle - sides), (widths[0] - 1, widths[1] - 1))


def edges(brightness: Map, widths: Widths) -> Map:
    """The energy of the gradient, smoothed."""
    rows, columns = _from(brightness, 1, 1, -1), _from(brightness, 1, 1, -2)
    down, across = _from(rows, 2, 0, -2) - _from(rows, 0, 2, -2), _from(columns, 2, 0, -1) - _from(columns, 0, 2, -1)
    return _inner(triangle(down * down + across * across, widths), (widths[0] - 1, widths[1] - 1))


def light(brightness: Map, widths: Widths) -> Map:
    """The finer blur itself."""
    return _inner(triangle(brightness, widths), widths)


LOCAL_MAXIMUM = Rule(blobs)
"""The crop is centred on the strongest strict maximum among its places."""

RULES: Mapping[str, Rule | None] = {
    "anchored": Rule(blobs, wide=True),
    "local-maximum": LOCAL_MAXIMUM,
    "maximum": Rule(blobs, strict=False),
    "ripples": Rule(ripples),
    "edges": Rule(edges, gain=2 * BRIGHTEST),
    "light": Rule(light),
    "center": None,
}
"""Name → rule, the default first. ``"center"`` does not look at the picture: it is what the others are held against."""


def triangle(picture: Map, widths: Widths) -> Map:
    """The sum over a triangular window, a box of the width twice over along each axis. It loses width − 1 px a side."""
    for axis, width in zip((-2, -1), widths, strict=True):
        for _ in range(2):
            picture = box(picture, width, axis)
    return picture


def box(picture: Map, width: int, axis: int) -> Map:
    """The sums of ``width`` neighbours, put together of those of 1, 2, 4, … neighbours.

    Example:
        >>> import numpy as np
        >>> box(np.array([1, 2, 4, 8, 16]), 3, -1)
        array([ 7, 14, 28])
    """
    length = picture.shape[axis] - width + 1
    total, done, part, size = None, 0, picture, 1
    while True:
        if width & size:
            piece = _cut(part, done, length, axis)
            total = piece if total is None else total + piece
            done += size
        if done == width:
            return total
        part = _from(part, 0, size, axis) + _from(part, size, 0, axis)
        size *= 2


def strict_maxima(scores: Map) -> Map:
    """The scores of what exceeds its eight neighbours, 0 elsewhere; a px less at each side."""
    beside = _larger(_from(scores, 0, 2, -1), _from(scores, 2, 0, -1))
    three = _larger(beside, _from(scores, 1, 1, -1))
    around = _larger(_larger(_from(three, 0, 2, -2), _from(three, 2, 0, -2)), _from(beside, 1, 1, -2))
    middle = _inner(scores, (1, 1))
    return middle * (middle > around)


def _larger(one: Map, other: Map) -> Map:
    return np.maximum(one, other) if isinstance(one, np.ndarray) else one.maximum(other)


def _inner(picture: Map, px: Widths) -> Map:
    height, width = picture.shape[-2:]
    return picture[..., px[0] : height - px[0], px[1] : width - px[1]]


def _from(picture: Map, start: int, end: int, axis: int) -> Map:
    """All but the first ``start`` and the last ``end``."""
    return _cut(picture, start, picture.shape[axis] - start - end, axis)


def _cut(picture: Map, start: int, length: int, axis: int) -> Map:
    part = slice(start, start + length)
    return picture[..., part] if axis == -1 else picture[..., part, :]
