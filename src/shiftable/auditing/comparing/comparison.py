"""Several audits side by side: who is steadiest, and is it so among equally right, and equally sure, answers?

Raw stability rises with accuracy and with margin. So a model's share of changed pairs is given three times, on the
images that every audit could use:

* ``raw``: of all of them;
* ``matched_accuracy``: of those that all models answer right unmoved;
* ``matched_margin``: as if all models were equally sure, see `standardising`.

Every interval is over images, every difference is paired by image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from shiftable.auditing.comparing.alignment import SHOWN as SHOWN
from shiftable.auditing.comparing.alignment import Answers, read_aligned
from shiftable.auditing.comparing.comparable import OWN, check_comparable, notes_on, short_names
from shiftable.auditing.comparing.standardising import (
    LEAST_PAIRS,
    Standard,
    by_bin,
    make_standard,
    standardised_difference,
    standardised_rate,
)
from shiftable.auditing.intervals import Estimate, rate, rate_difference
from shiftable.auditing.metrics import METRICS, PerImage, estimate
from shiftable.auditing.results import Audit

SCHEMA = 1

FIGURES = ("raw", "matched_accuracy", "matched_margin")
"""The ways in which the share of changed pairs is compared."""


@dataclass(frozen=True)
class Compared:
    """One audit among the others.

    Args:
        name: The model's, and where two are alike the folder's too. No two are equal.
        audit: What was compared.
        metrics: Name → estimate, on the images that every audit could use.
        stability: Figure → share of pairs of views whose answers differ (on random walks 1 − consistency). 0 to 1.
        against_first: Figure → its share minus that of the first audit. Empty for the first.
        against_steadiest: Figure → its share minus that of the steadiest, which has none. Of all pairs of models, none
            is said to differ without reason in 95 of 100 comparisons (Bonferroni): where the interval holds 0, the two
            can't be told apart.
    """

    name: str
    audit: Audit
    metrics: Mapping[str, Estimate]
    stability: Mapping[str, Estimate]
    against_first: Mapping[str, Estimate]
    against_steadiest: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, with what tells the audit from others."""
        model = self.audit.model
        return {
            "name": self.name,
            "folder": str(self.audit.folder),
            "model": model["spec"],
            "weights_sha256": model["weights_sha256"],
            "view_size": model["view_size"],
            "enlarged": self.audit.motion["enlarged"],
            "size": model.get("size"),
            **{
                part: {name: found.to_json() for name, found in getattr(self, part).items()}
                for part in ("metrics", "stability", "against_first", "against_steadiest")
            },
        }


