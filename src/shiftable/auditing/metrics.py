"""Metrics: from the table of predictions to a numerator and a denominator per image, and from these to an estimate.

Formulas: Azulay & Weiss, JMLR 20(184), 2019 (P(top-1 change), MAC) and arXiv 1805.12177v1 (jaggedness); Zhang, ICML
2019 (consistency); Jaccard, New Phytologist 11, 1912 (the overlap of two sets). Steps of one image are not independent,
so an image is the unit of every interval.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from shiftable.auditing.intervals import Estimate, Weighting, magnitude, rate
from shiftable.auditing.predictions import Predictions, changed
from shiftable.auditing.scoring import Kind
from shiftable.errors import InputError, unknown

PerImage: TypeAlias = tuple[Float[np.ndarray, "image"], Float[np.ndarray, "image"]]
"""(numerators, denominators); an image with denominator 0 says nothing."""

STEPPED = frozenset({"sweep", "pairs", "grid", "frames"})
WHOLE = frozenset({"sweep", "grid"})
ALL = frozenset({"sweep", "pairs", "grid", "frames", "random"})
FRAMES = frozenset({"frames"})
"""Successive frames of videos."""

PM_K = 10
"""How many frames before and after one `pm_k` looks at."""


@dataclass(frozen=True)
class Metric:
    """A number that an audit reports.

    Args:
        of: Gives its numerators and denominators per image.
        walks: The walk shapes that define it; elsewhere it is absent, not 0.
        unit: ``"rate"``: a share of pairs, 0 to 1. ``"count"``: the same times the pairs of an image, which all have
            equally many. ``"frequency"``: the same by time; denominators are in the unit of time. ``"magnitude"``: a
            mean of anything.
        needs_labels: Whether the right classes must be known.
        weighting: Mean over images of the quotient, or, where the denominator is random, ratio of the sums.
        stable_is: The value of a model that never changes its answer, or None where the metric is not about change.
        scores: What the model's scores must be, ``"sigmoid"`` or ``"similarity"``; None takes any.
    """

    of: Callable[[Predictions], PerImage]
    walks: frozenset[str]
    unit: Literal["rate", "count", "frequency", "magnitude"]
    needs_labels: bool = False
    weighting: Weighting = "images"
    stable_is: float | None = None
    scores: Kind | None = None


def p_top1_change(predictions: Predictions) -> PerImage:
    """Share of adjacent pairs whose top-1 classes differ. 0 to 1."""
    return _over_pairs(predictions, changed(predictions))


def mac(predictions: Predictions) -> PerImage:
    """Mean absolute change, between adjacent steps, of the probability of the first one's top-1 class. 0 to 1."""
    moved = predictions.moved
    change = np.abs(predictions["top1_p"][moved - 1] - predictions["first_p"][moved])
    return _over_pairs(predictions, change)


def jaggedness(predictions: Predictions) -> PerImage:
    """How often along the walk the right class enters or leaves the top-5 (top-1 for 10 classes or fewer)."""
    return jaggedness_per_step(predictions)


def jaggedness_per_step(predictions: Predictions) -> PerImage:
    """`jaggedness` as a share of the adjacent pairs. 0 to 1."""
    moved = np.intersect1d(predictions.moved, predictions.labelled)
    crossed = _crossings(predictions["label_rank"] <= _leaders(predictions), moved)
    return predictions.per_image(crossed, moved), predictions.per_image(np.ones(len(moved)), moved)


def jaggedness_self(predictions: Predictions) -> PerImage:
    """`jaggedness` of the class that is top-1 of the unmoved view. Needs no labels."""
    among = (predictions["top5"][:, : _leaders(predictions)] == predictions["ref"][:, None]).any(axis=1)
    moved = predictions.moved
    return _over_pairs(predictions, _crossings(among, moved))


