"""A camera's view is, bit for bit, the deployed view of a frame of the source that moved by whole source pixels."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing.motions.camera import camera
from shiftable.auditing.motions.stage import Window
from shiftable.auditing.walks import DIRECTIONS, Walk, lay_walks
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import RESAMPLERS, deployed_view

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
VIEW = (32, 40)
ROOM = (12, 20)
FRAME = (90 - 12, 131 - 20)
RESIZES = {
    **{name: Preprocessing(resize_px=45, resampler=name) for name in RESAMPLERS},
    "enlarged": Preprocessing(resize_px=100, resampler="bicubic"),
    "squash": Preprocessing(resize_px=(50, 44)),
    "squash both ways": Preprocessing(resize_px=(120, 44), resampler="lanczos"),
    "as it is": Preprocessing(resize_px=FRAME),
    "same width": Preprocessing(resize_px=(40, FRAME[1])),
    "same height": Preprocessing(resize_px=(FRAME[0], 60)),
    "half a pixel down": Preprocessing(resize_px=45, crop="center-down"),
    "letterbox": Preprocessing(crop="letterbox"),
    "OpenCV": Preprocessing(resize_px=45, library="opencv"),
    "tensor": Preprocessing(resize_px=45, library="tensor"),
    "no antialias": Preprocessing(resize_px=45, antialias=False),
    "bicubic, no antialias": Preprocessing(resize_px=(50, 44), resampler="bicubic", antialias=False),
}

NEEDS = {"pillow": "PIL", "opencv": "cv2", "tensor": "torch"}

every_resize = pytest.mark.parametrize("preprocessing", RESIZES.values(), ids=RESIZES)


@every_resize
def test_every_view_is_the_deployed_view_of_its_frame(preprocessing):
    pytest.importorskip(NEEDS[preprocessing.library])
    stage = camera(IMAGE, preprocessing, VIEW, ROOM, True)
    places = [(dy, dx) for dy in stage.dy for dx in stage.dx]
    # in an order in which strips are dropped and made again
    for dy, dx in np.random.default_rng(1).permutation(places)[:100].tolist():
        y, x = 6 - dy, 10 - dx
        frame = IMAGE[y : y + FRAME[0], x : x + FRAME[1]]
        np.testing.assert_array_equal(stage.view(dy, dx), deployed_view(frame, preprocessing, VIEW))


@every_resize
def test_without_room_the_view_is_the_deployed_one(preprocessing):
    pytest.importorskip(NEEDS[preprocessing.library])
    stage = camera(IMAGE, preprocessing, VIEW, (0, 0), True)
    assert (stage.dy, stage.dx) == (range(1), range(1))
    np.testing.assert_array_equal(stage.view(0, 0), deployed_view(IMAGE, preprocessing, VIEW))


def test_content_moves_down_by_dy_and_right_by_dx():
    stage = camera(IMAGE, RESIZES["as it is"], VIEW, ROOM, True)
    still = stage.view(0, 0)
    for dy, dx in [(1, 0), (0, 1), (3, 2), (5, 0)]:
        moved, back = stage.view(dy, dx), stage.view(-dy, -dx)
        np.testing.assert_array_equal(moved[dy:, dx:], still[: VIEW[0] - dy, : VIEW[1] - dx])
        np.testing.assert_array_equal(back[: VIEW[0] - dy, : VIEW[1] - dx], still[dy:, dx:])


def test_content_moves_by_source_pixels_times_the_resize():
    half = Preprocessing(resize_px=(FRAME[0] // 2, FRAME[1] // 2))
    image = np.repeat(np.repeat(IMAGE[:45, :66], 2, axis=0), 2, axis=1)[:, :131]
    stage = camera(image, half, VIEW, ROOM, True)
    np.testing.assert_array_equal(stage.view(4, 0)[2:], stage.view(0, 0)[:-2])


def test_the_frame_reaches_exactly_the_borders():
    whole = Preprocessing(resize_px=FRAME)
    stage = camera(IMAGE, whole, FRAME, ROOM, True)
    assert (stage.dy, stage.dx) == (range(-6, 7), range(-10, 11))
    np.testing.assert_array_equal(stage.view(stage.dy[-1], stage.dx[-1]), IMAGE[: FRAME[0], : FRAME[1]])
    np.testing.assert_array_equal(stage.view(stage.dy[0], stage.dx[0]), IMAGE[-FRAME[0] :, -FRAME[1] :])


@pytest.mark.parametrize(
    "walk",
    [
        *(Walk("sweep", steps=steps, direction=direction) for steps in (2, 5, 6) for direction in DIRECTIONS),
        Walk("pairs", direction="horizontal"),
        Walk("random"),
        Walk("grid", direction=None, radius_px=2),
    ],
    ids=str,
)
def test_every_walk_finds_the_room_it_asks_for(walk):
    stage = camera(IMAGE, RESIZES["bilinear"], VIEW, walk.room_steps, True)
    for seed in range(20):
        for path in lay_walks(walk, stage.dy, stage.dx, np.random.default_rng(seed)):
            assert all(dy in stage.dy and dx in stage.dx for dy, dx in path.tolist())


@given(st.integers(0, 45), st.integers(0, 65))
def test_room_is_equal_both_ways_and_no_less_than_asked_for(room_y, room_x):
    try:
        stage = camera(IMAGE, RESIZES["bilinear"], VIEW, (room_y, room_x), True)
    except InputError:
        assert 2 * (room_y + room_y % 2) > 90 or 2 * (room_x + room_x % 2) > 131
        return
    for reach, room in ((stage.dy, room_y), (stage.dx, room_x)):
        assert reach[0] == -reach[-1]
        assert len(reach) - 1 in (room, room + 1)


def test_a_walk_down_resizes_each_column_of_places_once(monkeypatch):
    sizes = []

    def counted(image, size, *options):
        sizes.append(size)
        return resize(image, size, *options)

    camera_module = importlib.import_module("shiftable.auditing.motions.camera")  # the package has a function so called
    resize = camera_module.resize
    monkeypatch.setattr(camera_module, "resize", counted)
    stage = camera(IMAGE, RESIZES["bilinear"], VIEW, ROOM, True)
    for dy in stage.dy:
        stage.view(dy, 0)
    wide = [size for size in sizes if size[0] == IMAGE.shape[0]]
    assert len(wide) == 1
    assert set(sizes) - set(wide) == {(45, VIEW[1])}  # the vertical half: only the columns that are shown


@pytest.mark.parametrize("room", [(46, 0), (0, 66), (90, 131), (400, 0)])
def test_a_frame_of_less_than_half_of_the_image_is_refused(room):
    camera(IMAGE, RESIZES["bilinear"], VIEW, (44, 64), True)
    with pytest.raises(InputError, match=f"90×131 px.* too narrow to move by {room[0]}×{room[1]} px"):
        camera(IMAGE, RESIZES["bilinear"], VIEW, room, True)


@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_larger_than_the_resized_frame_is_refused(antialias):
    with pytest.raises(InputError, match=r"resized frame \(20×28 px\) is smaller than the view \(32×40 px\)"):
        camera(IMAGE, Preprocessing(resize_px=20, antialias=antialias), VIEW, ROOM, False)


@pytest.mark.parametrize("crop", ["letterbox", "letterbox-corner"])
@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_the_picture_of_a_letterbox_ends_at_the_frame_and_where_the_bars_begin(crop, size):
    image = np.full((*size, 3), 200, np.uint8)
    stage = camera(image, Preprocessing(crop=crop), VIEW, (12, 8), True)
    for place in [(0, 0), (-3, 2), (6, -4)]:
        window, picture = stage.window(*place), stage.picture(*place)
        assert picture == Window(6 - place[0], 4 - place[1], size[0] - 12, size[1] - 8)
        shown = (stage.view(*place) == 200).all(axis=-1)  # the bars are 114
        y = window.y + (np.arange(VIEW[0]) + 0.5) * window.height / VIEW[0]
        x = window.x + (np.arange(VIEW[1]) + 0.5) * window.width / VIEW[1]
        inside = (
            ((y > picture.y) & (y < picture.y + picture.height))[:, None]
            & ((x > picture.x) & (x < picture.x + picture.width))
        )  # fmt: skip
        np.testing.assert_array_equal(shown, inside)
    assert camera(image, Preprocessing(resize_px=45), VIEW, (12, 8), True).picture is None
