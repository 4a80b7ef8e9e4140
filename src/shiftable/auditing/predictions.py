"""The table of answers: one row per (image, walk, step), from which every metric can be computed.

Columns
    image, walk, step: the place in the audit. dy, dx (px), scale, angle (degrees), frame: where the view was.
    control: null for the motion's own rows; ``still``, ``grey`` or ``jpeg`` for the answer to what is no motion. The
    first step of a control's walk is the unmoved view.
    top1, top1_p, top2_p: the leading class, its probability and the runner-up's. Of equal scores the lowest class wins.
    margin: top-1 minus top-2 in logits; for probabilities log(p1 / p2), for sigmoids the difference of log-odds.
    tie, tie_top5: whether equal scores decided the top-1, or the last place of the top-5.
    top5, top5_p: the five leading classes, best first, and their probabilities.
    ref, ref_p: the top-1 of the unmoved view, and its probability at this step.
    first_p: the probability, at this step, of the class that was top-1 at the previous step; null at step 0.
    label, label_p, label_rank: the right class, its probability, its rank (1 is the top); null where it is not known.
    positives: of sigmoid models, the classes whose score is at or above the threshold, ascending; else null.
    distance: of embedders, the cosine distance to the embedding of the previous step; null at step 0, else null.
    time_s: of videos, when the frame is shown, in s after the first; else null.
    moved_px, moved_y, moved_x: of videos, how far the picture has moved since the frame before, and how far down and
    to the right, in px of the view; null at step 0, else null.
    residual: what is left when that is undone, in grey levels; null at step 0, else null.

Of an embedder, classes are the images of the set and probabilities are cosine similarities: see `retrieval`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, Shaped

from shiftable.auditing.scoring import Kind, cosine_distances, leading, probabilities_and_evidence, rank
from shiftable.errors import InputError

THRESHOLD = 0.5
"""From which score on a sigmoid's class counts as positive, where nobody says otherwise."""

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("control", pa.string()),
        ("walk", pa.int32()),
        ("step", pa.int32()),
        ("dy", pa.float64()),
        ("dx", pa.float64()),
        ("scale", pa.float64()),
        ("angle", pa.float64()),
        ("frame", pa.int32()),
        ("top1", pa.int32()),
        ("top1_p", pa.float64()),
        ("top2_p", pa.float64()),
        ("margin", pa.float64()),
        ("tie", pa.bool_()),
        ("tie_top5", pa.bool_()),
        ("top5", pa.list_(pa.int32())),
        ("top5_p", pa.list_(pa.float64())),
        ("ref", pa.int32()),
        ("ref_p", pa.float64()),
        ("first_p", pa.float64()),
        ("label", pa.int32()),
        ("label_p", pa.float64()),
        ("label_rank", pa.int32()),
        ("positives", pa.list_(pa.int32())),
        ("distance", pa.float64()),
        ("time_s", pa.float64()),
        ("moved_px", pa.float64()),
        ("moved_y", pa.float64()),
        ("moved_x", pa.float64()),
        ("residual", pa.float64()),
    ]
)


class Row(NamedTuple):
    """Where one row of the table comes from."""

    control: str | None
    walk: int
    step: int
    dy: float
    dx: float
    view: int
    """The number of the view among those of the image; the same view may serve several rows."""
    scale: float = 1.0
    angle: float = 0.0
    frame: int | None = None
    time_s: float | None = None
    moved: tuple[float, float, float] | None = None
    """(down, right, residual) since the frame before: px of the view, and grey levels."""


