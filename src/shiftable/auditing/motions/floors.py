"""How much of what changes between two views is the interpolation's own doing: measured where the truth is known.

The procedural world (`shiftable.data.shapes`) is a formula, so what a camera sees after any shift, zoom or turn can be
rendered without interpolating.
"""

from dataclasses import asdict, dataclass, replace
from math import ceil

import numpy as np
from jaxtyping import Float64

from shiftable.auditing.motions import Motion
from shiftable.auditing.motions.stage import Picture, Place
from shiftable.auditing.motions.subpixel import RESAMPLER
from shiftable.data.shapes import draw_scene, render
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size, deployed_view

SCENES = 2
STEPS = (0, 1, 2, 3, 4)
"""The steps whose views are compared, along both axes where there are two: up to half a pixel of `subpixel`.

Fewer where long ones in a circle would take more than half of the view.
"""

LARGEST_PX = 256
"""A larger view is measured as one of this size."""

FINEST = 2 / 3
"""What a scene's own pixels are zoomed by: then its finest waves, 0.45 cycles per px, are all that pixels can carry."""

INTERPOLATED = ("subpixel", "scale", "rotate")
"""The motions that make new pixels."""

Views = Float64[np.ndarray, "step height width 3"]


@dataclass(frozen=True)
class Floor:
    """What a motion's views change by that is no motion. In grey levels of 255, root mean square over pixels.

    Args:
        step_levels: The change from one step to the next, of exact pictures.
        floor_levels: How the change between views differs from that. About 0.6 of it are no interpolation's: two views
            and two exact pictures, each rounded to whole levels.
        share: Floor over step.
        view_levels: How a view differs from the exact picture.
    """

    step_levels: float
    floor_levels: float
    share: float
    view_levels: float

    def to_json(self) -> dict[str, float]:
        """Its fields."""
        return asdict(self)


def interpolation_floor(
    motion: Motion, preprocessing: Preprocessing, view_size: Size, seed: int = 0, source: int | None = None
) -> Floor | None:
    """The floor of a motion's own interpolation; None where views copy pixels, or are the model's own resize.

    None, too, where it can't be measured: a step changes no grey level, or one in a circle takes half of the view.

    Scenes of the procedural world stand for the images. An exact picture is what the model would be deployed on had
    the camera itself moved: the scene rendered anew, moved, and brought to the view by the model's own resize (by
    Lanczos-3, where `subpixel` does so). Where the view slides in a circle, what came in from the other side is left
    out; what rings beside it is not.

    Args:
        motion: A motion, with its options, from `make_motion`.
        preprocessing: The model's: its resampler, antialias and library count, but not how large it resizes.
        view_size: (height, width) in px, the model's. A view above 256 px is measured as one of 256: a degree moves
            less there, so the share is rather too high.
        seed: Of the scenes.
        source: How many px of an image there are for one of the resized scene. With 1 there is no resize to share the
            blame. By default 2 where views are resized from the image, and 1 where they come from finished pixels.

    Raises:
        InputError: If the motion can't move what this model is shown.
    """
    if motion.name not in INTERPOLATED or motion.where == "canvas":
        return None
    from_source = motion.name == "scale" or _by_lanczos(motion)
    source = source or (2 if from_source else 1)
    smaller = min(1.0, LARGEST_PX / max(view_size))
    view_size = round(view_size[0] * smaller), round(view_size[1] * smaller)
    steps = _steps(motion, view_size)
    if len(steps) < 2:
        return None
    squares = [_compare(*_pictures(motion, preprocessing, view_size, [seed, n], source, steps)) for n in range(SCENES)]
    step, floor, view = np.sqrt(np.mean(squares, axis=0)).tolist()
    if not step:
        return None
    return Floor(round(step, 3), round(floor, 3), round(floor / step, 3), round(view, 3))


def _steps(motion: Motion, view_size: Size) -> tuple[int, ...]:
    """The steps that leave at least half of the view beside the seam, where there is one."""
    if motion.where != "tensor":
        return STEPS
    return tuple(step for step in STEPS if 2 * ceil(step * motion.options["step"]) <= min(view_size))


def _by_lanczos(motion: Motion) -> bool:
    return motion.name == "subpixel" and motion.where == "resized"


def _compare(views: Views, exact: Views) -> tuple[float, float, float]:
    """Mean squares: of the exact change, of how the views' change differs from it, and of how the views do."""
    error = views - exact
    parts = np.diff(exact, axis=0), np.diff(error, axis=0), error[1:]
    step, floor, view = (float(np.square(part).mean()) for part in parts)
    return step, floor, view


def _pictures(
    motion: Motion,
    preprocessing: Preprocessing,
    view_size: Size,
    seed: list[int],
    source: int,
    numbers: tuple[int, ...],
) -> tuple[Views, Views]:
    """The views of a scene, and the exact pictures of the same places."""
    steps = [(step, step if motion.axes == 2 else 0) for step in numbers]
    room_y, room_x = 0, 0
    if motion.where != "tensor":
        room_y, room_x = motion.room_px((2 * numbers[-1], 2 * numbers[-1]), view_size, **motion.options)
    # even: the view is the very middle of the scene, and of the source, about which pictures are scaled and turned
    size = view_size[0] + 2 * (room_y // 2 + 1), view_size[1] + 2 * (room_x // 2 + 1)
    whole = source * size[0], source * size[1]
    shown = replace(preprocessing, resize_px=size, crop="center")
    camera = replace(shown, resampler=RESAMPLER, library="pillow", antialias=True) if _by_lanczos(motion) else shown
    scene, zoom = draw_scene(seed, size=whole), FINEST if source == 1 else 1.0

    def seen(place: Place) -> Picture:
        return render(scene, whole, source * place.dy, source * place.dx, zoom * place.scale, place.angle)

    image = seen(Place())
    stage = motion.stage(image, shown, view_size, (0, 0), False)
    places = [stage.place(*step) for step in steps]
    views = [stage.view(*step) for step in steps]
    exact = [
        deployed_view(seen(place) if step else image, camera, view_size)
        for step, place in zip(numbers, places, strict=True)
    ]
    seam = ceil(max(place.dy for place in places)) if motion.where == "tensor" else 0
    mine, true = (np.stack(pictures)[:, seam:, seam:].astype(np.float64) for pictures in (views, exact))
    return mine, true
