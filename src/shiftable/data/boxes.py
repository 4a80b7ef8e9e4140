"""Where objects are in images: boxes from VOC, ImageNet, COCO and CSV files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """The upright rectangle around an object, in px of the image from its top-left corner: pixel 0 covers 0 to 1.

    Args:
        x0: Its left edge.
        y0: Its upper edge.
        x1: Its right edge, greater than ``x0``.
        y1: Its lower edge, greater than ``y0``.
        label: What it holds, as annotated.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    label: str | None = None
