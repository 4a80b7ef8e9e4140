"""Unknown pixels are painted from the known ones, by the procedure as the paper tells it, and no other changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftable.auditing.motions import inpainting
from shiftable.auditing.motions.inpainting import inpaint
from shiftable.errors import InputError

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def told(picture, known, rounds, few):
    """The procedure, pixel by pixel."""
    height, width = known.shape
    pixels, mask = picture.astype(float), known.copy()
    for _ in range(rounds):
        if (~mask).sum() < few:
            break
        blurred, reached = np.zeros_like(pixels), np.zeros_like(mask)
        for y in range(height):
            for x in range(width):
                total, weight = np.zeros(3), 0.0
                for i in range(-2, 3):
                    for j in range(-2, 3):
                        if 0 <= y + i < height and 0 <= x + j < width and mask[y + i, x + j]:
                            total += BINOMIAL[i + 2] * BINOMIAL[j + 2] * pixels[y + i, x + j]
                            weight += BINOMIAL[i + 2] * BINOMIAL[j + 2]
                if weight > 0:
                    blurred[y, x], reached[y, x] = total / weight, True
        pixels, mask = blurred, reached
    pixels[known] = picture[known]
    return pixels, mask


def scene(height, width, rows, columns, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    known = np.zeros((height, width), bool)
    known[rows, columns] = True
    return picture, known


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(9, 16), slice(13, 17)),
        (slice(0, 3), slice(20, 26)),
        (slice(None), slice(4, 5)),
        ([0, 3, 18], [25, 2, 11]),
    ],
    ids=["inside", "corner", "line", "dots"],
)
@pytest.mark.parametrize("rounds", [1, 3, 80])
def test_equals_the_procedure_pixel_by_pixel(monkeypatch, rows, columns, rounds):
    monkeypatch.setattr(inpainting, "ROUNDS", rounds)
    picture, known = scene(19, 26, rows, columns)
    expected, reached = told(picture, known, rounds, inpainting.FEW)
    assert np.abs(inpaint(picture, known) - expected)[reached].max() <= 0.5 + 1e-9  # only rounded


@pytest.mark.parametrize("few", [1, 40])
def test_the_rounds_end_where_few_pixels_are_unknown(monkeypatch, few):
    monkeypatch.setattr(inpainting, "FEW", few)
    picture, known = scene(14, 11, slice(3, 6), slice(2, 6))
    expected, reached = told(picture, known, 80, few)
    assert reached.all() == (few == 1)
    assert np.abs(inpaint(picture, known) - expected)[reached].max() <= 0.5 + 1e-9


def test_what_no_round_reaches_takes_the_nearest_value(monkeypatch):
    monkeypatch.setattr(inpainting, "ROUNDS", 2)
    picture, known = scene(9, 30, slice(None), slice(0, 3))
    painted = inpaint(picture, known)
    assert (painted[:, 7:] == painted[:, 6:7]).all()
    assert (painted[:, 6] != painted[:, 2]).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1.0), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_known_pixels_stay_and_a_constant_picture_is_painted_with_its_colour(seed, share, grey):
    rng = np.random.default_rng(seed)
    known = rng.random((23, 31)) < share
    known[rng.integers(23), rng.integers(31)] = True
    picture = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    np.testing.assert_array_equal(inpaint(picture, known)[known], picture[known])
    picture[known] = (grey, 255 - grey, 7)
    assert (inpaint(picture, known) == (grey, 255 - grey, 7)).all()


def test_what_unknown_pixels_hold_is_of_no_effect():
    picture, known = scene(40, 31, slice(9, 16), slice(13, 17))
    other = np.where(known[..., None], picture, ~picture)
    np.testing.assert_array_equal(inpaint(picture, known), inpaint(other, known))


def test_far_beyond_the_last_round_nothing_stays_unknown():
    picture, known = scene(40, 700, slice(None), slice(0, 5))
    picture[known] |= 1  # no black
    painted = inpaint(picture, known)
    assert painted.any(axis=-1).all()
    assert (painted[:, 5 + 160 :] == painted[:, 164:165]).all()  # 80 rounds of 2 px


def test_black_pixels_of_the_picture_are_known():
    picture, known = scene(30, 30, slice(10, 20), slice(10, 20))
    picture[:] = 0
    assert not inpaint(picture, known).any()


def test_nothing_known_is_refused():
    with pytest.raises(InputError, match="no pixel is known"):
        inpaint(*scene(8, 9, slice(0), slice(0)))
