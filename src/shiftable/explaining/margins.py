"""How much of a low flip rate is confidence, and how much is steadiness.

From one view to the next, one pixel on, let m ≥ 0 be the first view's margin: its top class over the runner-up, in
logits. In the second view that class leads its best rival by m + d, where d is the change of its lead. The answer flips
where d < −m. So P(flip) follows from two distributions: that of m, how sure the net is, and that of d, how unsteady. A
net may flip seldom for being sure, or for being steady.

Views of like margin are taken to change independently of their margin: within each tenth of the margins, d is any of
those seen there. How well that holds is measured: `Margins.modelled` beside `Margins.p_flip`. In `exchanging` one net's
changes meet another's margins.

Margins and changes are in logits, which have no unit of their own: a net whose logits are all doubled is twice as sure
and half as steady, and answers alike. Its `unsteadiness` stays what it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from shiftable.auditing.intervals import Estimate, magnitude, rate
from shiftable.errors import InputError
from shiftable.explaining.resampling import over_images

BINS = 10
QUANTILES = (0.1, 0.5, 0.9)
"""Of the change of the lead, within each tenth of the margins."""

Scores = Float[np.ndarray, "image step class"]
PerPair = Float[np.ndarray, "image pair"]


class Pairs(NamedTuple):
    """Adjacent views, image by image.

    Args:
        margin: The first view's margin, 0 or more, in logits.
        change: By how much the lead of the first view's top class over its best rival changes, in logits.
        flip: Whether the top classes differ: where margin + change < 0, but for ties, which the lowest class wins.
    """

    margin: PerPair
    change: PerPair
    flip: Bool[np.ndarray, "image pair"]


@dataclass(frozen=True)
class Tenth:
    """Pairs whose margins are alike.

    Args:
        margins: From above which margin to which; the first begins at the least one.
        mean_margin: Their mean.
        p_flip: The share of them that flip.
        rms_change: Root mean square change of the lead, in logits.
        quantiles: Of the absolute change of the lead, at ``QUANTILES``: for a figure's bands.
    """

    margins: tuple[float, float]
    mean_margin: float
    p_flip: Estimate
    rms_change: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Margins:
    """How sure a net is of its answers, and how steady they are.

    Args:
        p_flip: Share of adjacent pairs with different top classes, 0 to 1.
        median_margin: Of the first views, in logits.
        rms_change: Root mean square change of the lead from one view to the next, in logits.
        unsteadiness: ``rms_change / median_margin``: without unit, and the same if all logits are scaled.
        modelled: The P(flip) that follows if, within each tenth, changes are independent of margins.
        tenths: The pairs by margin, least sure first; fewer than ten where many margins are equal.
        pairs: All of them, for a figure, and to be set against another net's.
    """

    p_flip: Estimate
    median_margin: Estimate
    rms_change: Estimate
    unsteadiness: Estimate
    modelled: float
    tenths: tuple[Tenth, ...]
    pairs: Pairs

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists; without the pairs."""
        names = ("p_flip", "median_margin", "rms_change", "unsteadiness")
        return {
            "unit": "logits",
            **{name: getattr(self, name).to_json() for name in names},
            "modelled": self.modelled,
            "tenths": [
                {
                    **vars(tenth),
                    "margins": list(tenth.margins),
                    "p_flip": tenth.p_flip.to_json(),
                    "quantiles": dict(zip(map(str, QUANTILES), tenth.quantiles, strict=True)),
                }
                for tenth in self.tenths
            ],
        }


def measure_margins(scores: Scores, *, seed: int = 0) -> Margins:
    """How sure and how steady a net is along walks, with 95 % intervals over images.

    Args:
        scores: Of adjacent views, one pixel apart, in logits: log-probabilities of a net that gives probabilities,
            log-odds of one that gives sigmoids (see `auditing.scoring.probabilities_and_evidence`).
        seed: Of the resampling of images.

    Raises:
        InputError: If there are fewer than two steps or classes, no image, or scores that are not finite.
    """
    pairs = adjacent_pairs(scores)
    margin, change, flip = pairs
    images, each = margin.shape
    counts = np.full(images, float(each))
    squares = magnitude((change**2).sum(axis=1), counts, seed=seed)

    def middle(drawn: np.ndarray) -> float:
        return float(np.median(margin[drawn]))

    def ratio(drawn: np.ndarray) -> float:
        typical = middle(drawn)
        return sqrt((change[drawn] ** 2).mean()) / typical if typical else nan

    def estimated(statistic: Callable[[np.ndarray], float]) -> Estimate:
        low, high = over_images(statistic, images, seed=seed)
        return Estimate(statistic(np.arange(images)), low, high, images, margin.size)

    return Margins(
        rate(flip.sum(axis=1).astype(float), counts),
        estimated(middle),
        replace(squares, value=sqrt(squares.value), low=sqrt(squares.low), high=sqrt(squares.high)),
        estimated(ratio),
        implied(pairs, pairs)[0],
        _tenths(pairs),
        pairs,
    )


