"""Measure a part of a net: the pixels that each position of its map sees, and the stride at which it repeats."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from shiftable.explaining.dependence import FAINT, Mode, reach
from shiftable.explaining.tile_grid import Grid

MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64)
"""Of the stride that the sizes of a net's maps tell, where windows or the net's own arithmetic make the true one larger."""

LARGEST_PX = 512
"""Larger multiples are not tried."""

AT_ONCE = 8
"""How many marked pictures run in one batch."""

EXACT = 1e-9
"""Differences below this share of a map's largest value are float64's rounding."""


@dataclass(frozen=True)
class Part:
    """A map inside a net: the tensor ``place`` that the call ``index`` returns, with y and x in ``dimensions``.

    Args:
        net: In float64 and evaluation mode.
        across_px: The other side of the strips on which one axis is measured.
        channels: Of the input.
    """

    net: nn.Module
    index: int
    place: int
    dimensions: tuple[int, int]
    channels: int
    across_px: int

    def __call__(self, pictures: Tensor) -> Tensor:
        """The map of each picture, its last two dimensions y and x."""
        return reach(self.net, pictures, self.index, self.place).movedim(self.dimensions, (-2, -1))

    def strip(self, pictures: Tensor, axis: int) -> Tensor:
        """The same of pictures that are ``(sample, channel, along, across)``; the map's last dimension runs along."""
        return self(pictures if axis == 0 else pictures.mT.contiguous()).movedim(-2 if axis == 0 else -1, -1)

    def noise(self, length_px: int, seed: int) -> Tensor:
        """A strip of noise, ``(1, channel, along, across)``."""
        weight = next(self.net.parameters(), torch.empty(0, dtype=torch.float64))
        made = torch.Generator().manual_seed(seed)
        picture = torch.randn((1, self.channels, length_px, self.across_px), generator=made, dtype=torch.float64)
        return picture.to(weight.device, weight.dtype)


def measure(
    part: Part, axis: int, stride_px: int, pitch_px: Fraction, reach_px: int, mode: Mode, seed: int
) -> Grid | None:
    """What the positions of a part see along an axis, at the smallest stride at which it really repeats.

    Args:
        part: The part.
        axis: 0 is y, 1 is x.
        stride_px: What the sizes of the maps on the way tell of the stride: it is tried, its multiples and divisors.
        pitch_px: How far apart the map's positions are.
        reach_px: About how far a pixel is seen.
        mode: What counts as being seen.
        seed: Of the noise.

    Returns:
        None if it repeats at none of them: its answer depends on the place itself.
    """
    for multiple in (each for each in MULTIPLES if each == 1 or each * stride_px <= LARGEST_PX):
        found = _repeating(part, axis, stride_px * multiple, pitch_px, reach_px, mode, seed)
        if found:
            break
    else:
        return None
    for smaller in (each for each in range(1, found.stride_px) if not found.stride_px % each):
        if (smaller / pitch_px).denominator == 1:
            less = _repeating(part, axis, smaller, pitch_px, reach_px, mode, seed)
            if less:
                return less
    return found


def _repeating(
    part: Part, axis: int, stride_px: int, pitch_px: Fraction, reach_px: int, mode: Mode, seed: int
) -> Grid | None:
    positions = stride_px / pitch_px
    if positions.denominator != 1 or not _seems_to_repeat(part, axis, stride_px, int(positions), reach_px, seed):
        return None
    grid = _extents(part, axis, stride_px, int(positions), reach_px, mode, seed)
    if grid is None or not _repeats(part, axis, grid, stride_px, grid.positions, seed):
        return None
    return replace(grid, any_size=all(_same_grid(part, axis, grid, rest, seed) for rest in _rests(stride_px)))


def _extents(
    part: Part, axis: int, stride_px: int, positions: int, reach_px: int, mode: Mode, seed: int
) -> Grid | None:
    """The first and the last pixel that each of ``positions`` neighbours sees; None if they don't repeat so."""
    # Marks end where no padding reaches: near the border a position may miss pixels that others like it see.
    clear = stride_px * ceil(reach_px / stride_px)
    length = 2 * clear + 6 * stride_px
    picture, other = part.noise(length, seed), part.noise(length, seed + 1)
    still = part.strip(picture, axis) if mode != "nan" else torch.empty(0)

    def answers(bands: Sequence[slice], marks: Tensor) -> Tensor:
        marked = picture.repeat(len(bands), 1, 1, 1)
        for each, band in zip(marked, bands, strict=True):
            each[:, band] = marks[0, :, band]
        return part.strip(marked, axis)

    def seen(bands: Sequence[slice]) -> Bool[np.ndarray, "band position"]:
        found = []
        if mode != "changed":
            found.append(answers(bands, torch.full_like(picture, torch.nan)).isnan())
        if mode != "nan":
            found.append(~((answers(bands, other) - still).abs() <= FAINT * still.abs().max()))
        return sum(found).bool().flatten(1, -2).any(1).cpu().numpy()  # type: ignore[union-attr]

    above = _flips(lambda ends: seen([slice(0, end) for end in ends]), clear, stride_px)
    below = _flips(lambda ends: seen([slice(length - end, length) for end in ends]), clear, stride_px)
    first = _law(above, stride_px, positions)
    last = _law({place: length - 1 - end for place, end in below.items()}, stride_px, positions)
    if first is None or last is None or any(a > b for a, b in zip(first, last, strict=True)):
        return None
    return Grid(stride_px, first, last, any_size=True)


