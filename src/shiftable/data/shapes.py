"""A procedural world: ten kinds of textured shapes on 1/f backgrounds, with exact ground truth at any place.

Every picture is a formula, evaluated at the centres of the pixels. Moving, zooming or turning the view moves the points
at which the formula is evaluated, so nothing is ever interpolated, and whole-pixel moves give the same bytes.

Places are in pixels from the top-left *corner* of the canvas: pixel 0 covers 0 to 1 and its centre lies at 0.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import ceil, cos, floor, pi, radians, sin
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from shiftable.data.boxes import Box
from shiftable.data.images import Sample
from shiftable.errors import InputError, unknown

Size: TypeAlias = tuple[int, int]
Real: TypeAlias = float | int
Points: TypeAlias = Float64[np.ndarray, "point 2"]

EDGE_PX = 3.0
"""Over how many pixels an outline fades, the middle one from 79 % to 21 %: so soft that the picture hardly aliases."""

WAVES = 192
"""How many plane waves make a background."""

WAVE_BAND = (1 / 192, 0.3)
"""The frequencies of a background, in cycles per pixel."""

TILE = 48
"""The side of the tiles that a background is computed in: 48² × 2 × 192 waves are less than a million terms."""

TEXTURES = ("plain", "stripes", "checks")


@dataclass(frozen=True)
class Shape:
    """An outline in units of its radius: a polygon, grown by ``rounding``, and hollow if it has a ``wall``.

    One corner and a rounding make a disc, two make a pill. All corners, grown, lie within the unit circle.
    """

    corners: tuple[tuple[float, float], ...]  # (y, x)
    rounding: float = 0.0
    wall: float | None = None


def _on_circle(count: int, *radii: float) -> tuple[tuple[float, float], ...]:
    """``count`` corners, the first at the top, whose radii go around."""
    turns = [2 * pi * k / count for k in range(count)]
    return tuple((-radii[k % len(radii)] * cos(t), radii[k % len(radii)] * sin(t)) for k, t in enumerate(turns))


def _mirrored(*half: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The corners of the right half, top to bottom, and their mirror images."""
    return half + tuple((y, -x) for y, x in reversed(half))


SHAPES = {
    "disc": Shape(((0.0, 0.0),), rounding=0.9),
    "ring": Shape(((0.0, 0.0),), rounding=0.9, wall=0.36),
    "square": Shape(((-0.7, -0.7), (-0.7, 0.7), (0.7, 0.7), (0.7, -0.7))),
    "frame": Shape(((-0.7, -0.7), (-0.7, 0.7), (0.7, 0.7), (0.7, -0.7)), wall=0.32),
    "triangle": Shape(_on_circle(3, 1.0)),
    "star": Shape(_on_circle(10, 1.0, 0.42)),
    "cross": Shape(_mirrored((-0.95, 0.28), (-0.28, 0.28), (-0.28, 0.95), (0.28, 0.95), (0.28, 0.28), (0.95, 0.28))),
    "pill": Shape(((0.0, -0.55), (0.0, 0.55)), rounding=0.42),
    "arrow": Shape(_mirrored((-1.0, 0.0), (-0.05, 0.8), (-0.05, 0.3), (0.95, 0.3))),
    "hourglass": Shape(_mirrored((-0.8, 0.6), (0.0, 0.1), (0.8, 0.6))),
}

CLASSES = tuple(SHAPES)
"""The names of the classes, in the order of their labels."""


