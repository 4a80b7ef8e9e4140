"""One image, ready to be moved: what every motion makes of an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]


class Place(NamedTuple):
    """Where a view was taken, as the table says it: the content moves by ``dy`` px down and ``dx`` px right."""

    dy: float = 0.0
    dx: float = 0.0
    scale: float = 1.0
    """How many times larger the content appears."""
    angle: float = 0.0
    """How far the content is turned, in degrees counter-clockwise."""


class Window(NamedTuple):
    """The part of the still scene that a view shows, in px of the place where the motion happens.

    So a thing at (y, x) px of a view of ``height_px`` × ``width_px`` lies at (window.y + y · window.height /
    height_px, window.x + x · window.width / width_px) of the scene, wherever the view was taken.
    """

    y: float
    x: float
    height: float
    width: float

    def common(self, other: "Window") -> "Window":
        """What two windows share; without height or width where they share nothing.

        Example:
            >>> Window(0, 0, 4, 8).common(Window(1, -2, 9, 5))
            Window(y=1, x=0, height=3, width=3)
        """
        y, x = max(self.y, other.y), max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - y
        width = min(self.x + self.width, other.x + other.width) - x
        return Window(y, x, max(0, height), max(0, width))


@dataclass(frozen=True)
class Stage:
    """One image, ready to be moved. A motion goes in whole steps, along one axis or two.

    Args:
        view: The view that many steps down and right, without a copy where that can be.
        dy: The steps at which the view stays inside the image; down, or along the only axis.
        dx: The same, to the right; only 0 where a motion has one axis.
        place: What a step is: the place of the view, for the table.
        window: What part of the still scene the view shows; None where it shows no upright rectangle of it.
        picture: What part of the still scene is picture, and no bar or fill around it, when the view is taken there.
            None where a view shows nothing but picture.
        home: The step whose answer the others are compared with: the deployed view, or the next one that may be shown.
        held: Whether the view there holds on to something in the picture: a crop chosen by content may find nothing.
    """

    view: Callable[[int, int], Picture]
    dy: range
    dx: range
    place: Callable[[int, int], Place] = Place
    window: Callable[[int, int], Window] | None = None
    picture: Callable[[int, int], Window] | None = None
    home: tuple[int, int] = (0, 0)
    held: bool = True


def reach(place: int, last: int) -> range:
    """The offsets of a window that stands at ``place`` and may stand at 0 to ``last``.

    The content moves down and to the right where the window moves up and to the left.

    Example:
        >>> reach(1, 3), reach(1, 3)[-1]  # content can move by 2 px up, by 1 px down
        (range(-2, 2), 1)
    """
    return range(place - last, place + 1)
