"""Smoothing over time: what must hold whatever the answers, and the machines against plain loops."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftable.auditing.videos.smoothing import (
    KEPT,
    LONGEST,
    SMOOTHINGS,
    Smoothing,
    Watch,
    answers,
    delays,
    flips,
    smooth,
)
from shiftable.errors import InputError

few = settings(max_examples=25)
seeds = st.integers(0, 10_000)
smoothings = st.builds(
    Smoothing, st.floats(0.02, 1), st.integers(1, 6), st.floats(0, 0.4) | st.just(0.0)
)  # fmt: skip


def _series(seed, frames=60, classes=4):
    """Probabilities that wander: sometimes the same for a while, sometimes with ties."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.7), frames)
    p[rng.random(frames) < 0.1] = 1 / classes
    hold = rng.random(frames) < 0.4
    for frame in range(1, frames):
        if hold[frame]:
            p[frame] = p[frame - 1]
    return p


def _answers(smoothing, p):
    state, found = None, []
    for frame in p:
        state = smooth(smoothing, state, frame[None])
        found.append(int(state.answer[0]))
    return np.array(found)


def _naive(smoothing, p):
    """The same by plain words: lists and ifs."""
    average, answer, found, run = list(map(float, p[0])), None, [], []
    for frame in p:
        average = [a + smoothing.alpha * (float(b) - a) for a, b in zip(average, frame, strict=True)]
        lead = average.index(max(average))
        if answer is None:
            answer = lead
        elif lead != answer and average[lead] - average[answer] >= smoothing.margin:
            run = [*run, lead] if run and run[-1] == lead else [lead]
            if len(run) >= smoothing.hold:
                answer, run = lead, []
        else:
            run = []
        found.append(answer)
    return np.array(found)


@few
@given(seeds, smoothings)
def test_the_machine_is_what_a_plain_loop_gives(seed, smoothing):
    p = np.round(_series(seed) * 64) / 64 if smoothing.alpha == 1 else _series(seed)
    np.testing.assert_array_equal(_answers(smoothing, p), _naive(smoothing, p))


@few
@given(seeds)
def test_nothing_set_is_the_raw_model(seed):
    p = _series(seed)
    for nothing in (Smoothing(), Smoothing(alpha=1.0), Smoothing(hold=1), Smoothing(margin=0.0)):
        np.testing.assert_array_equal(_answers(nothing, p), p.argmax(axis=1))


@few
@given(seeds, smoothings)
def test_what_stands_still_stays_what_it_is(seed, smoothing):
    p = np.repeat(_series(seed, 1), 30, axis=0)
    assert set(_answers(smoothing, p)) == {p[0].argmax()}
    state = None
    for frame in p:
        state = smooth(smoothing, state, frame[None])
    np.testing.assert_array_equal(state.average[0], p[0])


@few
@given(seeds, st.integers(1, 8))
def test_after_a_change_a_held_answer_stands_for_that_many_frames(seed, hold):
    changed = 1 + np.flatnonzero(flips(_answers(Smoothing(hold=hold), _series(seed, 200))))
    assert (np.diff(changed) >= hold).all()


@few
@given(seeds, st.integers(1, 6), st.integers(0, 5))
def test_the_longer_a_new_class_must_lead_the_later_the_first_change(seed, hold, more):
    # no more than that holds: a later change can meet another class, so their number may well grow
    p = _series(seed, 120)
    first = [np.append(np.flatnonzero(flips(_answers(Smoothing(hold=n), p))), 120)[0] for n in (hold, hold + more)]
    assert first[0] <= first[1]


@few
@given(seeds, smoothings)
def test_of_two_classes_a_held_answer_never_changes_more_often(seed, smoothing):
    # between two classes every switch needs a run of the other one, and longer runs contain shorter ones
    p = _series(seed, 120, classes=2)
    few = Smoothing(smoothing.alpha, smoothing.hold + 2, smoothing.margin)
    assert flips(_answers(few, p)).sum() <= flips(_answers(smoothing, p)).sum()


@few
@given(seeds, smoothings)
def test_series_side_by_side_do_not_touch(seed, smoothing):
    many = np.stack([_series(seed + k) for k in range(3)], axis=1)
    state, found = None, []
    for p in many:
        state = smooth(smoothing, state, p)
        found.append(state.answer)
    for k, column in enumerate(np.stack(found, axis=1)):
        np.testing.assert_array_equal(column, _answers(smoothing, many[:, k]))


def _steps(count=20, classes=5, seed=0):
    p = np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), 200)
    pairs = [(a, b) for a, b in zip(p[::2], p[1::2], strict=True) if a.argmax() != b.argmax()][:count]
    return tuple(np.stack(side) for side in zip(*pairs, strict=True))


def test_the_raw_model_is_not_late_and_a_hold_of_n_is_n_minus_1_late():
    assert set(delays(Smoothing(), *_steps())) == {0}
    for hold in (1, 2, 7):
        assert set(delays(Smoothing(hold=hold), *_steps())) == {hold - 1}


def test_the_smaller_alpha_the_later():
    found = [delays(Smoothing(alpha=alpha), *_steps()) for alpha in (1.0, 0.5, 0.2, 0.1, 0.05)]
    for sooner, later in pairwise(found):
        assert all(a <= b for a, b in zip(sooner, later, strict=True))
    assert sum(found[-1]) > 3 * sum(found[1])


def test_an_average_is_late_by_what_its_formula_says():
    # from (1, 0) to (0, 1): after k + 1 frames the old class has (1 − α)^(k + 1), which falls below 1/2
    for alpha in (0.5, 0.3, 0.1, 0.02):
        late = delays(Smoothing(alpha=alpha), np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))
        assert late == [int(np.ceil(np.log(0.5) / np.log(1 - alpha))) - 1]


def test_who_waits_for_a_margin_that_never_comes_is_said_to():
    before, after = np.array([[0.9, 0.1]]), np.array([[0.45, 0.55]])
    assert delays(Smoothing(margin=0.2), before, after) == [None]
    assert delays(Smoothing(alpha=0.001), np.array([[0.0, 1.0]]), np.array([[0.51, 0.49]])) == [None]
    assert LONGEST == 300


@few
@given(seeds, st.integers(1, 150))
def test_a_watch_sees_what_the_machines_do_and_remembers_little(seed, frames):
    p, watch = _series(seed, frames), Watch(SMOOTHINGS, seed=seed)
    for frame in p:
        watch.see(frame)
        assert len(watch.kept) <= KEPT
    found = watch.to_json()
    assert found["frames"] == frames
    for smoothing, changes in zip(SMOOTHINGS, found["changes"], strict=True):
        np.testing.assert_array_equal(answers(changes, frames), _answers(smoothing, p))
    assert len({len(late) for late in found["delays"]}) == 1
    assert len(found["delays"][0]) <= KEPT
    assert set(found["delays"][0]) <= {0}


def test_kept_frames_are_a_fair_draw():
    p = np.stack([np.arange(400.0), np.zeros(400)], axis=1)
    drawn = []
    for seed in range(30):
        watch = Watch((Smoothing(),), seed=seed)
        for frame in p:
            watch.see(frame)
        drawn += [frame[0] for frame in watch.kept]
    assert len(drawn) == 30 * KEPT
    assert np.mean(drawn) == pytest.approx(199.5, abs=12)
    assert np.mean(np.array(drawn) < 100) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.5}, {"hold": 0}, {"margin": -0.1}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="can't smooth by"):
        Smoothing(**wrong)
