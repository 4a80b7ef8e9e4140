"""An embedder, audited as a classifier whose classes are the images of the set.

Its answer to a view is the nearest of the *other* images, as they are unmoved, by the cosine of the embeddings: so
``p_top1_change`` is how often one pixel makes retrieval find another image, and everything that an audit does with
classes works on it. That one pixel of realistic motion changes the embeddings of CLIP and DINOv2 much is said by
Shifman & Weiss, "Lost in Translation", ECCV 2024 (arXiv 2404.07153).

A class's number is its image's place in the list of images, whether or not the images before it can be used.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Shaped

from shiftable.auditing.predictions import tabulate
from shiftable.auditing.scoring import directions
from shiftable.auditing.showing import Show, Shown, show_or_say
from shiftable.data import Sample
from shiftable.engine import in_batches, run_shards
from shiftable.errors import InputError

REFERENCES = "references"
LEAST_IMAGES = 3
"""With fewer, an image has one other at most, and the nearest can't change."""

NEVER = -2.0
"""The similarity to an image that can't be found: a view's own, and those that can't be used. Cosines end at −1."""

GRAIN = 2.0**26
"""Unit vectors are rounded to multiples of 1 / GRAIN (error of a cosine: 5e-9, less than float32's own), so that every
product and every sum of them is exact in double precision. A similarity then depends on the two embeddings alone, not
on the order in which a library adds: two copies of an image are equally near, and the same view is at the same place.
"""

Ask = Callable[[Shaped[np.ndarray, "..."]], Shaped[np.ndarray, "..."]]
Numbered = tuple[int, Sample]


@dataclass(frozen=True)
class References:
    """The images as they are unmoved.

    Args:
        numbers: Image → its class.
        units: Their embeddings' directions, rounded. Those of images that can't be used are 0.
        usable: Which can be used.
    """

    numbers: Mapping[str, int]
    units: Float[np.ndarray, "image dimension"]
    usable: Bool[np.ndarray, "image"]

    def similarities(
        self, image: str, embeddings: Float[np.ndarray, "view dimension"]
    ) -> Float[np.ndarray, "view image"]:
        """The cosines between the embeddings of an image's views and those of all images; `NEVER` for its own."""
        found = rounded_units(embeddings, image) @ self.units.T
        found[:, ~self.usable] = NEVER
        found[:, self.numbers[image]] = NEVER
        return np.asarray(found)


def rounded_units(embeddings: Float[np.ndarray, "view dimension"], image: str) -> Float[np.ndarray, "view dimension"]:
    """Embeddings as unit vectors whose scalar products are exact: see `GRAIN`.

    Raises:
        InputError: If one is infinite, or 0 and has no direction.
    """
    if not np.isfinite(embeddings).all() or not embeddings.any(axis=1).all():
        raise InputError(
            "the model's embedding is 0 or infinite, so it is near to nothing", where=image, todo="look at its weights"
        )
    return np.asarray(np.rint(directions(embeddings) * GRAIN) / GRAIN)


def without_labels(samples: Sequence[Sample], asked: bool) -> tuple[list[Sample], list[str]]:
    """The images of an embedder's audit, with a remark if labels were given.

    Raises:
        InputError: If there are too few, or two of one name: names are what its answers are called.
    """
    if twice := [name for name, times in Counter(sample.id for sample in samples).items() if times > 1]:
        raise InputError(f"two images are called {twice[0]}", todo="give every image a name of its own")
    _enough(len(samples), len(samples), None)
    remarks = ["an embedder's answers are images, not classes: the labels are not used"] if asked else []
    return [replace(sample, label=None) for sample in samples], remarks


