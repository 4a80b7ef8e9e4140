"""What moves, and where in the pipeline. Integer offsets copy pixels bit for bit: the instrument must not blur.

Everywhere, ``dy`` and ``dx`` are in px of the place where the shift happens; the content moves by ``dy`` down and
``dx`` right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from shiftable.auditing.motions.camera import camera
from shiftable.auditing.motions.canvas import FILLS, canvas
from shiftable.auditing.motions.keeping import PLACES, keep_box
from shiftable.auditing.motions.rotating import rotate, rotate_room_px
from shiftable.auditing.motions.scaling import scale, scale_room_px
from shiftable.auditing.motions.sliding import crop as crop
from shiftable.auditing.motions.sliding import roll as roll
from shiftable.auditing.motions.sliding import with_room as with_room
from shiftable.auditing.motions.stage import Picture as Picture
from shiftable.auditing.motions.stage import Stage as Stage
from shiftable.auditing.motions.subpixel import subpixel, subpixel_room_px
from shiftable.errors import InputError, unknown
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import LETTERBOXES, Size

Where: TypeAlias = Literal["camera", "resized", "canvas", "tensor"]


def one_px_a_step(steps: tuple[int, int], view_size: Size, **options: Any) -> tuple[int, int]:
    """The room of a motion that goes by whole pixels: its steps."""
    return steps


@dataclass(frozen=True)
class Motion:
    """A way of moving the picture.

    Args:
        name: As on the command line.
        where: The place in the pipeline: ``"camera"`` on source pixels, ``"resized"`` after the resize and before the
            crop, ``"canvas"`` on a canvas that the model is shown, ``"tensor"`` on the finished view.
        stage: Gets an image ready: (image, preprocessing, view size, room in px along y and x, whether the
            image may be enlarged to have that room), and by name the options.
        options: What else can be chosen, and what is taken where nothing is said.
        axes: 2 for what moves down and right; 1 for what has one number only, as a size or an angle.
        room_px: The room in px around the view, along (y, x), that so many steps along (y, x) need of a view of this
            size; called with (steps, view size) and by name the options.
        draws: Whether it draws something at random: then its stage takes a seed.
        on: What it can move, the choices of the option ``on``, and where in the pipeline each is.
        needs_boxes: Whether ``stage`` takes the image's boxes, by name. Then images have walks of differing length.
    """

    name: str
    where: Where
    stage: Callable[..., Stage]
    options: Mapping[str, Any] = field(default_factory=dict)
    axes: Literal[1, 2] = 2
    room_px: Callable[..., tuple[int, int]] = one_px_a_step
    draws: bool = False
    on: Mapping[str, Where] = field(default_factory=dict)
    needs_boxes: bool = False


ON_CANVAS: Mapping[str, Any] = {"fill": "black", "size_px": None, "canvas_px": None}
"""The options of a picture on a canvas."""

MOTIONS: Mapping[str, Motion] = {
    "crop": Motion("crop", "resized", crop),
    "camera": Motion("camera", "camera", camera),
    "canvas": Motion("canvas", "canvas", canvas, ON_CANVAS, draws=True),
    "roll": Motion("roll", "tensor", roll),
    "subpixel": Motion(
        "subpixel",
        "resized",
        subpixel,
        {"step": 0.125, "on": "crop"},
        room_px=subpixel_room_px,
        on={"crop": "resized", "roll": "tensor"},
    ),
    "scale": Motion(
        "scale",
        "resized",
        scale,
        {"on": "crop", **dict.fromkeys(ON_CANVAS)},
        axes=1,
        room_px=scale_room_px,
        draws=True,
        on={"crop": "resized", "canvas": "canvas"},
    ),
    "rotate": Motion("rotate", "resized", rotate, {"step": 1.0}, axes=1, room_px=rotate_room_px),
    "keep-box": Motion("keep-box", "resized", keep_box, {"at": "resized"}, needs_boxes=True),
}

FLAGS = {"size_px": "--size", "canvas_px": "--canvas-size"}
"""Options whose name on the command line is another."""

LEAST_STEP = {"subpixel": 1 / 64, "rotate": 0.01}
"""The shortest step, in the motion's own unit. Shorter ones change no picture of whole grey levels."""

