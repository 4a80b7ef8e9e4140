"""Fractions of a pixel add up to pixels, and whole pixels are copied."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftable.auditing.motions import make_motion
from shiftable.auditing.motions.interpolation import fourier_shift
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import Walk
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import resize

subpixel_module = importlib.import_module("shiftable.auditing.motions.subpixel")  # the package has a function so called

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
SMOOTH = resize(RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8), (90, 131), "bicubic")
VIEW = (32, 40)
MODELS = {
    "shrunk": Preprocessing(resize_px=64, resampler="lanczos"),
    "enlarged": Preprocessing(resize_px=150, resampler="lanczos"),
    "as it is": Preprocessing(resize_px=(90, 131), resampler="lanczos"),
    "letterbox": Preprocessing(crop="letterbox", resampler="lanczos"),
    "corner": Preprocessing(crop="letterbox-corner", resampler="lanczos"),
}
SIZES = [(7, 9), (8, 9), (7, 10), (8, 10), (1, 6), (2, 3), (6, 6)]

every_model = pytest.mark.parametrize("preprocessing", MODELS.values(), ids=MODELS)
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
shifts = st.floats(-20, 20)
few = settings(max_examples=30)


def picture(size, *channels):
    return np.random.default_rng(size).normal(size=(*size, *channels))


def without_nyquist(values):
    """The picture without the waves that alternate from pixel to pixel along an axis of even length."""
    spectrum = np.fft.fft2(values)
    for axis, side in enumerate(values.shape):
        if side % 2 == 0:
            np.moveaxis(spectrum, axis, 0)[side // 2] = 0
    return np.fft.ifft2(spectrum).real


def stage_of(image=IMAGE, preprocessing=MODELS["shrunk"], view_size=VIEW, room=(8, 8), **options):
    return make_motion("subpixel", **options).stage(image, preprocessing, view_size, room, True)


@every_size
@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, 1), (-3, 2), (40, -17)])
def test_whole_shifts_are_rolls(size, dy, dx):
    values = picture(size, 3)
    np.testing.assert_allclose(fourier_shift(values, dy, dx), np.roll(values, (dy, dx), axis=(0, 1)), atol=1e-12)


@every_size
@few
@given(shifts, shifts, shifts, shifts)
def test_shifts_add_up(size, dy, dx, more_dy, more_dx):
    values = without_nyquist(picture(size))
    twice = fourier_shift(fourier_shift(values, dy, dx), more_dy, more_dx)
    np.testing.assert_allclose(twice, fourier_shift(values, dy + more_dy, dx + more_dx), atol=1e-11)


@every_size
@few
@given(shifts, shifts)
def test_a_shift_keeps_mean_and_norm(size, dy, dx):
    values = picture(size)
    moved = fourier_shift(values, dy, dx)
    assert moved.mean() == pytest.approx(values.mean(), abs=1e-12)
    assert np.linalg.norm(moved) <= np.linalg.norm(values) + 1e-11
    values = without_nyquist(values)  # of odd sizes the same picture
    assert np.linalg.norm(fourier_shift(values, dy, dx)) == pytest.approx(np.linalg.norm(values), abs=1e-11)


@every_size
@pytest.mark.parametrize(("dy", "dx"), [(0.3, -1.7), (0.5, 0.5), (2.25, 0)])
def test_a_shift_is_the_sum_of_moved_waves(size, dy, dx):
    """A direct sum over all frequencies; of real pictures its real part has the Nyquist wave's cosine."""
    values = picture(size)
    for axis, shift in ((0, dy), (1, dx)):
        side = size[axis]
        places, frequencies = np.arange(side), np.fft.fftfreq(side)
        waves = np.exp(2j * np.pi * frequencies[:, None, None] * (places[:, None] - shift - places)) / side
        values = np.moveaxis(np.tensordot(waves.sum(0).real, values, axes=(1, axis)), 0, axis)
    np.testing.assert_allclose(fourier_shift(picture(size), dy, dx), values, atol=1e-12)


def test_the_wave_without_a_direction_is_gone_half_way():
    checks = (-1.0) ** np.add.outer(np.arange(6), np.arange(8))
    np.testing.assert_allclose(fourier_shift(checks, 0.5, 0), 0, atol=1e-12)
    np.testing.assert_allclose(fourier_shift(checks, 0, 0.25), checks * np.cos(np.pi / 4), atol=1e-12)


def test_a_shift_moves_a_wave_to_the_side_it_says():
    rows = np.arange(16)[:, None] + np.zeros(5)
    np.testing.assert_allclose(
        fourier_shift(np.cos(2 * np.pi * rows / 16), 0.4, 0), np.cos(2 * np.pi * (rows - 0.4) / 16), atol=1e-12
    )


