"""Maps in frequency: moves are exact for what is band-limited, and no power is lost or made."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from shiftable.explaining.fourier import (  # noqa: E402
    carried,
    centroid,
    hann,
    power_spectrum,
    rings,
    shift_matrix,
    shifted,
)

sizes = st.tuples(st.integers(2, 17), st.integers(2, 17))


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def band_limited(size, shift=(0.0, 0.0), seed=0):
    """A sum of waves below half the sampling frequency, drawn where a shift puts them."""
    rng = np.random.default_rng(seed)
    y, x = (np.arange(n)[:, None] if axis == 0 else np.arange(n)[None] for axis, n in enumerate(size))
    found = np.zeros(size)
    for _ in range(5):
        fy, fx = (rng.integers(-((n - 1) // 2), (n - 1) // 2 + 1) / n for n in size)
        found += rng.normal() * np.cos(2 * pi * (fy * (y - shift[0]) + fx * (x - shift[1])) + rng.uniform(0, 6))
    return torch.from_numpy(found)


@given(size=sizes, shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
def test_a_band_limited_map_is_moved_exactly_by_any_distance(size, shift):
    torch.testing.assert_close(shifted(band_limited(size), shift), band_limited(size, shift), atol=1e-9, rtol=0)


@given(size=sizes, shift=st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_a_move_by_whole_positions_copies(size, shift):
    maps = noise(3, *size)
    assert torch.equal(shifted(maps, tuple(map(float, shift))), maps.roll(shift, (1, 2)))


def test_moves_add_up():
    maps = noise(9, 11)  # odd sizes have no frequency at which the position is undefined
    twice = shifted(shifted(maps, (0.3, -1.25)), (1.7, 0.5))
    torch.testing.assert_close(twice, shifted(maps, (2.0, -0.75)))


def test_a_mirrored_move_makes_no_step_at_the_ends():
    ramp = torch.arange(32, dtype=torch.float64)
    moved = shift_matrix(32, 0.25, mirrored=True) @ ramp
    circular = shift_matrix(32, 0.25) @ ramp
    inside = slice(4, -4)
    assert (moved - (ramp - 0.25))[inside].abs().max() < 0.01
    assert (circular - (ramp - 0.25))[inside].abs().max() > 0.3
    whole = shift_matrix(4, 1.0, mirrored=True) @ torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    assert whole.tolist() == [1, 1, 2, 3]


@given(size=sizes, windowed=st.booleans())
def test_a_spectrum_holds_the_power_of_what_was_transformed(size, windowed):
    maps = noise(4, *size)
    window = hann(size) if windowed else torch.ones(size, dtype=torch.float64)
    centred = (maps - (maps * window).sum((1, 2), keepdim=True) / window.sum()) * window
    power = power_spectrum(maps.float(), windowed=windowed)
    assert float(power.sum()) == pytest.approx(float(centred.square().sum()), rel=1e-4, abs=1e-6)
    assert float(power[0, 0]) < 1e-6 * float(power.sum()) + 1e-12


@pytest.mark.parametrize("size", [(6, 5), (5, 6), (8, 4)])
def test_a_spectrum_agrees_with_a_naive_loop(size):
    rows, columns = size
    maps = noise(2, *size)
    power = power_spectrum(maps, windowed=False)
    expected = np.zeros((rows, columns // 2 + 1))
    for one in (maps - maps.mean((1, 2), keepdim=True)).numpy():
        for ky in range(rows):
            for kx in range(columns):
                value = sum(
                    one[y, x] * np.exp(-2j * pi * (ky * y / rows + kx * x / columns))
                    for y in range(rows)
                    for x in range(columns)
                )
                negative = kx > columns // 2  # is told with its opposite, which lies in the half that is kept
                at = (-ky % rows, columns - kx) if negative else (ky, kx)
                expected[at] += abs(value) ** 2 / (rows * columns)
    # a column of ±f holds both: rows of +ky at kx and of −ky at −kx are the same wave
    np.testing.assert_allclose(power.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (4, 2), (16, 16)])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_white_noise_lies_outside_by_one_less_one_over_the_square_of_the_stride(stride, times):
    size = (2 * times * stride[0], times * stride[1] * 2)
    flat = torch.ones(size[0], size[1] // 2 + 1, dtype=torch.float64)
    flat[:, 1 : (size[1] + 1) // 2] = 2
    inside = float((flat * carried(size, stride)).sum() / flat.sum())
    assert inside == pytest.approx(1 / (stride[0] * stride[1]))


@given(size=sizes)
def test_rings_lose_no_power_and_white_is_flat(size):
    power = power_spectrum(noise(2, *size), windowed=False)
    found = rings(power, size)
    assert float((found.density * found.share).sum()) == pytest.approx(1)
    assert float(found.share.sum()) == pytest.approx(1)
    flat = torch.ones_like(power)
    flat[:, 1 : (size[1] + 1) // 2] = 2
    np.testing.assert_allclose(rings(flat, size).density, 1)


def test_rings_find_a_wave_at_its_frequency_and_so_does_the_centroid():
    wave = torch.cos(2 * pi * 5 / 32 * torch.arange(32, dtype=torch.float64)).expand(32, 32)
    power = power_spectrum(wave, windowed=False)
    found = rings(power, (32, 32))
    assert float(found.frequency[found.density.argmax()]) == pytest.approx(5 / 32)
    assert centroid(power, (32, 32)) == pytest.approx(5 / 32)
    assert centroid(power_spectrum(wave.T, windowed=False), (32, 32)) == pytest.approx(5 / 32)
