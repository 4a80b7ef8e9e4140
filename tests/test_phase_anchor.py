"""An anchored input lies at one phase of the grid wherever the picture is, and says so byte for byte."""

import numpy as np
import pytest
from fakes import FakeModel, hashed
from PIL import Image

from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import CropSelection, select
from shiftable.repairing import safe_shifts
from shiftable.repairing.anchoring import with_anchored_phase

STRIDE = 8
VIEW = (96, 104)


def scene(size=(230, 240), seed=0):
    """Noise that is smooth over some pixels, with one bright spot that no other place comes up to."""
    rng = np.random.default_rng(seed)
    grains = rng.integers(60, 120, (size[0] // 3 + 1, size[1] // 3 + 1, 3), np.uint8)
    smooth = np.array(Image.fromarray(grains).resize(size[::-1], Image.Resampling.BICUBIC))
    middle = size[0] // 2, size[1] // 2
    smooth[middle[0] - 2 : middle[0] + 3, middle[1] - 2 : middle[1] + 3] = 255
    return smooth


def anchored(strides=1):
    plain = FakeModel(hashed, VIEW, Preprocessing(resize_px=(120, 130)), "logits")
    return with_anchored_phase(plain, stride_px=STRIDE, strides=strides)


@pytest.mark.parametrize("strides", [1, 2])
def test_the_picture_lies_at_one_phase_of_the_grid_wherever_it_is(strides):
    model, big = anchored(strides), scene()
    selection = model.preprocessing.crop
    assert isinstance(selection, CropSelection)
    frame = selection.larger(VIEW)
    home = tuple((have - want) // 2 for have, want in zip(big.shape, frame, strict=False))
    places = []
    for dy in range(-4, 12):
        for dx in range(-10, 5):  # content moves down and right where the frame moves up and left
            top, left = home[0] - dy, home[1] - dx
            seen = big[top : top + frame[0], left : left + frame[1]]
            chosen = select(seen, selection, frame, VIEW)
            assert chosen.found
            assert (chosen.height, chosen.width) == VIEW
            places.append((top + chosen.top, left + chosen.left))  # where on the scene the view's first px lies
    phases = {(y % STRIDE, x % STRIDE) for y, x in places}
    assert len(phases) == 1
    assert len(set(places)) > 1  # it does jump, and then by whole strides


def test_inside_the_guaranteed_shifts_nothing_jumps_at_all():
    model, big = anchored(), scene(seed=1)
    selection = model.preprocessing.crop
    frame = selection.larger(VIEW)
    image = big[40 : 40 + frame[0], 40 : 40 + frame[1]]
    found = safe_shifts(image, selection, frame, VIEW)
    first = found.chosen
    safe = [(dy, dx) for dy in found.dy for dx in found.dx if found(dy, dx)]
    assert len(safe) > 1
    for dy, dx in safe:
        chosen = select(big[40 - dy : 40 - dy + frame[0], 40 - dx : 40 - dx + frame[1]], selection, frame, VIEW)
        assert (chosen.top - dy, chosen.left - dx) == (first.top, first.left)


def test_places_are_as_many_as_the_stride_has_px():
    assert anchored().preprocessing.crop == CropSelection("anchored", STRIDE - 1)
    assert anchored(3).preprocessing.crop.room_px == 3 * STRIDE - 1


def test_what_has_no_one_phase_is_refused():
    plain = FakeModel(hashed, VIEW, Preprocessing(resize_px=120), "logits")
    with pytest.raises(InputError, match="strides of 4 and 8 px"):
        with_anchored_phase(plain, stride_px=(4, 8))
    with pytest.raises(InputError, match="0 strides"):
        with_anchored_phase(plain, stride_px=4, strides=0)
    with pytest.raises(InputError, match="find_stride"):
        with_anchored_phase(plain)
