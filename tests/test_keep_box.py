"""The motion `keep-box`: every view shows its box whole, and no place that does is left out."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeModel, pictures
from hypothesis import given
from hypothesis import strategies as st

import shiftable as sh
from shiftable.auditing.motions import MOTIONS, make_motion
from shiftable.auditing.motions.keeping import keep_box, largest_box, nowhere_remarks
from shiftable.auditing.showing import Show, show_or_say
from shiftable.auditing.walks import make_walk
from shiftable.data import Box, Sample, box_samples, list_samples, read_boxes, shapes
from shiftable.errors import InputError
from shiftable.models import Preprocessing

HOW = Preprocessing(resize_px=64)
VIEW = (32, 40)


def _image(height=90, width=131):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _stage(box, image=None, how=HOW, view=VIEW, room=(0, 0), at="resized"):
    return keep_box(_image() if image is None else image, how, view, room, True, boxes=(box,), at=at)


def _shows(window, box, scale):
    """Whether a window shows all of a box, both in px of the scene."""
    y0, x0, y1, x1 = (edge * scale for edge in (box.y0, box.x0, box.y1, box.x1))
    slack = 1e-6
    return (
        window.y <= y0 + slack and window.x <= x0 + slack
        and window.y + window.height >= y1 - slack and window.x + window.width >= x1 - slack
    )  # fmt: skip


def _sample(box, name="a", image=None):
    return Sample(name, 0, _image if image is None else (lambda: image), boxes=None if box is None else (box,))


# Where the view may stand


@given(
    st.floats(0, 100), st.floats(0, 60), st.floats(0.5, 131), st.floats(0.5, 90), st.sampled_from(["resized", "source"])
)
def test_every_allowed_place_shows_the_box_and_the_next_would_cut_it(x0, y0, wide, tall, at):
    box = Box(x0, y0, min(x0 + wide, 131.0), min(y0 + tall, 90.0))
    # the short side, 90 px, becomes 64; the long one 93: so is the box scaled by 93/131, not by 64/90
    size = (64, 93) if at == "resized" else (90, 131)
    scaled = Box(box.x0 * size[1] / 131, box.y0 * size[0] / 90, box.x1 * size[1] / 131, box.y1 * size[0] / 90)
    touched = Box(
        np.floor(scaled.x0 + 1e-6), np.floor(scaled.y0 + 1e-6), np.ceil(scaled.x1 - 1e-6), np.ceil(scaled.y1 - 1e-6)
    )
    if touched.x1 - touched.x0 > VIEW[1] or touched.y1 - touched.y0 > VIEW[0]:
        with pytest.raises(InputError, match="no two places of the view show the whole box: it has"):
            _stage(box, at=at)
        return
    stage = _stage(box, at=at)
    for axis, reach in enumerate((stage.dy, stage.dx)):
        assert len(reach) >= 1
        for end, beyond in ((reach[0], reach[0] - 1), (reach[-1], reach[-1] + 1)):
            places = [[stage.home[0], stage.home[1]] for _ in range(2)]
            places[0][axis], places[1][axis] = end, beyond
            inside, outside = (stage.window(*place) for place in places)
            assert _shows(inside, scaled, 1)
            in_image = outside[axis] >= 0 and outside[axis] + VIEW[axis] <= size[axis]
            # the box is rounded outwards: the next place may show all of it, but not all of the pixels it touches
            assert not in_image or not _shows(outside, touched, 1)
    assert stage.home[0] in stage.dy
    assert stage.home[1] in stage.dx
    if 0 in stage.dy and 0 in stage.dx:
        assert stage.home == (0, 0)


def test_home_is_the_nearest_place_that_shows_the_box():
    assert _stage(Box(60, 40, 70, 50)).home == (0, 0)
    corner = _stage(Box(0, 0, 9, 9))  # at the top left: the view goes up and left, so the content down and right
    assert corner.home == (corner.dy[0], corner.dx[0])
    assert corner.dy[0] > 0
    assert corner.dx[0] > 0
    np.testing.assert_array_equal(corner.view(corner.dy[-1], corner.dx[-1]), _crop().view(16, 26))


def _crop(how=HOW):
    return MOTIONS["crop"].stage(_image(), how, VIEW, (0, 0), False)


def test_views_are_those_of_crop_and_windows_say_where():
    stage, crop = _stage(Box(60, 40, 75, 52)), _crop()
    for place in [(stage.dy[0], stage.dx[0]), (0, 0), (stage.dy[-1], stage.dx[-1])]:
        np.testing.assert_array_equal(stage.view(*place), crop.view(*place))
        assert stage.window(*place) == crop.window(*place)


def test_on_the_source_nothing_is_resized():
    image = _image()
    stage = _stage(Box(60, 40, 75, 52), image, at="source")
    for place in [(stage.dy[0], stage.dx[0]), (0, 0), (stage.dy[-1], stage.dx[-1])]:
        y, x, height, width = (int(number) for number in stage.window(*place))
        np.testing.assert_array_equal(stage.view(*place), image[y : y + height, x : x + width])
        assert (height, width) == VIEW


def test_images_are_never_enlarged():
    tight = Preprocessing(resize_px=40)
    stage = _stage(Box(60, 40, 75, 52), how=tight, room=(32, 32))
    assert stage.dy[-1] - stage.dy[0] <= 40 - VIEW[0]
    walk = make_walk("sweep")
    show = Show(make_motion("keep-box"), walk, tight, VIEW, enlarge=True)
    assert show.enlarged == 1


@pytest.mark.parametrize("crop", ["letterbox", "letterbox-corner"])
def test_a_letterbox_slides_as_far_as_its_room_and_box_allow(crop):
    how, box = Preprocessing(crop=crop), Box(0, 30, 131, 60)  # as wide as the image, hence as the view
    stage = _stage(box, how=how, room=(8, 8))
    letterbox = MOTIONS["crop"].stage(_image(), how, VIEW, (8, 8), False)
    assert stage.dx == range(1)
    assert stage.dy == letterbox.dy  # there is enough above and below the box
    np.testing.assert_array_equal(stage.view(3, 0), letterbox.view(3, 0))


def test_the_largest_box_counts():
    small, large = Box(0, 0, 10, 10), Box(5, 5, 16, 16)
    assert largest_box((small, large), (20, 20)) == large
    assert keep_box(_image(), HOW, VIEW, (0, 0), True, boxes=(small, large)).dy == _stage(large).dy


@pytest.mark.parametrize("placement", shapes.PLACEMENTS)
def test_drawn_objects_are_whole_in_every_view(placement):
    how, view = Preprocessing(resize_px=80), (56, 56)
    for scene in shapes.scenes(12, 5, (96, 120), placement):
        mask = (shapes.mask(scene, (96, 120)) > 0.5).astype(np.uint8)
        image = np.repeat(255 * mask[..., None], 3, axis=2)
        stage = _stage(Box(*shapes.box(scene, (96, 120))), image, how, view)
        most = max(
            int((_crop_of(image, how, view).view(dy, dx)[..., 0] > 127).sum())
            for dy in stage.dy[:: max(1, len(stage.dy) // 4)] for dx in stage.dx[:: max(1, len(stage.dx) // 4)]
        )  # fmt: skip
        for dy in (stage.dy[0], stage.home[0], stage.dy[-1]):
            for dx in (stage.dx[0], stage.home[1], stage.dx[-1]):
                assert (stage.view(dy, dx)[..., 0] > 127).sum() == most


def _crop_of(image, how, view):
    return MOTIONS["crop"].stage(image, how, view, (0, 0), False)


# What can't be used


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (Box(0, 0, 131, 90), "no two places of the view show the whole box: it has 64×93 px, the view 32×40 px"),
        (Box(0, 0, 132.5, 9), "leaves the image .90×131 px."),
        (Box(-1.5, 0, 13, 9), "leaves the image"),
        (Box(131, 0, 132, 9), "leaves the image"),
        (Box(0, 0, 9, 9, None, (131, 90)), "it is 90×131 px, but 131×90 px where its box was drawn"),
    ],
)
def test_boxes_that_can_not_be_kept_are_told(box, says):
    with pytest.raises(InputError, match=says):
        _stage(box)


def test_a_pixel_beyond_the_image_is_cut_off():
    assert largest_box([Box(-1, -0.5, 132, 9, "it")], (90, 131)) == Box(0, 0, 131, 9, "it")
    assert _stage(Box(-1, -1, 9, 9)).dy == _stage(Box(0, 0, 9, 9)).dy


def test_images_without_a_box_and_small_images_are_told():
    for boxes in (None, ()):
        with pytest.raises(InputError, match="no box is known for it"):
            keep_box(_image(), HOW, VIEW, (0, 0), True, boxes=boxes)
    with pytest.raises(InputError, match="smaller than the view"):
        _stage(Box(0, 0, 3, 3), _image(20, 30), at="source")
    with pytest.raises(InputError, match="did you mean source"):
        _stage(Box(0, 0, 3, 3), at="sorce")
    with pytest.raises(InputError, match="keep-box has no grid"):
        Show(make_motion("keep-box"), make_walk("grid"), HOW, VIEW)


# Walks of differing length


BOXES = {
    "middle": Box(60, 40, 70, 50),
    "large": Box(40, 25, 90, 67),  # 35 px wide and 31 high after the resize: room for 2 places down, 6 to the right
    "corner": Box(4, 5, 9, 9),
    "high": Box(50, 23, 60, 67),  # as high as the view
    "none": None,
}


def _show(shape="sweep", **options):
    return Show(make_motion("keep-box"), make_walk(shape, **options), HOW, VIEW)


@pytest.mark.parametrize("direction", ["vertical", "horizontal", "diagonal"])
@pytest.mark.parametrize("steps", [7, 33])
def test_sweeps_have_the_places_that_there_are(direction, steps):
    show, lengths = _show(steps=steps, direction=direction), set()
    for number, (name, box) in enumerate(BOXES.items()):
        shown = show_or_say(show, (number, _sample(box, name)))
        if isinstance(shown, InputError):
            assert name in ("none", "high")
            assert shown.what.startswith("no ")
            continue
        stage = show.stage(_sample(box, name))
        rows = [row for row in shown.rows if row.control is None]
        lengths.add(len(rows))
        assert 2 <= len(rows) <= steps
        assert [row.step for row in rows] == list(range(len(rows)))
        assert stage.home in [(row.dy, row.dx) for row in rows]
        np.testing.assert_array_equal(shown.views[0], stage.view(*stage.home))
        for row in rows:
            np.testing.assert_array_equal(shown.views[row.view], stage.view(int(row.dy), int(row.dx)))
    assert len(lengths) > 1


def test_images_without_two_places_are_left_out_with_the_same_words():
    high = show_or_say(_show(), (0, _sample(BOXES["high"])))
    assert high.what == "no two places of the view show the whole box"
    sideways = show_or_say(_show(direction="horizontal"), (0, _sample(BOXES["high"])))
    assert not isinstance(sideways, InputError)
    none = show_or_say(_show("pairs", direction="vertical"), (0, _sample(BOXES["high"])))
    assert none.what == high.what


# Whole audits


def brightness(views, classes=16):
    return -((views.mean(axis=(1, 2, 3))[:, None] - np.arange(classes) * 8 - 64) ** 2) / 40


MODEL = FakeModel(brightness, scores="logits")


def _boxed(count, boxes):
    """Pictures of 20 × 26 px; the model resizes them to 16 × 20, and looks at 8 × 8."""
    samples = pictures(count, (20, 26), labels=[0] * count)
    return [replace(sample, boxes=boxes[at % len(boxes)]) for at, sample in enumerate(samples)]


SOME = [(Box(8, 8, 14, 12),), (Box(3, 3, 7, 7),), None, (Box(6, 5, 12, 15),), (Box(10, 0, 16, 20),)]
"""In the middle; near the corner; unknown; as high as the view; higher."""


@pytest.mark.parametrize("walk", ["sweep", "pairs", "random"])
def test_audits_leave_out_what_has_no_two_places(walk, tmp_path):
    direction = {} if walk == "random" else {"direction": "vertical"}
    audit = sh.audit(MODEL, _boxed(10, SOME), motion="keep-box", walk=walk, out=tmp_path, **direction)
    reasons = [entry["reason"] for entry in audit.images["skipped"]]
    assert reasons.count("no box is known for it") == 2
    assert sum("it has 16×6 px, the view 8×8 px" in reason for reason in reasons) == 2
    alone = reasons.count("no two places of the view show the whole box")
    assert nowhere_remarks(audit.images["skipped"], 10) == [
        f"{2 + alone} of 10 images have no two places that show the whole box"
    ]
    assert alone == (0 if walk == "random" else 2)
    assert audit.images["count"] == 10 - 4 - alone
    assert not {"jaggedness", "jaggedness_self", "share_constant", "worst_case_accuracy"} & set(audit.metrics)
    rows = [row for part in sh.read_parts(tmp_path) for row in part.of(None).table.to_pylist()]
    lengths = {sum(row["image"] == image for row in rows) for image in {row["image"] for row in rows}}
    assert len(lengths) > (walk == "sweep")
    assert audit.metrics["margin"].images == audit.images["count"]


def test_metrics_of_whole_walks_are_no_use_here():
    with pytest.raises(InputError, match="jaggedness_self can't be compared"):
        sh.audit(MODEL, _boxed(5, SOME), motion="keep-box", metrics=["jaggedness_self"])


def test_the_shared_kangaroos_stay_in_every_view(shared):
    source = shared / "data" / "kangaroo"
    samples = box_samples(list_samples(source), read_boxes(source / "boxes.csv"), source)[::8]
    how, view = Preprocessing(), (224, 224)
    show = Show(make_motion("keep-box"), make_walk("sweep"), how, view, controls=False)
    lengths = []
    for number, sample in enumerate(samples):
        shown = show_or_say(show, (number, sample))
        if isinstance(shown, InputError):
            assert "no two places" in shown.what
            continue
        lengths.append(len(shown.rows))
        height, width = sample.read().shape[:2]
        factor = 256 / min(height, width)
        box = max(sample.boxes, key=lambda each: (each.x1 - each.x0) * (each.y1 - each.y0))
        size = int(factor * height), int(factor * width)
        scaled = Box(
            box.x0 * size[1] / width, box.y0 * size[0] / height, box.x1 * size[1] / width, box.y1 * size[0] / height
        )
        assert all(_shows(window, scaled, 1) for window in shown.windows)
    assert lengths
