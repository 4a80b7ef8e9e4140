"""Stability at matched margin: the change of answers in bins of like margin, weighted alike for every model.

A surer model changes its answer less often, whatever its architecture. To compare models as if they were equally sure,
the pairs of all models are pooled, the pool is cut at its deciles of margin, and a model's shares of changed pairs in
the bins are averaged with the pool's weights: direct standardisation, as of death rates to one age distribution. Bins
in which some model has fewer than ``LEAST_PAIRS`` pairs say too little about it and are left out for all.

The weights are a tenth each, but for equal margins, so what is uncertain is the shares in the bins; and it is images
that were sampled, not pairs. Tables here have a row per image and a column per bin.
"""

from collections.abc import Sequence
from math import hypot, inf, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from shiftable.auditing.intervals import Estimate, clopper_pearson, degrees_left, trials_worth

BINS, LEAST_PAIRS = 10, 30

PerBin = Float[np.ndarray, "image bin"]


class Pairs(NamedTuple):
    """Pairs of views, as many as rows.

    Args:
        image: The number of each one's image.
        margin: Of its first view, in logits; float32 tells margins apart well enough, and there may be millions.
        changed: Whether the answers to its two views differ.
    """

    image: Int[np.ndarray, "pair"]
    margin: Float[np.ndarray, "pair"]
    changed: Bool[np.ndarray, "pair"]


class Standard(NamedTuple):
    """What all models are standardised to.

    Args:
        edges: The margins that part the bins, ascending, in logits. A margin on an edge belongs to the bin below.
        kept: Which bins hold pairs enough of every model.
        weights: Of the kept bins; they sum to 1.
        covered: The share of the pooled pairs that the kept bins hold.
    """

    edges: Float[np.ndarray, "edge"]
    kept: Bool[np.ndarray, "bin"]
    weights: Float[np.ndarray, "kept"]
    covered: float


def make_standard(models: Sequence[Pairs]) -> Standard:
    """The pooled distribution of the margin, cut at its deciles; fewer bins where many margins are equal.

    Example:
        >>> one = Pairs(np.zeros(40, int), np.repeat([0.0, 1.0], [5, 35]), np.zeros(40, bool))
        >>> standard = make_standard([one, one])
        >>> standard.edges, standard.kept, standard.covered
        (array([0., 1.]), array([False,  True, False]), 0.875)
    """
    pool = np.concatenate([pairs.margin for pairs in models])
    edges = np.unique(np.quantile(pool, np.arange(1, BINS) / BINS, method="inverted_cdf")).astype(float)
    counts = np.array([np.bincount(_bin(pairs, edges), minlength=len(edges) + 1) for pairs in models])
    kept = np.asarray((counts >= LEAST_PAIRS).all(axis=0))
    total = counts.sum(axis=0)
    weights = total[kept] / max(total[kept].sum(), 1)
    return Standard(edges, kept, weights, float(total[kept].sum() / total.sum()))


def by_bin(pairs: Pairs, standard: Standard, images: int) -> tuple[PerBin, PerBin]:
    """(changed pairs, pairs) of every image in every kept bin."""
    column, bins = _bin(pairs, standard.edges), len(standard.edges) + 1
    place = pairs.image * bins + column
    hits, counts = (
        np.bincount(place, weights=weights, minlength=images * bins).reshape(images, bins)[:, standard.kept]
        for weights in (pairs.changed.astype(float), np.ones(len(place)))
    )
    return hits, counts