@dataclass(frozen=True)
class Comparison:
    """Several audits side by side. The same as ``comparison.json``.

    Args:
        audits: In the order in which they were given.
        images: How many were ``listed``, how many are ``common`` to all audits, and how many of these all models answer
            ``right`` unmoved; None without labels.
        standard: The pooled margins that ``matched_margin`` is standardised to.
        absent: Figure → why it could not be had, in a sentence.
        notes: What a reader must know, a sentence each.
    """

    audits: Sequence[Compared]
    images: Mapping[str, int | None]
    standard: Standard
    absent: Mapping[str, str]
    notes: Sequence[str]

    def steadiest(self, figure: str) -> Compared:
        """The audit with the smallest share of changes; of equals the first."""
        return min(self.audits, key=lambda compared: compared.stability[figure].value)

    def told_apart(self, figure: str) -> tuple[list[Compared], list[Compared]]:
        """The audits that change more often than the steadiest, and those that can't be told apart from it."""
        others = [compared for compared in self.audits if figure in compared.against_steadiest]
        apart = [compared for compared in others if compared.against_steadiest[figure].low > 0]
        return apart, [compared for compared in others if compared not in apart]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, with what all audits have in common."""
        first = self.audits[0].audit
        figures = [figure for figure in FIGURES if figure not in self.absent]
        return {
            "schema": SCHEMA,
            "task": first.model["task"],
            "motion": {name: value for name, value in first.motion.items() if name not in OWN},
            "walk": first.walk,
            "seed": first.seed,
            "images": self.images,
            "audits": [compared.to_json() for compared in self.audits],
            "steadiest": {
                figure: {
                    "name": self.steadiest(figure).name,
                    "not_told_apart_from": [compared.name for compared in self.told_apart(figure)[1]],
                }
                for figure in figures
            },
            "margins": {
                "edges": self.standard.edges.tolist(),
                "kept": self.standard.kept.tolist(),
                "weights": self.standard.weights.tolist(),
                "covered": self.standard.covered,
            },
            "absent": self.absent,
            "notes": self.notes,
        }


def compare(audits: Sequence[Audit]) -> Comparison:
    """Set audits side by side: raw, at matched accuracy, at matched margin.

    The tables are read once, a shard at a time; what is kept is a few numbers per image, and nine bytes or so per pair.

    Args:
        audits: Finished ones of the same task, images, motion, walk and seed. Images that one of them skipped are left
            out of all.

    Raises:
        InputError: If they can't be compared: in what they differ, and what to do.
    """
    check_comparable(audits)
    tables = read_aligned(audits)
    names, images = short_names(audits), len(tables[0].images)
    reason = _no_accuracy(audits, tables, names)
    right = None if reason else np.logical_and.reduce([table.right for table in tables])
    standard = make_standard([table.pairs for table in tables])
    figures, absent = _figures(tables, right, standard, reason)
    stability = {name: [figure.rate(data) for data in figure.data] for name, figure in figures.items()}
    first = {name: _against(figure, 0, 0.95) for name, figure in figures.items()}
    confidence = 1 - 0.05 / (len(audits) * (len(audits) - 1) / 2)
    steadiest = {
        name: _against(figure, int(np.argmin([found.value for found in stability[name]])), confidence)
        for name, figure in figures.items()
    }
    return Comparison(
        audits=[
            Compared(
                name,
                audits[at],
                _metrics(tables[at], audits[at], labelled=reason is None),
                {figure: found[at] for figure, found in stability.items()},
                {figure: found[at] for figure, found in first.items() if at in found},
                {figure: found[at] for figure, found in steadiest.items() if at in found},
            )
            for at, name in enumerate(names)
        ],
        images={
            "listed": audits[0].images["listed"],
            "common": images,
            "right": None if right is None else int(right.sum()),
        },
        standard=standard,
        absent=absent,
        notes=notes_on(audits, names, images),
    )


class _Figure(NamedTuple):
    """One way to compare: what there is of each model, its rate, and the difference of two."""

    data: list[Any]
    rate: Callable[[Any], Estimate]
    difference: Callable[[Any, Any, float], Estimate]


def _no_accuracy(audits: Sequence[Audit], tables: Sequence[Answers], names: Sequence[str]) -> str | None:
    """Why accuracies can't be compared, in a sentence; None if they can."""
    if audits[0].model["task"] != "classify":
        return "These models have no accuracy: their answers are images, not classes."
    known = [bool(np.isfinite(table.label).any()) for table in tables]
    if not any(known):
        return "Nothing is said of accuracy, because the audits have no labels."
    if not all(known):
        lacking = ", ".join(name for name, found in zip(names, known, strict=True) if not found)
        return f"Nothing is said of accuracy, because {lacking} was audited without labels; audit all with the same."
    if any(not np.array_equal(table.label, tables[0].label, equal_nan=True) for table in tables):
        return "Nothing is said of accuracy, because the audits have different labels; audit all with the same."
    return None


def _figures(
    tables: Sequence[Answers], right: Bool[np.ndarray, "image"] | None, standard: Standard, reason: str | None
) -> tuple[dict[str, _Figure], dict[str, str]]:
    """The figures that can be had, and why the others can't."""
    counted = [table.changes for table in tables]
    figures, absent = {"raw": _Figure(counted, _rate, _difference)}, {}
    if right is not None and right.any():
        figures["matched_accuracy"] = _Figure([(top[right], all_[right]) for top, all_ in counted], _rate, _difference)
    else:
        absent["matched_accuracy"] = reason or "There is no image that all models answer right."
    if standard.kept.any():
        weights = standard.weights
        figures["matched_margin"] = _Figure(
            [by_bin(table.pairs, standard, len(table.images)) for table in tables],
            lambda data: standardised_rate(data[0], data[1], weights),
            lambda before, after, confidence: standardised_difference(before, after, weights, confidence),
        )
    else:
        absent["matched_margin"] = (
            f"There are too few pairs to compare models at matched margin: in no tenth of the margins has each of them "
            f"{LEAST_PAIRS}. More images or longer walks give more."
        )
    return figures, absent


def _rate(data: PerImage) -> Estimate:
    return rate(*data)


def _difference(before: PerImage, after: PerImage, confidence: float) -> Estimate:
    return rate_difference(*before, *after, confidence=confidence)


def _against(figure: _Figure, reference: int, confidence: float) -> dict[int, Estimate]:
    """Each model's share minus the reference's."""
    return {
        at: figure.difference(figure.data[reference], data, confidence)
        for at, data in enumerate(figure.data)
        if at != reference
    }


def _metrics(table: Answers, audit: Audit, labelled: bool) -> dict[str, Estimate]:
    found = {
        name: estimate(name, [sums], audit.seed)
        for name, sums in table.sums.items()
        if labelled >= METRICS[name].needs_labels
    }
    return {name: value for name, value in found.items() if value is not None}