def consistency(predictions: Predictions) -> PerImage:
    """Share of pairs of two independent places whose top-1 classes agree. 0 to 1, 1 being stable."""
    return _over_pairs(predictions, ~changed(predictions))


def accuracy(predictions: Predictions) -> PerImage:
    """Share of steps whose top-1 is the right class. 0 to 1."""
    return _over_steps(predictions, predictions["label_rank"] == 1, predictions.labelled)


def accuracy_top5(predictions: Predictions) -> PerImage:
    """Share of steps whose top-5 hold the right class. 0 to 1."""
    return _over_steps(predictions, predictions["label_rank"] <= 5, predictions.labelled)


def worst_case_accuracy(predictions: Predictions) -> PerImage:
    """Share of images that are right at every step. 0 to 1."""
    right, steps = accuracy(predictions)
    return (right == steps) * np.minimum(steps, 1), np.minimum(steps, 1)


def share_constant(predictions: Predictions) -> PerImage:
    """Share of images whose top-1 is the same at every step. 0 to 1, 1 being stable."""
    alike, steps = _over_steps(
        predictions, predictions["top1"] == predictions["ref"], np.arange(len(predictions.image))
    )
    return (alike == steps).astype(float), np.ones(len(steps))


def change_if_right(predictions: Predictions) -> PerImage:
    """`p_top1_change` among the pairs whose first step is right. 0 to 1."""
    moved, change = predictions.moved, changed(predictions)
    right = predictions["label_rank"][moved - 1] == 1
    return predictions.per_image(change & right, moved), predictions.per_image(right, moved)


def margin(predictions: Predictions) -> PerImage:
    """Mean distance between the top-1 and the runner-up, in logits. 0 or more."""
    return _over_steps(predictions, predictions["margin"], np.arange(len(predictions.image)))


def jaccard(predictions: Predictions) -> PerImage:
    """Mean overlap of the sets of positive classes of adjacent steps, |A ∩ B| / |A ∪ B|; 1 for two empty sets. 0 to 1.

    Of models that score every class by itself; 1 is stable.
    """
    shared, either = _overlap(predictions)
    return _over_pairs(predictions, np.where(either > 0, shared / np.maximum(either, 1), 1.0))


def p_set_change(predictions: Predictions) -> PerImage:
    """Share of adjacent pairs whose sets of positive classes differ. 0 to 1."""
    shared, either = _overlap(predictions)
    return _over_pairs(predictions, shared < either)


def cosine_distance(predictions: Predictions) -> PerImage:
    """Mean cosine distance, 1 − cosine, between the embeddings of adjacent steps. 0 to 2."""
    return _over_pairs(predictions, predictions["distance"][predictions.moved])


def pm_k(predictions: Predictions, k: int = PM_K) -> PerImage:
    """Share of frames that are right, as is every frame up to ten before and ten after (``k``). 0 to 1.

    Shankar et al., "Do Image Classifiers Generalize Across Time?", ICCV 2021 (arXiv 1906.02168). At its ends a video
    has fewer neighbours to look at; frames whose class is not known are not looked at.
    """
    known = predictions.table["label"].is_valid().to_numpy(zero_copy_only=False)
    wrong = known & (predictions["label_rank"] != 1)
    before = np.concatenate([[0], np.cumsum(wrong)])  # the wrong ones among the first n rows
    rows = np.arange(len(wrong))
    start = np.maximum.accumulate(np.where(predictions["step"] == 0, rows, 0))  # of each row's video
    ends = np.append(np.flatnonzero(predictions["step"] == 0)[1:], len(rows))
    end = ends[np.searchsorted(ends, rows, side="right")]
    around = before[np.minimum(rows + k + 1, end)] - before[np.maximum(rows - k, start)]
    return _over_steps(predictions, around == 0, predictions.labelled)


def flips_per_second(predictions: Predictions) -> PerImage:
    """How often in a second the top-1 class changes. 0 or more."""
    moved = predictions.moved
    seconds = predictions["time_s"][moved] - predictions["time_s"][moved - 1]
    return predictions.per_image(changed(predictions), moved), predictions.per_image(seconds, moved)


