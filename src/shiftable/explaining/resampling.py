"""The interval of any statistic of images, by drawing the images again."""

from collections.abc import Callable
from math import nan, sqrt

import numpy as np
from jaxtyping import Int

RESAMPLES = 500
"""How often images are drawn again: each end is then known to about 6 % of the interval's width."""

Drawn = Int[np.ndarray, "image"]


def over_images(
    statistic: Callable[[Drawn], float],
    images: int,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic that is no mean and no ratio of sums: a median, an AUC.

    For those there is `auditing.intervals`. As there, the normal quantile is Student's, √(n / (n − 1)) wider
    (Hesterberg, "What teachers should know about the bootstrap", American Statistician 69, 2015).

    Args:
        statistic: Given the numbers of the images drawn, with repeats. NaN where such a sample has none.
        images: How many there are. One allows no interval: NaN.
        confidence: The share of such intervals that hold the truth.
        seed: Of the drawing.
        resamples: How often.

    Example:
        >>> over_images(lambda drawn: 2.0, images=3)
        (2.0, 2.0)
    """
    from scipy.special import ndtr, stdtrit

    if images < 2:
        return nan, nan
    rng = np.random.default_rng(seed)
    again = np.array([statistic(rng.integers(0, images, images)) for _ in range(resamples)])
    again = again[np.isfinite(again)]
    if not len(again):
        return nan, nan
    reach = sqrt(images / (images - 1)) * stdtrit(images - 1, 0.5 + confidence / 2)
    low, high = np.quantile(again, ndtr([-reach, reach]))
    return float(low), float(high)
