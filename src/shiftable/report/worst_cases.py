"""The worst cases: images whose answer changes most, along one walk, with the views around a change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from shiftable.auditing import Audit, Predictions, Show
from shiftable.auditing.motions.stage import Place, Stage
from shiftable.auditing.predictions import changed
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.report.motion_words import MOTION_WORDS, SHIFTED, along, place, places_of
from shiftable.report.tallies import steepness
from shiftable.report.wording import count

MOST_CASES, MOST_LINES, MOST_VIEWS = 6, 4, 5
THUMB_PX = 160

Step = Float[np.ndarray, "step"]


@dataclass(frozen=True)
class Line:
    """The probability of one class along a walk. NaN where the class is not among those in the table."""

    name: str
    p: Step


@dataclass(frozen=True)
class View:
    """One view of the strip.

    Args:
        picture: What the model was shown, made smaller; None where the image can't be read any more.
        place: Where it was, in words.
        name: The answer.
        p: Its probability.
        right: Whether it is the label; None without one.
        after: Whether the answer changed since the view before.
    """

    picture: UInt8[np.ndarray, "height width 3"] | None
    place: str
    name: str
    p: float
    right: bool | None
    after: bool


@dataclass(frozen=True)
class Case:
    """One image, along the walk on which its answer changes most.

    Args:
        image: Its id.
        label: The right class, or None.
        flips: How often its answer changes, over all its walks.
        pairs: Of how many.
        offsets: How far the views are along the walk, in the unit of the axis; numbers where it is a pair of places.
        axis: What the offsets are.
        lines: The leading classes.
        at: The first step after the change that is shown.
        strip: The views around it.
    """

    image: str
    label: str | None
    flips: int
    pairs: int
    offsets: Step
    axis: str
    lines: Sequence[Line]
    at: int
    strip: Sequence[View]

    @property
    def said(self) -> str:
        """How often it changes, in words."""
        return f"{count(self.flips, 'change')} in {count(self.pairs, 'pair')}"


def sources(audit: Audit, samples: Sequence[Sample] | None) -> Mapping[str, Sample]:
    """The images by id, or none where they are not there any more.

    Args:
        audit: Knows where its images came from.
        samples: The images, if the caller has them.
    """
    if samples is None:
        try:
            source = audit.images["source"]
            samples = find_samples(source, audit.images["listed"]) if source else []
        except InputError:
            samples = []
    return {sample.id: sample for sample in samples}


def worst_case(image: Predictions, named: Callable[[int], str], show: Show, sample: Sample | None) -> Case:
    """What a page shows of one image.

    Args:
        image: Its rows, at least one pair of which has two answers.
        named: Gives a class's name.
        show: How the audit showed its images.
        sample: The image, if it is still there.
    """
    rows, at = _walk_to_show(image)
    offsets, axis = _axis(image, rows, show)
    label = int(image["label"][rows[0]]) if len(image.labelled) else None
    shown = min(MOST_VIEWS, len(rows))
    start = min(max(at - shown // 2, 0), len(rows) - shown)
    return Case(
        image.images[0],
        None if label is None else named(label),
        int(changed(image).sum()),
        len(image.moved),
        offsets,
        axis,
        [Line(named(number), _known(image, number)[rows]) for number in _leading(image["top1"][rows], label)],
        at,
        _strip(image, rows[start : start + shown], named, show, sample),
    )


def _walk_to_show(image: Predictions) -> tuple[Int[np.ndarray, "step"], int]:
    """The rows of the walk with most flips, and the step after its steepest one."""
    change, moved, walk = changed(image), image.moved, image["walk"]
    steep = steepness(image) * change
    flips = np.bincount(walk[moved], change)
    steepest = np.zeros(len(flips))
    np.maximum.at(steepest, walk[moved], steep)
    chosen = np.lexsort((steepest, flips))[-1]
    inside = np.flatnonzero((walk[moved] == chosen) & change)
    row = moved[inside[steep[inside].argmax()]]
    return np.flatnonzero(walk == chosen), int(image["step"][row])


def _axis(image: Predictions, rows: Int[np.ndarray, "step"], show: Show) -> tuple[Step, str]:
    if len(rows) == 2:
        return np.array([1.0, 2.0]), "view"
    words = MOTION_WORDS.get(show.motion.name, SHIFTED)
    return along(places_of(words, image)[rows], words)


def _leading(top1: Int[np.ndarray, "step"], label: int | None) -> list[int]:
    """The classes that lead most often, and the right one."""
    numbers, first, counts = np.unique(top1, return_index=True, return_counts=True)
    order = numbers[np.lexsort((first, -counts))].tolist()
    if label is None:
        return order[:MOST_LINES]  # type: ignore[no-any-return]
    return [*[number for number in order if number != label][: MOST_LINES - 1], label]


def _known(image: Predictions, number: int) -> Float[np.ndarray, "row"]:
    """The probability of a class in every row whose columns tell it."""
    p = np.where(image["ref"] == number, image["ref_p"], np.nan)
    if len(image.labelled):
        p = np.where(image["label"] == number, image["label_p"], p)
    held = image["top5"] == number
    return np.where(held.any(axis=1), (image["top5_p"] * held).sum(axis=1), p)


def _strip(
    image: Predictions, rows: Int[np.ndarray, "step"], named: Callable[[int], str], show: Show, sample: Sample | None
) -> list[View]:
    top1, top1_p, label = image["top1"], image["top1_p"], image["label"]
    columns = [image[name][rows].tolist() for name in Place._fields]
    places = [Place(*numbers) for numbers in zip(*columns, strict=True)]
    pictures = _pictures(show, sample, places)
    return [
        View(
            picture,
            place(*at),
            named(int(top1[row])),
            float(top1_p[row]),
            bool(top1[row] == label[row]) if len(image.labelled) else None,
            bool(row != rows[0] and top1[row] != top1[row - 1]),
        )
        for row, at, picture in zip(rows, places, pictures, strict=True)
    ]


def _pictures(
    show: Show, sample: Sample | None, places: Sequence[Place]
) -> Sequence[UInt8[np.ndarray, "height width 3"] | None]:
    """The views, made smaller; None for each if the image is gone, or is another one by now."""
    nothing = [None] * len(places)
    if sample is None:
        return nothing
    try:
        stage = show.stage(sample)
    except InputError:
        return nothing
    steps = [step_at(stage, at) for at in places]
    return nothing if None in steps else [_smaller(stage.view(*step)) for step in steps if step is not None]


def step_at(stage: Stage, place: Place) -> tuple[int, int] | None:
    """The step at which the view is at a place; None where no step leads there.

    A step down changes all but ``dx``, a step to the right only ``dx``: so each is looked for by itself.
    """

    def same(step: tuple[int, int], names: Sequence[str]) -> bool:
        found = stage.place(*step)
        return all(np.isclose(getattr(found, name), getattr(place, name), rtol=0, atol=1e-9) for name in names)

    down = next((step for step in stage.dy if same((step, stage.home[1]), ("dy", "scale", "angle"))), None)
    right = next((step for step in stage.dx if same((stage.home[0], step), ("dx",))), None)
    if down is None or right is None or not same((down, right), Place._fields):
        return None
    return down, right


def _smaller(view: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "new_height new_width 3"]:
    picture = Image.fromarray(np.ascontiguousarray(view))
    picture.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    return np.array(picture)
