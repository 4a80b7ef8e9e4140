"""What detectors, segmenters and key-point models answer, checked: mistakes are told, not drawn as boxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int32, Shaped

from shiftable.errors import InputError
from shiftable.models.answers import KEPT_FROM, Detections, Poses, SegmentAnswers
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
    "segment": "a 2-D array of whole numbers from 0: a class per pixel of the view{}",
}
"""What a decoder or a model must return for a view, by task."""

COARSER = ", or per cell of a coarser map"

ROUNDING = 1e-4
"""How far beyond 0 or 1 a score may be that was rounded."""

LARGEST, LAST_CLASS = np.finfo(np.float32).max, np.iinfo(np.int32).max
"""That answers have room for."""

MOST_BOXES = 1000
"""In one view. More are every anchor's: each would have to be compared with all others of the next view."""

BEYOND = 0.05
"""How far beyond the view's edges points and boxes' centres may lie that are fractions of it."""

LONG = 1.5
"""No side of a box that is a fraction of the view is as long."""


def checked(found: object, task: Task, view_size: Size, who: object, *, coarser: bool = False) -> Answer:
    """An answer to one view, if it is one.

    Boxes below ``KEPT_FROM`` are left out before anything but their form is looked at, since some outputs are filled up
    with them; so are persons, where there are several. Points stay, but where the unlikely ones are does not matter.

    Args:
        found: What was returned: an answer, or what it consists of as a tuple.
        task: ``"detect"``, ``"segment"`` or ``"keypoints"``.
        view_size: (height, width) in px.
        who: Returned it, for errors.
        coarser: Whether a map of classes may be coarser than the view; it is enlarged.

    Raises:
        InputError: If it is of another form, holds numbers that can't be, or more boxes than can be compared.
    """
    try:
        answer = CHECKS[task](found, view_size)
        if not coarser and isinstance(found, np.ndarray) and found.shape != tuple(view_size):
            raise ValueError(_for_a_view(found, view_size))
    except ValueError as error:
        must = MUST[task].format(COARSER if coarser else "")
        raise InputError(f"returns {error}", where=who, todo=f"it must return {must}") from None
    if isinstance(answer, Detections) and len(answer.scores) > MOST_BOXES:
        what = f"returns {len(answer.scores)} boxes in one view"
        raise InputError(what, where=who, todo=f"does it suppress doubles (NMS)? {MOST_BOXES} are the most")
    return answer


def together(answers: Sequence[Answer], task: Task) -> list[Detections] | list[Poses] | SegmentAnswers:
    """The answers to several views, as a model gives them."""
    return np.stack(answers) if task == "segment" else list(answers)  # type: ignore[arg-type,return-value]


def _detections(found: object, view_size: Size) -> Detections:
    parts = _parts(found, (Detections,), ("boxes", "scores", "classes"))
    boxes = _numbers(parts["boxes"], "boxes", (None, 4))
    scores = _scores(parts["scores"], "scores", (len(boxes),))
    classes = _numbers(parts["classes"], "classes", (len(boxes),))
    if not (likely := scores >= KEPT_FROM).all():
        boxes, scores, classes = boxes[likely], scores[likely], classes[likely]
    low, high = boxes[:, :2], boxes[:, 2:]
    if (wrong := low > high).any():
        at, axis = np.argwhere(wrong)[0]
        raise ValueError(f"a box from {'xy'[axis]} = {low[at, axis]:.4g} to {'xy'[axis]} = {high[at, axis]:.4g}")
    if (wrong := (classes < 0) | (classes > LAST_CLASS) | (classes != np.floor(classes))).any():
        raise ValueError(f"the class {classes[wrong][0]:.4g}")
    if len(boxes) > 1 and (high - low).max() < LONG and _fractions((low + high) / 2, view_size):
        raise ValueError(f"{len(boxes)} boxes within one pixel: fractions of the view, it seems, and not px")
    return Detections(boxes.astype(np.float32), scores, classes.astype(np.int64))


def _poses(found: object, view_size: Size) -> Poses:
    parts = _parts(found, (Poses,), ("points", "scores"))
    points = _numbers(parts["points"], "points", (None, None, 3)).astype(np.float32)
    scores = _scores(parts["scores"], "scores of persons", (len(points),))
    points[..., 2] = _scores(points[..., 2], "scores of points", points.shape[:2])
    if len(scores) > 1:  # the only one is the only one that such a model knows, however sure it is
        points, scores = points[scores >= KEPT_FROM], scores[scores >= KEPT_FROM]
    places = points[points[..., 2] >= KEPT_FROM, :2]
    if len(places) > 1 and _fractions(places, view_size):
        raise ValueError("points within one pixel: fractions of the view, it seems, and not px")
    return Poses(points, scores)


def _map(found: object, view_size: Size) -> Int32[np.ndarray, "height width"]:
    if not isinstance(found, np.ndarray) or not (found.dtype == bool or np.issubdtype(found.dtype, np.integer)):
        raise ValueError(_described(found))
    if found.ndim != 2 or not fits((found.shape[0], found.shape[1]), view_size):
        raise ValueError(_for_a_view(found, view_size))
    if found.min() < 0 or found.max() > LAST_CLASS:
        raise ValueError(f"the class {found.min() if found.min() < 0 else found.max()}")
    return enlarged_classes(found.astype(np.int32, copy=False), view_size)


def _fractions(places: Shaped[np.ndarray, "place 2"], view_size: Size) -> bool:
    """Whether these places, x and y, lie within the first pixel, and not all at its corners."""
    if places.min() < -BEYOND or places.max() > 1 + BEYOND or max(view_size) == 1:
        return False
    return bool((places != np.round(places)).any())


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
    """An array of numbers of a shape, of which None is any; of none at all the sides that it says."""
    try:
        array = np.asarray(values)
    except Exception:  # ragged, or a tensor that is elsewhere
        raise ValueError(f"{name} that are no array ({_described(values)})") from None
    if array.size == 0 and array.ndim and len(array) == 0 and shape[0] in (None, 0):
        known = array.shape if array.ndim == len(shape) else (0,) * len(shape)
        return np.zeros([side if want is None else want for want, side in zip(shape, known, strict=True)])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} of the type {array.dtype}")
    if array.ndim != len(shape) or any(want not in (None, side) for side, want in zip(array.shape, shape, strict=True)):
        wanted = " × ".join("n" if side is None else str(side) for side in shape)
        raise ValueError(f"{name} of the shape {array.shape}, not {wanted}")
    numbers: np.ndarray = array.astype(np.float64)
    if not np.abs(numbers).max(initial=0) <= LARGEST:  # nor is NaN
        raise ValueError(f"{name} that are NaN or infinite")
    return numbers


def _scores(values: Any, name: str, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    scores = _numbers(values, name, shape)
    for end in (scores.min(initial=0), scores.max(initial=1)):
        if not -ROUNDING <= end <= 1 + ROUNDING:
            raise ValueError(f"{name} outside 0 to 1 ({end:.4g})")
    return scores.clip(0, 1).astype(np.float32)


def _for_a_view(found: object, view_size: Size) -> str:
    return f"{_described(found)} for a view of {view_size[0]}×{view_size[1]} px"


def _described(found: object) -> str:
    """What something is, in a few words."""
    if isinstance(found, np.ndarray):
        return f"an array of {'×'.join(map(str, found.shape)) or 'no axes'} {found.dtype}"
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)}"
    return "None" if found is None else f"a {type(found).__name__}"
