"""How much the picture moved between two frames, and what is left when that is undone.

One shift for the whole picture: the camera's, or the largest object's. To whole pixels by phase correlation (Kuglin &
Hines, "The phase correlation image alignment method", Proc. IEEE Conf. Cybernetics and Society, 1975), then, on the
part that both frames show, to the top of the correlation between the pixels, where its Fourier sum is evaluated as such
(as Guizar-Sicairos, Thurman & Fienup, "Efficient subpixel image registration algorithms", Optics Letters 33, 2008, do
on a fine grid; here by Newton's method).
"""

from functools import lru_cache
from math import pi
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float32, Float64
from PIL import Image

from shiftable.auditing.motions.stage import Picture

SIDE_PX = 256
"""About how long the shorter side of a frame is when its motion is looked for."""

Grey = Float32[np.ndarray, "_ _"]
Spectrum = Complex[np.ndarray, "_ _"]

FINEST = 0.35
"""Up to which frequency, in cycles per pixel, phases count: what is finer is mostly noise and aliases."""

NEWTON_STEPS = 4
"""At most, from the parabola through whole px to the top: each step squares the error, which is 0.1 px at first."""

SMALL_PX = 1e-3
"""A step shorter than this is the last one: what is left is its square."""


BORDER = 3
"""Px along the border that the residual leaves out: what they would be sampled from is not all there."""


class Glance(NamedTuple):
    """What is kept of a frame to see how the next one has moved."""

    grey: Grey
    spectrum: Spectrum
    """Of the whole frame, windowed."""
    reduced: int
    """How many px of the frame, along each axis, one px of ``grey`` stands for."""


class Moved(NamedTuple):
    """What happened between two frames, in px of the frames: the content moved down by ``dy`` and right by ``dx``."""

    dy: float
    dx: float
    residual: float
    """Mean absolute difference of the grey levels (0 to 255) that is left when the shift is undone."""


def glance(frame: Picture, side_px: int = SIDE_PX) -> Glance:
    """A frame, made ready: grey, and reduced by a whole factor so that its shorter side is about ``side_px``."""
    reduced = max(1, round(min(frame.shape[:2]) / side_px))
    grey = _grey(frame, reduced)
    return Glance(grey, _spectrum(grey, grey.shape), reduced)


def moved_between(before: Glance, now: Glance) -> Moved:
    """How the second frame has moved against the first. Exactly 0 for the same frame.

    Known to about 0.05 px of the reduced frames, where the picture as a whole moves by up to a quarter of its side.
    Another brightness or contrast changes nothing but the residual.
    """
    if np.array_equal(before.grey, now.grey):
        return Moved(0.0, 0.0, 0.0)
    y, x = _peak(before.spectrum, now.spectrum, before.grey.shape)
    one, other = _common(before.grey, now.grey, y, x)
    spectra, size = (before.spectrum, now.spectrum), before.grey.shape
    if (y, x) != (0, 0):
        size = _padded(one.shape)
        spectra = _spectrum(one, size), _spectrum(other, size)
    down, right = _between(*spectra, size)
    residual = _left_over(one, other, down, right)
    return Moved((y + down) * before.reduced, (x + right) * before.reduced, residual)


def _grey(frame: Picture, reduced: int) -> Grey:
    """The mean of the three colours. Rows of RGB, taken for rows of grey three times as wide: the fastest there is."""
    wide = Image.fromarray(np.ascontiguousarray(frame).reshape(len(frame), -1))
    return np.asarray(wide.reduce((3 * reduced, reduced)), np.float32)


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The next size that Fourier transforms are fast for: zeros may follow a picture that its window brings to 0."""
    from scipy import fft

    return tuple(fft.next_fast_len(side, real=True) for side in shape)


@lru_cache(maxsize=512)
def _window(side: int) -> Float32[np.ndarray, "side"]:
    """Hann's, without its zeros: the borders, where content enters and leaves, hardly count."""
    return np.hanning(side + 2)[1:-1].astype(np.float32)


@lru_cache(maxsize=512)
def _frequencies(side: int, half: bool) -> tuple[Float64[np.ndarray, "some"], Float32[np.ndarray, "some"]]:
    """Cycles per px, and how much the phases there count: little of what is fine."""
    from scipy import fft

    cycles = fft.rfftfreq(side) if half else fft.fftfreq(side)
    return cycles, np.exp(-2 * (cycles / FINEST) ** 2).astype(np.float32)


