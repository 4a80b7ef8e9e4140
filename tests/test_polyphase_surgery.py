"""Nets converted to adaptive polyphase sampling: in a circle, no shift changes the answer, and nothing else is lost."""

import copy
from collections import OrderedDict
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.layers import AdaptivePolyphase2d, PolyphaseConv2d, PolyphasePool2d  # noqa: E402
from shiftable.layers.polyphase import picked  # noqa: E402
from shiftable.layers.polyphase_pool import CircularAvgPool2d, CircularMaxPool2d  # noqa: E402
from shiftable.studies.nets import vgg_like  # noqa: E402
from shiftable.surgery.editing import operate  # noqa: E402
from shiftable.surgery.edits import Edit  # noqa: E402
from shiftable.surgery.polyphase_grids import grids_of  # noqa: E402
from shiftable.surgery.polyphase_surgery import planned_polyphase, with_polyphase  # noqa: E402
from shiftable.surgery.sites import find_sites  # noqa: E402


def noise(*size, seed=0, dtype=torch.float32):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 7)]


def settled(net):
    """A net whose norms do something, in evaluation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


def edits(net, picture, **settings):
    return [Edit(site.name, "polyphase", **settings) for site in find_sites(net, picture)]


def converted(net, picture, **settings):
    return operate(net, edits(net, picture, **settings), picture)


def assert_consistent(net, images, shifts, tolerance):
    with torch.no_grad():
        still = net(images)
        for shift in shifts:
            moved = net(images.roll(shift, (2, 3)))
            assert torch.allclose(moved, still, atol=tolerance, rtol=tolerance)
            assert torch.equal(moved.argmax(1), still.argmax(1))


class Residual(nn.Module):
    """With its shortcut after or, of the activated map, before the branch that it is added to."""

    def __init__(self, inputs, outputs, stride, activated_first, pooled=False):
        super().__init__()
        self.activated_first = activated_first
        self.norm = nn.BatchNorm2d(inputs)
        pool, step = ([nn.AvgPool2d(stride, ceil_mode=True)], 1) if pooled else ([], stride)
        self.shortcut = nn.Sequential(*pool, nn.Conv2d(inputs, outputs, 1, step, bias=False), nn.BatchNorm2d(outputs))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 5, stride, 2)

    def forward(self, map):
        if self.activated_first:
            map = self.norm(map).relu()
            shortcut = self.shortcut(map)
            return shortcut + self.conv2(self.conv1(map).relu())
        return (self.conv2(self.conv1(map).relu()) + self.shortcut(map)).relu()


class Reduction(nn.Module):
    """Three branches side by side, as Inception's."""

    def __init__(self, inputs, stride):
        super().__init__()
        self.one = nn.Conv2d(inputs, 4, 3, stride, 1)
        self.two = nn.Sequential(nn.Conv2d(inputs, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride, 1))
        self.pool = nn.MaxPool2d(3, stride, 1)

    def forward(self, map):
        return torch.cat([self.one(map), self.two(map), self.pool(map)], 1)


def stack(stride):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, stride, stride, groups=2), *head(6)
    )


def pooling(stride):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 1, 1), nn.MaxPool2d(3, stride, 1), nn.MaxPool2d(3, 1, 1), nn.Conv2d(6, 6, 3, 1, 1),
        nn.AvgPool2d(stride), nn.ReLU(), nn.AvgPool2d(3, 1, 1), *head(6),
    )  # fmt: skip


NETS = {
    "stack": stack,
    "pooling": pooling,
    "residual": lambda s: nn.Sequential(Residual(3, 6, s, False), Residual(6, 6, s, False), *head(6)),
    "activated first": lambda s: nn.Sequential(Residual(3, 6, s, True), Residual(6, 6, s, True), *head(6)),
    "pooled shortcut": lambda s: nn.Sequential(Residual(3, 6, s, False, True), Residual(6, 6, s, True, True), *head(6)),
    "reduction": lambda s: nn.Sequential(Reduction(3, s), Reduction(11, s), *head(19)),
}


