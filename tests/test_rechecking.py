"""What is close is answered by the exact model; the random check counts and never answers."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeModel, hashed, pictures

from shiftable.auditing.motions import make_motion
from shiftable.auditing.rechecking import CHECKED, Rechecked, first_views, largest_error, rechecked
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample
from shiftable.models import Preprocessing

VIEWS = np.random.default_rng(5).integers(0, 256, (600, 8, 8, 3), dtype=np.uint8)


def off_by(most, classes=20, kind="logits"):
    """`hashed`, each score off by up to so much, always by the same for the same view."""

    def answer(views):
        seeds = [int(view.astype(np.uint64).cumsum()[::5].sum()) for view in views]
        errors = np.stack([np.random.default_rng(seed + 1).uniform(-most, most, classes) for seed in seeds])
        return scored(hashed(views, classes) + errors, kind)

    return answer


def scored(logits, kind):
    if kind == "logits":
        return logits
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True) if kind == "probabilities" else odds / (1 + odds)


def pair(most, classes=20, kind="logits"):
    exact = FakeModel(lambda views: scored(hashed(views, classes), kind), scores=kind, spec="exact")
    fast = FakeModel(off_by(most, classes, kind), scores=kind, spec="fast", settings={"precision": "bfloat16"})
    return fast, exact


def asked(model, views=VIEWS, size=4):
    return np.concatenate([model(views[at : at + size]) for at in range(0, len(views), size)])


def ranks(answers, count):
    return np.argsort(-answers, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("kind", ["logits", "probabilities", "sigmoid"])
@pytest.mark.parametrize("most", [0.01, 0.1])
def test_flips_by_a_small_error_are_gone(kind, most):
    fast, exact = pair(most, kind=kind)
    model = rechecked(fast, exact, VIEWS[:256], top5=False, seed=0)
    assert 2 * most < model.threshold <= 3 * most * 1.01
    want, plain = asked(exact), asked(fast)
    assert (plain.argmax(1) != want.argmax(1)).any()
    got = asked(model)
    assert (got.argmax(1) == want.argmax(1)).all()
    assert 0 < model.summary()["rechecked_share"] < 0.5
    again = (got == want).all(axis=1)
    np.testing.assert_array_equal(got[~again], plain[~again])  # an answer is the one or the other, never a mixture


def test_the_top_five_are_right_where_they_count():
    fast, exact = pair(0.02)
    want = asked(exact)
    with_top5, without = (rechecked(fast, exact, VIEWS[:256], top5=top5, seed=0) for top5 in (True, False))
    differs = [
        (np.sort(ranks(asked(model), 5)) != np.sort(ranks(want, 5))).any(axis=1).sum() for model in (with_top5, without)
    ]
    assert differs[0] == 0 < differs[1]
    assert with_top5.summary()["rechecked_share"] > without.summary()["rechecked_share"]


def test_the_top_five_of_few_classes_do_not_count():
    fast, exact = pair(0.02, classes=10)
    assert not rechecked(fast, exact, VIEWS[:64], top5=True, seed=0).top5


def test_positive_sets_of_sigmoids_are_right():
    fast, exact = pair(0.02, kind="sigmoid")
    model = rechecked(fast, exact, VIEWS[:256], top5=False, seed=0, positive_from=0.7)
    want = asked(exact) >= 0.7
    assert ((asked(fast) >= 0.7) != want).any()
    assert ((asked(model) >= 0.7) == want).all()


def test_sigmoids_of_one_may_be_what_counts():
    """1 has no finite log-odds: its border is where float32 ends."""
    sure = np.array([[1.0, 0.2], [1 - 6e-8, 0.2], [0.9, 0.2]], np.float32)
    exact = FakeModel(lambda views: sure[views[:, 0, 0, 0]], scores="sigmoid")
    model = Rechecked(exact, exact, 0.1, 0.0, False, 1.0, seed=0)
    np.testing.assert_array_equal(model.is_close(sure), [True, True, False])


def test_the_threshold_is_three_times_the_largest_error():
    fast, exact = pair(0.05)
    sample = VIEWS[:256]
    error = largest_error(fast(sample), exact(sample), "logits")
    assert rechecked(fast, exact, sample, top5=False, seed=0).threshold == 3 * error
    assert error <= np.abs(fast(sample) - exact(sample)).max()
    assert largest_error(fast(sample) + 7, exact(sample), "logits") == pytest.approx(error, rel=1e-5)  # no rank moves
    certain = np.array([[1.0, 0.0]], np.float32)
    assert largest_error(certain, np.array([[1 - 6e-8, 0.0]], np.float32), "sigmoid") < 1  # and not 70


def test_equal_models_change_nothing():
    _, exact = pair(0.0)
    model = rechecked(exact, exact, VIEWS[:64], top5=True, seed=0)
    assert model.threshold == 0
    np.testing.assert_array_equal(asked(model), asked(exact))
    assert model.remarks == ()


def test_without_a_sample_all_is_asked_of_the_exact_model():
    fast, exact = pair(0.1)
    model = rechecked(fast, exact, VIEWS[:0], top5=False, seed=0)
    np.testing.assert_array_equal(asked(model), asked(exact))


# ── the random check ──


def test_the_check_counts_what_the_recheck_missed():
    fast, exact = pair(0.5)
    blind = Rechecked(fast, exact, -1.0, 0.0, False, None, seed=3)
    views = np.random.default_rng(6).integers(0, 256, (4000, 8, 8, 3), dtype=np.uint8)
    got = asked(blind, views, 100)
    np.testing.assert_array_equal(got, asked(fast, views, 100))
    found = blind.summary()
    assert found["rechecked_share"] == 0
    assert 0.5 * CHECKED < found["checked"] / len(views) < 2 * CHECKED
    wrong = (asked(fast, views, 100).argmax(1) != asked(exact, views, 100).argmax(1)).mean()
    assert found["low"] < wrong < found["high"]
    assert found["low"] < found["disagreed"] / found["checked"] < found["high"]


def test_the_check_changes_no_answer_and_takes_the_same_views_after_a_resume():
    fast, exact = pair(0.05)
    one, other = (rechecked(fast, exact, VIEWS[:256], top5=False, seed=seed) for seed in (0, 1))
    whole = asked(one)
    np.testing.assert_array_equal(whole, asked(other))
    first, second = (rechecked(fast, exact, VIEWS[:256], top5=False, seed=0) for _ in range(2))
    np.testing.assert_array_equal(np.concatenate([asked(first, VIEWS[:300]), asked(second, VIEWS[300:])]), whole)
    assert first.summary()["checked"] + second.summary()["checked"] == one.summary()["checked"] > 0
    assert (first.summary()["views"], second.summary()["views"]) == (300, 300)
    assert first.threshold == second.threshold == one.threshold
    assert one.summary() == one.summary()


def test_nothing_checked_says_nothing():
    fast, exact = pair(0.05)
    found = rechecked(fast, exact, VIEWS[:8], top5=False, seed=0).summary()
    assert (found["checked"], found["low"], found["high"]) == (0, 0.0, 1.0)


def test_the_exact_model_is_asked_in_batches_of_one_size():
    sizes = set()
    fast, exact = pair(0.3)

    def noting(views):
        sizes.add(len(views))
        return hashed(views)

    model = rechecked(fast, exact, VIEWS[:256], top5=False, seed=0)
    noticed = replace(model, exact=replace(exact, answer=noting))
    asked(noticed, size=40)
    noticed.summary()
    assert sizes == {4}


def test_the_array_shown_may_be_used_again():
    fast, exact = pair(0.5)
    model = Rechecked(replace(fast, batch_size=10_000), exact, -1.0, 0.0, False, None, seed=3)
    buffer = np.empty((100, 8, 8, 3), np.uint8)
    want = []
    for at in range(0, 600, 100):
        buffer[:] = VIEWS[at : at + 100]
        model(buffer)
    buffer[:] = 0
    want = {view.tobytes() for view in VIEWS}
    assert model.waiting
    assert all(view.tobytes() in want for view, _ in model.waiting)


# ── what is told ──

HOW = {
    "16 bits": ({"precision": "bfloat16", "compiled": False}, "computed in bfloat16"),
    "compiled": ({"precision": "float32", "compiled": True}, "compiled"),
    "both": ({"precision": "bfloat16", "compiled": True}, "compiled and computed in bfloat16"),
    "neither": ({}, "computed otherwise"),
}


@pytest.mark.parametrize(("settings", "how"), HOW.values(), ids=HOW)
def test_it_tells_of_its_rounding(settings, how):
    fast, exact = pair(0.3)
    model = rechecked(replace(fast, settings=settings), exact, VIEWS[:64], top5=False, seed=0)
    (remark,) = model.remarks
    assert remark.startswith(f"{how}: near ties for the first place were answered again in plain float32, but")
    given, wanted = (scored(each(VIEWS[:64]), "probabilities") for each in (fast, exact))
    top1 = wanted.argmax(1)
    rows = np.arange(64)
    assert model.change_of_p == pytest.approx(np.abs(given[rows, top1] - wanted[rows, top1]).mean(), rel=1e-4)


def show():
    return Show(make_motion("crop", seed=0), make_walk("sweep", steps=9), Preprocessing(resize_px=16), (8, 8))


def test_first_views_are_of_many_images():
    def broken():
        from shiftable.errors import InputError

        raise InputError("can't be read")

    samples = pictures(40)
    samples[1] = Sample("broken", None, broken)
    views = first_views(show(), samples, 64)
    assert views.shape == (64, 8, 8, 3)
    np.testing.assert_array_equal(views[0], show()(0, samples[0]).views[0])
    np.testing.assert_array_equal(views[8], show()(2, samples[2]).views[0])
    assert len(first_views(show(), pictures(1), 64)) <= 64
    assert first_views(show(), samples[1:2], 64).shape == (0, 8, 8, 3)
