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
"""Of the stride that the maps' sizes tell, where windows or the net's own arithmetic make the true one larger."""

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


@dataclass(frozen=True)
class Trial:
    """One stride tried on one axis.

    Args:
        part: The part.
        axis: 0 is y, 1 is x.
        stride_px: The stride.
        positions: How many positions of the map that would be.
        grain_px: Strips are multiples of it, because the net may take no others.
        reach_px: About how far a pixel is seen.
        mode: What counts as being seen.
        seed: Of the noise.
    """

    part: Part
    axis: int
    stride_px: int
    positions: int
    grain_px: int
    reach_px: int
    mode: Mode
    seed: int

    def length_px(self, least_px: int) -> int:
        """The shortest strip of that length or more."""
        return self.grain_px * ceil(least_px / self.grain_px)

    def noise(self, length_px: int, other: int = 0) -> Tensor:
        """A strip of noise."""
        return self.part.noise(length_px, self.seed + other)

    def run(self, picture: Tensor) -> Tensor:
        """The map of a strip, its last dimension along the axis."""
        return self.part.strip(picture, self.axis)


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

    def tried(stride: int, grain: int) -> Grid | None:
        positions = stride / pitch_px
        if positions.denominator != 1:
            return None
        return _repeating(Trial(part, axis, stride, int(positions), grain, reach_px, mode, seed))

    larger = (stride_px * each for each in MULTIPLES if each == 1 or each * stride_px <= LARGEST_PX)
    found = next((grid for stride in larger if (grid := tried(stride, stride))), None)
    if found is None:
        return None
    smaller = (each for each in range(1, found.stride_px) if not found.stride_px % each)
    return next((grid for stride in smaller if (grid := tried(stride, found.stride_px))), found)


def _repeating(trial: Trial) -> Grid | None:
    if not _seems_to_repeat(trial):
        return None
    grid = _extents(trial)
    if grid is None or not _repeats(trial, grid):
        return None
    return replace(grid, any_size=all(_same_grid(trial, grid, rest) for rest in _rests(trial.stride_px)))


def _extents(trial: Trial) -> Grid | None:
    """The first and the last pixel that each of some neighbours sees; None if they don't repeat at the stride."""
    # Marks end where no padding reaches: near the border a position may miss pixels that others like it see.
    clear = trial.length_px(trial.reach_px)
    length = trial.length_px(2 * clear + 6 * trial.stride_px)
    picture, other = trial.noise(length), trial.noise(length, other=1)
    still = trial.run(picture) if trial.mode != "nan" else torch.empty(0)

    def answers(bands: Sequence[slice], marks: Tensor) -> Tensor:
        marked = picture.repeat(len(bands), 1, 1, 1)
        for each, band in zip(marked, bands, strict=True):
            each[:, band] = marks[0, :, band]
        return trial.run(marked)

    def seen(bands: Sequence[slice]) -> Bool[np.ndarray, "band position"]:
        found = []
        if trial.mode != "changed":
            found.append(answers(bands, torch.full_like(picture, torch.nan)).isnan())
        if trial.mode != "nan":
            found.append(~((answers(bands, other) - still).abs() <= FAINT * still.abs().max()))
        return torch.stack(found).any(0).flatten(1, -2).any(1).cpu().numpy()

    above = _flips(lambda ends: seen([slice(0, end) for end in ends]), clear, trial.stride_px)
    below = _flips(lambda ends: seen([slice(length - end, length) for end in ends]), clear, trial.stride_px)
    first = _law(above, trial)
    last = _law({place: length - 1 - end for place, end in below.items()}, trial)
    if first is None or last is None or any(a > b for a, b in zip(first, last, strict=True)):
        return None
    return Grid(trial.stride_px, first, last, any_size=True)


def _flips(
    seen: Callable[[Sequence[int]], Bool[np.ndarray, "band position"]], low: int, stride_px: int
) -> dict[int, int]:
    """Positions that see row ``end`` of the picture and none before it, for the ``end`` of a stride from ``low`` on.

    ``seen(ends)`` tells who sees the rows before each end. Stretches in which nothing changes are not looked into.
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


def _law(pixels: dict[int, int], trial: Trial) -> tuple[int, ...] | None:
    """A pixel per position of one stride, from as many neighbours; None if a position is missing or there twice."""
    count, stride = trial.positions, trial.stride_px
    found = {place % count: pixel - place // count * stride for place, pixel in pixels.items()}
    return tuple(found[place] for place in range(count)) if len(found) == len(pixels) == count else None


def _seems_to_repeat(trial: Trial) -> bool:
    """The same as `_repeats` before it is known what each position sees: a quick no to most strides that are none."""
    border = ceil(trial.reach_px / trial.stride_px) + 1
    length = trial.length_px(trial.stride_px * (2 * border + 4))
    first, last = border * trial.positions, (border + 3) * trial.positions
    return _moves_along(trial, length, slice(first, last + trial.positions))


def _repeats(trial: Trial, grid: Grid) -> bool:
    """Whether moving the picture moves the answer, and changes nothing else, wherever no border is seen."""
    length = _wide_enough(trial, grid)
    return _moves_along(trial, length, slice(grid.begin, grid.end(length)))


def _moves_along(trial: Trial, length_px: int, kept: slice) -> bool:
    picture = trial.noise(length_px + trial.stride_px)
    still, moved = (trial.run(picture[:, :, start : start + length_px]) for start in (0, trial.stride_px))
    return _equal(
        still[..., kept.start + trial.positions : kept.stop], moved[..., kept.start : kept.stop - trial.positions]
    )


def _wide_enough(trial: Trial, grid: Grid) -> int:
    return trial.length_px(grid.receptive_field_px + 4 * grid.stride_px)


def _rests(stride_px: int) -> Iterator[int]:
    """By how much sizes are tried that are no multiple of the stride."""
    powers = (2**power for power in range(stride_px.bit_length()))
    yield from sorted({stride_px - 1, *(power for power in powers if power < stride_px)} - {0})


def _same_grid(trial: Trial, grid: Grid, rest: int) -> bool:
    """Whether a picture that is ``rest`` px longer gets the same answer where its end is not seen."""
    length = _wide_enough(trial, grid)
    picture = trial.noise(length + rest)
    try:
        longer = trial.run(picture)
    except Exception:  # a net that joins maps of sizes that don't fit
        return False
    kept = slice(grid.begin, grid.end(length))
    return _equal(trial.run(picture[:, :, :length])[..., kept], longer[..., kept])


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.numel():
        return False
    return bool((one - other).abs().max() <= EXACT * one.abs().max())
