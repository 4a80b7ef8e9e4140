"""What each motion is called: one table, so that every sentence, axis and cell of a page speaks of the same thing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Audit, Predictions
from shiftable.auditing.walks import ROOM_PX

FARTHEST = ROOM_PX - 1
"""How many steps two places drawn at random lie apart along an axis, at most."""


@dataclass(frozen=True)
class MotionWords:
    """The words for one motion. ``{step}`` stands for how far a step goes, ``{far}`` for how far all of them go.

    Args:
        did: What one step does to the picture; a sentence can begin with it.
        apart: How two views of a pair differ.
        at_most: How two views drawn at random differ.
        places: What the views of a walk are, and where the walk leads through.
        one: One of them, with its article.
        of: Which columns of the table say where a view is: the shift, the scale or the angle.
        unit: What a step is counted in, on the axis of a sweep.
    """

    did: str
    apart: str
    at_most: str
    places: tuple[str, str]
    one: str
    of: Literal["shift", "scale", "angle"]
    unit: str


SHIFTED = MotionWords(
    "Moved by {step}",
    "{step} apart",
    "at most {far} apart",
    ("places", "through the middle"),
    "a place",
    "shift",
    "px",
)

MOTION_WORDS: Mapping[str, MotionWords] = {
    "crop": SHIFTED,
    "camera": replace(SHIFTED, did="Moved in front of the camera by {step}"),
    "canvas": SHIFTED,
    "roll": replace(SHIFTED, did="Rolled round by {step}"),
    "keep-box": replace(
        SHIFTED,
        did="Moved by {step}, its object whole in view",
        places=("places or fewer", "around the deployed one, or the nearest that shows the whole box"),
    ),
    "subpixel": SHIFTED,
    "scale": MotionWords(
        "Made {step} larger",
        "{step} apart in size",
        "at most {far} apart in size",
        ("sizes", "through the deployed one"),
        "a size",
        "scale",
        "px larger",
    ),
    "rotate": MotionWords(
        "Turned by {step}",
        "{step} apart",
        "at most {far} apart",
        ("angles", "through the upright view"),
        "an angle",
        "angle",
        "° counter-clockwise",
    ),
}
"""Motion → its words. One that is not here is spoken of as a shift."""

SIDES: Mapping[str | None, str] = {"horizontal": "to the right", "diagonal": "down and to the right"}
"""Which way a shift goes; every other one goes down."""


def words_of(audit: Audit) -> MotionWords:
    """The words for an audit's motion, its steps filled in."""
    words = MOTION_WORDS.get(audit.motion["name"], SHIFTED)
    return step_words(words, step_size(audit.motion), audit.walk.get("direction") == "diagonal")


def step_words(words: MotionWords, size: float = 1.0, diagonal: bool = False) -> MotionWords:
    """The words with steps of this size filled in.

    Args:
        words: Of a motion.
        size: How far a step goes, in px or degrees.
        diagonal: Whether it goes as far down as to the right.
    """
    step = _step(words.of, size)
    did = f"{step} down and {'one' if size == 1 else 'as much'} to the right" if diagonal else step
    return replace(
        words,
        did=words.did.format(step=did),
        apart=words.apart.format(step=step),
        at_most=words.at_most.format(far=_far(words.of, size)),
    )


def step_size(motion: Mapping[str, Any]) -> float:
    """How far one step of an audit's motion goes, in its unit: px, or degrees."""
    return float(motion.get("step") or 1.0)


def step_said(motion: Mapping[str, Any]) -> str:
    """The same in words."""
    return _step(MOTION_WORDS.get(motion["name"], SHIFTED).of, step_size(motion))


def _step(of: str, size: float) -> str:
    """A step in words.

    Example:
        >>> _step("shift", 1.0), _step("shift", 0.125), _step("shift", 0.3), _step("angle", 0.5)
        ('one pixel', '1/8 of a pixel', '0.3 px', '0.5°')
    """
    if of == "angle":
        return f"{size:g}°"
    if size == 1:
        return "one pixel"
    part = Fraction(size).limit_denominator(64)
    return f"1/{part.denominator} of a pixel" if part.numerator == 1 and float(part) == size else f"{size:g} px"


def _far(of: str, size: float) -> str:
    return f"{FARTHEST * size:g}°" if of == "angle" else f"{FARTHEST * size:g} px"


def place(dy: float | int, dx: float | int, scale: float | int = 1, angle: float | int = 0) -> str:
    """A place in words.

    Example:
        >>> place(3, 0), place(-1, 2), place(0, 0), place(0.125, 0)
        ('3 px down', '1 px up, 2 px right', 'unmoved', '0.125 px down')
        >>> place(0, 0, scale=1.0156), place(0, 0, angle=-3)
        ('1.56 % larger', '3° clockwise')
    """
    percent = round(100 * (scale - 1), 2)
    parts = (
        f"{abs(dy):g} px {'down' if dy > 0 else 'up'}" if dy else "",
        f"{abs(dx):g} px {'right' if dx > 0 else 'left'}" if dx else "",
        f"{abs(percent):g} % {'larger' if percent > 0 else 'smaller'}" if percent else "",
        f"{abs(angle):g}° {'counter-clockwise' if angle > 0 else 'clockwise'}" if angle else "",
    )
    return ", ".join(part for part in parts if part) or "unmoved"


def places_of(words: MotionWords, rows: Predictions) -> Float[np.ndarray, "row number"]:
    """Where the views of some rows are, in the numbers that pages show: (down, right) in px, % larger, or degrees."""
    if words.of == "shift":
        return np.stack([rows["dy"], rows["dx"]], axis=1)
    return np.round(100 * (rows["scale"] - 1), 2)[:, None] if words.of == "scale" else rows["angle"][:, None]


def along(places: Float[np.ndarray, "step number"], words: MotionWords) -> tuple[Float[np.ndarray, "step"], str]:
    """How far the views of one walk are along it, and what these numbers are."""
    if words.of != "shift":
        return places[:, 0], {"scale": "% larger", "angle": words.unit}[words.of]
    dy, dx = places.T
    if np.ptp(dy) == 0:
        return dx, "px to the right"
    return dy, "px down" if np.ptp(dx) == 0 else "px down and to the right"


def sweep_axis(audit: Audit, longest: int) -> tuple[float, float, str]:
    """The first and the last place of a sweep, and what they are.

    Args:
        audit: Its walk is a sweep.
        longest: How many places the longest walk has.
    """
    words, size, direction = words_of(audit), step_size(audit.motion), audit.walk["direction"]
    if audit.motion["name"] == "keep-box":  # every image's walk lies elsewhere
        return 1.0, float(longest), "place along the walk"
    first = -(audit.walk["steps"] // 2)
    unit = f"{words.unit} {SIDES.get(direction, 'down')}" if words.of == "shift" else words.unit
    return size * first, size * (first + longest - 1), unit


def floor_words(motion: Mapping[str, Any]) -> str | None:
    """How much of a step is the interpolation's own, where that is known.

    Args:
        motion: An audit's; its ``floor`` has ``share``, ``floor_levels`` and ``step_levels``.

    Example:
        >>> floor_words({"floor": {"share": 0.02, "floor_levels": 0.122, "step_levels": 6.1}})
        "Of the change between neighbouring views, 2 % is the instrument's own (0.12 of 6.1 grey levels)."
    """
    floor = motion.get("floor")
    if not floor:
        return None
    levels = f"{floor['floor_levels']:.2g} of {floor['step_levels']:.2g} grey levels"
    return f"Of the change between neighbouring views, {100 * floor['share']:.2g} % is the instrument's own ({levels})."
