"""Pairs of views of a segmenter: which pixels change class, and from which to which."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from shiftable.auditing.objects.masks import Mask, aligned, cut_out
from shiftable.models import Model
from shiftable.report.objects_pairs import Pair, Picture, Rows, Side, View, few, sides_of
from shiftable.report.wording import count


def sorted_pair(
    rows: Rows,
    views: Sequence[View] | None,
    model: Model | None,
    named: Callable[[int], str],
    size: tuple[int, int],
) -> Pair:
    """A segmenter's pair, with the pixels that change class.

    Args:
        rows: Of the pair.
        views: The pictures and what they show of the scene, if they are still there.
        model: Asked again, for the table has no masks; None shows the pictures alone.
        named: Gives a class's name.
        size: (height, width) of the view in px.
    """
    row = rows.views[1]
    title = f"{count(row['changed'], 'pixel')} of {row['pixels']:,} change class"
    title += "" if row["miou"] is None else f"; mIoU {row['miou']:.3f}"
    sides = sides_of(rows, views, size, ((), ()))
    said: list[str] = []
    if model is not None and views is not None:
        masks = [np.asarray(model(view.pixels[None]))[0] for view in views]
        changed, said = _changes(masks, views, named)
        whole = (0.0, 0.0, float(size[1]), float(size[0]))
        sides.append(Side(hatched(views[1].pixels, changed), size, whole, "What changes class", ()))
    return Pair(rows.views[0]["image"], title, few(said), sides)


def _changes(
    masks: Sequence[Mask], views: Sequence[View], named: Callable[[int], str]
) -> tuple[Bool[np.ndarray, "height width"], list[str]]:
    """Which pixels of the second view are of another class in the first, and from which class to which."""
    numbers = np.arange(masks[1].size).reshape(masks[1].shape)
    parts = [cut_out(mask, view.window, view.picture) for mask, view in zip(masks, views, strict=True)]
    (before, behind), (after, here) = parts
    was, now = aligned(before, after, behind, here)
    _, place = aligned(before, cut_out(numbers, views[1].window, views[1].picture)[0], behind, here)
    changed = np.zeros(masks[1].size, bool)
    changed[place[was != now]] = True
    kinds, counts = np.unique(np.stack([was[was != now], now[was != now]]), axis=1, return_counts=True)
    said = [
        f"{named(int(kinds[0, at]))} → {named(int(kinds[1, at]))}: {count(int(counts[at]), 'pixel')}"
        for at in np.argsort(-counts, kind="stable")
    ]
    return changed.reshape(masks[1].shape), said


def hatched(picture: Picture, marked: Bool[np.ndarray, "height width"]) -> Picture:
    """A picture in pale grey, with some pixels in stripes of black and yellow: seen without colour too."""
    grey = (150 + picture.mean(axis=2) * 0.3).astype(np.uint8)
    pale = np.repeat(grey[..., None], 3, axis=2)
    y, x = np.indices(marked.shape)
    stripe = (y + x) // max(2, marked.shape[1] // 100) % 2 == 0
    pale[marked & stripe] = (0, 0, 0)
    pale[marked & ~stripe] = (255, 214, 0)
    return pale
