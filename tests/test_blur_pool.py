"""Blur pooling in the place of what it stands for: its size, its phase, and the values of a naive loop."""

from importlib import import_module
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import assume, example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from shiftable.layers import (  # noqa: E402
    BlurConv2d,
    BlurPool1d,
    BlurPool2d,
    BlurPool3d,
    LowPass,
    MaxBlurPool2d,
    antialiased,
    filtering,
)
from shiftable.layers.filtering import fourier_weights  # noqa: E402
from shiftable.layers.low_pass import FILTERS, PADDINGS, ideal  # noqa: E402

NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zero-normalised": "constant"}
"""What NumPy calls them."""


def optional_timm():
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    from shiftable.models.torchvision_repair import import_torchvision

    import_torchvision()
    return import_module("timm")


def noise(*size, seed=0, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@st.composite
def poolings(draw):
    """Poolings of PyTorch, of 7 to 64 positions, and a filter for what stands for them."""
    size = draw(st.tuples(*[st.integers(7, 64)] * 2))
    kernel = draw(st.tuples(*[st.integers(1, 5)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 4)] * 2))
    padding = tuple(draw(st.integers(0, each // 2)) for each in kernel)
    filters = {
        "filter": draw(st.sampled_from([*FILTERS, "ideal"])),
        "taps": draw(st.sampled_from([None, 1, 2, 3, 4, 5])),
        "padding_mode": draw(st.sampled_from(PADDINGS)),
    }
    return size, kernel, stride, padding, draw(st.booleans()), filters


def ramps(size):
    """y and x of every position, and what is left of them far from the edges."""
    y, x = (torch.arange(each, dtype=torch.float64) for each in size)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


def fits(size, kernel, padding, dilation):
    return all(s + 2 * p > dilation * (k - 1) for s, k, p in zip(size, kernel, padding, strict=True))


def middles(size, count, kernel, stride, padding, dilation=1):
    """Where the windows of a pooling stand: (1, 2, row, column), as its ramps would be without an edge."""
    axes = [
        torch.arange(many) * step - before + dilation * (wide - 1) / 2
        for many, wide, step, before in zip(count, kernel, stride, padding, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].double()


def inner(answer, placed, size, reach):
    """Both, of windows further than reach from every edge."""
    last = torch.tensor(size).view(1, 2, 1, 1) - 1 - reach
    inside = ((placed > reach) & (placed < last)).all(dim=1, keepdim=True).expand_as(answer)
    return answer[inside], placed[inside]


@given(poolings())
@example(((64, 64), (2, 2), (2, 2), (0, 0), False, {"filter": "binomial", "taps": 4}))
@example(((33, 32), (3, 3), (2, 2), (1, 1), True, {"filter": "binomial", "taps": 4}))
@example(((30, 32), (1, 1), (3, 3), (0, 0), False, {}))
def test_the_size_and_the_phase_of_average_pooling_are_kept(pooling):
    size, kernel, stride, padding, ceil, filters = pooling
    pool = nn.AvgPool2d(kernel, stride, padding, ceil, count_include_pad=False)
    ours = BlurPool2d(stride, kernel_size=kernel, padding=padding, ceil_mode=ceil, **filters)
    original, answer = pool(ramps(size)), ours(ramps(size))
    assert answer.shape == original.shape
    if filters.get("filter") == "ideal":  # a ramp is no circle; it stands where the filtered waves do
        y, x = ramps(size)[0]
        wave = torch.cos(2 * torch.pi * (y / size[0] + x / size[1]) + 1)[None, None]
        rows, columns = middles(size, original.shape[2:], kernel, stride, padding)[0]
        if all(2 * step < each for step, each in zip(stride, size, strict=True)):
            wanted = torch.cos(2 * torch.pi * (rows / size[0] + columns / size[1]) + 1)
            assert torch.allclose(ours(wave)[0, 0], wanted, atol=1e-5)
        return
    reach = max(len(each) for each in ours.kernels) + max(kernel)
    where = middles(size, answer.shape[2:], kernel, stride, padding)
    assert torch.allclose(*inner(answer, where, size, reach), atol=1e-5)
    assert torch.allclose(*inner(original, where, size, reach))


@given(poolings(), st.integers(1, 2))
@example(((64, 64), (3, 3), (2, 2), (1, 1), True, {"filter": "binomial"}), 1)
def test_the_size_and_the_phase_of_max_pooling_are_kept(pooling, dilation):
    size, kernel, stride, padding, ceil, filters = pooling
    assume(fits(size, kernel, padding, dilation))
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    ours = antialiased(pool, **filters) if max(stride) > 1 else MaxBlurPool2d(
        kernel, stride, padding, dilation, ceil, **filters
    )  # fmt: skip
    original, answer = pool(ramps(size)), ours(ramps(size))
    assert answer.shape == original.shape
    assert answer.isfinite().all()
    if filters.get("filter") != "ideal":  # the maximum of a ramp is a ramp
        reach = max(len(each) for each in ours.blur.kernels) + max(kernel) * dilation
        where = middles(size, answer.shape[2:], kernel, stride, padding, dilation)
        half = torch.tensor([dilation * (each - 1) / 2 for each in kernel]).view(1, 2, 1, 1)
        assert torch.allclose(*inner(answer, where + half, size, reach), atol=1e-5)
    if filters.get("taps") == 1 and filters["filter"] != "ideal":
        assert torch.equal(answer, original)


@given(poolings(), st.integers(1, 2))
def test_the_size_and_the_phase_of_a_convolution_are_kept(pooling, dilation):
    size, kernel, stride, padding, _, filters = pooling
    assume(fits(size, kernel, padding, dilation) and max(stride) > 1)
    conv = nn.Conv2d(2, 2, kernel, stride, padding, dilation, groups=2, bias=False).double()
    nn.init.constant_(conv.weight, 1 / (kernel[0] * kernel[1]))
    ours = antialiased(conv, **filters)
    assert ours.weight is conv.weight
    original, answer = conv(ramps(size)), ours(ramps(size))
    assert answer.shape == original.shape
    if filters.get("filter") != "ideal":
        reach = max(len(each) for each in ours.blur.kernels) + max(kernel) * dilation
        where = middles(size, answer.shape[2:], kernel, stride, padding, dilation)
        assert torch.allclose(*inner(answer, where, size, reach), atol=1e-5)


def naive(image, kernels, stride, padding, window, mode, counts):
    """Weights times positions, in loops, of a map of one channel and any number of axes."""
    answer = np.zeros(counts)
    around = 64
    padded = np.pad(image, around, mode=NUMPY[mode])
    inside = np.pad(np.ones(image.shape), around) if mode == "zero-normalised" else np.ones(padded.shape)
    for place in np.ndindex(*counts):
        first = [
            around + at * step - before + (wide - len(kernel)) // 2
            for at, step, before, wide, kernel in zip(place, stride, padding, window, kernels, strict=True)
        ]
        total = weight = 0.0
        for tap in product(*(range(len(kernel)) for kernel in kernels)):
            each = np.prod([kernel[i] for kernel, i in zip(kernels, tap, strict=True)])
            at = tuple(f + i for f, i in zip(first, tap, strict=True))
            total, weight = total + each * padded[at] * inside[at], weight + each * inside[at]
        answer[place] = total / weight
    return answer


@pytest.mark.parametrize("mode", PADDINGS)
@pytest.mark.parametrize(
    ("make", "size", "stride", "window", "padding", "ceil"),
    [
        (BlurPool1d, (13,), (3,), (4,), (1,), False),
        (BlurPool1d, (2,), (2,), (1,), (0,), False),
        (BlurPool2d, (6, 9), (2, 3), (2, 3), (0, 1), True),
        (BlurPool2d, (5, 4), (4, 1), (5, 1), (0, 0), False),
        (BlurPool3d, (4, 5, 3), (2, 1, 2), (2, 2, 1), (1, 0, 0), False),
    ],
)
@pytest.mark.parametrize(("filter", "taps"), [("binomial", 3), ("kaiser", None)])
def test_a_naive_loop_gives_the_same(mode, make, size, stride, window, padding, ceil, filter, taps):
    if make is BlurPool3d and filter == "kaiser":
        return  # slow
    pool = make(
        stride, kernel_size=window, padding=padding, ceil_mode=ceil, filter=filter, taps=taps, padding_mode=mode,
        dtype=torch.float64,
    )  # fmt: skip
    image = noise(2, 3, *size)
    answer = pool(image)
    wanted = naive(
        image[1, 2].numpy(), [each.numpy() for each in pool.kernels], stride, padding, window, mode, answer.shape[2:]
    )
    assert np.allclose(answer[1, 2], wanted)


@pytest.mark.parametrize("mode", PADDINGS)
@pytest.mark.parametrize("size", [(24, 41), (47, 40), (64, 33)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2), (4, 4)])
def test_a_large_map_is_filtered_the_same_with_and_without_a_gradient(mode, size, stride):
    """Without one, its border is scaled apart, rows are mixed in place, and a maximum is raised tap by tap."""
    for layout in (torch.contiguous_format, torch.channels_last):
        image = noise(2, 16, *size).contiguous(memory_format=layout)
        for window, padding in product((1, 2, 3, 4), (0, 1)):
            for taps in (2, 3, 5):
                pool = BlurPool2d(
                    stride, kernel_size=window, padding=padding, taps=taps, padding_mode=mode, scaled_to=2,
                    dtype=torch.float64,
                )  # fmt: skip
                with_gradient = pool(image.clone().requires_grad_())
                assert with_gradient.requires_grad
                assert torch.allclose(pool(image), with_gradient)
            if padding <= window // 2:
                pool = MaxBlurPool2d(window, stride, padding, 2, padding_mode=mode)
                assert torch.allclose(pool(image), pool(image.clone().requires_grad_()))


@given(poolings(), st.sampled_from([1, 2, 6]), st.sampled_from([torch.float32, torch.float64]), st.booleans())
@example(((7, 64), (3, 3), (2, 2), (1, 1), False, {}), 6, torch.float32, True)
@example(((8, 7), (5, 4), (3, 2), (2, 1), False, {"padding_mode": "replicate"}), 6, torch.float64, False)
@example(((7, 7), (3, 5), (4, 4), (0, 2), False, {"padding_mode": "circular"}), 6, torch.float64, True)
@settings(max_examples=60, deadline=None)
def test_a_convolution_of_a_blurred_map_is_the_same_with_and_without_a_gradient(pooling, groups, dtype, last):
    """Without one, a depthwise convolution and its filter are one window, the border included."""
    size, kernel, stride, padding, _, filters = pooling
    assume(fits(size, kernel, padding, 1))
    conv = BlurConv2d(6, 12, kernel, stride, padding, groups=groups, dtype=dtype, **{
        {"padding_mode": "blur_padding_mode"}.get(name, name): value for name, value in filters.items()
    })  # fmt: skip
    image = noise(2, 6, *size, dtype=dtype)
    image = image.contiguous(memory_format=torch.channels_last) if last else image
    with_gradient = conv(image)
    assert with_gradient.requires_grad
    with torch.no_grad():
        answer = conv(image)
        if groups == 6 and min(stride) > 1 and min(kernel) > 1 and not filters:
            assert conv._can_merge(image)
    assert answer.shape == with_gradient.shape
    assert torch.allclose(answer, with_gradient, atol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_batch_in_parts_is_the_whole(monkeypatch, layout):
    image = noise(5, 6, 12, 17).contiguous(memory_format=layout)
    for layer in (
        BlurPool2d(2), BlurPool2d(1, scaled_to=2, padding_mode="zero-normalised"), MaxBlurPool2d(3, 2, 1),
        BlurConv2d(6, 6, 3, 2, 1, groups=6, dtype=torch.float64), BlurConv2d(6, 6, 3, 2, 1, dtype=torch.float64),
    ):  # fmt: skip
        with torch.no_grad():
            whole = layer(image)
            monkeypatch.setattr(filtering, "PART", 2 * 6 * 12 * 17)
            parts = layer(image)
            monkeypatch.undo()
        assert torch.allclose(parts, whole)
        assert parts.stride() == whole.stride()


def test_what_is_no_number_goes_through_a_maximum_as_in_pytorch():
    image = noise(1, 2, 9, 9)
    image[0, 0, 4, 4] = torch.nan
    ours = MaxBlurPool2d(3, 2, 1, taps=1)(image)
    assert torch.equal(ours.isnan(), nn.functional.max_pool2d(image, 3, 2, 1).isnan())


def test_the_maximum_is_blurred_and_then_subsampled():
    image = noise(2, 3, 11, 14)
    for padding in PADDINGS:
        low_pass = LowPass("triangle", padding=padding)
        dense = nn.functional.max_pool2d(image, 3, 1, 1)
        ours = MaxBlurPool2d(3, 2, 1, filter="triangle", padding_mode=padding)(image)
        assert torch.allclose(ours, low_pass(dense, (2, 2), subsample=True))


@pytest.mark.parametrize("kernel", [1, 3, (1, 3)])
@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_a_convolution_is_of_the_blurred_map(kernel, padding_mode):
    image, padding = noise(2, 4, 11, 14), tuple(each // 2 for each in np.broadcast_to(kernel, 2).tolist())
    conv = nn.Conv2d(4, 6, kernel, (2, 3), padding, groups=2, padding_mode=padding_mode).double()
    before = torch.get_rng_state()
    ours = antialiased(conv, filter="kaiser")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(ours(image), conv(LowPass("kaiser")(image, (2, 3))), atol=1e-6)


@pytest.mark.parametrize("taps", [3, 5])
def test_timms_layer_gives_the_same(taps):
    timm = optional_timm()
    for size in ((12, 16), (13, 9)):
        image = noise(2, 4, *size, dtype=torch.float32)
        theirs = timm.layers.BlurPool2d(4, taps, 2)(image)
        assert torch.allclose(BlurPool2d(2, taps=taps)(image), theirs, atol=1e-6)


def test_a_box_of_the_stride_is_average_pooling():
    for stride, size in ((2, 12), (3, 12), (4, 16)):
        image = noise(1, 2, size, size)
        ours = BlurPool2d(stride, kernel_size=stride, filter="box", dtype=torch.float64)
        assert torch.allclose(ours(image), nn.functional.avg_pool2d(image, stride))


def test_stripes_that_would_fold_are_taken_away():
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 16, 16)
    for name in (*FILTERS, "ideal"):
        for padding in PADDINGS:
            left = BlurPool2d(2, filter=name, padding_mode=padding)(stripes)[..., 2:-2]
            assert left.abs().max() < 0.03
    assert BlurPool2d(2, taps=1)(stripes).abs().max() == 1


def test_fouriers_weights_are_those_of_the_transform():
    image = noise(1, 1, 12, 15)
    assert torch.allclose(BlurPool2d((2, 3), filter="ideal")(image), ideal(image, (2, 3))[..., ::2, ::3], atol=1e-6)
    for size, per, highest in ((9, 2, 3), (12, 3, 5), (1, 1, 0)):
        weights = fourier_weights(size, torch.arange(-5, 40), per, highest)
        turn = 2 * torch.pi * (torch.arange(-5, 40)[:, None, None] / per - torch.arange(size)[:, None]) / size
        slow = torch.cos(turn * torch.arange(-highest, highest + 1)).sum(dim=-1) / size
        assert torch.allclose(weights, slow, atol=1e-5)


def test_circular_blur_pooling_commutes_with_shifts_by_the_stride():
    image = noise(2, 3, 12, 20)
    for make in (BlurPool2d, lambda *a, **k: MaxBlurPool2d(1, *a, **k)):
        layer = make((3, 4), padding_mode="circular")
        assert torch.allclose(layer(image.roll((3, 8), (2, 3))), layer(image).roll((1, 2), (2, 3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_learning_in_16_bits_has_the_gradient_of_32_rounded_and_keeps_its_dtype(dtype, autocast):
    layer = BlurPool2d(2, kernel_size=2)
    wide = noise(2, 3, 8, 10, dtype=torch.float32).to(dtype).float().requires_grad_()
    given = wide.detach().clone().to(torch.float32 if autocast else dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        answer = layer(given)
    assert answer.dtype == given.dtype
    torch.testing.assert_close(answer, layer(wide).to(answer.dtype))
    for each in (answer, layer(wide)):
        each.square().sum().backward()
    torch.testing.assert_close(given.grad.float(), wide.grad, rtol=2e-2, atol=2e-2)
