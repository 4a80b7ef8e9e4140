"""Sites carried out blurred: what equals what, nothing moves, and the net is left alone."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.layers.low_pass import LowPass  # noqa: E402
from shiftable.surgery.blurring import LARGEST_GAIN, Moments, as_is, blurred, matched, moments  # noqa: E402
from shiftable.surgery.sites import find_sites, intercepted  # noqa: E402

NOTHING = LowPass(taps=1)


class Sliced(nn.Module):
    """Swin's merging by slices, y and x last but one and two, or last."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last

    def forward(self, map):
        if self.last:
            map = map.permute(0, 2, 3, 1)
            parts = [map[..., y::2, x::2, :] for x in (0, 1) for y in (0, 1)]
            return torch.cat(parts, -1).permute(0, 3, 1, 2)
        return torch.cat([map[..., y::2, x::2] for y in (0, 1) for x in (0, 1)], 1)


class Patched(nn.Module):
    """The same by a view of patches."""

    def forward(self, map):
        images, channels, height, width = map.shape
        patches = map.permute(0, 2, 3, 1).contiguous().view(images, height // 2, 2, width // 2, 2, channels)
        return patches.permute(0, 1, 3, 4, 2, 5).flatten(3).permute(0, 3, 1, 2)


class Halved(nn.Module):
    """An interpolation."""

    def forward(self, map):
        return nn.functional.interpolate(map, scale_factor=0.5)


LINEAR = {
    "convolution": nn.Conv2d(3, 4, 3, 2, 1),
    "grouped": nn.Conv2d(3, 6, 5, (2, 3), 2, groups=3),
    "patches": nn.Conv2d(3, 4, 4, 4),
    "average pooling": nn.AvgPool2d(2),
    "ceiled average": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "adaptive": nn.AdaptiveAvgPool2d(8),
    "slices": Sliced(last=False),
    "slices, channels last": Sliced(last=True),
    "view": Patched(),
    "unshuffle": nn.PixelUnshuffle(2),
    "unfold": nn.Sequential(nn.Unfold(2, stride=2), nn.Unflatten(2, (16, 16))),
    "interpolation": Halved(),
}
MAXIMA = {
    "maximum": nn.MaxPool2d(2),
    "ceiled maximum": nn.MaxPool2d(3, 2, ceil_mode=True),
    "padded maximum": nn.MaxPool2d(3, 2, 1),
    "dilated maximum": nn.MaxPool2d(2, 3, dilation=2),
}


def deep():
    """One of most kinds, one after the other."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        Sliced(last=True), nn.Conv2d(32, 8, 1), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip


def noise(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def answered(net, map, handlers):
    with torch.no_grad(), intercepted(net, handlers):
        return net(map)


def all_blurred(net, map, low_pass):
    return answered(net, map, {site: blurred(low_pass) for site in find_sites(net, map)})


@pytest.mark.parametrize("name", [*LINEAR, *MAXIMA, "adaptive maximum"])
def test_one_tap_gives_the_nets_own_answer(name):
    net, map = (LINEAR | MAXIMA | {"adaptive maximum": nn.AdaptiveMaxPool2d(8)})[name], noise(2, 3, 32, 32)
    assert len(find_sites(net, map)) == 1
    with torch.no_grad():
        assert torch.equal(all_blurred(net, map, NOTHING), net(map))


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_site_is_given_the_filtered_map(name):
    net, map, low_pass = LINEAR[name], noise(2, 3, 32, 32), LowPass("kaiser")
    (site,) = find_sites(net, map)
    with torch.no_grad():
        assert torch.allclose(all_blurred(net, map, low_pass), net(low_pass(map, site.window.stride)), atol=1e-6)


@pytest.mark.parametrize("name", ["convolution", "grouped", "patches", "average pooling", "adaptive"])
def test_that_is_to_blur_its_dense_response(name):
    net, map, low_pass = LINEAR[name], noise(1, 3, 48, 48), LowPass()
    if name == "adaptive":
        net = nn.AdaptiveAvgPool2d(24)
    (site,) = find_sites(net, map)
    responses = []

    def look(operation):
        responses.append(operation.dense())
        return operation()

    answered(net, map, {site: look})
    wanted, found = low_pass(responses[0], site.window.stride, subsample=True), all_blurred(net, map, low_pass)
    inside = slice(4, -4)
    assert wanted.shape == found.shape
    assert torch.allclose(found[..., inside, inside], wanted[..., inside, inside], atol=1e-6)


@pytest.mark.parametrize("name", MAXIMA)
@pytest.mark.parametrize("size", [(32, 32), (17, 30)])
def test_a_maximum_is_taken_everywhere_blurred_and_then_subsampled(name, size):
    net, map, low_pass = MAXIMA[name], noise(2, 3, *size), LowPass("triangle")
    (site,) = find_sites(net, map)
    stride = site.window.stride
    found = all_blurred(net, map, low_pass)
    assert found.shape == net(map).shape
    pad = [net.padding] * 4
    dense = nn.functional.max_pool2d(nn.functional.pad(map, pad, value=-torch.inf), net.kernel_size, 1, 0, net.dilation)
    wanted = low_pass(dense, stride, subsample=True)
    rows, columns = (min(a, b) - 2 for a, b in zip(wanted.shape[2:], found.shape[2:], strict=True))
    assert torch.allclose(found[..., :rows, :columns], wanted[..., :rows, :columns], atol=1e-6)


def test_the_places_of_maxima_are_those_of_the_net():
    net, map = nn.MaxPool2d(2, return_indices=True), noise(1, 2, 8, 8)
    _, places = all_blurred(net, map, LowPass())
    assert torch.equal(places, net(map)[1])


@pytest.mark.parametrize("net", [Sliced(last=True), nn.AvgPool2d(4), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, 3, 1)])
@pytest.mark.parametrize("filter", ["box", "binomial", "kaiser", "ideal"])
def test_nothing_moves(net, filter):
    x = torch.arange(96.0)
    waves = torch.cos(2 * torch.pi * x / 96 + 0.7) + 0.3 * torch.cos(2 * torch.pi * x / 48 - 1)
    map = (waves[:, None] + 2 * waves[None, :]).expand(1, 3, -1, -1).contiguous()
    with torch.no_grad():
        before, after = net(map), all_blurred(net, map, LowPass(filter, padding="circular"))
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = after.roll(shift, (2, 3))
        inside = slice(4, -4)
        stays = (after - before)[..., inside, inside].square().mean()
        assert stays < 0.2 * (moved - before)[..., inside, inside].square().mean()


def test_a_map_of_several_slices_is_filtered_once_along_y_and_each_half_once_along_x():
    class Counted(LowPass):
        def __call__(self, image, stride, *, subsample=False):
            seen.append(stride)
            return super().__call__(image, stride, subsample=subsample)

    for last in (False, True):
        seen = []
        all_blurred(Sliced(last), noise(1, 3, 8, 8), Counted())
        assert seen.count((2, 1)) == 1
        assert seen.count((1, 2)) <= 4


def test_slices_of_the_map_of_each_pass():
    net, low_pass = Sliced(last=True), LowPass()
    (site,) = find_sites(net, noise(1, 3, 8, 8))
    with torch.no_grad(), intercepted(net, {site: blurred(low_pass)}):
        for seed in range(3):
            map = noise(1, 3, 8, 8, seed=seed)
            found = net(map)
            wanted = low_pass(map, (2, 2))
            parts = [wanted[..., y::2, x::2] for x in (0, 1) for y in (0, 1)]
            assert torch.allclose(found, torch.cat(parts, 1), atol=1e-6)


def test_moments_are_those_of_the_whole():
    net, batches = deep(), [noise(count, 3, 48, 48, seed=count) for count in (3, 1, 4)]
    (site, *_) = find_sites(net, batches[0])
    (found,) = moments(net, batches, {}, [site]).values()
    with torch.no_grad():
        given = net[0](torch.cat(batches))
    assert torch.allclose(found.mean, given.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(found.std, given.std((0, 2, 3), correction=0), rtol=1e-5)


@pytest.mark.parametrize("low_pass", [LowPass(), LowPass("box", padding="zero-normalised"), LowPass("ideal")])
def test_matched_sites_give_the_moments_of_the_net_as_it_is(low_pass):
    net, batches = deep(), [noise(2, 3, 48, 48, seed=seed) for seed in range(2)]
    sites = find_sites(net, batches[0])
    assert [site.window.kind for site in sites] == ["convolution", "max pooling", "slice", "average pooling"]
    originals = moments(net, batches, {}, sites)
    assert sum(len(site.keys) for site in sites) > len(originals) >= 3 + 4  # of slices only the last
    for some in (sites, *((site,) for site in sites)):
        found = moments(net, batches, matched(net, batches, some, low_pass, originals), some)
        for key, each in found.items():
            wanted = originals[key]
            assert torch.allclose(each.mean, wanted.mean, atol=1e-4)
            alive = wanted.std > 0.1 * wanted.std.max()
            assert torch.allclose(each.std[alive], wanted.std[alive], rtol=1e-3)


def test_matched_with_one_tap_is_the_net_itself():
    net, map = deep(), noise(3, 3, 48, 48)
    sites = find_sites(net, map)
    handlers = matched(net, [map], sites, NOTHING, moments(net, [map], {}, sites))
    with torch.no_grad():
        assert torch.equal(answered(net, map, handlers), net(map))


def test_dead_channels_are_only_shifted():
    dead = Moments(torch.tensor([1.0, 1.0, 5.0]), torch.tensor([0.0, 0.0, 2.0]))
    gain, shift = dead.corrected_to(Moments(torch.tensor([3.0, 3.0, 5.0]), torch.tensor([0.0, 1.0, 0.0])))
    assert gain.tolist() == [1, LARGEST_GAIN, 1 / LARGEST_GAIN]
    assert (dead.mean * gain + shift).tolist() == [3, 3, 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_and_layout_are_the_nets(dtype):
    net, seen = deep().to(dtype).to(memory_format=torch.channels_last), []
    map = noise(2, 3, 48, 48).to(dtype).to(memory_format=torch.channels_last)
    sites = find_sites(net, map)
    handlers = matched(net, [map], sites, LowPass(), moments(net, [map], {}, sites))

    def look(operation):
        answer = handlers[operation.site](operation)
        given = answer[0] if isinstance(answer, tuple) else answer
        seen.append((given.dtype, given.is_contiguous(memory_format=torch.channels_last) or given.ndim != 4))
        return answer

    answer = answered(net, map, dict.fromkeys(sites[:2], look) | {site: handlers[site] for site in sites[2:]})
    assert seen == [(dtype, True)] * 2
    assert answer.dtype == dtype
    assert answer.isfinite().all()


def test_the_net_is_as_found_also_after_an_exception():
    net, map = deep(), noise(1, 3, 48, 48)
    sites, before = find_sites(net, map), {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        own = net(map)

    def fails(operation):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        moments(net, [map], {sites[2]: fails}, sites)
    with pytest.raises(RuntimeError, match="no"):
        answered(net, map, {sites[0]: blurred(LowPass()), sites[1]: fails})
    answered(net, map, dict.fromkeys(sites, as_is))
    all_blurred(net, map, LowPass())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not net.training
    with torch.no_grad():
        assert torch.equal(net(map), own)
