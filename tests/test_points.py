"""Key-point models: people paired from view to view, and their points with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import COUNT, PREPROCESSING, SAMPLES, SCENES, SIZE, Answerer, answering, oracle
from test_objects import NOISE, naive_overlap, rows

import shiftable as sh
from shiftable.auditing.objects.points import match_people
from shiftable.auditing.objects.tallies import centre_errors, error_by_phase, left_out, worst_pairs
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
    assert all(found.value == pytest.approx(0, abs=NOISE) for found in audit.metrics.values())
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
    assert audit.metrics["confidence_change"].value == pytest.approx(0.2 / 19, abs=1e-6)
    assert audit.metrics["point_error_px"].pairs == COUNT * 18
    worst = sorted((pair.image, pair.step, pair.change) for pair in worst_pairs(audit.folder, 99))
    assert [pair[1:] for pair in worst] == [(3, 1), (4, 1)] * COUNT
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
    assert audit.metrics["point_error_px"].value == pytest.approx(0, abs=NOISE)


crowds = st.lists(
    st.tuples(*[st.integers(0, 24)] * 2, *[st.sampled_from([0, 3, 9, 20, 60])] * 2), min_size=1, max_size=5
)


@given(crowds, crowds)
def test_matching_agrees_with_a_naive_loop(before, after):
    def people(crowd):
        return np.array([[[x, y, 1.0], [x + w, y + h, 1.0], [x + w / 2, y, 1.0]] for x, y, w, h in crowd], float)

    def around(x, y, w, h):
        wide, high = max(w, h / 4, 8.0), max(h, w / 4, 8.0)
        x, y = x + (w - wide) / 2, y + (h - high) / 2
        return x, y, x + wide, y + high

    taken, expected = set(), []
    for each in after:
        best, chosen = 0.5, -1
        for number, other in enumerate(before):
            overlap = naive_overlap(around(*each), around(*other))
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


def test_who_never_sees_anybody():
    def nobody(views):
        return [Poses(np.zeros((0, 0, 3)), np.zeros(0)) for _ in views]

    audit = sh.audit(Answerer(nobody, task="keypoints", preprocessing=PREPROCESSING["center"]), SAMPLES, steps=3)
    assert not audit.metrics
    assert any("nothing reaches" in warning for warning in audit.warnings)


@pytest.mark.parametrize(
    "people",
    [
        [[[10.0, 10]], [[30, 20]]],
        [[[10.0, 10], [20, 10]], [[40, 30], [40, 33]]],
        [[[10.0, 10], [10, 10]], [[40, 30], [40, 30]]],
    ],
)
def test_points_in_a_row_match_themselves(people):
    places = np.array(people)
    answer = Poses(np.concatenate([places, np.full((*places.shape[:2], 1), 0.9)], axis=-1), np.array([0.9, 0.8]))
    model = Answerer(lambda views: [answer] * len(views), task="keypoints", preprocessing=PREPROCESSING["center"])
    audit = sh.audit(model, SAMPLES, steps=3)
    assert audit.controls["still"]["points_dropped"].value == 0
    assert audit.controls["still"]["points_dropped"].pairs > 0
    assert audit.metrics["points_dropped"].value == 0  # a pixel further they are the same people still


def test_controls_have_no_say_in_who_is_alone():
    see = oracle(steps=5)
    known = set(see.known)

    def answer(views):
        """Two people in what is no view of the walk; far apart from view to view."""
        return [
            pose(see(view), move=(9.0 * (see(view).place.dy % 2), 0), people=1 if view.tobytes() in known else 2)
            for view in views
        ]

    model = Answerer(answer, task="keypoints", preprocessing=PREPROCESSING["center"])
    found = [sh.audit(model, SAMPLES, steps=5, controls=controls).metrics for controls in (True, False)]
    assert found[0] == found[1]
    assert found[0]["point_error_px"].value == pytest.approx(9, abs=NOISE)


def test_people_have_as_many_points_in_every_view():
    see = oracle(steps=3)

    def say(taken):
        whole = pose(taken)
        return Poses(whole.points[:, : 3 if taken.place.dy == 1 else 5], whole.scores)

    with pytest.raises(InputError, match=r"shapes/\d+.*a person has 3 or 5 points"):
        sh.audit(answering(see, say, "keypoints"), SAMPLES, steps=3)


def test_points_that_leave_the_picture_do_not_count():
    """A model without fault that sees a point only while the view shows it."""
    see = oracle("camera", steps=9)

    def say(taken):
        y = np.linspace(0, 72, 37)
        places = taken.in_view(np.stack([np.full(37, 44.0), y], axis=1))
        shown = (places[:, 1] > 0) & (places[:, 1] < 40)
        return Poses(np.concatenate([places, np.where(shown, 0.9, 0.1)[:, None]], axis=1)[None], np.array([0.9]))

    audit = sh.audit(answering(see, say, "keypoints"), SAMPLES, motion="camera", steps=9)
    assert audit.metrics["points_dropped"].value == audit.metrics["points_appeared"].value == 0
    assert audit.metrics["confidence_change"].value == 0
    left, everything = left_out(audit.folder)
    assert 0 < left < everything == left + audit.metrics["points_dropped"].pairs


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda views: np.zeros((len(views), 17, 3)), "array of 17×3 float64.* must return Poses"),
        (lambda views: [Poses(np.zeros((1, 5, 3)), np.zeros(2))] * len(views), "person"),
        (lambda views: [Poses(np.full((1, 5, 3), np.inf), np.zeros(1))] * len(views), "infinite"),
    ],
)
def test_answers_that_are_no_poses_are_refused(answer, message):
    with pytest.raises((InputError, Exception), match=message):
        sh.audit(Answerer(answer, task="keypoints", preprocessing=PREPROCESSING["center"]), SAMPLES, steps=3)


def test_the_match_threshold_is_for_detectors():
    with pytest.raises(InputError, match="--match-threshold: is for detectors, this model's task is keypoints"):
        sh.audit(answering(oracle(steps=3), pose, "keypoints"), SAMPLES, match_threshold=0.3)
