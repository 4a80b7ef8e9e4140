"""The metrics of detectors, segmenters and key-point models: their names, what they say, and their units."""

from collections.abc import Mapping
from math import floor, isnan, log10
from typing import Literal

from shiftable.auditing import Estimate

Unit = Literal["%", "px", "score", "number"]

METRIC_WORDS: Mapping[str, tuple[str, str, Unit]] = {
    "vanished": (
        "Vanished",
        "Of the objects seen inside one view, the share that the next view, one step further, has no match for.",
        "%",
    ),
    "appeared": (
        "Appeared",
        "Of the objects seen inside one view, the share that the view before has no match for.",
        "%",
    ),
    "dropped": (
        "No longer counted",
        "Of the objects seen inside one view, the share that vanishes or falls below the threshold in the next: what "
        "an application with a fixed threshold loses.",
        "%",
    ),
    "dropped_with_border": (
        "No longer counted, with the border",
        "The same of all objects, those at the border too. They leave the picture, so even a model without fault loses "
        "some; for comparing with figures that leave none out.",
        "%",
    ),
    "confidence_change": (
        "Change of confidence",
        "How far the score of one and the same thing moves from one view to the next: 0 not at all, 1 altogether.",
        "score",
    ),
    "centre_error_px": (
        "Error of the centre",
        "How far the centre of a box moves between two views, in px of the still scene. It should not move at all.",
        "px",
    ),
    "size_error_px": (
        "Error of the size",
        "How far the width and the height of a box change between two views, in px of the still scene. They should "
        "not change at all.",
        "px",
    ),
    "objects_per_view": ("Objects per view", "How many objects the model sees in a view, on average.", "number"),
    "pixels_changed": (
        "Changed pixels",
        "Of the pixels that both of two views show, the share that gets another class in the second.",
        "%",
    ),
    "miou": (
        "Agreement of the classes (mIoU)",
        "How well the areas of each class in two views cover each other where both show the same: 1 altogether, 0 "
        "not at all.",
        "score",
    ),
    "point_error_px": (
        "Error of a point",
        "How far a point moves between two views, in px of the still scene. It should not move at all.",
        "px",
    ),
    "points_dropped": (
        "Lost points",
        "Of the points seen inside one view, the share that the next view does not show, or scores too low.",
        "%",
    ),
    "points_appeared": (
        "New points",
        "Of the points seen inside one view, the share that the view before did not show, or scored too low.",
        "%",
    ),
    "points_per_view": ("Points per view", "How many points the model sees in a view, on average.", "number"),
    "point_confidence_change": (
        "Change of confidence",
        "How far the score of one and the same point moves from one view to the next: 0 not at all, 1 altogether.",
        "score",
    ),
}
"""Metric → its name, what it says, and its unit."""


def titled(name: str) -> str:
    """What a metric is called."""
    return METRIC_WORDS[name][0] if name in METRIC_WORDS else name.replace("_", " ").capitalize()


def says(name: str) -> str:
    """What a metric says."""
    return METRIC_WORDS[name][1] if name in METRIC_WORDS else ""


def unit(name: str) -> Unit:
    """What a metric is measured in."""
    if name in METRIC_WORDS:
        return METRIC_WORDS[name][2]
    return "px" if name.endswith("_px") else "number"


def figure_of(name: str, value: float) -> str:
    """A metric's value in its unit.

    Example:
        >>> figure_of("vanished", 0.1396), figure_of("centre_error_px", 2.0813), figure_of("confidence_change", 0.0402)
        ('14.0 %', '2.1 px', '0.040')
        >>> figure_of("centre_error_px", 0.0), figure_of("centre_error_px", 0.0213), figure_of("vanished", 0.00042)
        ('0 px', '0.021 px', '0.042 %')
    """
    if isnan(value):
        return "unknown"
    match unit(name):
        case "%":
            return f"{_digits(100 * value, 1)} %"
        case "px":
            return f"{_digits(value, 1)} px"
        case "score":
            return f"{value:.3f}"
        case _:
            return f"{value:.2f}"


def interval_of(name: str, found: Estimate) -> str:
    """An estimate's 95 % interval in words."""
    if isnan(found.low):
        return "unknown: one image"
    high = figure_of(name, found.high)
    digits = len(high.partition(" ")[0].partition(".")[2])
    if unit(name) not in ("%", "px"):
        return f"{figure_of(name, found.low)} to {high}"
    low = found.low * (100 if unit(name) == "%" else 1)
    return f"{low:.{digits}f} to {high}" if low else f"0 to {high}"


def end_of(name: str, value: float) -> str:
    """Where an axis ends.

    Example:
        >>> end_of("vanished", 1.0), end_of("centre_error_px", 5.0), end_of("confidence_change", 0.05)
        ('100 %', '5 px', '0.05')
    """
    behind = {"%": " %", "px": " px"}.get(unit(name), "")
    return f"{value * (100 if behind == ' %' else 1):g}{behind}"


def _digits(value: float, most: int) -> str:
    """Two digits of a small number, ``most`` behind the point of others; 0 is bare."""
    if value == 0 or abs(value) >= 1:
        return f"{value:.{most}f}" if value else "0"
    return f"{value:.{min(6, max(most, 1 - floor(log10(abs(value)))))}f}"
