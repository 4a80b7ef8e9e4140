"""Spectra of sites: what lies above the frequency that a stride can carry, against what is known."""

from math import pi

import numpy as np
import pytest

from shiftable.errors import InputError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from shiftable.explaining.maps import layers_of  # noqa: E402
from shiftable.explaining.responses import follow, responses  # noqa: E402
from shiftable.explaining.spectra import spectra  # noqa: E402
from shiftable.explaining.views import rolled  # noqa: E402
from shiftable.surgery.sites import find_sites  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wave(frequency, size=32, axis="x"):
    """One image of one channel."""
    line = 0.5 + torch.cos(2 * pi * frequency * torch.arange(size))
    picture = line.expand(size, size)
    return (picture if axis == "x" else picture.T)[None, None].contiguous()


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def strided(stride=2, kernel=None, channels=1):
    """A circular convolution with a stride; without a kernel, one that copies."""
    size = 1 if kernel is None else len(kernel)
    net = nn.Conv2d(channels, channels, size, stride, size // 2, groups=channels, bias=False, padding_mode="circular")
    with torch.no_grad():
        net.weight.copy_(torch.ones(1, 1) if kernel is None else torch.outer(kernel, kernel))
    return nn.Sequential(net)


def measured(net, *pictures, **settings):
    settings = {"periodic": True} | settings
    return spectra(net, find_sites(net, pictures[0][:1]), pictures, **settings)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(("waves", "stride", "share"), [(3, 2, 0), (7, 2, 0), (9, 2, 1), (3, 4, 0), (5, 4, 1)])
def test_a_wave_is_aliased_if_its_frequency_is_above_what_the_stride_carries(axis, waves, stride, share):
    (found,) = measured(strided(stride), wave(waves / 32, axis=axis))
    assert found.aliased.value == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("frequency", "share"), [(4 / 32, 0), (12 / 32, 1)])
def test_the_same_under_a_window(frequency, share):
    (found,) = measured(strided(), wave(frequency), periodic=False)
    assert found.aliased.value == pytest.approx(share, abs=1e-6)


def test_strides_that_differ_between_axes():
    for axis, share in (("x", 1), ("y", 0)):
        (found,) = measured(nn.Sequential(nn.AvgPool2d(1, (1, 2))), wave(12 / 32, axis=axis))
        assert found.stride == (1, 2)
        assert found.aliased.value == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_white_noise_through_a_copying_site(stride):
    (found,) = measured(strided(stride), noise(2, 1, 48, 48), noise(3, 1, 48, 48, seed=1))
    assert found.aliased.value == pytest.approx(1 - 1 / stride**2, abs=0.03)
    assert found.aliased_noise == pytest.approx(1 - 1 / stride**2, abs=0.05)
    assert found.aliased.images == 5
    assert found.aliased.low < found.aliased.value < found.aliased.high
    assert float((found.power * found.share).sum()) == pytest.approx(1)
    assert float((found.power_noise * found.share).sum()) == pytest.approx(1)


