"""What an audit knows before the first view: which images, which labels count, what the model is compared by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.metrics import choose_metrics
from shiftable.auditing.motions import Motion
from shiftable.auditing.objects.metrics import choose_object_metrics
from shiftable.auditing.objects.tasks import PLACED, choose_thresholds, unlabelled
from shiftable.auditing.predictions import positive_from
from shiftable.auditing.record import describe_model
from shiftable.auditing.retrieval import without_labels
from shiftable.auditing.scoring import Kind
from shiftable.data import (
    Sample,
    box_samples,
    check_labels,
    find_samples,
    label_by_folder,
    label_by_table,
    read_boxes,
    read_labels,
)
from shiftable.data.boxes import Box
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.outputs import check_background

Labels = str | Path | Mapping[str, int] | None
Boxes = str | Path | Mapping[str, tuple[Box, ...]] | None

OF_WHOLE_WALKS = ("jaggedness", "jaggedness_self", "worst_case_accuracy", "share_constant")
"""Metrics that depend on how long a walk is: of no use where images have walks of differing length."""


@dataclass(frozen=True)
class Prepared:
    """What is asked of a model about some images.

    Args:
        samples: The images, with the labels that count.
        names: The metrics.
        classes: How many the model tells apart; of an embedder, the images; 0 where nobody says.
        outputs: How wide its rows of scores are; 0 where it has none.
        kind: What its scores are.
        threshold: From which score on a sigmoid's class is named.
        score_step: How far neighbouring probabilities lie apart that the model can tell from one another.
        record: What an audit says of the model beside what every model has.
        remarks: What a reader must know, a sentence each.
    """

    samples: Sequence[Sample]
    names: Sequence[str]
    classes: int
    outputs: int
    kind: Kind
    threshold: float | None
    score_step: float | None
    record: Mapping[str, Any]
    remarks: Sequence[str]

    @property
    def labelled(self) -> bool:
        """Whether any image's class is known."""
        return any(sample.label is not None for sample in self.samples)


def find_images(images: str | Path | Sequence[Sample], boxes: Boxes, count: int | None, motion: Motion) -> list[Sample]:
    """The images to be shown, with their boxes where those are needed.

    Raises:
        InputError: If there are none, or the motion needs boxes and nobody gives any, or the other way round.
    """
    samples = find_samples(images, count) if isinstance(images, str | Path) else list(images)[:count]
    if not samples:
        raise InputError("there are no images", todo="give at least one")
    if boxes is not None and not motion.needs_boxes:
        raise InputError(
            f"the motion {motion.name} does not look at boxes", where="--boxes", todo="they are for --motion keep-box"
        )
    if boxes is not None:
        where = boxes if isinstance(boxes, str | Path) else "boxes"
        samples = box_samples(samples, boxes if isinstance(boxes, Mapping) else read_boxes(boxes), where)
    if motion.needs_boxes and all(sample.boxes is None for sample in samples):
        raise InputError(
            f"the motion {motion.name} needs to know where the objects are",
            where="--boxes",
            todo="give VOC or ImageNet XML, COCO JSON, or CSV",
        )
    return samples


