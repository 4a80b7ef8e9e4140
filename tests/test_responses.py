"""Layers and their responses: what moves with the picture, what stays, and what does not do as it should."""

import numpy as np
import pytest

from shiftable.data import find_samples
from shiftable.errors import InputError
from shiftable.models import open_model

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.explaining.map_layouts import as_maps, grid_of  # noqa: E402
from shiftable.explaining.maps import layers_of  # noqa: E402
from shiftable.explaining.responses import follow, responses  # noqa: E402
from shiftable.explaining.views import rolled  # noqa: E402
from shiftable.explaining.views import swept as swept_views  # noqa: E402
from shiftable.surgery.dilating import circular  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


OFFSETS = np.array([[0, dx] for dx in range(-4, 5)])


def conv(inputs, outputs, stride=1, kernel=3):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="circular")


class Block(nn.Module):
    """Two weights, and one activation that runs twice."""

    def __init__(self, channels, stride=1):
        super().__init__()
        self.one, self.two = conv(channels, channels, stride), conv(channels, channels)
        self.act = nn.ReLU()

    def forward(self, maps):
        return self.act(self.two(self.act(self.one(maps))))


class Net(nn.Module):
    """With what nets have: a stem, stages, a functional pooling, a global pooling, a head."""

    def __init__(self, stride=2):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, stride), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(nn.Sequential(Block(8), Block(8)), nn.Sequential(Block(8, stride), Block(8)))
        self.head = nn.Linear(8, 5)

    def forward(self, picture):
        maps = nn.functional.max_pool2d(self.stem(picture), 2) if self.stem[0].stride[0] > 1 else self.stem(picture)
        return self.head(nn.functional.relu(self.stages(maps)).mean((2, 3)))


def picture(size=32, seed=0):
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def swept(image, offsets=OFFSETS):
    return torch.cat([rolled(image, tuple(offset)) for offset in offsets.tolist()])


def measured(net, images=(0,), offsets=OFFSETS, names=None, size=32, **settings):
    layers = layers_of(net, picture(size), names)
    found = [
        follow(net, layers, swept(picture(size, seed), offsets), offsets, periodic=True, figures=seed == 0, **settings)
        for seed in images
    ]
    return responses(layers, {"circular": [sweep for _, sweep in found]})


# layers ---------------------------------------------------------------------------------------------------------------


def test_layers_are_what_goes_into_sites_what_blocks_give_and_the_last_map():
    layers = layers_of(Net(), picture())
    names = [layer.name for layer in layers]
    assert names == ["stem", "stages.0.0", "stages.0", "stages.1.0", "before mean"]
    assert [layer.stride_px for layer in layers] == [(2, 2), (4, 4), (4, 4), (8, 8), (8, 8)]
    depths = [layer.depth for layer in layers]
    assert depths == sorted(depths)
    assert 0 < depths[0] < depths[-1] < 1


def test_few_layers_are_spread_over_the_depth_and_hold_the_last_map():
    names = [layer.name for layer in layers_of(Net(), picture(), most=2)]
    assert names == ["stem", "before mean"]


def test_layers_by_name():
    names = ["stages.1.0.act", "stem.0", "stages.1.0.act:1"]
    assert [layer.name for layer in layers_of(Net(), picture(), names)] == [
        "stem.0",
        "stages.1.0.act:1",
        "stages.1.0.act:2",
    ]
    with pytest.raises(InputError, match="did you mean stages"):
        layers_of(Net(), picture(), ["stage.1"])
    with pytest.raises(InputError, match="'head' gives no map"):
        layers_of(Net(), picture(), ["head"])


def test_a_site_s_padding_is_not_the_map_s():
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, 2)

        def forward(self, image):
            return self.two(nn.functional.pad(torch.relu(self.one(image)), (0, 1, 0, 1))).mean((2, 3))

    first, last = layers_of(Same(), picture())
    assert (first.grid.size, first.stride_px, last.name) == ((32, 32), (1, 1), "two")


def test_a_net_without_sites_or_maps():
    plain = nn.Sequential(conv(3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    assert [layer.name for layer in layers_of(plain, picture())] == ["1"]
    assert layers_of(nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)), picture()) == ()


@pytest.mark.parametrize("view", [(32, 32), (32, 48)])
@pytest.mark.parametrize("front", [0, 1, 5])
def test_layouts_are_told_and_undone(view, front):
    rows, columns = view[0] // 4, view[1] // 4
    maps = torch.randn(2, 6, rows, columns)
    tokens = torch.cat([torch.zeros(2, front, 6), maps.flatten(2).mT], 1)
    for tensor, layout in ((maps, "NCHW"), (maps.movedim(1, 3), "NHWC"), (tokens, "tokens")):
        grid = grid_of(tensor.shape, 2, view)
        assert grid == (layout, (rows, columns), 6)
        assert torch.equal(as_maps(tensor, layout, view), maps)


