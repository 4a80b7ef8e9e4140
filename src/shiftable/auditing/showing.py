"""From a sample to the views a model is shown, and the rows of the table that they will fill."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from shiftable.auditing.motions import MOTIONS, Motion, Picture, Stage, make_motion, with_room
from shiftable.auditing.motions.choosing import choosing
from shiftable.auditing.motions.stage import Place, Window
from shiftable.auditing.predictions import Row
from shiftable.auditing.results import Audit
from shiftable.auditing.walks import Path, Walk, lay_walks
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import CropSelection, Size, override

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Shown:
    """What a model is shown of one image.

    Args:
        sample: The image.
        views: The views, each once; the first is the unmoved one.
        rows: The rows that their answers fill.
        windows: What part of the still scene each view shows, where the motion knows.
        pictures: What part of each window is picture, and no bar or fill; None where all of it is.
        held: Whether the unmoved view holds on to something in the picture: `Stage.held`.
    """

    sample: Sample
    views: Sequence[Picture]
    rows: Sequence[Row]
    windows: Sequence[Window] | None = None
    pictures: Sequence[Window] | None = None
    held: bool = True


@dataclass(frozen=True)
class Show:
    """How every image of an audit is shown.

    Args:
        motion: What moves.
        walk: Where to.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        controls: Whether to add the views that are no motion.
        enlarge: Whether an image may be enlarged to make room.
        seed: Of the places drawn at random; each image has its own generator, so that its places do not depend on
            others.
    """

    motion: Motion
    walk: Walk
    preprocessing: Preprocessing
    view_size: Size
    controls: bool = True
    enlarge: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_grid(self.motion, self.walk)
        if self.motion.axes != self.walk.axes:
            raise ValueError(f"the walk has {self.walk.axes} axes, {self.motion.name} has {self.motion.axes}")

    @property
    def may_enlarge(self) -> bool:
        """Whether an image may be enlarged to make room; never where boxes say how much room there is."""
        return self.enlarge and not self.motion.needs_boxes

    @property
    def room_px(self) -> tuple[int, int]:
        """The room that images must have around the view along (y, x)."""
        if self.motion.where not in ("camera", "resized"):
            return 0, 0
        return self.motion.room_px(self.walk.room_steps, self.moved_size, **self.motion.options)

    @property
    def moved_size(self) -> Size:
        """(height, width) in px of what moves: the view, or the larger one that a crop rule chooses it from."""
        crop = self.preprocessing.crop
        return crop.larger(self.view_size) if isinstance(crop, CropSelection) else self.view_size

    @property
    def enlarged(self) -> float:
        """By what factor objects are larger than the deployed model sees them."""
        if self.motion.where != "resized" or not self.may_enlarge or not self.preprocessing.cuts:
            return 1.0
        return with_room(self.preprocessing.resize_px, self.moved_size, self.room_px)[1]

    def stage(self, sample: Sample) -> Stage:
        """The image, ready to be moved.

        Raises:
            InputError: If it can't be read, or can't be moved so.
        """
        boxes = {"boxes": sample.boxes} if self.motion.needs_boxes else {}
        crop, image = self.preprocessing.crop, sample.read()

        def stage(preprocessing: Preprocessing, size: Size) -> Stage:
            return self.motion.stage(image, preprocessing, size, self.room_px, self.may_enlarge, **boxes)

        if isinstance(crop, CropSelection) and self.motion.where != "camera":
            return choosing(stage, self.preprocessing, crop, self.view_size)
        return stage(self.preprocessing, self.view_size)

    def __call__(self, number: int, sample: Sample) -> Shown:
        """The views of the image with this number in the data set.

        Raises:
            InputError: If the image can't be read, or is too narrow for the walk.
        """
        return self.walk_over(number, sample, self.stage(sample))

    def walk_over(self, number: int, sample: Sample, stage: Stage) -> Shown:
        """The views of an image that is ready to be moved.

        Raises:
            InputError: If the walk leaves the image.
        """
        walks = lay_walks(
            self.walk,
            stage.dy,
            stage.dx,
            np.random.default_rng([self.seed, number]),
            home=stage.home,
            shorten=self.motion.needs_boxes,
            unit="px" if stage.place is Place else "steps",
            place=None if stage.place is Place else stage.place,
        )
        at = {stage.home: 0}
        for down, right in np.concatenate(walks).tolist():
            at.setdefault((down, right), len(at))
        views, windows, pictures = self._views(stage, at)
        rows = list(_motion_rows(walks, at, stage))
        if self.controls:
            dy, dx, scale, angle = stage.place(*stage.home)
            for control, walk, view in control_views(views[0]):
                for step, number in enumerate((0, len(views))):
                    rows.append(Row(control, walk, step, dy, dx, number, scale, angle))
                views.append(view)
                windows, pictures = (found and [*found, found[0]] for found in (windows, pictures))
        return Shown(sample, views, rows, windows, pictures, stage.held)

    def _views(
        self, stage: Stage, at: dict[tuple[int, int], int]
    ) -> tuple[list[Picture], list[Window] | None, list[Window] | None]:
        """The views at some places, and `windows_of` them. A chosen crop is mostly the same view again: each is there
        once, and ``at`` then says which one belongs to a place.
        """
        windows, pictures = windows_of(stage, list(at))
        if windows is None or not isinstance(self.preprocessing.crop, CropSelection):
            return [stage.view(*place) for place in at], windows, pictures
        views, kept, known = list[Picture](), list[int](), dict[tuple[Window, Window], int]()
        for number, (place, *part) in enumerate(zip(at, windows, pictures or windows, strict=True)):
            view, before = stage.view(*place), known.get((part[0], part[1]))
            if before is None or not np.array_equal(views[before], view):
                before = known[part[0], part[1]] = len(views)
                views.append(view)
                kept.append(number)
            at[place] = before
        return views, [windows[number] for number in kept], pictures and [pictures[number] for number in kept]

    @property
    def views_per_image(self) -> int:
        """How many views an image needs, but for places drawn twice."""
        return self.walk.views + (sum(1 for _ in control_views(np.zeros((1, 1, 3), np.uint8))) if self.controls else 0)


def refuse_grid(motion: Motion, walk: Walk) -> None:
    """Raises InputError for a grid round what has another room in every image."""
    if motion.needs_boxes and walk.shape == "grid":
        raise InputError(
            f"{motion.name} has no grid: a box leaves a different room around it in every image",
            where="--walk",
            todo="take sweep, pairs or random",
        )


def windows_of(stage: Stage, places: Sequence[tuple[int, int]]) -> tuple[list[Window] | None, list[Window] | None]:
    """What part of the still scene the views at these steps show, and what part of that is picture.

    The first is None where the motion can't say, the second where all of it is picture.
    """
    if stage.window is None:
        return None, None
    windows = [stage.window(*place) for place in places]
    if stage.picture is None:
        return windows, None
    return windows, [window.common(stage.picture(*place)) for window, place in zip(windows, places, strict=True)]


def show_again(audit: Audit) -> Show:
    """How the images of a finished audit were shown, from its record alone."""
    recorded, motion = audit.model, dict(audit.motion)
    # what is not the motion's own was found on the way, as the floor of an interpolation
    options = {name: motion[name] for name in MOTIONS[motion["name"]].options if name in motion}
    return Show(
        make_motion(motion["name"], seed=audit.seed, **options),
        Walk(**audit.walk),
        override(Preprocessing(), recorded["preprocessing"]),
        tuple(recorded["view_size"]),
        controls=bool(audit.controls),
        enlarge=audit.motion["enlarged"] > 1,
        seed=audit.seed,
    )


def _motion_rows(walks: Sequence[Path], view_at: dict[tuple[int, int], int], stage: Stage) -> Iterator[Row]:
    for walk, steps in enumerate(walks):
        for step, (down, right) in enumerate(steps.tolist()):
            dy, dx, scale, angle = stage.place(down, right)
            yield Row(None, walk, step, dy, dx, view_at[down, right], scale, angle)


def control_views(view: Picture) -> Iterator[tuple[str, int, Picture]]:
    """(control, walk, view): the answers to these tell noise and codec from motion."""
    yield "still", 0, view
    yield "grey", 0, view + (view < 255).astype(np.uint8)
    yield "grey", 1, view - (view > 0).astype(np.uint8)
    yield "jpeg", 0, recompressed(view)


def recompressed(view: Picture, quality: int = JPEG_QUALITY) -> Picture:
    """A view after JPEG compression."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(view)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def show_or_say(show: Show, numbered: tuple[int, Sample]) -> Shown | InputError:
    """`Show`, with what is wrong with an image as a value: one bad file must not end an audit.

    Raises:
        InputError: If the walk leaves an image that may not be enlarged: then the walk was asked for in vain.
    """
    number, sample = numbered
    stage = None
    try:
        stage = show.stage(sample)
        return show.walk_over(number, sample, stage)
    except InputError as error:
        in_vain = show.motion.where == "resized" and not show.enlarge and not show.motion.needs_boxes
        if stage is not None and in_vain:
            raise
        # by the sample's id, not the file's path: the record must be the same on every machine
        return InputError(error.what, where=sample.id, todo=error.todo)