def prepare(
    model: Model,
    samples: Sequence[Sample],
    where: object,
    labels: Labels,
    walk: str,
    metrics: Sequence[str] | None,
    thresholds: Mapping[str, float | None],
    keep_scores: bool = False,
    whole_walks: bool = True,
) -> Prepared:
    """What is asked of the model about the images.

    Args:
        model: Anyone.
        samples: The images.
        where: Where they come from, for errors.
        labels: As `audit` takes them.
        walk: The walks' shape.
        metrics: The ones wanted; None takes all that are defined.
        thresholds: ``threshold``, ``score_threshold`` and ``match_threshold``, None where nobody says.
        keep_scores: Whether the model's full scores shall be kept.
        whole_walks: Whether all images have walks of the same length.

    Raises:
        InputError: If labels, metrics or thresholds don't belong to such a model or these images.
    """
    place = choose_thresholds(model.task, thresholds["score_threshold"], thresholds["match_threshold"])
    if isinstance(labels, str | Path) and model.task != "classify":
        read_labels(labels)  # they will not be used, but who gives some shall hear that they are not there
    if model.task in PLACED:
        if keep_scores:
            raise InputError(f"{PLACED[model.task].whose} have no rows of scores to keep", where="--keep-scores",
                             todo="leave it out: boxes, points and scores are in the tables as they are")  # fmt: skip
        if thresholds["threshold"] is not None:
            raise InputError(f"is for classifiers, this model's task is {model.task}", where="--threshold",
                             todo="give --score-threshold" if place else "leave it out")  # fmt: skip
        names = choose_object_metrics(model.task, walk, metrics)
        plain, remarks = unlabelled(samples, model.task, labels is not None)
        known_as = len(model.class_names or ())
        return Prepared(
            plain, names, known_as, 0, model.scores, None, None, {"thresholds": place} if place else {}, remarks
        )
    outputs, embeds = count_outputs(model), model.task == "embed"
    kind: Kind = "similarity" if embeds else model.scores
    threshold = positive_from(thresholds["threshold"], kind)
    if embeds:
        known, remarks = without_labels(samples, labels is not None)
    else:
        known, remarks = _with_labels(samples, labels, where, outputs)
    classes = len(known) if embeds else outputs
    labelled = any(sample.label is not None for sample in known)
    if labelled:
        check_background(classes, getattr(model, "class_offset", 0), model.spec)
    score_step: float | None = getattr(model, "score_step", None)
    record: dict[str, Any] = {"scores": kind, "dimensions": outputs} if embeds else {}
    also = {"threshold": threshold, "score_step": score_step}
    record |= {name: value for name, value in also.items() if value is not None}
    chosen = choose_metrics(walk, labelled, _per_step(metrics, whole_walks), kind)
    names = [name for name in chosen if whole_walks or name not in OF_WHOLE_WALKS]
    return Prepared(known, names, classes, outputs, kind, threshold, score_step, record, remarks)


def describe(
    model: Model, prepared: Prepared, motion: Motion, source: str | None, boxes: Boxes = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an audit is a function of: (the model, the images)."""
    listing = "\n".join(f"{sample.id}\t{sample.label}" for sample in prepared.samples)
    about_model = describe_model(
        model, prepared.classes, **{**prepared.record, "decoder": model.settings.get("decoder")}
    )
    about_images = {
        "source": source,
        "listed": len(prepared.samples),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "labelled": sum(sample.label is not None for sample in prepared.samples),
    }
    if motion.needs_boxes:
        edges = "\n".join(f"{sample.id}\t{_edges(sample)}" for sample in prepared.samples)
        about_images["boxes"] = str(boxes) if isinstance(boxes, str | Path) else None
        about_images["boxes_sha256"] = hashlib.sha256(edges.encode()).hexdigest()
    return about_model, about_images


def _edges(sample: Sample) -> list[tuple[float, ...]] | None:
    if sample.boxes is None:
        return None
    return [(float(box.x0), float(box.y0), float(box.x1), float(box.y1)) for box in sample.boxes]


def _per_step(metrics: Sequence[str] | None, whole_walks: bool) -> Sequence[str] | None:
    for name in metrics or ():
        if name in OF_WHOLE_WALKS and not whole_walks:
            raise InputError(f"{name} can't be compared, for these walks differ in length", where="--metric")
    return metrics


def _with_labels(
    samples: Sequence[Sample], labels: Labels, where: object, classes: int
) -> tuple[list[Sample], list[str]]:
    """The images with their labels, and what is to be said of these."""
    if labels is not None:
        where = labels if isinstance(labels, str | Path) else "labels"
        known = label_by_table(list(samples), labels if isinstance(labels, Mapping) else read_labels(labels), where)
        remark = None
    else:
        known, remark = label_by_folder(list(samples), classes)
    check_labels(known, classes, where)
    return known, [remark] if remark else []