def _spectrum(grey: Grey, size: tuple[int, ...]) -> Spectrum:
    """The waves of the windowed picture, laid on zeros of this size."""
    from scipy import fft

    down, right = (_window(side) for side in grey.shape)
    if grey.min() == grey.max():  # rounding must not look like a picture
        return np.zeros((size[0], size[1] // 2 + 1), np.complex64)
    window = down[:, None] * right
    windowed = grey * window  # no product of matrices here: BLAS waking its threads can take longer than all else
    return np.asarray(fft.rfft2(windowed - windowed.mean() / window.mean() * window, s=size))


def _cross_power(before: Spectrum, now: Spectrum, shape: tuple[int, ...], *, whole: bool) -> Spectrum:
    """The phases by which the second spectrum is ahead, the fine ones weighed less.

    Wholly whitened, or half: of size 1, or √|cross-power|, before they are weighed.
    """
    cross = now * before.conj()
    size = np.abs(cross)
    most = size.max()
    if not most > 0:
        return np.asarray(cross)
    gain = (np.float32(1) if whole else np.sqrt(size)) / (size + 1e-9 * most)
    cross *= gain * _frequencies(shape[0], False)[1][:, None] * _frequencies(shape[1], True)[1]
    return np.asarray(cross)


def _peak(before: Spectrum, now: Spectrum, shape: tuple[int, ...]) -> tuple[int, int]:
    """The shift to whole px: where the phase correlation is highest, up to a quarter of a side away."""
    from scipy import fft

    waves = fft.ifft(_cross_power(before, now, shape, whole=True), axis=0)
    reach_y, reach_x = (side // 4 for side in shape)
    correlation = fft.irfft(waves[np.arange(-reach_y, reach_y + 1)], n=shape[1])
    near = np.roll(correlation, reach_x, axis=1)[:, : 2 * reach_x + 1]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    return (int(y) - reach_y, int(x) - reach_x) if near.max() > 0 else (0, 0)


def _between(before: Spectrum, now: Spectrum, shape: tuple[int, ...]) -> tuple[float, float]:
    """The rest of the shift, about 1 px at most: where the correlation, as a sum of waves, has its top.

    Half whitened: wholly whitened, the noise at fine frequencies counts as much as the picture at coarse ones.
    """
    cross = _cross_power(before, now, shape, whole=False)
    if not cross.any():
        return 0.0, 0.0
    cross[:, 1:] *= 2  # a real picture's spectrum is its own mirror image: only one half is there
    waves_y, waves_x = 2j * pi * _frequencies(shape[0], False)[0], 2j * pi * _frequencies(shape[1], True)[0]
    place = np.array([_nearest(cross.sum(axis=1), waves_y), _nearest(cross.sum(axis=0), waves_x)])
    for _ in range(NEWTON_STEPS):
        rows, columns = (np.exp(waves * at) for waves, at in zip((waves_y, waves_x), place, strict=True))
        # value, slopes and bends of the sum along each axis. No product of matrices: BLAS waking its threads can take
        # longer than all else
        along_y = np.stack([rows, waves_y * rows, waves_y**2 * rows])
        along_x = np.stack([columns, waves_x * columns, waves_x**2 * columns]).astype(cross.dtype)
        table = np.einsum("ay,by->ab", along_y, np.vecdot(along_x.conj()[:, None], cross)).real
        slope, bend = table[[1, 0], [0, 1]], np.array([[table[2, 0], table[1, 1]], [table[1, 1], table[0, 2]]])
        if bend[0, 0] >= 0 or np.linalg.det(bend) <= 0:  # no top near here
            break
        step = np.clip(np.linalg.solve(bend, slope), -0.5, 0.5)
        place -= step
        if np.abs(step).max() < SMALL_PX:
            break
    return float(np.clip(place[0], -1, 1)), float(np.clip(place[1], -1, 1))


def _nearest(cross: Complex[np.ndarray, "wave"], waves: Complex[np.ndarray, "wave"]) -> float:
    """The top of the parabola through the sums of these waves at -1, 0 and 1 px."""
    return _top(np.array([(cross * np.exp(waves * at)).sum().real for at in (-1, 0, 1)]))


def _top(three: np.ndarray) -> float:
    """Where a parabola through three values, a step apart, is highest: steps from the middle one, 1 at most."""
    left, middle, right = map(float, three)
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -1, 1)) if bend < 0 else 0.0


def _common(before: Grey, now: Grey, y: int, x: int) -> tuple[Grey, Grey]:
    """What both show, where the content has moved by whole px."""
    height, width = before.shape
    rows, columns = height - abs(y), width - abs(x)
    up, left, down, right = max(0, -y), max(0, -x), max(0, y), max(0, x)
    return before[up : up + rows, left : left + columns], now[down : down + rows, right : right + columns]


def _left_over(before: Grey, now: Grey, y: float, x: float) -> float:
    """The mean absolute difference when a shift of less than 1 px is undone, away from the border."""
    undone = _sampled(_sampled(now, y).T, x).T
    left = np.abs(undone - before[BORDER:-BORDER, BORDER:-BORDER])
    return float(left.mean()) if left.size else 0.0


def _sampled(grey: Grey, offset: float) -> Grey:
    """Rows in between, by cubic convolution (Keys, IEEE Trans. ASSP 29, 1981): exact for whole px."""
    whole = int(np.floor(offset))
    t = offset - whole
    taps = (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        (((4 - 3 * t) * t + 1) * t) / 2,
        ((t - 1) * t * t) / 2,
    )
    count = len(grey) - 2 * BORDER
    first = BORDER + whole - 1
    return np.asarray(sum(np.float32(tap) * grey[first + k : first + k + count] for k, tap in enumerate(taps)))
