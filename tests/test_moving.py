"""How much the picture moved: against the procedural world, whose every shift is exact."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftable.auditing.videos.moving import glance, moved_between
from shiftable.data.shapes import draw_scene, render

SIZE = (96, 128)
shifts = st.floats(-8, 8)


def _frame(seed, dy=0.0, dx=0.0, size=SIZE):
    return render(draw_scene(seed, size=size), size, dy=dy, dx=dx)


def _moved(one, other):
    return moved_between(glance(one), glance(other))


@settings(max_examples=40)
@given(st.integers(0, 9), shifts, shifts)
def test_any_shift_is_found_to_a_twentieth_of_a_pixel(seed, dy, dx):
    found = _moved(_frame(seed), _frame(seed, dy, dx))
    assert found[:2] == pytest.approx((dy, dx), abs=0.05)
    assert found.residual < 2


@settings(max_examples=10)
@given(shifts, shifts)
def test_back_again_is_the_opposite(dy, dx):
    one, other = _frame(3), _frame(3, dy, dx)
    there, back = _moved(one, other), _moved(other, one)
    assert there[:2] == pytest.approx((-back.dy, -back.dx), abs=1e-4)


def test_the_same_frame_has_not_moved():
    assert _moved(_frame(1), _frame(1)) == (0, 0, 0)
    black = np.zeros((*SIZE, 3), np.uint8)
    assert _moved(black, black) == (0, 0, 0)
    assert _moved(black + 100, black + 109) == pytest.approx((0, 0, 9), abs=1e-4)


def test_whole_pixels_leave_nothing_over():
    assert _moved(_frame(2), _frame(2, 3, -5)).residual < 0.2


@pytest.mark.parametrize(("gain", "offset"), [(0.8, 0), (1.0, 20), (1.2, -15)])
def test_another_brightness_is_no_motion(gain, offset):
    moved = _frame(4, 1.3, -2.6)
    lit = np.clip(gain * moved.astype(float) + offset, 0, 255).astype(np.uint8)
    assert _moved(_frame(4), lit)[:2] == pytest.approx((1.3, -2.6), abs=0.05)
    assert _moved(_frame(4), lit).residual > 5 > _moved(_frame(4), moved).residual


def test_noise_is_hardly_any_motion():
    frame = _frame(5).astype(float)
    rng = np.random.default_rng(0)
    noisy = [np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    found = _moved(*noisy)
    assert found[:2] == pytest.approx((0, 0), abs=0.05)
    assert found.residual > 1


def test_a_little_thing_that_moves_is_not_the_picture():
    size = (144, 192)
    scene = replace(draw_scene(6, size=size, placement="uniform"), y=30.0, x=30.0, radius=6.0)
    one, other = (render(replace(scene, x=scene.x + dx), size) for dx in (0, 4))
    assert _moved(one, other)[:2] == pytest.approx((0, 0), abs=0.05)


def test_large_frames_are_reduced_and_the_answer_is_in_their_own_pixels():
    size = (520, 600)
    one, other = _frame(7, size=size), _frame(7, 5, -7, size=size)
    assert glance(one).reduced == 2
    assert glance(one).grey.shape == (260, 300)
    assert _moved(one, other)[:2] == pytest.approx((5, -7), abs=0.1)


@pytest.mark.parametrize("size", [(8, 8), (9, 31)])
def test_tiny_frames_have_an_answer(size):
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    found = _moved(one, other)
    assert np.isfinite(found).all()
    assert abs(found.dy) <= size[0] / 4 + 1
