"""The view slides over the image as the model resizes it, or in a circle: by whole pixels, copied bit for bit."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shiftable.auditing.motions.stage import Picture, Stage, Window, reach
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import (
    LETTERBOXES,
    Size,
    center_place,
    letterbox_place,
    letterboxed,
    resize,
    resized_size,
)


class Layout(NamedTuple):
    """Where things lie on the scene that a view slides over. All in px of the scene.

    Args:
        size: (height, width) of the scene.
        place: (top, left) of the unmoved view.
        picture_size: (height, width) of the image on it: all of it, but for a letterbox's bars.
        picture_place: (top, left) of the image on it.
    """

    size: Size
    place: tuple[int, int]
    picture_size: Size
    picture_place: tuple[int, int] = (0, 0)


class Scene(NamedTuple):
    """The image as the model resizes it, and the (top, left) in px of the unmoved view."""

    pixels: Picture
    place: tuple[int, int]


def crop(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The view slides over the image as the model resizes it (after Azulay & Weiss 2019, experiment "crop").

    If that leaves less than ``room_px``, and ``enlarge`` allows it, the short side becomes view + room. A letterbox
    always has room: its grey goes on outside the view.

    Raises:
        InputError: If the view does not fit into the resized image.
    """
    scene, (top, left) = resized_scene(image, preprocessing, view_size, room_px, enlarge)
    picture = picture_on_scene((image.shape[0], image.shape[1]), preprocessing, view_size, room_px, enlarge)
    (height, width), (view_height, view_width) = scene.shape[:2], view_size

    def view(dy: int, dx: int) -> Picture:
        y, x = top - dy, left - dx  # the content moves down when the window moves up
        return scene[y : y + view_height, x : x + view_width]

    def window(dy: int, dx: int) -> Window:
        return Window(top - dy, left - dx, view_height, view_width)

    reaches = reach(top, height - view_height), reach(left, width - view_width)
    return Stage(view, *reaches, window=window, picture=picture)


def picture_on_scene(
    image_size: Size, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Callable[[int, int], Window] | None:
    """Where the image lies on the scene that `crop` slides over: `Stage.picture`, the same wherever the view is.

    None where the image is all of the scene.
    """
    if preprocessing.crop not in LETTERBOXES:
        return None
    layout = lay_out(image_size, preprocessing, view_size, room_px, enlarge)
    return lambda dy, dx: Window(*layout.picture_place, *layout.picture_size)


def roll(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The finished view, shifted in a circle: what leaves on one side comes in on the other."""
    center = crop(image, preprocessing, view_size, room_px, enlarge).view(0, 0)
    height, width = view_size
    half = range(-(height // 2), (height + 1) // 2), range(-(width // 2), (width + 1) // 2)
    return Stage(lambda dy, dx: np.roll(center, (dy, dx), axis=(0, 1)), *half)


def resized_scene(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Scene:
    """What `crop` slides over, with the same arguments.

    Raises:
        InputError: If the view does not fit into it.
    """
    layout = lay_out((image.shape[0], image.shape[1]), preprocessing, view_size, room_px, enlarge)
    if preprocessing.crop in LETTERBOXES:
        scene = letterboxed(image, preprocessing, view_size, layout.place)
    else:
        scene = resize(image, layout.size, preprocessing.resampler, preprocessing.antialias, preprocessing.library)
    return Scene(scene, layout.place)


def lay_out(
    image_size: Size, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Layout:
    """How large the scene is and where the view stands on it.

    Raises:
        InputError: If the view does not fit into it.
    """
    if preprocessing.crop in LETTERBOXES:
        above, beside = (-(-room // 2) for room in room_px)
        picture, (top, left) = letterbox_place(image_size, view_size, preprocessing.crop)
        size = view_size[0] + 2 * above, view_size[1] + 2 * beside
        return Layout(size, (above, beside), picture, (above + top, beside + left))
    resize_px = with_room(preprocessing.resize_px, view_size, room_px)[0] if enlarge else preprocessing.resize_px
    height, width = resized_size(image_size, resize_px)
    if height < view_size[0] or width < view_size[1]:
        raise InputError(
            f"the resized image ({height}×{width} px) is smaller than the view ({view_size[0]}×{view_size[1]} px)"
        )
    place = center_place((height, width), view_size, preprocessing.crop)
    return Layout((height, width), place, (height, width))


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
