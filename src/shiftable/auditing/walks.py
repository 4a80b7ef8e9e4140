"""Where the views of an image are taken: places one after the other, one step apart or at random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from shiftable.errors import InputError, unknown

Path = Int[np.ndarray, "step 2"]
"""Places in whole steps (down, right), in the order in which they are visited; along the first axis if it is alone."""

DIRECTIONS: Mapping[str, tuple[int, int]] = {"vertical": (1, 0), "horizontal": (0, 1), "diagonal": (1, 1)}
"""One step, (down, right)."""

ROOM_PX = 32
"""How many steps places drawn at random lie apart at most, where the model leaves no room of its own: 256 − 224."""

NOWHERE = "no two places of the view show the whole box"
"""Why there is no walk where walks may be shortened, as they are to keep a box in the view."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "sweep": ("steps", "direction"),
    "pairs": ("walks", "direction"),
    "random": ("walks",),
    "grid": ("radius_px",),
}
"""The options that each shape has."""


@dataclass(frozen=True)
class Walk:
    """The kind of walks an audit takes over every image.

    Args:
        shape: ``"sweep"``: one long walk through the deployed place. ``"pairs"``: a random place, then one step
            further; with one axis near home, as random ones. ``"random"``: two independent places, each 0 to 31 px
            along both axes. ``"grid"``: all places within ``radius_px``; every row and every column is a walk.
        steps: Places of a sweep.
        direction: Which way one step goes: vertical, horizontal or diagonal. A grid and random places have none, nor
            has a motion with one axis.
        walks: How many walks each image gets, of pairs and random.
        radius_px: How far a grid reaches, in steps.
        axes: How many numbers the motion's places have: 1 for a size or an angle.
    """

    shape: Literal["sweep", "pairs", "random", "grid"] = "sweep"
    steps: int = 33
    direction: Literal["vertical", "horizontal", "diagonal"] | None = "vertical"
    walks: int = 4
    radius_px: int = 3
    axes: Literal[1, 2] = 2

    @property
    def step(self) -> tuple[int, int]:
        """One step, (down, right)."""
        return DIRECTIONS[self.direction or ("horizontal" if self.shape == "pairs" and self.axes == 2 else "vertical")]

    @property
    def room_steps(self) -> tuple[int, int]:
        """The room that the places need along (y, x): even, for the deployed place is in its middle."""
        if self.shape == "sweep":
            return self.step[0] * 2 * (self.steps // 2), self.step[1] * 2 * (self.steps // 2)
        room = {"pairs": ROOM_PX, "random": ROOM_PX, "grid": 2 * self.radius_px}[self.shape]
        return room, room if self.axes == 2 else 0

    def to_json(self) -> dict[str, str | int | None]:
        """The shape and the options that it has; the axes only where there is one."""
        options = {option: getattr(self, option) for option in OPTIONS[self.shape]}
        return {"shape": self.shape, **options, **({"axes": 1} if self.axes == 1 else {})}

    @property
    def views(self) -> int:
        """How many views an image needs, the unmoved one included."""
        return {
            "sweep": self.steps,
            "pairs": 2 * self.walks + 1,
            "random": 2 * self.walks + 1,
            "grid": (2 * self.radius_px + 1) ** 2,
        }[self.shape]


def make_walk(
    shape: str = "sweep",
    *,
    steps: int | None = None,
    direction: str | None = None,
    walks: int | None = None,
    radius_px: int | None = None,
    axes: Literal[1, 2] = 2,
) -> Walk:
    """A checked `Walk`, its options chosen where they are None.

    Args:
        shape: One of ``SHAPES``.
        steps: Places of a sweep; 33 by default.
        direction: Which way a step goes; vertical on a sweep, horizontal in pairs by default.
        walks: Walks per image; 4 by default.
        radius_px: How far a grid reaches; 3 by default.
        axes: The motion's.

    Raises:
        InputError: For an unknown shape or direction, an option that the shape does not have, or a number too small;
            where there is one axis, for a direction, and for a grid.

    Example:
        >>> make_walk("pairs").direction
        'horizontal'
    """
    if shape not in SHAPES:
        raise unknown("walk", shape, SHAPES)
    if direction is not None and direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if axes == 1 and shape == "grid":
        todo = f"take --walk {' or '.join(other for other in SHAPES if other != shape)}"
        raise InputError("a motion with one axis has no grid: there is nothing to step sideways to", todo=todo)
    if axes == 1 and direction is not None:
        raise InputError("a motion with one axis has no direction", where="--direction", todo="leave it out")
    given = {"steps": steps, "direction": direction, "walks": walks, "radius_px": radius_px}
    for option, value in given.items():
        if value is not None and option not in OPTIONS[shape]:
            flag = {"radius_px": "--radius"}.get(option, f"--{option}")
            raise InputError(
                f"a {shape} walk has no {option}", where=flag, todo=f"it takes {' and '.join(OPTIONS[shape])}"
            )
    for option, least in (("steps", 2), ("walks", 1), ("radius_px", 1)):
        value = given[option]
        if isinstance(value, int) and value < least:
            raise InputError(f"{option} can't be {value}", todo=f"give {least} or more")
    usual = {"sweep": "vertical", "pairs": "horizontal"}.get(shape) if axes == 2 else None
    chosen = {key: value for key, value in given.items() if value is not None and key != "direction"}
    return Walk(shape, direction=direction or usual, axes=axes, **chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ground:
    """Where a walk may go over one image.

    Args:
        dy: The steps at which the view may be taken: down, or along the only axis.
        dx: The same, to the right.
        home: The step around which walks are laid: the deployed place, or the next one that may be shown.
        shorten: Whether walks become shorter where there is less room, as long as they have two places.
        unit: What a step is called in errors.
        place: What a step along the only axis is: has its ``angle`` in degrees and its ``scale``. None where unknown.
    """

    dy: range
    dx: range
    home: tuple[int, int] = (0, 0)
    shorten: bool = False
    unit: str = "px"
    place: Callable[[int, int], Any] | None = None


def lay_walks(
    walk: Walk,
    dy: range,
    dx: range,
    rng: np.random.Generator,
    *,
    home: tuple[int, int] = (0, 0),
    shorten: bool = False,
    unit: str = "px",
    place: Callable[[int, int], Any] | None = None,
) -> list[Path]:
    """The walks over one image.

    Args:
        walk: Their kind.
        dy: The steps at which the view stays inside the image: down, or along the only axis.
        dx: The same, to the right.
        rng: Draws the places of pairs and random walks.
        home: The step around which they are laid: the deployed place, or the nearest one that may be shown.
        shorten: Where there is less room, take the places that there are, as central around ``home`` as can be.
        unit: What a step is called in errors.
        place: `Stage.place`: so errors of motions with one axis can say degrees and sizes.

    Raises:
        InputError: If a walk leaves the image: which step, and how many pixels are missing; or if there are no two
            places to go to.
    """
    return SHAPES[walk.shape](walk, Ground(dy, dx, home, shorten, unit, place), rng)


def _sweep(walk: Walk, ground: Ground, rng: np.random.Generator) -> list[Path]:
    offsets = np.arange(walk.steps) - walk.steps // 2
    if ground.shorten:
        low, high = _steps_to_border(walk, ground)
        count = min(walk.steps, high - low + 1)
        if count < 2:
            raise InputError(NOWHERE)
        first = min(max(-(count // 2), low), high - count + 1)
        offsets = np.arange(first, first + count)
    return [_inside(np.array(ground.home) + offsets[:, None] * np.array(walk.step), ground, walk)]


def _steps_to_border(walk: Walk, ground: Ground) -> tuple[int, int]:
    """How many steps the way back from home and the way on have room for: (-back, on)."""
    lows, highs = zip(
        *((reach[0] - at, reach[-1] - at)
          for reach, at, step in zip((ground.dy, ground.dx), ground.home, walk.step, strict=True) if step),
        strict=True,
    )  # fmt: skip
    return max(lows), min(highs)


def _pairs(walk: Walk, ground: Ground, rng: np.random.Generator) -> list[Path]:
    step = np.array(walk.step)
    low, high = np.array([ground.dy[0], ground.dx[0]]), np.array([ground.dy[-1], ground.dx[-1]])
    if walk.axes == 1:  # else how large content becomes, or how far it turns, would depend on the image's size
        home = ground.home[0]
        low[0], high[0] = max(low[0], home - ROOM_PX // 2), min(high[0], home + ROOM_PX // 2)
    high -= step
    if (high < low).any():
        one = "1 px" if ground.unit == "px" else "this motion"
        raise InputError(NOWHERE if ground.shorten else f"there is no room for one step of {one}")
    first = rng.integers(low, high, size=(walk.walks, 2), endpoint=True)
    return [np.stack([place, place + step]) for place in first]


def _random(walk: Walk, ground: Ground, rng: np.random.Generator) -> list[Path]:
    # Zhang 2019: a 224 px window at 0..31 px of 256 px; the deployed place is at 16
    around = np.array([[-(ROOM_PX // 2) + 1] * 2, [ROOM_PX // 2] * 2])
    if walk.axes == 1:
        around[:, 1] = 0
    low, high = around + np.array(ground.home)
    if ground.shorten:
        low = np.maximum(low, [ground.dy[0], ground.dx[0]])
        high = np.minimum(high, [ground.dy[-1], ground.dx[-1]])
        if (low == high).all():
            raise InputError(NOWHERE)
    places = rng.integers(low, high, size=(walk.walks, 2, 2), endpoint=True)
    return [_inside(pair, ground, walk) for pair in places]


def _grid(walk: Walk, ground: Ground, rng: np.random.Generator) -> list[Path]:
    line = np.arange(-walk.radius_px, walk.radius_px + 1)
    rows = [np.stack([np.full_like(line, at), line], axis=1) for at in line]
    columns = [np.stack([line, np.full_like(line, at)], axis=1) for at in line]
    return [_inside(places + np.array(ground.home), ground, walk) for places in rows + columns]


SHAPES: Mapping[str, Callable[[Walk, Ground, np.random.Generator], list[Path]]] = {
    "sweep": _sweep,
    "pairs": _pairs,
    "random": _random,
    "grid": _grid,
}


def _inside(places: Path, ground: Ground, walk: Walk) -> Path:
    if walk.axes == 1:
        return _inside_one(places, ground, walk)
    for axis, reach in enumerate((ground.dy, ground.dx)):
        missing = np.maximum(reach[0] - places[:, axis], places[:, axis] - reach[-1])
        if missing.max() > 0:
            step = int((missing > 0).argmax())
            name = ("dy", "dx")[axis]
            raise InputError(
                f"step {step} ({name} = {places[step, axis]:+d} {ground.unit}) leaves the image; "
                f"{missing.max()} {ground.unit} are missing at the farthest step",
                todo="take fewer steps, or let images be enlarged",
            )
    return places


def _inside_one(places: Path, ground: Ground, walk: Walk) -> Path:
    """The same along the only axis, where a step is no pixel: a size or an angle."""
    reach, first, last = ground.dy, int(places[:, 0].min()), int(places[:, 0].max())
    if reach[0] <= first and last <= reach[-1]:
        return places
    from_, to = (f"{step:+d}{_worth(step, ground)}" for step in (reach[0], reach[-1]))
    fitting = 2 * max(0, min(ground.home[0] - reach[0], reach[-1] - ground.home[0])) + 1
    fewer = "take --walk pairs, which stays inside"
    if walk.shape == "sweep":
        fewer = f"take --steps {fitting} or less" if fitting > 2 else "take images with more room"
    raise InputError(
        f"its steps can be {from_} to {to}, and the walk goes from {first:+d} to {last:+d}",
        todo=f"{fewer}, or smaller steps where the motion has --step",
    )


def _worth(step: int, ground: Ground) -> str:
    """What a step that may be taken is, in brackets; nothing where nobody says."""
    if ground.place is None:
        return ""
    place = ground.place(step, 0)
    return f" ({place.angle:+g}°)" if place.angle else f" (×{place.scale:.2f})"
