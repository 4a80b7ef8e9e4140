"""The heat map: an image per tile, a view (or a pair of views) per cell, light where the model does well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from shiftable.auditing import Audit, Predictions, Walk
from shiftable.report.motion_words import places_of, words_of
from shiftable.report.tallies import target
from shiftable.report.wording import shorten

MOST_ROWS, MOST_CELLS = 500, 80_000
"""What a page shows: the cells bound its size, however long the walks are."""

LONGEST_ID, LONGEST_NAME = 160, 80


@dataclass(frozen=True)
class HeatMap:
    """What is drawn, image by image. A sweep's tile is a line, a grid's a square, and that of pairs a column of pairs.

    Args:
        ids: The images.
        tile: (height, width) of an image's tile in cells.
        right: The class that counts as right: the label or, without one, the answer to the unmoved view.
        labelled: Whether it is a label.
        top1: The answer; -1 where there is no view.
        p: Its probability.
        first: Of pairs, the answer to the first view; else None. `top1` is that to the second.
        first_p: The probability of `first`, in the first view.
        places: Where the view was: (down, right) in px, % larger, or degrees counter-clockwise.
        of: Which of these: ``"shift"``, ``"scale"`` or ``"angle"``.
    """

    ids: Sequence[str]
    tile: tuple[int, int]
    right: Int[np.ndarray, "image"]
    labelled: Bool[np.ndarray, "image"]
    top1: Int[np.ndarray, "image cell"]
    p: Float[np.ndarray, "image cell"]
    first: Int[np.ndarray, "image cell"] | None
    first_p: Float[np.ndarray, "image cell"] | None
    places: Float[np.ndarray, "image cell number"]
    of: str

    @property
    def light(self) -> Bool[np.ndarray, "image cell"]:
        """Where the answer is right; of pairs, where both answers are the same."""
        return np.asarray(self.top1 == (self.right[:, None] if self.first is None else self.first))

    @property
    def missing(self) -> Bool[np.ndarray, "image cell"]:
        """Where there is no view, because the image's walk is shorter."""
        return np.asarray(self.top1 < 0)


