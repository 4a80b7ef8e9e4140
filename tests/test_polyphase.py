"""Phases picked by content: every circular shift gives the same values, in the same order, some positions further."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.layers import AdaptivePolyphase2d, AnchoredConv2d, LearnedPolyphase2d  # noqa: E402
from shiftable.layers.anchoring import anchored  # noqa: E402
from shiftable.layers.polyphase import norms, phases, picked, strongest  # noqa: E402


def noise(*size, seed=0, dtype=torch.float32):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def is_a_roll(answer, wanted):
    """Whether one map is another, rolled in a circle."""
    rows, columns = answer.shape[-2:]
    rolls = ((y, x) for y in range(rows) for x in range(columns))
    return any(torch.allclose(answer.roll(each, (-2, -1)), wanted, atol=1e-5) for each in rolls)


@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("stride", [(2, 2), (3, 2), (1, 4)])
def test_the_strongest_phase_is_the_naive_one(norm, stride):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        image = noise(5, 3, 12, 24, dtype=dtype)
        every = [image[:, :, y :: stride[0], x :: stride[1]] for y in range(stride[0]) for x in range(stride[1])]
        slow = torch.stack([torch.linalg.vector_norm(each.double().flatten(1), norm, dim=1) for each in every], dim=1)
        assert torch.allclose(norms(image, stride, norm), slow.float(), rtol=1e-5)
        chosen = strongest(image, stride, norm)
        assert torch.equal(chosen, slow.argmax(dim=1))
        answer = AdaptivePolyphase2d(stride, norm=norm)(image)
        assert all(torch.equal(answer[i], every[chosen[i]][i]) for i in range(len(image)))
        assert torch.equal(phases(image, stride).flatten(1, 2), torch.stack(every, dim=1))


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("taps", [1, 3])
def test_every_circular_shift_gives_the_same(stride, taps):
    layer = AdaptivePolyphase2d(stride, taps=taps)
    image = noise(2, 3, 2 * stride, 3 * stride)
    still = layer(image)
    for dy in range(stride + 1):
        for dx in range(stride + 1):
            moved = layer(image.roll((dy, dx), (2, 3)))
            assert all(is_a_roll(moved[i], still[i]) for i in range(2))


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_net_of_circular_convolutions_is_consistent(stride):
    """100 % at every shift: the answer of the net stays what it was, to rounding."""
    torch.manual_seed(0)

    def conv(channels, more):
        return nn.Conv2d(channels, more, 3, padding=1, padding_mode="circular")

    net = nn.Sequential(
        conv(3, 8), nn.ReLU(), AdaptivePolyphase2d(stride, taps=3), conv(8, 8), nn.ReLU(), AdaptivePolyphase2d(stride),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    image = noise(4, 3, 2 * stride**2, 3 * stride**2)
    with torch.no_grad():
        still = net(image)
        for at in range(0, stride**4, max(1, stride**4 // 40)):
            moved = net(image.roll((at // stride**2, at % stride**2), (2, 3)))
            assert torch.allclose(moved, still, atol=1e-5)
            assert torch.equal(moved.argmax(dim=1), still.argmax(dim=1))


def test_ties_go_to_the_smallest_phase():
    values = noise(1, 3, 1, 50)
    equal = torch.cat([values.unsqueeze(-1), values.flip(3).unsqueeze(-1)], dim=-1).flatten(3)
    assert strongest(equal.expand(1, 3, 2, 100), (2, 2)).tolist() == [0]
    assert strongest(torch.ones(2, 3, 4, 4), (2, 2)).tolist() == [0, 0]
    assert strongest(torch.zeros(1, 1, 3, 3), (3, 3)).tolist() == [0]


def test_a_shortcut_takes_the_phase_of_the_main_branch():
    layer = AdaptivePolyphase2d(2)
    main, shortcut = noise(4, 3, 8, 6), noise(4, 5, 8, 6, seed=1)
    phase = layer.phase(main)
    assert torch.equal(layer(main, phase), layer(main))
    assert torch.equal(layer(shortcut, phase), picked(shortcut, (2, 2), phase))
    assert len(set(phase.tolist())) > 1


def test_gradients_go_to_the_positions_that_were_picked():
    image = noise(2, 1, 4, 6).requires_grad_()
    layer = AdaptivePolyphase2d(2)
    layer(image).sum().backward()
    assert torch.equal(image[image.grad.bool()].sort().values, layer(image).flatten().sort().values)


def test_learned_sampling_is_consistent_and_learns():
    torch.manual_seed(0)
    layer = LearnedPolyphase2d(3, 2, taps=3)
    image = noise(2, 3, 6, 8)
    layer(image).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())
    layer.eval()
    for shift in ((0, 1), (1, 0), (1, 1), (3, 5)):
        moved = layer(image.roll(shift, (2, 3)))
        assert all(is_a_roll(moved[i], layer(image)[i]) for i in range(2))
    chosen = layer.phase(image)
    assert torch.equal(layer(image, chosen), layer(image))


def test_cold_training_picks_what_evaluating_picks():
    torch.manual_seed(0)
    layer = LearnedPolyphase2d(3, 2, temperature=1e-3)
    with torch.no_grad():
        layer.score[2].weight.mul_(1e4)
    image = noise(4, 3, 6, 8)
    assert torch.allclose(layer.train()(image), layer.eval()(image), atol=1e-5)


def test_an_anchored_image_is_rolled_to_its_phase():
    image = noise(3, 2, 6, 12)
    phase = torch.tensor([0, 5, 2])
    answer = anchored(image, (2, 3), phase)
    for i, (y, x) in enumerate([(0, 0), (1, 2), (0, 2)]):
        assert torch.equal(answer[i], image[i].roll((-y, -x), (1, 2)))
    assert strongest(anchored(image, (2, 3), strongest(image, (2, 3))), (2, 3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("by", ["pixels", "tokens"])
@pytest.mark.parametrize(("kernel", "stride"), [(4, None), ((2, 3), None), (5, 4)])
def test_an_anchored_embedding_gives_every_shift_the_same_tokens(by, kernel, stride):
    torch.manual_seed(0)
    circular = {"padding": 2, "padding_mode": "circular"} if stride else {}
    embed = AnchoredConv2d(3, 8, kernel, stride, by=by, **circular)
    plain = nn.Conv2d(3, 8, kernel, embed.stride, **circular)
    plain.load_state_dict(embed.state_dict())
    image = noise(1, 3, 12, 24)
    still = embed(image)
    assert still.shape == plain(image).shape
    y, x = divmod(int(embed.phase(image)), embed.stride[1])
    assert torch.allclose(still, plain(image.roll((-y, -x), (2, 3))), atol=1e-6)
    for shift in ((0, 1), (1, 0), (3, 2), (7, 11)):
        assert is_a_roll(embed(image.roll(shift, (2, 3))), still)
