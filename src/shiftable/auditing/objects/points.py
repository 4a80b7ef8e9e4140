"""Key points from view to view: people paired by where their points are, and the points with them.

The table is that of `objects`, one row per point.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int

from shiftable.auditing.motions.stage import Window
from shiftable.auditing.objects.detections import KEPT_FROM, Objects, greedily, in_scene, overlaps, tabulate_objects
from shiftable.auditing.showing import Shown
from shiftable.models.answers import Poses
from shiftable.models.preprocessing import Size

Points = Float64[np.ndarray, "person point 3"]
"""x, y in px of the still scene and a score."""


def tabulate_poses(shown: Shown, answers: Sequence[Poses]) -> tuple[Int[np.ndarray, "row"], pa.Table]:
    """How many key points each row of an image has, and the points' rows.

    A model that answers one person to every view of the image is taken to know one person only, who is the same in all
    views whatever the score.

    Args:
        shown: The image, its windows known.
        answers: One per view.
    """
    alone = all(len(answer.scores) == 1 for answer in answers)
    sizes = [(view.shape[0], view.shape[1]) for view in shown.views]
    people = [
        place_people(answer, window, size, 0.0 if alone else KEPT_FROM)
        for answer, window, size in zip(answers, shown.windows or (), sizes, strict=True)
    ]

    def match(earlier: int, later: int) -> Int[np.ndarray, "point"]:
        points = people[later].shape[1]
        person = np.zeros(1, int) if alone else match_people(people[earlier], people[later])
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

    Greedy as in `match_objects`: the later ones choose in the order they stand in.
    """
    return greedily(overlaps(_around(after), _around(before)))


def _around(people: Points) -> Float64[np.ndarray, "person 4"]:
    places = people[..., :2]
    return np.concatenate([places.min(axis=1), places.max(axis=1)], axis=1)


def _as_objects(people: Points) -> Objects:
    persons, points, _ = people.shape
    places = people[..., :2].reshape(-1, 2)
    classes = np.tile(np.arange(points), persons)
    return Objects(np.concatenate([places, places], axis=1), people[..., 2].ravel(), classes)
