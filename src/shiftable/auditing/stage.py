"""One image, ready to be moved: what every motion makes of an image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Stage:
    """One image, ready to be moved.

    Args:
        view: The view at (dy, dx), without a copy where that can be.
        dy: The offsets at which the view stays inside the image.
        dx: The same, to the right.
    """

    view: Callable[[int, int], Picture]
    dy: range
    dx: range


def reach(place: int, last: int) -> range:
    """The offsets of a window that stands at ``place`` and may stand at 0 to ``last``.

    The content moves down and to the right where the window moves up and to the left.

    Example:
        >>> reach(1, 3), reach(1, 3)[-1]  # content can move by 2 px up, by 1 px down
        (range(-2, 2), 1)
    """
    return range(place - last, place + 1)