@dataclass(frozen=True)
class Scene:
    """One object on one background, as a formula. Positions in px, angles in degrees counter-clockwise, colours 0..1.

    Args:
        label: Which of ``CLASSES``.
        y: The object's centre, in px down from the top of the canvas.
        x: The same, in px from the left.
        radius: Of the circle around the object, in px.
        angle: How far the object is turned, in degrees.
        color: The object's mean colour, RGB.
        texture: One of ``TEXTURES``, fixed to the object.
        texture_contrast: Its amplitude.
        texture_period: The wavelength of its stripes or checks, in px.
        texture_angle: The direction of its stripes against the object, in degrees.
        background: The seed of the background's waves.
        background_color: Its mean colour, RGB.
        background_contrast: Its brightness' standard deviation.
    """

    label: int
    y: float
    x: float
    radius: float
    angle: float
    color: tuple[float, float, float]
    texture: Literal["plain", "stripes", "checks"]
    texture_contrast: float
    texture_period: float
    texture_angle: float
    background: int
    background_color: tuple[float, float, float]
    background_contrast: float


def draw_scene(
    seed: int | list[int] | np.random.Generator,
    label: int | None = None,
    size: Size = (96, 96),
    placement: str = "photographer",
) -> Scene:
    """A random scene. Colours, texture, angle and background say nothing about the class, nor about the placement.

    Args:
        seed: Of the draw: the same seed, the same scene.
        label: The class, or None for any.
        size: (height, width) of the canvas in px.
        placement: One of ``PLACEMENTS``. ``"photographer"``: near the centre and of typical size, so that the object
            stays within the central two thirds of a square canvas even when they move by a sixth. ``"uniform"``:
            anywhere it fits, of any size.

    Raises:
        InputError: If the placement is none of these.

    Example:
        >>> scene = draw_scene(7, label=CLASSES.index("ring"))
        >>> CLASSES[scene.label], render(scene).shape
        ('ring', (96, 96, 3))
    """
    rng = np.random.default_rng(seed)
    if placement not in PLACEMENTS:
        raise unknown("placement", placement, PLACEMENTS)
    label = int(rng.integers(len(CLASSES))) if label is None else label
    y, x, radius = PLACEMENTS[placement](rng.spawn(1)[0], size)  # a stream of its own: all else stays the same
    gray = rng.uniform(0.3, 0.7)
    step = rng.uniform(0.18, 0.4) * rng.choice((-1, 1))
    object_gray = gray + step if 0.1 < gray + step < 0.9 else gray - step
    return Scene(
        label=label,
        y=y,
        x=x,
        radius=radius,
        angle=rng.uniform(0, 360),
        color=_tinted(rng, object_gray),
        texture=str(rng.choice(TEXTURES)),  # type: ignore[arg-type]
        texture_contrast=rng.uniform(0.03, 0.12),
        texture_period=rng.uniform(4, 9),
        texture_angle=rng.uniform(0, 360),
        background=int(rng.integers(2**32)),
        background_color=_tinted(rng, gray),
        background_contrast=rng.uniform(0.05, 0.13),
    )


def _near_centre(rng: np.random.Generator, size: Size) -> tuple[float, float, float]:
    short = min(size)
    radius = short * rng.uniform(0.085, 0.135)
    room = short / 6 - radius
    y, x = (side / 2 + np.clip(rng.normal(0, 0.03 * short), -room, room) for side in size)
    return float(y), float(x), radius


def _anywhere(rng: np.random.Generator, size: Size) -> tuple[float, float, float]:
    radius = min(size) * rng.uniform(0.06, 0.2)
    y, x = (rng.uniform(radius, side - radius) for side in size)
    return y, x, radius


PLACEMENTS = {"photographer": _near_centre, "uniform": _anywhere}
"""Where objects are and how large: each draws (y, x, radius) in px."""


def _tinted(rng: np.random.Generator, gray: float) -> tuple[float, float, float]:
    """A colour of this brightness with a random tint."""
    red, green, blue = gray + _OPPONENT @ rng.normal(0, 0.07, 2)
    return float(red), float(green), float(blue)


_OPPONENT = np.array([[0.7, 0.4], [-0.35, 0.4], [-0.35, -0.8]])
"""RGB of the two directions in which colours differ at equal mean: red against cyan, yellow against blue."""

_TINT = np.column_stack([np.ones(3), 0.3 * _OPPONENT])
"""RGB of brightness and of both tints in a background: photographs vary less in colour than in brightness."""


