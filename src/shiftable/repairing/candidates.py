"""What a plan brings and what it costs: two audits of the same views, paired image by image."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isnan
from typing import Any

import numpy as np
from jaxtyping import Bool

from shiftable.auditing import Audit, Estimate, read_parts
from shiftable.auditing.comparing.alignment import Answers, read_aligned
from shiftable.auditing.intervals import difference, magnitude, rate, rate_difference
from shiftable.repairing.plan import Plan

SURE, LIKELY = 1.96, 0.84
"""Normal quantiles: of a 95 % interval, and of a chance of 80 % that it leaves out 0."""

MEASURES = ("flips", "mac", "flips_removed", "mac_removed", "agreement", "same_answer", "accuracy_change", "time_ratio")
"""The fields of a `Candidate` that are estimates."""


@dataclass(frozen=True)
class Candidate:
    """A plan, and what was measured of it against the model as it is, on the same views of the same images.

    Args:
        name: In words.
        plan: What is done.
        flips: Share of steps at which the answer still changes, 0 to 1.
        mac: Mean absolute change of the first choice's probability that is left, 0 to 1.
        flips_removed: Before minus after, paired by image: −1 to 1, and above 0 is steadier.
        mac_removed: The same of the mean absolute change.
        agreement: Share of images, unmoved, that are answered as the original net answers *the same pixels*. What it
            costs to touch the net; a chosen crop alone leaves it at 1.
        same_answer: Share of images, unmoved, that are answered as before, when the original saw the centre. Not all
            that differ are worse: where an answer depends on a few pixels, another crop gives another answer.
        accuracy_change: After minus before, over all views, paired by image; None without labels.
        time_ratio: Time from image to answer over that of the model as it is; see `time_ratio`.
    """

    name: str
    plan: Plan
    flips: Estimate
    mac: Estimate
    flips_removed: Estimate
    mac_removed: Estimate
    agreement: Estimate
    same_answer: Estimate
    accuracy_change: Estimate | None
    time_ratio: Estimate

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; of the plan what is done, not to which model."""
        found = {name: getattr(self, name) for name in MEASURES}
        return {
            "name": self.name,
            "plan": parts_of(self.plan),
            **{name: each and each.to_json() for name, each in found.items()},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], plan: Plan) -> "Candidate":
        """What `to_json` wrote, read back; the plan is known to who asks."""
        found = {name: fields[name] and Estimate.from_json(fields[name]) for name in MEASURES}
        return cls(fields["name"], plan, **found)


def parts_of(plan: Plan) -> dict[str, Any]:
    """What a plan does, as plain JSON values, without the model it is done to."""
    return {name: value for name, value in plan.to_json().items() if name in ("crop", "phases", "edits", "finetune")}


def measured(
    name: str, plan: Plan, before: Audit, after: Audit, time_ratio: Estimate, alike: Audit | None = None
) -> Candidate:
    """What a plan brings and costs, from two audits of the same walks over the same images.

    Args:
        name: In words.
        plan: What was done.
        before: Of the model as it is.
        after: Of the model with the plan carried out.
        time_ratio: Its cost.
        alike: Of the original net at the crops of ``after``, where these are not those of ``before``.

    Raises:
        InputError: If no image could be used by all of them.
    """
    first, last = read_aligned([before, after])
    steady = rate_difference(*last.changes, *first.changes)
    change = difference(*last.sums["mac"], *first.sums["mac"], seed=before.seed)
    known = ~np.isnan(first.label)
    right = None
    if known.any() and "accuracy" in first.sums and "accuracy" in last.sums:
        right = rate_difference(*_of(first, "accuracy", known), *_of(last, "accuracy", known))
    same = _unmoved(before, after)
    return Candidate(
        name,
        plan,
        rate(*last.changes),
        magnitude(*last.sums["mac"], seed=before.seed),
        steady,
        change,
        same if alike is None else _unmoved(alike, after),
        same,
        right,
        time_ratio,
    )


def removed(before: Audit, after: Audit) -> tuple[Estimate, Estimate]:
    """(flips, mean absolute change) that are gone from one audit to the other, paired by image."""
    first, last = read_aligned([before, after])
    return (
        rate_difference(*last.changes, *first.changes),
        difference(*last.sums["mac"], *first.sums["mac"], seed=before.seed),
    )


def images_needed(gain: Estimate) -> int | None:
    """How many images would tell a gain of this size from none, in 4 of 5 cases; None if there is no gain.

    The interval's half width falls with the square root of the images; it has to be 1.96 / (1.96 + 0.84) of the gain.

    Example:
        >>> images_needed(Estimate(0.02, -0.02, 0.06, images=100, pairs=1600))
        817
    """
    if not gain.value > 0 or isnan(gain.low):
        return None
    return ceil(gain.images * ((gain.value - gain.low) / gain.value * (SURE + LIKELY) / SURE) ** 2)


def _of(answers: Answers, metric: str, known: Bool[np.ndarray, "image"]) -> tuple[np.ndarray, np.ndarray]:
    top, bottom = answers.sums[metric]
    return top[known], bottom[known]


def _unmoved(one: Audit, other: Audit) -> Estimate:
    """The share of images whose unmoved views have the same answer in both audits."""
    answers, others = _references(one), _references(other)
    same = np.array([answers[image] == others[image] for image in answers if image in others], float)
    return rate(same, np.ones(len(same)))


def _references(audit: Audit) -> dict[str, int]:
    """The answer to every image's unmoved view."""
    found: dict[str, int] = {}
    for part in read_parts(audit.folder, ["image", "ref"]):
        found |= dict(zip(part.table["image"].to_pylist(), part.table["ref"].to_pylist(), strict=True))
    return found
