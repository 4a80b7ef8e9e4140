"""Masks from view to view: the classes of pixels, laid over one another as their views lie in the still scene."""

from collections.abc import Sequence
from math import ceil, nan

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Integer

from shiftable.auditing.motions.stage import Window
from shiftable.auditing.showing import Shown

Mask = Integer[np.ndarray, "height width"]
"""The class of every pixel of a view."""

Later = Integer[np.ndarray, "later_height later_width"]
Common = Integer[np.ndarray, "common_height common_width"]


MOST_COUNTED = 2**16
"""Classes of larger numbers are renumbered before they are counted."""

WHOLE_PX = 1e-6
"""Pixels that lie no farther apart are taken to lie on each other."""


def aligned(before: Mask, after: Later, was: Window, now: Window) -> tuple[Common, Common]:
    """The part of the scene that both views show, on the later view's grid: what it was before, and what it is.

    Where the windows are equally large and lie whole pixels apart, these are slices of both. Between pixels a mask says
    nothing: the centre of a later pixel lies among those of up to four earlier ones, and if any of these has its class,
    then that is what it was; else it was what the nearest is. So a border that stands still is not counted as one that
    moves, only because it was looked at in other places. A later pixel whose centre lies among none is left out.

    Args:
        before: The earlier view's.
        after: The later view's.
        was: The part of the still scene that the earlier view shows.
        now: The part that the later view shows.

    Example:
        >>> one, two = np.array([[1, 2, 3]]), np.array([[2, 3, 4]])
        >>> aligned(one, two, Window(0.0, 0.0, 1.0, 3.0), Window(0.0, 1.0, 1.0, 3.0))
        (array([[2, 3]]), array([[2, 3]]))
        >>> aligned(one, two, Window(0.0, 0.0, 1.0, 3.0), Window(0.0, 0.3, 1.0, 3.0))
        (array([[2, 3]]), array([[2, 3]]))
    """
    (nearest_y, others_y, to_y), (nearest_x, others_x, to_x) = (
        _under(before.shape[axis], after.shape[axis], was[axis::2], now[axis::2]) for axis in (0, 1)
    )
    old, new = before[np.ix_(nearest_y, nearest_x)], after[np.ix_(to_y, to_x)]
    for from_y in (nearest_y, others_y):
        for from_x in (nearest_x, others_x):
            if from_y is not None and from_x is not None and (old != new).any():
                near = before[np.ix_(from_y, from_x)]
                old = np.where(near == new, near, old)
    return old, new


def cut_out(mask: Mask, window: Window, part: Window) -> tuple[Common, Window]:
    """The pixels of a mask whose centres lie in a part of the scene, and the window that these are.

    Args:
        mask: A view's.
        window: The part of the scene that the view shows.
        part: The part that is wanted.

    Example:
        >>> bars = np.array([[0], [7], [8], [0]])
        >>> cut_out(bars, Window(-2.0, 0.0, 8.0, 2.0), Window(0.0, 0.0, 4.0, 2.0))
        (array([[7],
               [8]]), Window(y=0.0, x=0.0, height=4.0, width=2.0))
    """
    kept, sides = [], []
    for axis in (0, 1):
        (begin, length), (start, extent), count = window[axis::2], part[axis::2], mask.shape[axis]
        px = length / count
        low, high = (
            min(max(ceil(round(end / px - 0.5, 6)), 0), count) for end in (start - begin, start + extent - begin)
        )
        kept.append(slice(low, max(low, high)))
        sides.append((begin + low * px, max(0, high - low) * px))
    (y, height), (x, width) = sides
    return mask[kept[0], kept[1]], Window(y, x, height, width)


def mean_iou(before: Mask, after: Mask) -> float:
    """Intersection over union of two masks' classes, averaged over those present in either. 0 to 1; NaN if empty.

    Example:
        >>> mean_iou(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 2]]))  # 1, 1/2 and 0
        0.5
    """
    if not before.size:
        return nan
    count = int(max(before.max(), after.max())) + 1
    if count > MOST_COUNTED:  # numbers like colours: they are counted without the gaps
        _, packed = np.unique(np.stack([before, after]), return_inverse=True)
        before, after = packed.reshape(2, *before.shape)
        count = int(packed.max()) + 1
    old, new, shared = (np.bincount(m.ravel(), minlength=count) for m in (before, after, before[before == after]))
    either = old + new - shared
    shared, either = shared[either > 0], either[either > 0]
    return float((shared / either).mean())


def compare_masks(shown: Shown, masks: Sequence[Mask]) -> dict[str, pa.Array]:
    """For every row ``pixels`` (compared), ``changed`` (of another class than a step before) and ``miou``.

    Null at step 0.

    Args:
        shown: The image, its windows known. Bars and fills around the picture are not compared.
        masks: One per view.
    """
    windows, rows = shown.windows or (), shown.rows
    parts = [cut_out(*each) for each in zip(masks, windows, shown.pictures or windows, strict=True)]
    pixels, changed, miou = np.zeros(len(rows), int), np.zeros(len(rows), int), np.full(len(rows), nan)
    first = np.array([row.step == 0 for row in rows])
    for at in np.flatnonzero(~first).tolist():
        (before, was), (after, now) = parts[rows[at - 1].view], parts[rows[at].view]
        old, new = aligned(before, after, was, now)
        pixels[at], changed[at], miou[at] = old.size, (old != new).sum(), mean_iou(old, new)
    return {
        "pixels": pa.array(pixels, pa.int64(), mask=first),
        "changed": pa.array(changed, pa.int64(), mask=first),
        "miou": pa.array(miou, pa.float64(), mask=np.isnan(miou)),
    }


def _under(
    earlier: int, later: int, was: tuple[float | int, ...], now: tuple[float | int, ...]
) -> tuple[Int[np.ndarray, "common"], Int[np.ndarray, "common"] | None, Int[np.ndarray, "common"]]:
    """Along one axis: the earlier pixels nearest to later ones, the next nearest, and these later pixels' numbers.

    The next nearest are None where all pixels lie on each other.
    """
    (begin, length), (start, extent) = was, now
    if not earlier or not later:
        nothing = np.zeros(0, int)
        return nothing, None, nothing
    # relative to the earlier view's corner first: exact for whole pixels, wherever in the scene they are
    place = (start - begin + (np.arange(later) + 0.5) * (extent / later)) * (earlier / length) - 0.5
    nearest = np.floor(place + 0.5).astype(int)
    apart = place - nearest
    on = np.abs(apart) <= WHOLE_PX
    beyond = np.where(on, nearest, nearest + np.where(apart < 0, -1, 1))
    common = np.flatnonzero((np.minimum(nearest, beyond) >= 0) & (np.maximum(nearest, beyond) < earlier))
    return nearest[common], None if on.all() else beyond[common], common
