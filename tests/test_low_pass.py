"""Low-pass filters: what they take away, what they leave, and that nothing moves."""

from math import comb

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shiftable.errors import InputError  # noqa: E402
from shiftable.layers.low_pass import FILTERS, PADDINGS, LowPass, binomial, blur, box, ideal, kaiser, triangle  # noqa: E402

NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zero-normalised": "constant"}
"""What NumPy calls them."""


def noise(*size, dtype=torch.float64, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def response(kernel, frequency):
    """A kernel's amplitude at a frequency, in cycles per position."""
    place = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    return float((kernel.numpy() * np.cos(2 * np.pi * frequency * place)).sum())


def naive(image, kernel_y, kernel_x, padding):
    """Weights times positions, in loops."""
    before = [(len(kernel) - 1) // 2 for kernel in (kernel_y, kernel_x)]
    after = [len(kernel) // 2 for kernel in (kernel_y, kernel_x)]
    around = [(0, 0), (0, 0), *zip(before, after, strict=True)]
    padded = np.pad(image.numpy(), around, mode=NUMPY[padding])
    inside = np.pad(np.ones(image.shape), around) if padding == "zero-normalised" else np.ones(padded.shape)
    answer = np.zeros(image.shape)
    for y in range(image.shape[2]):
        for x in range(image.shape[3]):
            total = weight = 0.0
            for i, down in enumerate(kernel_y.tolist()):
                for j, right in enumerate(kernel_x.tolist()):
                    total = total + down * right * padded[:, :, y + i, x + j]
                    weight = weight + down * right * inside[:, :, y + i, x + j]
            answer[:, :, y, x] = total / weight
    return torch.from_numpy(answer)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7])
def test_scaled_filters_have_a_middle_and_lose_what_the_stride_cannot_carry(name, stride):
    for taps in (None, 1, 2, 3, 4, 5, 8):
        kernel = LowPass(name, taps).kernel(stride)
        assert len(kernel) % 2
        assert kernel.sum() == pytest.approx(1)
        assert torch.allclose(kernel, kernel.flip(0))
        if taps == 1 or stride == 1:
            assert kernel.tolist() == [1.0]
    usual = LowPass(name).kernel(stride)
    if stride > 1:  # what would fold onto frequency 0 is gone
        assert all(abs(response(usual, k / stride)) < 0.02 for k in range(1, stride))
        assert response(usual, 0.5 / stride) == pytest.approx(0.5, abs=0.21)


def test_plain_filters_are_what_their_names_say():
    assert binomial(2).tolist() == box(2).tolist() == [0.5, 0.5]
    assert binomial(3).tolist() == triangle(3).tolist()
    for taps in range(1, 12):
        assert (binomial(taps) * 2 ** (taps - 1)).tolist() == [comb(taps - 1, k) for k in range(taps)]
        rising = triangle(taps)[: (taps + 1) // 2]
        assert len(triangle(taps)) == taps
        assert torch.allclose(rising.diff(), rising[:1].expand(len(rising) - 1))
    for stride in (2, 3, 4):  # at every stride what it is at stride 2
        assert torch.allclose(LowPass("binomial", 3).kernel(stride), triangle(2 * stride - 1))
    assert torch.allclose(LowPass("binomial", 6).kernel(2), binomial(7))  # even: half a position back


@pytest.mark.parametrize("attenuation_db", [30.0, 60.0])
def test_kaisers_sinc_is_down_beyond_its_transition(attenuation_db):
    kernel = kaiser(61, 0.125, attenuation_db)
    transition = (attenuation_db - 7.95) / (2.285 * 60) / (2 * np.pi)
    above = [abs(response(kernel, f)) for f in np.linspace(0.125 + transition / 2, 0.5, 200)]
    assert max(above) < 1.3 * 10 ** (-attenuation_db / 20)
    assert response(kernel, 0.125) == pytest.approx(0.5, abs=0.01)
    assert response(kernel, 0.125 - transition / 2) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(1, 1), (2, 6), (5, 4)])
