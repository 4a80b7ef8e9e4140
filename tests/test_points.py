"""Key-point models: people paired from view to view, and their points with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import COUNT, PREPROCESSING, SAMPLES, SCENES, SIZE, Answerer, answering, oracle
from test_objects import naive_overlap, rows

import shiftable as sh
from shiftable.auditing.objects.points import match_people
from shiftable.auditing.objects.tallies import centre_errors, error_by_phase, worst_pairs
from shiftable.data import shapes
from shiftable.errors import InputError
from shiftable.models.answers import Poses

POINTS = 5


def pose(taken, move=(0.0, 0.0), scores=(0.9,) * POINTS, people=1, sure=0.9):
    """The corners and the centre of the scene's object, in px of the view; more people stand 40 px further each."""
    x0, y0, x1, y1 = shapes.box(SCENES[taken.image], SIZE)
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), ((x0 + x1) / 2, (y0 + y1) / 2)]) + move
    everyone = np.stack([corners + np.array([40.0 * person, 0.0]) for person in range(people)])
    placed = taken.in_view(everyone.reshape(-1, 2)).reshape(people, POINTS, 2)
    table = np.concatenate([placed, np.broadcast_to(np.array(scores)[:, None], (people, POINTS, 1))], axis=-1)
    return Poses(table, np.full(people, sure) - 0.01 * np.arange(people))


@pytest.mark.parametrize(("motion", "crop"), [("crop", "center"), ("camera", "center"), ("camera", "letterbox")])
@pytest.mark.parametrize("people", [1, 2])
def test_true_points_are_steady(motion, crop, people):
    see = oracle(motion, crop, steps=5)
    model = answering(see, lambda taken: pose(taken, people=people), "keypoints", crop)
    audit = sh.audit(model, SAMPLES, motion=motion, steps=5)
    assert set(audit.metrics) == {"confidence_change", "point_error_px", "points_dropped", "points_appeared"}
    assert all(found.value == pytest.approx(0, abs=1e-9) for found in audit.metrics.values())
    assert audit.metrics["points_dropped"].pairs == COUNT * 4 * people * POINTS
    assert all(found.value == 0 for found in audit.controls["still"].values())
    assert audit.model["thresholds"] == {"score_threshold": 0.5}
    for row in rows(audit.folder):
        assert row["object"] % POINTS == row["class"]
        assert (row["x0"], row["y0"]) == (row["x1"], row["y1"])
        assert row["iou"] is None
        assert row["match"] == (row["object"] if row["step"] else None)
    assert {row["objects"] for row in rows(audit.folder, "predictions")} == {people * POINTS}


def test_points_moved_by_hand_are_found_moved_by_as_much():
    see = oracle("camera", steps=5)

    def say(taken):
        odd = taken.place.dy % 2
        # the last point is not seen, so where it is does not count
        return pose(taken, (3 * odd, 4 * odd), scores=(0.9, 0.9, 0.9, 0.9, 0.1))

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, motion="camera", steps=5)
    assert audit.metrics["point_error_px"].value == pytest.approx(5)
    assert audit.metrics["point_error_px"].pairs == COUNT * 4 * 4
    assert centre_errors(audit.folder, [0.0, 4.9, 5.1]).tolist() == [0, COUNT * 4 * 4, 0]


def test_points_that_are_lost_and_found_are_counted():
    see = oracle(steps=5)  # dy = -2 … 2

    def say(taken):
        return pose(taken, scores=(0.9, 0.9, 0.9, 0.9, 0.4 if taken.place.dy == 1 else 0.6))

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, steps=5)
    # of 4 steps on 5 points each, less the one that begins (ends) where the last point is not seen
    assert (audit.metrics["points_dropped"].value, audit.metrics["points_dropped"].pairs) == (1 / 19, COUNT * 19)
    assert audit.metrics["points_appeared"].value == 1 / 19
    # its score falls by 0.2; when it rises again it was not seen before
    assert audit.metrics["confidence_change"].value == pytest.approx(0.2 / 19)
    assert audit.metrics["point_error_px"].pairs == COUNT * 18
    assert [(pair.step, pair.change) for pair in worst_pairs(audit.folder, 99)] == [(3, 1), (4, 1)] * COUNT
    phases = error_by_phase(audit.folder, 4)["points_dropped"]
    assert [found.value for found in phases] == [0.2, 0, 0, 0]


def test_the_only_person_is_the_same_wherever_the_points_are():
    see = oracle(steps=3)

    def say(taken):
        return pose(taken, move=(30.0 * (taken.place.dy % 2), 0), sure=0.01)

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, steps=3)
    assert audit.metrics["point_error_px"].value == pytest.approx(30)
    assert audit.metrics["points_dropped"].value == 0


def test_people_that_go_take_their_points_along():
    see = oracle(steps=3)

    def say(taken):
        return pose(taken, people=1 if taken.place.dy == 0 else 2)

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, steps=3)
    assert audit.metrics["points_dropped"].value == 5 / 15  # 10 and then 5 seen, 5 lost
    assert audit.metrics["points_appeared"].value == 5 / 15
    assert audit.metrics["point_error_px"].value == pytest.approx(0, abs=1e-9)


crowds = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=5
)


@given(crowds, crowds)
def test_matching_agrees_with_a_naive_loop(before, after):
    def people(crowd):
        return np.array([[[x, y, 1.0], [x + w, y + h, 1.0], [x + w / 2, y, 1.0]] for x, y, w, h in crowd], float)

    taken, expected = set(), []
    for x, y, w, h in after:
        best, chosen = 0.5, -1
        for number, (u, v, width, height) in enumerate(before):
            overlap = naive_overlap((x, y, x + w, y + h), (u, v, u + width, v + height))
            if number not in taken and overlap > best:
                best, chosen = overlap, number
        taken |= {chosen} - {-1}
        expected.append(chosen)
    assert match_people(people(before), people(after)).tolist() == expected


def test_who_sees_nobody_in_some_views():
    see = oracle(steps=3)

    def say(taken):
        return Poses(np.zeros((0, POINTS, 3)), np.zeros(0)) if taken.place.dy == 1 else pose(taken)

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, steps=3)
    assert audit.metrics["points_dropped"].value == 0.5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda views: np.zeros((len(views), 17, 3)), "no list of Poses"),
        (lambda views: [Poses(np.zeros((1, 5, 3)), np.zeros(2))] * len(views), "person"),
        (lambda views: [Poses(np.full((1, 5, 3), np.inf), np.zeros(1))] * len(views), "infinity"),
    ],
)
def test_answers_that_are_no_poses_are_refused(answer, message):
    with pytest.raises((InputError, Exception), match=message):
        sh.audit(Answerer(answer, task="keypoints", preprocessing=PREPROCESSING["center"]), SAMPLES, steps=3)


def test_the_match_threshold_is_for_detectors():
    with pytest.raises(InputError, match="--match-threshold: is for detectors, this model's task is keypoints"):
        sh.audit(answering(oracle(steps=3), pose, "keypoints"), SAMPLES, match_threshold=0.3)