def standardised_rate(hits: PerBin, counts: PerBin, weights: Float[np.ndarray, "bin"]) -> Estimate:
    """The weighted mean over bins of the share of changed pairs (0 to 1), and its 95 % interval over images.

    The interval is that of `intervals.rate`: Clopper and Pearson's for as many independent trials as the linearised
    variance over images amounts to (Korn & Graubard 1998). Only the least number of trials differs, to which that
    returns where few changes were seen, and which it is where none was. It is the lesser of two:

    * as if the pairs of an image all agreed: 1 / Σ a², a being the images' shares of the weight;
    * as if all that changes were in one bin, of weight w, and it held n images: n / w. Changes do crowd at low margins,
      where a sure model has few pairs. Without any, its rate is at most w (1 − 0.025^(1/n)), as Fay & Feuer's interval
      has it ("Confidence intervals for directly standardized rates", Statistics in Medicine 16, 1997).

    Args:
        hits: Changed pairs.
        counts: Pairs. Every bin holds some.
        weights: Of the bins; they sum to 1.

    Example:
        >>> estimate = standardised_rate(np.zeros((50, 1)), np.full((50, 1), 4.0), np.ones(1))
        >>> estimate.low, round(estimate.high, 4) == round(1 - 0.025 ** (1 / 50), 4)
        (0.0, True)
    """
    hits, counts = _sorted(hits, counts)
    share, pull = _linearised(hits, counts, weights)
    fewest, most, images = _fewest(counts, weights), 1 / float((weights**2 / counts.sum(axis=0)).sum()), len(counts)
    trials = trials_worth(share, pull, images, fewest, most, 0.95) if 0 < share < 1 and images > 1 else fewest
    return Estimate(share, *clopper_pearson(share, trials, 0.95), images, int(counts.sum()))


def standardised_difference(
    before: tuple[PerBin, PerBin],
    after: tuple[PerBin, PerBin],
    weights: Float[np.ndarray, "bin"],
    confidence: float = 0.95,
) -> Estimate:
    """After minus before (−1 to 1) of two standardised rates, image i of one being image i of the other.

    As `intervals.rate_difference`: Student's interval of the images' linearised differences, with ±u in quadrature for
    differences that were not seen, u being what the least number of trials leaves possible.

    Args:
        before: (changed pairs, pairs) of one model.
        after: Those of the other.
        weights: Of the bins; they sum to 1.
        confidence: The share of such intervals that hold the truth.
    """
    from scipy.special import stdtrit

    hits, counts, hits_after, counts_after = _sorted(*before, *after)
    first, pull_before = _linearised(hits, counts, weights)
    last, pull_after = _linearised(hits_after, counts_after, weights)
    pull, value, images, tail = pull_after - pull_before, last - first, len(hits), (1 - confidence) / 2
    differing = int(((hits != hits_after).any(axis=1)).sum())
    unseen = 1 - tail ** (1 / min(_fewest(counts, weights), _fewest(counts_after, weights)))
    error = sqrt(images / (images - 1) * (pull**2).sum()) if images > 1 else inf
    reach = hypot(stdtrit(degrees_left(pull, images), 1 - tail) * error if error else 0.0, unseen * 2 / (differing + 2))
    pairs = int(counts.sum() + counts_after.sum())
    return Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0), images, pairs)


def _bin(pairs: Pairs, edges: Float[np.ndarray, "edge"]) -> Int[np.ndarray, "pair"]:
    return np.searchsorted(edges, pairs.margin, side="left")


def _sorted(*tables: PerBin) -> list[np.ndarray]:
    """The images that hold pairs in any of the tables, in an order of their own: sums round alike in any order."""
    rows = np.concatenate(tables, axis=1)
    at = np.lexsort(rows.T)
    at = at[(rows[at] > 0).any(axis=1)]
    return [table[at] for table in tables]


def _linearised(
    hits: PerBin, counts: PerBin, weights: Float[np.ndarray, "bin"]
) -> tuple[float, Float[np.ndarray, "image"]]:
    """A standardised rate, and how far each image pulls it."""
    share = hits.sum(axis=0) / counts.sum(axis=0)
    pull = ((hits - share * counts) * (weights / counts.sum(axis=0))).sum(axis=1)
    return float((weights * share).sum()), pull


def _fewest(counts: PerBin, weights: Float[np.ndarray, "bin"]) -> float:
    """The least number of independent trials, as `standardised_rate` says."""
    parts = counts / counts.sum(axis=0)  # each image's part in each bin
    in_bin = 1 / (parts**2).sum(axis=0)  # the images that a bin amounts to
    return min(1 / float(((parts * weights).sum(axis=1) ** 2).sum()), float((in_bin / weights).min()))
