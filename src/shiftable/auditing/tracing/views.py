"""The views of a trace: an image along a motion, or a clip from frame to frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing.motions.stage import Picture, Place
from shiftable.auditing.showing import Show
from shiftable.data import Sample
from shiftable.data.video import Frame, read_frames
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.crop_following import frame_viewer

VIDEO = "video"
"""The motion of a clip: its own."""


@dataclass(frozen=True)
class Followed:
    """The views of one panel, before anyone was asked."""

    motion: Mapping[str, Any]
    axis: str
    offsets: Float[np.ndarray, "step"]
    places: Sequence[Place]
    frames: Sequence[int] | None
    views: Sequence[Picture]
    home: int | None


def follow_image(show: Show, sample: Sample) -> Followed:
    """The image along a sweep."""
    try:
        shown = show(0, sample)
    except InputError as error:
        raise InputError(error.what, where=error.where or sample.id, todo=error.todo) from None
    places = [Place(row.dy, row.dx, row.scale, row.angle) for row in shown.rows]
    offsets, axis = _axis(places)
    at = [row.view for row in shown.rows]
    motion = {"name": show.motion.name, "where": show.motion.where, "enlarged": show.enlarged, **show.motion.options}
    return Followed(
        motion, axis, offsets, places, None, [shown.views[view] for view in at], at.index(0) if 0 in at else None
    )


def _axis(places: Sequence[Place]) -> tuple[Float[np.ndarray, "step"], str]:
    """What changes from place to place, and what it is."""
    dy, dx, scale, angle = (np.array(column, float) for column in zip(*places, strict=True))
    if np.ptp(scale) > 0:
        return scale, "times as large"
    if np.ptp(angle) > 0:
        return angle, "degrees counter-clockwise"
    if np.ptp(dx) > 0:
        return dx, "px to the right" if np.ptp(dy) == 0 else "px down and to the right"
    return dy, "px down"


def follow_clip(model: Model, path: Path, start_s: float | int, count: int) -> Followed:
    """The deployed views of a clip's frames: so many, or as many as there are."""
    times, numbers, views = [], [], []
    viewer = frame_viewer(model.preprocessing, model.view_size)
    for frame in islice(_frames(path, start_s), count):
        view, _ = viewer(frame.picture)
        times.append(float(frame.time_s))
        numbers.append(int(frame.number))
        views.append(view.copy())  # a slice would hold the whole frame
    if len(views) < 2:
        todo = "begin earlier" if numbers[0] else "give a clip with two frames or more"
        raise InputError(f"only one frame from {start_s:g} s on", where=path, todo=todo)
    motion = {"name": VIDEO, "where": "camera", "enlarged": 1.0}
    return Followed(motion, "s", np.array(times), [Place()] * len(views), numbers, views, None)


def first_frame(path: Path, start_s: float | int) -> Picture:
    picture: Picture = next(_frames(path, start_s)).picture
    return picture


def _frames(path: Path, start_s: float | int) -> Iterator[Frame]:
    """The frames of a clip from a time on.

    Raises:
        InputError: If it can't be read, or is over by then.
    """
    last = None
    for last in read_frames(path):
        if last.time_s >= start_s:
            yield last
    if last is None or last.time_s < start_s:
        ends = "it has no frames" if last is None else f"the last frame is at {last.time_s:.2f} s"
        raise InputError(f"no frame from {start_s:g} s on; {ends}", where=path, todo="begin earlier")
