"""Images at another size, by three implementations that deployed models are fed by: Pillow, OpenCV, tensors."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil, gcd
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from shiftable.errors import InputError, missing_extra, unknown

Size = tuple[int, int]
"""(height, width) in pixels."""

Library: TypeAlias = Literal["pillow", "opencv", "tensor"]

RESAMPLERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

MOST_PIXELS = 2**28
"""More than a resized image may have: a strip one pixel wide, its short side enlarged, would fill the memory."""

PILLOW_BITS = 22
"""Pillow rounds the weights of bytes to multiples of 1/2^22."""

Picture = UInt8[np.ndarray, "height width 3"]
Resized = UInt8[np.ndarray, "new_height new_width 3"]


def resized_size(image_size: Size, resize_px: int | Size) -> Size:
    """The (height, width) in px that a resize gives.

    Example:
        >>> resized_size((375, 500), 256), resized_size((375, 500), (224, 224))
        ((256, 341), (224, 224))
    """
    if not isinstance(resize_px, int):
        return resize_px
    height, width = image_size
    if height <= width:
        return resize_px, int(resize_px * width / height)
    return int(resize_px * height / width), resize_px


def resize(
    image: Picture, size: Size, resampler: str = "bilinear", antialias: bool = True, library: str = "pillow"
) -> Resized:
    """An image at another size; the same array where the size does not change.

    Args:
        image: RGB.
        size: (height, width) in px of the result.
        resampler: One of ``RESAMPLERS``. OpenCV has no box and no hamming, tensors have no lanczos either.
        antialias: Whether the filter widens when the image shrinks. Without it every new pixel is interpolated between
            its nearest old ones, whatever lies between.
        library: Whose resize it is, one of ``RESIZERS``.

    Raises:
        InputError: If the result would be too large, the resampler or the library is unknown or has no such form, or
            the library is not installed.
    """
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image
    if resampler not in RESAMPLERS:
        raise unknown("resampler", resampler, RESAMPLERS)
    if library not in RESIZERS:
        raise unknown("library", library, RESIZERS)
    new_height, new_width = size
    if min(size) < 1 or new_height * new_width > MOST_PIXELS:
        raise InputError(
            f"the image ({height}×{width} px) can't be resized to {new_height}×{new_width} px",
            todo="leave it out: it is too narrow",
        )
    return RESIZERS[library](image, size, resampler, antialias)


def resize_part(
    image: Picture,
    size: Size,
    place: tuple[int, int],
    part: Size,
    resampler: str = "bilinear",
    antialias: bool = True,
    library: str = "pillow",
) -> Resized:
    """``resize(…)[top : top + height, left : left + width]``, the same bytes, and sooner where Pillow can do with less.

    Args:
        image: RGB.
        size: (height, width) in px of the whole result.
        place: (top, left) of the part, in px of the whole result.
        part: (height, width) of the part in px.
        resampler: As for `resize`, as the two others.
        antialias: See there.
        library: See there.

    Raises:
        InputError: As `resize`.
    """
    (rows, columns), whole = zip(place, part, strict=True), image.shape[:2]
    filtered = library == "pillow" and antialias and resampler in RESAMPLERS and resampler != "nearest"
    if filtered and whole != tuple(size) and min(size) > 0 and size[0] * size[1] <= MOST_PIXELS:
        spans = [
            _span(have, want, *kept, resampler) for have, want, kept in zip(whole, size, (rows, columns), strict=True)
        ]
    else:
        spans = [(0, side) for side in size]
    if all(span == (0, side) for span, side in zip(spans, size, strict=True)):
        made = resize(image, size, resampler, antialias, library)
    else:
        (upper, left, lower, right) = (
            spans[axis][end] * whole[axis] // size[axis] for end in (0, 1) for axis in (0, 1)
        )
        new_size = spans[1][1] - spans[1][0], spans[0][1] - spans[0][0]
        box = left, upper, right, lower
        made = np.asarray(Image.fromarray(image).resize(new_size, RESAMPLERS[resampler], box=box))
    top, left = place[0] - spans[0][0], place[1] - spans[1][0]
    return made[top : top + part[0], left : left + part[1]]


@lru_cache(4096)
def _span(have: int, want: int, start: int, length: int, resampler: str) -> tuple[int, int]:
    """From where to where along an axis of ``want`` px, made of ``have``, Pillow must resize to give a part of it.

    The span begins and ends where borders of old and new pixels meet; and the weights there are really the same.
    """
    period = want // gcd(have, want)
    first, last = start // period * period, -(-(start + length) // period) * period
    if (first, last) == (0, want):
        return 0, want
    # every pixel alone, in rows so far from the next that no filter sees two: what comes out are all weights
    apart = 2 * ceil(3 * max(1.0, have / want)) + 3
    alone = np.where(np.arange(have) % apart == np.arange(apart)[:, None], 1 << PILLOW_BITS, 0).astype(np.int32)
    box = first * have // want, 0, last * have // want, apart
    weights = Image.fromarray(alone)
    all_of_them, of_part = (
        np.asarray(weights.resize((width, apart), RESAMPLERS[resampler], box=at))
        for width, at in ((want, None), (last - first, box))
    )
    return (first, last) if np.array_equal(all_of_them[:, first:last], of_part) else (0, want)


def _pillow(image: Picture, size: Size, resampler: str, antialias: bool) -> Resized:
    """Pillow's resize. Without antialias, its affine transform: half-pixel centres, and a bicubic that is sharper than
    PyTorch's and OpenCV's (a = -1, not -0.75)."""
    (height, width), (new_height, new_width) = image.shape[:2], size
    if antialias or resampler == "nearest":
        return np.asarray(Image.fromarray(image).resize((new_width, new_height), RESAMPLERS[resampler]))
    if resampler not in ("bilinear", "bicubic"):
        raise InputError(f"resampler {resampler!r} has no form without antialias", todo="use bilinear or bicubic")
    scale = (width / new_width, 0.0, 0.0, 0.0, height / new_height, 0.0)
    planes = [
        Image.fromarray(plane) for plane in image.astype(np.float32).transpose(2, 0, 1)
    ]  # of bytes it rounds down
    affine, taps = Image.Transform.AFFINE, RESAMPLERS[resampler]
    moved = [np.asarray(plane.transform((new_width, new_height), affine, scale, taps)) for plane in planes]
    grey_levels: np.ndarray = np.rint(np.stack(moved, axis=-1)).clip(0, 255)
    return grey_levels.astype(np.uint8)


OPENCV = {"nearest": "INTER_NEAREST", "bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "lanczos": "INTER_LANCZOS4"}
"""Resampler → OpenCV's flag. Its nearest takes the upper left of two equally near pixels, as old PyTorch does."""


