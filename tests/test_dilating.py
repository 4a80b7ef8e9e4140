"""One forward pass of the dense net tells the answers to all shifts: the theorems of sampling, on small nets."""

from collections import OrderedDict
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.surgery.dilating import (  # noqa: E402
    check_dilation,
    circular,
    circular_answer,
    dense_map,
    dilated_logits,
)
from shiftable.surgery.phases import NotDilatable  # noqa: E402

STRIDE = 8
SIZE = (16, 24)


@pytest.fixture(autouse=True)
def _seeded():
    """The same weights every time; one thread, which for nets so small is the fastest."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def norm(channels):
    found = nn.BatchNorm2d(channels)
    found.running_mean.normal_(0, 0.3)
    found.running_var.uniform_(0.5, 2)
    return found


def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)]


def conv(inputs, outputs, kernel=3, stride=1, **settings):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, **settings), norm(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, shortcut):
        super().__init__()
        self.long = nn.Sequential(conv(inputs, outputs, 3, 2, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.short = shortcut

    def forward(self, map):
        return functional.relu(self.long(map) + self.short(map))


class Squeezed(nn.Module):
    """Squeeze-and-excitation: what the whole map says weighs its channels."""

    def __init__(self, channels):
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, map):
        return map * self.weigh(map.mean((2, 3), keepdim=True)).sigmoid()


class Same(nn.Module):
    """TensorFlow's padding: more behind than in front, by amounts that follow from the size."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inner = nn.Conv2d(inputs, outputs, 3, 2)

    def forward(self, map):
        amounts = [max((-(-size // 2) - 1) * 2 + 3 - size, 0) for size in (map.shape[3], map.shape[2])]
        around = [each for amount in amounts for each in (amount // 2, amount - amount // 2)]
        return functional.relu(self.inner(functional.pad(map, around)))


class ChannelsLast(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, map):
        return self.mix(self.norm(map.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    def forward(self, map):
        batch, channels, high, wide = map.shape
        return map.view(batch, 2, channels // 2, high, wide).transpose(1, 2).reshape(batch, channels, high, wide)


class Sliced(nn.Module):
    """Four positions become one with four times the channels."""

    def forward(self, map):
        return torch.cat([map[..., ::2, ::2], map[..., 1::2, ::2], map[..., ::2, 1::2], map[..., 1::2, 1::2]], 1)


NETS = {
    "pooled": lambda: [
        conv(3, 6, 3, 2, padding=1), nn.MaxPool2d(3, 2, 1), conv(6, 8, 3, padding=2, dilation=2), nn.AvgPool2d(2)
    ],
    "unpadded": lambda: [
        conv(3, 6, 5, 2), nn.MaxPool2d(2, 2, ceil_mode=True), conv(6, 8, 1), nn.AvgPool2d(2, 2, ceil_mode=True)
    ],
    "residual": lambda: [
        conv(3, 6, 7, 2, padding=3), Residual(6, 8, nn.Conv2d(6, 8, 1, 2)),
        Residual(8, 8, nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), nn.Conv2d(8, 8, 1))),
    ],
    "same": lambda: [Same(3, 6), Same(6, 8), Same(8, 8)],
    "squeezed": lambda: [conv(3, 6, 3, 2, padding=1), Squeezed(6), conv(6, 8, 2, 2), Squeezed(8), nn.MaxPool2d(2)],
    "normed": lambda: [conv(3, 8, 4, 4), ChannelsLast(8), nn.GroupNorm(2, 8), Shuffle(), conv(8, 8, 3, 2, padding=1)],
    "sliced": lambda: [Sliced(), conv(12, 8, 3, padding=1), nn.PixelUnshuffle(2), conv(32, 8, 3, 2, padding=1)],
    "reflecting": lambda: [
        conv(3, 6, 4, 4), nn.ReflectionPad2d(1), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.ZeroPad2d((1, 0, 2, 1)),
        nn.Conv2d(8, 8, 3)
    ],
}  # fmt: skip
every_net = pytest.mark.parametrize("name", NETS)


def net_of(name, dtype=torch.float64):
    return nn.Sequential(*NETS[name](), *head(8)).eval().to(dtype)


def picture(dtype=torch.float64, images=1):
    return torch.randn(images, 3, *SIZE, dtype=dtype)


def close(found, expected, atol=1e-9):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@every_net
def test_moving_by_the_stride_changes_nothing(name):
    net, shown = net_of(name), picture()
    close(circular_answer(net, shown.roll((STRIDE, 2 * STRIDE), (-2, -1))), circular_answer(net, shown))


@every_net
def test_one_forward_tells_the_answers_to_all_shifts(name):
    net, shown = net_of(name), picture()
    found = dilated_logits(net, shown, circle=True)
    assert found.shape == (1, STRIDE, STRIDE, 4)
    assert found.std((1, 2)).min() > 1e-6, "nothing changes, so nothing is tested"
    for by in [(0, 0), (1, 0), (0, 1), (2, 5), (7, 3)]:
        close(found[:, by[0], by[1]], circular_answer(net, shown.roll(by, (-2, -1))))


def test_in_32_bits_to_a_ten_thousandth():
    net, shown = net_of("residual", torch.float32), picture(torch.float32)
    found = dilated_logits(net, shown, circle=True)
    close(found[:, 3, 6], circular_answer(net, shown.roll((3, 6), (-2, -1))), atol=1e-4)


@every_net
def test_the_shifted_runs_interleaved_are_the_dense_map(name):
    net, shown = net_of(name), picture()
    found, spacing = dense_map(net, shown, circle=True)
    assert spacing == (STRIDE, STRIDE)
    assert found.shape == (1, 8, *SIZE)
    maps = []
    hook = net[-3].register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    for by in [(0, 0), (3, 0), (5, 6)]:
        circular_answer(net, shown.roll((-by[0], -by[1]), (-2, -1)))
        close(found[..., by[0] :: STRIDE, by[1] :: STRIDE], maps[-1])
    hook.remove()


@every_net
@pytest.mark.parametrize("size", [SIZE, (21, 27)])
def test_with_its_own_border_the_unmoved_answer_is_the_nets(name, size):
    net, shown = net_of(name), torch.randn(2, 3, *size, dtype=torch.float64)
    if name == "sliced" and size != SIZE:
        return  # its own slices would not fit together
    with torch.no_grad():
        close(dilated_logits(net, shown)[:, 0, 0], net(shown))


def test_the_dense_map_is_that_of_dilated_layers():
    first, pool, last = nn.Conv2d(3, 5, 3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(5, 6, 3, 1, 1)
    net = nn.Sequential(OrderedDict(first=first, act=nn.ReLU(), pool=pool, last=last, rest=nn.Sequential(*head(6))))
    shown = picture(torch.float32)
    with torch.no_grad():
        dilated = functional.conv2d(shown, first.weight, first.bias, 1, 1).relu()
        dilated = functional.max_pool2d(functional.pad(dilated, [2] * 4, value=-torch.inf), 3, 1, dilation=2)
        dilated = functional.conv2d(dilated, last.weight, last.bias, 1, 4, 4)
    found, spacing = dense_map(net, shown, layer="last")
    assert spacing == (4, 4)
    close(found, dilated, atol=1e-5)
    close(dense_map(net, shown)[0], found, atol=0)


@every_net
@pytest.mark.parametrize("circle", [False, True])
def test_along_one_axis_it_is_the_same(name, circle):
    net, shown = net_of(name), picture()
    both = dilated_logits(net, shown, circle=circle)
    close(dilated_logits(net, shown, circle=circle, axes=(True, False)), both[:, :, :1])
    close(dilated_logits(net, shown, circle=circle, axes=(False, True)), both[:, :1])


def test_the_mean_over_all_phases_is_constant():
    net, shown = net_of("pooled"), picture()
    still, moved = (dilated_logits(net, each, circle=True) for each in (shown, shown.roll((1, 3), (-2, -1))))
    close(still.mean((1, 2)), moved.mean((1, 2)), atol=1e-12)
    close(moved, still.roll((-1, -3), (1, 2)))


@pytest.mark.parametrize("steps", [2, 4])
def test_the_mean_over_equally_spaced_phases_keeps_their_multiples_only(steps):
    found = dilated_logits(net_of("residual"), picture(), circle=True)
    apart = STRIDE // steps
    averaged = sum(found.roll((y * apart, x * apart), (1, 2)) for y in range(steps) for x in range(steps)) / steps**2
    before, after = (torch.fft.fft2(each, dim=(1, 2)).abs() for each in (found, averaged))
    kept = torch.arange(STRIDE) % steps == 0
    kept = kept[:, None] & kept[None]
    close(after[:, kept], before[:, kept])
    assert after[:, ~kept].max() < 1e-9 < before[:, ~kept].max()


class LowPass(nn.Module):
    """The ideal one: nothing at or above half the frequency that a stride of 2 leaves."""

    def forward(self, map):
        y, x = (torch.fft.fftfreq(size, dtype=map.dtype).abs() < 0.25 for size in map.shape[2:])
        return torch.fft.ifft2(torch.fft.fft2(map) * (y[:, None] & x[None])).real


def test_sums_of_a_linear_net_are_constant_if_ideal_filters_come_before_its_strides():
    layers = [nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, 2, 1), nn.Conv2d(5, 6, 3, padding=1), nn.AvgPool2d(2)]
    rest = [nn.Conv2d(6, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    filtered = [part for layer in [*layers, rest[0]] for part in ((LowPass(), layer) if _strided(layer) else (layer,))]
    shown = picture()
    spread = [
        dilated_logits(nn.Sequential(*parts).double(), shown, circle=True).std((1, 2)).max()
        for parts in ([*filtered, *rest[1:]], [*layers, *rest])
    ]
    assert spread[0] < 1e-12
    assert spread[1] > 1e-4


def _strided(layer):
    return layer.stride in (2, (2, 2))


class Placed(nn.Module):
    """Adds what depends on the position, as transformers do."""

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.randn(1, 8, 4, 6))

    def forward(self, map):
        return map + self.at


class Windows(nn.Module):
    """Every two rows are normed together."""

    def forward(self, map):
        batch, channels, high, wide = map.shape
        apart = map.view(batch, channels, high // 2, 2, wide)
        return (apart / (1 + apart.norm(dim=3, keepdim=True))).view(batch, channels, high, wide)


class Counting(nn.Module):
    """Counts on the batch that it was given."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = conv(3, 8, 4, 4), nn.Linear(8, 4)

    def forward(self, shown):
        batch = shown.shape[0]
        return self.last(self.inner(shown).mean((2, 3)).view(batch, 8))


class Apart(nn.Module):
    """Two branches of different strides that meet again."""

    def __init__(self):
        super().__init__()
        self.long, self.short, self.rest = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(3, 8, 2, 2), nn.Sequential(*head(8))

    def forward(self, shown):
        return self.rest(functional.interpolate(self.long(shown), scale_factor=2) + self.short(shown))


REFUSED = {
    "flattened": (lambda: nn.Sequential(conv(3, 8, 4, 4), nn.Flatten(), nn.Linear(8 * 4 * 6, 4)), "2", "addmm"),
    "placed": (lambda: nn.Sequential(conv(3, 8, 4, 4), Placed(), nn.ReLU(), *head(8)), "1", "add"),
    "windows": (lambda: nn.Sequential(conv(3, 8, 4, 4), Windows(), *head(8)), "1", "linalg_vector_norm"),
    "counting": (Counting, "", "view"),
    "apart": (Apart, "", "add"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_treats_positions_differently_is_named_and_the_net_left_alone(name):
    build, module, operation = REFUSED[name]
    net, shown = build().train().double(), picture()
    net.eval()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(NotDilatable) as refused:
        check_dilation(net, shown)
    assert (refused.value.module, refused.value.operation.rstrip("_")) == (module, operation)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert all(each.requires_grad and each.grad is None for each in net.parameters())


@every_net
def test_nothing_is_refused_that_holds(name):
    net = net_of(name)
    check_dilation(net, picture())
    check_dilation(net, picture(), axes=(False, True))
    check_dilation(net.float(), picture(torch.float32))


def test_a_size_that_is_no_multiple_of_the_stride_is_refused_in_a_circle():
    with pytest.raises(InputError, match="multiple"):
        circular_answer(net_of("pooled"), torch.randn(1, 3, 20, 24, dtype=torch.float64))


def test_hooks_see_the_circular_net():
    net, shown, seen = net_of("pooled"), picture(), []
    hook = net[0].register_forward_hook(lambda module, args, answer: seen.append(answer.clone()))
    with torch.no_grad(), circular(net):
        net(shown), net(shown.roll((0, 2), (-2, -1)))
    hook.remove()
    close(seen[1], seen[0].roll(1, -1))


def _torchvision():
    from shiftable.models.torchvision_repair import import_torchvision

    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return import_torchvision().models


def _timm(name, **settings):
    _torchvision()
    timm = pytest.importorskip("timm")
    return timm.create_model(name, num_classes=4, **settings)


REAL = {
    "squeezenet1_1": lambda: _torchvision().squeezenet1_1(num_classes=4),
    "resnet10": lambda: _torchvision().ResNet(_torchvision().resnet.BasicBlock, [1, 1, 1, 1], num_classes=4),
    "densenet": lambda: _torchvision().DenseNet(4, (1, 1, 1, 1), 8, num_classes=4),
    "shufflenet": lambda: _torchvision().ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 64], num_classes=4),
    "vgg11": lambda: nn.Sequential(_torchvision().vgg11().features, *head(512)),
    "mobilenetv2": lambda: _timm("mobilenetv2_035"),
    "mobilenetv2 same": lambda: _timm("mobilenetv2_035", pad_type="same"),
    "mobilenetv3": lambda: _timm("mobilenetv3_small_050"),  # with squeeze-and-excitation, as EfficientNet
    "convnext": lambda: _timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    "resnetblur": lambda: _timm("resnetblur18", layers=(1, 1, 1, 1)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_nets(name):
    net = REAL[name]().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    shown = torch.randn(1, 3, 64, 64)
    check_dilation(net, shown, axes=(True, False))
    found = dilated_logits(net, shown, axes=(True, False), circle=True)
    for by in (1, found.shape[1] - 3):
        close(found[:, by, 0], circular_answer(net, shown.roll(by, -2)), atol=1e-4 * found.abs().max().item())
    with torch.no_grad():
        own = net(shown)
    close(dilated_logits(net, shown, axes=(True, False))[:, 0, 0], own, atol=1e-4 * own.abs().max().item())


@pytest.mark.parametrize(
    ("name", "settings", "size", "module"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 1}, 64, ""),
        (
            *("swin_tiny_patch4_window7_224", {"img_size": 56, "embed_dim": 12, "depths": (2, 1)}, 56),
            "layers.0.blocks.0.attn",
        ),
    ],
)  # fmt: skip
def test_transformers_are_refused_by_name(name, settings, size, module):
    net = _timm(name, **settings).eval()
    with pytest.raises(NotDilatable) as refused:
        check_dilation(net, torch.randn(1, 3, size, size), axes=(True, False))
    assert refused.value.module == module
