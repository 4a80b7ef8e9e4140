"""Content grows by a pixel a step, straight from the source."""

import numpy as np
import pytest
from PIL import Image

from shiftable.auditing.motions import make_motion, motion_remarks
from shiftable.auditing.motions.canvas import FILLS, picture_size
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import Walk
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import RESAMPLERS, resize

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
VIEW = (32, 40)
MODELS = {
    **{name: Preprocessing(resize_px=45, resampler=name) for name in RESAMPLERS},
    "enlarged": Preprocessing(resize_px=150),
    "squash": Preprocessing(resize_px=(70, 80)),
    "as it is": Preprocessing(resize_px=(90, 131)),
    "half a pixel down": Preprocessing(resize_px=45, crop="center-down"),
}
every_model = pytest.mark.parametrize("preprocessing", MODELS.values(), ids=MODELS)


def stage_of(preprocessing=MODELS["squash"], view_size=VIEW, room=(0, 0), image=IMAGE, **options):
    return make_motion("scale", **options).stage(image, preprocessing, view_size, room, True)


@every_model
def test_step_0_is_the_deployed_view_and_its_neighbours_are_near(preprocessing):
    stage = stage_of(preprocessing)
    deployed = make_motion("crop").stage(IMAGE, preprocessing, VIEW, (0, 0), True)
    np.testing.assert_array_equal(stage.view(0, 0), deployed.view(0, 0))
    assert stage.window(0, 0) == deployed.window(0, 0)
    assert stage.dx == range(1)


@every_model
def test_the_window_itself_would_give_the_deployed_view(preprocessing):
    """Step 0 is no exception among its neighbours: the source's own window gives it, but for the last bit."""
    from shiftable.auditing.motions.interpolation import find_source

    source, stage = find_source(IMAGE, preprocessing, VIEW, (0, 0), True), stage_of(preprocessing)
    through = source.part(stage.window(0, 0), VIEW, preprocessing.resampler).astype(int)
    different = abs(through - stage.view(0, 0))
    assert different.max() <= 1 or preprocessing.resampler == "nearest"
    assert (different > 0).mean() < 0.02


@every_model
def test_a_step_is_a_window_a_pixel_smaller_resized_once(preprocessing):
    stage = stage_of(preprocessing)
    size = make_motion("crop").stage(IMAGE, preprocessing, VIEW, (0, 0), True)
    down, right = 90 / (len(size.dy) + VIEW[0] - 1), 131 / (len(size.dx) + VIEW[1] - 1)
    for i in [stage.dy[0], -1, 1, 7, stage.dy[-1]]:
        y, x, height, width = stage.window(i, 0)
        assert (height, width) == pytest.approx((32 - i, 40 * (32 - i) / 32))
        assert stage.place(i, 0) == pytest.approx((0, 0, 32 / (32 - i), 0))
        box = (x * right, y * down, (x + width) * right, (y + height) * down)
        box = tuple(np.clip(box, 0, (131, 90, 131, 90)))
        expected = Image.fromarray(IMAGE).resize((40, 32), RESAMPLERS[preprocessing.resampler], box=box)
        if preprocessing.resampler != "nearest":
            assert abs(np.asarray(expected).astype(int) - stage.view(i, 0)).max() <= 1


def test_positive_steps_make_content_larger():
    image = np.zeros((90, 131, 3), np.uint8)
    image[35:55, 55:75] = 255
    stage = stage_of(image=image)
    bright = [int(stage.view(i, 0).sum()) for i in stage.dy]
    assert bright == sorted(bright)
    assert bright[-1] > 3 * stage.view(0, 0).sum()


@every_model
def test_it_reaches_as_far_as_the_image_and_never_beyond_half_or_twice(preprocessing):
    stage, crop = stage_of(preprocessing), make_motion("crop").stage(IMAGE, preprocessing, VIEW, (0, 0), True)
    height, width = len(crop.dy) - 1 + VIEW[0], len(crop.dx) - 1 + VIEW[1]

    def inside(i):
        y, x, tall, wide = stage.window(i, 0)
        return y >= -1e-9 and x >= -1e-9 and y + tall <= height + 1e-9 and x + wide <= width + 1e-9

    scales = [stage.place(i, 0).scale for i in (stage.dy[0], stage.dy[-1])]
    assert scales[1] == 2
    assert scales[0] >= 0.5
    assert inside(stage.dy[0])
    assert scales[0] == 0.5 or not inside(stage.dy[0] - 1)


@pytest.mark.parametrize("steps", [2, 5, 8, 33])
@pytest.mark.parametrize("crop", ["center", "center-down"])
@pytest.mark.parametrize("view_size", [(32, 40), (41, 33), (33, 33)], ids=str)
def test_every_walk_finds_the_room_it_asks_for(steps, crop, view_size):
    show = Show(
        make_motion("scale"), Walk(steps=steps, direction=None, axes=1), Preprocessing(33, crop=crop), view_size
    )
    if min(view_size) * 2 // 2 < steps // 2:
        return
    shown = show(0, Sample("it", None, lambda: IMAGE))
    assert len({row.scale for row in shown.rows}) == steps


