"""Whether risks may be believed: their reliability, error, skill and discrimination, on images they were not fitted on.

References: Brier, Monthly Weather Review 78, 1950 (score and skill); Murphy & Winkler, Applied Statistics 26, 1977
(reliability).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from shiftable.auditing.intervals import Estimate, magnitude, rate
from shiftable.explaining.diagnosis import plain
from shiftable.explaining.resampling import RESAMPLES, over_images

BINS = 10

Given = Float[np.ndarray, "image view"]
Flip = Bool[np.ndarray, "image view"]


@dataclass(frozen=True)
class Reliability:
    """Views that were given like risks.

    Args:
        risk: The mean of the risks they were given.
        observed: The share of them with a neighbour that is answered otherwise.
    """

    risk: float
    observed: Estimate


@dataclass(frozen=True)
class Check:
    """How a risk does on images that it was not fitted on; 95 % intervals over images.

    Args:
        mean_risk: The mean risk given.
        observed: The share of views with a neighbour that is answered otherwise: what ``mean_risk`` should be.
        bins: The views by the risk they were given, low to high, about as many in each; fewer where risks are equal.
        calibration_error: Mean distance between risk and observed share over the bins, weighted by views (ECE).
        by_chance: The calibration error to be expected of a perfect risk on so few images.
        brier: Mean squared distance between risk and what happened; 0 is perfect.
        skill: By what share that is less than if all views were given the fitted half's rate. NaN if that is exact.
        auc: The chance that a view that has such a neighbour is given a greater risk than one that has not. NaN where
            all have, or none has.
    """

    mean_risk: float
    observed: Estimate
    bins: tuple[Reliability, ...]
    calibration_error: Estimate
    by_chance: float
    brier: Estimate
    skill: Estimate
    auc: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        bins = [{"risk": each.risk, "observed": each.observed.to_json()} for each in self.bins]
        return {key: plain(value) for key, value in vars(self).items()} | {"bins": bins}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Check":
        """What `to_json` wrote, read back."""
        bins = tuple(Reliability(each["risk"], Estimate.from_json(each["observed"])) for each in fields["bins"])
        return cls(**{key: rich(value) for key, value in fields.items()} | {"bins": bins})


def check_risks(given: Given, flips: Flip, base: float, *, seed: int = 0) -> Check:
    """How risks agree with what happened.

    Args:
        given: The risk of every view, 0 to 1, by a curve that these images had no part in.
        flips: Whether it came true.
        base: The one risk that all views would be given without knowing their margins, for `Check.skill`.
        seed: Of the resampling of images.
    """
    images, counts = len(given), np.full(len(given), float(given.shape[1]))
    tables = _by_bin(given, flips)
    views, hits, risks = tables
    brier = ((given - flips) ** 2).sum(axis=1)
    naive = ((base - flips) ** 2).sum(axis=1)
    skill = magnitude(brier, naive, weighting="pairs", seed=seed) if naive.any() else None

    def error(drawn: Int[np.ndarray, "image"]) -> float:
        return float(np.abs((hits - risks)[drawn].sum(axis=0)).sum() / views[drawn].sum())

    def auc(drawn: Int[np.ndarray, "image"]) -> float:
        return _auc(given[drawn], flips[drawn])

    def estimated(statistic: Callable[[Int[np.ndarray, "image"]], float]) -> Estimate:
        low, high = over_images(statistic, images, seed=seed)
        return Estimate(statistic(np.arange(images)), low, high, images, given.size)

    return Check(
        float(given.mean()),
        rate(flips.sum(axis=1).astype(float), counts),
        tuple(
            Reliability(
                float(risks[:, at].sum() / views[:, at].sum()), rate(hits[:, at], views[:, at], weighting="pairs")
            )
            for at in range(views.shape[1])
        ),
        estimated(error),
        _error_by_chance(*tables, seed),
        magnitude(brier, counts, seed=seed),
        Estimate(nan, nan, nan, images, given.size)
        if skill is None
        else Estimate(1 - skill.value, 1 - skill.high, 1 - skill.low, images, given.size),
        estimated(auc),
    )


def _by_bin(given: Given, flips: Flip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(views, flips, sum of the risks given) of every image in every bin of like risks, no bin being empty."""
    edges = np.unique(np.quantile(given, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < given.max()]
    inside = np.searchsorted(edges, given)[..., None] == np.arange(len(edges) + 1)
    views, hits, risks = (
        (inside * each[..., None]).sum(axis=1).astype(float) for each in (np.ones(given.shape), flips, given)
    )
    return views, hits, risks


def _error_by_chance(views: np.ndarray, hits: np.ndarray, risks: np.ndarray, seed: int) -> float:
    """The mean calibration error were every bin's risk right: images drawn again, about the bins' own means."""
    off, rng = hits - risks, np.random.default_rng(seed)
    off = off - views * (off.sum(axis=0) / views.sum(axis=0))
    drawn = rng.integers(0, len(off), (RESAMPLES, len(off)))
    return float(np.mean([np.abs(off[each].sum(axis=0)).sum() / views[each].sum() for each in drawn]))


def _auc(given: np.ndarray, flips: np.ndarray) -> float:
    """Mann and Whitney's, equal risks counting half."""
    from scipy.stats import rankdata

    hits = int(flips.sum())
    others = flips.size - hits
    if not hits or not others:
        return nan
    ranks = rankdata(given.ravel())[flips.ravel()].sum()
    return float((ranks - hits * (hits + 1) / 2) / (hits * others))


def rich(value: Any) -> Any:
    """What `plain` made plain."""
    if isinstance(value, dict) and "low" in value:
        return Estimate.from_json(value)
    return tuple(value) if isinstance(value, list) else value
