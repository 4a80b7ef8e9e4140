"""Where the views of an image are taken: places one after the other, one pixel apart or at random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from shiftable.errors import InputError, unknown

Path = Int[np.ndarray, "step 2"]
"""Places (dy, dx) in px, in the order in which they are visited; the content moves down and to the right."""

DIRECTIONS: Mapping[str, tuple[int, int]] = {"vertical": (1, 0), "horizontal": (0, 1), "diagonal": (1, 1)}
"""One step, (dy, dx) in px."""

ROOM_PX = 32
"""How far places drawn at random lie apart at most, where the model leaves no room of its own: 256 − 224."""


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
            further. ``"random"``: two independent places, each 0 to 31 px along both axes. ``"grid"``: all places
            within ``radius_px``; every row and every column is a walk.
        steps: Places of a sweep.
        direction: Which way one step goes: vertical, horizontal or diagonal. A grid and random places have none.
        walks: How many walks each image gets, of pairs and random.
        radius_px: How far a grid reaches.
    """

    shape: Literal["sweep", "pairs", "random", "grid"] = "sweep"
    steps: int = 33
    direction: Literal["vertical", "horizontal", "diagonal"] | None = "vertical"
    walks: int = 4
    radius_px: int = 3

    @property
    def room_steps(self) -> tuple[int, int]:
        """The room that the places need along (y, x): even, for the deployed place is in its middle."""
        if self.shape == "sweep":
            dy, dx = DIRECTIONS[self.direction or "vertical"]
            return dy * 2 * (self.steps // 2), dx * 2 * (self.steps // 2)
        room = {"pairs": ROOM_PX, "random": ROOM_PX, "grid": 2 * self.radius_px}[self.shape]
        return room, room

    def to_json(self) -> dict[str, str | int | None]:
        """The shape and the options that it has."""
        return {"shape": self.shape, **{option: getattr(self, option) for option in OPTIONS[self.shape]}}

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
) -> Walk:
    """A checked `Walk`, its options chosen where they are None.

    Raises:
        InputError: For an unknown shape or direction, an option that the shape does not have, or a number too small.

    Example:
        >>> make_walk("pairs").direction
        'horizontal'
    """
    if shape not in SHAPES:
        raise unknown("walk", shape, SHAPES)
    if direction is not None and direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
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
    usual = {"sweep": "vertical", "pairs": "horizontal"}.get(shape)
    chosen = {key: value for key, value in given.items() if value is not None and key != "direction"}
    return Walk(shape, direction=direction or usual, **chosen)  # type: ignore[arg-type]


def lay_walks(walk: Walk, dy: range, dx: range, rng: np.random.Generator) -> list[Path]:
    """The walks over one image.

    Args:
        walk: Their kind.
        dy: The offsets, in px, at which the view stays inside the image; 0 is the deployed place.
        dx: The same, to the right.
        rng: Draws the places of pairs and random walks.

    Raises:
        InputError: If a walk leaves the image: which step, and how many pixels are missing.
    """
    return SHAPES[walk.shape](walk, dy, dx, rng)


def _sweep(walk: Walk, dy: range, dx: range, rng: np.random.Generator) -> list[Path]:
    step = np.array(DIRECTIONS[walk.direction or "vertical"])
    places = (np.arange(walk.steps) - walk.steps // 2)[:, None] * step
    return [_inside(places, dy, dx)]


def _pairs(walk: Walk, dy: range, dx: range, rng: np.random.Generator) -> list[Path]:
    step = np.array(DIRECTIONS[walk.direction or "horizontal"])
    low, high = np.array([dy[0], dx[0]]), np.array([dy[-1], dx[-1]]) - step
    if (high < low).any():
        raise InputError("there is no room for one step of 1 px")
    first = rng.integers(low, high, size=(walk.walks, 2), endpoint=True)
    return [np.stack([place, place + step]) for place in first]


def _random(walk: Walk, dy: range, dx: range, rng: np.random.Generator) -> list[Path]:
    # Zhang 2019: a 224 px window at 0..31 px of 256 px; the deployed place is at 16
    places = rng.integers(-(ROOM_PX // 2) + 1, ROOM_PX // 2, size=(walk.walks, 2, 2), endpoint=True)
    return [_inside(pair, dy, dx) for pair in places]


def _grid(walk: Walk, dy: range, dx: range, rng: np.random.Generator) -> list[Path]:
    line = np.arange(-walk.radius_px, walk.radius_px + 1)
    rows = [np.stack([np.full_like(line, at), line], axis=1) for at in line]
    columns = [np.stack([line, np.full_like(line, at)], axis=1) for at in line]
    return [_inside(places, dy, dx) for places in rows + columns]


SHAPES: Mapping[str, Callable[[Walk, range, range, np.random.Generator], list[Path]]] = {
    "sweep": _sweep,
    "pairs": _pairs,
    "random": _random,
    "grid": _grid,
}


def _inside(places: Path, dy: range, dx: range) -> Path:
    for axis, reach in enumerate((dy, dx)):
        missing = np.maximum(reach[0] - places[:, axis], places[:, axis] - reach[-1])
        if missing.max() > 0:
            step = int((missing > 0).argmax())
            name = ("dy", "dx")[axis]
            raise InputError(
                f"step {step} ({name} = {places[step, axis]:+d} px) leaves the image; "
                f"{missing.max()} px are missing at the farthest step",
                todo="take fewer steps, or let images be enlarged",
            )
    return places
