"""Which repairs to take: greedily, the most flips removed per added time first, each combination measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shiftable.auditing import Estimate
from shiftable.repairing.candidates import Candidate
from shiftable.repairing.plan import Plan, together

LEAST_COST = 0.01
"""Added time that can't be told from none, as a share of the model's: what costs less is not better for that."""

WORTH = 0.1
"""The share of what is left, of flips or of the mean absolute change, that another repair must remove."""


@dataclass(frozen=True)
class Limits:
    """What a repair may cost.

    Args:
        budget: The largest time ratio, 1.1 being a tenth more than the model as it is.
        min_agreement: The smallest agreement with the original net on the same pixels, 0 to 1.
        max_accuracy_loss: By how much the accuracy may fall, 0 to 1; where labels are known. A larger fall that may be
            chance is let pass, and told.
    """

    budget: float | int = 1.1
    min_agreement: float | int = 0.9
    max_accuracy_loss: float | int = 0.02

    def exceeded(self, candidate: Candidate) -> str | None:
        """What is too much of a candidate, in words; None if it keeps to the limits.

        By the estimates themselves, not the ends of their intervals: with few images these would let nothing pass, or
        everything. A loss of accuracy counts if it can't be chance as well: there a remedy that answers differently
        on a few images would be refused by the luck of the draw.
        """
        if candidate.time_ratio.value > self.budget:
            return f"takes {candidate.time_ratio.value:.2f} times as long"
        if candidate.agreement.value < self.min_agreement:
            return f"agrees with the original on {candidate.agreement.value:.0%} of the images only"
        if (loss := self.loss(candidate)) is not None:
            return f"loses {100 * loss:.1f} points of accuracy"
        return None

    def loss(self, candidate: Candidate) -> float | None:
        """The accuracy that a candidate loses, 0 to 1, if it is more than allowed and can't be chance; else None."""
        change = candidate.accuracy_change
        if change is None or change.value >= -self.max_accuracy_loss or change.high >= 0:
            return None
        return -change.value


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        steps: The plan as it grew: each step is one more repair added to the one before; the last is what is done.
            Empty if nothing was worth it.
        combined: All combinations that were measured, whether kept or not.
    """

    steps: tuple[Candidate, ...]
    combined: tuple[Candidate, ...]


def choose(
    candidates: Sequence[Candidate],
    limits: Limits,
    measure: Callable[[str, Plan], Candidate | None],
    removed: Callable[[Candidate, Candidate], tuple[Estimate, Estimate]],
) -> Choice:
    """Add up candidates as long as each makes a difference that can't be chance.

    Candidates that help by themselves and keep to the limits are taken in the order of flips removed per added time
    (ties by the mean absolute change removed). Gains do not add up, so each combination is measured; it is kept if it
    keeps to the limits, and removes a tenth of what the plan before it left, of flips or (without more flips) of the
    mean absolute change, by more than the interval of that difference.

    Args:
        candidates: Each measured alone.
        limits: What it may cost.
        measure: Measures a combination; None if it can't be carried out.
        removed: (flips, mean absolute change) that are gone from one candidate to another, paired by image.
    """
    fitting = [each for each in candidates if limits.exceeded(each) is None and helps(each)]
    chosen: list[Candidate] = []
    combined: list[Candidate] = []
    for each in sorted(fitting, key=_worth, reverse=True):
        if not chosen:
            chosen.append(each)
            continue
        now = chosen[-1]
        plan = together(now.plan, each.plan)
        if plan.crop and plan.phases:
            continue  # a crop that stays on the picture keeps its phase as well
        if plan == now.plan or now.time_ratio.value * each.time_ratio.value > limits.budget + LEAST_COST:
            continue
        found = measure(f"{now.name} + {each.name}", plan)
        if found is None:
            continue
        combined.append(found)
        if limits.exceeded(found) is None and _better(*removed(now, found), now.flips.value, now.mac.value):
            chosen.append(found)
    return Choice(tuple(chosen), tuple(combined))


def helps(candidate: Candidate) -> bool:
    """Whether a candidate alone makes the model steadier, by enough, and by more than chance."""
    flips, mac = candidate.flips_removed, candidate.mac_removed
    return _better(flips, mac, candidate.flips.value + flips.value, candidate.mac.value + mac.value)


def closest(candidates: Sequence[Candidate], limits: Limits) -> Candidate | None:
    """Of the candidates that help, the one that would need the smallest change of the limits: the cheapest, then the
    one that agrees most; None if none helps."""
    helping = [each for each in candidates if helps(each)]
    return min(
        helping,
        key=lambda each: (
            max(0.0, each.time_ratio.value - limits.budget)
            + max(0.0, limits.min_agreement - each.agreement.value)
            + max(0.0, -(each.accuracy_change.value if each.accuracy_change else 0.0) - limits.max_accuracy_loss),
            -each.flips_removed.value,
        ),
        default=None,
    )


def _better(flips: Estimate, mac: Estimate, flips_before: float, mac_before: float) -> bool:
    fewer = flips.low > 0 and flips.value >= WORTH * flips_before
    return fewer or (flips.value >= 0 and mac.low > 0 and mac.value >= WORTH * mac_before)


def _worth(candidate: Candidate) -> tuple[float, float]:
    cost = max(candidate.time_ratio.value - 1, LEAST_COST)
    return candidate.flips_removed.value / cost, candidate.mac_removed.value / cost
