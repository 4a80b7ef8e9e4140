"""Layers with "same" padding: with no filter they are timm's, and with one nothing moves."""

from importlib import import_module
from importlib.util import find_spec

import pytest

from shiftable.models.torchvision_repair import import_torchvision

torch = pytest.importorskip("torch")

from shiftable.layers import SameBlurConv2d, antialiased  # noqa: E402
from shiftable.layers.low_pass import PADDINGS  # noqa: E402

LAYERS = {
    "convolution": ("Conv2dSame", (4, 6), {}),
    "depthwise": ("Conv2dSame", (4, 4), {"groups": 4}),
    "maximum": ("MaxPool2dSame", (), {}),
    "mean": ("AvgPool2dSame", (), {}),
}
WINDOWS = [(3, 2), (5, 2), (2, 2), (1, 2), (3, 3), (5, 4), (3, (2, 1))]
SIZES = [(30, 30), (31, 33), (32, 29)]


def timms(name, kernel, stride):
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    import_torchvision()
    kind, channels, more = LAYERS[name]
    torch.manual_seed(0)
    made = getattr(import_module("timm.layers." + ("conv2d_same" if kind == "Conv2dSame" else "pool2d_same")), kind)
    return made(*channels, (kernel, kernel), (stride, stride) if isinstance(stride, int) else stride, **more).eval()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "stride"), WINDOWS)
@pytest.mark.parametrize("name", LAYERS)
def test_with_one_tap_it_is_timms_and_no_filter_moves_anything(name, kernel, stride, size):
    plain = timms(name, kernel, stride)
    y, x = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    ramp = torch.stack([y, x, y - x, 2 * y + 1])[None].float()
    noise = torch.randn_like(ramp)
    with torch.no_grad():
        if name != "mean":  # which is a filter itself
            assert torch.allclose(antialiased(plain, taps=1)(noise), plain(noise), atol=1e-5)
        blurred = antialiased(plain)
        assert blurred(ramp).shape == plain(ramp).shape
        inner = (..., slice(2, -2), slice(2, -2))
        assert torch.allclose(blurred(ramp)[inner], plain(ramp)[inner], atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "stride"), WINDOWS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_depthwise_convolution_is_the_same_in_one_pass(padding, kernel, stride, size):
    torch.manual_seed(0)
    layer = SameBlurConv2d(4, 4, kernel, stride, groups=4, blur_padding_mode=padding)
    map = torch.randn(2, 4, *size)
    with torch.no_grad():
        quick = layer(map)
    assert torch.allclose(quick, layer(map), atol=1e-5)  # with gradients, filter and convolution are two