@pytest.mark.parametrize("kernel", [[0.25, 0.5, 0.25], [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]])
@pytest.mark.parametrize("stride", [2, 4])
def test_blurred_noise_follows_the_blur_s_transfer_function(kernel, stride):
    size, taps = 64, np.array(kernel)
    f = np.fft.fftfreq(size)
    transfer = np.abs((taps[:, None] * np.exp(-2j * pi * f * (np.arange(len(taps)) - len(taps) // 2)[:, None])).sum(0))
    power = (transfer[:, None] * transfer) ** 2
    power[0, 0] = 0
    inside = (np.abs(f) * stride < 0.5) + 0.5 * (np.abs(f) * stride == 0.5)
    expected = 1 - (power * inside[:, None] * inside).sum() / power.sum()
    (found,) = measured(strided(stride, torch.tensor(kernel), 8), noise(4, 8, size, size))
    assert found.aliased.value == pytest.approx(expected, abs=0.02)
    assert found.aliased_noise == pytest.approx(expected, abs=0.03)
    assert found.power[1] > 3 * found.power[-1]


class LowPass(nn.Module):
    """Ideal: nothing from 1/4 on."""

    def forward(self, maps):
        fy, fx = (torch.fft.fftfreq(n).abs() < 0.25 for n in maps.shape[-2:])
        return torch.fft.ifft2(torch.fft.fft2(maps) * fy[:, None] * fx).real.contiguous()


def test_after_an_ideal_low_pass_nothing_is_aliased():
    (found,) = measured(nn.Sequential(LowPass(), *strided()), noise(3, 1, 32, 32))
    assert found.aliased.value < 1e-6
    assert found.aliased_noise == pytest.approx(0.75, abs=0.05)  # what the site itself holds back: nothing


def test_a_linear_net_of_ideal_filters_and_strides_is_shiftable_and_without_the_filters_is_not():
    torch.manual_seed(0)
    offsets = np.array([[0, dx] for dx in range(-4, 5)])
    picture = noise(1, 3, 32, 32)
    convs = [nn.Conv2d(a, b, 3, 1, 1, padding_mode="circular") for a, b in ((3, 6), (6, 6))]
    keeps = [nn.AvgPool2d(1, 2), nn.AvgPool2d(1, 2)]
    parts = list(zip(convs, keeps, strict=True))
    filtered = nn.Sequential(
        *(each for conv, keep in parts for each in (conv, LowPass(), keep)), nn.AdaptiveAvgPool2d(1)
    )
    bare = nn.Sequential(*(each for conv, keep in parts for each in (conv, keep)), nn.AdaptiveAvgPool2d(1))
    for net, shiftable in ((filtered, True), (bare, False)):
        layers = layers_of(net, picture)
        views = torch.cat([rolled(picture, tuple(offset)) for offset in offsets.tolist()])
        last = responses(layers, {"circular": [follow(net, layers, views, offsets, periodic=True)[1]]})[-1]
        assert last.stride_px == (4, 4)
        for found in (last.sums_vary, last.equivariance_error):
            assert (found["circular"].value < 1e-5) == shiftable
        for each in measured(net, picture):
            assert (each.aliased.value < 1e-6) == shiftable


def test_max_pooling_is_measured_after_its_maximum():
    """The maximum makes high frequencies of low ones; of a fast wave it leaves none."""
    net = nn.Sequential(nn.MaxPool2d(2, 2))
    (of_slow,) = measured(net, wave(7 / 32))
    assert of_slow.aliased.value > 0.01
    assert measured(net, wave(0.5)) == ()  # all of its maxima are the same


def test_a_response_that_does_not_vary_is_left_out():
    assert measured(strided(), torch.ones(1, 1, 16, 16)) == ()


def test_every_kind_of_site_and_interpolations_left_out():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)
            self.patch = nn.PixelUnshuffle(2)

        def forward(self, picture):
            maps = torch.max_pool2d(torch.relu(self.conv(picture)), 2)[:, :, ::2, ::2]
            maps = nn.functional.interpolate(maps, scale_factor=0.5, mode="bilinear")
            return self.patch(maps).mean((2, 3))

    net = Net()
    inputs = noise(2, 3, 128, 128)
    sites = find_sites(net, inputs[:1])
    found = spectra(net, sites, [inputs])
    assert [site.window.kind for site in sites] == ["convolution", "max pooling", "slice", "interpolation", "merging"]
    assert [each.site for each in found] == [site.name for site in sites if site.window.kind != "interpolation"]
    assert all(0 <= each.aliased.value <= 1 for each in found)


def test_merging_of_patches_in_channels_last_maps_is_read_along_y_and_x():
    class Merge(nn.Module):
        def forward(self, maps):
            image, rows, columns, channels = maps.shape
            patches = maps.reshape(image, rows // 2, 2, columns // 2, 2, channels)
            return patches.permute(0, 1, 3, 4, 2, 5).flatten(3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.merge = Merge()

        def forward(self, picture):
            return self.merge(picture.permute(0, 2, 3, 1).contiguous()).mean((1, 2))

    for frequency, share in ((3 / 32, 0), (13 / 32, 1)):
        picture = torch.cat([wave(frequency), 2 * wave(frequency), wave(frequency, axis="y")], 1)
        (found,) = measured(Net(), picture)
        assert found.aliased.value == pytest.approx(share, abs=1e-6)


def test_the_net_is_as_it_was_and_the_same_seed_gives_the_same():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.eval()
    net[0].weight.requires_grad_(False)
    first, second = (measured(net, noise(2, 3, 32, 32), periodic=False) for _ in range(2))
    assert first[0].aliased_noise == second[0].aliased_noise
    assert first[0].aliased == second[0].aliased
    with pytest.raises(RuntimeError):
        spectra(net, find_sites(net, noise(1, 3, 32, 32)), [noise(1, 5, 32, 32)])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks or module.training for module in net.modules())
    assert [weight.requires_grad for weight in net.parameters()] == [False, True, True, True]


def test_no_images():
    with pytest.raises(InputError, match="no images"):
        spectra(strided(), (), [])
