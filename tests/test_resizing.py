"""Three libraries resize: each as its users do, alike where they promise the same, apart where one lost its filter."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from shiftable.errors import InputError
from shiftable.models.resizing import OPENCV, RESIZERS, TENSOR, _span, resize, resize_part

NEEDS = {"pillow": "PIL", "opencv": "cv2", "tensor": "torch"}
FORMS = [
    *[("pillow", name, antialias) for name in ("nearest", "bilinear", "bicubic") for antialias in (True, False)],
    *[("opencv", name, antialias) for name in OPENCV for antialias in (True, False)],
    *[("tensor", name, antialias) for name in TENSOR for antialias in (True, False)],
]
SIZES = [(31, 40), (17, 90), (64, 33), (200, 300)]

every_form = pytest.mark.parametrize(("library", "resampler", "antialias"), FORMS)


@pytest.fixture(autouse=True)
def installed(request):
    """Skips what needs a library that is not there."""
    library = request.node.callspec.params.get("library") if hasattr(request.node, "callspec") else None
    if library and find_spec(NEEDS[library]) is None:
        pytest.skip(f"{NEEDS[library]} is not installed")


def photograph(size=(96, 141)):
    """Smooth shapes with some noise: neighbouring pixels are alike, as in photographs."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize(size[::-1], 3)
    return np.clip(np.asarray(rough).astype(int) + rng.integers(-20, 21, (*size, 3)), 0, 255).astype(np.uint8)


def checkerboard(side=96):
    return np.repeat((np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def test_the_table_names_all_libraries():
    assert set(RESIZERS) == set(NEEDS)


@every_form
@pytest.mark.parametrize("size", SIZES)
def test_the_result_has_the_size_asked_for(library, resampler, antialias, size):
    image = photograph()
    kept = image.copy()
    new = resize(image, size, resampler, antialias, library)
    assert (new.shape, new.dtype) == ((*size, 3), np.uint8)
    np.testing.assert_array_equal(image, kept)


@every_form
@pytest.mark.parametrize("shape", [(72, 128), (96, 141), (60, 90), (51, 34)], ids=str)
@pytest.mark.parametrize(("size", "place", "part"), [
    ((36, 65), (3, 20), (20, 24)), ((60, 100), (10, 21), (41, 60)), ((72, 90), (0, 31), (72, 9)),
    ((120, 136), (119, 0), (1, 136)), ((72, 128), (5, 6), (7, 8)),
])  # fmt: skip
def test_a_part_is_the_part_of_the_whole(library, resampler, antialias, shape, size, place, part):
    image = photograph(shape)
    whole = resize(image, size, resampler, antialias, library)
    (top, left), (height, width) = place, part
    found = resize_part(image, size, place, part, resampler, antialias, library)
    np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def test_a_film_needs_little_more_than_the_view():
    assert [_span(720, 256, 16, 224, "bilinear"), _span(1280, 455, 116, 224, "bilinear")] == [(16, 240), (91, 364)]
    assert _span(500, 341, 58, 224, "bilinear") == (0, 341)  # old and new borders meet at the ends alone


@every_form
def test_the_same_size_is_the_same_array(library, resampler, antialias):
    image = photograph()
    assert resize(image, image.shape[:2], resampler, antialias, library) is image


@every_form
@pytest.mark.parametrize("size", SIZES)
def test_a_plain_area_stays_as_it_is(library, resampler, antialias, size):
    image = np.full((96, 141, 3), (3, 128, 255), np.uint8)
    assert (resize(image, size, resampler, antialias, library) == image[0, 0]).all()


@every_form
def test_any_memory_layout_will_do(library, resampler, antialias):
    image = photograph()
    mirrored = image[:, ::-1]
    locked = image[:, ::-1].copy()
    locked.flags.writeable = False
    new = [resize(each, (40, 50), resampler, antialias, library) for each in (mirrored, locked)]
    np.testing.assert_array_equal(*new)


@pytest.mark.parametrize("resampler", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
def test_pillow_and_tensors_agree_where_both_antialias(resampler, size):
    pytest.importorskip("torch")
    """But for Pillow's rounding, and bicubic's clipping at black and white, between the two axes."""
    image = photograph() // 2 + 60  # so that nothing is clipped
    pillow, tensor = (resize(image, size, resampler, True, library).astype(int) for library in ("pillow", "tensor"))
    assert np.abs(pillow - tensor).max() <= 2
    assert np.abs(pillow - tensor).mean() < 0.3


@pytest.mark.parametrize("size", SIZES)
def test_all_libraries_interpolate_alike_without_antialias(size):
    pytest.importorskip("torch")
    pytest.importorskip("cv2")
    pillow, opencv, tensor = (resize(photograph(), size, "bilinear", False, name).astype(int) for name in RESIZERS)
    assert np.abs(pillow - tensor).max() <= 1
    assert np.abs(opencv - tensor).max() <= 2  # its weights have 11 bits


@pytest.mark.parametrize("library", RESIZERS)
def test_only_antialiased_is_a_fine_pattern_grey(library):
    """Shrinking a checkerboard by 3: averaged it is grey, interpolated it is a checkerboard again."""
    smooth, aliased = (resize(checkerboard(), (32, 32), "bilinear", antialias, library) for antialias in (True, False))
    assert np.ptp(aliased[2:-2, 2:-2].astype(int)) == 255
    assert np.abs(smooth[2:-2, 2:-2].astype(int) - 127.5).max() < 16


def test_opencv_antialiased_is_the_average_of_areas():
    pytest.importorskip("cv2")
    image = photograph((96, 144))
    want = image.reshape(32, 3, 48, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, (32, 48), "bicubic", True, "opencv") - want).max() <= 0.51
    enlarged = [resize(image, (120, 200), "bicubic", antialias, "opencv") for antialias in (True, False)]
    np.testing.assert_array_equal(*enlarged)


def test_the_number_of_threads_does_not_matter():
    cv2 = pytest.importorskip("cv2")
    torch = pytest.importorskip("torch")
    image, before = photograph((480, 640)), (cv2.getNumThreads(), torch.get_num_threads())
    forms = [form for form in FORMS if form[0] != "pillow"]
    results = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            torch.set_num_threads(threads)
            results.append(
                [resize(image, (224, 301), resampler, antialias, library) for library, resampler, antialias in forms]
            )
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("resampler", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("antialias", [True, False])
def test_agrees_with_torchvision_on_tensors(resampler, antialias):
    torch = pytest.importorskip("torch")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from shiftable.models.torchvision_repair import import_torchvision

    import_torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image = photograph() // 2 + 60  # in bytes, bicubic is clipped at black and white between the axes
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)
    for size in SIZES:
        ours = resize(image, size, resampler, antialias, "tensor")
        theirs = functional.resize(planes.float(), list(size), InterpolationMode(resampler), antialias=antialias)
        theirs = theirs.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(ours, theirs)
        in_bytes = functional.resize(planes, list(size), InterpolationMode(resampler), antialias=antialias)
        apart = np.abs(ours.astype(int) - in_bytes.permute(1, 2, 0).numpy())
        assert apart.max() <= 2
        assert apart.mean() < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"library": "opencv2"}, "did you mean opencv"),
        ({"library": "opencv", "resampler": "hamming"}, "'opencv' has no resampler 'hamming'"),
        ({"library": "tensor", "resampler": "lanczos"}, "use nearest or bilinear or bicubic"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        resize(photograph(), (10, 10), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("library", "module"), [("opencv", "cv2"), ("tensor", "torch")])
def test_a_library_that_is_not_installed_is_named(library, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="not installed; pip install"):
        resize(photograph(), (10, 10), library=library)
