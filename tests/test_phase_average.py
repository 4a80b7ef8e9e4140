"""Averaging over phases does to a model's answers what sampling theory says, whatever answers: here NumPy alone."""

import json
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest
from fakes import FakeModel, hashed, pictures

import shiftable as sh
from shiftable.errors import InputError
from shiftable.explaining.risk import views_at_risk
from shiftable.models import Model, Preprocessing
from shiftable.models.preprocessing import CropSelection, deployed_view
from shiftable.repairing.crop_selection import with_stable_crop
from shiftable.repairing.phase_average import PhaseAveraged, margin_holding, phase_offsets, with_phase_average
from shiftable.repairing.phase_choice import answers_by_window, choose_phases
from shiftable.repairing.strides import find_stride

STRIDE = 4


def grid(views):
    """A net in a circle: a dense response, rectified, summed over every 4th position along both axes."""
    light = views.astype(np.float64).sum(axis=3) / 765
    found = []
    for dy, dx, gain in ((1, 2, 3.0), (3, 1, -2.0), (0, 5, 2.5), (2, 2, 4.0)):
        response = np.maximum(gain * (light - np.roll(light, (dy, dx), axis=(1, 2))) - 0.2, 0)
        found.append(response[:, ::STRIDE, ::STRIDE].mean(axis=(1, 2)))
    return 40 * np.stack(found, axis=1)


def black_box(**fields):
    return FakeModel(**{"answer": grid, "view_size": (16, 24), "scores": "logits", **fields})


