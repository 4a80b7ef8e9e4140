"""Videos as a model is shown them: read, made into views and compared with the frame before, ahead of the model."""

from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

from shiftable.auditing.motions.stage import Picture
from shiftable.auditing.showing import control_views
from shiftable.auditing.videos.moving import Glance, glance, moved_between
from shiftable.data.video import Frame, probe, read_frames
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.crop_following import frame_viewer
from shiftable.models.crop_selection import lay_axes
from shiftable.models.preprocessing import LETTERBOXES, CropSelection, Size, letterbox_place, resized_size

FRAMES_AHEAD = 4
"""How many whole frames wait for their views: 6 MB each at 1920 × 1080."""

USUAL_FPS = 25.0
"""Taken where a file says nothing."""

Item = TypeVar("Item")


class Seen(NamedTuple):
    """One frame as the model is shown it."""

    number: int
    time_s: float
    moved: tuple[float, float, float] | None
    """(down, right, residual) since the frame before: px of the view, and grey levels. None at the first."""
    views: list[Picture]
    """The deployed view, then what is no motion, where this frame has controls."""
    controls: list[tuple[str, int]]
    """What those are: (control, walk)."""
    held: bool = True
    """Whether the view holds on to something in the picture: a crop chosen by content may find nothing."""


class Unusable(Exception):
    """What is wrong with a video, on its way from the thread that reads it: not a failure of the model's."""


def show_frames(model: Model, path: Path, controls: bool, count: int | None) -> Iterator[Seen]:
    """A video's frames as the model is shown them, made ready ahead of whoever takes them.

    In three threads, each with a part of the work: reading; views; how far the picture moved.

    Args:
        model: Who is shown them.
        path: The file.
        controls: Whether about one frame a second is also shown again, lighter, darker and as JPEG.
        count: Only the first so many.

    Raises:
        Unusable: If the video can't be read.
    """
    every = _every(path) if controls else 0
    frames = ahead(frames_of(path, count), FRAMES_AHEAD)
    shown = ahead(_compared(ahead(_views(model, frames, every), FRAMES_AHEAD)), 2 * model.batch_size)
    try:
        yield from shown
    finally:
        shown.close()


def ahead(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, with ``depth`` of them waiting at most."""
    waiting: Queue[tuple[str, Any]] = Queue(depth)
    over = Event()

    def put(what: str, item: Any) -> bool:
        while not over.is_set():
            try:
                waiting.put((what, item), timeout=0.05)
                return True
            except Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # raised again where the items are taken
            put("error", error)
        finally:
            items.close()

    thread = Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, item = waiting.get()
            if what == "end":
                return
            if what == "error":
                raise item
            yield item
    finally:
        over.set()
        thread.join()


def frames_of(path: Path, count: int | None) -> Generator[Frame, None, None]:
    """The first frames.

    Raises:
        Unusable: If the video can't be read.
    """
    try:
        yield from islice(read_frames(path), count)
    except InputError as error:
        raise Unusable(error) from None


def _every(path: Path) -> int:
    """Every how many frames there are controls: about once a second."""
    try:
        return max(1, round(probe(path).fps or USUAL_FPS))
    except InputError as error:
        raise Unusable(error) from None


def _views(
    model: Model, frames: Generator[Frame, None, None], every: int
) -> Generator[tuple[Seen, Glance, tuple[float, float]], None, None]:
    """The frames as they are shown, and what is needed to see how far they moved: a glance, and `_px_of_view`."""
    viewer = frame_viewer(model.preprocessing, model.view_size)
    try:
        for frame in frames:
            view, held = viewer(frame.picture)
            shown = every and frame.number % every == 0
            others = list(control_views(view)) if shown else []
            seen = Seen(
                frame.number, frame.time_s, None, [view, *(other for *_, other in others)],
                [(control, walk) for control, walk, _ in others], held,
            )  # fmt: skip
            pitch = _px_of_view(model, (frame.picture.shape[0], frame.picture.shape[1]))
            yield seen, glance(frame.picture), pitch
    finally:
        frames.close()


def _compared(
    views: Generator[tuple[Seen, Glance, tuple[float, float]], None, None],
) -> Generator[Seen, None, None]:
    """The frames, with how far they moved since the one before."""
    before = None
    try:
        for seen, now, (down, right) in views:
            if before is None:
                yield seen
            else:
                found = moved_between(before, now)
                yield seen._replace(moved=(found.dy * down, found.dx * right, found.residual))
            before = now
    finally:
        views.close()


def _px_of_view(model: Model, size: Size) -> tuple[float, float]:
    """How many px of the view a px of the frame is, (down, right)."""
    fields, view_size = model.preprocessing, model.view_size
    if isinstance(fields.crop, CropSelection):
        y, x = lay_axes(size, fields.resize_px, view_size, fields.crop)
        return view_size[0] / y.crop, view_size[1] / x.crop
    if fields.crop in LETTERBOXES:
        resized = letterbox_place(size, view_size, fields.crop)[0]
    else:
        resized = resized_size(size, fields.resize_px)
    return resized[0] / size[0], resized[1] / size[1]
