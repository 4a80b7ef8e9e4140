"""A letterbox laid by the picture's content: all of the picture, at one phase of the detector's grid."""

import runpy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import FakeModel, hashed
from test_crop_selection import scene

import shiftable as sh
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.answers import Detections
from shiftable.models.crop_selection import CropSelection, cut, lay_axes, select
from shiftable.models.preprocessing import GREY, deployed_view, override
from shiftable.repairing import (
    StableCrop,
    read_crop,
    safe_shifts,
    stable_crop_of,
    with_center_crop,
    with_stable_crop,
)

STRIDE = 8
VIEW = (64, 64)
LETTERBOX = CropSelection(room_px=STRIDE - 1, width_px=2, letterbox=True)


def shown(image, selection=LETTERBOX, resize_px=64):
    return deployed_view(image, Preprocessing(resize_px, crop=selection), VIEW)


@pytest.mark.parametrize("resize_px", [64, (64, 64)])
def test_all_of_the_picture_is_shown_wherever_it_is_laid_in_cells_of_whole_px(resize_px):
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = int(rng.integers(1, 200)), int(rng.integers(1, 200))
        axes = lay_axes(size, resize_px, VIEW, LETTERBOX)
        for axis, side, view in zip(axes, size, VIEW, strict=True):
            assert axis.crop * STRIDE == view * axis.places  # a stride of the view is `places` px of the image
            for place in range(axis.places):
                assert axis.first + place <= 0
                assert axis.first + place + axis.crop >= side
        if isinstance(resize_px, int):
            assert axes[0].crop == axes[1].crop  # the proportions stay
            assert max(size) > axes[0].crop * (1 - STRIDE / 64) - STRIDE  # and no more is given away than a stride


def test_what_is_not_picture_is_grey():
    image = scene((50, 90))
    axes = lay_axes((50, 90), 64, VIEW, LETTERBOX)
    whole = cut(image, select(image, LETTERBOX, 64, VIEW))
    assert whole.shape == (axes[0].crop, axes[1].crop, 3)
    place = select(image, LETTERBOX, 64, VIEW)
    np.testing.assert_array_equal(whole[-place.top :, -place.left :][:50, :90], image)
    assert (whole == GREY).all(axis=2).sum() >= whole.shape[0] * whole.shape[1] - 50 * 90
    np.testing.assert_array_equal(cut(image, place._replace(top=3, left=4, height=20, width=30)), image[3:23, 4:34])


def test_the_safe_set_is_exact_by_brute_force():
    big, (height, width), (y, x) = scene((200, 240), seed=3), (100, 120), (50, 60)

    def seen(dy, dx):  # the content moves down where the frame moves up
        return big[y - dy : y - dy + height, x - dx : x - dx + width]

    found = safe_shifts(seen(0, 0), LETTERBOX, 64, VIEW)
    assert found.chosen.found
    first = cut(seen(0, 0), found.chosen).astype(int)
    assert found.safe.sum() > 20
    for dy in found.dy:
        for dx in found.dx:
            frame = seen(dy, dx)
            chosen = select(frame, LETTERBOX, 64, VIEW)
            # of both letterboxes, where both show picture
            top, left = -found.chosen.top, -found.chosen.left
            rows = slice(top - min(0, dy), top + height - max(0, dy))
            columns = slice(left - min(0, dx), left + width - max(0, dx))
            same = np.array_equal(cut(frame, chosen)[rows, columns], first[rows, columns])
            assert same == found(dy, dx), (dy, dx)


def test_the_content_keeps_its_phase_on_the_grid():
    """As long as the anchor is the same: not when it leaves, or a better one comes in."""
    big = scene((100, 700), seed=5)
    frames = [big[:, x : x + 120] for x in range(500)]
    axes = lay_axes((100, 120), 64, VIEW, LETTERBOX)
    places = axes[1].places
    at = [x + select(frame, LETTERBOX, 64, VIEW).left for x, frame in enumerate(frames)]
    phases = np.array(at) % places
    centred = np.arange(500) % places
    assert np.mean(np.diff(phases) != 0) < 0.05
    assert np.mean(np.diff(centred) != 0) == 1
    jumps = np.diff(at)[(np.diff(at) != 0) & (np.diff(phases) == 0)]
    assert len(jumps) > 500 / places / 2
    assert set(np.abs(jumps)) == {places}


def test_a_jump_is_a_whole_stride_of_the_view_byte_for_byte():
    image = scene((100, 120), seed=6)
    place = select(image, LETTERBOX, 64, VIEW)
    axes = lay_axes((100, 120), 64, VIEW, LETTERBOX)
    crop = StableCrop(VIEW, 64, LETTERBOX)
    here = crop.cut(image, place)
    there = crop.cut(image, place._replace(left=place.left - axes[1].places))
    np.testing.assert_array_equal(there[:, STRIDE + 1 : -1], here[:, 1 : -STRIDE - 1])


@dataclass(frozen=True)
class Bright:
    """A detector that finds what is brightest, to the pixel."""

    view_size: tuple[int, int] = VIEW
    preprocessing: Preprocessing = Preprocessing(crop="letterbox")  # noqa: RUF009
    scores: str = "probabilities"
    task: str = "detect"
    spec: str = "bright"
    weights_sha256: str | None = None
    class_names: tuple[str, ...] | None = None
    batch_size: int = 4
    settings: dict = field(default_factory=dict)

    def __call__(self, views):
        found = []
        for view in views:
            y, x = np.nonzero(view.min(axis=2) > 200)
            box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], float)
            found.append(Detections(box, np.array([0.9]), np.array([0])))
        return found


