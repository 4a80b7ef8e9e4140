"""Objects from view to view: all put into one still frame, and each paired with what it was a step before.

The table: one row per object of every (image, walk, step), in the order of the table of predictions.

Columns
    image, control, walk, step, dy, dx: as in the table of predictions.
    object: its number within the view. Of a detector's, the best score comes first; of a key-point model's, the number
    is person · points + point.
    class, score: what it is and how sure the model is of it; of key points the point's number and the point's score.
    x0, y0, x1, y1: its box in px of the unmoved scene; a key point has x0 = x1 and y0 = y1.
    inside: whether it lies in what this view and its neighbours along the walk all show of the picture. What does not
    may vanish, or change its size, because it leaves the picture, which is nobody's fault. What ends within half a px
    of the edge of its view counts as cut by it. Only edges matter that move over the scene in this image's walks: what
    is cut by another one is cut alike in all views.
    match: the object at the previous step that it is the same as; null at step 0, and where there is none.
    iou, dscore, dcx, dcy, dw, dh: the boxes' overlap, and by how much score, centre, width and height changed since;
    null without a match. Key points have no overlap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int, Shaped

from shiftable.auditing.motions.stage import Window
from shiftable.auditing.showing import Shown
from shiftable.models.answers import KEPT_FROM, Detections
from shiftable.models.preprocessing import Size

SAME_IOU = 0.5
"""Two boxes of one class are taken for one object if they overlap by more than this."""

SURE_ENOUGH = 0.5
"""An earlier object is the first choice of a later one if its score is at least this share of the later one's."""

SAME_PX = 1e-3
"""Two boxes without area are the same if no edge differs by more: a float32 is not exact."""

EDGE_PX = 0.5
"""How near, in px of the view, an object may come to the edge of its view before it counts as cut."""

CHANGES = ("iou", "dscore", "dcx", "dcy", "dw", "dh")

SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("control", pa.string()),
        ("walk", pa.int32()),
        ("step", pa.int32()),
        ("dy", pa.float64()),
        ("dx", pa.float64()),
        ("object", pa.int32()),
        ("class", pa.int32()),
        ("score", pa.float64()),
        *((side, pa.float64()) for side in ("x0", "y0", "x1", "y1")),
        ("inside", pa.bool_()),
        ("match", pa.int32()),
        *((change, pa.float64()) for change in CHANGES),
    ]
)

Boxes = Float64[np.ndarray, "object 4"]


@dataclass(frozen=True)
class Objects:
    """What a model sees in one view, in px of the still scene.

    Args:
        boxes: x0, y0, x1, y1.
        scores: 0 to 1.
        classes: Numbers from 0.
    """

    boxes: Boxes
    scores: Float64[np.ndarray, "object"]
    classes: Int[np.ndarray, "object"]


def in_scene(points: Shaped[np.ndarray, "*any 2"], window: Window, view_size: Size) -> Float64[np.ndarray, "*any 2"]:
    """Points (x, y) of a view, in px, as points of the still scene.

    Example:
        >>> in_scene(np.array([[4.0, 2.0]]), Window(y=10.0, x=20.0, height=50.0, width=100.0), (100, 100))
        array([[24., 11.]])
    """
    scale = np.array([window.width / view_size[1], window.height / view_size[0]])
    return np.asarray(np.asarray(points, np.float64) * scale + np.array([window.x, window.y]))


def place_detections(answer: Detections, window: Window, view_size: Size) -> Objects:
    """A detector's answer in the still scene: what is worth keeping, best score first."""
    scores = np.asarray(answer.scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= KEPT_FROM]
    boxes = in_scene(answer.boxes[order].reshape(-1, 2, 2), window, view_size).reshape(-1, 4)
    return Objects(boxes, scores[order], np.asarray(answer.classes[order], np.int64))


