"""The table of a video: its frames' rows as the answers come, so that nothing of a whole video is held."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shiftable.auditing.predictions import UNHELD, Apart, Row, table_schema, tabulate, write_part
from shiftable.auditing.scoring import Kind, probabilities_and_evidence
from shiftable.auditing.videos.frames import Seen, Unusable, show_frames
from shiftable.auditing.videos.results import NOTES
from shiftable.auditing.videos.smoothing import Smoothing, Watch
from shiftable.data.video import Video
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model

CHUNK = 128
"""How many frames' scores are held at a time."""

GROUP = 8192
"""At least how many rows are written together: Parquet describes every group, in more bytes than few rows have."""


@dataclass(frozen=True)
class Plan:
    """How every video of an audit is shown, and what its table says.

    Args:
        model: Who answers.
        kind: What its scores are.
        classes: How many.
        threshold: From which score on a sigmoid's class counts as positive.
        controls: Whether about one frame a second is also shown again, lighter, darker and as JPEG.
        smoothings: What runs beside it.
        count: Only the first so many frames.
        seed: Of everything drawn at random.
        strict: Stop at a video that can't be used.
    """

    model: Model
    kind: Kind
    classes: int
    threshold: float | None
    controls: bool
    smoothings: Sequence[Smoothing]
    count: int | None
    seed: int
    strict: bool


def audit_one(
    plan: Plan,
    ask: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    tick: Callable[[int | None], None],
    loaded: Iterable[tuple[int, Video]],
    path: Path,
) -> None:
    """One video, one file."""
    ((number, video),) = loaded
    watch, unheld = Watch(plan.smoothings, seed=[plan.seed, number]), list[int]()
    try:
        _write(plan, _tables(plan, video, ask, batch_size, watch, unheld, tick), watch, unheld, path)
    except Unusable as trouble:
        (error,) = trouble.args
        # by the video's id, not the file's path: the record must be the same on every machine
        error = InputError(error.what, where=video.id, todo=error.todo)
        if plan.strict:
            raise error from None
        write_part([], Apart([{"image": video.id, "reason": error.what}]), plan.classes, False, path)


def _write(plan: Plan, tables: Iterable[pa.Table], watch: Watch, unheld: Sequence[int], path: Path) -> None:
    """The rows as they come, so that they need not be held, and in the end what smoothing did, and how many frames had
    nothing to hold on to.
    """
    notes = Apart().notes(plan.classes)
    del notes[UNHELD]  # not known yet
    with pq.ParquetWriter(path, table_schema(False).with_metadata(notes), compression="zstd") as writer:
        for group in _grouped(tables):
            writer.write_table(group)
        if watch.frames < 2:
            raise Unusable(InputError("a single frame: nothing follows it", todo="give a video of two frames or more"))
        writer.add_key_value_metadata({UNHELD: str(sum(unheld)).encode()})
        if plan.smoothings:
            writer.add_key_value_metadata({NOTES: json.dumps(watch.to_json()).encode()})


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer tables."""
    group: pa.Table | None = None
    for table in tables:
        # copied to where Arrow keeps its own: small arrays that stay among the large ones that come and go would keep
        # these from being used again (24 KB a frame)
        group = table if group is None else pa.concat_tables([group, table]).combine_chunks()
        if len(group) >= GROUP:
            yield group
            group = None
    if group is not None:
        yield group


def _tables(
    plan: Plan,
    video: Video,
    ask: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    watch: Watch,
    unheld: list[int],
    tick: Callable[[int | None], None],
) -> Iterator[pa.Table]:
    """The rows of a video, some frames at a time; those of controls come last, so that frames follow each other.

    ``unheld`` is told how many frames had nothing to hold on to.
    """
    frames = show_frames(plan.model, video.path, plan.controls, plan.count)
    items = ((seen._replace(views=[]), seen.views) for seen in frames)  # views must not wait for their rows
    answers = in_batches(items, ask, batch_size, getattr(plan.model, "at_once", 1))
    first = last = None
    controls: list[pa.Table] = []
    while chunk := list(islice(answers, CHUNK)):
        for seen, scores in chunk:
            _check(plan, video, seen, scores)
        unheld.append(sum(not seen.held for seen, _ in chunk))
        first = chunk[0][1][0].copy() if first is None else first
        if plan.smoothings:
            for p in probabilities_and_evidence(np.stack([scores[0] for _, scores in chunk]), plan.kind)[0]:
                watch.see(p)
        else:
            watch.frames += len(chunk)
        for label, group in groupby(chunk, key=lambda entry: video.label_at(entry[0].number)):
            entries = list(group)
            yield _motion_table(plan, video.id, label, first, last, entries)
            last = entries[-1][0], entries[-1][1][:1].copy()
            if any(seen.controls for seen, _ in entries):
                controls.append(_control_table(plan, video.id, label, first, entries))
        tick(len(chunk))
    yield from controls


Answered = tuple[Seen, np.ndarray]


def _motion_table(
    plan: Plan, image: str, label: int | None, first: np.ndarray, last: Answered | None, entries: Sequence[Answered]
) -> pa.Table:
    """The frames' rows. The first frame's scores are needed for the reference, the last row's for what follows it."""
    together = [last, *entries] if last else list(entries)
    rows = [
        Row(None, 0, seen.number, 0.0, 0.0, at, frame=seen.number, time_s=seen.time_s, moved=seen.moved)
        for at, (seen, _) in enumerate(together, start=1)
    ]
    scores = np.stack([first, *(scores[0] for _, scores in together)])
    return _tabulate(plan, image, rows, scores, label).slice(1 if last else 0)


def _control_table(
    plan: Plan, image: str, label: int | None, first: np.ndarray, entries: Sequence[Answered]
) -> pa.Table:
    """The rows of what is no motion: walks of two steps, the frame's own view and the other."""
    rows, together, count = [], [first], 1
    for seen, scores in entries:
        for other, (control, walk) in enumerate(seen.controls, start=1):
            for step, at in enumerate((0, other)):
                rows.append(Row(control, 2 * seen.number + walk, step, 0.0, 0.0, count + at, frame=seen.number,
                                time_s=seen.time_s))  # fmt: skip
        if seen.controls:
            together += list(scores)
            count += len(scores)
    return _tabulate(plan, image, rows, np.stack(together), label)


def _tabulate(plan: Plan, image: str, rows: Sequence[Row], scores: np.ndarray, label: int | None) -> pa.Table:
    step: float | None = getattr(plan.model, "score_step", None)
    table = tabulate(image, rows, scores, plan.kind, label, threshold=plan.threshold, score_step=step)
    return table.replace_schema_metadata(None)


def _check(plan: Plan, video: Video, seen: Seen, scores: np.ndarray) -> None:
    wanted = 1 + len(seen.controls), plan.classes
    if scores.shape != wanted:
        raise InputError(f"the model's scores have the shape {scores.shape}, not {wanted}", where=video.id)
    if np.isnan(scores).any():
        raise InputError(f"the model answers NaN (frame {seen.number})", where=video.id, todo="look at its weights")