def flips_per_minute(predictions: Predictions) -> PerImage:
    """How often in a minute the top-1 class changes. 0 or more."""
    flips, seconds = flips_per_second(predictions)
    return flips, seconds / 60


METRICS: Mapping[str, Metric] = {
    "p_top1_change": Metric(p_top1_change, STEPPED, "rate", stable_is=0.0),
    "mac": Metric(mac, STEPPED, "magnitude", stable_is=0.0),
    "jaggedness": Metric(jaggedness, frozenset({"sweep"}), "count", needs_labels=True, stable_is=0.0),
    "jaggedness_per_step": Metric(
        jaggedness_per_step, frozenset({"sweep", "frames"}), "rate", needs_labels=True, stable_is=0.0
    ),
    "jaggedness_self": Metric(jaggedness_self, frozenset({"sweep"}), "count", stable_is=0.0),
    "consistency": Metric(consistency, frozenset({"random"}), "rate", stable_is=1.0),
    "accuracy": Metric(accuracy, ALL, "rate", needs_labels=True),
    "accuracy_top5": Metric(accuracy_top5, ALL, "rate", needs_labels=True),
    "worst_case_accuracy": Metric(worst_case_accuracy, WHOLE, "rate", needs_labels=True),
    "share_constant": Metric(share_constant, WHOLE, "rate", stable_is=1.0),
    "change_if_right": Metric(change_if_right, STEPPED, "rate", needs_labels=True, weighting="pairs", stable_is=0.0),
    "margin": Metric(margin, ALL, "magnitude"),
    "jaccard": Metric(jaccard, STEPPED, "magnitude", stable_is=1.0, scores="sigmoid"),
    "p_set_change": Metric(p_set_change, STEPPED, "rate", stable_is=0.0, scores="sigmoid"),
    "cosine_distance": Metric(cosine_distance, STEPPED, "magnitude", stable_is=0.0, scores="similarity"),
    "flips_per_second": Metric(flips_per_second, FRAMES, "frequency", stable_is=0.0),
    "flips_per_minute": Metric(flips_per_minute, FRAMES, "frequency", stable_is=0.0),
    "pm_k": Metric(pm_k, FRAMES, "rate", needs_labels=True),
}

NEEDED: Mapping[str, tuple[str, str]] = {
    "sigmoid": ("models that score every class by itself", "say --scores sigmoid if this one does"),
    "similarity": ("embedders", "say --task embed if this is one"),
}
"""Scores that a metric needs → whose they are, and what to do where the model's are others."""

CONTROLS = ("still", "grey", "jpeg")
"""What is not motion: the same view again, one grey level lighter and darker, JPEG quality 95."""

CONTROL_METRICS = ("p_top1_change", "mac")


def choose_metrics(walk: str, labelled: bool, asked: Sequence[str] | None = None, scores: Kind = "logits") -> list[str]:
    """The metrics that an audit can report.

    Args:
        walk: The walks' shape.
        labelled: Whether the right classes are known.
        asked: The ones that were asked for; None takes all there are.
        scores: What the model's scores are.

    Raises:
        InputError: If one that was asked for is unknown, undefined on these walks or for such a model, or needs labels
            that are not there.
    """
    for name in asked or ():
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        metric = METRICS[name]
        if walk not in metric.walks:
            others = " or ".join(sorted(metric.walks - FRAMES))
            if walk in FRAMES:
                raise InputError(f"{name} is not defined on the frames of a video", where="--metric")
            todo = f"take --walk {others}" if others else "it is for --motion video"
            raise InputError(f"{name} is not defined on {walk} walks", where="--metric", todo=todo)
        if metric.scores not in (None, scores):
            whose, todo = NEEDED[str(metric.scores)]
            raise InputError(f"{name} is for {whose}", where="--metric", todo=todo)
        if metric.needs_labels and scores == "similarity":
            raise InputError(f"{name} needs right classes, which an embedder has not", where="--metric")
        if metric.needs_labels and not labelled:
            raise InputError(f"{name} needs labels", where="--metric", todo="give --labels FILE with file,class_index")
    known = labelled and scores != "similarity"  # an embedder's classes are images, of which none is right
    return [
        name
        for name, metric in METRICS.items()
        if walk in metric.walks
        and metric.scores in (None, scores)
        and known >= metric.needs_labels
        and (asked is None or name in asked)
    ]


