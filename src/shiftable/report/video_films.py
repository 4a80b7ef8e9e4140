"""The videos of an audit as its page needs them: rows of the table, what leads when, and the moments to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from shiftable.auditing import Audit, Predictions, read_parts
from shiftable.auditing.predictions import changed
from shiftable.data.video import find_videos, read_frames
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.crop_following import frame_viewer
from shiftable.models.preprocessing import CropSelection, override
from shiftable.report.tallies import steepness
from shiftable.report.trace_charts import smaller

MOST_FILMS, MOST_LINES, MOST_MOMENTS, AROUND = 8, 4, 6, 5
"""Timelines, lines of each, moments, frames of each."""

APART_S = 1.0
"""Moments of one video are at least so far apart."""

FARTHEST_FRAME = 20_000
"""Pictures are decoded again up to here: a file can only be read from its beginning."""

MOST_POINTS = 1200
THUMB_PX = 160


@dataclass(frozen=True, eq=False)
class Film:
    """One video of an audit.

    Args:
        id: Its name.
        rows: Its rows of the table, one per frame.
    """

    id: str
    rows: Predictions

    @property
    def time_s(self) -> Float[np.ndarray, "frame"]:
        """When each frame is shown."""
        return np.asarray(self.rows["time_s"], float)

    @property
    def top1(self) -> Int[np.ndarray, "frame"]:
        """The answer to each."""
        return np.asarray(self.rows["top1"])

    @property
    def moved_px(self) -> Float[np.ndarray, "frame"]:
        """How far the picture moved since the frame before; NaN where that is not known."""
        return np.asarray(self.rows["moved_px"], float)

    @property
    def flips(self) -> Int[np.ndarray, "flip"]:
        """The frames that are answered otherwise than the one before."""
        return np.asarray(self.rows.moved[changed(self.rows)])

    @property
    def seconds(self) -> float:
        """How long it is."""
        times = self.time_s
        return float(times[-1] - times[0]) * len(times) / max(1, len(times) - 1)

    @property
    def flips_per_minute(self) -> float:
        """How often its answer changes, as the metric counts it: over the time between its frames."""
        span = float(self.time_s[-1] - self.time_s[0])
        return 60 * len(self.flips) / span if span else 0.0

    @property
    def label(self) -> int | None:
        """The right class, where it is one and the same."""
        labels = self.rows.table["label"].combine_chunks().unique().to_pylist()
        return labels[0] if len(labels) == 1 else None

    @property
    def right(self) -> float | None:
        """The share of the frames with a label that are answered right."""
        known = self.rows.labelled
        return float((self.top1[known] == self.rows["label"][known]).mean()) if len(known) else None

    def lines(self) -> list[int]:
        """The classes that lead most often, and the right one."""
        numbers, first, counts = np.unique(self.top1, return_index=True, return_counts=True)
        order: list[int] = numbers[np.lexsort((first, -counts))].tolist()
        if self.label is None:
            return order[:MOST_LINES]
        return [*[number for number in order if number != self.label][: MOST_LINES - 1], self.label]

    def p(self, number: int) -> Float[np.ndarray, "frame"]:
        """The probability of a class at every frame; NaN where it is not among the five first choices."""
        p = np.where(self.rows["ref"] == number, self.rows["ref_p"], np.nan)
        if len(self.rows.labelled):
            p = np.where(self.rows["label"] == number, self.rows["label_p"], p)
        held = self.rows["top5"] == number
        return np.where(held.any(axis=1), (self.rows["top5_p"] * held).sum(axis=1), p)


@dataclass(frozen=True, eq=False)
class Moment:
    """A change of answer, and the frames around it.

    Args:
        film: In which.
        at: The row after the change.
        shown: The rows that are shown.
        pictures: The views of these, made smaller; None where they can't be decoded any more.
    """

    film: Film
    at: int
    shown: Sequence[int]
    pictures: Sequence[UInt8[np.ndarray, "height width 3"] | None]


def read_films(audit: Audit) -> list[Film]:
    """All videos of an audit."""
    found: dict[str, list[Predictions]] = {}
    for part in read_parts(audit.folder):
        own = part.of(None)
        starts = np.flatnonzero(np.diff(own.image, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(own.image)], strict=True):
            piece = Predictions(own.table.slice(start, end - start), own.classes)
            found.setdefault(piece.images[0], []).append(piece)
    return [Film(name, _joined(pieces)) for name, pieces in found.items()]


def chosen_films(films: Sequence[Film]) -> list[Film]:
    """Those whose answers change most often, in the order of the audit."""
    most = sorted(films, key=lambda film: -film.flips_per_minute)[:MOST_FILMS]
    return [film for film in films if film in most]


def decimated(values: Float[np.ndarray, "frame"], most: int = MOST_POINTS) -> Int[np.ndarray, "kept"]:
    """The frames that a curve with so many points must keep: the lowest and the highest of every stretch.

    Args:
        values: Of the curve; NaN is a gap.
        most: Points, about.
    """
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 2 + 1).astype(int)
    kept: set[int] = {0, len(values) - 1}
    for start, end in pairwise(edges.tolist()):
        stretch = values[start:end]
        if np.isnan(stretch).all():
            kept.add(start)
            continue
        kept |= {int(start + np.nanargmin(stretch)), int(start + np.nanargmax(stretch))}
    return np.array(sorted(kept))


def choose_moments(films: Sequence[Film]) -> list[tuple[Film, int]]:
    """The steepest changes of answer, no two of one video within a second; the steepest first.

    Args:
        films: All that there are.
    """
    all_flips = []
    for film in films:
        steep = steepness(film.rows)
        flips = np.flatnonzero(changed(film.rows))
        all_flips += [(float(steep[pair]), film, int(film.rows.moved[pair])) for pair in flips]
    chosen: list[tuple[Film, int]] = []
    for _, film, at in sorted(all_flips, key=lambda each: -each[0]):
        near = (abs(film.time_s[at] - other.time_s[row]) < APART_S for other, row in chosen if other is film)
        if not any(near):
            chosen.append((film, at))
        if len(chosen) == MOST_MOMENTS:
            break
    return chosen


def moments(audit: Audit, chosen: Sequence[tuple[Film, int]]) -> list[Moment]:
    """The frames around changes of answer, decoded again where the files are still there."""
    shown = {}
    for film, at in chosen:
        last = len(film.top1)
        first = min(max(at - AROUND // 2, 0), max(0, last - AROUND))
        shown[film.id, at] = list(range(first, min(first + AROUND, last)))
    wanted: dict[str, set[int]] = {}
    for (name, _), rows in shown.items():
        film = next(film for film, _ in chosen if film.id == name)
        wanted.setdefault(name, set()).update(film.rows["frame"][rows].tolist())
    pictures = {name: _decoded(audit, path, wanted[name]) for name, path in _paths(audit).items() if name in wanted}
    return [
        Moment(
            film, at, shown[film.id, at],
            [pictures.get(film.id, {}).get(int(film.rows["frame"][row])) for row in shown[film.id, at]],
        )
        for film, at in chosen
    ]  # fmt: skip


def _paths(audit: Audit) -> Mapping[str, Path]:
    """Where the videos are, or none if they are not there any more."""
    source = audit.images["source"]
    try:
        return {video.id: Path(video.path) for video in find_videos(source)} if source else {}
    except InputError:
        return {}


def _decoded(audit: Audit, path: Path, numbers: set[int]) -> Mapping[int, UInt8[np.ndarray, "height width 3"]]:
    """Views of some frames, made smaller; of those that can be had."""
    preprocessing = override(Preprocessing(), audit.model["preprocessing"])
    height, width = audit.model["view_size"]
    within = {number for number in numbers if number < FARTHEST_FRAME}
    found: dict[int, UInt8[np.ndarray, "height width 3"]] = {}
    viewer = frame_viewer(preprocessing, (height, width))
    follows = isinstance(preprocessing.crop, CropSelection) and preprocessing.crop.follow
    try:
        for frame in read_frames(path):
            if len(found) == len(within):
                break
            if frame.number in within or follows:  # what follows must have seen the frames before
                view, _ = viewer(frame.picture)
            if frame.number in within:
                found[frame.number] = smaller(view, THUMB_PX)
    except InputError:
        pass  # it is not there any more, or was cut short since
    return found


def _joined(pieces: Sequence[Predictions]) -> Predictions:
    if len(pieces) == 1:
        return pieces[0]
    import pyarrow as pa

    return Predictions(pa.concat_tables([piece.table for piece in pieces]), pieces[0].classes)
