"""The finished view, turned about its middle."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import atan2, ceil, cos, degrees, floor, hypot, radians, sin
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, UInt16, UInt32
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

BEYOND = 4
"""Px around what is seen that are enlarged with it: a Lanczos filter reaches 3 px far."""

TABLES_BYTES = 32 << 20
"""How much the tables of all angles may take; images have the same angles. Those of large views are made again."""

RED_BLUE, GREEN = 0xFF00FF, 0xFF00
"""The bytes of a pixel: weights of a byte have room above each of these, so red and blue are weighed at once."""

Packed = UInt32[np.ndarray, "row column"]
Places = Int32[np.ndarray, "down right"]
Weights = UInt16[np.ndarray, "tap down right"]


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

    near = height + room_px[0], width + room_px[1]

    @lru_cache(2)
    def fine(far: bool) -> tuple[Packed, int, int]:
        """What can be seen, in the room or beyond it, enlarged; and where its corner lies in px of the scene."""
        box = (hypot(height, width),) * 2 if far else near
        reach = [ceil(side / 2) + BEYOND for side in box]
        rows, columns = (
            slice(max(0, floor(at) - most), min(side, floor(at) + most + 1))
            for at, most, side in zip(middle, reach, scene.shape, strict=False)
        )
        part = Image.fromarray(np.ascontiguousarray(scene[rows, columns]))
        enlarged = part.resize((FINE * part.width, FINE * part.height), Image.Resampling.LANCZOS)
        pixels = np.frombuffer(enlarged.tobytes("raw", "RGBX"), "<u4").reshape(enlarged.height, enlarged.width)
        return pixels, rows.start, columns.start

    def view(i: int, j: int) -> Picture:
        if i == 0:
            (top, left) = place
            return scene[top : top + height, left : left + width]
        angle = i * step
        pixels, top, left = fine(any(box > side for box, side in zip(_extent(view_size, angle), near, strict=True)))
        return _between(pixels, *_tables(view_size, (middle[0] - top, middle[1] - left), pixels.shape[1])(angle))

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


@lru_cache(3)
def _tables(view_size: Size, middle: tuple[float, float], row: int) -> Callable[[float], tuple[Places, Weights]]:
    """For an angle, where a turned view's pixels lie among fine ones, and how much each of the four around counts.

    Args:
        view_size: (height, width) in px.
        middle: Of the view, in px of the part that is enlarged, down and to the right of its corner.
        row: How many fine pixels one row of that has.
    """
    height, width = view_size
    one, cut = 1 << BITS, PLACE_BITS - BITS

    @lru_cache(max(1, TABLES_BYTES // (12 * height * width)))
    def table(angle: float) -> tuple[Places, Weights]:
        c, s = cos(radians(angle)), sin(radians(angle))
        y, x = np.arange(height)[:, None] + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2
        down = _fixed(FINE * (middle[0] + c * y) - 0.5) + _fixed(FINE * s * x)
        right = _fixed(FINE * (middle[1] - s * y) - 0.5) + _fixed(FINE * c * x)
        first = (down >> PLACE_BITS) * row + (right >> PLACE_BITS)
        down, right = (at >> cut & one - 1 for at in (down, right))
        both = down * right + one // 2 >> BITS  # rounded, but all four weights add up to one exactly
        return first, np.stack([one - down - right + both, right - both, down - both, both]).astype(np.uint16)

    return table


def _between(pixels: Packed, first: Places, weights: Weights) -> Picture:
    """Bilinear interpolation between four fine pixels, the upper left one given, rounded to the next grey level."""
    row, half = pixels.shape[1], 1 << BITS >> 1
    flat = pixels.ravel()
    red_blue, green = (np.full(first.shape, half * (lanes & 0x10101), "<u4") for lanes in (RED_BLUE, GREEN))
    for beside, weight in zip((0, 1, row, row + 1), weights, strict=True):
        found, many = flat[beside:].take(first), weight.astype("<u4")
        red_blue += (found & RED_BLUE) * many
        found &= GREEN
        found *= many
        green += found
    red_blue &= RED_BLUE << BITS
    green &= GREEN << BITS
    red_blue |= green
    red_blue >>= BITS
    found, view = red_blue.view(np.uint8).reshape(*first.shape, 4), np.empty((*first.shape, 3), np.uint8)
    for channel in range(3):  # a fifth of the time that a copy of all three at once takes
        view[..., channel] = found[..., channel]
    return view
