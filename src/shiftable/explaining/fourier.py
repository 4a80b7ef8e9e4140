"""Maps and their frequencies: exact moves by fractions of a position, power spectra, rings of equal frequency.

Frequencies are in cycles per position: 0 to 0.5 along an axis. Spectra are half planes, as real maps need: columns that
stand for two frequencies, +f and −f, hold the power of both, so that a spectrum's plain sum is the map's power.
"""

from math import pi, prod
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

AT_ONCE = 2**22
"""Values that are transformed at a time, so that spectra of large maps need little memory."""


def shift_matrix(size: int, shift: float, *, mirrored: bool = False) -> Float64[Tensor, "to from"]:
    """What moves a line of positions by any distance: exact for what is band-limited.

    A shift by a whole number copies. At half the sampling frequency, where the position between two values is
    undefined, the cosine's part is taken: values stay real.

    Args:
        size: Positions.
        shift: How far the content moves on, in positions.
        mirrored: Beyond its ends the line goes on as its mirror image, not from its other end: for maps that are no
            circle, whose ends would make a step. What comes in is then made up.

    Example:
        >>> (shift_matrix(4, 1.0) @ torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)).round().tolist()
        [4.0, 1.0, 2.0, 3.0]
    """
    around = 2 * size if mirrored else size
    if float(shift).is_integer():
        matrix = torch.eye(around, dtype=torch.float64).roll(int(shift), 0)
    else:
        turn = torch.exp(-2j * pi * shift * torch.fft.rfftfreq(around, dtype=torch.float64))
        kernel = torch.fft.irfft(turn, n=around)
        places = torch.arange(around)
        matrix = kernel[(places[:, None] - places) % around]
    if not mirrored:
        return matrix
    return matrix[:size, :size] + matrix[:size, size:].flip(1)


def shifted(
    maps: Float[Tensor, "*more y x"], shift: tuple[float, float], *, mirrored: bool = False
) -> Float[Tensor, "*more y x"]:
    """Maps moved down and to the right by any distance, in positions: in a circle, or into their mirror images.

    Args:
        maps: The maps.
        shift: (down, right).
        mirrored: As in `shift_matrix`.
    """
    down, right = (
        shift_matrix(size, along, mirrored=mirrored).to(maps.dtype).to(maps.device) if along else None
        for size, along in zip(maps.shape[-2:], shift, strict=True)
    )
    if right is not None:
        maps = maps @ right.mT
    return maps if down is None else down @ maps


def hann(size: Pair) -> Float64[Tensor, "y x"]:
    """A window that is 0 beyond the edges and smooth, so that the edges' steps do not look like high frequencies."""
    rows, columns = (torch.sin(pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n) ** 2 for n in size)
    return rows[:, None] * columns


def power_spectrum(maps: Float[Tensor, "*more y x"], *, windowed: bool) -> Float64[Tensor, "f_y f_x"]:
    """The power at each frequency, summed over all maps, each without its mean (the window's, if there is one).

    Its sum is the sum of squares of what was transformed (Parseval).

    Args:
        maps: The maps.
        windowed: Under a Hann window; else they are taken to be circles.
    """
    size: Pair = (int(maps.shape[-2]), int(maps.shape[-1]))
    flat = maps.reshape(-1, *size)
    window = hann(size).float().to(maps.device) if windowed else None
    power = torch.zeros(size[0], size[1] // 2 + 1, dtype=torch.float64)
    for block in torch.split(flat, max(1, AT_ONCE // prod(size))):
        found = torch.fft.rfft2(_centred(block.float(), window), norm="ortho")
        power += (found.real.square() + found.imag.square()).sum(0).cpu()
    power[:, 1 : (size[1] + 1) // 2] *= 2
    return power


def _centred(maps: Tensor, window: Tensor | None) -> Tensor:
    if window is None:
        return maps - maps.mean((-2, -1), keepdim=True)
    return (maps - (maps * window).sum((-2, -1), keepdim=True) / window.sum()) * window


def frequencies(size: Pair) -> tuple[Float64[Tensor, "f_y 1"], Float64[Tensor, "1 f_x"]]:
    """Those of a spectrum's rows and columns, without sign."""
    return (
        torch.fft.fftfreq(size[0], dtype=torch.float64).abs()[:, None],
        torch.fft.rfftfreq(size[1], dtype=torch.float64)[None],
    )


def carried(size: Pair, stride: Pair) -> Float64[Tensor, "f_y f_x"]:
    """How much of each frequency's power a stride can carry: 1 inside the square |f| < 1 / (2 · stride), 0 outside.

    A frequency on the edge counts half, as half of its bin lies inside. So 1 − 1 / (stride_y · stride_x) of white
    noise's frequencies are outside, whatever the size.
    """
    rows, columns = (_inside(f, step) for f, step in zip(frequencies(size), stride, strict=True))
    return rows * columns


def _inside(frequency: Tensor, stride: int) -> Tensor:
    if stride == 1:
        return torch.ones_like(frequency)
    beyond = (2 * stride * frequency - 1).round(decimals=9)  # so that the edge is the edge, whatever the rounding
    return (1 - torch.sign(beyond)) / 2


def centroid(power: Float64[Tensor, "f_y f_x"], size: Pair) -> float:
    """The mean distance from frequency 0, weighted by power: how sharp a map is. NaN of a map that is constant."""
    rows, columns = frequencies(size)
    return float((power * torch.hypot(rows, columns)).sum() / power.sum())


class Rings(NamedTuple):
    """A spectrum by the distance from frequency 0.

    Args:
        frequency: That distance, in cycles per position.
        density: Mean power over the ring, by unit of frequency along both axes: 1 everywhere for white noise.
        share: Of all frequencies, those in the ring: ``(density * share).sum()`` is 1.
    """

    frequency: Float64[Tensor, "ring"]
    density: Float64[Tensor, "ring"]
    share: Float64[Tensor, "ring"]


def rings(power: Float64[Tensor, "f_y f_x"], size: Pair) -> Rings:
    """A spectrum's density by frequency, of a total power of 1; 0 of maps that are constant.

    Args:
        power: Of `power_spectrum`.
        size: Of the maps.
    """
    rows, columns = frequencies(size)
    shortest = min(size)
    ring = (torch.hypot(rows, columns) * shortest).round().long().flatten()
    bins = torch.full(power.shape, 1.0, dtype=torch.float64)
    bins[:, 1 : (size[1] + 1) // 2] = 2  # columns that stand for two frequencies
    count = torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add(0, ring, bins.flatten())
    total = torch.zeros_like(count).index_add(0, ring, power.flatten())
    some = count > 0
    share, whole = count[some] / prod(size), max(float(total.sum()), torch.finfo(torch.float64).tiny)
    return Rings((torch.arange(len(count)) / shortest).double()[some], total[some] / whole / share, share)
