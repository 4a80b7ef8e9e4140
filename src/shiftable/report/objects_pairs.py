"""The pairs of views that differ most: both pictures, with what the model saw in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.dataset as ds
from jaxtyping import UInt8
from PIL import Image

from shiftable.auditing import Show
from shiftable.auditing.motions.stage import Place, Window
from shiftable.auditing.objects.tallies import WorstPair
from shiftable.auditing.showing import windows_of
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.report.motion_words import place
from shiftable.report.wording import shorten
from shiftable.report.worst_cases import step_at

MOST_PAIRS, MOST_SAID = 6, 8
PICTURE_PX = 480

Picture = UInt8[np.ndarray, "height width 3"]
State = Literal["kept", "lost", "new", "gone"]
"""Of an object: seen in both views; only in the first; only in the second; where in the second the lost one was."""


class View(NamedTuple):
    """A view, and where it lies in the still scene.

    Args:
        pixels: What the model was shown.
        window: The part of the scene that it shows.
        picture: What of that is picture, and no bar or fill.
    """

    pixels: Picture
    window: Window
    picture: Window


@dataclass(frozen=True)
class Mark:
    """An object or a point as it is drawn.

    Args:
        box: x0, y0, x1, y1 in px of the view.
        name: What it is.
        score: How sure the model is of it.
        state: See `State`.
        start: Of a point that was placed in the view before: where it was, (x, y) in px of the view.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float
    state: State
    start: tuple[float, float] | None = None


@dataclass(frozen=True)
class Side:
    """One of the views.

    Args:
        picture: What the model was shown; None where the image can't be read any more.
        size: (height, width) of the view in px.
        shown: The part of it that is drawn: x, y, width, height in px.
        title: Which view it is, in words.
        marks: What the model saw.
    """

    picture: Picture | None
    size: tuple[int, int]
    shown: tuple[float, float, float, float]
    title: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Pair:
    """Two views, one step apart, that got different answers.

    Args:
        image: The image's id.
        title: What differs, in words.
        said: The differences one by one.
        sides: The first view, the second, and what else there is to see.
    """

    image: str
    title: str
    said: Sequence[str]
    sides: Sequence[Side]

    @property
    def pictured(self) -> bool:
        """Whether there is a picture."""
        return self.sides[0].picture is not None


@dataclass(frozen=True)
class Rows:
    """What the tables hold of a pair: the rows of both views, and of the objects seen in them."""

    views: tuple[Mapping[str, Any], Mapping[str, Any]]
    objects: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]


def read_pairs(folder: Path, wanted: Sequence[WorstPair]) -> list[Rows]:
    """The rows of some pairs. Of the tables only those rows are held in memory."""
    views = _rows(folder / "predictions", wanted)
    objects = _rows(folder / "objects", wanted) if (folder / "objects").is_dir() else []
    found = []
    for pair in wanted:
        steps = [(pair.image, pair.walk, step) for step in (pair.step - 1, pair.step)]
        first, last = (next(row for row in views if _key(row) == step) for step in steps)
        before, after = ([row for row in objects if _key(row) == step] for step in steps)
        found.append(Rows((first, last), (before, after)))
    return found


def _rows(folder: Path, wanted: Sequence[WorstPair]) -> list[dict[str, Any]]:
    images = sorted({pair.image for pair in wanted})
    if not images:
        return []
    steps = {(pair.image, pair.walk, step) for pair in wanted for step in (pair.step - 1, pair.step)}
    paths = sorted(map(str, folder.glob("part-*.parquet")))
    table = ds.dataset(paths, format="parquet")
    batches = table.to_batches(filter=ds.field("image").isin(images) & ds.field("control").is_null())
    return [row for batch in batches for row in batch.to_pylist() if _key(row) in steps]


def _key(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["image"], row["walk"], row["step"]


def views_of(show: Show, sample: Sample | None, rows: Rows) -> list[View] | None:
    """Both views and what part of the still scene they show; None if the image is gone, or is another one by now."""
    if sample is None:
        return None
    try:
        stage = show.stage(sample)
    except InputError:
        return None
    places = [step_at(stage, Place(*(row[name] for name in Place._fields))) for row in rows.views]
    known = [place for place in places if place is not None]
    windows, pictures = windows_of(stage, known)
    if windows is None or len(known) < len(places):
        return None
    views = [stage.view(*place) for place in known]
    return [View(*each) for each in zip(views, windows, pictures or windows, strict=True)]


def few(said: Sequence[str]) -> list[str]:
    """The first few sentences, and how many more there are."""
    more = len(said) - MOST_SAID
    return [*said[:MOST_SAID], f"and {more} more"] if more > 0 else list(said)


def sides_of(
    rows: Rows,
    views: Sequence[View] | None,
    size: tuple[int, int],
    marks: Sequence[Sequence[Mark]],
    shown: tuple[float, float, float, float] | None = None,
) -> list[Side]:
    """Both views.

    Args:
        rows: Of the pair.
        views: The pictures and what they show of the scene, if they are still there.
        size: (height, width) of the view in px.
        marks: What is drawn on each.
        shown: The part of the view to show; None shows all of it.
    """
    height, width = size
    return [
        Side(
            None if views is None else smaller(views[at].pixels),
            size,
            shown or (0.0, 0.0, float(width), float(height)),
            f"{('First', 'Second')[at]} view, {place(*(row[name] for name in Place._fields))}",
            marks[at],
        )
        for at, row in enumerate(rows.views)
    ]


def in_view(row: Mapping[str, Any], window: Window | None, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """From px of the still scene to px of the view."""
    if window is None:
        return row["x0"], row["y0"], row["x1"], row["y1"]
    down, right = size[0] / window.height, size[1] / window.width
    return (
        (row["x0"] - window.x) * right,
        (row["y0"] - window.y) * down,
        (row["x1"] - window.x) * right,
        (row["y1"] - window.y) * down,
    )


def around(
    boxes: Sequence[tuple[float, float, float, float]], size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The part of the view that holds all boxes, with some room, not smaller than a third of it; None for all of it."""
    if not boxes:
        return None
    edges, (height, width) = np.array(boxes), size
    low, high = edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)
    side = min(max(1.3 * float((high - low).max()), min(size) / 3), float(min(size)))
    x, y = np.clip((low + high) / 2 - side / 2, 0, [width - side, height - side]).tolist()
    return x, y, side, side


def smaller(view: Picture) -> Picture:
    """A picture that is not larger than a page needs."""
    picture = Image.fromarray(np.ascontiguousarray(view))
    picture.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    return np.array(picture)


def label_of(mark: Mark) -> str:
    """What is written beside an object."""
    word = {"lost": "lost: ", "new": "new: ", "gone": "gone: "}.get(mark.state, "")
    score = "" if mark.state == "gone" else f" · {mark.score:.2f}"
    return f"{word}{shorten(mark.name, 24)}{score}"