def estimate(
    name: str, parts: Sequence[tuple[np.ndarray, np.ndarray]], seed: int = 0, most: float | None = None
) -> Estimate | None:
    """A metric with its interval, from what all shards gave; None where no image says anything.

    Args:
        name: The metric.
        parts: Numerators and denominators of the shards' images.
        seed: Of the resampling.
        most: Of frequencies: how often in the unit of time anything can happen, that is, frames. Without it they have
            no interval.
    """
    metric = METRICS[name]
    numerators, denominators = (np.concatenate(side).astype(float) for side in zip(*parts, strict=True))
    if not denominators.any():
        return None
    if metric.unit == "magnitude":
        return magnitude(numerators, denominators, weighting=metric.weighting, seed=seed)
    if metric.unit == "frequency" and most is None:
        seen = denominators > 0
        value = float((numerators[seen] / denominators[seen]).mean())
        return Estimate(value, nan, nan, int(seen.sum()), int(numerators.sum()))
    if metric.unit == "frequency" and most is not None:
        # as a share of the frames that the fastest video would have shown
        share = rate(numerators, denominators * most, weighting=metric.weighting)
        return replace(share, value=share.value * most, low=share.low * most, high=share.high * most)
    share = rate(numerators, denominators, weighting=metric.weighting)
    if metric.unit == "rate":
        return share
    pairs = share.pairs / share.images
    return replace(share, value=share.value * pairs, low=share.low * pairs, high=share.high * pairs)


def measure(shards: Iterable[Predictions], names: Sequence[str], seed: int = 0) -> dict[str, Estimate]:
    """Several metrics of an audit, its shards being read once and one at a time."""
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in names}
    for predictions in shards:
        for name in names:
            parts[name].append(METRICS[name].of(predictions))
    found = {name: estimate(name, parts[name], seed) for name in names if parts[name]}
    return {name: value for name, value in found.items() if value is not None}


def _leaders(predictions: Predictions) -> int:
    return 1 if predictions.classes <= 10 else 5


def _crossings(inside: Bool[np.ndarray, "row"], moved: np.ndarray) -> Bool[np.ndarray, "pair"]:
    return np.asarray(inside[moved] != inside[moved - 1])


def _overlap(predictions: Predictions) -> tuple[Int[np.ndarray, "pair"], Int[np.ndarray, "pair"]]:
    """(|A ∩ B|, |A ∪ B|) of the sets of positive classes of adjacent steps."""
    row, member = predictions.positive
    place = row * predictions.classes + member  # a number per (row, class): the row after is `classes` further
    kept = np.isin(place, place + predictions.classes)
    rows, moved = len(predictions.image), predictions.moved
    size, shared = np.bincount(row, minlength=rows), np.bincount(row[kept], minlength=rows)[moved]
    return shared, size[moved] + size[moved - 1] - shared


def _over_pairs(predictions: Predictions, values: np.ndarray) -> PerImage:
    moved = predictions.moved
    return predictions.per_image(values, moved), predictions.per_image(np.ones(len(moved)), moved)


def _over_steps(predictions: Predictions, values: np.ndarray, rows: np.ndarray) -> PerImage:
    return predictions.per_image(values[rows], rows), predictions.per_image(np.ones(len(rows)), rows)