def small():
    """Three halvings."""
    named = {"conv": nn.Conv2d(3, 4, 3, 1, 1, bias=False), "stage1": Residual(4, 6, 2, False)}
    named |= {"stage2": Residual(6, 6, 2, True), "stage3": Residual(6, 8, 2, False)}
    return nn.Sequential(OrderedDict([*named.items(), *zip(("pool", "flat", "linear"), head(8), strict=True)]))


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("name", NETS)
def test_no_shift_in_a_circle_changes_the_answer(name, stride):
    torch.manual_seed(0)
    net = settled(NETS[name](stride))
    rows, columns = 2 * stride**2, 3 * stride**2
    images = noise(2, 3, rows, columns)
    assert_moves(net, images)
    made = converted(net, images)
    shifts = [(at // columns, at % columns) for at in range(1, rows * columns, 1 + rows * columns // 40)]
    assert_consistent(made, images, shifts, 1e-5)
    assert_consistent(made.double(), images.double(), shifts[::8], 1e-10)


def assert_moves(net, images):
    """Or there would be nothing to repair."""
    with torch.no_grad():
        assert not torch.allclose(net(images.roll(1, 3)), net(images), atol=1e-5)


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("make", [lambda: vgg_like(4), lambda: small()])
def test_a_blur_before_keeps_it_so(make, taps):
    net = settled(make())
    images = noise(2, 3, 32, 32)
    made = converted(net, images, taps=taps)
    assert_consistent(made, images, [(0, 1), (1, 0), (5, 14), (31, 3)], 1e-5)


def test_everything_that_is_given_stays():
    net = settled(small())
    images = noise(2, 3, 32, 32)
    wanted = edits(net, images)
    net.train()
    before, keys, drawn = copy.deepcopy(net.state_dict()), list(net.state_dict()), torch.random.get_rng_state()
    made = operate(net, wanted, images)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert type(net.stage1.conv2) is nn.Conv2d
    assert net.conv.padding_mode == "zeros"
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert list(made.state_dict()) == keys
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(module.training for module in made.modules())


def test_twice_is_once():
    net = settled(small())
    images = noise(1, 3, 32, 32)
    once = converted(net, images)
    twice = operate(once, edits(net, images), images)
    assert torch.equal(once(images), twice(images))
    assert find_sites(once, images) == ()


def test_in_two_steps_is_in_one():
    net = settled(small())
    images = noise(2, 3, 32, 32)
    every = edits(net, images)
    by_steps = operate(operate(net, every[-2:], images), every[:-2], images)
    assert torch.equal(by_steps(images), operate(net, every, images)(images))


def test_gradients_reach_every_weight():
    net = settled(small())
    images = noise(4, 3, 32, 32)
    made = converted(net, images)
    for each in (net, made):
        each(images).square().sum().backward()
    reached = [{name for name, weight in each.named_parameters() if weight.grad is not None} for each in (net, made)]
    assert reached[0] == reached[1]
    assert all(weight.grad.abs().sum() > 0 for weight in made.parameters() if weight.grad is not None)


def test_a_converted_net_is_exported():
    net = settled(small())
    images = noise(2, 3, 32, 32)
    made = converted(net, images)
    exported = torch.export.export(made, (images,), dynamic_shapes=({0: torch.export.Dim("images", min=1, max=64)},))
    other = noise(5, 3, 32, 32, seed=1)
    assert torch.allclose(exported.module()(other), made(other), atol=1e-5)


def test_branches_share_the_phase_of_the_first():
    net = settled(nn.Sequential(Residual(3, 6, 2, False), *head(6)))
    images = noise(4, 3, 8, 8)
    made = converted(net, images)
    assert [[site.name for site in group] for group in grids_of(net, images).groups] == [["0.conv2", "0.shortcut.0"]]
    block = made[0]
    inner = block.conv1(images).relu()
    map, phase = block.conv2(inner, with_phase=True)
    assert len(set(phase.tolist())) > 1
    assert torch.allclose(made[0](images), (map + block.shortcut[1](block.shortcut[0](images, phase))).relu())


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (4, 2, 1), (5, 3, 1), (1, 4, 0)])
def test_phase_zero_is_what_the_layer_gives_in_a_circle(kernel, stride, padding):
    image = noise(2, 4, 12, 24)
    zero = torch.zeros(2, dtype=torch.long)
    around = functional.pad(image, (padding, kernel, padding, kernel), mode="circular")
    conv = nn.Conv2d(4, 6, kernel, stride, padding)
    layer = PolyphaseConv2d(4, 6, kernel, stride, padding)
    layer.load_state_dict(conv.state_dict())
    wanted = functional.conv2d(around, conv.weight, conv.bias, stride)[..., : 12 // stride, : 24 // stride]
    assert torch.allclose(layer(image, zero), wanted, atol=1e-6)
    for pool, plain in ((CircularMaxPool2d, functional.max_pool2d), (CircularAvgPool2d, functional.avg_pool2d)):
        wanted = plain(around, kernel, stride)[..., : 12 // stride, : 24 // stride]
        assert torch.allclose(PolyphasePool2d(pool(kernel, 1, padding), stride)(image, zero), wanted, atol=1e-6)
        assert torch.allclose(pool(kernel, stride, padding)(image), wanted, atol=1e-6)


def test_a_layer_gives_the_strongest_phase_and_says_which():
    image = noise(3, 4, 8, 12)
    for layer in (PolyphaseConv2d(4, 5, 3, 2, 1), PolyphasePool2d(CircularMaxPool2d(3, 1, 1), 2)):
        map, phase = layer(image, with_phase=True)
        assert torch.equal(layer(image), map)
        dense = torch.stack([layer(image, torch.full((3,), at)) for at in range(4)])
        assert torch.equal(dense.square().sum(dim=(2, 3, 4)).argmax(0), phase)
        assert torch.allclose(layer(image[0]), map[0], atol=1e-6)
    assert torch.equal(picked(image, (2, 2), phase), AdaptivePolyphase2d(2)(image, phase))


def refused(net, images, chosen=None, **changes):
    with pytest.raises(InputError) as error:
        operate(net.eval(), chosen or edits(net, images), images)
    return str(error.value)


class Unpicked(nn.Module):
    """Branches that no tracer can follow: which way is taken depends on the numbers."""

    def __init__(self):
        super().__init__()
        self.main, self.side = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2)

    def forward(self, map):
        return self.main(map) + self.side(map) if map.sum() > -1e9 else map


class Placed(nn.Module):
    """What is added depends on the place."""

    def __init__(self):
        super().__init__()
        self.conv, self.place = nn.Conv2d(3, 4, 2, 2), nn.Parameter(noise(1, 4, 4, 4))
        self.head = nn.Sequential(nn.ReLU(), *head(4))

    def forward(self, map):
        return self.head(self.conv(map) + self.place)


class Own(nn.Conv2d):
    """May do anything."""


def test_what_cannot_be_exact_is_refused():
    images = noise(1, 3, 8, 8)
    residual = nn.Sequential(Residual(3, 6, 2, False), *head(6))
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(64, 5))
    whole = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 4), nn.Flatten())
    upsampled = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Upsample(scale_factor=2), *head(4))
    padded = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, 2), *head(4))
    for net, sentence in (
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2), *head(4)), "makes 3×3 positions of 8×8, and not 4×4"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 3, 1), *head(4)), "8×8 positions, no multiple of its stride 3×3"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3), *head(4)), "makes 2×2 positions of 4×4"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 13, 1, 6), *head(4)), "larger than its map of 4×4"),
        (nn.Sequential(Own(3, 4, 3, 2, 1), *head(4)), "a Own is none of Conv2d"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), Own(4, 4, 3, 1, 1), *head(4)), "is a Own, whose window of 3×3"),
        (nn.Sequential(nn.PixelUnshuffle(2), *head(12)), "merging keeps the phase that it has"),
        (flat, "depends on where in the picture things are"),
        (whole, "looks at the whole map through one window"),
        (Placed(), "depends on where in the picture things are"),
        (upsampled, "makes a map of 8×8 positions from one of 4×4"),
        (padded, "makes a map of 10×10 positions from one of 8×8"),
        (nn.Sequential(Unpicked(), *head(4)), "0.main and 0.side have to take the same phase, but the forward of"),
    ):
        assert sentence in refused(net, images)
    alike = nn.Sequential(Residual(3, 6, 8, True, True), *head(6))
    assert "its window covers the map" in refused(alike, noise(1, 3, 8, 16))
    assert "name it too" in refused(residual, images, [Edit("0.conv2", "polyphase")])