MOST_STEP = {"subpixel": 32.0, "rotate": 180.0}
"""The longest one."""


def make_motion(name: str = "crop", *, seed: int = 0, **given: Any) -> Motion:
    """A checked `Motion`, ready to stage images.

    Args:
        name: One of ``MOTIONS``.
        seed: Of what a motion draws at random (noise around a picture).
        given: Options; None takes the motion's own choice.

    Raises:
        InputError: For an unknown motion, an option that it does not have, or a value it can't take.

    Example:
        >>> make_motion("canvas", fill="mean").options
        {'fill': 'mean', 'size_px': None, 'canvas_px': None}
        >>> make_motion("subpixel", on="roll").where
        'tensor'
    """
    if name not in MOTIONS:
        raise unknown("motion", name, [*MOTIONS, "video"])
    motion = MOTIONS[name]
    chosen = {option: value for option, value in given.items() if value is not None}
    for option, value in chosen.items():
        if option not in motion.options:
            having = [other for other in MOTIONS if option in MOTIONS[other].options]
            todo = f"it is for --motion {' or '.join(having)}" if having else "leave it out"
            raise InputError(f"the motion {name} has no {option}", where=_flag(option), todo=todo)
        _check_value(motion, option, value)
    if "on" in motion.options:
        motion = _moving(motion, chosen)
    if not motion.options:
        return motion
    options = {**motion.options, **chosen}
    if "step" in options:
        options["step"] = float(options["step"])
    drawn = {"seed": seed} if motion.draws else {}
    return replace(motion, stage=partial(motion.stage, **options, **drawn), options=options)


def _moving(motion: Motion, chosen: Mapping[str, Any]) -> Motion:
    """The motion of what it shall move."""
    on = chosen.get("on", motion.options["on"])
    idle = [option for option in ON_CANVAS if option in chosen and on != "canvas"]
    if idle:
        raise InputError(f"{motion.name} on {on} has no {idle[0]}", where=_flag(idle[0]), todo="give --on canvas, too")
    also = ON_CANVAS if on == "canvas" else {}
    return replace(motion, where=motion.on[on], options={**motion.options, **also})


def _check_value(motion: Motion, option: str, value: Any) -> None:
    if option in ("size_px", "canvas_px") and value < 1:
        raise InputError(f"{option} can't be {value}", where=_flag(option), todo="give 1 px or more")
    if option == "fill" and value not in FILLS:
        raise unknown("fill", value, FILLS)
    if option == "at" and value not in PLACES:
        raise unknown("place for the view to slide over", value, PLACES)
    if option == "on" and value not in motion.on:
        raise InputError(
            f"{motion.name} can't be on {value!r}", where=_flag(option), todo=f"give {' or '.join(motion.on)}"
        )
    if option == "step" and not LEAST_STEP[motion.name] <= value <= MOST_STEP[motion.name]:
        unit = "degrees" if motion.name == "rotate" else "px"
        limits = f"{LEAST_STEP[motion.name]:g} to {MOST_STEP[motion.name]:g} {unit}"
        raise InputError(f"a step can't be {value:g}", where=_flag(option), todo=f"give {limits}")


def _flag(option: str) -> str:
    return FLAGS.get(option, f"--{option}")


def motion_remarks(motion: Motion, preprocessing: Preprocessing | None = None) -> Sequence[str]:
    """What a reader of an audit's record must know of the motion's views.

    Args:
        motion: A motion, with its options.
        preprocessing: The model's; without it nothing is said of letterboxes.
    """
    letterbox = preprocessing is not None and preprocessing.crop in LETTERBOXES
    if motion.name == "scale" and motion.options["on"] == "crop" and letterbox:
        return [
            "the picture's rim is blended with the letterbox's grey, so that it can lie between pixels: there even "
            "step 0 is not exactly the deployed view"
        ]
    if motion.name == "subpixel" and motion.options["on"] == "crop":
        return ["views are resized by Lanczos-3 from their images, whatever resampler the model has"]
    return []
