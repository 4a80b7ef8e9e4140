"""Which preprocessing explains the answers of a model that should answer like another; and what to say about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from shiftable.auditing.feeding.stills import Stills
from shiftable.auditing.feeding.variants import VARIANTS
from shiftable.auditing.intervals import Estimate

if TYPE_CHECKING:
    from shiftable.auditing.feeding.parity import Compared

ROUNDING = 1e-3
"""Probabilities that are never further apart, with all first choices the same, differ by rounding only."""

MUCH_BETTER = 0.5
"""A variant explains a model if its mean distance is less than this share of the plain reference's."""

WORTH_SAYING = 0.8
"""Of what explains nothing, the nearest variant is named where its distance is less than this share of the plain."""

ALIKE = 1.5, 1e-3
"""Variants within this factor, or this distance, of the nearest one can't be told from it."""


@dataclass(frozen=True)
class Explanation:
    """What explains that a model answers otherwise than the reference, on unmoved pictures.

    Distances are mean absolute differences of the probability of the reference's first choice.

    Args:
        verdict: ``"same"``: it does not, but for rounding. ``"explained"``: it answers as the reference would if it
            were fed as the variant says. ``"unexplained"``: no variant comes close.
        variant: The name of that variant; where nothing explains it, of the nearest one.
        others: Variants that explain it as well.
        images: How many pictures.
        differing: First choices that differ from the reference's.
        distance: To the reference.
        farthest: The largest of these differences.
        differing_then: First choices that differ from the variant's.
        distance_then: To the variant.
    """

    verdict: Literal["same", "explained", "unexplained"]
    variant: str | None
    others: Sequence[str]
    images: int
    differing: int
    distance: float
    farthest: float
    differing_then: int | None
    distance_then: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "others": list(self.others)}


def explain(stills: Mapping[str, Stills], name: str, reference: str, variants: Sequence[str]) -> Explanation:
    """Compare a model's answers with the reference's, as it is and under every variant.

    A variant explains the model if the distance to it is less than half (``MUCH_BETTER``) of that to the reference, and
    no fewer first choices agree. Noise that has nothing to do with how pictures are fed, such as quantisation's, stays
    whatever variant is tried, so that none of them halves it. Of variants that are nearly as near as the nearest
    (``ALIKE``), the first of the table is named.

    Args:
        stills: Name → answers.
        name: The model's.
        reference: The reference's.
        variants: Those of the variants, in the order of the table.
    """
    model, plain = stills[name], stills[reference]

    def apart(other: Stills) -> tuple[int, float]:
        gap = np.abs(model.reference_p - other.reference_p)
        return int((model.top1 != other.top1).sum()), float(gap.mean())

    differing, distance = apart(plain)
    farthest = float(np.abs(model.reference_p - plain.reference_p).max())
    known = partial(Explanation, images=len(model.top1), differing=differing, distance=distance, farthest=farthest)
    if not differing and farthest <= ROUNDING:
        return known(verdict="same", variant=None, others=(), differing_then=None, distance_then=None)
    tried = {variant: apart(stills[variant]) for variant in variants}
    if not tried:
        return known(verdict="unexplained", variant=None, others=(), differing_then=None, distance_then=None)
    good = {
        variant: gap for variant, (wrong, gap) in tried.items() if gap < MUCH_BETTER * distance and wrong <= differing
    }
    nearest = min(good.values(), default=0.0)
    alike = [variant for variant, gap in good.items() if gap <= max(ALIKE[0] * nearest, nearest + ALIKE[1])]
    named = alike[0] if alike else min(tried, key=lambda variant: tried[variant][1])
    wrong, gap = tried[named]
    verdict: Literal["explained", "unexplained"] = "explained" if alike else "unexplained"
    return known(verdict=verdict, variant=named, others=alike[1:], differing_then=wrong, distance_then=gap)


def findings(reference: str, moved: Estimate, compared: Sequence["Compared"]) -> list[str]:
    """What was found, a sentence or two each: files whose fault has a name, files without, choices by their weight.

    Args:
        reference: The reference's spec.
        moved: Its share of changed answers.
        compared: All that it was compared with.
    """
    models = [each for each in compared if each.explanation]
    order = ("explained", "unexplained", "same")
    models.sort(key=lambda each: order.index(each.explanation.verdict) if each.explanation else 0)
    said = [_model(each, reference) + _shift(each, reference, moved) for each in models]
    own = [each for each in compared if each.kind == "variant"]
    strongest = [
        max(found, key=lambda each: (each.still.value, each.distance.value))
        for part in WORDS
        if (found := [each for each in own if each.part == part and each.beside == "reference"])
    ]
    strongest.sort(key=lambda each: -each.still.value)
    said += [_choice(each) for each in strongest]
    said += [_beside(each) for each in own if each.beside != "reference"]
    return said + _under_shift(own, reference, moved)