def _flips(
    seen: Callable[[Sequence[int]], Bool[np.ndarray, "band position"]], low: int, stride_px: int
) -> dict[int, int]:
    """The positions that see row ``end`` of the picture, and none before it, for the ``end`` of one stride from ``low`` on.

    ``seen(ends)`` tells who sees the rows before each end. Halving: stretches in which nothing changes are not looked into.
    """
    high = low + stride_px
    known = dict(zip((low, high), seen([low, high]), strict=True))
    todo = [(low, high)]
    found: dict[int, int] = {}
    while todo:
        todo = [(a, b) for a, b in todo if (known[a] != known[b]).any()]
        for a, b in [(a, b) for a, b in todo if b == a + 1]:
            found.update(dict.fromkeys(np.flatnonzero(known[a] != known[b]).tolist(), a))
        todo = [(a, b) for a, b in todo if b > a + 1]
        middles = [(a + b) // 2 for a, b in todo]
        for start in range(0, len(middles), AT_ONCE):
            known.update(zip(middles[start : start + AT_ONCE], seen(middles[start : start + AT_ONCE]), strict=True))
        todo = [half for (a, b), middle in zip(todo, middles, strict=True) for half in ((a, middle), (middle, b))]
    return found


def _law(pixels: dict[int, int], stride_px: int, positions: int) -> tuple[int, ...] | None:
    """A pixel per position of one stride, from any ``positions`` neighbours; None if a position is missing or there twice."""
    if len(pixels) != positions:
        return None
    found = {place % positions: pixel - place // positions * stride_px for place, pixel in pixels.items()}
    return tuple(found[place] for place in range(positions)) if len(found) == positions else None


def inside(grid: Grid, length_px: int) -> slice:
    """The positions of a strip that see nothing outside it."""
    return slice(grid.begin, grid.end(length_px))


def _seems_to_repeat(part: Part, axis: int, stride_px: int, places: int, reach_px: int, seed: int) -> bool:
    """The same as `_repeats` before it is known what each position sees: a quick no to most strides that are none."""
    border = ceil(reach_px / stride_px) + 1
    length = stride_px * (2 * border + 4)
    picture = part.noise(length + stride_px, seed)
    still, moved = (part.strip(picture[:, :, start : start + length], axis) for start in (0, stride_px))
    first, last = border * places, (border + 3) * places
    return _equal(still[..., first + places : last + places], moved[..., first:last])


def _repeats(part: Part, axis: int, grid: Grid, moved_px: int, places: int, seed: int) -> bool:
    """Whether moving the picture moves the answer, and changes nothing else."""
    length = grid.stride_px * (ceil(grid.receptive_field_px / grid.stride_px) + 4)
    picture = part.noise(length + moved_px, seed)
    still = part.strip(picture[:, :, :length], axis)
    moved = part.strip(picture[:, :, moved_px:], axis)
    kept = inside(grid, length)
    return _equal(still[..., kept.start + places : kept.stop], moved[..., kept.start : kept.stop - places])


def _rests(stride_px: int) -> Iterator[int]:
    """By how much sizes are tried that are no multiple of the stride."""
    yield from sorted(
        {stride_px - 1, *(2**power for power in range(stride_px.bit_length()) if 2**power < stride_px)} - {0}
    )


def _same_grid(part: Part, axis: int, grid: Grid, rest: int, seed: int) -> bool:
    """Whether a picture that is ``rest`` px longer gets the same answer where the end is not seen."""
    length = grid.stride_px * (ceil(grid.receptive_field_px / grid.stride_px) + 4)
    picture = part.noise(length + rest, seed)
    try:
        longer = part.strip(picture, axis)
    except Exception:  # a net that joins maps of sizes that don't fit
        return False
    kept = inside(grid, length)
    return _equal(part.strip(picture[:, :, :length], axis)[..., kept], longer[..., kept])


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.numel():
        return False
    return bool((one - other).abs().max() <= EXACT * one.abs().max())