def _opencv(image: Picture, size: Size, resampler: str, antialias: bool) -> Resized:
    """``cv2.resize``. None of its filters widens, so antialiased it shrinks by INTER_AREA, whatever the resampler.

    Enlarging along either axis, INTER_AREA is no longer an average of areas: then the resampler's own flag is used.
    The result does not depend on the number of OpenCV's threads.
    """
    if resampler not in OPENCV:
        raise _no_form(resampler, "opencv", OPENCV)
    try:
        import cv2
    except ModuleNotFoundError:
        raise missing_extra("opencv-python-headless", "opencv") from None
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    averages = antialias and shrinks and resampler != "nearest"
    flag = getattr(cv2, "INTER_AREA" if averages else OPENCV[resampler])
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=flag))


TENSOR = ("nearest", "bilinear", "bicubic")


def _tensor(image: Picture, size: Size, resampler: str, antialias: bool) -> Resized:
    """``torch.nn.functional.interpolate`` of floats, rounded to bytes, as torchvision resizes tensors.

    Where torchvision stays in bytes (bilinear and bicubic on CPUs with AVX2), it rounds between the two axes, too, and
    is then one grey level off here and there.
    """
    if resampler not in TENSOR:
        raise _no_form(resampler, "tensor", TENSOR)
    try:
        import torch
    except ModuleNotFoundError:
        raise missing_extra("torch", "torch") from None
    plain = np.require(image, requirements=["C", "W"])  # torch takes no read-only or mirrored array; else no copy
    planes = torch.from_numpy(plain).permute(2, 0, 1)[None].float()
    filtered: dict[str, Any] = {} if resampler == "nearest" else {"align_corners": False, "antialias": antialias}
    new = torch.nn.functional.interpolate(planes, size, mode=resampler, **filtered)
    return new[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _no_form(resampler: str, library: str, choices: "tuple[str, ...] | Mapping[str, str]") -> InputError:
    return InputError(
        f"library {library!r} has no resampler {resampler!r}",
        where="--preprocessing",
        todo=f"use {' or '.join(choices)}",
    )


RESIZERS: Mapping[str, Callable[[Picture, Size, str, bool], Resized]] = {
    "pillow": _pillow,
    "opencv": _opencv,
    "tensor": _tensor,
}
"""Library → its resize of an RGB image to (height, width) with a resampler, antialiased or not."""