def most_rows(audit: Audit) -> int:
    """How many images a page has room for."""
    return max(1, min(MOST_ROWS, MOST_CELLS // int(np.prod(_tile(audit)))))


def heat_map(audit: Audit, images: Sequence[Predictions]) -> HeatMap:
    """The heat map of the chosen images, sorted.

    Args:
        audit: Its walk says how the tiles look.
        images: The rows of each image.
    """
    tile, paired, words = _tile(audit), audit.walk["shape"] in ("pairs", "random"), words_of(audit)
    if audit.walk["shape"] == "sweep":
        tile = 1, max(int(image["step"].max()) + 1 for image in images)  # walks may all be shorter than asked for
    cells = [
        _cells(image, int(np.prod(tile)), _places_in_tile(audit, image), paired, places_of(words, image))
        for image in images
    ]
    stacked = {name: np.stack([each[name] for each in cells]) for name in cells[0]}
    right = np.array([target(image)[0] for image in images])
    labelled = np.array([bool(len(image.labelled)) for image in images])
    heat = HeatMap(
        [image.images[0] for image in images], tile, right, labelled, stacked["top1"], stacked["p"],
        stacked.get("first"), stacked.get("first_p"), stacked["places"], words.of,
    )  # fmt: skip
    return _sorted(heat)


def _tile(audit: Audit) -> tuple[int, int]:
    walk = Walk(**audit.walk)
    side = 2 * walk.radius_px + 1
    return {"sweep": (1, walk.steps), "grid": (side, side)}.get(walk.shape, (walk.walks, 1))


def _places_in_tile(audit: Audit, image: Predictions) -> Int[np.ndarray, "row"]:
    """The cell of each row; -1 for a row that is not drawn: of a grid's two walks through a place, one is enough."""
    walk, step = image["walk"].astype(np.int64), image["step"].astype(np.int64)
    if audit.walk["shape"] == "grid":
        side = _tile(audit)[0]
        return np.where(walk < side, walk * side + step, -1)
    return step if audit.walk["shape"] == "sweep" else np.where(step == 1, walk, -1)


def _cells(
    image: Predictions,
    count: int,
    cell: Int[np.ndarray, "row"],
    paired: bool,
    places: Float[np.ndarray, "row number"],
) -> dict[str, np.ndarray]:
    rows = np.flatnonzero((cell >= 0) & (cell < count))

    def laid(values: np.ndarray, empty: float | int) -> np.ndarray:
        out = np.full((count, *values.shape[1:]), empty, values.dtype)
        out[cell[rows]] = values
        return out

    top1, p = image["top1"].astype(np.int64), image["top1_p"]
    laid_out = {"top1": laid(top1[rows], -1), "p": laid(p[rows], np.nan), "places": laid(places[rows], np.nan)}
    if paired:
        laid_out |= {"first": laid(top1[rows - 1], -1), "first_p": laid(p[rows - 1], np.nan)}
    return laid_out


def _sorted(heat: HeatMap) -> HeatMap:
    """Images with most light first. Pairs are drawn at random: within an image, those that agree come first, too."""
    light, missing = heat.light, heat.missing
    images = np.argsort(-(light & ~missing).sum(axis=1) / np.maximum((~missing).sum(axis=1), 1), kind="stable")
    cells = np.tile(np.arange(light.shape[1]), (len(light), 1))
    if heat.first is not None:
        cells = np.argsort(~light, axis=1, kind="stable")

    def turned(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, cells.reshape(*cells.shape, *[1] * (values.ndim - 2)), axis=1)[images]

    first, first_p = heat.first, heat.first_p
    return HeatMap(
        [heat.ids[image] for image in images], heat.tile, heat.right[images], heat.labelled[images], turned(heat.top1),
        turned(heat.p), None if first is None else turned(first), None if first_p is None else turned(first_p),
        turned(heat.places), heat.of,
    )  # fmt: skip


def heat_json(heat: HeatMap, named: Callable[[int], str]) -> dict[str, Any]:
    """The heat map for the page's script: answers as indices into a table of names, probabilities in thousandths."""
    answers = [heat.top1, heat.right] + ([] if heat.first is None else [heat.first])
    used = np.unique(np.concatenate([answer.ravel() for answer in answers]))
    used = used[used >= 0]

    def index(classes: np.ndarray) -> list[Any]:
        return np.where(classes < 0, -1, np.searchsorted(used, classes)).tolist()  # type: ignore[no-any-return]

    shared = heat.first is None and not heat.missing.any() and bool((heat.places == heat.places[0]).all())
    content = {
        "tile": list(heat.tile),
        "ids": [shorten(name, LONGEST_ID) for name in heat.ids],
        "names": [shorten(named(int(number)), LONGEST_NAME) for number in used],
        "right": index(heat.right),
        "labelled": heat.labelled.astype(int).tolist(),
        "top": index(heat.top1),
        "p": _thousandths(heat.p),
        "of": heat.of,
        "places": _plain(heat.places[: 1 if shared else None]),
    }
    if heat.first is not None and heat.first_p is not None:
        content |= {"first": index(heat.first), "firstP": _thousandths(heat.first_p)}
    return content


def heat_words(audit: Audit, heat: HeatMap, images: int) -> Mapping[str, Any]:
    """What the page says about the heat map: title, how to read it, legend, summary, and how its images were chosen.

    Args:
        audit: Its walk and labels choose the words.
        heat: The map.
        images: How many there are in all.
    """
    shape, labels, words = audit.walk["shape"], bool(audit.images["labelled"]), words_of(audit)
    if heat.first is not None:
        title, good, bad = "Which images change", "same answer", "another answer"
    elif labels:
        title, good, bad = "Where the answer is right", "right", "wrong"
    else:
        title, good, bad = "Where the answer stays", "as unmoved", "another answer"
    shown = len(heat.ids)
    chosen = f"Shown are {shown:,} of {images:,} images, at equal quantiles of how often their answer changes."
    return {
        "title": title,
        "good": good,
        "bad": bad,
        "reading": READING[shape].format(apart=words.apart, at_most=words.at_most)
        + (" White is where a walk has no more places." if heat.missing.any() else ""),
        "summary": _summary(heat, good),
        "chosen": None if shown == images else chosen,
        "shape": shape,
    }


READING = {
    "sweep": "A row is an image, a column a place along the walk. A steady model draws rows of one shade.",
    "grid": "A square is an image, a cell in it a place of the view. A steady model draws squares of one shade.",
    "pairs": "A column is an image, a cell in it a pair of views {apart}.",
    "random": "A column is an image, a cell in it a pair of views {at_most}.",
}


def _summary(heat: HeatMap, good: str) -> str:
    everywhere = (heat.light | heat.missing).all(axis=1)
    nowhere = ~(heat.light & ~heat.missing).any(axis=1)
    where = (
        "in every pair, {} in none and {} in some"
        if heat.first is not None
        else "at every place, {} at none and {} at some"
    )
    said = where.format(int(nowhere.sum()), int((~everywhere & ~nowhere).sum()))
    return f"{good.capitalize()}, of {len(heat.ids):,} images: {int(everywhere.sum())} {said}."


def _thousandths(p: Float[np.ndarray, "image cell"]) -> list[Any]:
    return np.rint(1000 * np.nan_to_num(p)).astype(int).tolist()  # type: ignore[no-any-return]


def _plain(places: Float[np.ndarray, "image cell number"]) -> list[Any]:
    """Numbers as short as can be; 0 where there is no view."""
    rounded = np.nan_to_num(places).round(4)
    return (rounded.astype(int) if (rounded == rounded.astype(int)).all() else rounded).tolist()  # type: ignore[no-any-return]