WORDS = {
    "resize": "the ways to resize",
    "crop": "the ways to crop",
    "numbers": "colour order and normalisation",
}
"""Part of the preprocessing → what a reader calls it."""


def _model(each: "Compared", reference: str) -> str:
    found = each.explanation
    assert found is not None
    pictures = f"{found.images:,} pictures"
    if found.verdict == "same":
        return (
            f"{each.title} answers as {reference} does: the same first choice on all {pictures}, probabilities at most "
            f"{found.farthest:.1g} apart."
        )
    differs = f"{found.differing} of {found.images:,} first choices, {_p(found.distance)} in probability (mean)"
    if found.verdict == "unexplained" or found.variant is None:
        near = ""
        if found.variant and (found.distance_then or 0.0) < WORTH_SAYING * found.distance:
            near = f" (the nearest, {VARIANTS[found.variant].title}, is {_p(found.distance_then)} away)"
        return (
            f"{each.title} differs from {reference}: {differs}. No preprocessing explains it{near}: quantisation or "
            "another export error."
        )
    variant = VARIANTS[found.variant]
    alike = [VARIANTS[other].title for other in found.others]
    said = (
        f"{each.title}: {variant.cause}. It answers as {reference} would {variant.phrase}: from that it differs in "
        f"{found.differing_then} of {found.images:,} first choices and {_p(found.distance_then)} in probability "
        f"(mean); from {reference} as it should be fed, in {found.differing} and {_p(found.distance)}."
    )
    said += f" {_listed(alike)} would look the same here." if alike else ""
    return f"{said} Its own preprocessing says so, too." if each.changes else said


def _shift(each: "Compared", reference: str, moved: Estimate) -> str:
    if each.explanation and each.explanation.verdict == "same":
        return ""
    return (
        f" Moved, it changes {_percent(each.moved.value)} of its answers, {reference} {_percent(moved.value)} "
        f"(difference {_difference(each.difference)})."
    )


def _choice(each: "Compared") -> str:
    images, changed = each.still.images, round(each.still.value * each.still.images)
    if not changed:
        return (
            f"Of {WORDS[each.part or '']}, none changes the first choice on any of {images:,} still pictures "
            f"(95 %: at most {_percent(each.still.high)}); its probability changes most by “{each.title}”, by "
            f"{_p(each.distance.value)} on average."
        )
    return (
        f"Of {WORDS[each.part or '']}, “{each.title}” matters most on still pictures: it changes {changed} of "
        f"{images:,} first choices (95 %: {_percent(each.still.low)} to {_percent(each.still.high)}), and "
        f"their probability by {_p(each.distance.value)} on average."
    )


def _beside(each: "Compared") -> str:
    changed = round(each.still.value * each.still.images)
    return (
        f"“{each.title}” beside “{VARIANTS[each.beside].title}”: it changes {changed} of {each.still.images:,} first "
        f"choices, and their probability by {_p(each.distance.value)} on average."
    )


def _under_shift(own: Sequence["Compared"], reference: str, moved: Estimate) -> list[str]:
    """Of the choices whose effect under shift is beyond chance, the worst and the best."""
    start = f"Moved, {reference} changes {_percent(moved.value)} of its answers"
    said = []
    for parts in (("resize", "crop"), ("numbers",)):
        tried = [each for each in own if each.part in parts and each.beside == "reference"]
        sure = [each for each in tried if each.difference.low > 0 or each.difference.high < 0]
        if not sure and tried:
            kind = " and ".join(WORDS[part] for part in parts)
            said.append(f"{start}; of {kind}, none changes that by more than {moved.images:,} pictures can show.")
        if sure:
            ends = [max(sure, key=_effect), min(sure, key=_effect)]
            words = [
                f"{_percent(each.moved.value)} with “{each.title}” (difference {_difference(each.difference)})"
                for each in ends[: len({each.name for each in ends})]
            ]
            said.append(f"{start}; {' and '.join(words)} (of {len(tried)} ways tried: an "
                        "interval close to 0 may be chance).")  # fmt: skip
    return said


def _effect(each: "Compared") -> float:
    return each.difference.value


def _listed(titles: Sequence[str]) -> str:
    return " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _difference(estimate: Estimate) -> str:
    points = f"{100 * estimate.value:+.1f} points, 95 %: {100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
    return points.replace("-", "−")


def _p(distance: float | None) -> str:
    return f"{distance or 0.0:.2g}"
