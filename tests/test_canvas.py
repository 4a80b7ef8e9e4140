"""The picture moves inside the canvas by whole pixels, and no pixel of it ever changes."""

import numpy as np
import pytest

from shiftable.auditing.motions.canvas import FILLS, canvas, picture_size
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import resize

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)  # neither square nor symmetric
VIEW = (67, 72)
MODEL = Preprocessing(resize_px=64, resampler="bicubic")
PICTURE = resize(IMAGE, (30, 43), "bicubic")  # short side 100/224 of 67
TOP, LEFT = (67 - 30) // 2, (72 - 43) // 2

every_fill = pytest.mark.parametrize("fill", FILLS)


def stage_of(image=IMAGE, preprocessing=MODEL, view_size=VIEW, **options):
    return canvas(image, preprocessing, view_size, (0, 0), True, **options)


def inside(view, dy, dx):
    return view[TOP + dy : TOP + dy + 30, LEFT + dx : LEFT + dx + 43]


@every_fill
def test_the_picture_is_the_same_bytes_at_every_place(fill):
    stage = stage_of(fill=fill)
    for dy in stage.dy:
        for dx in stage.dx:
            view = stage.view(dy, dx)
            assert view.shape == (*VIEW, 3)
            np.testing.assert_array_equal(inside(view, dy, dx), PICTURE)


@every_fill
def test_the_ranges_end_exactly_at_the_borders(fill):
    stage = stage_of(fill=fill)
    assert (stage.dy, stage.dx) == (range(-18, 20), range(-14, 16))
    np.testing.assert_array_equal(stage.view(stage.dy[0], stage.dx[0])[:30, :43], PICTURE)
    np.testing.assert_array_equal(stage.view(stage.dy[-1], stage.dx[-1])[-30:, -43:], PICTURE)


@pytest.mark.parametrize("fill", sorted({*FILLS} - {"noise"}))
def test_the_whole_view_moves_down_by_dy_and_right_by_dx(fill):
    stage = stage_of(fill=fill)
    still = stage.view(0, 0)
    for dy, dx in [(1, 0), (0, 1), (3, 2), (18, 14)]:
        moved, back = stage.view(dy, dx), stage.view(-dy, -dx)
        np.testing.assert_array_equal(moved[dy:, dx:], still[: VIEW[0] - dy, : VIEW[1] - dx])
        np.testing.assert_array_equal(back[: VIEW[0] - dy, : VIEW[1] - dx], still[dy:, dx:])
        assert np.shares_memory(moved, still)  # slices of one plane


def outside(dy, dx):
    mask = np.ones(VIEW, bool)
    inside(mask, dy, dx)[...] = False
    return mask


def test_black_is_0_and_mean_is_0_after_normalisation():
    mask = outside(3, -2)
    assert (stage_of().view(3, -2)[mask] == 0).all()  # black is the default
    assert (stage_of(fill="mean").view(3, -2)[mask] == (124, 116, 104)).all()


@pytest.mark.parametrize(
    ("changes", "color"),
    [
        ({"color_order": "BGR"}, (104, 116, 124)),  # mean and std are in the model's order, views are RGB
        ({"mean": (0.5,), "std": (0.2,)}, (128, 128, 128)),
        ({"dtype": "int8", "mean": (0.2, 0.4, 0.6)}, (51, 102, 153)),
        ({"mean": (0.0,), "std": (1.0,)}, (0, 0, 0)),
    ],
    ids=["BGR", "one value", "int8", "none"],
)
def test_the_mean_is_a_colour_of_the_view(changes, color):
    view = stage_of(preprocessing=Preprocessing(64, "bicubic", **changes), fill="mean").view(0, 0)
    assert (view[outside(0, 0)] == color).all()


def test_noise_stays_while_the_picture_moves():
    stage = stage_of(fill="noise")
    views = [(stage.view(*place), outside(*place)) for place in [(0, 0), (1, 0), (-18, 15)]]
    for view, mask in views:
        for other, other_mask in views:
            np.testing.assert_array_equal(view[mask & other_mask], other[mask & other_mask])


