"""Masks from view to view: the classes of pixels, laid over one another as their views lie in the still scene."""

from collections.abc import Sequence
from math import nan

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Integer

from shiftable.auditing.motions.stage import Window
from shiftable.auditing.showing import Shown

Mask = Integer[np.ndarray, "height width"]
"""The class of every pixel of a view."""

Later = Integer[np.ndarray, "later_height later_width"]
Common = Integer[np.ndarray, "common_height common_width"]


def aligned(before: Mask, after: Later, was: Window, now: Window) -> tuple[Common, Common]:
    """The part of the scene that both views show, on the later view's grid: what it was before, and what it is.

    Each pixel of the later mask is paired with the earlier one's pixel that its centre falls into. Where the windows
    are equally large and lie whole pixels apart, these are slices of both, and nothing is lost to sampling.

    Args:
        before: The earlier view's.
        after: The later view's.
        was: The part of the still scene that the earlier view shows.
        now: The part that the later view shows.

    Example:
        >>> one, two = np.array([[1, 2, 3]]), np.array([[2, 3, 4]])
        >>> aligned(one, two, Window(0.0, 0.0, 1.0, 3.0), Window(0.0, 1.0, 1.0, 3.0))
        (array([[2, 3]]), array([[2, 3]]))
    """
    rows = _under(before.shape[0], after.shape[0], was[0::2], now[0::2])
    columns = _under(before.shape[1], after.shape[1], was[1::2], now[1::2])
    (from_y, to_y), (from_x, to_x) = rows, columns
    return before[np.ix_(from_y, from_x)], after[np.ix_(to_y, to_x)]


def mean_iou(before: Mask, after: Mask) -> float:
    """Intersection over union of two masks' classes, averaged over those present in either. 0 to 1; NaN if empty.

    Example:
        >>> mean_iou(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 2]]))  # 1, 1/2 and 0
        0.5
    """
    if not before.size:
        return nan
    count = int(max(before.max(), after.max())) + 1
    old, new, shared = (np.bincount(m.ravel(), minlength=count) for m in (before, after, before[before == after]))
    either = old + new - shared
    shared, either = shared[either > 0], either[either > 0]
    return float((shared / either).mean())


def compare_masks(shown: Shown, masks: Sequence[Mask]) -> dict[str, pa.Array]:
    """For every row ``pixels`` (compared), ``changed`` (of another class than a step before) and ``miou``.

    Null at step 0.

    Args:
        shown: The image, its windows known.
        masks: One per view.
    """
    windows, rows = shown.windows or (), shown.rows
    pixels, changed, miou = np.zeros(len(rows), int), np.zeros(len(rows), int), np.full(len(rows), nan)
    first = np.array([row.step == 0 for row in rows])
    for at in np.flatnonzero(~first).tolist():
        was, now = rows[at - 1].view, rows[at].view
        old, new = aligned(masks[was], masks[now], windows[was], windows[now])
        pixels[at], changed[at], miou[at] = old.size, (old != new).sum(), mean_iou(old, new)
    return {
        "pixels": pa.array(pixels, pa.int64(), mask=first),
        "changed": pa.array(changed, pa.int64(), mask=first),
        "miou": pa.array(miou, pa.float64(), mask=np.isnan(miou)),
    }


def _under(
    earlier: int, later: int, was: tuple[float | int, ...], now: tuple[float | int, ...]
) -> tuple[Int[np.ndarray, "common"], Int[np.ndarray, "common"]]:
    """Along one axis: the earlier view's pixels under the later view's pixel centres, and these pixels' numbers."""
    (begin, length), (start, extent) = was, now
    # relative to the earlier view's corner first: exact for whole pixels, wherever in the scene they are
    under = np.floor((start - begin + (np.arange(later) + 0.5) * (extent / later)) * (earlier / length)).astype(int)
    common = np.flatnonzero((under >= 0) & (under < earlier))
    return under[common], common
