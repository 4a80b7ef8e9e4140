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

PIXELWISE = [MOTIONS["crop"], MOTIONS["roll"]]
"""Motions by whole pixels of the view; the others have tests of their own."""

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


MARKED = np.full((90, 131, 3), 114, np.uint8)
MARKED[38:46, 57:69] = 255
MARK = (42.0, 63.0)
"""Its middle, in px from the top left corner of the image."""

WINDOWED = {
    "crop": ("crop", {}, Preprocessing(resize_px=(90, 131)), 0.0),
    "crop, resized": ("crop", {}, Preprocessing(resize_px=64), 0.0),
    "crop, letterbox": ("crop", {}, Preprocessing(crop="letterbox"), 0.0),
    "camera": ("camera", {}, Preprocessing(resize_px=45), 0.15),
    "camera, squash": ("camera", {}, Preprocessing(resize_px=(50, 44)), 0.15),
    "camera, letterbox": ("camera", {}, Preprocessing(crop="letterbox"), 0.15),
    "camera, corner": ("camera", {}, Preprocessing(crop="letterbox-corner"), 0.15),
    "canvas": ("canvas", {}, Preprocessing(resize_px=45), 0.0),
    "canvas of another size": ("canvas", {"canvas_px": 70}, Preprocessing(resize_px=45), 0.15),
    "subpixel": ("subpixel", {"step": 0.3}, Preprocessing(resize_px=64), 0.15),
    "subpixel, letterbox": ("subpixel", {"step": 0.3}, Preprocessing(crop="letterbox"), 0.15),
    "scale": ("scale", {}, Preprocessing(resize_px=64), 0.15),
    "scale, letterbox": ("scale", {}, Preprocessing(crop="letterbox"), 0.15),
    "scale on canvas": ("scale", {"on": "canvas"}, Preprocessing(resize_px=45), 0.15),
}


def seen_at(view):
    """Where the middle of the mark is, in px from the top left corner of the view."""
    light = (view.astype(float).mean(axis=-1) - 114).clip(0)
    return [float((np.arange(side) + 0.5) @ light.sum(axis=1 - axis) / light.sum()) for axis, side in enumerate(VIEW)]


@pytest.mark.parametrize(("name", "options", "preprocessing", "tolerance"), WINDOWED.values(), ids=WINDOWED)
def test_a_thing_in_a_view_lies_at_the_same_px_of_the_scene_wherever_the_view_was_taken(
    name, options, preprocessing, tolerance
):
    stage = make_motion(name, **options).stage(MARKED, preprocessing, VIEW, (12, 12), True)
    near = [(i, j) for i in stage.dy for j in stage.dx if max(abs(i), abs(j)) <= 6]
    found = []
    for place in near[:: max(1, len(near) // 30)]:
        (y, x), window = seen_at(stage.view(*place)), stage.window(*place)
        found.append((window.y + y * window.height / VIEW[0], window.x + x * window.width / VIEW[1]))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], np.shape(found)), rtol=0, atol=max(tolerance, 1e-9))
    if name == "camera" or preprocessing.resize_px == (90, 131):  # the scene is the image itself
        np.testing.assert_allclose(found[0], MARK, rtol=0, atol=max(tolerance, 1e-9))


def test_what_is_no_upright_part_of_the_scene_has_no_window():
    for name, options in [("roll", {}), ("rotate", {}), ("subpixel", {"on": "roll"})]:
        assert make_motion(name, **options).stage(IMAGE, SIZES[0], VIEW, (0, 0), True).window is None


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=lambda motion: motion.name)
def test_options_given_back_make_the_same_motion(motion):
    """As a record gives them back, so that an audit can be shown again."""
    made = make_motion(motion.name, seed=3)
    again = make_motion(motion.name, seed=3, **made.options)
    assert (again.options, again.where) == (made.options, made.where)
    assert {**motion.options, **made.options} == made.options


def test_only_what_draws_gets_a_seed():
    for motion in MOTIONS.values():
        stage = make_motion(motion.name, seed=7).stage
        assert ("seed" in getattr(stage, "keywords", {})) == motion.draws


def test_a_motion_of_one_axis_has_one_column_of_places():
    for motion in MOTIONS.values():
        if not motion.needs_boxes:
            stage = make_motion(motion.name).stage(IMAGE, SIZES[0], VIEW, (8, 8), True)
            assert (stage.dx == range(1)) == (motion.axes == 1)
            assert stage.place(0, 0) == (0, 0, 1, 0)
