"""Phases of PyTorch nets: averaged by windows and by surgery they say the same, and all of them hold answers still."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Preprocessing  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402
from shiftable.repairing.dense_phases import dense_edits, with_dense_phases  # noqa: E402
from shiftable.repairing.phase_average import with_phase_average  # noqa: E402
from shiftable.repairing.strides import total_stride  # noqa: E402
from shiftable.surgery.dilating import circular, dilated_logits  # noqa: E402

SIZE = (24, 32)
STRIDE = 8


class Residual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, 2, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.short = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, map):
        return torch.relu(self.second(torch.relu(self.first(map))) + self.short(map))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), Residual(8, 12),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip
    with torch.no_grad():
        net[-1].weight *= 30
    return torch_model(net, spec="small", view_size=SIZE, preprocessing=Preprocessing(resize_px=48), scores="logits")


@pytest.fixture(scope="module")
def view():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def by_shift(model, view):
    shifts = [np.roll(view, (dy, dx), axis=(0, 1)) for dy in range(STRIDE) for dx in range(STRIDE)]
    return model(np.stack(shifts)).reshape(STRIDE, STRIDE, -1)


def test_all_phases_of_a_net_leave_nothing_of_the_place(model, view):
    assert total_stride(model) == (STRIDE, STRIDE)
    averaged = with_phase_average(model, phases=STRIDE, around="circle")
    with circular(model.net):
        assert np.ptp(by_shift(model, view), axis=(0, 1)).max() > 1e-2
        answers = by_shift(averaged, view)
    expected = dilated_logits(model.net, model.inputs(view[None]), circle=True)
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0, 0], answers.shape), atol=1e-5)
    assert (answers.argmax(2) == answers[0, 0].argmax()).all()
    np.testing.assert_allclose(answers[0, 0], expected[0].mean((0, 1)), atol=1e-5)


def test_a_dense_last_stage_averages_the_phases_of_the_last_stride(model, view):
    """In a circle it is the mean over pictures moved by the strides before: the head is linear."""
    dense = with_dense_phases(model)
    averaged = with_phase_average(model, phases=2, around="circle")
    assert {edit.site for edit in dense_edits(model)} == {"3.first", "3.short"}
    with circular(model.net):
        expected = by_shift(averaged, view)
    with circular(dense.net):
        np.testing.assert_allclose(by_shift(dense, view), expected, atol=1e-5)


def test_dense_by_surgery_and_by_windows_leave_nothing_of_the_place_together(model, view):
    dense = with_dense_phases(model)
    assert total_stride(dense) == (STRIDE // 2, STRIDE // 2)
    averaged = with_phase_average(dense, phases=STRIDE // 2, around="circle")
    with circular(dense.net):
        answers = by_shift(averaged, view)
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0, 0], answers.shape), atol=1e-5)


def test_the_model_given_stays_as_it_was(model, view):
    before = model(view[None])
    dense = with_dense_phases(model)
    np.testing.assert_array_equal(model(view[None]), before)
    assert model.net[3].first.stride == (2, 2)
    assert dense.spec == model.spec
    assert "3.first" in dense.remarks[-1]


def test_the_exact_net_is_averaged_like_the_fast_one(model):
    fast = replace(model, exact_net=model.net)
    averaged = with_phase_average(fast, phases=2)
    views = np.random.default_rng(1).integers(0, 256, (3, *averaged.view_size, 3), np.uint8)
    np.testing.assert_array_equal(averaged.exact(views), averaged(views))
    assert averaged.exact.exact is None


def test_what_is_no_net_has_no_stage(model):
    with pytest.raises(InputError, match="with_phase_average"):
        with_dense_phases(with_phase_average(model, phases=1))
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    steady = torch_model(flat, spec="flat", view_size=SIZE, preprocessing=Preprocessing(resize_px=48), scores="logits")
    with pytest.raises(InputError, match="does not subsample"):
        with_dense_phases(steady)
