"""How a tensor inside a net holds a map: channels first, channels last, or as tokens."""

from collections.abc import Sequence
from math import log, prod
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

from shiftable.errors import InputError

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

Layout: TypeAlias = Literal["NCHW", "NHWC", "tokens"]

MOST_TOKENS_IN_FRONT = 8
"""Class tokens, registers."""


class Grid(NamedTuple):
    """How a tensor holds a map.

    Args:
        layout: Which dimension is what.
        size: Positions, (y, x).
        channels: Of each position.
    """

    layout: Layout
    size: Pair
    channels: int


def grid_of(shape: Sequence[int], images: int, view_size: Pair) -> Grid | None:
    """How a tensor of this shape holds a map of a view, None if it holds none. **The** place where layouts are told.

    Four dimensions are (image, channel, y, x) or (image, y, x, channel): the one whose positions are as far apart
    along y as along x; where both are, the former. Three are (image, token, channel), the last y · x tokens of which
    are the positions of a grid over the view, after at most `MOST_TOKENS_IN_FRONT` others. A single position is no map.

    Args:
        shape: The tensor's.
        images: How many were shown.
        view_size: Of each, (height, width).

    Example:
        >>> grid_of((1, 64, 28, 28), 1, (224, 224))
        Grid(layout='NCHW', size=(28, 28), channels=64)
        >>> grid_of((1, 28, 28, 64), 1, (224, 224)).layout, grid_of((1, 197, 192), 1, (224, 224)).size
        ('NHWC', (14, 14))
        >>> grid_of((1, 1000, 1, 1), 1, (224, 224))
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) not in (3, 4) or shape[0] != images or min(shape) < 1:
        return None
    if len(shape) == 3:
        size = _token_grid(shape[1], view_size)
        return None if size is None else Grid("tokens", size, shape[2])
    first, second, third = shape[1:]
    readings = (Grid("NCHW", (second, third), first), Grid("NHWC", (first, second), third))
    grid = min(readings, key=lambda grid: _skew(grid.size, view_size))
    return grid if prod(grid.size) > 1 else None


def _skew(size: Pair, view_size: Pair) -> float:
    """How much farther apart positions are along one axis than along the other; what is but one position's is 0."""
    (rows, columns), (height, width) = size, view_size
    off = abs(log(height / rows) - log(width / columns))
    return off if off > max(1 / rows, 1 / columns) else 0.0  # sizes are rounded, and lose some to borders


def _token_grid(tokens: int, view_size: Pair) -> Pair | None:
    for patch in range(1, min(view_size) + 1):
        size = (view_size[0] // patch, view_size[1] // patch)
        if prod(size) <= tokens and not view_size[0] % patch and not view_size[1] % patch:  # the finest that fits
            return size if prod(size) > 1 and tokens - prod(size) <= MOST_TOKENS_IN_FRONT else None
    return None


def as_maps(tensor: Tensor, layout: Layout, view_size: Pair) -> Tensor:
    """A tensor that holds maps as (image, channel, y, x).

    Args:
        tensor: What a net holds.
        layout: Its layout, as `grid_of` told it: at another size, as of a circular net, it is the same.
        view_size: Of the net's input.

    Raises:
        InputError: If its tokens are no grid over the view.
    """
    if layout == "tokens":
        size = _token_grid(int(tensor.shape[1]), view_size)
        if size is None:
            raise InputError(f"{tensor.shape[1]} tokens are no grid over a view of {view_size[0]}×{view_size[1]} px")
        positions = tensor[:, -prod(size) :].mT
        return positions.reshape(*positions.shape[:2], *size)
    return tensor if layout == "NCHW" else tensor.movedim(3, 1)