def tabulate(
    image: str,
    rows: Sequence[Row],
    scores: Float[np.ndarray, "view class"],
    kind: Kind,
    label: int | None = None,
    keep_scores: bool = False,
    *,
    threshold: float | None = None,
    score_step: float | None = None,
    embeddings: Float[np.ndarray, "view dimension"] | None = None,
) -> pa.Table:
    """The rows of one image.

    Args:
        image: Its id.
        rows: In order: a walk's steps one after the other.
        scores: The model's answers to the image's views. View 0 is the unmoved one.
        kind: What they are.
        label: The right class, where it is known.
        keep_scores: Add the answers themselves as a column: an embedder's embeddings, anyone else's scores.
        threshold: From which score on a sigmoid's class counts as positive; None takes `THRESHOLD`.
        score_step: See `probabilities_and_evidence`.
        embeddings: What an embedder answered to the views.
    """
    probabilities, evidence = probabilities_and_evidence(scores, kind, score_step)
    order = leading(scores, 6)
    view = np.array([row.view for row in rows])
    step = np.array([row.step for row in rows])
    lead, at = order[view], np.arange(len(rows))
    p = probabilities[view]
    ref = int(order[0, 0])
    previous = np.roll(lead[:, 0], 1)
    second = lead[:, min(1, lead.shape[1] - 1)]
    scores_of = scores[view]
    columns: dict[str, Any] = {
        "image": [image] * len(rows),
        "control": [row.control for row in rows],
        "walk": [row.walk for row in rows],
        "step": step,
        "dy": np.array([row.dy for row in rows], float),
        "dx": np.array([row.dx for row in rows], float),
        "scale": np.array([row.scale for row in rows], float),
        "angle": np.array([row.angle for row in rows], float),
        "frame": [row.frame for row in rows],
        "top1": lead[:, 0],
        "top1_p": p[at, lead[:, 0]],
        "top2_p": p[at, second],
        "margin": (evidence[view][at, lead[:, 0]] - evidence[view][at, second]),
        "tie": scores_of[at, lead[:, 0]] == scores_of[at, second] if lead.shape[1] > 1 else np.zeros(len(rows), bool),
        "tie_top5": scores_of[at, lead[:, 4]] == scores_of[at, lead[:, 5]]
        if lead.shape[1] > 5
        else np.zeros(len(rows), bool),
        "top5": list(lead[:, :5]),
        "top5_p": list(np.take_along_axis(p, lead[:, :5], axis=1)),
        "ref": np.full(len(rows), ref),
        "ref_p": p[:, ref],
        "first_p": pa.array(p[at, previous], mask=step == 0),
        "label": [label] * len(rows),
        "label_p": p[:, label] if label is not None else pa.nulls(len(rows), pa.float64()),
        "label_rank": rank(scores, label)[view] if label is not None else pa.nulls(len(rows), pa.int32()),
        "positives": [None] * len(rows),
        "distance": pa.nulls(len(rows), pa.float64()),
        "time_s": [row.time_s for row in rows],
        "moved_px": [row.moved and hypot(*row.moved[:2]) for row in rows],
        "moved_y": [row.moved and row.moved[0] for row in rows],
        "moved_x": [row.moved and row.moved[1] for row in rows],
        "residual": [row.moved and row.moved[2] for row in rows],
    }
    if kind == "sigmoid":
        # in the scores' own precision: a float32 0.7 must not fall below a threshold of 0.7
        above = scores >= scores.dtype.type(THRESHOLD if threshold is None else threshold)
        columns["positives"] = [np.flatnonzero(above[number]) for number in view]
    if embeddings is not None:
        columns["distance"] = pa.array(cosine_distances(embeddings[view]), mask=step == 0)
    schema = table_schema(keep_scores)
    if keep_scores:
        columns["scores"] = list((scores if embeddings is None else embeddings)[view].astype(np.float16))
    return pa.table(
        {name: pa.array(column, schema.field(name).type) for name, column in columns.items()}, schema=schema
    )


@dataclass(frozen=True)
class Predictions:
    """Rows of the table, as arrays. A walk's steps follow each other; an image's rows are together.

    Args:
        table: With the columns of ``SCHEMA``.
        classes: How many classes the model tells apart.
    """

    table: pa.Table
    classes: int

    def __getitem__(self, name: str) -> Shaped[np.ndarray, "row *more"]:
        """A column; ``top5`` as a matrix, missing numbers as NaN."""
        column = self.table[name].combine_chunks()
        if pa.types.is_list(column.type):
            return np.asarray(column.flatten()).reshape(len(column), -1)
        return np.asarray(column)

    @cached_property
    def images(self) -> list[str]:
        """The ids, in order of appearance."""
        return list(dict.fromkeys(self.table["image"].to_pylist()))

    @cached_property
    def image(self) -> Int[np.ndarray, "row"]:
        """The number of each row's image in `images`."""
        number = {name: at for at, name in enumerate(self.images)}
        return np.array([number[name] for name in self.table["image"].to_pylist()], dtype=np.int64)

    @cached_property
    def moved(self) -> Int[np.ndarray, "pair"]:
        """The rows that have a previous step: row ``moved - 1``."""
        return np.flatnonzero(self["step"] > 0)

    def per_image(
        self, values: Shaped[np.ndarray, "some"], rows: Shaped[np.ndarray, "some"]
    ) -> Float[np.ndarray, "image"]:
        """The sum over each image of values that belong to the given rows."""
        sums = np.bincount(self.image[rows], weights=values, minlength=len(self.images))
        return sums.astype(np.float64, copy=False)  # of no rows at all they are whole numbers

    def apart(self) -> "Predictions":
        """The same rows, every one an image of its own: so that a metric gives its series, row by row."""
        names = pa.array([str(row) for row in range(len(self.table))])
        return Predictions(self.table.set_column(self.table.column_names.index("image"), "image", names), self.classes)

    @cached_property
    def positive(self) -> tuple[Int[np.ndarray, "member"], Int[np.ndarray, "member"]]:
        """(rows, classes): every class that a row names as positive, row by row."""
        import pyarrow.compute as pc

        column = self.table["positives"].combine_chunks()
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        return np.repeat(np.arange(len(column)), counts), column.flatten().to_numpy(zero_copy_only=False)

    @cached_property
    def labelled(self) -> Int[np.ndarray, "some"]:
        """The rows whose right class is known."""
        return np.flatnonzero(self.table["label"].is_valid().to_numpy(zero_copy_only=False))

    def of(self, control: str | None) -> "Predictions":
        """The rows of one control, or those of the motion (None)."""
        import pyarrow.compute as pc

        column = self.table["control"]
        keep = pc.is_null(column) if control is None else pc.fill_null(pc.equal(column, control), False)
        return Predictions(self.table.filter(keep), self.classes)


