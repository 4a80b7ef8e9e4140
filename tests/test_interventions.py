"""Interventions: the site that makes the answer jump is the one whose blurring holds it still."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from fakes import FakeModel

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.data import Sample  # noqa: E402
from shiftable.errors import InputError  # noqa: E402
from shiftable.explaining.interventions import intervene  # noqa: E402
from shiftable.explaining.views import Swept, swept  # noqa: E402
from shiftable.models import Preprocessing  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402

SIZE, STEPS = 32, 5


class Brighter(nn.Module):
    """Two classes: whether the mean of channel 0 is above or below channel 1's."""

    def forward(self, map):
        return 50 * (map.mean((2, 3)) @ torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def jumping():
    """Stripes of period 2 become one level or the other where "early" subsamples; "late" gets a smooth map only."""
    early = nn.Conv2d(3, 2, 1, stride=2, bias=False)
    early.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[..., None, None]
    smooth = nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False, padding_mode="reflect")
    smooth.weight.data.fill_(1 / 25)
    late = nn.MaxPool2d(2)
    net = nn.Sequential()
    for name, part in (("early", early), ("smooth", smooth), ("late", late), ("head", Brighter())):
        net.add_module(name, part)
    return net


def model_of(net, **fields):
    return torch_model(
        net, spec="jumping", view_size=(SIZE, SIZE), preprocessing=Preprocessing(resize_px=SIZE), device="cpu",
        scores="logits", **fields,
    )  # fmt: skip