def gather_references(
    ask: Ask,
    show: Show,
    shards: Sequence[Sequence[Numbered]],
    folder: Path,
    batch_size: int,
    strict: bool,
    workers: int,
) -> References:
    """Embed every image as it is unmoved: the first pass, done once and taken up again where it was stopped.

    Args:
        ask: The model.
        show: How the audit shows its images: those it can't show are no references either.
        shards: The numbered images.
        folder: The audit's; the embeddings go to ``references/`` in it, float32.
        batch_size: Views at once.
        strict: Whether an image that can't be used ends it.
        workers: Images decoded at once.

    Raises:
        InputError: If fewer than three images can be used.
    """
    numbered = [number_and_sample for shard in shards for number_and_sample in shard]
    numbers = {sample.id: number for number, sample in numbered}
    paths = run_shards(
        shards,
        folder / REFERENCES,
        load=partial(show_or_say, replace(show, controls=False)),
        work=partial(_embed, ask, numbers, batch_size, strict),
        workers=workers,
    )
    tables = [pq.read_table(path, partitioning=None) for path in paths]
    usable = np.zeros(len(numbered), bool)
    units: Float[np.ndarray, "image dimension"] | None = None
    for table in tables:
        if not len(table):
            continue
        embeddings = np.asarray(table["embedding"].combine_chunks().flatten()).reshape(len(table), -1)
        rows = np.asarray(table["number"])
        if units is None:
            units = np.zeros((len(numbered), embeddings.shape[1]))
        units[rows], usable[rows] = rounded_units(embeddings, table["image"][0].as_py()), True
    reasons = (reason for table in tables for reason in table.schema.metadata[b"skipped"].decode().splitlines())
    _enough(int(usable.sum()), len(numbered), next(reasons, None))
    assert units is not None, "three images or more are usable"
    return References(numbers, units, usable)


def tabulate_neighbours(
    references: References, keep_scores: bool, shown: Shown, embeddings: Float[np.ndarray, "view dimension"]
) -> pa.Table:
    """The rows of one image: `tabulate` with the similarities to the other images for scores."""
    similarities = references.similarities(shown.sample.id, embeddings)
    return tabulate(
        shown.sample.id, shown.rows, similarities, "similarity", keep_scores=keep_scores, embeddings=embeddings
    )


def read_ids(folder: str | Path) -> dict[int, str]:
    """Class → the image that it stands for, of an embedder's audit. Images that could not be used are left out.

    Raises:
        InputError: If the references are gone.
    """
    paths = sorted(Path(folder, REFERENCES).glob("part-*.parquet"))
    if not paths:
        raise InputError("no references here", where=folder, todo="run the audit again")
    tables = (pq.read_table(path, columns=["number", "image"], partitioning=None) for path in paths)
    return {row["number"]: row["image"] for table in tables for row in table.to_pylist()}


def _embed(
    ask: Ask,
    numbers: Mapping[str, int],
    batch_size: int,
    strict: bool,
    loaded: Iterable[Shown | InputError],
    path: Path,
) -> None:
    """One shard of references."""
    skipped: list[str] = []

    def unmoved() -> Iterator[tuple[str, Sequence[np.ndarray]]]:
        for shown in loaded:
            if isinstance(shown, Shown):
                yield shown.sample.id, shown.views[:1]
            elif strict:
                raise shown
            else:
                skipped.append(" ".join(f"{shown.where}: {shown.what}".split()))

    found = list(in_batches(unmoved(), ask, batch_size))
    for image, embedding in found:
        rounded_units(embedding, image)  # better refused before it is kept
    columns = {
        "number": pa.array([numbers[image] for image, _ in found], pa.int32()),
        "image": pa.array([image for image, _ in found], pa.string()),
        "embedding": pa.array([embedding[0].astype(np.float32) for _, embedding in found], pa.list_(pa.float32())),
    }
    table = pa.table(columns).replace_schema_metadata({b"skipped": "\n".join(skipped).encode()})
    pq.write_table(table, path, compression="zstd")


def _enough(usable: int, listed: int, reason: str | None) -> None:
    if usable < LEAST_IMAGES:
        why = f" ({reason})" if reason else ""
        raise InputError(
            f"{usable} of {listed} images can be used{why}; to find the nearest of the others takes {LEAST_IMAGES}",
            todo="give more images",
        )
