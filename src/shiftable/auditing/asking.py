"""Asking a model about everything it is to be shown: its answers checked, and put into the table a shard at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from shiftable.auditing.predictions import Apart, tabulate, write_part
from shiftable.auditing.scoring import Kind
from shiftable.auditing.showing import Shown
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model

Rows = TypeVar("Rows")


def count_outputs(model: Model) -> int:
    """How many classes the model tells apart, or how wide its embeddings are, from its answer to a grey view.

    Raises:
        InputError: If it answers no row of scores, or a single one.
    """
    if model.task not in ("classify", "embed"):
        raise InputError(
            f"models for the task {model.task!r} answer no row of scores",
            where=model.spec,
            todo="give a classifier or an embedder",
        )
    answer = np.asarray(model(np.full((1, *model.view_size, 3), 128, np.uint8)))
    if answer.ndim != 2 or len(answer) != 1:
        raise InputError(
            f"its scores for one view have the shape {answer.shape}",
            where=model.spec,
            todo="they must be (view, class)",
        )
    if answer.shape[1] < 2:
        single = "number for an embedding" if model.task == "embed" else "class"
        raise InputError(f"it has a single {single}, so its answer can't change", where=model.spec)
    return int(answer.shape[1])


def answer_shard(
    ask: Callable[[np.ndarray], np.ndarray],
    tabulated: Callable[[Shown, np.ndarray], Rows],
    write: Callable[[Sequence[Rows], Apart, Path], None],
    batch_size: int,
    at_once: int,
    strict: bool,
    loaded: Iterable[Shown | InputError],
    path: Path,
) -> None:
    """One shard: ask the model about all views and write the table.

    Args:
        ask: Gives one answer per view.
        tabulated: The rows of one image.
        write: Given the rows of all images, and what is to be said of some, writes the shard's file.
        batch_size: Views at once.
        at_once: Batches at once.
        strict: Stop at an image that can't be used.
        loaded: The images, or what is wrong with them.
        path: The shard's file.
    """
    skipped: list[dict[str, str]] = []
    asked: deque[str] = deque()  # the images whose answers are not all there

    def usable() -> Iterator[tuple[Shown, Sequence[np.ndarray]]]:
        for shown in loaded:
            if isinstance(shown, Shown):
                asked.append(shown.sample.id)
                yield shown, shown.views
            elif strict:
                raise shown
            else:
                skipped.append({"image": str(shown.where), "reason": shown.what})

    def ask_or_say(views: np.ndarray) -> np.ndarray:
        try:
            return ask(views)
        except InputError as error:
            raise InputError(f"{error.what} (asked about {_few(asked)})", where=error.where, todo=error.todo) from error

    tables, unheld = [], 0
    for shown, answers in in_batches(usable(), ask_or_say, batch_size, at_once):
        asked.popleft()
        tables.append(tabulated(shown, answers))
        unheld += not shown.held
    write(tables, Apart(skipped, unheld), path)


def _few(names: Iterable[str]) -> str:
    first, *others = list(names)
    return first if not others else f"{first} and {len(others)} more image{'s' if len(others) > 1 else ''}"


def checked_scores(
    tabulated: Callable[[Shown, np.ndarray], pa.Table], outputs: int, shown: Shown, scores: np.ndarray
) -> pa.Table:
    """The rows of one image, its scores looked at before."""
    return tabulated(shown, _checked(scores, outputs, shown))


def write_scores(classes: int, keep_scores: bool, tables: Sequence[pa.Table], apart: Apart, path: Path) -> None:
    """One shard's rows, in its file."""
    write_part(tables, apart, classes, keep_scores, path)


def tabulate_scores(
    kind: Kind,
    threshold: float | None,
    score_step: float | None,
    keep_scores: bool,
    shown: Shown,
    scores: Float[np.ndarray, "view class"],
) -> pa.Table:
    """The rows of one image."""
    return tabulate(
        shown.sample.id, shown.rows, scores, kind, shown.sample.label, keep_scores,
        threshold=threshold, score_step=score_step,
    )  # fmt: skip


def _checked(scores: np.ndarray, classes: int, shown: Shown) -> Float[np.ndarray, "view class"]:
    if scores.shape != (len(shown.views), classes):
        raise InputError(
            f"the model's scores have the shape {scores.shape}, not {(len(shown.views), classes)}",
            where=shown.sample.id,
        )
    if np.isnan(scores).any():
        view = int(np.isnan(scores).any(axis=1).argmax())
        raise InputError(f"the model answers NaN (view {view})", where=shown.sample.id, todo="look at its weights")
    return scores
