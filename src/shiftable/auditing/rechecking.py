"""Answers of a faster, slightly different model, with those that are close asked again of the exact one.

A model in 16 bits, or compiled, gives scores that are off by a little. Where two classes are further apart than that,
the ranks are those of the exact model; elsewhere the exact one is asked, so that flips are the model's and not the
rounding's. How far off the scores are is measured on views of the audit itself before it begins, and whether that was
enough is checked on a random share of all views.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8

from shiftable.auditing.intervals import rate
from shiftable.auditing.scoring import leading, probabilities_and_evidence
from shiftable.auditing.showing import Show
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Model, Scores, Task

SAFETY = 3
"""The threshold in units of the largest error seen. Twice is what two scores can be off against each other."""

CHECKED = 0.01
"""The share of views that are checked at random."""

VIEWS = 256
"""Views on which the error is measured."""

PER_IMAGE = 8
"""Views of one image among these, where there are images enough: its own views are much alike."""

WORTH_TELLING = 1e-4
"""A mean change of the leading class's probability from which on a reader is told."""


@dataclass
class Tally:
    """What was asked, so far."""

    asked: int = 0
    rechecked: int = 0
    checked: int = 0
    disagreed: int = 0
    waiting: list[tuple[np.ndarray, int]] = field(default_factory=list)
    """Views to be checked, with the fast model's top-1."""