def test_a_letterbox_grows_with_its_bars():
    stage = stage_of(Preprocessing(crop="letterbox"), room=(8, 10), image=np.full((90, 131, 3), 255, np.uint8))
    heights = [(stage.view(i, 0)[:, 20] > 200).all(axis=-1).sum() for i in (-4, 0, 4)]  # the picture, without bars
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] in (26, 27)
    view = stage.view(-4, 0)
    assert (view[:2] == 114).all()
    assert (view[-2:] == 114).all()
    assert (view[14:18, 4:-4] == 255).all()


def test_what_can_not_be_resized_between_pixels_is_refused():
    for changes in ({"library": "opencv"}, {"library": "tensor"}, {"antialias": False}):
        with pytest.raises(InputError, match=r"can't grow pixel by pixel.*--on canvas"):
            stage_of(Preprocessing(resize_px=45, **changes))


@pytest.mark.parametrize("fill", FILLS)
def test_a_picture_on_a_canvas_grows_by_a_pixel_and_keeps_its_corner(fill):
    options = {"fill": fill, "size_px": 15}
    stage = stage_of(on="canvas", **options)
    still = make_motion("canvas", **options).stage(IMAGE, MODELS["squash"], VIEW, (0, 0), True)
    np.testing.assert_array_equal(stage.view(0, 0), still.view(0, 0))
    assert stage.window(0, 0) == still.window(0, 0)
    top, left = (32 - 15) // 2, (40 - 21) // 2
    for i in [stage.dy[0], -3, 1, stage.dy[-1]]:
        height, width = picture_size((90, 131), 15 + i)
        view = stage.view(i, 0)
        np.testing.assert_array_equal(view[top : top + height, left : left + width], resize(IMAGE, (height, width)))
        assert stage.place(i, 0) == pytest.approx((0, 0, height / 15, 0))
        if fill == "black":
            assert not view[top + height :].any()
            assert not view[:, left + width :].any()
    assert stage.dy[0] == -7  # half of 15 px, rounded up
    height, width = picture_size((90, 131), 15 + stage.dy[-1] + 1)
    assert top + height > 32 or left + width > 40


@pytest.mark.parametrize("size", [(90, 131), (72, 128), (128, 72), (100, 100), (40, 100), (10, 200)], ids=str)
def test_a_usual_canvas_has_room_for_the_usual_walk(size):
    image = np.zeros((*size, 3), np.uint8)
    stage = stage_of(image=image, view_size=(224, 224), on="canvas")
    assert stage.dy[0] <= -16
    assert stage.dy[-1] >= 16
    show = Show(make_motion("scale", on="canvas"), Walk(direction=None, axes=1), MODELS["squash"], (224, 224))
    rows = [row for row in show(0, Sample("it", None, lambda: image)).rows if row.control is None]
    assert len({row.scale for row in rows}) == 33  # of a long image, too: no two places are the same


def test_a_picture_is_as_large_as_on_a_canvas_that_stands_still_where_that_has_room():
    still = make_motion("canvas").stage(IMAGE, MODELS["squash"], (224, 224), (0, 0), True)
    np.testing.assert_array_equal(stage_of(view_size=(224, 224), on="canvas").view(0, 0), still.view(0, 0))


def test_only_a_letterbox_has_a_step_0_that_is_not_the_deployed_view():
    letterbox, usual = Preprocessing(crop="letterbox"), Preprocessing(resize_px=45)
    assert "not exactly the deployed view" in " ".join(motion_remarks(make_motion("scale"), letterbox))
    assert not motion_remarks(make_motion("scale"), usual)
    assert not motion_remarks(make_motion("scale"))
    assert not motion_remarks(make_motion("scale", on="canvas"), letterbox)


def test_noise_stays_while_the_picture_grows():
    stage = stage_of(on="canvas", fill="noise", size_px=10)
    np.testing.assert_array_equal(stage.view(0, 0)[:10], stage.view(3, 0)[:10])
    assert stage.view(0, 0)[:10].std() > 10


def test_a_canvas_of_another_size_is_resized_to_the_view():
    stage, finished = stage_of(on="canvas", canvas_px=60), stage_of(on="canvas", view_size=(60, 60))
    assert stage.dy == finished.dy
    for i in (0, 4):
        np.testing.assert_array_equal(stage.view(i, 0), resize(finished.view(i, 0), VIEW))


def test_a_picture_larger_than_the_canvas_is_refused():
    with pytest.raises(InputError, match="larger than the canvas"):
        stage_of(on="canvas", size_px=60)


def test_what_the_canvas_shows_can_be_chosen_on_the_canvas_only():
    motion = make_motion("scale", on="canvas", fill="noise", seed=3)
    assert motion.where == "canvas"
    assert motion.options == {"on": "canvas", "fill": "noise", "size_px": None, "canvas_px": None}
    assert make_motion("scale", on="canvas").options["fill"] == "black"
    on_crop = make_motion("scale")
    assert on_crop.where == "resized"
    assert make_motion("scale", **on_crop.options).options == on_crop.options  # as a record gives them back
    with pytest.raises(InputError, match="--fill: scale on crop has no fill; give --on canvas, too"):
        make_motion("scale", fill="black")
    with pytest.raises(InputError, match="scale can't be on 'roll'; give crop or canvas"):
        make_motion("scale", on="roll")
    with pytest.raises(InputError, match="the motion scale has no step"):
        make_motion("scale", step=1.0)
