"""Kinds of nets of the studies: what each is built for holds, and none is larger than is said."""

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch.utils.flop_counter import FlopCounterMode

from shiftable.studies.filters import POOLINGS, net_with
from shiftable.studies.filters import kept_as as pooling_kept_as
from shiftable.studies.hand_made import SCALES, TURNS, wavelets
from shiftable.studies.kinds import KINDS, features, kept_as

PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_and_learns_and_takes_40_million_multiply_adds_or_less(kind):
    net = KINDS[kind](seed=0, classes=6).to(memory_format=torch.channels_last).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert net(PICTURES).shape == (2, 6)
    assert counter.get_total_flops() / 2 / len(PICTURES) < 40e6
    assert features(net, PICTURES).ndim == 2
    net.train()(PICTURES).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_one_net_and_the_random_state_is_left_alone(kind):
    before = torch.get_rng_state()
    one, same, other = (KINDS[kind](seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
def test_the_group_equivariant_net_turns_its_features_and_keeps_its_answer():
    net = KINDS["group-equivariant"](seed=0).eval()
    torch.testing.assert_close(net(PICTURES.rot90(1, (2, 3))), net(PICTURES))
    still, turned = net.features(PICTURES), net.features(PICTURES.rot90(1, (2, 3)))
    planes = still.unflatten(1, (4, -1)).rot90(1, (3, 4)).roll(1, 1)  # the turns change places in a circle
    torch.testing.assert_close(turned.unflatten(1, (4, -1)), planes)
    assert not torch.allclose(turned, still)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["polyphase", "ViT, anchored"])
@pytest.mark.parametrize("by", [1, 3, 5])
def test_kinds_that_are_exact_on_a_circle_are(kind, by):
    net = KINDS[kind](seed=0).eval()
    torch.testing.assert_close(net(PICTURES.roll((by, -by), (2, 3))), net(PICTURES), rtol=0, atol=1e-6)
    plain = KINDS["pooled" if kind == "polyphase" else "ViT"](seed=0).eval()
    assert not torch.allclose(plain(PICTURES.roll(by, 3)), plain(PICTURES), rtol=0, atol=1e-6)


def test_nets_that_differ_are_kept_under_different_names():
    names = [kept_as(kind) for kind in KINDS if kind not in ("pooled", "blurred")]
    names += [pooling_kept_as(pooling) for pooling in POOLINGS]
    assert len(set(names)) == len(names)
    assert kept_as("pooled") == pooling_kept_as("max")


@torch.no_grad()
def test_poolings_differ_in_nothing_else_and_no_two_are_alike():
    answers = {}
    for pooling in POOLINGS:
        net = net_with(pooling, seed=0).eval()
        torch.testing.assert_close(net.conv1_1.weight, net_with("max", seed=0).conv1_1.weight)
        answers[pooling] = net(PICTURES)
        if pooling != "learned":  # its weights are no low-pass yet
            constant = net_with(pooling, seed=0).pool1(torch.ones(1, 16, 8, 8))
            torch.testing.assert_close(constant, torch.ones(1, 16, 4, 4))
    found = list(answers.values())
    assert all(not torch.allclose(a, b) for at, a in enumerate(found) for b in found[:at])


def test_wavelets_pass_no_constant_and_lie_where_they_should():
    found = wavelets(64)
    assert found.shape == (SCALES, TURNS, 64, 64)
    np.testing.assert_allclose(found[..., 0, 0], 0, atol=1e-12)
    for scale in range(SCALES):  # of direction 0: along x, at 3/8 cycles per px, an octave lower each time
        y, x = np.unravel_index(found[scale, 0].argmax(), (64, 64))
        assert y == 0
        assert abs(x / 64 - 0.375 / 2**scale) <= 1 / 64
    np.testing.assert_allclose(found[:, TURNS // 2], found[:, 0].swapaxes(1, 2), atol=1e-12)
