"""What moves, and where in the pipeline. Integer offsets copy pixels bit for bit: the instrument must not blur.

Everywhere, ``dy`` and ``dx`` are in px of the place where the shift happens; the content moves by ``dy`` down and
``dx`` right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from shiftable.auditing.camera import camera
from shiftable.auditing.canvas import FILLS, canvas
from shiftable.auditing.stage import Picture as Picture
from shiftable.auditing.stage import Stage as Stage
from shiftable.auditing.stage import Window, reach
from shiftable.errors import InputError, unknown
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import LETTERBOXES, Size, center_place, letterboxed, resize, resized_size


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
    """

    name: str
    where: Literal["camera", "resized", "canvas", "tensor"]
    stage: Callable[..., Stage]
    options: Mapping[str, Any] = field(default_factory=dict)
    axes: Literal[1, 2] = 2
    room_px: Callable[..., tuple[int, int]] = one_px_a_step


def crop(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The view slides over the image as the model resizes it (after Azulay & Weiss 2019, experiment "crop").

    If that leaves less than ``room_px``, and ``enlarge`` allows it, the short side becomes view + room. A letterbox
    always has room: its grey goes on outside the view.

    Raises:
        InputError: If the view does not fit into the resized image.
    """
    boxed = preprocessing.crop in LETTERBOXES
    if boxed:
        top, left = (-(-room // 2) for room in room_px)
        scene = letterboxed(image, preprocessing, view_size, (top, left))
    else:
        resize_px = with_room(preprocessing.resize_px, view_size, room_px)[0] if enlarge else preprocessing.resize_px
        size = resized_size(image.shape[:2], resize_px)
        scene = resize(image, size, preprocessing.resampler, preprocessing.antialias, preprocessing.library)
    (height, width), (view_height, view_width) = scene.shape[:2], view_size
    if height < view_height or width < view_width:
        raise InputError(
            f"the resized image ({height}×{width} px) is smaller than the view ({view_height}×{view_width} px)"
        )
    if not boxed:
        top, left = center_place((height, width), view_size, preprocessing.crop)

    def view(dy: int, dx: int) -> Picture:
        y, x = top - dy, left - dx  # the content moves down when the window moves up
        return scene[y : y + view_height, x : x + view_width]

    def window(dy: int, dx: int) -> Window:
        return Window(top - dy, left - dx, view_height, view_width)

    return Stage(view, reach(top, height - view_height), reach(left, width - view_width), window=window)


def roll(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """The finished view, shifted in a circle: what leaves on one side comes in on the other."""
    center = crop(image, preprocessing, view_size, room_px, enlarge).view(0, 0)
    height, width = view_size
    half = range(-(height // 2), (height + 1) // 2), range(-(width // 2), (width + 1) // 2)
    return Stage(lambda dy, dx: np.roll(center, (dy, dx), axis=(0, 1)), *half)


MOTIONS: Mapping[str, Motion] = {
    "crop": Motion("crop", "resized", crop),
    "camera": Motion("camera", "camera", camera),
    "canvas": Motion("canvas", "canvas", canvas, {"fill": "black", "size_px": None, "canvas_px": None}),
    "roll": Motion("roll", "tensor", roll),
}

FLAGS = {"size_px": "--size", "canvas_px": "--canvas-size"}
"""Options whose name on the command line is another."""


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
    """
    if name not in MOTIONS:
        raise unknown("motion", name, MOTIONS)
    motion = MOTIONS[name]
    chosen = {option: value for option, value in given.items() if value is not None}
    for option, value in chosen.items():
        if option not in motion.options:
            flag = FLAGS.get(option, f"--{option}")
            having = " or ".join(other for other in MOTIONS if option in MOTIONS[other].options)
            raise InputError(f"the motion {name} has no {option}", where=flag, todo=f"it is for --motion {having}")
        if isinstance(value, int) and value < 1:
            raise InputError(f"{option} can't be {value}", where=FLAGS.get(option), todo="give 1 px or more")
    if "fill" in chosen and chosen["fill"] not in FILLS:
        raise unknown("fill", chosen["fill"], FILLS)
    if not motion.options:
        return motion
    options = {**motion.options, **chosen}
    return replace(motion, stage=partial(motion.stage, **options, seed=seed), options=options)


def with_room(resize_px: int | Size, view_size: Size, room_px: tuple[int, int]) -> tuple[int | Size, float]:
    """The resize that leaves room around the view, and the factor by which objects are larger for it.

    Example:
        >>> with_room(256, (224, 224), (32, 0)), with_room(224, (224, 224), (32, 0))
        ((256, 1.0), (256, 1.1428571428571428))
    """
    need = [view + room for view, room in zip(view_size, room_px, strict=True)]
    if isinstance(resize_px, int):
        short = max(resize_px, *need)
        return short, short / resize_px
    factor = max(1.0, *(want / have for want, have in zip(need, resize_px, strict=True)))
    height, width = (max(round(factor * have), want) for have, want in zip(resize_px, need, strict=True))
    return (height, width), factor
