"""Activations on a finer grid: fractions of a position come through, and nothing moves."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.layers import SmoothActivation2d  # noqa: E402
from shiftable.layers.low_pass import FILTERS, PADDINGS, ideal  # noqa: E402


class Power(nn.Module):
    """A polynomial of one term."""

    def __init__(self, degree):
        super().__init__()
        self.degree = degree

    def forward(self, values):
        return values**self.degree


def slow_noise(rows, columns, seed=0):
    """A map that goes on in a circle, without its fastest frequencies."""
    image = torch.randn(1, 2, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ideal(image, (2, 2)) * 3


def moved(image, dy, dx):
    """By fractions of a position, in a circle; exact for maps without the fastest frequency."""
    y, x = torch.fft.fftfreq(image.shape[2])[:, None], torch.fft.fftfreq(image.shape[3])
    turn = torch.exp(-2j * torch.pi * (y * dy + x * dx).double())
    return torch.fft.ifft2(torch.fft.fft2(image) * turn).real


def error(layer, image, shift):
    """How much it matters whether the map is moved before or after, beside how much it varies."""
    after, before = moved(layer(image), *shift), layer(moved(image, *shift))
    return float((after - before).std() / layer(image).std())


@pytest.mark.parametrize("name", [*FILTERS, "ideal"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_without_an_activation_slow_maps_stay(name, padding):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(30.0), indexing="ij")
    wave = torch.cos(2 * torch.pi * (y / 24 + 2 * x / 30) + 0.4)[None, None].double()
    for factor in (2, 3, (1, 4)):
        answer = SmoothActivation2d(nn.Identity(), factor, filter=name, padding_mode=padding)(wave)
        assert answer.shape == wave.shape
        inside = (..., slice(8, -8), slice(8, -8))
        assert torch.allclose(answer[inside], wave[inside], atol=1e-5 if name == "ideal" else 0.15)
        assert (answer * wave)[inside].sum() > 0.85 * (wave**2)[inside].sum()
        across = (answer * wave.roll(1, 3))[inside].sum() - (answer * wave.roll(-1, 3))[inside].sum()
        assert abs(across - ((wave * wave.roll(1, 3)) - (wave * wave.roll(-1, 3)))[inside].sum()) < 1  # stands still


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Softsign()])
def test_fractions_of_a_position_come_through_better(activation):
    image = slow_noise(16, 24)
    plain = error(activation, image, (0.5, 0.25))
    smooth = error(SmoothActivation2d(activation, padding_mode="circular"), image, (0.5, 0.25))
    finest = error(SmoothActivation2d(activation, 4, filter="ideal"), image, (0.5, 0.25))
    assert smooth < 0.7 * plain
    assert finest < 0.35 * plain


@pytest.mark.parametrize(("factor", "degree"), [(2, 3), (3, 5)])
def test_the_ideal_filter_makes_polynomials_exact(factor, degree):
    image = slow_noise(15, 21, seed=3)
    layer = SmoothActivation2d(Power(degree), factor, filter="ideal")
    assert error(layer, image, (0.5, 0.3)) < 1e-5
    assert error(SmoothActivation2d(Power(degree), 1, filter="ideal"), image, (0.5, 0.3)) > 1e-2


def test_whole_positions_come_through_as_ever():
    image = slow_noise(12, 18)
    layer = SmoothActivation2d(nn.ReLU(), padding_mode="circular")
    assert torch.allclose(layer(image.roll((1, 5), (2, 3))), layer(image).roll((1, 5), (2, 3)))


def test_the_activation_keeps_its_weights():
    layer = SmoothActivation2d(nn.PReLU(4))
    assert list(layer.state_dict()) == ["activation.weight"]
