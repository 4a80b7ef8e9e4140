"""Shifts by fractions of a pixel, with as little blur as there can be."""

from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import Any, Final

import numpy as np

from shiftable.auditing.motions.interpolation import (
    DECIMALS,
    Source,
    find_source,
    fourier_shifts,
    to_bytes,
    whole_and_rest,
)
from shiftable.auditing.motions.sliding import crop, picture_on_scene
from shiftable.auditing.motions.stage import Picture, Place, Stage, Window
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size

PHASES = 64
"""How many pictures, one for each fraction of a pixel along y and x, an image keeps at most: all of a grid of radius 3.
"""

MEMORY_BYTES = 64 << 20
"""How much these may take. Those of large views are fewer, and made again where a walk comes back."""

STRIPS = 8
"""How many strips, one for each fraction of a pixel along x, an image keeps."""

RESAMPLER: Final = "lanczos"


def subpixel(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    room_px: tuple[int, int],
    enlarge: bool,
    *,
    step: float = 0.125,
    on: str = "crop",
) -> Stage:
    """The view moves by ``step`` px a step, down and to the right. Whole pixels copy bytes.

    Args:
        image: The image.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        room_px: How much larger than the view the image must be, along (y, x).
        enlarge: Whether the image may be enlarged to have that room.
        step: How far one step goes, in px of the view.
        on: ``"crop"``: the view slides over the image, which Lanczos-3 resizes from its source for each fraction of a
            pixel, whatever resampler the model has; so the unmoved view is the deployed one only of a model that
            resizes by Pillow's Lanczos. ``"roll"``: the finished view moves in a circle, by `fourier_shift`; exact for
            a periodic picture, so edges ring at the seam.

    Raises:
        InputError: If the view does not fit into the resized image.
    """
    moved = {"crop": _on_crop, "roll": _on_roll}[on]
    return moved(image, preprocessing, view_size, room_px, enlarge, step)


def subpixel_room_px(steps: tuple[int, int], view_size: Size, *, step: float, **others: Any) -> tuple[int, int]:
    """As many px as the steps go, rounded up and even."""
    down, right = (2 * ceil(round(count * step / 2, DECIMALS)) for count in steps)
    return down, right


def _on_crop(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool, step: float
) -> Stage:
    source = find_source(image, preprocessing, view_size, room_px, enlarge)
    (height, width), (top, left), (view_height, view_width) = source.size, source.place, view_size

    # only what is looked at is made: blocks, one of which holds all views that the room is for
    tall, wide = view_height + room_px[0], view_width + room_px[1]
    first_y, first_x = max(0, top - room_px[0] // 2), max(0, left - room_px[1] // 2)

    @lru_cache(1)
    def scene() -> Picture:
        return source.part(Window(0, 0, height, width), (height, width), RESAMPLER)

    @lru_cache(STRIPS)
    def strip(right: float, columns: range) -> Source:
        return source.columns(columns[0] + right, len(columns), RESAMPLER)

    @lru_cache(_kept(tall * wide * 3))
    def block(down: float, right: float, rows: range, columns: range) -> Picture:
        """A part of the scene, that many px and (down, right) from its corner."""
        window = Window(rows[0] + down, 0, len(rows), len(columns))
        return strip(right, columns).part(window, (len(rows), len(columns)), RESAMPLER)

    def view(i: int, j: int) -> Picture:
        # the content moves down when the window moves up
        (y, down), (x, right) = whole_and_rest(top - i * step), whole_and_rest(left - j * step)
        if not down and not right:
            return scene()[y : y + view_height, x : x + view_width]
        bands = _blocks(y, view_height, first_y, tall, height - (down > 0))
        stacks = _blocks(x, view_width, first_x, wide, width - (right > 0))
        parts = [np.concatenate([block(down, right, rows, columns) for columns in stacks], axis=1) for rows in bands]
        y, x = y - bands[0][0], x - stacks[0][0]
        return np.concatenate(parts)[y : y + view_height, x : x + view_width]

    def window(i: int, j: int) -> Window:
        return Window(round(top - i * step, DECIMALS), round(left - j * step, DECIMALS), view_height, view_width)

    down = _steps(height - view_height - top, top, step)
    right = _steps(width - view_width - left, left, step)
    picture = picture_on_scene((image.shape[0], image.shape[1]), preprocessing, view_size, room_px, enlarge)
    return Stage(view, down, right, _places(step), window, picture)


def _blocks(start: int, length: int, first: int, size: int, end: int) -> list[range]:
    """The blocks that hold ``length`` px from ``start`` on, of those that tile 0 to ``end``.

    One begins at ``first``, and all have one size but for those at the ends. So a pixel is always of the same block,
    and the same, whichever view shows it.

    Example:
        >>> _blocks(3, 5, 4, 6, 30), _blocks(5, 5, 4, 6, 30)
        ([range(0, 4), range(4, 10)], [range(4, 10)])
    """
    numbers = range((start - first) // size, (start + length - 1 - first) // size + 1)
    return [range(max(0, first + at * size), min(end, first + (at + 1) * size)) for at in numbers]


def _kept(picture_bytes: int) -> int:
    """How many pictures of this size are kept."""
    return max(1, min(PHASES, MEMORY_BYTES // picture_bytes))


def _on_roll(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool, step: float
) -> Stage:
    center = crop(image, preprocessing, view_size, room_px, enlarge).view(0, 0)
    shifted = fourier_shifts(center.astype(np.float64))

    @lru_cache(_kept(center.nbytes))
    def phase(down: float, right: float) -> Picture:
        return to_bytes(shifted(down, right)) if down or right else center

    def view(i: int, j: int) -> Picture:
        (y, down), (x, right) = whole_and_rest(i * step), whole_and_rest(j * step)
        return np.roll(phase(down, right), (y, x), axis=(0, 1))

    down, right = (_steps(side // 2, (side - 1) // 2, step) for side in view_size)
    return Stage(view, down, right, _places(step))


def _steps(before_px: int, after_px: int, step: float) -> range:
    """The steps that go at most so many px back and forth."""
    return range(-whole_and_rest(before_px / step)[0], whole_and_rest(after_px / step)[0] + 1)


def _places(step: float) -> Callable[[int, int], Place]:
    return lambda i, j: Place(round(i * step, DECIMALS), round(j * step, DECIMALS))