def views_of(size=(16, 24), count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


def all_shifts(view):
    return np.stack([np.roll(view, (dy, dx), axis=(0, 1)) for dy in range(STRIDE) for dx in range(STRIDE)])


def by_shift(model, view):
    return model(all_shifts(view)).reshape(STRIDE, STRIDE, -1)


# against the grid


def test_all_phases_leave_nothing_of_the_place():
    plain = black_box()
    averaged = with_phase_average(plain, phases=STRIDE, stride_px=STRIDE, around="circle")
    for view in views_of():
        assert np.ptp(by_shift(plain, view), axis=(0, 1)).max() > 0.1
        answers = by_shift(averaged, view)
        np.testing.assert_allclose(answers, np.broadcast_to(answers[0, 0], answers.shape), atol=1e-5)
        assert len(set(answers.argmax(axis=2).ravel().tolist())) == 1


@pytest.mark.parametrize("phases", [(2, 1), (1, 2), (2, 2), (4, 2)])
def test_k_phases_remove_every_harmonic_that_is_no_multiple_of_k(phases):
    plain = black_box()
    averaged = with_phase_average(plain, phases=phases, stride_px=STRIDE, around="circle")
    for view in views_of(count=2):
        before, after = (np.abs(np.fft.fft2(by_shift(model, view), axes=(0, 1))) for model in (plain, averaged))
        down, across = np.indices((STRIDE, STRIDE))
        kept = (down % phases[0] == 0) & (across % phases[1] == 0)
        np.testing.assert_allclose(after[kept], before[kept], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after[~kept], 0, atol=1e-4)
        assert before[~kept].max() > 1e-2


def test_one_phase_is_the_model():
    plain, views = black_box(), views_of()
    for around in ("picture", "circle"):
        averaged = with_phase_average(plain, phases=1, stride_px=STRIDE, around=around)
        assert averaged.view_size == plain.view_size
        np.testing.assert_array_equal(averaged(views), plain(views))


def test_the_order_of_the_windows_does_not_matter():
    plain = black_box()
    offsets = phase_offsets((4, 2), (STRIDE, STRIDE))
    one, other = (with_phase_average(plain, offsets_px=each) for each in (offsets, offsets[::-1]))
    views = views_of(one.view_size)
    np.testing.assert_allclose(one(views), other(views), rtol=1e-6)


def test_phases_are_equally_spaced_in_a_circle_and_hold_the_plain_view():
    for stride in range(1, 33):
        for count in (each for each in range(1, stride + 1) if stride % each == 0):
            rows = sorted({down % stride for down, _ in phase_offsets((count, 1), (stride, stride))})
            assert rows == list(range(0, stride, stride // count))


# adaptive


@pytest.mark.parametrize("scores", ["logits", "probabilities", "sigmoid"])
def test_a_margin_of_nothing_is_the_plain_model_and_one_of_infinity_the_mean(scores):
    def answer(views):
        return {"logits": grid, "probabilities": soft, "sigmoid": lambda views: 1 / (1 + np.exp(-grid(views)))}[scores](
            views
        )

    def soft(views):
        odds = np.exp(grid(views))
        return odds / odds.sum(axis=1, keepdims=True)

    plain = black_box(answer=answer, scores=scores)
    full = with_phase_average(plain, phases=2, stride_px=STRIDE)
    views = views_of(full.view_size, count=9)
    none, always = (replace(full, only_below=margin) for margin in (0.0, 1e9))
    middle = views[:, 2:-2, 2:-2]
    np.testing.assert_array_equal(none(views), plain(middle))
    np.testing.assert_allclose(always(views), full(views), rtol=1e-6)
    assert (none.windows_per_view, always.windows_per_view, full.windows_per_view) == (1, 4, 4)


def test_an_adaptive_average_asks_about_close_views_alone():
    plain = black_box()
    full = with_phase_average(plain, phases=2, stride_px=STRIDE)
    views = views_of(full.view_size, count=9)
    scores = np.sort(plain(views[:, 2:-2, 2:-2]), axis=1)
    margins = scores[:, -1] - scores[:, -2]
    adaptive = replace(full, only_below=float(np.median(margins)))
    close = margins < np.median(margins)
    np.testing.assert_allclose(adaptive(views)[close], full(views)[close], rtol=1e-6)
    np.testing.assert_array_equal(adaptive(views)[~close], plain(views[:, 2:-2, 2:-2])[~close])
    assert adaptive.windows_per_view == pytest.approx(1 + 3 * close.mean())
    adaptive(views[:1])
    assert len(adaptive.asked) == 3


def test_below_the_margin_lies_the_share_of_what_flips():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 9, 5)).cumsum(axis=1)
    margins, flips = views_at_risk(scores)
    for share in (0.1, 0.5, 0.9, 1.0):
        below = margins[flips] < margin_holding(margins, flips, share)
        assert share <= below.mean() < share + 2 / flips.sum()
    assert margin_holding(margins, np.zeros_like(flips), 0.9) == 0
    with pytest.raises(InputError, match="a share can't be 0"):
        margin_holding(margins, flips, 0.0)


# as a model like any other


@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("only_below", [inf, 0.5])
def test_no_batch_is_larger_than_the_model_is_best_shown(batch_size, only_below):
    shown = []

    def answer(views):
        shown.append(views.shape)
        return grid(views)

    plain = black_box(answer=answer, batch_size=batch_size)
    averaged = with_phase_average(plain, phases=2, stride_px=STRIDE, only_below=only_below)
    averaged(views_of(averaged.view_size, count=5))
    assert {shape[1:] for shape in shown} == {(16, 24, 3)}
    assert max(shape[0] for shape in shown) == batch_size


def test_it_is_a_model_and_carries_what_the_model_has():
    plain = black_box(weights_sha256="abc", class_names=("a", "b", "c", "d"), settings={"device": "cpu"})
    averaged = with_phase_average(plain, phases=2, stride_px=STRIDE)
    assert isinstance(averaged, Model)
    for name in ("spec", "weights_sha256", "task", "scores", "class_names", "batch_size"):
        assert getattr(averaged, name) == getattr(plain, name)
    assert averaged.settings["device"] == "cpu"
    assert not hasattr(averaged, "size")
    assert averaged.score_step is None
    assert averaged.exact is None
    json.dumps(averaged.settings, allow_nan=False)


@dataclass(frozen=True)
class Quantised(FakeModel):
    score_step: float = 1 / 256
    at_once: int = 2
    remarks: tuple[str, ...] = ("it is rounded",)


def test_of_8_bits_the_mean_is_finer():
    averaged = with_phase_average(Quantised(grid, (16, 24), scores="probabilities"), phases=2, stride_px=STRIDE)
    assert averaged.score_step == 1 / 1024
    assert averaged.at_once == 2
    assert averaged.remarks[0] == "it is rounded"
    assert "4 windows" in averaged.remarks[1]


@pytest.mark.parametrize("crop", ["center", "center-down", CropSelection(room_px=4, width_px=1)])
@pytest.mark.parametrize("size", [(40, 53), (41, 50), (43, 43)])
def test_the_plain_view_lies_in_the_middle_of_the_larger_one(crop, size):
    fields = Preprocessing(resize_px=36, crop=crop)
    plain = black_box(preprocessing=fields)
    image = pictures(1, size)[0].read()
    if isinstance(crop, CropSelection):
        plain = replace(plain, view_size=(16, 20))
    averaged = with_phase_average(plain, phases=(4, 2), stride_px=(4, 12))
    larger = deployed_view(image, averaged.preprocessing, averaged.view_size)
    assert averaged.preprocessing == fields
    if isinstance(crop, CropSelection):  # its place is another, but all windows hold on to it
        assert larger.shape[:2] == averaged.view_size == (20, 32)
        return
    height, width = plain.view_size
    seen = larger[2 : 2 + height, 6 : 6 + width]
    np.testing.assert_array_equal(seen, deployed_view(image, fields, plain.view_size))


def test_where_the_resize_leaves_no_room_it_is_made_larger():
    plain = black_box(view_size=(16, 16), preprocessing=Preprocessing(resize_px=16))
    assert with_phase_average(plain, phases=2, stride_px=8).preprocessing.resize_px == 24
    chosen = with_stable_crop(plain, room_px=4)
    assert with_phase_average(chosen, phases=2, stride_px=8).preprocessing.resize_px == 28


def test_a_chosen_crop_and_an_average_come_in_any_order():
    plain = black_box(preprocessing=Preprocessing(resize_px=20))
    first = with_phase_average(with_stable_crop(plain, room_px=4), phases=2, stride_px=4)
    second = with_stable_crop(with_phase_average(plain, phases=2, stride_px=4), room_px=4)
    assert first.preprocessing == second.preprocessing
    assert first.view_size == second.view_size


def test_fed_otherwise_the_windows_are_fed_otherwise_too():
    fields = Preprocessing(resize_px=24)
    told = []

    @dataclass(frozen=True)
    class Telling(FakeModel):
        def __call__(self, views):
            told.append(self.preprocessing.mean)
            return super().__call__(views)

    averaged = with_phase_average(Telling(grid, (16, 16), fields, scores="logits"), phases=2, stride_px=STRIDE)
    other = replace(averaged, preprocessing=replace(averaged.preprocessing, mean=(0.5,)))
    other(views_of(other.view_size))
    assert set(told) == {(0.5,)}


def test_an_audit_records_the_windows_and_does_not_go_on_with_others(tmp_path):
    plain = black_box(answer=hashed, preprocessing=Preprocessing(resize_px=24))
    samples = pictures(3, (70, 80))
    options = {"walk": "pairs", "walks": 2, "out": tmp_path / "audit"}
    averaged = with_phase_average(plain, phases=2, stride_px=STRIDE)
    audit = sh.audit(averaged, samples, **options)
    assert audit.model["view_size"] == [20, 28]
    assert any("(-2, 0) × (-2, 0)" in warning for warning in audit.warnings)
    assert audit.controls["still"]["p_top1_change"].value == 0
    run = json.loads((tmp_path / "audit/run.json").read_text())
    assert run["settings"]["phase_average"]["offsets_px"] == [[-2, -2], [-2, 0], [0, -2], [0, 0]]
    others = with_phase_average(plain, offsets_px=[(0, 0), (2, 2)])
    assert others.view_size == averaged.view_size
    with pytest.raises(InputError, match="phase_average"):
        sh.audit(others, samples, **options)


# which windows


def test_the_best_windows_come_first():
    """Window 3 is the plain view's opposite: their mean never moves. The others add noise."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(12, 8, 1, 5)).astype(np.float32)
    noise = rng.normal(size=(12, 8, 3, 5)).astype(np.float32) * 3
    still = np.repeat(rng.normal(size=(12, 1, 1, 5)), 8, axis=1).astype(np.float32)
    answers = np.concatenate([plain, noise[:, :, :2], 2 * still - plain, noise[:, :, 2:]], axis=2)
    offsets = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for by in ("flips", "mac"):
        found = choose_phases(answers, offsets, "logits", by=by, most=4)
        assert found.offsets_px[:2] == ((0, 0), (1, 0))
        assert len(found.offsets_px) == len(set(found.offsets_px)) == len(found.mac) == 4
        assert found.p_top1_change[1].value == 0
        assert found.mac[1].value < 1e-6 < found.mac[0].value
        assert found.p_top1_change[0].images == found.chosen_on == 6
        json.dumps(found.to_json(), allow_nan=False)


def test_answers_by_window_are_what_the_windows_get():
    plain = black_box(answer=hashed, preprocessing=Preprocessing(resize_px=24))
    averaged = with_phase_average(plain, phases=2, stride_px=STRIDE)
    found = answers_by_window(averaged, pictures(2, (70, 80)), walks=2)
    assert found.shape == (2, 8, 4, 20)
    views = []
    spy = replace(averaged, model=replace(plain, answer=lambda given: views.append(given.copy()) or hashed(given)))
    answers_by_window(spy, pictures(2, (70, 80)), walks=2)
    np.testing.assert_array_equal(np.concatenate(views)[:64].shape, (64, 16, 24, 3))
    windows = np.concatenate(views).reshape(2, 4, 2, 4, 16, 24, 3)
    np.testing.assert_array_equal(windows[:, :2, 0, :, :-1], windows[:, :2, 1, :, 1:])  # down
    np.testing.assert_array_equal(windows[:, 2:, 0, :, :, :-1], windows[:, 2:, 1, :, :, 1:])  # to the right


# the stride


def test_a_black_box_tells_its_stride():
    samples = pictures(8, (30, 40))
    plain = black_box(preprocessing=Preprocessing(resize_px=24))
    assert find_stride(plain, samples) == (STRIDE, STRIDE)
    dull = replace(plain, answer=lambda views: np.ones((len(views), 3)))
    with pytest.raises(InputError, match="no stride to be seen"):
        find_stride(dull, samples)


# refusals


@pytest.mark.parametrize(
    ("changes", "options", "what"),
    [
        ({"task": "detect"}, {"stride_px": 4}, "have no mean"),
        ({}, {}, "find_stride"),
        ({}, {"stride_px": 4, "phases": 3}, "give 1, 2, 4"),
        ({}, {"stride_px": 4, "phases": 0}, "give 1, 2, 4"),
        ({}, {"offsets_px": []}, "no window"),
        ({}, {"offsets_px": [(0, 0), (0, 0)]}, "the same window twice"),
        ({}, {"offsets_px": [(0, 2), (0, 1)], "only_below": 1.0}, "plain view is not among"),
        ({}, {"stride_px": 4, "only_below": -1.0}, "a margin can't be -1"),
        ({"task": "embed"}, {"stride_px": 4, "only_below": 1.0}, "no margin"),
        ({"preprocessing": Preprocessing(crop="letterbox")}, {"stride_px": 4}, "letterboxed"),
    ],
)
def test_what_can_not_be_averaged_is_refused(changes, options, what):
    with pytest.raises(InputError, match=what):
        with_phase_average(black_box(**changes), **options)


def test_a_letterboxed_classifier_can_be_rolled():
    plain = black_box(preprocessing=Preprocessing(crop="letterbox"))
    averaged = with_phase_average(plain, phases=2, stride_px=4, around="circle")
    assert averaged.view_size == plain.view_size
    assert isinstance(averaged, PhaseAveraged)


def test_choosing_needs_images_and_the_plain_view():
    answers = np.zeros((4, 2, 2, 3), np.float32)
    with pytest.raises(InputError, match="4 images are too few"):
        choose_phases(answers, [(0, 0), (0, 1)], "logits")
    with pytest.raises(InputError, match="plain view is not among"):
        choose_phases(np.zeros((8, 2, 2, 3), np.float32), [(1, 0), (0, 1)], "logits")