def test_what_is_no_map():
    for shape in [(1, 1000), (1, 1000, 1, 1), (8, 6, 8, 8), (1, 30, 6)]:
        assert grid_of(shape, 1, (32, 32)) is None


# responses ------------------------------------------------------------------------------------------------------------


def test_a_net_without_strides_moves_its_maps_and_keeps_their_sums():
    for response in measured(Net(stride=1), images=(0, 1, 2)):
        assert response.sums_vary["circular"].value < 1e-5
        assert response.equivariance_error["circular"].value < 1e-5
        assert response.pooled_change["circular"].value < 1e-3  # of float32
        assert response.map_change["circular"].value > 0.5  # noise: the next position is another value
        assert response.map_change["circular"].images == 3


def test_subsampling_an_alternating_pattern_is_as_wrong_as_can_be():
    pattern = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 3, 32, 32).contiguous()
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AvgPool2d(1, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[..., None, None])
        net[0].bias.zero_()
    layers = layers_of(net, pattern)
    _, sweep = follow(net, layers, swept(pattern, OFFSETS[:-1]), OFFSETS[:-1], periodic=True)
    before, after = responses(layers, {"circular": [sweep]})
    assert before.sums_vary["circular"].value < 1e-6
    assert before.equivariance_error["circular"].value < 1e-6
    assert after.sums_vary["circular"].value == pytest.approx(1)  # all, nothing, all, ...


def test_strides_vary_sums_and_a_blur_before_them_less():
    class Blurred(nn.Module):
        def __init__(self, blur):
            super().__init__()
            taps = torch.tensor([1.0, 4, 6, 4, 1]) / 16 if blur else torch.tensor([0, 0, 1.0, 0, 0])
            self.blur = nn.Conv2d(3, 3, 5, 1, 2, groups=3, bias=False, padding_mode="circular")
            self.blur.weight = nn.Parameter(torch.outer(taps, taps).expand(3, 1, 5, 5).contiguous())
            self.keep = nn.AvgPool2d(1, 2)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, image):
            return self.pool(self.keep(self.blur(image)))

    plain, blurred = (measured(Blurred(blur), images=(0, 1), names=["keep"])[0] for blur in (False, True))
    for name in ("sums_vary", "equivariance_error"):
        sharp, soft = (getattr(each, name)["circular"].value for each in (plain, blurred))
        assert soft < 0.5 * sharp
    assert blurred.sharpness.value < plain.sharpness.value


def test_a_move_by_a_multiple_of_the_stride_is_exact():
    offsets = np.array([[0, 0], [8, 0], [-8, 16], [0, 24]])
    for response in measured(Net(), offsets=offsets):
        assert response.equivariance_error["circular"].value < 1e-5
        assert response.sums_vary["circular"].value < 1e-5
        assert response.map_change["circular"].images == 0  # no steps of one px


def test_measures_agree_with_their_definitions():
    net, offsets = Net(), OFFSETS
    (response,) = measured(net, offsets=offsets, names=["stages.0"])
    with torch.no_grad():
        maps = net.stages[0](nn.functional.max_pool2d(net.stem(swept(picture())), 2)).double().numpy()
    varying = np.sqrt(((maps - maps.mean((2, 3), keepdims=True)) ** 2).mean())
    sums, level = maps.mean((2, 3)), np.abs(maps).mean((0, 2, 3))
    assert response.sums_vary["circular"].value == pytest.approx(np.sqrt((sums.var(0)).sum() / (level**2).sum()))
    change = np.sqrt(((maps[1:] - maps[:-1]) ** 2).mean()) / varying
    assert response.map_change["circular"].value == pytest.approx(change, rel=1e-4)
    turn = np.exp(-2j * np.pi * np.fft.fftfreq(8) * OFFSETS[:, 1:] / 4)
    turn[:, 4] = np.cos(np.pi * OFFSETS[:, 1] / 4)
    moved = np.fft.ifft(np.fft.fft(maps[4]) * turn[:, None, None]).real
    error = np.sqrt(((maps - moved) ** 2).mean((1, 2, 3)).sum() / (len(maps) - 1)) / varying
    assert response.equivariance_error["circular"].value == pytest.approx(error, rel=1e-4)
    curves = {tuple(np.round(curve, 5)) for curve in sums[:, level > 0].T / level[level > 0, None]}
    assert {tuple(np.round(curve, 5)) for curve in response.sums["circular"]} <= curves
    assert response.offsets_px.tolist() == OFFSETS[:, 1].tolist()
    assert response.maps.shape == (5, 8, 8)
    assert response.maps_at_px.tolist() == [-4, -2, 0, 2, 4]