def samples(count: int, seed: int = 0, size: Size = (96, 96), placement: str = "photographer") -> list[Sample]:
    """Labelled images of random scenes, rendered when read; the classes take turns.

    Args:
        count: How many.
        seed: Of the draw. The first images of a longer list are those of a shorter one.
        size: (height, width) in px.
        placement: Where objects are and how large, see `draw_scene`.

    Example:
        >>> [sample.id for sample in samples(2)], samples(2)[1].read().shape
        (['shapes/00000-disc', 'shapes/00001-ring'], (96, 96, 3))
    """
    return [
        Sample(
            f"shapes/{index:05d}-{CLASSES[scene.label]}",
            scene.label,
            partial(render, scene, size),
            (Box(*box(scene, size), CLASSES[scene.label], size),),
        )
        for index, scene in enumerate(scenes(count, seed, size, placement))
    ]


def scenes(count: int, seed: int = 0, size: Size = (96, 96), placement: str = "photographer") -> Iterator[Scene]:
    """The scenes that `samples` shows, with the same arguments."""
    for index in range(count):
        yield draw_scene([seed, index], index % len(CLASSES), size, placement)


def render(
    scene: Scene, size: Size = (96, 96), dy: Real = 0, dx: Real = 0, scale: Real = 1, angle: Real = 0
) -> UInt8[np.ndarray, "height width 3"]:
    """The scene as a camera sees it: background and object, zoomed and turned about the view's centre, then moved.

    Whole-pixel moves give the same bytes, one pixel further, also between fractions: ``dx=1.3`` against ``dx=0.3``.

    Args:
        scene: What is shown.
        size: (height, width) of the view in px.
        dy: How far the content moves down, in px, after zoom and turn.
        dx: How far it moves to the right, in px.
        scale: How many times larger everything appears.
        angle: How far everything is turned, in degrees counter-clockwise.

    Raises:
        InputError: If the scale is not positive.
    """
    if scale <= 0:
        raise InputError(f"scale is {scale}", todo="give a positive factor")
    rows, columns = _pixel_centres(size[0], dy), _pixel_centres(size[1], dx)
    picture = _background(scene, size, rows, columns, scale, angle)
    seen = _seen(scene, size, scale, angle)
    window = _window(seen, rows, columns)
    y, x = rows[window[0], None], columns[None, window[1]]
    cover = _cover(seen, y, x)[..., None]
    paint = np.asarray(seen.color) + _texture(seen, y, x)[..., None]
    picture[window] += cover * (paint - picture[window])
    return np.asarray(np.rint(255 * picture.clip(0, 1)), np.uint8)


def box(
    scene: Scene, size: Size = (96, 96), dy: Real = 0, dx: Real = 0, scale: Real = 1, angle: Real = 0
) -> tuple[float, float, float, float]:
    """The object's exact extent in the view that `render` gives for the same arguments: x0, y0, x1, y1 in px.

    The outline counts where the object covers half; its soft edge reaches ``EDGE_PX / 2`` further. Not clipped.
    """
    seen = _seen(scene, size, scale, angle)
    shape = SHAPES[CLASSES[scene.label]]
    corners = seen.radius * _turned(np.array(shape.corners), seen.angle)
    y0, x0 = corners.min(0) - seen.radius * shape.rounding
    y1, x1 = corners.max(0) + seen.radius * shape.rounding
    return float(seen.x + dx + x0), float(seen.y + dy + y0), float(seen.x + dx + x1), float(seen.y + dy + y1)


def mask(
    scene: Scene, size: Size = (96, 96), dy: Real = 0, dx: Real = 0, scale: Real = 1, angle: Real = 0
) -> Float64[np.ndarray, "height width"]:
    """How much of each pixel the object covers, 0 to 1, in the view that `render` gives for the same arguments."""
    rows, columns = _pixel_centres(size[0], dy), _pixel_centres(size[1], dx)
    seen = _seen(scene, size, scale, angle)
    window = _window(seen, rows, columns)
    cover = np.zeros(size)
    cover[window] = _cover(seen, rows[window[0], None], columns[None, window[1]])
    return cover


