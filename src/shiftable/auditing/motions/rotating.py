"""The finished view, turned about its middle."""

from collections.abc import Sequence
from functools import lru_cache
from math import atan2, ceil, cos, degrees, floor, hypot, radians, sin
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, UInt64
from PIL import Image

from shiftable.auditing.motions.interpolation import DECIMALS
from shiftable.auditing.motions.sliding import resized_scene
from shiftable.auditing.motions.stage import Picture, Place, Stage
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size

FINE = 3
"""How many fine pixels along a side Lanczos makes of a pixel. Odd: so one of them is the pixel itself. Between the fine
ones bilinear interpolation is enough: against splines of order 5 it loses little (see `floors`) and is 15 times faster.
"""

PLACE_BITS, BITS = 16, 8
"""Places are rounded to 1/2^16 fine pixel, weights to 1/2^8: so views are sums of whole numbers, fast and the same on
every machine."""

Packed = UInt64[np.ndarray, "row column"]
Places = Int32[np.ndarray, "down right"]


def rotate(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    room_px: tuple[int, int],
    enlarge: bool,
    *,
    step: float = 1.0,
) -> Stage:
    """The view turned counter-clockwise by ``step`` degrees a step, about the middle of its pixels.

    No outside corner is seen: the image is larger than the view, by ``room_px``. Step 0 is `crop`'s view of the same
    image, bit for bit; a square view is turned bit for bit at multiples of 90 degrees.

    Args:
        image: The image.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        room_px: How much larger than the view the image must be, along (y, x).
        enlarge: Whether the image may be enlarged to have that room.
        step: The angle of one step, in degrees.

    Raises:
        InputError: If the view does not fit into the resized image.
    """
    scene, place = resized_scene(image, preprocessing, view_size, room_px, enlarge)
    height, width = view_size
    middle = place[0] + height / 2, place[1] + width / 2
    free = [2 * min(at, side - at) for at, side in zip(middle, scene.shape, strict=False)]

    @lru_cache(1)
    def fine() -> tuple[Packed, int, int]:
        """The part that can be seen, enlarged and packed, and where its corner lies in px of the scene."""
        reach = ceil(hypot(height, width) / 2) + 1
        rows, columns = (
            slice(max(0, floor(at) - reach), min(side, floor(at) + reach + 1))
            for at, side in zip(middle, scene.shape, strict=False)
        )
        part = Image.fromarray(np.ascontiguousarray(scene[rows, columns]))
        enlarged = part.resize((FINE * part.width, FINE * part.height), Image.Resampling.LANCZOS)
        return _packed(np.asarray(enlarged)), rows.start, columns.start

    def view(i: int, j: int) -> Picture:
        if i == 0:
            (top, left) = place
            return scene[top : top + height, left : left + width]
        pixels, top, left = fine()
        c, s = cos(radians(i * step)), sin(radians(i * step))
        y, x = np.arange(height)[:, None] + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2
        down = _fixed(FINE * (middle[0] - top + c * y) - 0.5) + _fixed(FINE * s * x)
        right = _fixed(FINE * (middle[1] - left - s * y) - 0.5) + _fixed(FINE * c * x)
        return _between(pixels, down, right)

    def place_of(i: int, j: int) -> Place:
        return Place(angle=round(i * step, DECIMALS))

    most = _farthest(view_size, step, free)
    return Stage(view, range(-most, most + 1), range(1), place_of)


def rotate_room_px(steps: tuple[int, int], view_size: Size, *, step: float, **others: Any) -> tuple[int, int]:
    """What the largest upright box around the turning view has more than the view, rounded up and even."""
    farthest = min(180.0, max(steps) // 2 * step)
    height, width = view_size
    # a box is tallest, and widest, where a diagonal of the view stands upright, or lies flat
    tops = [min(farthest, degrees(atan2(*sides))) for sides in ((width, height), (height, width))]
    boxes = [_extent(view_size, angle) for angle in (*tops, farthest)]
    down, right = (
        2 * ceil(max(0.0, round(max(box[axis] for box in boxes) - view_size[axis], DECIMALS)) / 2) for axis in (0, 1)
    )
    return down, right


def _extent(view_size: Size, angle: float) -> tuple[float, float]:
    """(height, width) in px of the upright box around a turned view."""
    (height, width), c, s = view_size, abs(cos(radians(angle))), abs(sin(radians(angle)))
    return height * c + width * s, width * c + height * s


def _farthest(view_size: Size, step: float, free: Sequence[float]) -> int:
    """How many steps, one after the other, keep the box around the view within ``free``; half a circle at most."""
    turns = np.radians(step * np.arange(1, floor(180 / step + 1e-9) + 1))
    (height, width), c, s = view_size, abs(np.cos(turns)), abs(np.sin(turns))
    outside = (height * c + width * s > free[0] + 1e-9) | (width * c + height * s > free[1] + 1e-9)
    return int(outside.argmax()) if outside.any() else len(turns)


def _fixed(places: Float64[np.ndarray, "*axis"]) -> Int32[np.ndarray, "*axis"]:
    return np.asarray(np.rint(places * (1 << PLACE_BITS)).astype(np.int32))


def _packed(picture: Picture) -> Packed:
    """The three bytes of a pixel in one number, each with a byte of room above: so all are weighed at once."""
    red, green, blue = (picture[..., channel].astype("<u8") for channel in range(3))
    return np.asarray(red | green << 16 | blue << 32)


def _between(pixels: Packed, down: Places, right: Places) -> Picture:
    """Bilinear interpolation, rounded to the next grey level; pixel 0 has its centre at 0."""
    row, one, cut = pixels.shape[1], 1 << BITS, PLACE_BITS - BITS
    first = (down >> PLACE_BITS) * row + (right >> PLACE_BITS)
    down, right = (at >> cut & one - 1 for at in (down, right))
    both = down * right + one // 2 >> BITS  # rounded, but all four weights add up to one exactly
    weights = {0: one - down - right + both, 1: right - both, row: down - both, row + 1: both}
    flat, total = pixels.ravel(), np.full(first.shape, (1 | 1 << 16 | 1 << 32) * one // 2, "<u8")
    for beside, weight in weights.items():
        total += flat[beside:].take(first) * weight.astype("<u8")
    return np.ascontiguousarray(total.view(np.uint8).reshape(*first.shape, 8)[..., 1:6:2])