def overlaps(one: Boxes, other: Float64[np.ndarray, "rival 4"]) -> Float64[np.ndarray, "object rival"]:
    """Intersection over union of every box with every other. 0 to 1; of two boxes without area 1 if they are the same.

    Example:
        >>> overlaps(np.array([[0.0, 0.0, 2.0, 1.0]]), np.array([[1.0, 0.0, 3.0, 1.0], [5.0, 5.0, 6.0, 6.0]]))
        array([[0.33333333, 0.        ]])
        >>> flat = np.array([[0.0, 5.0, 0.0, 9.0]])
        >>> overlaps(flat, flat), overlaps(flat, flat + 1)
        (array([[1.]]), array([[0.]]))
    """
    return _iou(one[:, None], other[None])


def match_objects(before: Objects, after: Objects) -> Int[np.ndarray, "later"]:
    """Which earlier object each later one is; -1 where it is none.

    Greedy: the later objects choose in the order of their scores, best first, among the earlier ones of their class
    that nobody took and that overlap by more than ``SAME_IOU``: that with the largest overlap of those at least
    ``SURE_ENOUGH`` times as sure as they are, and only where there is none of these, of the others. Else a faint double
    of an object, as detectors have many of, would be taken for a sure one that it happens to overlap by a hair more,
    and the sure one would count as vanished.

    Args:
        before: The earlier view's.
        after: The later view's, best score first.
    """
    chosen = np.full(len(after.scores), -1)
    for kind in np.intersect1d(before.classes, after.classes):  # class by class, so that many boxes stay cheap
        earlier, later = np.flatnonzero(before.classes == kind), np.flatnonzero(after.classes == kind)
        sure = before.scores[earlier] >= SURE_ENOUGH * after.scores[later, None]
        picked = greedily(overlaps(after.boxes[later], before.boxes[earlier]), sure)
        chosen[later] = np.where(picked < 0, -1, earlier[picked])
    return chosen


def greedily(
    overlap: Float64[np.ndarray, "later earlier"], first: Bool[np.ndarray, "later earlier"] | None = None
) -> Int[np.ndarray, "later"]:
    """Row by row the column of the largest value above ``SAME_IOU``, each column once; -1 where none is left.

    Args:
        overlap: 0 to 1.
        first: The columns that a row prefers to the others, however large those are; None prefers none.
    """
    chosen, free = np.full(len(overlap), -1), np.ones(overlap.shape[1], bool)
    for row in np.flatnonzero((overlap > SAME_IOU).any(axis=1)):
        good = np.flatnonzero((overlap[row] > SAME_IOU) & free)
        if first is not None and first[row, good].any():
            good = good[first[row, good]]
        if len(good):
            chosen[row] = good[overlap[row, good].argmax()]
            free[chosen[row]] = False
    return chosen


def tabulate_detections(shown: Shown, answers: Sequence[Detections]) -> tuple[Int[np.ndarray, "row"], pa.Table]:
    """How many objects each row of an image has, and the objects' rows.

    Args:
        shown: The image, its windows known.
        answers: One per view.
    """
    windows = shown.windows or ()
    sizes = [(view.shape[0], view.shape[1]) for view in shown.views]
    placed = [place_detections(*each) for each in zip(answers, windows, sizes, strict=True)]
    return tabulate_objects(shown, placed, lambda earlier, later: match_objects(placed[earlier], placed[later]))