@dataclass(frozen=True)
class Rechecked:
    """Answers by ``fast``, and again by ``exact`` where that is close. Made by `rechecked`; attributes as in `Model`.

    The answer to a view depends on the view alone, and on the size of the batch: what is close is asked of ``exact`` in
    batches of one size, and the random check only counts.

    Args:
        fast: The faster model.
        exact: The one whose answers count.
        threshold: Differences of evidence (logits or log-odds) up to this are close.
        change_of_p: By how much the probability of the exact model's leading class differs, in the mean.
        top5: Whether the border between rank 5 and rank 6 counts, too.
        positive_from: The probability from which on a sigmoid's class is positive, if that counts.
        seed: Of the random check.
        tally: What was asked so far.
    """

    fast: Model
    exact: Model
    threshold: float
    change_of_p: float
    top5: bool
    positive_from: float | None
    seed: int
    tally: Tally = field(default_factory=Tally, repr=False)

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float[np.ndarray, "view class"]:
        """One row of scores per view."""
        answers = np.array(self.fast(views))
        close = self.is_close(answers)
        self._remember_some(views, answers, ~close)
        if close.any():
            answers[close] = self._exactly(views[close])
        self.tally.asked += len(views)
        self.tally.rechecked += int(close.sum())
        return answers

    def is_close(self, answers: Float[np.ndarray, "view class"]) -> Bool[np.ndarray, "view"]:
        """Which of the fast model's answers the exact one might rank otherwise."""
        evidence = _evidence(answers, self.fast.scores)
        lead = np.take_along_axis(evidence, leading(answers, 6), axis=1)
        close = lead[:, 0] - lead[:, 1] <= self.threshold
        if self.top5 and lead.shape[1] > 5:
            close |= lead[:, 4] - lead[:, 5] <= self.threshold
        if self.positive_from is not None:
            border = np.log(self.positive_from) - np.log1p(-self.positive_from)
            close |= (np.abs(evidence - border) <= self.threshold).any(axis=1)
        return np.asarray(close)

    def summary(self) -> dict[str, Any]:
        """What was asked again, and what the random check found, for the record.

        Returns:
            ``threshold`` (in logits), ``rechecked_share`` of the views, ``checked`` views at random, ``disagreed`` of
            them (another top-1 although it was not close), the 95 % interval of their share (``low``, ``high``), and
            ``change_of_p``.
        """
        self._check(self.tally.waiting)
        tally = self.tally
        low, high = 0.0, 1.0
        if tally.checked:
            hits = np.arange(tally.checked) < tally.disagreed
            share = rate(hits.astype(np.float64), np.ones(tally.checked))
            low, high = share.low, share.high
        return {
            "threshold": self.threshold,
            "rechecked_share": tally.rechecked / max(tally.asked, 1),
            "checked": tally.checked,
            "disagreed": tally.disagreed,
            "low": low,
            "high": high,
            "change_of_p": self.change_of_p,
        }

    def _exactly(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float[np.ndarray, "view class"]:
        """The exact answers, asked in batches of one size: the last bits depend on it, and `still` must be 0."""
        size = max(4, self.batch_size // 8)
        parts = [views[at : at + size] for at in range(0, len(views), size)]
        filling = np.repeat(views[:1], size - len(parts[-1]), axis=0)
        parts[-1] = np.concatenate([parts[-1], filling])
        return np.concatenate([self.exact(part) for part in parts])[: len(views)]

    def _remember_some(self, views: np.ndarray, answers: np.ndarray, clear: np.ndarray) -> None:
        """Put aside the views that chance takes, by their pixels: whatever came before, and whatever is resumed."""
        for number in np.flatnonzero(clear):
            if zlib.crc32(views[number].tobytes(), self.seed) < CHECKED * 2**32:
                self.tally.waiting.append((views[number].copy(), int(answers[number].argmax())))
        if len(self.tally.waiting) >= self.batch_size:
            self._check(self.tally.waiting)

    def _check(self, waiting: list[tuple[np.ndarray, int]]) -> None:
        if not waiting:
            return
        top1 = self._exactly(np.stack([view for view, _ in waiting])).argmax(axis=1)
        self.tally.checked += len(waiting)
        self.tally.disagreed += int((top1 != [found for _, found in waiting]).sum())
        waiting.clear()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The fast model's, and what its rounding does to probabilities."""
        own = tuple(getattr(self.fast, "remarks", ()))
        if self.change_of_p < WORTH_TELLING:
            return own
        arithmetic = self.fast.settings.get("precision", "other arithmetic")
        places = "near ties" if self.top5 or self.fast.scores == "sigmoid" else "near ties for the first place"
        return (
            *own,
            f"computed in {arithmetic}: {places} were answered again in float32, but the leading class's probability "
            f"is off by {self.change_of_p:.2g} in the mean, and mac is measured with that error",
        )

    @property
    def spec(self) -> str:
        return self.fast.spec

    @property
    def weights_sha256(self) -> str | None:
        return self.fast.weights_sha256

    @property
    def task(self) -> Task:
        return self.fast.task

    @property
    def view_size(self) -> Size:
        return self.fast.view_size

    @property
    def preprocessing(self) -> Preprocessing:
        return self.fast.preprocessing

    @property
    def scores(self) -> Scores:
        return self.fast.scores

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.fast.class_names

    @property
    def batch_size(self) -> int:
        return self.fast.batch_size

    @property
    def settings(self) -> dict[str, object]:
        return self.fast.settings

    @property
    def class_offset(self) -> int | None:
        return getattr(self.fast, "class_offset", None)

    @property
    def size(self) -> dict[str, int | None]:
        return dict(getattr(self.fast, "size", {}))


def rechecked(
    fast: Model,
    exact: Model,
    sample_views: UInt8[np.ndarray, "view height width 3"],
    *,
    top5: bool,
    seed: int,
    positive_from: float | None = None,
) -> Rechecked:
    """A fast model, with what is close asked again of the exact one.

    Args:
        fast: The faster model.
        exact: The one whose answers count.
        sample_views: Views of the audit, from `first_views`, on which the error is measured.
        top5: Whether the fifth place counts as well, as it does for `jaggedness` and the top-5 accuracy; of 10 classes
            or fewer only the first does. It is often close: in bf16, half of the views or more are asked again then.
        seed: Of the random check.
        positive_from: The probability from which on a sigmoid's class is positive, if that counts.
    """
    size = fast.batch_size
    batches = [sample_views[at : at + size] for at in range(0, len(sample_views), size)]
    if not batches:
        return Rechecked(fast, exact, np.inf, 0.0, top5, positive_from, seed)
    given, wanted = (np.concatenate([model(batch) for batch in batches]) for model in (fast, exact))
    top1 = wanted.argmax(axis=1)[:, None]
    kind = fast.scores
    change = _probability(given, kind, top1) - _probability(wanted, kind, top1)
    return Rechecked(
        fast,
        exact,
        threshold=SAFETY * largest_error(given, wanted, kind),
        change_of_p=float(np.abs(change).mean()),
        top5=top5 and wanted.shape[1] > 10,
        positive_from=positive_from,
        seed=seed,
    )


def largest_error(
    given: Float[np.ndarray, "view class"], wanted: Float[np.ndarray, "view class"], kind: Scores
) -> float:
    """The largest error of evidence (logits or log-odds) among the classes that may lead: the first 6 of either.

    Two of them are off against each other by twice that at most. What all have in common moves no rank, and is left
    out; but not of sigmoids, where a class may be positive by itself.

    Example:
        >>> round(largest_error(np.array([[2.0, 1.0]]), np.array([[2.5, 1.1]]), "logits"), 6)
        0.2
    """
    errors = _evidence(given, kind) - _evidence(wanted, kind)
    first = np.concatenate([leading(given, 6), leading(wanted, 6)], axis=1)
    leaders = np.take_along_axis(errors, first, axis=1)
    return float(np.abs(leaders).max() if kind == "sigmoid" else np.ptp(leaders, axis=1).max() / 2)


def first_views(show: Show, samples: Sequence[Sample], count: int = VIEWS) -> UInt8[np.ndarray, "view height width 3"]:
    """Views that an audit begins with, spread over images: some of each, from one end of its walks to the other.

    Args:
        show: How images are shown.
        samples: In the order of the audit. Those that can't be used are left out.
        count: How many views; fewer where there are no more.
    """
    each = max(PER_IMAGE, -(-count // max(len(samples), 1)))
    views: list[np.ndarray] = []
    for number, sample in enumerate(samples):
        if len(views) >= count:
            break
        try:
            shown = show(number, sample).views
        except InputError:  # the audit itself will say so
            continue
        places = np.unique(np.linspace(0, len(shown) - 1, min(each, len(shown))).round().astype(int))
        views += [shown[place] for place in places]
    return np.stack(views[:count]) if views else np.empty((0, *show.view_size, 3), np.uint8)


def _evidence(scores: Float[np.ndarray, "view class"], kind: Scores) -> Float64[np.ndarray, "view class"]:
    """As in the table; but no surer than float32 can say: a sigmoid of 1 has no finite log-odds."""
    evidence = probabilities_and_evidence(scores, kind)[1]
    most = -np.log(np.finfo(np.float32).epsneg)
    return np.minimum(evidence, most) if kind == "sigmoid" else evidence


def _probability(
    scores: Float[np.ndarray, "view class"], kind: Scores, classes: Int[np.ndarray, "view 1"]
) -> Float64[np.ndarray, "view"]:
    return np.take_along_axis(probabilities_and_evidence(scores, kind)[0], classes, axis=1)[:, 0]
