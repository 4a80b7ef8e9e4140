"""How sure a number is: 95 % intervals that treat the image, never the step, as the thing that was sampled.

Steps of one image depend on each other: 1,000 steps of one image say far less than one step of 1,000 images. Every
function takes a numerator and a denominator per image (the sum over its pairs, and their number) and reduces last:

* ``weighting="images"``: the mean over images of numerator / denominator, every image counting the same;
* ``weighting="pairs"``: the sum of numerators over the sum of denominators, for metrics with a random denominator.

Images with denominator 0 say nothing and are left out. The images' order never matters, not even for the last bit.
"""

from dataclasses import asdict, dataclass
from math import exp, hypot, inf, isnan, nan, sqrt
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from shiftable.errors import InputError

Weighting = Literal["images", "pairs"]
PerImage = Float[np.ndarray, "image"]
Table = Float[np.ndarray, "row column"]

CHUNK = 2**17  # rows drawn at a time when resampling: a few MiB, however many images there are


@dataclass(frozen=True)
class Estimate:
    """A number and the interval it is known to.

    Args:
        value: The estimate, in the metric's own unit.
        low: The interval's lower end. NaN where the data allow no interval: a magnitude of a single image.
        high: Its upper end, or NaN.
        images: How many images carried information.
        pairs: How many pairs (or steps) were counted in all.

    Example:
        >>> Estimate(0.5, nan, nan, images=1, pairs=32).to_json()
        {'value': 0.5, 'low': None, 'high': None, 'images': 1, 'pairs': 32}
    """

    value: float
    low: float
    high: float
    images: int
    pairs: int

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values. JSON has no NaN: "no interval" is null."""
        return {key: None if isnan(value) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Estimate":
        """What `to_json` wrote, read back."""
        return cls(**(fields | {key: nan for key, value in fields.items() if value is None}))


def rate(hits: PerImage, counts: PerImage, *, weighting: Weighting = "images", confidence: float = 0.95) -> Estimate:
    """A share of pairs (0 to 1) and its Korn–Graubard interval for clustered proportions.

    Clopper and Pearson's exact interval, for the number of independent trials that the spread between images amounts
    to (see `trials_worth`). One trial per image, or steps that all agree, give Clopper–Pearson over images, and no hit
    in n images [0, 1 − 0.025^(1/n)].

    Args:
        hits: Pairs of each image that count, 0 to ``counts``.
        counts: Pairs of each image.
        weighting: Mean over images, or ratio of sums.
        confidence: The share of such intervals that hold the truth.

    Raises:
        InputError: If no image holds a pair (leave the metric out), or hits are not within 0 to counts.

    References:
        Clopper & Pearson, Biometrika 26, 1934. Korn & Graubard, "Confidence intervals for proportions with small
        expected number of positive counts estimated from survey data", Survey Methodology 24, 1998.

    Example:
        >>> estimate = rate(np.zeros(100), np.full(100, 32.0))
        >>> estimate.low, round(estimate.high, 4)
        (0.0, 0.0362)
    """
    table = _informative(hits, counts)
    share, residuals, weights = _linearised(table[:, 0], table[:, 1], weighting)
    fewest, most = 1 / (weights**2).sum(), 1 / (weights**2 / table[:, 1]).sum()
    trials = trials_worth(share, residuals, len(table), float(fewest), float(most), confidence)
    return Estimate(share, *clopper_pearson(share, trials, confidence), len(table), int(table[:, 1].sum()))


def magnitude(
    totals: PerImage,
    counts: PerImage,
    *,
    weighting: Weighting = "images",
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Estimate:
    """A mean of any unit (mac, margin, jaggedness) and its BCa bootstrap interval over images.

    One image gives no interval (NaN); images that are all equal give low = high = value.

    Args:
        totals: Sum over the pairs of each image.
        counts: Pairs of each image.
        weighting: Mean over images, or ratio of sums.
        confidence: The share of such intervals that hold the truth.
        seed: Of the resampling.
        resamples: How often the images are drawn again. 2000 place each end to about 3 % of the interval's width.

    Raises:
        InputError: If no image holds a pair (leave the metric out).

    References:
        Efron, "Better bootstrap confidence intervals", JASA 82, 1987.

    Example:
        >>> magnitude(np.array([0.1, 0.1]), np.ones(2)).high, magnitude(np.array([0.1]), np.ones(1)).high
        (0.1, nan)
    """
    table = _informative(totals, counts)
    columns = table[:, :1] / table[:, 1:] if weighting == "images" else table
    interval = _bca(columns, len(columns), confidence, seed, resamples)
    return Estimate(float(_reduce(columns.mean(axis=0))), *interval, len(table), int(table[:, 1].sum()))


def difference(
    before: PerImage,
    before_counts: PerImage,
    after: PerImage,
    after_counts: PerImage,
    *,
    weighting: Weighting = "images",
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Estimate:
    """After minus before, of a magnitude that two audits measured on the same images, and its BCa interval.

    Images are resampled with their two measurements together, so what makes an image hard for both cancels. Arguments
    and errors as in `magnitude`, image i of one audit being image i of the other; ``"images"`` leaves out those that
    lack pairs in either audit. ``pairs`` counts both audits'.

    Example:
        >>> one = np.ones(3)
        >>> difference(np.array([1.0, 2.0, 3.0]), one, np.array([1.5, 2.5, 3.5]), one).low
        0.5
    """
    table = _informative(before, before_counts, after, after_counts, both=weighting == "images")
    columns = (table[:, 2] / table[:, 3] - table[:, 0] / table[:, 1])[:, None] if weighting == "images" else table
    interval = _bca(columns, len(columns), confidence, seed, resamples)
    return Estimate(float(_reduce(columns.mean(axis=0))), *interval, len(table), int(table[:, 1::2].sum()))


def rate_difference(
    before: PerImage,
    before_counts: PerImage,
    after: PerImage,
    after_counts: PerImage,
    *,
    weighting: Weighting = "images",
    confidence: float = 0.95,
) -> Estimate:
    """After minus before (−1 to 1), of a rate that two audits measured on the same images, and its interval.

    Student's interval of the images' (linearised) differences, with the degrees of freedom of `degrees_left`: BCa
    covers only 80 to 90 % where few images differ. Where none differs it would have no width, yet as in `rate` a share
    u = 1 − 0.025^(1/n) of images might differ unseen: the interval is ±u. With k images seen to differ, that worry
    enters as 2u / (k + 2), in quadrature. One image gives −1 to 1. Arguments and errors as in `rate` and `difference`.

    Example:
        >>> flips, pairs = np.zeros(100), np.full(100, 32.0)
        >>> same = rate_difference(flips, pairs, flips, pairs)
        >>> same.value, round(same.low, 4), round(same.high, 4)
        (0.0, -0.0362, 0.0362)
    """
    from scipy.special import stdtrit

    table = _informative(before, before_counts, after, after_counts, both=weighting == "images")
    images, tail = len(table), (1 - confidence) / 2
    first, pull_before, _ = _linearised(table[:, 0], table[:, 1], weighting)
    last, pull_after, _ = _linearised(table[:, 2], table[:, 3], weighting)
    pull, value = pull_after - pull_before, last - first
    error = sqrt(images / (images - 1) * (pull**2).sum()) if images > 1 else inf
    differing = (table[:, 2] * table[:, 1] != table[:, 0] * table[:, 3]).sum()
    unseen = (1 - tail ** (1 / images)) * 2 / (differing + 2)
    reach = hypot(stdtrit(degrees_left(pull, images), 1 - tail) * error, unseen)
    return Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0), images, int(table[:, 1::2].sum()))


def block_interval(
    series: Float[np.ndarray, "pair"],
    block: int,
    *,
    kind: Literal["rate", "magnitude"] = "rate",
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Estimate:
    """The mean over one video's pairs of frames, and its interval by moving blocks.

    Neighbouring frames depend on each other; stretches of about a second are taken to be nearly independent. Dependence
    that lasts longer makes the interval too short; so do few blocks, for a magnitude (docs/coverage.md).

    Args:
        series: One value per pair of successive frames, in order. A rate's lie within 0 to 1 (a flip is 1).
        block: Pairs in a block: the frames per second, rounded. A shorter series is one block.
        kind: ``"rate"``: as `rate`, whole blocks for images, with the variance of all overlapping blocks; no flip in
            b blocks gives [0, 1 − 0.025^(1/b)]. ``"magnitude"``: BCa, b overlapping blocks at a time; NaN if b is 1.
        confidence: The share of such intervals that hold the truth.
        seed: Of the resampling of magnitudes.
        resamples: How often the blocks are drawn again.

    Raises:
        InputError: If the series is empty or not finite, the block not positive, or a rate not within 0 to 1.

    References:
        Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17, 1989.

    Example:
        >>> estimate = block_interval(np.zeros(300), block=30)
        >>> estimate.images, estimate.pairs, round(estimate.high, 4)
        (1, 300, 0.3085)
    """
    if not series.size or block < 1:
        raise InputError(
            f"{series.size} pairs in blocks of {block}", todo="give one pair or more, and a positive block"
        )
    if not np.isfinite(series).all() or (kind == "rate" and ((series < 0) | (series > 1)).any()):
        raise InputError("the series' values are not finite, or a rate's not within 0 to 1")
    block = min(block, series.size)
    blocks, value = series.size // block, float(series.mean())
    means = np.lib.stride_tricks.sliding_window_view(series, block).mean(axis=1)
    means -= means.mean()  # fewer blocks hold the series' ends than its middle: about their own mean, without that bias
    if kind == "magnitude":
        interval = _bca((value + means)[:, None], blocks, confidence, seed, resamples)
    else:
        pull = means / sqrt(len(means) * blocks)
        trials = trials_worth(value, pull, blocks, float(blocks), float(series.size), confidence)
        interval = clopper_pearson(value, trials, confidence)
    return Estimate(value, *interval, 1, series.size)


def _informative(*columns: PerImage, both: bool = False) -> Table:
    """The rows with a positive count (in both audits, or in either), sorted so that sums round alike in any order."""
    table = np.stack(columns, axis=1)
    counts = table[:, 1::2]
    if not np.isfinite(table).all() or (counts < 0).any():
        raise InputError("per-image numerators must be finite, and denominators not negative")
    table = table[(counts > 0).all(axis=1) if both else (counts > 0).any(axis=1)]
    if not len(table) or not table[:, 1::2].any(axis=0).all():
        raise InputError("no image holds a pair", todo="leave the metric out, or compare audits of the same images")
    return table[np.lexsort(table.T)]


def _linearised(hits: PerImage, counts: PerImage, weighting: Weighting) -> tuple[float, PerImage, PerImage]:
    """A rate, how far each image pulls it (sums to 0; the squares, to the rate's variance), each image's weight."""
    if ((hits < 0) | (hits > counts)).any():
        raise InputError("a rate's numerators must lie within 0 and their denominators")
    parts, weights = (hits / counts, np.ones_like(counts)) if weighting == "images" else (hits, counts)
    share, total = float(parts.sum() / weights.sum()), weights.sum()
    return share, (parts - share * weights) / total, weights / total


def degrees_left(pull: Float[np.ndarray, "unit"], clusters: int) -> float:
    """Degrees of freedom of a variance, 2 / CV² as Satterthwaite (1946): few, where few images hold most of it."""
    second, fourth = float((pull**2).sum()), float((pull**4).sum())
    excess, most = len(pull) * fourth - second**2, max(clusters - 1.0, 1.0)
    return most if excess <= 0 else min(most, 2 * clusters * second**2 / excess)


def trials_worth(
    share: float, pull: Float[np.ndarray, "unit"], clusters: int, fewest: float, most: float, confidence: float
) -> float:
    """How many independent trials the clusters amount to: Korn and Graubard's effective sample size.

    p(1 − p) / variance × (t of that many trials / t of the clusters)², from ``fewest`` (all steps of an image agree) to
    ``most`` (all pairs independent). As published this covers as little as 55 % where few images flip; two remedies:

    * the variance then rests on those few images, not on all n: the clusters' t has `degrees_left` degrees of freedom;
    * rare images that flip at every step may not have been seen, and without them the variance is far too small.
      Were half of the rate theirs, n images would hold none with chance exp(−n p / 2): so much of the way the variance
      is moved to the largest possible. That gives n trials as p nears 0; by n p = 20 nothing is left of it.

    One trial per image, and steps that all agree, still give n. Rarer images yet go unseen by any interval.
    """
    from scipy.special import stdtrit

    spread, rarer = share * (1 - share), min(share, 1 - share)
    if spread <= 0 or clusters < 2:
        return float(clusters)
    variance = max(float((pull**2).sum()), spread / most)
    variance += exp(-fewest * rarer / 2) * max(spread / fewest - variance, 0.0)
    trials, quantile = spread / variance, 0.5 + confidence / 2
    if trials <= fewest:
        return trials
    known, unknown = stdtrit(trials - 1, quantile), stdtrit(degrees_left(pull, clusters), quantile)
    return max(fewest, trials * min(float(known / unknown) ** 2, 1.0))


def clopper_pearson(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """The exact binomial interval; neither hits nor trials need be whole."""
    from scipy.special import betaincinv

    hits, tail = share * trials, (1 - confidence) / 2
    if share <= 0:
        return 0.0, 1 - tail ** (1 / trials)
    if share >= 1:
        return tail ** (1 / trials), 1.0
    return float(betaincinv(hits, trials - hits + 1, tail)), float(betaincinv(hits + 1, trials - hits, 1 - tail))


def _bca(columns: Table, draws: int, confidence: float, seed: int, resamples: int) -> tuple[float, float]:
    """Efron's interval of `_reduce` of the column means, resampling ``draws`` rows at a time.

    The normal quantile is Student's, √(n / (n − 1)) wider (Hesterberg, "What teachers should know about the bootstrap",
    American Statistician 69, 2015): resamples spread less than samples, by 4 % in all at 50 images.
    """
    from scipy.special import ndtr, ndtri, stdtrit

    value = float(_reduce(columns.mean(axis=0)))
    if draws < 2:
        return nan, nan
    if (columns == columns[0]).all():
        return value, value
    again = _reduce(_resampled_means(columns, draws, seed, resamples))
    again = again[np.isfinite(again)]  # a resample without a single pair has no ratio
    below = ((again < value).mean() + (again <= value).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / len(again), 1 - 0.5 / len(again)))
    reach = sqrt(draws / (draws - 1)) * stdtrit(draws - 1, 0.5 + confidence / 2) * np.array([-1, 1])
    levels = ndtr(bias + (bias + reach) / (1 - _acceleration(columns, draws) * (bias + reach)))
    low, high = np.quantile(again, levels)
    return float(low), float(high)


def _resampled_means(columns: Table, draws: int, seed: int, resamples: int) -> Float[np.ndarray, "resample column"]:
    """Column means of rows drawn with replacement, one row per resample."""
    rng, step = np.random.default_rng(seed), max(1, CHUNK // draws)
    means = np.empty((resamples, columns.shape[1]))
    for start in range(0, resamples, step):
        rows = rng.integers(0, len(columns), size=(min(step, resamples - start), draws))
        for at, column in enumerate(columns.T):
            means[start : start + step, at] = column[rows].mean(axis=1)
    return means


def _acceleration(columns: Table, draws: int) -> float:
    """A sixth of the skewness of the jackknife's pulls. Sums without a row follow from the whole sum: no loop."""
    left = _reduce((columns.sum(axis=0) - columns) / (len(columns) - 1))
    left = left[np.isfinite(left)]
    pull = left.mean() - left
    variance = float((pull**2).mean())
    return float((pull**3).mean()) / (6 * variance**1.5 * sqrt(draws)) if variance > 0 else 0.0


def _reduce(means: Float[np.ndarray, "*sets column"]) -> Any:
    """Of one column its mean, of two the ratio of the sums, of four the second pair's ratio minus the first's."""
    if means.shape[-1] == 1:
        return means[..., 0]
    top, bottom = means[..., 0::2], means[..., 1::2]
    ratios = np.divide(top, bottom, out=np.full(top.shape, nan), where=bottom > 0)
    return ratios[..., 0] if means.shape[-1] == 2 else ratios[..., 1] - ratios[..., 0]
