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
from shiftable.models.parts import in_parts
from shiftable.models.protocol import Model, Scores

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
class Rechecked:
    """Answers views by ``fast``, and again by ``exact`` where that is close. Made by `rechecked`.

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

    The other attributes count what was asked so far; ``waiting`` has views to be checked, with the fast model's top-1.
    """

    fast: Model
    exact: Model
    threshold: float
    change_of_p: float
    top5: bool
    positive_from: float | None
    seed: int
    asked: int = 0
    again: int = 0
    checked: int = 0
    disagreed: int = 0
    waiting: list[tuple[np.ndarray, int]] = field(default_factory=list, repr=False)

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float[np.ndarray, "view class"]:
        """One row of scores per view."""
        answers = np.array(self.fast(views))
        close = self.is_close(answers)
        self._remember_some(views, answers, ~close)
        if close.any():
            answers[close] = self._exactly(views[close])
        self.asked += len(views)
        self.again += int(close.sum())
        return answers

    def is_close(self, answers: Float[np.ndarray, "view class"]) -> Bool[np.ndarray, "view"]:
        """Which of the fast model's answers the exact one might rank otherwise."""
        evidence = _evidence(answers, self.fast.scores)
        lead = np.take_along_axis(evidence, leading(answers, 6), axis=1)
        close = lead[:, 0] - lead[:, 1] <= self.threshold
        if self.top5 and lead.shape[1] > 5:
            close |= lead[:, 4] - lead[:, 5] <= self.threshold
        if self.positive_from is not None:
            border = _evidence(np.array([[self.positive_from]]), "sigmoid")
            close |= (np.abs(evidence - border) <= self.threshold).any(axis=1)
        return np.asarray(close)

    def summary(self) -> dict[str, Any]:
        """What was asked again, and what the random check found, for the record.

        Returns:
            ``threshold`` (in logits); how many ``views`` were asked, by this object and none before it, and the
            ``rechecked_share`` of them; ``checked`` views at random, ``disagreed`` of them (another top-1 although it
            was not close), the 95 % interval of their share (``low``, ``high``); and ``change_of_p``.
        """
        self._check()
        low, high = 0.0, 1.0
        if self.checked:
            share = rate((np.arange(self.checked) < self.disagreed).astype(np.float64), np.ones(self.checked))
            low, high = share.low, share.high
        return {
            "threshold": self.threshold,
            "views": self.asked,
            "rechecked_share": self.again / max(self.asked, 1),
            "checked": self.checked,
            "disagreed": self.disagreed,
            "low": low,
            "high": high,
            "change_of_p": self.change_of_p,
        }

    def _exactly(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float[np.ndarray, "view class"]:
        """The exact answers, asked in batches of one size: the last bits depend on it, and `still` must be 0."""
        return in_parts(self.exact, views, max(4, self.fast.batch_size // 8))

    def _remember_some(self, views: np.ndarray, answers: np.ndarray, clear: np.ndarray) -> None:
        """Put aside the views that chance takes, by their pixels: whatever came before, and whatever is resumed."""
        for number in np.flatnonzero(clear):
            if zlib.crc32(views[number].tobytes(), self.seed) < CHECKED * 2**32:
                self.waiting.append((views[number].copy(), int(answers[number].argmax())))
        if len(self.waiting) >= self.fast.batch_size:
            self._check()

    def _check(self) -> None:
        if self.waiting:
            views, found = zip(*self.waiting, strict=True)
            top1 = self._exactly(np.stack(views)).argmax(axis=1)
            self.checked += len(found)
            self.disagreed += int((top1 != found).sum())
            self.waiting.clear()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the fast model's arithmetic does to probabilities, where a reader must know: a sentence or none."""
        if self.change_of_p < WORTH_TELLING:
            return ()
        compiled, precision = self.fast.settings.get("compiled"), self.fast.settings.get("precision", "float32")
        how = " and ".join(["compiled"] * bool(compiled) + [f"computed in {precision}"] * (precision != "float32"))
        places = "near ties" if self.top5 or self.fast.scores == "sigmoid" else "near ties for the first place"
        return (
            f"{how or 'computed otherwise'}: {places} were answered again in plain float32, but the leading class's "
            f"probability is off by {self.change_of_p:.2g} in the mean, and mac is measured with that error",
        )


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

    Its error is measured on ``sample_views``, from `first_views`. ``top5`` says whether the fifth place counts as well,
    as for `jaggedness` and the top-5 accuracy; of 10 classes or fewer only the first does. It is often close: in bf16,
    half of the views or more are asked again then. The other arguments are those of `Rechecked`.
    """
    batches = [sample_views[at : at + fast.batch_size] for at in range(0, len(sample_views), fast.batch_size)]
    if not batches:
        return Rechecked(fast, exact, np.inf, 0.0, top5, positive_from, seed)
    given, wanted = (np.concatenate([model(batch) for batch in batches]) for model in (fast, exact))
    kind, top1 = fast.scores, wanted.argmax(axis=1)[:, None]
    change = _probability(given, kind, top1) - _probability(wanted, kind, top1)
    threshold, change_of_p = SAFETY * largest_error(given, wanted, kind), float(np.abs(change).mean())
    return Rechecked(fast, exact, threshold, change_of_p, top5 and wanted.shape[1] > 10, positive_from, seed)


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
