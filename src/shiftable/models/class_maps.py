"""The class of every pixel, from maps that may be coarser than the view: enlarged as the libraries do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Int32, Shaped

from shiftable.models.preprocessing import Size


def fits(map_size: Size, view_size: Size) -> bool:
    """Whether a map may be of this view: as large or coarser, and of its proportions but for rounding.

    Example:
        >>> fits((65, 65), (513, 513)), fits((60, 80), (480, 640)), fits((80, 60), (480, 640))
        (True, True, False)
    """
    inside = all(0 < side <= most for side, most in zip(map_size, view_size, strict=True))
    return inside and _disproportion(map_size, view_size) <= 2 / min(view_size)


def _disproportion(map_size: Size, view_size: Size) -> float:
    down, along = (side / whole for side, whole in zip(map_size, view_size, strict=True))
    return abs(down - along)


def enlarged_classes(classes: Int[np.ndarray, "rows columns"], size: Size) -> Int32[np.ndarray, "height width"]:
    """A map of classes at another size, by the nearest cell.

    Example:
        >>> enlarged_classes(np.array([[1, 2]]), (2, 4))
        array([[1, 1, 2, 2],
               [1, 1, 2, 2]], dtype=int32)
    """
    if classes.shape == tuple(size):
        return classes.astype(np.int32, copy=False)
    down, along = (_centres(new, old).astype(int) for new, old in zip(size, classes.shape, strict=True))
    larger: np.ndarray = classes[down[:, None], along].astype(np.int32)
    return larger


def enlarged_logits(
    logits: Float[np.ndarray, "class rows columns"], size: Size
) -> Float[np.ndarray, "class height width"]:
    """Logits at another size, bilinear, as ``torch.nn.functional.interpolate(…, align_corners=False)`` does."""
    for axis, new in ((1, size[0]), (2, size[1])):
        old = logits.shape[axis]
        if new == old:
            continue
        at = (_centres(new, old) - 0.5).clip(0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
        nearer, farther = logits.take(low, axis), logits.take(np.minimum(low + 1, old - 1), axis)
        logits = nearer + share * (farther - nearer)
    return logits


def _centres(new: int, old: int) -> Float[np.ndarray, "new"]:
    """Where the centres of the new cells lie among the old ones."""
    return (np.arange(new) + 0.5) * old / new


def class_map(output: Shaped[np.ndarray, "..."], view_size: Size, layout: str) -> Int32[np.ndarray, "height width"]:
    """The class of every pixel of one view, where an output tells without a decoder.

    Args:
        output: Of a batch of one: whole numbers, a class per pixel or per cell of a coarser map; or numbers with a
            fraction, a logit per class and cell, which are enlarged before the largest is taken.
        view_size: (height, width) in px.
        layout: ``"NCHW"`` or ``"NHWC"``, as the file takes its images: where the classes are, if both could be.

    Raises:
        ValueError: If it is neither.
    """
    if not np.issubdtype(output.dtype, np.floating):
        plain = output.reshape([side for side in output.shape[1:] if side > 1]) if output.ndim > 2 else output
        if np.issubdtype(plain.dtype, np.integer) and plain.ndim == 2 and fits(_pair(plain.shape), view_size):
            return enlarged_classes(plain.astype(np.int32), view_size)
    elif len(output) == 1 and (logits := _class_first(output, view_size, layout)) is not None:
        largest: np.ndarray = enlarged_logits(logits[0], view_size).argmax(axis=0).astype(np.int32)
        return largest
    raise ValueError("no map of classes")


def _class_first(
    output: Shaped[np.ndarray, "..."], view_size: Size, layout: str
) -> Float[np.ndarray, "view class rows columns"] | None:
    """A logit per class and cell, if these may be some of a view of this size."""
    if output.ndim != 4:
        return None
    ways = [output, output.transpose(0, 3, 1, 2)][:: -1 if layout == "NHWC" else 1]
    may = [each for each in ways if each.shape[1] > 1 and fits(_pair(each.shape[2:]), view_size)]
    return min(may, key=lambda each: _disproportion(_pair(each.shape[2:]), view_size), default=None)


CELL_PX = 16
"""Segmenters' cells are seldom so large, detectors' often."""


def cells_assumed(output: Shaped[np.ndarray, "view *axes"], view_size: Size, layout: str) -> tuple[str, ...]:
    """What `class_map` takes an output for, a sentence where that was not said.

    Args:
        output: For some views, as for `class_map`.
        view_size: (height, width) in px.
        layout: ``"NCHW"`` or ``"NHWC"``.

    Raises:
        ValueError: If it looks like a detector's: large cells, and from 0 to 1 without summing to 1 (sigmoids), or
            some of the numbers of each cell alone sum to 1 (probabilities behind a box).
    """
    if not np.issubdtype(output.dtype, np.floating):
        return ()
    logits = _class_first(output, view_size, layout)
    assert logits is not None, "class_map took it"
    _, classes, rows, columns = logits.shape
    shape = f"{classes} numbers for each of {rows}×{columns} cells"
    if CELL_PX * rows <= view_size[0] and _like_a_detectors(logits):
        raise ValueError(f"its output ({shape}) looks like a detector's, not like logits of classes")
    return (
        f"its output ({shape}) says nothing of itself: {classes} logits per cell were assumed; "
        "give a --decoder if they are something else",
    )


def _like_a_detectors(numbers: Float[np.ndarray, "view class rows columns"]) -> bool:
    if numbers.min() < 0 or numbers.max() > 1:
        last = numbers[:, ::-1]
        one = np.isclose(last.cumsum(axis=1), 1, atol=0.01) & (np.minimum.accumulate(last, axis=1) >= 0)
        return bool(one.all(axis=(0, 2, 3))[1:-1].any())
    return not np.allclose(numbers.sum(axis=1), 1, atol=0.01)


def _pair(shape: Sequence[int]) -> Size:
    height, width = shape
    return height, width
