"""The view turns about its middle, counter-clockwise, and sees no outside corner."""

from math import cos, radians, sin

import numpy as np
import pytest

from shiftable.auditing.motions import make_motion
from shiftable.auditing.motions.rotating import rotate_room_px
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import Walk
from shiftable.data import Sample
from shiftable.data.shapes import draw_scene, render
from shiftable.errors import InputError
from shiftable.models import Preprocessing

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
MODELS = {
    "short side": Preprocessing(resize_px=64),
    "squash": Preprocessing(resize_px=(70, 80), resampler="bicubic"),
    "as it is": Preprocessing(resize_px=(90, 131)),
    "half a pixel down": Preprocessing(resize_px=65, crop="center-down"),
    "letterbox": Preprocessing(crop="letterbox"),
}
every_model = pytest.mark.parametrize("preprocessing", MODELS.values(), ids=MODELS)
every_view = pytest.mark.parametrize("view_size", [(32, 32), (33, 33), (24, 40), (41, 24), (33, 40)], ids=str)
AROUND = (60, 60)


def stage_of(preprocessing, view_size, room=AROUND, enlarge=True, image=IMAGE, **options):
    return make_motion("rotate", **options).stage(image, preprocessing, view_size, room, enlarge)


@every_model
@every_view
def test_step_0_is_the_view_of_crop(preprocessing, view_size):
    crop = make_motion("crop").stage(IMAGE, preprocessing, view_size, AROUND, True)
    np.testing.assert_array_equal(stage_of(preprocessing, view_size).view(0, 0), crop.view(0, 0))


@every_model
@every_view
@pytest.mark.parametrize("step", [1.0, 45.0])
def test_quarter_turns_are_exact(preprocessing, view_size, step):
    stage = stage_of(preprocessing, view_size, step=step)
    still = stage.view(0, 0)
    np.testing.assert_array_equal(stage.view(round(180 / step), 0), still[::-1, ::-1])
    if view_size[0] == view_size[1]:
        np.testing.assert_array_equal(stage.view(round(90 / step), 0), np.rot90(still))
        np.testing.assert_array_equal(stage.view(round(-90 / step), 0), np.rot90(still, -1))


@every_view
def test_it_turns_as_the_procedural_world_does(view_size):
    """An exact picture of the turned scene is the turned picture, but for roundings."""
    size = view_size[0] + 50, view_size[1] + 50
    scene = draw_scene(3, size=size)
    stage = stage_of(Preprocessing(resize_px=size), view_size, (0, 0), image=render(scene, size), step=7.0)
    for i in (-3, 1, 4):
        exact = render(scene, size, angle=7.0 * i)[25:-25, 25:-25].astype(int)
        assert abs(exact - stage.view(i, 0)).mean() < 0.6  # both are whole grey levels
        assert stage.place(i, 0) == (0, 0, 1, 7.0 * i)


@every_model
@every_view
def test_angles_end_where_a_corner_would_leave_the_image(preprocessing, view_size):
    stage = stage_of(preprocessing, view_size, (4, 6), False, step=2.5)
    crop = make_motion("crop").stage(IMAGE, preprocessing, view_size, (4, 6), False)

    def inside(angle):
        c, s = cos(radians(angle)), sin(radians(angle))
        corners = np.array([(y, x) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]) * view_size @ np.array([[c, s], [-s, c]])
        y, x = (corners + np.array(view_size) / 2).T
        tall, wide = (len(reach) - 1 + side for reach, side in zip((crop.dy, crop.dx), view_size, strict=True))
        top, left = crop.dy[-1], crop.dx[-1]
        return (
            (y + top).min() > -1e-6
            and (x + left).min() > -1e-6
            and (y + top).max() < tall + 1e-6
            and (x + left).max() < wide + 1e-6
        )

    assert all(inside(2.5 * i) for i in stage.dy)
    assert stage.dy[-1] == 72 or not inside(2.5 * (stage.dy[-1] + 1))
    assert (stage.dy[0], stage.dx) == (-stage.dy[-1], range(1))


@every_model
@every_view
def test_a_constant_image_stays_constant(preprocessing, view_size):
    """So nothing from outside comes in, not even a share of it."""
    stage = stage_of(preprocessing, view_size, image=np.full((90, 131, 3), 114, np.uint8))
    for i in (1, 17, 45, 133):
        assert (stage.view(i, 0) == 114).all()


def test_the_whole_circle_and_no_more():
    assert stage_of(MODELS["as it is"], (32, 32)).dy == range(-180, 181)
    assert stage_of(MODELS["as it is"], (32, 32), step=50.0).dy == range(-3, 4)
    for step in (0.01, 0.1, 0.3):
        assert stage_of(MODELS["as it is"], (32, 32), step=step).dy[-1] == round(180 / step)


@pytest.mark.parametrize(("steps", "step"), [(2, 0.5), (33, 1.0), (33, 4.0), (9, 30.0), (12, 40.0), (33, 10.0)])
@pytest.mark.parametrize("crop", ["center", "center-down", "letterbox"])
@every_view
def test_every_walk_finds_the_room_it_asks_for(steps, step, crop, view_size):
    motion = make_motion("rotate", step=step)
    walk = Walk(steps=steps, direction=None, axes=1)
    if steps // 2 * step > 180:
        return
    show = Show(motion, walk, Preprocessing(resize_px=33, crop=crop), view_size, controls=False)
    shown = show(0, Sample("it", None, lambda: IMAGE))
    assert [row.angle for row in shown.rows] == [pytest.approx((i - steps // 2) * step) for i in range(steps)]


@every_view
@pytest.mark.parametrize("step", [1.0, 7.0, 180.0])
def test_room_is_no_more_than_a_turn_needs(view_size, step):
    for steps in (2, 8, 40):
        farthest = min(180.0, steps // 2 * step)
        angles = np.radians(np.linspace(0, farthest, 20_001))
        for axis, room in enumerate(rotate_room_px((steps, 0), view_size, step=step)):
            side, other = view_size[axis], view_size[1 - axis]
            needed = (side * abs(np.cos(angles)) + other * abs(np.sin(angles))).max() - side
            assert needed - 1e-4 <= room < needed + 2 + 1e-4
            assert room % 2 == 0


def test_refuses_what_it_can_not_do():
    for step in (0, -1.0, 0.009, 181.0, float("nan")):
        with pytest.raises(InputError, match=r"give 0\.01 to 180 degrees"):
            make_motion("rotate", step=step)
    with pytest.raises(InputError, match="the motion rotate has no on"):
        make_motion("rotate", on="crop")
    with pytest.raises(InputError, match="smaller than the view"):
        stage_of(Preprocessing(resize_px=20), (32, 32), enlarge=False)