def bright_samples():
    image = scene((100, 120), seed=1) // 2
    image[40:60, 50:80] = 255
    return [Sample("a", None, lambda: image)]


@pytest.mark.parametrize("given", [Preprocessing(crop="letterbox"), Preprocessing((64, 64))])
def test_boxes_are_put_back_into_the_image(given):
    """And the picture's rim is known: grey is no place where objects leave."""
    model = with_stable_crop(Bright(preprocessing=given), room_px=STRIDE - 1, letterbox=True)
    model = replace(
        model, preprocessing=replace(model.preprocessing, crop=replace(model.preprocessing.crop, width_px=2))
    )
    audit = sh.audit(model, bright_samples(), motion="camera", steps=13, direction="diagonal", controls=False)
    table = pq.read_table(audit.folder / "objects/part-00000.parquet").to_pylist()
    assert len(table) == 13
    for row in table:  # a px of the view is 2 px of the image
        assert [row[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx([50, 40, 80, 60], abs=2.1)
        assert row["inside"]
    assert audit.metrics["centre_error_px"].value < 0.3
    plain = Bright(preprocessing=Preprocessing(crop="letterbox"))
    before = sh.audit(plain, bright_samples(), motion="camera", steps=13, direction="diagonal", controls=False)
    assert audit.metrics["centre_error_px"].value < before.metrics["centre_error_px"].value


def test_a_region_of_interest_is_put_back_as_well():
    model = with_stable_crop(Bright(preprocessing=Preprocessing((72, 72))), room_px=STRIDE - 1)
    assert model.preprocessing.crop.letterbox is False
    for motion in ("camera", "crop"):
        audit = sh.audit(model, bright_samples(), motion=motion, steps=5, controls=False)
        assert audit.metrics["centre_error_px"].value < 0.8
        assert audit.metrics["vanished"].value == 0


def test_what_moves_after_the_resize_is_refused_in_a_line():
    model = with_stable_crop(FakeModel(hashed, VIEW, Preprocessing(crop="letterbox")), room_px=7)
    with pytest.raises(InputError, match="before the resize") as refused:
        sh.audit(model, [Sample("a", None, lambda: scene((100, 120)))], motion="crop", steps=3, strict=True)
    assert "\n" not in str(refused.value)


def test_the_reference_in_plain_python_lays_them_alike():
    reference = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "stable_crop.py"))
    reference["stable_crop"].__globals__.update(VIEW=64, ROOM=STRIDE - 1, BOX=2, LETTERBOX=True)
    for size in ((50, 90), (100, 61), (9, 120), (30, 30)):
        image = scene(size, seed=2)
        assert reference["stable_crop"](image.tolist()) == select(image, LETTERBOX, 64, VIEW)[:4]


def test_arrays_tensors_and_files_agree(tmp_path):
    torch = pytest.importorskip("torch")
    for resize_px, size in ((64, (50, 90)), (64, (100, 61)), ((64, 64), (80, 120)), (64, (9, 120))):
        crop = StableCrop(VIEW, resize_px, LETTERBOX)
        image = scene(size, seed=2)
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
        close = np.abs(crop(tensor).permute(1, 2, 0).numpy().astype(int) - crop(image))
        assert close.max() <= 2  # torch resizes in floats
        crop.write(tmp_path / "crop.json")
        assert read_crop(tmp_path / "crop.json") == crop
        np.testing.assert_array_equal(shown(image, resize_px=resize_px), crop(image))
    assert override(Preprocessing(), {"crop": crop.to_json()["crop"]}).crop == LETTERBOX


def test_a_letterboxed_model_is_laid_by_content_and_a_squashed_one_stays_squashed():
    letterboxed = with_stable_crop(FakeModel(hashed, VIEW, Preprocessing(640, crop="letterbox")))
    assert letterboxed.preprocessing.crop == CropSelection(room_px=31, letterbox=True)
    assert stable_crop_of(letterboxed)(scene((100, 120))).shape == (*VIEW, 3)
    squashed = with_stable_crop(FakeModel(hashed, VIEW, Preprocessing((64, 64))), room_px=7, letterbox=True)
    assert squashed.preprocessing.resize_px == (64, 64)
    image = scene((60, 120))
    assert (stable_crop_of(squashed)(image) == GREY).all(axis=2).mean() < 0.3  # grey only for the stride
    centred = with_center_crop(FakeModel(hashed, VIEW, Preprocessing(640, crop="letterbox")), room_px=7)
    top, left, height, width, found = select(image, centred.preprocessing.crop, 64, VIEW)
    assert not found
    assert abs(height - 60 + 2 * top) <= 1
    assert abs(width - 120 + 2 * left) <= 1


def test_strips_and_pictures_without_texture_lie_in_the_middle():
    for image in (scene((3, 120)), scene((120, 3)), np.full((100, 120, 3), 9, np.uint8)):
        top, left, height, width, found = select(image, LETTERBOX, 64, VIEW)
        assert not found
        assert abs(height - image.shape[0] + 2 * top) <= 1
        assert abs(width - image.shape[1] + 2 * left) <= 1
        assert safe_shifts(image, LETTERBOX, 64, VIEW).safe.sum() == 1
    for image in (scene((3, 120)), scene((3, 3)), scene((1, 1))):  # cropped: the same
        assert not select(image, CropSelection(), 256, (224, 224)).found
        assert StableCrop()(image).shape == (224, 224, 3)


def test_more_room_than_the_view_is_refused():
    with pytest.raises(InputError, match="no room of 63 px"):
        select(scene((100, 120)), replace(LETTERBOX, room_px=63), 64, VIEW)