def test_noise_is_a_function_of_the_image_and_the_seed():
    def background(image=IMAGE, seed=0):
        return stage_of(image, fill="noise", seed=seed).view(0, 0)[outside(0, 0)]

    np.testing.assert_array_equal(background(), background(np.asfortranarray(IMAGE)))
    assert (background() != background(seed=1)).mean() > 0.9
    assert (background() != background(IMAGE ^ 1)).mean() > 0.9


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_noise_has_the_models_mean_and_std_in_each_channel(order):
    model = Preprocessing(resampler="bicubic", mean=(0.4, 0.5, 0.6), std=(0.02, 0.04, 0.08), color_order=order)
    noise = stage_of(preprocessing=model, view_size=(400, 400), size_px=20, fill="noise").view(-190, -185)[21:]
    noise = noise[..., ::-1] if order == "BGR" else noise
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), (102.0, 127.5, 153.0), atol=0.2)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), (5.1, 10.2, 20.4), rtol=0.02)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]) < 0.02


def test_surroundings_are_painted_from_the_border():
    image = np.zeros((90, 131, 3), np.uint8)
    image[:, :65], image[:, 65:] = (200, 0, 0), (0, 0, 100)
    view = stage_of(image, fill="inpaint").view(0, 0)
    left, right = view[:, :LEFT].astype(int), view[:, LEFT + 43 :].astype(int)
    assert (left[..., 0] > left[..., 2]).all()
    assert (right[..., 2] > right[..., 0]).all()
    assert (view.any(axis=-1)).all()


def test_default_size_is_100_px_of_a_canvas_of_224():
    stage = stage_of(view_size=(224, 224))
    assert (len(stage.dy), len(stage.dx)) == (225 - 100, 225 - 145)
    assert len(stage_of(view_size=(224, 448), size_px=70).dy) == 225 - 70
    assert stage_of(np.full_like(IMAGE, 9), view_size=(1, 2)).view(0, 0).any()  # never nothing


@pytest.mark.parametrize(
    ("image_size", "size"),
    [
        ((100, 200), (50, 100)),
        ((100, 201), (50, 100)),
        ((100, 203), (49, 100)),
        ((300, 100), (100, 33)),
        ((7, 5000), (1, 100)),
    ],
)
def test_the_long_side_is_at_most_twice_the_size(image_size, size):
    assert picture_size(image_size, 50) == size
    assert picture_size(image_size[::-1], 50) == size[::-1]


@every_fill
def test_a_canvas_of_another_size_is_resized_to_the_view(fill):
    stage, finished = stage_of(fill=fill, canvas_px=150), stage_of(fill=fill, view_size=(150, 150))
    assert (stage.dy, stage.dx) == (finished.dy, finished.dx)
    for place in [(0, 0), (5, -3)]:
        np.testing.assert_array_equal(stage.view(*place), resize(finished.view(*place), VIEW, "bicubic"))


@pytest.mark.parametrize(
    ("changes", "package"),
    [({"antialias": False}, "PIL"), ({"library": "opencv"}, "cv2"), ({"library": "tensor"}, "torch")],
    ids=["no antialias", "OpenCV", "tensor"],
)
def test_the_picture_is_resized_as_the_model_does_it(changes, package):
    pytest.importorskip(package)
    model = Preprocessing(resampler="bicubic", **changes)
    picture = resize(IMAGE, (30, 43), "bicubic", model.antialias, model.library)
    assert (picture != PICTURE).any()
    np.testing.assert_array_equal(inside(stage_of(preprocessing=model).view(2, 1), 2, 1), picture)


@every_fill
def test_a_picture_as_large_as_the_canvas_has_one_place(fill):
    stage = stage_of(view_size=(30, 43), size_px=30, fill=fill)
    assert (stage.dy, stage.dx) == (range(1), range(1))
    np.testing.assert_array_equal(stage.view(0, 0), PICTURE)


def test_a_picture_larger_than_the_canvas_is_refused():
    with pytest.raises(InputError, match=r"picture \(60×87 px\) is larger than the canvas \(67×72 px\); give"):
        stage_of(size_px=60)
