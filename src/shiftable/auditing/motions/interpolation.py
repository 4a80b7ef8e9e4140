"""Between the pixels: shifts of a periodic picture by Fourier, and any part of a scene straight from its source."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from jaxtyping import Complex, Float
from PIL import Image

from shiftable.auditing.motions.sliding import lay_out
from shiftable.auditing.motions.stage import Picture, Window
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import GREY, LETTERBOXES, RESAMPLERS, Size

DECIMALS = 9
"""Places in px are rounded to so many decimals: ten steps of 0.1 px are one pixel, whatever floats say."""


def fourier_shift(
    values: Float[np.ndarray, "height width *channel"], dy: float | int, dx: float | int
) -> Float[np.ndarray, "height width *channel"]:
    """A picture shifted in a circle by fractions of a pixel, exactly: each of its waves is moved.

    The wave of frequency f, in cycles per px, gets the factor exp(-2πi f d). Along an axis of even length one wave
    alternates from pixel to pixel (f = 1/2, Nyquist), and a real picture can't say which way that one moves: its factor
    is cos(π d), the mean of both ways, and the result is real. So shifts by whole pixels are `np.roll`, and shifts
    add up, but for that one wave: moved by half a pixel it is gone. The mean never changes.

    Args:
        values: Of any range. Shifted along the first two axes.
        dy: How far the content moves down, in px.
        dx: How far it moves to the right, in px.

    Example:
        >>> fourier_shift(np.array([[0.0, 0.0, 3.0]]), 0, 1).round(6) + 0
        array([[3., 0., 0.]])
    """
    return fourier_shifts(values)(dy, dx)


def fourier_shifts(
    values: Float[np.ndarray, "height width *channel"],
) -> Callable[[float | int, float | int], Float[np.ndarray, "height width *channel"]]:
    """`fourier_shift` of one picture to many places: its waves are found once."""
    height, width = values.shape[:2]
    planes = np.moveaxis(values, (0, 1), (-2, -1))
    spectrum = np.fft.rfft2(planes)

    def shifted(dy: float | int, dx: float | int) -> Float[np.ndarray, "height width *channel"]:
        factors = _factors(np.fft.fftfreq(height), dy)[:, None] * _factors(np.fft.rfftfreq(width), dx)
        return np.moveaxis(np.fft.irfft2(spectrum * factors, s=(height, width)), (-2, -1), (0, 1))

    return shifted


def _factors(frequencies: Float[np.ndarray, " wave"], shift: float | int) -> Complex[np.ndarray, " wave"]:
    factors = np.exp(-2j * np.pi * frequencies * shift)
    factors[np.abs(frequencies) == 0.5] = np.cos(np.pi * shift)
    return factors


def to_bytes(values: Float[np.ndarray, "height width 3"]) -> Picture:
    """Rounded to grey levels; what is below 0 or above 255 is cut off."""
    levels: np.ndarray = np.rint(values).clip(0, 255)
    return levels.astype(np.uint8, order="C")


def whole_and_rest(place: float) -> tuple[int, float]:
    """A place as whole px and what is left, 0 or more and less than 1.

    Example:
        >>> whole_and_rest(-0.25), whole_and_rest(3 * 0.1 + 0.7)
        ((-1, 0.75), (1, 0.0))
    """
    place = round(place, DECIMALS)
    return floor(place), round(place - floor(place), DECIMALS)


@dataclass(frozen=True)
class Source:
    """An image before its resize. Any part of the resized scene can be had from it, so nothing is resampled twice.

    Args:
        pixels: The image, on grey where the model letterboxes.
        corner: (y, x) of the scene's top left corner, in px of ``pixels``.
        pitch: Px of ``pixels`` per px of the scene, down and to the right.
        size: (height, width) of the scene in px.
        place: (top, left) of the unmoved view on the scene, in px.
    """

    pixels: Image.Image
    corner: tuple[float, float]
    pitch: tuple[float, float]
    size: Size
    place: tuple[int, int]

    def part(self, window: Window, size: Size, resampler: str) -> Picture:
        """A window of the scene, in px of the scene, at (height, width) = ``size`` px; antialiased, by Pillow."""
        (y, x), (down, right) = self.corner, self.pitch
        box = (
            max(0.0, x + right * window.x),
            max(0.0, y + down * window.y),
            min(float(self.pixels.width), x + right * (window.x + window.width)),
            min(float(self.pixels.height), y + down * (window.y + window.height)),
        )
        return np.asarray(self.pixels.resize(size[::-1], RESAMPLERS[resampler], box=box))

    def columns(self, x: float | int, width: int, resampler: str) -> "Source":
        """The source of these columns of the scene, resized along x: what is left to do for a `part` of them.

        The parts are the same bytes, for Pillow resizes along x first and rounds.
        """
        left, right = self.corner[1] + self.pitch[1] * x, self.corner[1] + self.pitch[1] * (x + width)
        box = max(0.0, left), 0.0, min(float(self.pixels.width), right), float(self.pixels.height)
        strip = self.pixels.resize((width, self.pixels.height), RESAMPLERS[resampler], box=box)
        return replace(self, pixels=strip, corner=(self.corner[0], 0.0), pitch=(self.pitch[0], 1.0))


def find_source(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Source:
    """The source of the scene that `crop` slides over, with the same arguments.

    A letterbox's picture is laid on its grey before the resize, not after: so its rim blends with the grey, as far as
    the resampler reaches, and can lie between pixels.

    Raises:
        InputError: If the view does not fit into the scene.
    """
    image_size = image.shape[0], image.shape[1]
    size, place, picture, at = lay_out(image_size, preprocessing, view_size, room_px, enlarge)
    pitch = image_size[0] / picture[0], image_size[1] / picture[1]
    if preprocessing.crop not in LETTERBOXES:
        return Source(Image.fromarray(image), (0.0, 0.0), pitch, size, place)
    bars = [
        (ceil(before * px), ceil((whole - before - part) * px))
        for before, whole, part, px in zip(at, size, picture, pitch, strict=True)
    ]
    grey = np.pad(image, [*bars, (0, 0)], constant_values=GREY)
    corner = bars[0][0] - at[0] * pitch[0], bars[1][0] - at[1] * pitch[1]
    return Source(Image.fromarray(grey), corner, pitch, size, place)