def tabulate_objects(
    shown: Shown, placed: Sequence[Objects], match: Callable[[int, int], Int[np.ndarray, "later"]], iou: bool = True
) -> tuple[Int[np.ndarray, "row"], pa.Table]:
    """How many objects each row of an image has, and the objects' rows.

    Args:
        shown: The image, its windows known.
        placed: The objects of every view.
        match: Called with the numbers of two views: which earlier object each later one is, or -1.
        iou: Whether these objects have an overlap.
    """
    rows = shown.rows
    counts = np.array([len(placed[row.view].scores) for row in rows])
    of_row, start = np.repeat(np.arange(len(rows)), counts), np.cumsum(counts) - counts
    boxes, scores, classes = (
        np.concatenate([getattr(placed[row.view], name) for row in rows]) for name in ("boxes", "scores", "classes")
    )
    matched = np.concatenate(
        [match(rows[at - 1].view, row.view) if row.step else np.full(counts[at], -1) for at, row in enumerate(rows)]
    )
    has = matched >= 0
    earlier = np.where(has, start[of_row - 1] + matched, 0)
    sizes, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    changes: dict[str, Any] = {
        "iou": _iou(boxes, boxes[earlier]) if len(boxes) else np.zeros(0),
        "dscore": scores - scores[earlier],
    }
    for names, values in ((("dcx", "dcy"), centres), (("dw", "dh"), sizes)):
        changes |= zip(names, (values - values[earlier]).T, strict=True)
    columns: dict[str, Any] = {
        "image": pa.array([shown.sample.id] * len(of_row), pa.string()),
        "control": pa.array([rows[at].control for at in of_row.tolist()], pa.string()),
        **{name: np.array([getattr(row, name) for row in rows])[of_row] for name in ("walk", "step", "dy", "dx")},
        "object": np.arange(len(of_row)) - start[of_row],
        "class": classes,
        "score": scores,
        **dict(zip(("x0", "y0", "x1", "y1"), boxes.T, strict=True)),
        "inside": (_inwards(boxes) >= _bounds(shown)[of_row]).all(axis=1),
        "match": pa.array(matched, pa.int32(), mask=~has),
        **{name: pa.array(values, pa.float64(), mask=~has) for name, values in changes.items()},
    }
    if not iou:
        columns["iou"] = pa.nulls(len(of_row), pa.float64())
    arrays = {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}
    return counts, pa.table(arrays, schema=SCHEMA)


def _iou(one: Shaped[np.ndarray, "*any 4"], other: Shaped[np.ndarray, "*more 4"]) -> Shaped[np.ndarray, "..."]:
    """Elementwise, with broadcasting."""
    shared: Any = 1.0
    for low, high in ((0, 2), (1, 3)):  # axis by axis: of many boxes a single table is large
        end = np.minimum(one[..., high], other[..., high])
        end -= np.maximum(one[..., low], other[..., low])
        shared = np.multiply(end.clip(0, out=end), shared, out=end)
    either = _areas(one) + _areas(other) - shared
    found = np.divide(shared, either, out=np.zeros(shared.shape), where=either > 0)
    if len(flat := np.argwhere(either <= 0)):
        at = tuple(flat.T)
        both = (np.broadcast_to(box, (*found.shape, 4))[at] for box in (one, other))
        found[at] = np.abs(np.subtract(*both)).max(axis=-1) <= SAME_PX
    return np.asarray(found)


def _areas(boxes: Shaped[np.ndarray, "*any 4"]) -> Shaped[np.ndarray, "*any"]:
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1))


def _bounds(shown: Shown) -> Float64[np.ndarray, "row 4"]:
    """The edges of what the view of each row and its neighbours along the walk all show of the picture: `_inwards`.

    The view's own edges lie ``EDGE_PX`` further in. An edge that never moves is infinitely far out.
    """
    rows, windows = shown.rows, shown.windows or ()
    y, x, height, width = np.array([(shown.pictures or windows)[row.view] for row in rows], float).T
    visible = _inwards(np.stack([x, y, x + width, y + height], axis=1))
    px = np.array([windows[row.view][:1:-1] for row in rows]) / [shown.views[row.view].shape[1::-1] for row in rows]
    bounds = visible + EDGE_PX * np.tile(px, 2)
    follows = np.array([row.step > 0 for row in rows])[1:]
    for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        bounds[here][follows] = np.maximum(bounds[here], visible[there])[follows]
    moving = visible[[row.control is None for row in rows]]
    bounds[:, np.ptp(moving, axis=0) <= SAME_PX] = -np.inf
    return np.asarray(bounds)


def _inwards(boxes: Boxes) -> Boxes:
    """x0, y0, -x1, -y1: the larger, the further in an edge is."""
    return np.asarray(boxes * np.array([1, 1, -1, -1]))
