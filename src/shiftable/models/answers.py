"""What models answer that is no row of scores: boxes, key points, and classes of pixels."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

KEPT_FROM = 0.05
"""The lowest score of a box, or of one person of several, that is kept: what is below is padding or noise."""

SegmentAnswers: TypeAlias = Int[np.ndarray, "view height width"]
"""A segmenter's: the class of every pixel of every view."""


@dataclass(frozen=True)
class Detections:
    """A detector's answer to one view.

    Args:
        boxes: x0, y0, x1, y1 in px of the view, from its top-left corner; they may reach beyond it.
        scores: How sure it is of each, 0 to 1.
        classes: What each is, numbers from 0.
    """

    boxes: Float[np.ndarray, "object 4"]
    scores: Float[np.ndarray, "object"]
    classes: Int[np.ndarray, "object"]


@dataclass(frozen=True)
class Poses:
    """A key-point model's answer to one view.

    Args:
        points: x, y in px of the view and a score, 0 to 1, of every key point of every person (or animal, …).
        scores: How sure it is of each person, 0 to 1.
    """

    points: Float[np.ndarray, "person point 3"]
    scores: Float[np.ndarray, "person"]
