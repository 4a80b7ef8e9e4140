"""Two nets exchange their confidence or their steadiness: what one would do, were it as sure or as steady as the other.

P(flip) is modelled from the margins and the changes of the lead, as `margins` says, so the one net's changes can be set
against the other's margins. The difference of two such rates has two parts, one made by the margins and one by the
changes (Kitagawa, "Components of a difference between two rates", JASA 50, 1955). If one net's logits are all doubled
the parts are others, for it is then surer and less steady, but their sum is not.
"""

from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np

from shiftable.auditing.intervals import Estimate, clopper_pearson, degrees_left, trials_worth
from shiftable.errors import InputError
from shiftable.explaining.margins import Margins, Pairs, implied


@dataclass(frozen=True)
class Exchange:
    """Two nets, each given the other's confidence or steadiness. All are P(flip) as modelled, but for the two parts.

    Args:
        own: Of the net itself.
        other: Of the other.
        as_sure: Of the net, were it as sure as the other: its changes at the other's margins.
        as_steady: Of the net, were it as steady as the other: the other's changes at its own margins.
        confidence: What the difference in margins makes of ``other − own``; its parts with either net's changes,
            averaged. Negative: the other flips less for being surer.
        steadiness: What the difference in changes makes of it. The two parts add up to ``other − own``.
    """

    own: Estimate
    other: Estimate
    as_sure: Estimate
    as_steady: Estimate
    confidence: Estimate
    steadiness: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {name: estimate.to_json() for name, estimate in vars(self).items()}


def exchange(own: Margins, other: Margins, *, paired: bool = True) -> Exchange:
    """What a net's P(flip) would be, were it as sure as another, or as steady as another.

    Intervals are of the linearised functionals over images, with the margins that part the tenths taken as given:
    those of rates as in `intervals.rate`, those of the parts as in `intervals.rate_difference`.

    Args:
        own: The net.
        other: What it is compared with.
        paired: Whether image i of one is image i of the other.

    Raises:
        InputError: If the images are paired, and their numbers differ.
    """
    nets = own.pairs, other.pairs
    images = [len(net.margin) for net in nets]
    if paired and images[0] != images[1]:
        raise InputError(
            f"{images[0]} images of one net can't be paired with {images[1]} of the other",
            todo="measure both on the same images, or say that they are not paired",
        )
    found = {(c, m): implied(nets[c], nets[m]) for c in (0, 1) for m in (0, 1)}

    def pulls(c: int, m: int) -> dict[int, np.ndarray]:
        """How far each net's images pull P(flip) of one net's changes at one net's margins."""
        _, by_change, by_margin = found[c, m]
        return {c: by_change + by_margin} if c == m else {c: by_change, m: by_margin}

    def joined(pulls: dict[int, np.ndarray]) -> np.ndarray:
        each = list(pulls.values())
        return np.asarray(np.sum(each, axis=0) if paired else np.concatenate(each))

    def estimated(c: int, m: int) -> Estimate:
        share, pull = found[c, m][0], joined(pulls(c, m))
        fewest, most = min(images[c], images[m]), nets[m].margin.size
        trials = trials_worth(share, pull, len(pull), float(fewest), float(most), 0.95)
        return Estimate(share, *clopper_pearson(share, trials, 0.95), fewest, most)

    def part(weights: dict[tuple[int, int], float]) -> Estimate:
        value = sum(weight * found[term][0] for term, weight in weights.items())
        whole = {net: np.zeros(images[net]) for net in (0, 1)}
        for term, weight in weights.items():
            for net, pull in pulls(*term).items():
                whole[net] += weight * pull
        pairs = sum(net.margin.size for net in nets)
        return Estimate(value, *_around(value, joined(whole), min(images), nets), min(images), pairs)

    return Exchange(
        estimated(0, 0),
        estimated(1, 1),
        estimated(0, 1),
        estimated(1, 0),
        part({(0, 1): 0.5, (0, 0): -0.5, (1, 1): 0.5, (1, 0): -0.5}),
        part({(1, 0): 0.5, (0, 0): -0.5, (1, 1): 0.5, (0, 1): -0.5}),
    )


def _around(value: float, pull: np.ndarray, fewest: int, nets: tuple[Pairs, Pairs]) -> tuple[float, float]:
    """Student's interval of a difference, widened by what the images may not have shown."""
    from scipy.special import stdtrit

    if fewest < 2:
        return -1.0, 1.0
    flipping = max(int(net.flip.any(axis=1).sum()) for net in nets)
    unseen = (1 - 0.025 ** (1 / fewest)) * 2 / (flipping + 2)
    error = sqrt(len(pull) / (len(pull) - 1) * float((pull**2).sum()))
    reach = hypot(stdtrit(degrees_left(pull, len(pull)), 0.975) * error, unseen)
    return max(value - reach, -1.0), min(value + reach, 1.0)
