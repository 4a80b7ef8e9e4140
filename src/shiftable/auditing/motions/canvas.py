"""The image moves inside a canvas: the paper's "embedding" (Azulay & Weiss, JMLR 20(184), 2019, experiment 1)."""

from collections.abc import Callable, Mapping
from zlib import crc32

import numpy as np
from jaxtyping import Float, UInt8

from shiftable.auditing.motions.inpainting import inpaint as inpaint_around
from shiftable.auditing.motions.stage import Picture, Stage, Window, reach
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size, resize, resized_size

Placed = Callable[[int, int], Picture]
"""The canvas with the picture's upper left corner at (top, left)."""

Fill = Callable[[Picture, Size, Preprocessing, np.random.Generator], Placed]
"""From the picture, the canvas's size, the model's preprocessing and the image's own random numbers."""


def canvas(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    room_px: tuple[int, int],
    enlarge: bool,
    *,
    fill: str = "black",
    size_px: int | None = None,
    canvas_px: int | None = None,
    seed: int = 0,
) -> Stage:
    """A small picture of the whole image, at any place where it is entirely inside the canvas.

    (0, 0) is its middle, half a pixel rounded down. The picture's own pixels are the same bytes at every place.

    Args:
        image: The image.
        preprocessing: The model's: its resize makes the picture, its mean and std may fill the canvas.
        view_size: (height, width) in px, the model's.
        room_px: Of no effect: the room is what the picture leaves free, and along its longer side that may be little
            (24 px of 224).
        enlarge: Of no effect.
        fill: What the rest of the canvas shows, one of ``FILLS``.
        size_px: The picture's short side. Its long side follows, up to twice as much; of a longer image the long side
            is that, and the short side follows. By default 100 px for a canvas of 224.
        canvas_px: The side of a square canvas. By default the canvas is the view. A canvas of another size is resized
            to the view once it is finished: then a step of 1 px on the canvas is none of 1 px in the view, and the
            picture's bytes are the same on the canvas only.
        seed: Of the noise; each image has its own.

    Raises:
        InputError: If the picture does not fit into the canvas.
    """
    canvas_size = view_size if canvas_px is None else (canvas_px, canvas_px)
    short = max(1, round(min(canvas_size) * 100 / 224)) if size_px is None else size_px
    height, width = picture_size((image.shape[0], image.shape[1]), short)
    free_y, free_x = canvas_size[0] - height, canvas_size[1] - width
    if free_y < 0 or free_x < 0:
        raise InputError(
            f"the picture ({height}×{width} px) is larger than the canvas ({canvas_size[0]}×{canvas_size[1]} px)",
            todo="give a smaller size or a larger canvas",
        )
    how = preprocessing.resampler, preprocessing.antialias, preprocessing.library
    picture = resize(image, (height, width), *how)
    rng = np.random.default_rng([seed, crc32(image.tobytes())])
    placed = FILLS[fill](picture, canvas_size, preprocessing, rng)
    top, left = free_y // 2, free_x // 2

    def view(dy: int, dx: int) -> Picture:
        return resize(placed(top + dy, left + dx), view_size, *how)

    def window(dy: int, dx: int) -> Window:
        return Window(-top - dy, -left - dx, *canvas_size)

    # the picture moves, not the window: it may go up by all that is free above it
    return Stage(
        view,
        reach(free_y - top, free_y),
        reach(free_x - left, free_x),
        window=window,
        picture=lambda dy, dx: Window(0, 0, height, width),
    )


def picture_size(image_size: Size, size_px: int) -> Size:
    """The (height, width) in px of the picture on the canvas.

    Example:
        >>> picture_size((375, 500), 100), picture_size((500, 375), 100), picture_size((90, 300), 100)
        ((100, 133), (133, 100), (60, 200))
    """
    height, width = resized_size(image_size, size_px)
    if max(height, width) <= 2 * size_px:
        return height, width
    long = 2 * size_px
    if image_size[0] < image_size[1]:
        return max(1, int(long * image_size[0] / image_size[1])), long
    return long, max(1, int(long * image_size[1] / image_size[0]))


def black(picture: Picture, canvas_size: Size, preprocessing: Preprocessing, rng: np.random.Generator) -> Placed:
    """0 before the model's normalisation."""
    return _sliding(*_plane(picture, canvas_size), canvas_size)


def mean(picture: Picture, canvas_size: Size, preprocessing: Preprocessing, rng: np.random.Generator) -> Placed:
    """The model's mean colour, rounded to a grey level: 0 after its normalisation."""
    plane, inside = _plane(picture, canvas_size)
    plane[...] = np.rint(_grey_levels(preprocessing.mean, preprocessing)).clip(0, 255)
    plane[inside] = picture
    return _sliding(plane, inside, canvas_size)


def noise(picture: Picture, canvas_size: Size, preprocessing: Preprocessing, rng: np.random.Generator) -> Placed:
    """Normal noise of the model's mean and std, independent per pixel and channel; it stays while the picture moves."""
    center, spread = (_grey_levels(values, preprocessing) for values in (preprocessing.mean, preprocessing.std))
    background = np.rint(rng.normal(center, spread, (*canvas_size, 3))).clip(0, 255).astype(np.uint8)
    height, width = picture.shape[:2]

    def placed(top: int, left: int) -> Picture:
        whole = background.copy()
        whole[top : top + height, left : left + width] = picture
        return whole

    return placed


def inpaint(picture: Picture, canvas_size: Size, preprocessing: Preprocessing, rng: np.random.Generator) -> Placed:
    """Surroundings painted from the picture's border, once for all places: they move with the picture.

    So the whole view is moved, by whole pixels. Painted anew at every place, they would change with the border.
    """
    plane, inside = _plane(picture, canvas_size)
    known = np.zeros(plane.shape[:2], bool)
    known[inside] = True
    return _sliding(inpaint_around(plane, known), inside, canvas_size)


FILLS: Mapping[str, Fill] = {"black": black, "mean": mean, "noise": noise, "inpaint": inpaint}

Inside = tuple[slice, slice]
"""The rows and columns of the picture on its plane."""


def _plane(picture: Picture, canvas_size: Size) -> tuple[UInt8[np.ndarray, "taller wider 3"], Inside]:
    """A black plane with the picture in its middle, and where that is: a canvas around the picture never leaves it."""
    free = [have - want for have, want in zip(canvas_size, picture.shape, strict=False)]
    plane = np.zeros((canvas_size[0] + free[0], canvas_size[1] + free[1], 3), np.uint8)
    inside = slice(free[0], canvas_size[0]), slice(free[1], canvas_size[1])
    plane[inside] = picture
    return plane, inside


def _sliding(plane: Picture, inside: Inside, canvas_size: Size) -> Placed:
    """The canvas is a window of the plane: no copy, and everything on it moves."""
    rows, columns = inside
    height, width = canvas_size

    def placed(top: int, left: int) -> Picture:
        y, x = rows.start - top, columns.start - left
        return plane[y : y + height, x : x + width]

    return placed


def _grey_levels(values: tuple[float, ...], preprocessing: Preprocessing) -> Float[np.ndarray, "channel"]:
    """One value for all channels or one for each, from 0..1 and the model's colour order to 0..255 and RGB."""
    levels = 255 * np.array(values, np.float64)
    return levels[::-1] if preprocessing.color_order == "BGR" else levels
