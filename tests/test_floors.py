"""What interpolation adds is measured against the exact world, and bad interpolation is told from good."""

import importlib

import numpy as np
import pytest
from PIL import Image

from shiftable.auditing.motions import make_motion, rotating
from shiftable.auditing.motions.floors import Floor, interpolation_floor
from shiftable.models import Preprocessing

subpixel = importlib.import_module("shiftable.auditing.motions.subpixel")  # the package has a function so called

MODEL = Preprocessing(resize_px=256)
VIEW = (64, 64)
ROUNDING = 4 * 1 / 12
"""The mean square of two views and two exact pictures, rounded to whole grey levels, in levels squared."""

INTERPOLATED = [
    pytest.param("subpixel", {}, id="subpixel"),
    pytest.param("subpixel", {"on": "roll"}, id="subpixel on roll"),
    pytest.param("subpixel", {"step": 0.5}, id="half pixels"),
    pytest.param("scale", {}, id="scale"),
    pytest.param("rotate", {}, id="rotate"),
]


def floor_of(name, view_size=VIEW, preprocessing=MODEL, seed=0, source=None, **options) -> Floor:
    found = interpolation_floor(make_motion(name, **options), preprocessing, view_size, seed, source)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "options"), INTERPOLATED)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_floor_is_well_below_the_step(name, options, seed):
    """A third of it at most, where a step is an eighth of a pixel and rounding a quarter; a fifth without rounding."""
    floor = floor_of(name, seed=seed, **options)
    assert floor.share < 1 / 3
    assert floor.floor_levels**2 < ROUNDING + (floor.step_levels / 5) ** 2
    assert floor.share == pytest.approx(floor.floor_levels / floor.step_levels, abs=0.002)


@pytest.mark.parametrize("source", [1, 2])
def test_whole_pixels_add_no_more_than_rounding(source):
    floor = floor_of("subpixel", step=1, source=source)
    assert floor.floor_levels < 0.1
    assert floor.view_levels < 0.1
    assert floor_of("subpixel", on="roll", step=1, source=1).floor_levels == 0


@pytest.mark.parametrize("name", ["crop", "camera", "canvas", "roll", "keep-box"])
def test_what_copies_pixels_has_no_floor(name):
    assert interpolation_floor(make_motion(name), MODEL, VIEW) is None
    assert interpolation_floor(make_motion("scale", on="canvas"), MODEL, VIEW) is None


def test_a_seam_that_eats_the_view_leaves_nothing_to_measure():
    assert interpolation_floor(make_motion("subpixel", on="roll", step=32), MODEL, (32, 32)) is None
    for step in (6, 16, 32):  # fewer steps, but some
        assert 0 <= floor_of("subpixel", on="roll", step=step).share < 1 / 3


@pytest.mark.parametrize(("name", "options"), [("subpixel", {"step": 1 / 64}), ("rotate", {"step": 0.01})])
def test_the_smallest_steps_have_a_floor_or_none(name, options):
    for view_size in ((4, 4), (32, 32)):
        found = interpolation_floor(make_motion(name, **options), MODEL, view_size)
        assert found is None or np.isfinite(list(found.to_json().values())).all()


def test_nearest_pixels_are_found_out(monkeypatch):
    good = floor_of("subpixel")
    monkeypatch.setattr(subpixel, "RESAMPLER", "nearest")
    assert floor_of("subpixel").floor_levels > 3 * good.floor_levels


def test_linear_shifts_are_found_out(monkeypatch):
    def linear(values):
        def shifted(dy, dx):
            for axis, shift in enumerate((dy, dx)):
                values_, rest = np.roll(shifted.values, int(shift // 1), axis), shift % 1
                shifted.values = (1 - rest) * values_ + rest * np.roll(values_, 1, axis)
            found, shifted.values = shifted.values, values
            return found

        shifted.values = values
        return shifted

    good = floor_of("subpixel", on="roll")
    monkeypatch.setattr(subpixel, "fourier_shifts", linear)
    assert floor_of("subpixel", on="roll").floor_levels > 1.5 * good.floor_levels


def test_linear_turns_are_found_out(monkeypatch):
    good = floor_of("rotate")
    monkeypatch.setattr(rotating, "FINE", 1)
    assert floor_of("rotate").floor_levels > 1.5 * good.floor_levels


def test_nearest_windows_are_found_out():
    worse, good = (floor_of("scale", preprocessing=Preprocessing(256, name)) for name in ("nearest", "bicubic"))
    assert worse.floor_levels > 2 * good.floor_levels


def test_turns_are_nearly_as_good_as_splines_of_order_5():
    ndimage = pytest.importorskip("scipy.ndimage")
    from shiftable.data.shapes import draw_scene, render

    size, view_size, angle = (150, 150), (96, 96), 7.0
    scene = draw_scene(5, size=size)
    still, exact = (
        render(scene, size, scale=2 / 3),
        render(scene, size, scale=2 / 3, angle=angle)[27:-27, 27:-27].astype(float),
    )
    stage = make_motion("rotate", step=angle).stage(still, Preprocessing(resize_px=size), view_size, (0, 0), False)
    splines = ndimage.rotate(still.astype(float), angle, reshape=False, order=5)[27:-27, 27:-27]
    mine, theirs = (
        float(np.sqrt(np.mean((view - exact) ** 2))) for view in (stage.view(1, 0), np.rint(splines).clip(0, 255))
    )
    linear = Image.fromarray(still).rotate(angle, Image.Resampling.BICUBIC)
    pillows = float(np.sqrt(np.mean((np.asarray(linear)[27:-27, 27:-27] - exact) ** 2)))
    assert mine < 2 * theirs
    assert mine < pillows


def test_it_is_the_same_every_time_and_depends_on_the_seed():
    assert floor_of("rotate") == floor_of("rotate") != floor_of("rotate", seed=1)
    assert floor_of("rotate").to_json().keys() == {"step_levels", "floor_levels", "share", "view_levels"}


def test_how_large_a_model_resizes_and_where_it_crops_do_not_count():
    letterbox = Preprocessing(resize_px=40, crop="letterbox")
    for name in ("subpixel", "scale", "rotate"):
        assert floor_of(name) == floor_of(name, preprocessing=letterbox)


def test_large_views_are_measured_as_smaller_ones():
    assert floor_of("scale", (1024, 512)) == floor_of("scale", (256, 128))
    assert floor_of("subpixel", (37, 60)).share < 0.3  # not square, and odd
