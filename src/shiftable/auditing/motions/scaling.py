"""Content grows by one pixel a step."""

from math import ceil
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import UInt8

from shiftable.auditing.motions.canvas import FILLS, canvas, picture_size
from shiftable.auditing.motions.interpolation import find_source, whole_and_rest
from shiftable.auditing.motions.sliding import crop, picture_on_scene
from shiftable.auditing.motions.stage import Picture, Place, Stage, Window
from shiftable.auditing.walks import ROOM_PX
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import LETTERBOXES, Size, resize

LEAST = 0.5
"""A window is between so much of the view and as many times larger, and a picture on a canvas at least so much."""

STEPS = ROOM_PX // 2
"""How many steps a picture on a canvas can grow and shrink where nobody chooses its size and there is such a size."""

Canvas = UInt8[np.ndarray, "canvas_height canvas_width 3"]


def scale(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    room_px: tuple[int, int],
    enlarge: bool,
    *,
    on: str = "crop",
    fill: str | None = None,
    size_px: int | None = None,
    canvas_px: int | None = None,
    seed: int = 0,
) -> Stage:
    """Content becomes larger with positive steps, by one pixel a step, and smaller with negative ones.

    Args:
        image: The image.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        room_px: How much larger than the view the image must be, along (y, x).
        enlarge: Whether the image may be enlarged to have that room.
        on: ``"crop"``: the part of the image that the view shows has a short side that is 1 px of the resized image
            shorter at every step, about its middle, and the model's resampler brings it from the source to the view at
            once. ``"canvas"``: the picture on a canvas has a short side that is 1 px longer at every step, its top left
            corner fixed (Azulay & Weiss, JMLR 20(184), 2019, figure 1).
        fill: What the rest of the canvas shows, one of ``FILLS``; None is black.
        size_px: The picture's short side at step 0, see `canvas`. By default the one next to the canvas's own that
            leaves 16 steps both ways, as the usual walks need, if there is one.
        canvas_px: The side of the canvas, see `canvas`.
        seed: Of the noise around the picture.

    Raises:
        InputError: If the view does not fit into the image, or the picture not into the canvas; or if the model does
            not resize by Pillow with antialias, whose windows alone can end between pixels.
    """
    if on == "crop":
        return _on_crop(image, preprocessing, view_size, room_px, enlarge)
    return _on_canvas(image, preprocessing, view_size, fill or "black", size_px, canvas_px, seed)


def scale_room_px(steps: tuple[int, int], view_size: Size, **others: Any) -> tuple[int, int]:
    """What the largest window has more than the view, rounded up and even."""
    smaller = max(steps) // 2 / min(view_size)
    down, right = (2 * ceil(side * min(smaller, 1 / LEAST - 1) / 2) for side in view_size)
    return down, right


def _on_crop(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    if preprocessing.library != "pillow" or not (preprocessing.antialias or preprocessing.resampler == "nearest"):
        how = preprocessing.library if preprocessing.library != "pillow" else "pillow without antialias"
        raise InputError(
            f"the window can't grow pixel by pixel where {how} resizes",
            where="--motion scale",
            todo='give --on canvas, or --preprocessing "library=pillow;antialias=true"',
        )
    short = min(view_size)
    source = find_source(image, preprocessing, view_size, room_px, enlarge)
    middle = [place + side / 2 for place, side in zip(source.place, view_size, strict=True)]

    def window(i: int, j: int) -> Window:
        height, width = (side * (short - i) / short for side in view_size)
        return Window(middle[0] - height / 2, middle[1] - width / 2, height, width)

    def view(i: int, j: int) -> Picture:
        if i == 0 and preprocessing.crop not in LETTERBOXES:  # the same picture, to the last bit
            return crop(image, preprocessing, view_size, room_px, enlarge).view(0, 0)
        return source.part(window(i, j), view_size, preprocessing.resampler)

    free = [
        2 * min(at, end - at) / side for at, end, side in zip(middle, source.size, view_size, strict=True)
    ]  # of the largest window around the middle
    least = whole_and_rest(short * (min(*free, 1 / LEAST) - 1))[0]

    def place(i: int, j: int) -> Place:
        return Place(scale=short / (short - i))

    picture = picture_on_scene((image.shape[0], image.shape[1]), preprocessing, view_size, room_px, enlarge)
    return Stage(view, range(-least, short - ceil(LEAST * short) + 1), range(1), place, window, picture)


def _on_canvas(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    fill: str,
    size_px: int | None,
    canvas_px: int | None,
    seed: int,
) -> Stage:
    canvas_size = view_size if canvas_px is None else (canvas_px, canvas_px)
    image_size = image.shape[0], image.shape[1]
    short = _usual_size(image_size, canvas_size) if size_px is None else size_px
    canvas(image, preprocessing, view_size, (0, 0), False, size_px=short, canvas_px=canvas_px)  # refuses what won't fit
    first = picture_size(image_size, short)
    top, left = _corner(first, canvas_size)
    how = preprocessing.resampler, preprocessing.antialias, preprocessing.library

    def around(picture: Picture) -> Canvas:
        """The canvas with a picture, or none, at the fixed corner."""
        rng = np.random.default_rng([seed, crc32(image.tobytes())])
        return FILLS[fill](picture, canvas_size, preprocessing, rng)(top, left)

    background = None if fill == "inpaint" else around(image[:0, :0])  # it is painted anew from every picture's border

    def view(i: int, j: int) -> Picture:
        picture = resize(image, picture_size(image_size, short + i), *how)
        if background is None:
            return resize(around(picture), view_size, *how)
        whole = background.copy()
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return resize(whole, view_size, *how)

    def window(i: int, j: int) -> Window:
        down, right = (was / now for was, now in zip(first, picture_size(image_size, short + i), strict=True))
        return Window(-top * down, -left * right, canvas_size[0] * down, canvas_size[1] * right)

    def place(i: int, j: int) -> Place:
        return Place(scale=(short + i) / short)  # of the side that grows: a long image's short one may stay

    return Stage(view, _sizes(image_size, canvas_size, short), range(1), place, window)


def _corner(picture: Size, canvas_size: Size) -> tuple[int, int]:
    """(top, left) of a picture in the middle."""
    return (canvas_size[0] - picture[0]) // 2, (canvas_size[1] - picture[1]) // 2


def _sizes(image_size: Size, canvas_size: Size, short: int) -> range:
    """By how many px the picture's short side may grow while it is on the canvas; from half its size on."""
    farthest = range(1, max(canvas_size) + 1)
    most = next(more for more in farthest if not _fits(image_size, canvas_size, short, more)) - 1
    return range(ceil(LEAST * short) - short, most + 1)


def _fits(image_size: Size, canvas_size: Size, short: int, more: int) -> bool:
    """Whether the picture, so many px larger and its corner still where it was, is all on the canvas."""
    corner = _corner(picture_size(image_size, short), canvas_size)
    grown = picture_size(image_size, short + more)
    return all(at + side <= end for at, side, end in zip(corner, grown, canvas_size, strict=True))


def _usual_size(image_size: Size, canvas_size: Size) -> int:
    """The short side next to `canvas`'s own that leaves ``STEPS`` both ways; that one where none does."""
    usual = max(1, round(min(canvas_size) * 100 / 224))
    for short in sorted(range(1, min(canvas_size) + 1), key=lambda side: abs(side - usual)):
        if short - ceil(LEAST * short) >= STEPS and _fits(image_size, canvas_size, short, STEPS):
            return short
    return usual
