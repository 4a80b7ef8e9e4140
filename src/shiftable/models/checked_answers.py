"""What detectors, segmenters and key-point models answer, checked: mistakes are told, not drawn as boxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int32, Shaped

from shiftable.errors import InputError
from shiftable.models.answers import Detections, Poses, SegmentAnswers
from shiftable.models.class_maps import enlarged_classes, fits
from shiftable.models.preprocessing import Size
from shiftable.models.protocol import Task

Answer: TypeAlias = Detections | Poses | Int32[np.ndarray, "height width"]
"""To one view."""

MUST: Mapping[str, str] = {
    "detect": "Detections, or (boxes, scores, classes): n × 4 numbers x0, y0, x1, y1 in px of the view, n scores from "
    "0 to 1, n whole numbers from 0",
    "keypoints": "Poses, or (points, scores): persons × points × 3 numbers x, y in px of the view and a score from 0 "
    "to 1, and a score from 0 to 1 for each person",
    "segment": "a 2-D array of whole numbers from 0: a class per pixel of the view, or per cell of a coarser map",
}
"""What a decoder must return, by task."""

ROUNDING = 1e-4
"""How far beyond 0 or 1 a score may be that was rounded."""


def checked(found: object, task: Task, view_size: Size, who: object) -> Answer:
    """An answer to one view, if it is one.

    Args:
        found: What was returned: an answer, or what it consists of as a tuple.
        task: ``"detect"``, ``"segment"`` or ``"keypoints"``.
        view_size: (height, width) in px.
        who: Returned it, for errors.

    Raises:
        InputError: If it is of another form, or holds numbers that can't be.
    """
    try:
        return CHECKS[task](found, view_size)
    except ValueError as error:
        raise InputError(f"returns {error}", where=who, todo=f"it must return {MUST[task]}") from None


def gathered(answers: Sequence[Answer], task: Task) -> list[Detections] | list[Poses] | SegmentAnswers:
    """The answers to several views, as a model gives them."""
    return np.stack(answers) if task == "segment" else list(answers)  # type: ignore[arg-type,return-value]


def _detections(found: object, view_size: Size) -> Detections:
    parts = _parts(found, (Detections,), ("boxes", "scores", "classes"))
    boxes = _numbers(parts["boxes"], "boxes", (None, 4))
    scores = _scores(parts["scores"], "scores", (len(boxes),))
    classes = _numbers(parts["classes"], "classes", (len(boxes),))
    for low, high, axis in ((0, 2, "x"), (1, 3, "y")):
        if len(wrong := boxes[boxes[:, low] > boxes[:, high]]):
            raise ValueError(f"a box from {axis} = {wrong[0, low]:.4g} to {axis} = {wrong[0, high]:.4g}")
    if (classes != classes.round()).any() or (classes < 0).any():
        odd = classes[(classes != classes.round()) | (classes < 0)][0]
        raise ValueError(f"the class {odd:.4g}")
    if len(boxes) > 1 and boxes.min() >= 0 and boxes.max() <= 1.01 and max(view_size) > 1:
        raise ValueError(f"{len(boxes)} boxes within one pixel: fractions of the view, it seems, and not px")
    return Detections(boxes.astype(np.float32), scores, classes.astype(np.int64))


def _poses(found: object, view_size: Size) -> Poses:
    parts = _parts(found, (Poses,), ("points", "scores"))
    points = _numbers(parts["points"], "points", (None, None, 3)).astype(np.float32)
    scores = _scores(parts["scores"], "scores of persons", (len(points),))
    points[..., 2] = _scores(points[..., 2], "scores of points", points.shape[:2])
    if points[..., :2].size > 2 and np.abs(points[..., :2]).max() <= 1.01 and max(view_size) > 1:
        raise ValueError("points within one pixel: fractions of the view, it seems, and not px")
    return Poses(points, scores)


def _map(found: object, view_size: Size) -> Int32[np.ndarray, "height width"]:
    if not isinstance(found, np.ndarray) or not (found.dtype == bool or np.issubdtype(found.dtype, np.integer)):
        raise ValueError(_described(found))
    if found.ndim != 2 or not fits((found.shape[0], found.shape[1]), view_size):
        raise ValueError(f"{_described(found)} for a view of {view_size[0]}×{view_size[1]} px")
    if found.min() < 0 or found.max() > np.iinfo(np.int32).max:
        raise ValueError(f"the class {found.min() if found.min() < 0 else found.max()}")
    return enlarged_classes(found.astype(np.int32, copy=False), view_size)


CHECKS: Mapping[str, Callable[[object, Size], Answer]] = {"detect": _detections, "keypoints": _poses, "segment": _map}
"""Task → the answer in what was returned for a view; ValueError says what that was instead."""


def _parts(found: object, kinds: tuple[type, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """The parts of an answer, or of a tuple in the same order."""
    if isinstance(found, kinds):
        return {name: getattr(found, name) for name in names}
    if isinstance(found, tuple | list) and len(found) == len(names):
        return dict(zip(names, found, strict=True))
    raise ValueError(_described(found))


def _numbers(values: Any, name: str, shape: tuple[int | None, ...]) -> Shaped[np.ndarray, "..."]:
    """An array of numbers of a shape, of which None is any; where there is nothing the other sides are 0."""
    try:
        array = np.asarray(values)
    except Exception:  # ragged, or a tensor that is elsewhere
        raise ValueError(f"{name} that are no array ({_described(values)})") from None
    if array.size == 0 and array.ndim and len(array) == 0 and shape[0] in (None, 0):
        return np.zeros([side or 0 for side in shape])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} of the type {array.dtype}")
    if array.ndim != len(shape) or any(want not in (None, side) for side, want in zip(array.shape, shape, strict=True)):
        wanted = " × ".join("n" if side is None else str(side) for side in shape)
        raise ValueError(f"{name} of the shape {array.shape}, not {wanted}")
    numbers: np.ndarray = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} that are NaN or infinite")
    return numbers


def _scores(values: Any, name: str, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    scores = _numbers(values, name, shape)
    outside = scores[(scores < -ROUNDING) | (scores > 1 + ROUNDING)]
    if len(outside):
        raise ValueError(f"{name} outside 0 to 1 ({outside[0]:.4g})")
    return scores.clip(0, 1).astype(np.float32)


def _described(found: object) -> str:
    """What something is, in a few words."""
    if isinstance(found, np.ndarray):
        return f"an array of {'×'.join(map(str, found.shape)) or 'no axes'} {found.dtype}"
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)}"
    return "None" if found is None else f"a {type(found).__name__}"