def striped(count=6, label=0):
    """Sweeps over vertical stripes: red and green alternate from column to column, about an image's own grey level."""
    rng = np.random.default_rng(0)
    sweeps = []
    for number in range(count):
        picture = np.full((SIZE, SIZE + STEPS, 3), rng.integers(90, 160), np.uint8)
        picture[:, number % 2 :: 2, 0] += 40
        picture[:, 1 - number % 2 :: 2, 1] += 36
        picture += rng.integers(0, 3, picture.shape, dtype=np.uint8)
        views = np.stack([picture[:, STEPS - step : STEPS - step + SIZE] for step in range(STEPS)])
        offsets = np.array([[0, step - STEPS // 2] for step in range(STEPS)])
        sweeps.append(Swept(Sample(f"{number}", label, lambda picture=picture: picture), offsets, views))
    return sweeps


def estimates(found):
    return [value for value in vars(found).values() if hasattr(value, "low")]


def test_the_site_to_blame_is_named():
    singles, interactions = intervene(model_of(jumping()), striped(), match_moments=False, rounds=1)
    assert [each.sites for each in singles] == [("early",), ("late",), ("early", "late")]
    assert interactions == ()
    early, late, both = singles
    assert all(each.flips_before.value == 1 for each in singles)
    assert (early.flips.value, early.flips_removed.value) == (0, 1)
    assert (late.flips.value, late.flips_removed.value) == (1, 0)
    assert both.flips_removed.value == 1
    assert early.mac_removed.value > 0.5 > 0.1 > abs(late.mac_removed.value)
    assert early.agreement.value < late.agreement.value == 1
    assert late.accuracy_change.value == 0
    assert all(each.time_ratio > 0 for each in singles)


def test_with_moments_matched_too():
    early, late, _ = intervene(model_of(jumping()), striped(), rounds=0)[0]
    assert early.flips_removed.value > 0.7 > late.flips_removed.value
    assert isnan(early.time_ratio)


def test_estimates_hold_together():
    singles, (interaction,) = intervene(model_of(jumping()), striped(), pairs_of=2, rounds=0)
    for each in singles:
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in estimates(each))
        assert each.flips_removed.value == pytest.approx(each.flips_before.value - each.flips.value)
        assert (each.flips.images, each.flips.pairs, each.agreement.pairs) == (6, 6 * (STEPS - 1), 6 * STEPS)
    early, late, both = singles
    assert interaction.sites == ("early", "late")
    assert (interaction.first, interaction.second) == (early.flips_removed, late.flips_removed)
    assert interaction.both == both.flips_removed
    beyond = interaction.both.value - interaction.first.value - interaction.second.value
    assert interaction.beyond.value == pytest.approx(beyond)
    assert interaction.beyond.low <= beyond <= interaction.beyond.high


def test_two_sites_that_both_jump_need_each_other():
    """Two branches: each answer may come from either, so that blurring one alone leaves the other jumping."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = jumping()[:1], jumping()[:1]
            self.third = nn.MaxPool2d(16)
            self.head = Brighter()

        def forward(self, map):
            return self.head(self.first(map) + self.second(map)) + 0 * self.third(map).sum()

    singles, interactions = intervene(
        model_of(Branches()), striped(), ["first.early", "second.early"], pairs_of=2, match_moments=False, rounds=0
    )
    assert [each.sites for each in singles] == [("first.early",), ("second.early",), ("first.early", "second.early")]
    assert [each.flips_removed.value for each in singles] == [0, 0, 1]
    assert interactions[0].beyond.value == 1
    singles, interactions = intervene(model_of(Branches()), striped(3), pairs_of=3, match_moments=False, rounds=0)
    assert [len(each.sites) for each in singles] == [1, 1, 1, 3, 2, 2, 2]
    assert [each.sites for each in singles[4:]] == [each.sites for each in interactions]


def test_one_tap_is_the_net_as_it_is():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(8, 8, 3, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    for match in (True, False):
        for each in intervene(model_of(net), striped(3, label=None), taps=1, match_moments=match, rounds=0)[0]:
            assert each.flips == each.flips_before
            assert each.agreement.value == 1
            assert (each.mac_removed.value, each.mac_removed.low, each.mac_removed.high) == (0, 0, 0)
            assert each.accuracy_change is None


def test_the_same_arguments_give_the_same_numbers_and_progress_is_told():
    told = []
    model, sweeps = model_of(jumping()), striped(4)
    first = intervene(model, sweeps, rounds=0, pairs_of=2, seed=3, progress=lambda *done: told.append(done))
    again = intervene(model, sweeps, rounds=0, pairs_of=2, seed=3)
    assert repr(first) == repr(again)
    assert told == [(done, 16) for done in range(1, 17)]


def test_of_images_some_with_labels():
    sweeps = striped(4)
    sweeps[1:] = [replace(each, sample=replace(each.sample, label=None)) for each in sweeps[1:]]
    early, *_ = intervene(model_of(jumping()), sweeps, rounds=0)[0]
    assert (early.accuracy_change.images, early.flips.images) == (1, 4)


def test_views_from_a_sweep_over_files_and_batches_of_few():
    model = replace(model_of(jumping()), batch_size=2)
    samples = [each.sample for each in striped(3)]
    sweeps = list(swept(model, samples, 5))
    early, *_ = intervene(model, sweeps, rounds=0)[0]
    assert early.flips.pairs == 12


def test_the_net_is_as_found_also_after_an_exception():
    model, sweeps = model_of(jumping()), striped(2)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}

    def stop(done, in_all):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        intervene(model, sweeps, progress=stop)
    intervene(model, sweeps, rounds=1)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())
    assert not model.net.training


def test_what_can_not_be_done_is_said():
    model, sweeps = model_of(jumping()), striped(2)
    with pytest.raises(InputError, match="unknown site 'earl'; did you mean early"):
        intervene(model, sweeps, ["earl"])
    with pytest.raises(InputError, match="PyTorch net only"):
        intervene(FakeModel(lambda views: views), sweeps)
    with pytest.raises(InputError, match="give a classifier"):
        intervene(replace(model, task="embed"), sweeps)
    with pytest.raises(InputError, match="no image that moves"):
        intervene(model, [])
    with pytest.raises(InputError, match="unknown filter"):
        intervene(model, sweeps, filter="gauss")
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert intervene(model_of(flat), sweeps) == ((), ())
