"""What an audit says of every class of objects, and of every key point."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from shiftable.auditing import Audit, Estimate
from shiftable.auditing.objects.metrics import Found, estimate_objects, lost, moved, read_found
from shiftable.auditing.objects.tallies import RESAMPLES
from shiftable.auditing.predictions import part_paths

Sums = Float[np.ndarray, "image kind 2"]
"""Numerators and denominators."""


def class_estimates(audit: Audit) -> dict[int, tuple[Estimate, Estimate | None]]:
    """Of a detector, for every class seen: the share that vanishes, and the error of the centre in px.

    Those with most objects come first. The centre's error is None where nothing is still there a step later.
    """
    gone, distances = [], []
    for found, kinds in _with_kinds(audit):
        gone.append(_sums(found, kinds, *lost(found, found.match_from)))
        distances.append(_sums(found, kinds, *moved(found)))
    vanished, errors = _whole(gone), _whole(distances)
    counts = vanished[..., 1].sum(axis=0)
    order = [kind for kind in np.argsort(-counts, kind="stable").tolist() if counts[kind]]
    found_of = {kind: estimate_objects("vanished", vanished[:, kind]) for kind in order}
    return {
        kind: (found, estimate_objects("centre_error_px", errors[:, kind], audit.seed, RESAMPLES))
        for kind, found in found_of.items()
        if found is not None
    }


def point_estimates(audit: Audit) -> dict[int, tuple[Estimate | None, Estimate]]:
    """Of a key-point model, for every point: its error in px, and the share of views that score it too low to count.

    The error is None where the point is never seen at two steps.
    """
    distances, below = [], []
    for found, kinds in _with_kinds(audit):
        distances.append(_sums(found, kinds, *moved(found, seen=True)))
        below.append(_sums(found, kinds, np.arange(len(found.match)), ~found.seen))
    errors, unsure = _whole(distances), _whole(below)
    shares = {kind: estimate_objects("points_dropped", unsure[:, kind]) for kind in range(unsure.shape[1])}
    return {
        kind: (estimate_objects("point_error_px", errors[:, kind], audit.seed, RESAMPLES), share)
        for kind, share in shares.items()
        if share is not None
    }


def _with_kinds(audit: Audit) -> Iterator[tuple[Found, Int[np.ndarray, "object"]]]:
    """The rows of motion, a shard at a time, with the class or point that each object is."""
    shards = read_found(audit.folder, audit.model["thresholds"])
    paths = [path for path in part_paths(audit.folder) if pq.read_metadata(path).num_rows]
    for found, path in zip(shards, paths, strict=True):
        table = pq.read_table(Path(audit.folder, "objects", path.name), columns=["control", "class"], partitioning=None)
        yield found.of(None), table.filter(pc.is_null(table["control"]))["class"].to_numpy()


def _sums(found: Found, kinds: Int[np.ndarray, "object"], objects: Int[np.ndarray, "some"], values: np.ndarray) -> Sums:
    """Per image and kind, the values of these objects, and their number."""
    images, count = len(found.views.images), int(kinds.max(initial=-1)) + 1
    cell = found.views.image[found.row[objects]] * count + kinds[objects]
    sides = [np.bincount(cell, weights=side, minlength=images * count) for side in (values, np.ones(len(objects)))]
    return np.stack(sides, axis=-1).astype(float).reshape(images, count, 2)


def _whole(parts: list[Sums]) -> Sums:
    """All shards' sums, whatever kinds each has."""
    count = max((part.shape[1] for part in parts), default=0)
    return np.concatenate([np.pad(part, ((0, 0), (0, count - part.shape[1]), (0, 0))) for part in parts])