def table_schema(keep_scores: bool) -> pa.Schema:
    """``SCHEMA``, with the model's answers as they came if they are kept."""
    return SCHEMA.append(pa.field("scores", pa.list_(pa.float16()))) if keep_scores else SCHEMA


def positive_from(threshold: float | None, kind: Kind) -> float | None:
    """From which score on a class counts as positive; None for models that don't score every class by itself.

    Raises:
        InputError: For a threshold that is no such score, or that the model has no use for.
    """
    if kind != "sigmoid":
        if threshold is not None:
            raise InputError(
                f"is for models that score every class by itself, not for {kind}",
                where="--threshold",
                todo="leave it out, or say --scores sigmoid if this one does",
            )
        return None
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(
            f"{threshold} is no score to begin from", where="--threshold", todo="give one above 0, up to 1"
        )
    return THRESHOLD if threshold is None else threshold


class Apart(NamedTuple):
    """What is to be said of some images of a shard."""

    skipped: Sequence[dict[str, str]] = ()
    """Those that could not be used, and why."""
    unheld: int = 0
    """How many had nothing that a crop chosen by content could hold on to."""

    def notes(self, classes: int) -> dict[bytes, bytes]:
        """The metadata of a shard's file."""
        return {
            b"classes": str(classes).encode(),
            b"skipped": json.dumps(list(self.skipped)).encode(),
            UNHELD: str(self.unheld).encode(),
        }


UNHELD = b"unheld"
"""Under what key a file notes how many of its images, or frames, had nothing to hold on to."""


def write_part(tables: Sequence[pa.Table], apart: Apart, classes: int, keep_scores: bool, path: Path) -> None:
    """One shard's rows, with what is to be said of some images of it, in one file."""
    table = pa.concat_tables([table_schema(keep_scores).empty_table(), *tables])
    pq.write_table(table.replace_schema_metadata(apart.notes(classes)), path, compression="zstd")


def read_parts(folder: str | Path, columns: Sequence[str] | None = None) -> Iterator[Predictions]:
    """The predictions of an audit, a shard at a time: whole images, in order.

    Args:
        folder: The audit's.
        columns: Which to read; None reads all.
    """
    for path in part_paths(folder):
        table = pq.read_table(path, columns=list(columns) if columns else None, partitioning=None)
        if len(table):  # none of a shard's images may be usable
            yield Predictions(table, int(table.schema.metadata[b"classes"]))


def read_skipped(folder: str | Path) -> list[dict[str, str]]:
    """The images that could not be used, with the reasons, in order."""
    metadata = (pq.read_schema(path).metadata for path in part_paths(folder))
    return [entry for notes in metadata for entry in json.loads(notes[b"skipped"])]


def unheld_remarks(folder: str | Path, count: int, what: str = "images") -> list[str]:
    """What a reader must know of pictures without texture, where the crop is chosen by content.

    Args:
        folder: The audit's.
        count: How many pictures it has.
        what: Their name.
    """
    found = sum(
        int((pq.read_metadata(path).metadata or {}).get(UNHELD, b"0")) for path in part_paths(folder)
    )  # fmt: skip
    return [f"{found} of {count} {what} have nothing to hold on to: their centre is kept"] if found else []


def part_paths(folder: str | Path) -> list[Path]:
    """The files of an audit's table.

    Raises:
        InputError: If there are none.
    """
    paths = sorted(Path(folder, "predictions").glob("part-*.parquet"))
    if not paths:
        raise InputError("no predictions here", where=folder, todo="give the folder that shiftable audit wrote")
    return paths


def changed(predictions: Predictions) -> Bool[np.ndarray, "pair"]:
    """Which pairs of adjacent steps have different top-1 classes."""
    top1, moved = predictions["top1"], predictions.moved
    return np.asarray(top1[moved] != top1[moved - 1])