def test_a_part_of_the_sites_is_exact_for_some_shifts():
    net = settled(small())
    images = noise(2, 3, 32, 32)
    targets = {site: Edit(site.name, "polyphase") for site in find_sites(net, images)}
    assert planned_polyphase(net, targets, images).exact_px == (1, 1)
    some = dict(list(targets.items())[2:])
    plan = planned_polyphase(net, some, images)
    assert plan.exact_px == (2, 2)
    assert plan.stay == ("stage1.conv2", "stage1.shortcut.0")
    assert "only circular shifts by multiples of 2 px change nothing" in str(plan)
    assert plan.stands["stage2.conv2"] == "PolyphaseConv2d, its phase that of stage2.shortcut.0"
    made = with_polyphase(copy.deepcopy(net), some, images)
    assert_consistent(made, images, [(2, 0), (4, 6), (30, 18)], 1e-5)
    assert_moves(made, images)


@pytest.mark.parametrize(
    ("package", "name", "settings"),
    [
        ("torchvision", "resnet18", {}),
        ("torchvision", "vgg11_bn", {}),
        ("timm", "resnet18d", {}),
        ("timm", "resnetv2_50", {}),
        ("timm", "mobilenetv2_100", {}),
        ("timm", "mobilenetv2_100", {"pad_type": "same"}),
    ],
)
def test_known_nets_are_converted(package, name, settings):
    if not all(map(find_spec, ("torchvision", package))):
        pytest.skip(f"{package} is not installed")
    from shiftable.models.torchvision_repair import import_torchvision

    torchvision, size = import_torchvision(), 64
    if package == "timm":
        import timm

        net = timm.create_model(name, **settings)
    else:
        net = getattr(torchvision.models, name)()
    if name == "vgg11_bn":  # its head is flattened: only of a map of one position does it not matter where things are
        assert "makes a map of 7×7 positions from one of 2×2" in refused(net, noise(1, 3, 64, 64))
        size = 32
    settled(net)
    images = noise(2, 3, size, size)
    keys = list(net.state_dict())
    made = converted(net, images)
    assert list(made.state_dict()) == keys
    with torch.no_grad():
        scale = made(images).std()
        for shift in ((0, 1), (7, 13)):
            moved = made(images.roll(shift, (2, 3)))
            assert (moved - made(images)).abs().max() <= 1e-5 * max(1.0, float(scale))
            assert torch.equal(moved.argmax(1), made(images).argmax(1))
    if name == "resnet18":
        exported = torch.export.export(made, (images,)).module()
        assert torch.allclose(exported(images.roll(3, 3)), made(images), atol=1e-4)