@pytest.mark.parametrize("taps", [(3, 5), (4, 1), (2, 11)])
def test_blur_agrees_with_a_naive_loop(padding, size, taps):
    image = noise(2, 3, *size)
    kernel_y, kernel_x = (noise(count, seed=count).abs() + 0.1 for count in taps)
    kernel_y, kernel_x = kernel_y / kernel_y.sum(), kernel_x / kernel_x.sum()
    kernels = kernel_y, torch.ones(1, dtype=torch.float64) if taps[1] == 1 else kernel_x
    assert torch.allclose(blur(image, *kernels, padding), naive(image, *kernels, padding))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", [*FILTERS, "ideal"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_constants_stay_constant(padding, name, dtype):
    for size in ((1, 1), (3, 2), (8, 13)):
        image = torch.full((1, 2, *size), 2.0, dtype=dtype)
        after = LowPass(name, padding=padding)(image, (4, 3))
        assert (after.dtype, after.shape) == (dtype, image.shape)
        assert (after - 2).abs().max() <= 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", [*FILTERS, "ideal"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_the_centroid_of_an_impulse_stays(name, stride):
    image = torch.zeros(1, 1, 65, 67, dtype=torch.float64)
    image[0, 0, 32, 30] = 1
    after = LowPass(name)(image, stride)[0, 0]
    assert after.sum() == pytest.approx(1)
    assert after[32, 30] == after.max()
    if name != "ideal":  # its tails go round
        assert (after.sum(dim=1) * torch.arange(65)).sum() == pytest.approx(32)
        assert (after.sum(dim=0) * torch.arange(67)).sum() == pytest.approx(30)


def test_an_even_kernel_moves_by_half_a_position_back():
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[0, 0, 4, 4] = 1
    after = blur(image, binomial(4), binomial(2))[0, 0]
    assert (after.sum(dim=1) * torch.arange(9)).sum() == pytest.approx(3.5)
    assert (after.sum(dim=0) * torch.arange(9)).sum() == pytest.approx(3.5)


@pytest.mark.parametrize("padding", PADDINGS)
def test_subsampling_keeps_every_stride_th_position(padding):
    image = noise(1, 2, 11, 10)
    for stride in ((2, 3), (1, 2), (4, 1)):
        for filter in (LowPass(padding=padding), LowPass("ideal"), LowPass(taps=1)):
            every = filter(image, stride)[:, :, :: stride[0], :: stride[1]]
            assert torch.allclose(filter(image, stride, subsample=True), every)


def test_one_tap_changes_nothing():
    image = noise(1, 2, 5, 6, dtype=torch.float32)
    assert torch.equal(LowPass(taps=1)(image, (4, 4)), image)
    assert torch.equal(LowPass()(image, (1, 1)), image)


@pytest.mark.parametrize("filter", [LowPass(), LowPass("kaiser", padding="circular"), LowPass("ideal")])
def test_channels_last_stays(filter):
    image = noise(2, 5, 12, 9, dtype=torch.float32)
    last = image.to(memory_format=torch.channels_last)
    assert filter(last, (2, 2)).is_contiguous(memory_format=torch.channels_last)
    assert filter(image, (2, 2)).is_contiguous()
    assert torch.allclose(filter(last, (2, 2)), filter(image, (2, 2)), atol=1e-6)


def test_gradients_pass():
    image = noise(1, 1, 3, 4).requires_grad_()
    for filter in (LowPass(), LowPass("triangle", padding="zero-normalised"), LowPass("ideal")):
        assert torch.autograd.gradcheck(lambda image, filter=filter: filter(image, (2, 3)), image)


@pytest.mark.parametrize("size", [(12, 18), (9, 15)])
def test_after_the_ideal_filter_subsampled_sums_do_not_depend_on_the_shift(size):
    image = noise(1, 2, *size)
    low = ideal(image, (3, 3))
    sums = [low.roll((dy, dx), (2, 3))[:, :, ::3, ::3].sum(dim=(2, 3)) for dy in range(3) for dx in range(3)]
    assert all(torch.allclose(each * 9, image.sum(dim=(2, 3))) for each in sums)
    assert torch.allclose(ideal(low, (3, 3)), low)
    assert torch.allclose(ideal(image.roll((2, 5), (2, 3)), (3, 3)), low.roll((2, 5), (2, 3)))
    assert torch.allclose(ideal(image, (1, 1)), image)


def test_the_ideal_filter_keeps_what_is_slow_and_takes_what_is_fast():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    for cycles_y, cycles_x, kept in [(3, 0, True), (4, 0, False), (0, 5, True), (0, 6, False), (3, 5, True)]:
        wave = torch.cos(2 * torch.pi * (cycles_y * y / 16 + cycles_x * x / 24) + 0.3)[None, None]
        assert torch.allclose(ideal(wave, (2, 2)), wave * kept, atol=1e-5)


def test_unknown_names_and_no_taps_are_refused():
    with pytest.raises(InputError, match="unknown filter 'binomal'; did you mean binomial"):
        LowPass("binomal")
    with pytest.raises(InputError, match="unknown padding 'mirror'; choose one of reflect"):
        LowPass(padding="mirror")
    with pytest.raises(InputError, match="0 taps"):
        LowPass(taps=0)
