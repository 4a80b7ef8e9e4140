"""The stride of black boxes whose stride is known, found from their answers alone."""

import json

import numpy as np
import pytest
from fakes import FakeModel, histogram, pictures

from shiftable.errors import InputError
from shiftable.explaining.outside import reveal_stride
from shiftable.explaining.sweeping import sweep

SIDE, STEPS = 64, 65


def features(views: np.ndarray, seed: int = 0) -> np.ndarray:
    """Dense responses with sharp edges: random 3 x 3 filters, each rectified. (view height width channel), circular."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((*views.shape[:3], 6))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            maps += np.roll(views, (dy, dx), (1, 2)).astype(float) @ rng.normal(size=(3, 6))
    return np.maximum(maps / 255 - 1, 0)


def net(stride: int, border: int = 0):
    """A net of one layer: responses at every stride-th place, summed. With a border it is no longer circular."""

    def answer(views):
        maps = features(views)[:, border : views.shape[1] - border, border : views.shape[2] - border]
        pooled = maps[:, ::stride, ::stride].mean(axis=(1, 2))
        odds = np.exp(4 * (pooled - pooled.mean(axis=1, keepdims=True)))
        return odds / odds.sum(axis=1, keepdims=True)

    return answer


def smooth_pictures(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Noise with the spectrum of photographs: 1 / f."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    spectrum = np.fft.fft2(rng.normal(size=(count, 3, side, side))) / np.maximum(f, 1 / side)
    maps = np.fft.ifft2(spectrum).real
    maps = (maps / maps.std(axis=(1, 2, 3), keepdims=True) * 60 + 128).clip(0, 255)
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1).astype(np.uint8))


def rolled(stride: int, steps: int = SIDE) -> np.ndarray:
    return np.stack(
        [net(stride)(np.stack([np.roll(each, at, 1) for at in range(steps)])) for each in smooth_pictures(8, SIDE)]
    )


def slid(stride: int, images: int = 12) -> np.ndarray:
    large = smooth_pictures(images, SIDE + STEPS - 1)
    return np.stack(
        [net(stride, border=2)(np.stack([each[:SIDE, at : at + SIDE] for at in range(STEPS)])) for each in large]
    )


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_a_circular_net_gives_its_stride_away_exactly(stride):
    found = reveal_stride(rolled(stride), closed=True)
    assert found.stride_px == stride
    explained = {each.px: each.explained.value for each in found.moduli}
    assert all(value == pytest.approx(1, abs=1e-9) for px, value in explained.items() if px >= stride)
    assert all(value < 0.999 for px, value in explained.items() if px < stride)
    apart = dict(zip(found.lags_px, found.difference, strict=True))
    for px, value in apart.items():
        assert (value < 1e-9) == (px % stride == 0)
    assert found.dip is not None
    assert found.dip.value == pytest.approx(1)
    assert len(found.by_phase) == stride


def test_a_circular_net_without_stride_does_not_change_at_all():
    found = reveal_stride(rolled(1), closed=True)
    assert found.stride_px is None
    assert found.moduli == ()
    assert "do not change" in found.statement


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_with_real_shifts_the_stride_shows_in_part(stride):
    found = reveal_stride(slid(stride))
    assert found.stride_px == stride
    last = next(each for each in found.moduli if each.px == stride)
    assert 0 < last.explained.low < last.explained.high < 1
    assert found.dip is not None
    assert 0 < found.dip.low < found.dip.value < 1
    assert f"every {stride} px" in found.statement


def test_with_real_shifts_no_stride_is_no_stride():
    found = reveal_stride(slid(1))
    assert found.stride_px is None
    assert found.dip is None
    assert all(each.explained.value < 0.05 for each in found.moduli)
    assert "Nothing in the answers repeats" in found.statement


def test_what_drifts_without_a_grid_is_seldom_taken_for_one():
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        drift = rng.normal(size=(10, STEPS + 8, 5)).cumsum(axis=1)
        kernel = np.ones(1 + seed % 6)  # from a random walk to a smooth one
        answers = sum(drift[:, at : at + STEPS] * weight for at, weight in enumerate(kernel))
        alarms += reveal_stride(answers).stride_px is not None
    assert alarms <= 6


def test_a_trend_and_a_scale_change_nothing():
    answers = slid(8)
    tilted = 3 * answers + np.linspace(0, 2, STEPS)[:, None]
    one, other = reveal_stride(answers), reveal_stride(tilted)
    for before, after in zip(one.moduli, other.moduli, strict=True):
        assert after.explained.value == pytest.approx(before.explained.value, abs=1e-9)
    assert one.stride_px == other.stride_px == 8


def test_the_share_is_that_of_the_means_by_phase():
    """Without what is taken off for the frequencies beside, lines hold the variance between the means of the phases."""
    rng = np.random.default_rng(0)
    pattern, noise = rng.normal(size=(1, 4, 3)), rng.normal(size=(200, 64, 3))
    changes = np.tile(pattern - pattern.mean(axis=1, keepdims=True), (200, 16, 1)) + noise
    answers = np.concatenate([np.zeros((200, 1, 3)), changes.cumsum(axis=1)], axis=1)
    signal = ((pattern - pattern.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean()
    found = {each.px: each.explained for each in reveal_stride(answers).moduli}
    assert found[4].low <= signal / (signal + 3) <= found[4].high
    assert found[16].low <= signal / (signal + 3) <= found[16].high


def test_the_phase_at_which_the_answer_jumps():
    answers = np.repeat(np.random.default_rng(0).normal(size=(6, 8, 4)), 8, axis=1)  # a new answer every 8 px
    answers = np.concatenate([answers, answers[:, :1]], axis=1)
    found = reveal_stride(answers)
    assert found.stride_px is None or found.stride_px >= 8
    by_phase = reveal_stride(answers, moduli=(8,)).by_phase
    assert int(np.argmax(by_phase)) == 7
    assert max(by_phase[:7]) == 0


def test_other_strides_can_be_asked_for():
    rng = np.random.default_rng(0)
    answers = np.tile(rng.normal(size=(6, 14, 3)), (1, 5, 1)) + 0.1 * rng.normal(size=(6, 70, 3))
    assert reveal_stride(answers, moduli=(7, 14, 28)).stride_px == 14
    with pytest.raises(InputError, match="do not divide"):
        reveal_stride(answers, moduli=(4, 14))


def test_short_walks_leave_large_moduli_out():
    found = reveal_stride(rolled(8, steps=18))
    assert [each.px for each in found.moduli] == [2, 4, 8]
    assert found.untested == (16, 32)
    assert found.stride_px == 8
    assert "were not tried" in found.statement
    with pytest.raises(InputError, match="tell no stride"):
        reveal_stride(np.zeros((3, 4, 2)))
    with pytest.raises(InputError, match="finite"):
        reveal_stride(np.full((3, 9, 2), np.nan))


@pytest.mark.parametrize("images", [1, 2])
def test_the_json_is_plain(images):
    found = reveal_stride(slid(4, images=images))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["images"] == images
    assert [each["px"] for each in plain["moduli"]] == [2, 4, 8, 16, 32]
    if images == 1:
        assert found.stride_px is None
        assert "no interval" in found.statement


def test_a_sweep_shows_the_full_circle_in_order():
    def first_pixels(views):
        return views[:, 0, :2, 0].astype(float)

    samples = pictures(3)
    swept = sweep(FakeModel(first_pixels, batch_size=5), samples)
    assert swept.closed
    assert swept.images == tuple(sample.id for sample in samples)
    assert swept.scores.shape == (3, 8, 2)
    np.testing.assert_array_equal(swept.scores[:, 1:, 1], swept.scores[:, :-1, 0])  # content moves to the right
    np.testing.assert_array_equal(swept.scores[:, 0, 1], swept.scores[:, -1, 0])
    assert not sweep(FakeModel(first_pixels), samples, steps=7).closed


def test_a_sweep_finds_the_stride_of_a_model():
    arrays = smooth_pictures(6, SIDE)
    samples = pictures(6)
    samples = [type(each)(each.id, None, lambda at=at: arrays[at]) for at, each in enumerate(samples)]
    model = FakeModel(net(4), view_size=(SIDE, SIDE))
    swept = sweep(model, samples, direction="vertical")
    assert reveal_stride(swept.scores, closed=swept.closed).stride_px == 4


def test_a_sweep_skips_what_it_can_not_read_and_refuses_what_is_no_score():
    def broken():
        raise InputError("not an image")

    samples = pictures(2)
    swept = sweep(FakeModel(histogram), [*samples, type(samples[0])("bad", None, broken)], motion="crop", steps=5)
    assert [(each.where, each.what) for each in swept.skipped] == [("bad", "not an image")]
    assert len(swept.scores) == 2
    with pytest.raises(InputError, match="none of 1 images"):
        sweep(FakeModel(histogram), [type(samples[0])("bad", None, broken)])
    with pytest.raises(InputError, match="numbers a view"):
        sweep(FakeModel(lambda views: np.full((len(views), 3), np.nan)), samples)


def test_real_models_give_their_strides_away(shared):
    """A MobileNet's layers have the strides 2, 4, 8, 16 and 32; the last is faint."""
    pytest.importorskip("ai_edge_litert")
    from shiftable.data import find_samples
    from shiftable.models import open_model

    model = open_model(str(shared / "models" / "mobilenet_v1_0.25_128_quant.tflite"))
    swept = sweep(model, find_samples(shared / "data" / "imagenet_samples", 12), steps=65)
    found = reveal_stride(swept.scores)
    assert found.stride_px is not None
    assert found.stride_px >= 16