@every_model
def test_whole_pixels_are_copied(preprocessing):
    stage = stage_of(preprocessing=preprocessing, step=0.25)
    for i, j in [(0, 0), (1, 0), (-3, 2), (3, -5)]:
        still, moved = stage.view(i, j), stage.view(i + 8, j + 4)
        assert moved.shape == (*VIEW, 3)
        np.testing.assert_array_equal(moved[2:, 1:], still[:-2, :-1])


@pytest.mark.parametrize("name", ["shrunk", "enlarged", "as it is"])
def test_steps_of_one_pixel_are_crops_of_a_model_that_resizes_by_lanczos(name):
    stage = stage_of(preprocessing=MODELS[name], step=1)
    crop = make_motion("crop").stage(IMAGE, MODELS[name], VIEW, (8, 8), True)
    assert (stage.dy, stage.dx) == (crop.dy, crop.dx)
    for place in [(0, 0), (4, -3), (crop.dy[0], crop.dx[-1])]:
        np.testing.assert_array_equal(stage.view(*place), crop.view(*place))
        assert stage.window(*place) == crop.window(*place)


@pytest.mark.parametrize("name", ["letterbox", "corner"])
def test_a_letterbox_differs_from_the_deployed_one_only_at_the_rim_of_its_picture(name):
    crop = make_motion("crop").stage(IMAGE, MODELS[name], VIEW, (8, 8), True)
    still, deployed = stage_of(preprocessing=MODELS[name], step=1).view(0, 0), crop.view(0, 0)
    top, rows = (0 if name == "corner" else (32 - 27) // 2), 27  # 40 px wide, as the view
    inner = slice(top + 4, top + rows - 4), slice(4, -4)
    assert abs(still[inner].astype(int) - deployed[inner]).max() <= 1  # its places are other floats
    np.testing.assert_array_equal(still[top + rows + 3 :], deployed[top + rows + 3 :])
    assert (deployed[top + rows + 3 :] == 114).all()


@pytest.mark.parametrize("step", [0.1, 0.125, 0.3, 1 / 3, 0.7])
@pytest.mark.parametrize("on", ["crop", "roll"])
def test_views_lie_where_their_places_say(on, step):
    """On a picture that hardly changes from pixel to pixel, linear interpolation tells where a view was taken."""
    stage = stage_of(SMOOTH, Preprocessing(resize_px=(90, 131)), step=step, on=on)
    still = stage.view(0, 0).astype(float)
    for i, j in [(1, 0), (0, 1), (2, -3), (-7, 5)]:
        dy, dx, scale, angle = stage.place(i, j)
        assert (dy, dx, scale, angle) == pytest.approx((i * step, j * step, 1, 0))
        moved = stage.view(i, j)[8:24, 8:32]
        error, mirrored = (abs(between(still, y, x) - moved).mean() for y, x in ((dy, dx), (-dy, -dx)))
        assert error < 1.5  # of 255
        assert error < mirrored


def between(still, dy, dx):
    """The inner part of a view, moved by linear interpolation."""
    (top, down), (left, right) = np.divmod(np.arange(8, 24)[:, None] - dy, 1), np.divmod(np.arange(8, 32) - dx, 1)
    top, left = top.astype(int), left.astype(int)
    shares = {
        (0, 0): (1 - down) * (1 - right),
        (0, 1): (1 - down) * right,
        (1, 0): down * (1 - right),
        (1, 1): down * right,
    }
    return sum(still[top + below, left + beside] * share[..., None] for (below, beside), share in shares.items())


@pytest.mark.parametrize("step", [0.1, 0.125, 0.3, 1, 2.5])
def test_the_reach_ends_at_the_border(step):
    stage, crop = stage_of(step=step), stage_of(step=1)
    for mine, whole in ((stage.dy, crop.dy), (stage.dx, crop.dx)):
        assert whole[0] <= mine[0] * step + 1e-9 < whole[0] + step + 1e-9
        assert whole[-1] - step - 1e-9 < mine[-1] * step - 1e-9 <= whole[-1]
    for place in [(stage.dy[0], stage.dx[0]), (stage.dy[-1], stage.dx[-1])]:
        assert stage.view(*place).shape == (*VIEW, 3)


@few
@given(st.integers(-70, 70), st.integers(-70, 70))
def test_on_roll_whole_pixels_are_rolls(i, j):
    stage = stage_of(step=0.5, on="roll")
    moved = stage.view(i + 4, j - 2)
    np.testing.assert_array_equal(moved, np.roll(stage.view(i, j), (2, -1), axis=(0, 1)))


def test_on_roll_the_unmoved_view_is_the_deployed_one():
    model = Preprocessing(resize_px=64)
    roll = make_motion("roll").stage(IMAGE, model, VIEW, (8, 8), True)
    np.testing.assert_array_equal(stage_of(preprocessing=model, on="roll").view(0, 0), roll.view(0, 0))
    assert stage_of(on="roll").window is None


def test_ten_tenths_are_one_pixel():
    stage = stage_of(step=0.1)
    for i in range(-20, 11):
        np.testing.assert_array_equal(stage.view(i + 10, i)[1:], stage.view(i, i)[:-1])


def test_a_walk_needs_only_a_few_resizes(monkeypatch):
    from shiftable.auditing.motions.interpolation import Source

    parts = []
    part = Source.part
    monkeypatch.setattr(Source, "part", lambda self, *args: parts.append(args) or part(self, *args))
    stage = stage_of()
    for i in range(-16, 17):
        stage.view(i, 0)
    assert len(parts) == 8


@pytest.mark.parametrize("name", ["shrunk", "as it is", "letterbox"])
@pytest.mark.parametrize("room", [(0, 0), (1, 6), (40, 30)], ids=str)
def test_every_view_is_cut_from_one_scene_whatever_the_room(name, room):
    """Views are put together from blocks: but for roundings, they are those of the scene resized at once."""
    from shiftable.auditing.motions.interpolation import find_source, whole_and_rest
    from shiftable.auditing.motions.stage import Window

    stage, source = stage_of(preprocessing=MODELS[name], room=room), find_source(IMAGE, MODELS[name], VIEW, room, True)
    (height, width), (top, left) = source.size, source.place
    for i in range(stage.dy[0], stage.dy[-1] + 1, 3):
        j = stage.dx[(5 * i) % len(stage.dx)]
        (y, down), (x, right) = whole_and_rest(top - i / 8), whole_and_rest(left - j / 8)
        rows, columns = height - (down > 0), width - (right > 0)
        scene = source.part(Window(down, right, rows, columns), (rows, columns), "lanczos")
        view = stage.view(i, j)
        assert abs(view.astype(int) - scene[y : y + 32, x : x + 40]).max() <= 1
        if i + 8 in stage.dy:
            np.testing.assert_array_equal(stage.view(i + 8, j)[1:], view[:-1])


def test_parts_of_resized_columns_are_the_same_bytes():
    from shiftable.auditing.motions.interpolation import find_source
    from shiftable.auditing.motions.stage import Window

    source = find_source(IMAGE, MODELS["shrunk"], VIEW, (8, 8), True)
    for x, y in [(0, 0), (3.125, 2.5), (17.3, 20.7)]:
        at_once = source.part(Window(y, x, 32, 40), VIEW, "lanczos")
        np.testing.assert_array_equal(
            source.columns(x, 40, "lanczos").part(Window(y, 0, 32, 40), VIEW, "lanczos"), at_once
        )


def test_only_what_the_room_is_for_is_resized(monkeypatch):
    from shiftable.auditing.motions.interpolation import Source

    sizes = []
    part = Source.part
    monkeypatch.setattr(
        Source, "part", lambda self, window, size, how: sizes.append(size) or part(self, window, size, how)
    )
    stage = stage_of(preprocessing=MODELS["enlarged"], room=(4, 0))
    for i in [*range(-16, 0), *range(1, 17)]:
        if i % 8:
            stage.view(i, 0)
    assert set(sizes) == {(36, 40)}


def test_pictures_of_large_views_are_fewer():
    assert subpixel_module._kept(1000) == 64
    assert subpixel_module._kept(4000 * 4000 * 3) == 1


@pytest.mark.parametrize("step", [0.1, 0.125, 1.0, 1.7])
@pytest.mark.parametrize(
    "walk", [Walk(steps=33), Walk(steps=8, direction="diagonal"), Walk("random"), Walk("grid")], ids=str
)
def test_every_walk_finds_the_room_it_asks_for(walk, step):
    for motion in (make_motion("subpixel", step=step), make_motion("subpixel", on="roll", step=step)):
        if motion.where == "tensor" and max(walk.room_steps) * step >= VIEW[0]:
            continue
        tight = Preprocessing(resize_px=32)
        show = Show(motion, walk, tight, VIEW, controls=False)
        assert show(0, Sample("it", None, lambda: IMAGE)).rows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"step": 0}, "a step can't be 0; give 0.015625 to 32 px"),
        ({"step": -0.5}, "--step"),
        ({"step": 1e-9}, "a step can't be 1e-09; give 0.015625 to 32 px"),
        ({"step": 33}, "a step can't be 33"),
        ({"step": float("nan")}, "can't be nan"),
        ({"step": float("inf")}, "can't be inf"),
        ({"on": "canvas"}, "subpixel can't be on 'canvas'; give crop or roll"),
        ({"fill": "black"}, "the motion subpixel has no fill; it is for --motion canvas or scale"),
    ],
    ids=str,
)
def test_refuses_what_it_can_not_do(given, says):
    with pytest.raises(InputError, match=says):
        make_motion("subpixel", **given)
