"""The tables of several audits, brought down to what a comparison needs, and to the images common to all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from shiftable.auditing.comparing.standardising import Pairs
from shiftable.auditing.metrics import METRICS, PerImage, p_top1_change
from shiftable.auditing.predictions import changed, read_parts
from shiftable.auditing.results import Audit
from shiftable.errors import InputError

SHOWN = ("p_top1_change", "consistency", "mac", "accuracy", "change_if_right", "margin")
"""The metrics that stand beside each other, where the walk defines them."""

COLUMNS = ("image", "control", "step", "top1", "top1_p", "first_p", "margin", "ref", "label", "label_rank")


class Answers(NamedTuple):
    """What is kept of an audit's table. Everything but the pairs has a value per image.

    Args:
        images: The ids.
        changes: Changed pairs, and pairs.
        sums: Metric → numerators and denominators.
        label: The right class, or NaN.
        right: Whether the unmoved view is answered right.
        pairs: All of them.
    """

    images: list[str]
    changes: PerImage
    sums: dict[str, PerImage]
    label: Float[np.ndarray, "image"]
    right: Bool[np.ndarray, "image"]
    pairs: Pairs


def read_aligned(audits: Sequence[Audit]) -> list[Answers]:
    """The tables, read once and a shard at a time; image i of one is image i of the others.

    Raises:
        InputError: If no image could be used by every audit.
    """
    tables = [_read(audit) for audit in audits]
    common = set.intersection(*(set(table.images) for table in tables))
    images = [image for image in tables[0].images if image in common]
    if not images:
        raise InputError("no image could be used by every audit", todo="see which each skipped, in its audit.json")
    return [_only(table, images) for table in tables]


def _read(audit: Audit) -> Answers:
    labelled = audit.images["labelled"] > 0
    names = [name for name in SHOWN if audit.walk["shape"] in METRICS[name].walks]
    names = [name for name in names if labelled >= METRICS[name].needs_labels]
    images: list[str] = []
    changes: list[PerImage] = []
    sums: dict[str, list[PerImage]] = {name: [] for name in names}
    labels, right, pairs = [], [], []
    for part in read_parts(audit.folder, COLUMNS):
        motion = part.of(None)
        changes.append(p_top1_change(motion))
        for name in names:
            sums[name].append(METRICS[name].of(motion))
        start = np.unique(motion.image, return_index=True)[1]
        labels.append(motion["label"][start].astype(float))
        right.append(motion["ref"][start] == labels[-1])
        first = motion.moved - 1
        image = (motion.image[first] + len(images)).astype(np.int32)
        pairs.append(Pairs(image, motion["margin"][first].astype(np.float32), changed(motion)))
        images += motion.images
    return Answers(
        images,
        _joined(changes),
        {name: _joined(found) for name, found in sums.items()},
        np.concatenate(labels),
        np.concatenate(right),
        Pairs(*(np.concatenate(column) for column in zip(*pairs, strict=True))),
    )


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> PerImage:
    top, bottom = (np.concatenate(side).astype(float) for side in zip(*parts, strict=True))
    return top, bottom


def _only(table: Answers, images: list[str]) -> Answers:
    """These images alone, in this order."""
    if table.images == images:
        return table
    place = {image: at for at, image in enumerate(table.images)}
    at = np.array([place[image] for image in images])
    number = np.full(len(table.images), -1, np.int32)
    number[at] = np.arange(len(at))
    kept = number[table.pairs.image] >= 0
    pairs = Pairs(number[table.pairs.image][kept], table.pairs.margin[kept], table.pairs.changed[kept])
    changes, *sums = ((top[at], bottom[at]) for top, bottom in (table.changes, *table.sums.values()))
    return Answers(images, changes, dict(zip(table.sums, sums, strict=True)), table.label[at], table.right[at], pairs)