def test_real_shifts_of_a_net_without_borders_look_equivariant_inside():
    """A sharp-edged window slides over a smooth picture: only what lies outside was not seen before."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    wide = torch.stack([torch.sin(0.2 * x + 0.1 * y), torch.cos(0.15 * x - 0.1 * y), torch.sin(0.25 * y)])[None]
    views = torch.cat([wide[:, :, 8:40, 8 - dx : 40 - dx] for _, dx in OFFSETS.tolist()])
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AvgPool2d(2, 2), nn.AdaptiveAvgPool2d(1))
    layers = layers_of(net, views[:1])
    answer, sweep = follow(net, layers, views, OFFSETS, periodic=False)
    assert torch.equal(answer, net(views).detach())
    for response in responses(layers, {"real": [sweep]}):
        assert response.equivariance_error["real"].value < 0.02
        assert response.sums_vary["real"].value > 0.01
        assert response.pooled_change["real"].images == 0  # a single image has no spread


def test_both_kinds_share_curves_at_the_offsets_that_both_have():
    net = Net()
    layers = layers_of(net, picture())
    few = OFFSETS[2:-2]
    sweeps = {
        "circular": [follow(net, layers, swept(picture()), OFFSETS, periodic=True, figures=True)[1]],
        "real": [follow(net, layers, swept(picture(), few), few, periodic=False, figures=True)[1]],
    }
    for response in responses(layers, sweeps):
        assert response.offsets_px.tolist() == few[:, 1].tolist()
        assert response.sums["circular"].shape == response.sums["real"].shape == (len(response.sums["real"]), 5)
        np.testing.assert_allclose(response.sums["circular"].mean(), response.sums["real"].mean(), rtol=0.05)
        assert set(response.sums_vary) == {"circular", "real"}


def test_tokens_and_channels_last_are_followed_as_maps():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 4, 4)
            self.tokens, self.last = nn.Identity(), nn.Identity()

        def forward(self, image):
            maps = self.embed(image)
            tokens = torch.cat([torch.zeros(len(maps), 1, 6), maps.flatten(2).mT], 1)
            return self.tokens(tokens)[:, 1:].mean(1) + self.last(maps.movedim(1, 3)).mean((1, 2))

    same = measured(Patches(), names=["embed", "tokens", "last"])
    assert {response.size for response in same} == {(8, 8)}
    assert len({round(response.equivariance_error["circular"].value, 5) for response in same}) == 1
    assert len({round(response.map_change["circular"].value, 5) for response in same}) == 1


def test_the_net_is_as_it_was_also_after_an_exception():
    net = Net().train()
    net.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measured(net)
    layers = layers_of(net, picture())
    net.head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        follow(net, layers, swept(picture()), OFFSETS, periodic=True)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()) == 1
    assert net.training
    assert not net.head.weight.requires_grad
    assert net.head.bias.requires_grad


def test_zero_padding_is_no_matter_where_a_net_is_made_circular():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 5, 1, 2), nn.AdaptiveAvgPool2d(1))
    layers = layers_of(net, picture())
    views = swept(picture())
    _, plain = follow(net, layers, views, OFFSETS, periodic=True)
    with circular(net):
        _, round_ = follow(net, layers, views, OFFSETS, periodic=True)
    errors = [
        responses(layers, {"circular": [each]})[-1].equivariance_error["circular"].value for each in (plain, round_)
    ]
    assert errors[0] > 0.1
    assert errors[1] < 1e-5


def test_deeper_sums_vary_more_on_a_real_net(shared):
    """SqueezeNet's strides add up, and nothing is blurred before them (Azulay & Weiss, section 3)."""
    weights = shared / "models" / "squeezenet1_1.safetensors"
    model = open_model("torchvision/squeezenet1_1", weights=weights, device="cpu")
    layers, sweeps = None, []
    for seen in swept_views(model, find_samples(shared / "data" / "imagenet_samples", 2), 7):
        inputs = model.inputs(seen.views)
        layers = layers or layers_of(model.net, inputs[:1], ["features.1", "features.6", "classifier.2"])
        answer, sweep = follow(model.net, layers, inputs, seen.offsets_px, periodic=False)
        assert torch.allclose(answer, model.net(inputs), atol=1e-4)
        sweeps.append(sweep)
    found = responses(layers, {"real": sweeps})
    assert [each.stride_px for each in found] == [(2, 2), (8, 8), (16, 16)]
    vary = [each.sums_vary["real"].value for each in found]
    assert vary[0] < 0.02 < vary[-1]
    assert vary == sorted(vary)
    assert all(0.1 < each.equivariance_error["real"].value < 1 for each in found)


def test_bad_input_is_told():
    net = Net()
    layers = layers_of(net, picture())
    with pytest.raises(InputError, match="0 of them still"):
        follow(net, layers, swept(picture(), OFFSETS[:2]), OFFSETS[:2], periodic=True)
    with pytest.raises(InputError, match="no image was followed"):
        responses(layers, {"circular": []})
