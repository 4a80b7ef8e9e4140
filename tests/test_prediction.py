"""What sampling alone predicts: where nothing else acts, it is what is measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.explaining.prediction import harmonics, predict  # noqa: E402
from shiftable.models import Preprocessing  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402
from shiftable.surgery.dilating import dilated_logits  # noqa: E402

HIGH, WIDE = 24, 32
OFFSETS = np.arange(-3, 4)


def model_of(*layers, **fields):
    torch.manual_seed(0)
    net = nn.Sequential(*layers)
    return torch_model(
        net, spec="small", view_size=(HIGH, WIDE), preprocessing=Preprocessing(resize_px=HIGH, mean=(0.5,) * 3),
        device="cpu", scores="logits", fast=False, **fields,
    )  # fmt: skip


def head(channels, classes=4):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)


def sampling():
    """No bias and no padding but that of windows that see the grey around: the border says nothing."""
    first, last = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Conv2d(8, 8, 2, 2, bias=False)
    return model_of(first, nn.ReLU(), last, nn.ReLU(), *head(8))


def pictures(images=5):
    """Noise inside grey, which the preprocessing makes 0: what moves a little never comes near the border."""
    found = np.full((images, HIGH, WIDE, 3), 127.5)
    found[:, 8:-8, 8:-8] = np.random.default_rng(0).integers(0, 256, (images, HIGH - 16, WIDE - 16, 3))
    return found.astype(np.uint8)


def measured(model, views, axis):
    return np.stack([model(np.stack([np.roll(view, by, axis) for by in OFFSETS])) for view in views])


def along(axis):
    offsets = np.zeros((len(OFFSETS), 2), int)
    offsets[:, axis] = OFFSETS
    return offsets


@pytest.mark.parametrize("axis", [0, 1])
def test_away_from_borders_the_prediction_is_what_is_measured(axis):
    model, views = sampling(), pictures()
    scores = measured(model, views, axis)
    found = predict(model, views, scores, along(axis), (4, 4), dense=2)
    assert (found.how, found.why_not) == ("dilated", None)
    assert found.correlation.value > 0.999
    assert found.rms_ratio.value == pytest.approx(1, abs=0.02)
    assert found.sampling_share.value > 0.998
    assert (found.correlation.images, found.correlation.pairs) == (5, 5 * 6)
    assert found.flips_predicted.value == found.flips_measured.value
    np.testing.assert_allclose(found.predicted, found.measured, atol=0.02 * np.ptp(found.measured))
    assert found.offsets_px.tolist() == OFFSETS.tolist()
    assert found.harmonics.shape == (4, 4)


def test_moved_the_other_way_it_does_not_fit():
    model, views = sampling(), pictures()
    found = predict(model, views, measured(model, views, 1)[:, ::-1], along(1), (4, 4), dense=0)
    assert found.correlation.value < 0.9
    assert found.harmonics.shape == (1, 4)


def test_where_the_net_looks_at_places_the_moved_views_stand_in():
    model, views = model_of(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 48, 4)), pictures()
    ticks = []
    found = predict(model, views, measured(model, views, 0), along(0), (4, 4), tick=lambda: ticks.append(1))
    assert found.how == "phases"
    assert found.why_not.startswith("3 (addmm)")
    near = np.abs(found.offsets_px) < 2  # half a stride: beyond, it is what the net says of the other phase
    np.testing.assert_allclose(found.predicted[:, near], found.measured[:, near], atol=1e-5)
    assert len(ticks) == len(views)


def test_a_net_without_strides_changes_by_nothing_that_sampling_explains():
    model, views = model_of(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *head(4)), pictures()
    found = predict(model, views, measured(model, views, 1), along(1), (1, 1))
    assert found.correlation is found.rms_ratio is found.sampling_share is None
    assert found.flips_predicted.value == 0
    assert not found.harmonics.any()


def test_probabilities_count_as_their_logarithms():
    plain = sampling()
    model, views = model_of(*plain.net, nn.Softmax(1)), pictures()
    model = torch_model(
        model.net, spec="small", view_size=(HIGH, WIDE), preprocessing=model.preprocessing, device="cpu", fast=False
    )
    assert model.scores == "probabilities"
    found = predict(model, views, measured(model, views, 0), along(0), (4, 4), dense=0)
    same = predict(plain, views, measured(plain, views, 0), along(0), (4, 4), dense=0)
    assert found.correlation.value == pytest.approx(same.correlation.value, abs=1e-4)


def test_classes_that_are_none_are_left_out():
    model, views = sampling(), pictures(2)
    with_one_more = model_of(*sampling().net, class_offset=1)
    scores = measured(with_one_more, views, 0)
    assert scores.shape[2] == measured(model, views, 0).shape[2] - 1
    assert predict(with_one_more, views, scores, along(0), (4, 4)).correlation.value > 0.99


@given(st.integers(0, 2**32 - 1))
def test_harmonics_add_up_to_the_power_about_the_mean(seed):
    table = np.random.default_rng(seed).normal(2, 1, (2, 4, 6, 3))
    expected = table.var(axis=(1, 2)).mean()
    assert harmonics(table).sum() == pytest.approx(expected)
    assert harmonics(table)[0, 0] == 0


def test_harmonics_are_those_of_the_dense_net():
    model, views = sampling(), pictures(3)
    table = dilated_logits(model.net, model.inputs(views[:2])).double().numpy()
    found = predict(model, views, measured(model, views, 0), along(0), (4, 4), dense=2)
    np.testing.assert_allclose(found.harmonics, harmonics(table), rtol=1e-3, atol=1e-12)
    assert found.harmonics.sum() == pytest.approx(table.var(axis=(1, 2)).mean(), rel=1e-6)


def test_a_diagonal_sweep_is_refused():
    model, views = sampling(), pictures(2)
    with pytest.raises(InputError, match="one axis"):
        predict(model, views, measured(model, views, 0), np.stack([OFFSETS, OFFSETS], 1), (4, 4))


def test_the_net_is_left_alone_and_a_second_time_gives_the_same():
    model, views = sampling(), pictures(3)
    state = {key: value.clone() for key, value in model.net.state_dict().items()}
    scores = measured(model, views, 0)
    first, second = (predict(model, views, scores, along(0), (4, 4), seed=1) for _ in range(2))
    assert first.correlation == second.correlation
    assert all(torch.equal(value, state[key]) for key, value in model.net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.net.modules())