def _pixel_centres(count: int, shift: Real) -> Float64[np.ndarray, " pixel"]:
    """Where the unmoved picture is evaluated. Snapped to 2^-20 px, so that 1.3 is exactly one more than 0.3."""
    return _snap(np.arange(count) + 0.5 - shift, 20)


def _snap(values: np.ndarray, bits: int) -> Float64[np.ndarray, "*shape"]:
    """Rounded to multiples of 2^-bits. Sums and products of such numbers are exact in any order, up to 53 bits."""
    return np.asarray(np.rint(values * 2.0**bits) * 2.0**-bits)


def _turned(points: Points, angle: Real) -> Points:
    """(y, x) pairs, y down, turned counter-clockwise as seen."""
    c, s = cos(radians(angle)), sin(radians(angle))
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def _seen(scene: Scene, size: Size, scale: Real, angle: Real) -> Scene:
    """The scene whose object lies where the zoomed and turned view shows it, before it is moved."""
    if scale == 1 and angle == 0:
        return scene
    centre = np.array(size) / 2
    y, x = centre + scale * _turned(np.array([[scene.y, scene.x]]) - centre, angle)[0]
    # stripes too fine for the pixels fade, as behind a lens
    contrast = scene.texture_contrast * _carried(np.array([1 / scene.texture_period / scale]))[0]
    return replace(
        scene,
        y=float(y),
        x=float(x),
        radius=scene.radius * scale,
        angle=scene.angle + angle,
        texture_period=scene.texture_period * scale,
        texture_contrast=float(contrast),
    )


def _carried(frequency: np.ndarray) -> Float64[np.ndarray, "*shape"]:
    """How much of a wave the pixel grid shows, 0 to 1: all of it up to 0.4 cycles per pixel, nothing from 0.5."""
    return np.cos(pi / 2 * ((frequency - 0.4) / 0.1).clip(0, 1)) ** 2


@lru_cache(maxsize=256)
def _waves(seed: int) -> tuple[Points, Float64[np.ndarray, "wave 3"]]:
    """Wave vectors (cycles per px, y and x), and phases for brightness and two tints.

    Waves of equal amplitude whose frequencies are spread evenly over octaves and directions have, per unit of the
    frequency plane, power falling as 1/f²: the spectrum of photographs.
    """
    rng = np.random.default_rng(seed)
    low, high = np.log(WAVE_BAND)
    octave = (rng.permutation(WAVES) + rng.uniform(size=WAVES)) / WAVES
    frequency = np.exp(low + (high - low) * octave)
    direction = rng.uniform(0, 2 * pi, WAVES)
    vectors = frequency[:, None] * np.stack([np.sin(direction), np.cos(direction)], 1)
    return vectors, rng.uniform(0, 2 * pi, (WAVES, 3))


def _background(
    scene: Scene,
    size: Size,
    rows: Float64[np.ndarray, " height"],
    columns: Float64[np.ndarray, " width"],
    scale: Real,
    angle: Real,
) -> Float64[np.ndarray, "height width 3"]:
    """The sum of the waves, as one product of a table of rows and a table of columns.

    A matrix product may add in any order, and in another order for another row. Tables of 20 and 26 binary places make
    every sum exact, hence the same wherever a row comes to lie.
    """
    vectors, phases = _waves(scene.background)
    centre = np.array(size) / 2
    still = phases + 2 * pi * (vectors @ centre)[:, None]
    vectors = _turned(vectors, angle) / scale
    amplitude = scene.background_contrast * (2 / WAVES) ** 0.5 * _carried(np.hypot(*vectors.T))
    red_green_blue = amplitude[:, None] * (np.exp(1j * still) @ _TINT.T)
    down = 2 * pi * vectors[:, :1] * (rows - centre[0])
    right = 2 * pi * vectors[:, 1:] * (columns - centre[1])
    turning = (np.cos(right) + 1j * np.sin(right))[:, :, None] * red_green_blue[:, None, :]
    row_table = _snap(np.concatenate([np.cos(down), np.sin(down)]), 20)
    column_table = _snap(np.concatenate([turning.real, -turning.imag]), 26).reshape(2 * WAVES, -1)
    # in tiles: BLAS would wake its threads for a product of a million terms, which can take longer than the product
    flat = np.empty((size[0], column_table.shape[1]))
    for top in range(0, size[0], TILE):
        some_rows = np.ascontiguousarray(row_table.T[top : top + TILE])
        for left in range(0, flat.shape[1], TILE):
            tile = slice(top, top + TILE), slice(left, left + TILE)
            np.matmul(some_rows, column_table[:, tile[1]], out=flat[tile])
    picture = flat.reshape(*size, 3)
    return np.asarray(picture + np.asarray(scene.background_color))


