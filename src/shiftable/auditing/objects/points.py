"""Key points from view to view: people paired by where their points are, and the points with them.

The table is that of `objects`, one row per point.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int

from shiftable.auditing.motions.stage import Window
from shiftable.auditing.objects.detections import Objects, greedily, in_scene, overlaps, tabulate_objects
from shiftable.auditing.showing import Shown
from shiftable.errors import InputError
from shiftable.models.answers import KEPT_FROM, Poses
from shiftable.models.preprocessing import Size

Points = Float64[np.ndarray, "person point 3"]
"""x, y in px of the still scene and a score."""

NARROWEST, LEAST_PX = 0.25, 8.0
"""The box around a person's points is at least this share of its other side wide and high, and so many px."""


def tabulate_poses(shown: Shown, answers: Sequence[Poses]) -> tuple[Int[np.ndarray, "row"], pa.Table]:
    """How many key points each row of an image has, and the points' rows.

    A model that answers one person to every view of the image's walks is taken to know one person only, who is the same
    in all views whatever the score. Controls have no say in that: without them the motion's numbers are the same.

    Args:
        shown: The image, its windows known.
        answers: One per view.

    Raises:
        InputError: If people have more points in one view than in another: then none can be told to be the same.
    """
    moved = {row.view for row in shown.rows if row.control is None}
    alone = all(len(answers[view].scores) == 1 for view in moved)
    _check_points(shown, answers)
    sizes = [(view.shape[0], view.shape[1]) for view in shown.views]
    people = [
        place_people(answer, window, size, 0.0 if alone else KEPT_FROM)
        for answer, window, size in zip(answers, shown.windows or (), sizes, strict=True)
    ]

    def match(earlier: int, later: int) -> Int[np.ndarray, "point"]:
        points = people[later].shape[1]
        single = alone and len(people[earlier]) == len(people[later]) == 1
        person = np.zeros(1, int) if single else match_people(people[earlier], people[later])
        numbers = person[:, None] * points + np.arange(points)
        return np.where(person[:, None] < 0, -1, numbers).ravel()

    return tabulate_objects(shown, [_as_objects(points) for points in people], match, iou=False)


def place_people(answer: Poses, window: Window, view_size: Size, kept_from: float = KEPT_FROM) -> Points:
    """A key-point model's answer in the still scene: the people it is that sure of, best score first."""
    scores = np.asarray(answer.scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    kept = np.asarray(answer.points, np.float64)[order[scores[order] >= kept_from]]
    return np.concatenate([in_scene(kept[..., :2], window, view_size), kept[..., 2:]], axis=-1)


def match_people(
    before: Float64[np.ndarray, "earlier point 3"], after: Float64[np.ndarray, "later point 3"]
) -> Int[np.ndarray, "later"]:
    """Which earlier person each later one is, by the overlap of the boxes around their points; -1 for none.

    Greedy: the later ones choose in the order they stand in, that with the largest overlap above ``SAME_IOU``. A box
    around a single point, or points in a row, has no area and would overlap nothing: it is widened about its middle,
    see ``NARROWEST``.
    """
    return greedily(overlaps(_around(after), _around(before)))


def _around(people: Points) -> Float64[np.ndarray, "person 4"]:
    places = people[..., :2]
    if not places.size:
        return np.zeros((len(people), 4))
    low, high = places.min(axis=1), places.max(axis=1)
    sides = high - low
    least = np.maximum(NARROWEST * sides[:, ::-1], LEAST_PX)
    wider = np.maximum(least - sides, 0) / 2
    return np.asarray(np.concatenate([low - wider, high + wider], axis=1))


def _check_points(shown: Shown, answers: Sequence[Poses]) -> None:
    counts = {answer.points.shape[1] for answer in answers if len(answer.scores)}
    if len(counts) > 1:
        raise InputError(
            f"a person has {' or '.join(map(str, sorted(counts)))} points, view by view",
            where=shown.sample.id,
            todo="answer the same points in the same order everywhere; one that is not seen gets a score of 0",
        )


def _as_objects(people: Points) -> Objects:
    persons, points, _ = people.shape
    places = people[..., :2].reshape(-1, 2)
    classes = np.tile(np.arange(points), persons)
    return Objects(np.concatenate([places, places], axis=1), people[..., 2].ravel(), classes)
