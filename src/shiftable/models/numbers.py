"""From views to the numbers that a model outside PyTorch is fed: order, type and layout, in NumPy."""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped, UInt8

from shiftable.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def as_numbers(
    views: UInt8[np.ndarray, "view height width 3"], preprocessing: Preprocessing
) -> Shaped[np.ndarray, "view *axes"]:
    """What a model is fed for these views.

    Args:
        views: RGB, 0 to 255.
        preprocessing: The model's: colour order, mean and std, layout, dtype. Of 8-bit numbers only the order, the
            layout and the sign's offset of 128 count; for what they stand for, see `as_levels`.

    Returns:
        ``(view, 3, height, width)`` or ``(view, height, width, 3)``, contiguous, of the preprocessing's dtype.
    """
    pixels = views[..., ::-1] if preprocessing.color_order == "BGR" else views
    planes = pixels.transpose(0, 3, 1, 2) if preprocessing.layout == "NCHW" else pixels
    if preprocessing.dtype == "uint8":
        return np.ascontiguousarray(planes)
    if preprocessing.dtype == "int8":
        return (np.ascontiguousarray(planes) ^ 128).view(np.int8)  # flipping the top bit subtracts 128
    shape = (1, -1, 1, 1) if preprocessing.layout == "NCHW" else (1, 1, 1, -1)
    mean, std = (np.array(values, np.float32).reshape(shape) for values in (preprocessing.mean, preprocessing.std))
    numbers = planes.astype(np.float32, order="C")
    numbers *= 1 / (255 * std)
    numbers -= mean / std
    return numbers


Quantisation: TypeAlias = tuple[float, int]
"""(scale, zero point): a level ``q`` stands for the number ``scale * (q - zero_point)``."""

AS_PIXELS: dict[str, Quantisation] = {"uint8": (1.0, 0), "int8": (1.0, -128)}
"""What levels stand for where a file does not say: grey levels, 0 to 255."""

USUAL_RANGES: tuple[tuple[float, float, tuple[float, ...], tuple[float, ...]], ...] = (
    (0.0, 1.0, (0.0,) * 3, (1.0,) * 3),
    (-1.0, 1.0, (0.5,) * 3, (0.5,) * 3),
    (0.0, 255.0, (0.0,) * 3, (1 / 255,) * 3),
    (-128.0, 127.0, (128 / 255,) * 3, (1 / 255,) * 3),
    (-2.118, 2.64, IMAGENET_MEAN, IMAGENET_STD),
)
"""(lowest, highest number that nets are fed, and the mean and std that give these)."""


def levels_stand_for(quantisation: Quantisation, dtype: str) -> tuple[dict[str, Any], float]:
    """The mean and std with which pixels become the numbers that an 8-bit input stands for.

    A file says by its input's scale and zero point what range of numbers it takes, and by that which of
    ``USUAL_RANGES`` it was trained on: the nearest, since a range found by calibration is never exact.

    Args:
        quantisation: The input's.
        dtype: ``"uint8"`` or ``"int8"``.

    Returns:
        ``mean`` and ``std``, and how far the file's range is from the usual one, as a share of its width.

    Example:
        >>> levels_stand_for((1 / 128, 128), "uint8")[0]
        {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}
        >>> levels_stand_for((0.0186, 114), "uint8")[0]["std"]
        (0.229, 0.224, 0.225)
    """
    scale, zero_point = quantisation
    lowest = scale * (np.iinfo(dtype).min - zero_point)
    width = 255 * scale
    off, mean, std = min(
        (max(abs(low - lowest), abs(high - lowest - width)) / width, mean, std) for low, high, mean, std in USUAL_RANGES
    )
    return {"mean": mean, "std": std}, off


def as_levels(
    views: UInt8[np.ndarray, "view height width 3"], preprocessing: Preprocessing, quantisation: Quantisation
) -> Shaped[np.ndarray, "view *axes"]:
    """What a model with an 8-bit input is fed: the level nearest to each normalised pixel.

    Where that is the pixel itself, give or take one level (it is for files that take -1 to 1, 0 to 1 or 0 to 255),
    pixels go in as they are, as deployed code has it: rounding a scale of 1/128 against one of 2/255 is no news.

    Args:
        views: RGB, 0 to 255.
        preprocessing: The model's; its dtype is ``"uint8"`` or ``"int8"``, its mean and std those of the real numbers.
        quantisation: The input's.
    """
    table = _table(preprocessing, quantisation)
    own = np.arange(256, dtype=np.int32) + np.iinfo(preprocessing.dtype).min
    if np.abs(table - own).max() <= 1:
        return as_numbers(views, preprocessing)
    pixels = as_numbers(views, replace(preprocessing, dtype="uint8"))
    levels = np.empty(pixels.shape, preprocessing.dtype)
    for channel in range(3):
        at = (slice(None), channel) if preprocessing.layout == "NCHW" else (..., channel)
        levels[at] = table[channel].astype(preprocessing.dtype)[pixels[at]]
    return levels


def _table(preprocessing: Preprocessing, quantisation: Quantisation) -> Shaped[np.ndarray, "3 256"]:
    """The level for each channel and pixel."""
    scale, zero_point = quantisation
    mean, std = (
        np.broadcast_to(np.array(each, np.float64), 3)[:, None] for each in (preprocessing.mean, preprocessing.std)
    )
    numbers = (np.arange(256) / 255 - mean) / std
    limits = np.iinfo(preprocessing.dtype)
    levels: np.ndarray = np.floor(numbers / scale + 0.5) + zero_point
    return levels.clip(limits.min, limits.max).astype(np.int32)
