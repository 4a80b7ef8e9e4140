"""What moves, moves by whole pixels, to the side it says, and every pixel stays as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing.motions import MOTIONS, make_motion, with_room
from shiftable.auditing.walks import Walk, lay_walks
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import center_place, resize, resized_size

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
VIEW = (32, 40)
SIZES = [
    Preprocessing(resize_px=64),
    Preprocessing(resize_px=64, resampler="bicubic"),
    Preprocessing(resize_px=(70, 80)),
]

PIXELWISE = [motion for motion in MOTIONS.values() if motion.where in ("resized", "tensor")]
"""Motions of the view's own pixels; camera and canvas have tests of their own."""

every_motion = pytest.mark.parametrize("motion", PIXELWISE, ids=lambda motion: motion.name)
every_size = pytest.mark.parametrize("preprocessing", SIZES, ids=["short", "bicubic", "squash"])


@every_motion
@every_size
def test_content_moves_down_by_dy_and_right_by_dx(motion, preprocessing):
    stage = motion.stage(IMAGE, preprocessing, VIEW, (0, 0), True)
    still = stage.view(0, 0)
    for dy, dx in [(1, 0), (0, 1), (3, 2), (5, 0)]:
        moved = stage.view(dy, dx)
        assert moved.shape == still.shape == (*VIEW, 3)
        np.testing.assert_array_equal(moved[dy:, dx:], still[: VIEW[0] - dy, : VIEW[1] - dx])
        back = stage.view(-dy, -dx)
        np.testing.assert_array_equal(back[: VIEW[0] - dy, : VIEW[1] - dx], still[dy:, dx:])


@every_motion
@every_size
def test_unmoved_view_is_the_deployed_one(motion, preprocessing):
    scene = resize(IMAGE, resized_size(IMAGE.shape[:2], preprocessing.resize_px), preprocessing.resampler)
    top, left = center_place(scene.shape[:2], VIEW)
    deployed = scene[top : top + VIEW[0], left : left + VIEW[1]]
    np.testing.assert_array_equal(motion.stage(IMAGE, preprocessing, VIEW, (0, 0), True).view(0, 0), deployed)


@every_size
def test_crop_reaches_exactly_the_borders(preprocessing):
    stage = MOTIONS["crop"].stage(IMAGE, preprocessing, VIEW, (0, 0), True)
    scene = resize(IMAGE, resized_size(IMAGE.shape[:2], preprocessing.resize_px), preprocessing.resampler)
    np.testing.assert_array_equal(stage.view(stage.dy[-1], stage.dx[-1]), scene[: VIEW[0], : VIEW[1]])
    np.testing.assert_array_equal(stage.view(stage.dy[0], stage.dx[0]), scene[-VIEW[0] :, -VIEW[1] :])


def test_crop_copies_no_pixel_of_the_scene():
    stage = MOTIONS["crop"].stage(IMAGE, SIZES[0], VIEW, (0, 0), True)
    assert np.shares_memory(stage.view(0, 0), stage.view(3, 3))


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50))
def test_rolls_add_up(dy, dx, more_dy, more_dx):
    view = MOTIONS["roll"].stage(IMAGE, SIZES[0], VIEW, (0, 0), True).view
    np.testing.assert_array_equal(view(dy + more_dy, dx + more_dx), np.roll(view(dy, dx), (more_dy, more_dx), (0, 1)))


def test_room_is_made_only_where_it_is_missing():
    assert with_room(256, (224, 224), (32, 32)) == (256, 1.0)
    assert with_room(224, (224, 224), (32, 0)) == (256, 256 / 224)
    size, factor = with_room((224, 224), (224, 224), (16, 32))
    assert size[0] >= 240
    assert size[1] >= 256
    assert factor == 256 / 224


@pytest.mark.parametrize("crop", ["center", "center-down"])
@pytest.mark.parametrize(
    "walk",
    [Walk(steps=4), Walk(steps=5), Walk(steps=2), Walk("pairs"), Walk("random", walks=50), Walk("grid")],
    ids=str,
)
def test_the_room_that_is_made_is_enough_for_the_walk(walk, crop):
    tight = Preprocessing(resize_px=32, crop=crop)
    stage = MOTIONS["crop"].stage(IMAGE[:, :90], tight, (32, 32), walk.room_steps, True)
    lay_walks(walk, stage.dy, stage.dx, np.random.default_rng(0))


def test_a_view_larger_than_the_image_is_refused():
    with pytest.raises(InputError, match="smaller than the view"):
        MOTIONS["crop"].stage(IMAGE, Preprocessing(resize_px=20), VIEW, (0, 0), False)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("zoom", {}, "unknown motion 'zoom'"),
        ("crop", {"fill": "black"}, "--motion canvas"),
        ("roll", {"size_px": 50}, "--size"),
        ("canvas", {"fill": "blakc"}, "black"),
        ("canvas", {"canvas_px": 0}, "--canvas-size"),
    ],
)
def test_motions_refuse_what_they_do_not_have(name, given, says):
    with pytest.raises(InputError, match=says):
        make_motion(name, **given)


def test_options_left_out_are_the_motions_own():
    assert make_motion("canvas", fill=None).options == MOTIONS["canvas"].options
    assert make_motion("crop", fill=None, size_px=None) == MOTIONS["crop"]