def adjacent_pairs(scores: Scores) -> Pairs:
    """The margins of all views but the last of each walk, and what becomes of their top class's lead.

    Raises:
        InputError: As `measure_margins`.

    Example:
        >>> pairs = adjacent_pairs(np.array([[[3.0, 1.0, 0.0], [1.0, 0.0, 2.0]]]))
        >>> pairs.margin.item(), pairs.change.item(), pairs.flip.item()
        (2.0, -3.0, True)
    """
    images, steps, classes = scores.shape
    if not images or steps < 2 or classes < 2:
        raise InputError(
            f"scores of {images} images, {steps} steps and {classes} classes have no pairs",
            todo="give an image or more, two steps and two classes",
        )
    if not np.isfinite(scores).all():
        raise InputError("scores must be finite", todo="give logits, or logarithms of probabilities that are not 0")
    top1 = scores.argmax(axis=2)
    second = np.partition(scores, classes - 2, axis=2)[..., classes - 2]
    margin = (scores.max(axis=2) - second)[:, :-1].astype(np.float64)
    rest = scores[:, 1:].copy()
    held = np.take_along_axis(rest, top1[:, :-1, None], axis=2)[..., 0].copy()
    np.put_along_axis(rest, top1[:, :-1, None], -np.inf, axis=2)
    lead = held.astype(np.float64) - rest.max(axis=2)
    return Pairs(margin, lead - margin, top1[:, 1:] != top1[:, :-1])


def implied(changes: Pairs, margins: Pairs) -> tuple[float, np.ndarray, np.ndarray]:
    """P(flip) of some pairs' changes at other pairs' margins: the mean over margins of the share of like pairs' changes
    that would flip them; and how far each image pulls it, by its changes and by its margins."""
    edges = _edges(changes.margin)
    change_bin, margin_bin = (np.searchsorted(edges, net.margin) for net in (changes, margins))
    chance = np.zeros(margins.margin.shape)
    pull = np.zeros(changes.margin.shape)
    for at in range(len(edges) + 1):
        here, there = change_bin == at, margin_bin == at
        change, margin = changes.change[here], margins.margin[there]
        chance[there] = np.searchsorted(np.sort(change), -margin, side="left") / len(change)
        turned = np.searchsorted(np.sort(margin), -change, side="left")  # how many margins each change outdoes
        pull[here] = (turned - turned.mean()) / len(change)
    share = float(chance.mean())
    return share, pull.sum(axis=1) / margins.margin.size, (chance.mean(axis=1) - share) / len(chance)


def _edges(margin: np.ndarray) -> np.ndarray:
    """The margins that part the tenths; one on an edge belongs to the tenth below, and no tenth is empty."""
    edges = np.unique(np.quantile(margin, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return np.asarray(edges[edges < margin.max()])


def _tenths(pairs: Pairs) -> tuple[Tenth, ...]:
    margin, change, flip = pairs
    edges = _edges(margin)
    ends = [float(margin.min()), *edges.tolist(), float(margin.max())]
    tenth = np.searchsorted(edges, margin)
    found = []
    for at in range(len(edges) + 1):
        here = tenth == at
        size = np.abs(change[here])
        found.append(
            Tenth(
                (ends[at], ends[at + 1]),
                float(margin[here].mean()),
                rate((flip & here).sum(axis=1).astype(float), here.sum(axis=1).astype(float), weighting="pairs"),
                sqrt((size**2).mean()),
                tuple(np.quantile(size, QUANTILES).tolist()),
            )
        )
    return tuple(found)
