"""What moves, and where in the pipeline. Integer offsets copy pixels bit for bit: the instrument must not blur.

Everywhere, ``dy`` and ``dx`` are in px of the place where the shift happens; the content moves by ``dy`` down and
``dx`` right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size, center_place, resize, resized_size

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Stage:
    """One image, ready to be moved.

    Args:
        view: The view at (dy, dx), without a copy where that can be.
        dy: The offsets at which the view stays inside the image.
        dx: The same, to the right.
    """

    view: Callable[[int, int], Picture]
    dy: range
    dx: range


@dataclass(frozen=True)
class Motion:
    """A way of moving the picture.

    Args:
        name: As on the command line.
        where: The place in the pipeline: ``"camera"`` on source pixels, ``"resized"`` after the resize and before the
            crop, ``"tensor"`` on the finished view.
        stage: Gets an image ready: (image, preprocessing, view size, room in px along y and x, whether the
            image may be enlarged to have that room).
    """

    name: str
    where: Literal["camera", "resized", "tensor"]
    stage: Callable[[Picture, Preprocessing, Size, tuple[int, int], bool], Stage]


def crop(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The view slides over the image as the model resizes it (after Azulay & Weiss 2019, experiment "crop").

    If that leaves less than ``room_px``, and ``enlarge`` allows it, the short side becomes view + room.

    Raises:
        InputError: If the view does not fit into the resized image.
    """
    resize_px = with_room(preprocessing.resize_px, view_size, room_px)[0] if enlarge else preprocessing.resize_px
    size = resized_size(image.shape[:2], resize_px)
    scene = resize(image, size, preprocessing.resampler, preprocessing.antialias)
    (height, width), (view_height, view_width) = scene.shape[:2], view_size
    if height < view_height or width < view_width:
        raise InputError(
            f"the resized image ({height}×{width} px) is smaller than the view ({view_height}×{view_width} px)"
        )
    top, left = center_place((height, width), view_size, preprocessing.crop)

    def view(dy: int, dx: int) -> Picture:
        y, x = top - dy, left - dx  # the content moves down when the window moves up
        return scene[y : y + view_height, x : x + view_width]

    return Stage(view, _reach(top, height - view_height), _reach(left, width - view_width))


def roll(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The finished view, shifted in a circle: what leaves on one side comes in on the other."""
    center = crop(image, preprocessing, view_size, room_px, enlarge).view(0, 0)
    height, width = view_size
    half = range(-(height // 2), (height + 1) // 2), range(-(width // 2), (width + 1) // 2)
    return Stage(lambda dy, dx: np.roll(center, (dy, dx), axis=(0, 1)), *half)


MOTIONS: Mapping[str, Motion] = {
    "crop": Motion("crop", "resized", crop),
    "roll": Motion("roll", "tensor", roll),
}


def with_room(resize_px: int | Size, view_size: Size, room_px: tuple[int, int]) -> tuple[int | Size, float]:
    """The resize that leaves room around the view, and the factor by which objects are larger for it.

    Example:
        >>> with_room(256, (224, 224), (32, 0)), with_room(224, (224, 224), (32, 0))
        ((256, 1.0), (256, 1.1428571428571428))
    """
    need = [view + room for view, room in zip(view_size, room_px, strict=True)]
    if isinstance(resize_px, int):
        short = max(resize_px, *need)
        return short, short / resize_px
    factor = max(1.0, *(want / have for want, have in zip(need, resize_px, strict=True)))
    height, width = (max(round(factor * have), want) for have, want in zip(resize_px, need, strict=True))
    return (height, width), factor


def _reach(place: int, last: int) -> range:
    """The offsets of a window that stands at ``place`` and may stand at 0 to ``last``."""
    return range(place - last, place + 1)