def _window(seen: Scene, rows: np.ndarray, columns: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that the object may touch."""
    reach = seen.radius + EDGE_PX

    def span(centre: float, first: float, count: int) -> slice:
        return slice(max(0, floor(centre - reach - first)), max(0, min(count, ceil(centre + reach - first) + 1)))

    return span(seen.y, rows[0], len(rows)), span(seen.x, columns[0], len(columns))


def _cover(seen: Scene, y: np.ndarray, x: np.ndarray) -> Float64[np.ndarray, "height width"]:
    """How much the object covers at these places: a smooth step across its outline."""
    outward = _distance(SHAPES[CLASSES[seen.label]], *_object_axes(seen, y, x)) * seen.radius
    t = (0.5 - outward / EDGE_PX).clip(0, 1)
    return np.asarray(t**3 * (t * (6 * t - 15) + 10))


def _object_axes(seen: Scene, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) in the object's own axes, in units of its radius."""
    c, s = cos(radians(seen.angle)), sin(radians(seen.angle))
    down, right = (y - seen.y) / seen.radius, (x - seen.x) / seen.radius
    return c * down + s * right, c * right - s * down


def _distance(shape: Shape, y: np.ndarray, x: np.ndarray) -> Float64[np.ndarray, "height width"]:
    """Signed distance to the outline, negative inside, in units of the radius.

    After Quilez, "2D distance functions": the nearest point of each side, and for the sign the parity of the sides that
    a ray crosses.
    """
    nearest = np.full(y.shape, np.inf)
    inside: Bool[np.ndarray, "height width"] = np.zeros(y.shape, bool)
    corners = shape.corners
    for (ay, ax), (by, bx) in zip(corners, corners[1:] + corners[:1], strict=True):
        side_y, side_x, to_y, to_x = by - ay, bx - ax, y - ay, x - ax
        length2 = max(side_y**2 + side_x**2, 1e-12)  # a disc's only side has no length
        t = ((to_y * side_y + to_x * side_x) / length2).clip(0, 1)
        nearest = np.minimum(nearest, (to_y - t * side_y) ** 2 + (to_x - t * side_x) ** 2)
        left = side_x * to_y > side_y * to_x
        inside ^= (y >= ay) & (y < by) & left | ~((y >= ay) | (y < by) | left)
    outward = np.asarray(np.sqrt(nearest) * np.where(inside, -1, 1) - shape.rounding)
    return outward if shape.wall is None else np.maximum(outward, np.asarray(-outward - shape.wall))


def _texture(seen: Scene, y: np.ndarray, x: np.ndarray) -> Float64[np.ndarray, "height width"]:
    """What the texture adds to the colour at these places."""
    if seen.texture == "plain":
        return np.zeros(np.broadcast_shapes(y.shape, x.shape))
    turned = replace(seen, angle=seen.angle + seen.texture_angle)
    down, right = (2 * pi * seen.radius / seen.texture_period * axis for axis in _object_axes(turned, y, x))
    return seen.texture_contrast * np.cos(down) * (np.cos(right) if seen.texture == "checks" else 1)
