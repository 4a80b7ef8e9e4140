"""Segmenters: masks of neighbouring views laid over one another, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import COUNT, PREPROCESSING, SAMPLES, SCENES, SIZE, VIEW, Answerer, Oracle, Taken, answering, oracle
from test_objects import rows

import shiftable as sh
from shiftable.auditing.motions import make_motion
from shiftable.auditing.motions.stage import Place, Window
from shiftable.auditing.objects.masks import aligned, mean_iou
from shiftable.auditing.objects.tallies import error_by_phase, worst_pairs
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample, shapes
from shiftable.errors import InputError
from shiftable.models import Preprocessing


def true_mask(taken, dtype=np.int64):
    """The class of every pixel of the view, by the world's own mask; the background is 0."""
    scene = SCENES[taken.image]
    whole = np.where(shapes.mask(scene, SIZE) > 0.5, scene.label + 1, 0)
    y, x = (
        np.floor(start + (np.arange(count) + 0.5) * extent / count).astype(int).clip(0, side - 1)
        for start, extent, count, side in zip(taken.window[:2], taken.window[2:], VIEW, SIZE, strict=True)
    )
    return whole[np.ix_(y, x)].astype(dtype)


@pytest.mark.parametrize(("motion", "crop"), [("crop", "center"), ("camera", "center"), ("crop", "letterbox")])
@pytest.mark.parametrize("walk", ["sweep", "pairs", "grid"])
def test_true_masks_are_steady(motion, crop, walk):
    options = {"sweep": {"steps": 5, "direction": "diagonal"}, "pairs": {"walks": 2}, "grid": {"radius_px": 1}}[walk]
    see = oracle(motion, crop, shape=walk, **options)
    audit = sh.audit(answering(see, true_mask, "segment", crop), SAMPLES, motion=motion, walk=walk, **options)
    if motion == "camera":  # views are enlarged: a pixel's centre falls between others', at corners of a shape
        assert audit.metrics["pixels_changed"].value < 0.001
        assert audit.metrics["miou"].value > 0.99
    else:
        assert audit.metrics["pixels_changed"].value == 0
        assert audit.metrics["miou"].value == 1
    assert audit.controls["still"]["pixels_changed"].value == 0
    assert "thresholds" not in audit.model
    assert not (audit.folder / "objects").exists()


def test_a_mask_of_the_world_moved_by_whole_pixels_agrees_with_itself():
    """The world's own masks of moved views, not one mask cut out twice."""
    scene, still = SCENES[0], Window(0.0, 0.0, *map(float, SIZE))
    for dy, dx in [(1, 0), (0, 3), (-2, 5)]:
        one, two = (shapes.mask(scene, SIZE, *place) > 0.5 for place in ((0, 0), (dy, dx)))
        old, new = aligned(one.astype(int), two.astype(int), still, still._replace(y=float(-dy), x=float(-dx)))
        assert old.shape == (SIZE[0] - abs(dy), SIZE[1] - abs(dx))
        assert (old == new).all()
        assert mean_iou(old, new) == 1


def test_flipped_pixels_are_counted_one_by_one():
    see = oracle(steps=5)
    flipped = [(12, 7), (20, 30), (33, 40)]  # none leaves the view by a step up or down

    def say(taken):
        mask = true_mask(taken)
        if taken.place.dy == 1:
            for at in flipped:
                mask[at] = 15
        return mask

    audit = sh.audit(answering(see, say, "segment"), SAMPLES, steps=5)
    common = (VIEW[0] - 1) * VIEW[1]
    for row in rows(audit.folder, "predictions"):
        if row["control"] is not None or row["step"] == 0:
            continue
        assert row["pixels"] == common
        assert row["changed"] == (3 if row["step"] in (3, 4) else 0)
        assert (row["miou"] == 1) == (row["step"] in (1, 2))
    changed = audit.metrics["pixels_changed"]
    assert changed.value == 6 / (4 * common)
    assert changed.pairs == COUNT * 4 * common
    assert {(pair.step, pair.change) for pair in worst_pairs(audit.folder, 99)} == {(3, 3 / common), (4, 3 / common)}
    phases = error_by_phase(audit.folder, 8)["pixels_changed"]
    assert [found and found.value for found in phases] == [3 / common, 3 / common, *4 * [None], 0, 0]


masks = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).integers(0, 4, (9, 7)))


@given(masks, masks)
def test_mean_iou_agrees_with_a_naive_loop(before, after):
    shares = []
    for label in range(4):
        one, two = {tuple(at) for at in np.argwhere(before == label)}, {tuple(at) for at in np.argwhere(after == label)}
        if one | two:
            shares.append(len(one & two) / len(one | two))
    assert mean_iou(before, after) == pytest.approx(np.mean(shares))


@settings(max_examples=50)
@given(masks, masks, st.integers(-9, 9), st.integers(-7, 7), st.sampled_from([1.0, 1 / 3, 2.7]))
def test_whole_pixels_are_slices(before, after, down, right, px):
    """Whatever a pixel of the view is worth in the scene."""
    was = Window(13.7, 5.1, 9 * px, 7 * px)
    old, new = aligned(before, after, was, was._replace(y=13.7 + down * px, x=5.1 + right * px))
    assert np.array_equal(old, before[max(0, down) : 9 + min(0, down), max(0, right) : 7 + min(0, right)])
    assert np.array_equal(new, after[max(0, -down) : 9 + min(0, -down), max(0, -right) : 7 + min(0, -right)])


def test_between_pixels_the_nearest_is_taken_of_other_classes():
    before, after = np.arange(4)[None], np.arange(4)[None] + 10
    was = Window(0.0, 0.0, 1.0, 4.0)
    for offset, low, high in [(0.4, 0, 3), (0.6, 1, 4), (1.4, 1, 3), (-0.4, 1, 4), (-0.6, 0, 3)]:
        old, _ = aligned(before, after, was, was._replace(x=offset))
        assert old.tolist() == [list(range(low, high))]
    half, whole = aligned(before, after[:, :2], was, was)  # the later mask is coarser
    assert (half.tolist(), whole.tolist()) == ([[1, 3]], [[10, 11]])
    nothing, _ = aligned(before, after, was, was._replace(x=5.0))
    assert nothing.size == 0
    assert np.isnan(mean_iou(nothing, nothing))


def by_colour(views):
    """A segmenter that looks at every pixel alone."""
    return (views[..., 0] // 26).astype(np.int64)


def coloured(size, count=4):
    """Scenes of blocks of 8 px."""
    found = []
    for seed in range(count):
        blocks = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 1), dtype=np.uint8)
        picture = np.repeat(blocks.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]], 3, axis=2)
        found.append(Sample(str(seed), None, lambda picture=picture: picture))
    return found


@pytest.mark.parametrize(
    ("motion", "size", "direction"),
    [("camera", (72, 40), "vertical"), ("camera", (40, 72), "horizontal"), ("crop", (64, 40), "vertical")],
)
def test_the_bars_of_a_letterbox_are_not_compared(motion, size, direction):
    model = Answerer(by_colour, (64, 64), Preprocessing(crop="letterbox"), task="segment")
    audit = sh.audit(model, coloured(size), motion=motion, steps=9, direction=direction)
    assert audit.metrics["pixels_changed"].value == 0
    assert audit.metrics["miou"].value == 1
    moved = [row for row in rows(audit.folder, "predictions") if row["step"] and row["control"] is None]
    # a frame of 64 × 40 px, less the row that only one of two shows; the crop's picture is cut by the view itself
    assert {row["pixels"] for row in moved} == (
        {63 * 40} if motion == "camera" else {60 * 40, 61 * 40, 62 * 40, 63 * 40}
    )
    still = [row for row in rows(audit.folder, "predictions") if row["step"] and row["control"] == "still"]
    assert {row["pixels"] for row in still} == {64 * 40}


@pytest.mark.parametrize(
    ("motion", "preprocessing", "options"),
    [
        ("camera", Preprocessing(resize_px=(64, 64), resampler="nearest"), {}),
        ("scale", Preprocessing(resize_px=80, resampler="nearest"), {}),
        ("subpixel", Preprocessing(resize_px=80, resampler="nearest"), {}),
    ],
)
def test_looking_between_the_pixels_changes_no_class(motion, preprocessing, options):
    """Exact classes at the pixels' centres: a straight border may lie anywhere between them, and yet stands still."""
    see = oracle_of(motion, preprocessing)

    def halves(taken):
        y, x = (
            start + (np.arange(64) + 0.5) * extent / 64
            for start, extent in zip(taken.window[:2], taken.window[2:], strict=True)
        )
        return np.digitize(0.4 * y[:, None] + x, [50, 71.3])

    def answer(views):
        return np.stack([halves(see(view)) for view in views])

    model = Answerer(answer, (64, 64), preprocessing, task="segment")
    audit = sh.audit(model, coloured((140, 128)), motion=motion, steps=9, controls=False, **options)
    assert audit.metrics["pixels_changed"].value == 0
    assert audit.metrics["pixels_changed"].pairs > 4 * 8 * 60 * 60
    assert audit.metrics["miou"].value == 1


def oracle_of(motion, preprocessing):
    """Who knows all views of `coloured`, for any preprocessing."""
    show = Show(make_motion(motion), make_walk(steps=9, axes=make_motion(motion).axes), preprocessing, (64, 64))
    known = {}
    for image, sample in enumerate(coloured((140, 128))):
        shown = show(image, sample)
        for view, window in zip(shown.views, shown.windows, strict=True):
            known[view.tobytes()] = Taken(image, Place(), window)
    return Oracle(known)


def test_what_none_of_the_pixels_around_is_has_changed():
    before = np.zeros((4, 4), int)
    before[1, 1] = 5
    was = Window(0.0, 0.0, 4.0, 4.0)
    after = np.zeros((4, 4), int)
    after[2, 2], after[0, 0] = 7, 5
    old, new = aligned(before, after, was, was._replace(y=0.5, x=0.5))
    # a 5 is around (0, 0) and was nearest, or not, to its neighbours: those are 0 and have a 0 around, too
    assert (old != new).sum() == 1
    assert (old[2, 2], new[2, 2]) == (0, 7)
    assert old.shape == (3, 3)


def test_classes_with_large_numbers_are_counted_without_the_gaps():
    one, two = np.array([[0, 0, 2**31 - 1, 9]]), np.array([[0, 0, 2**31 - 1, 2**30]])
    assert mean_iou(one, two) == 0.5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda views: np.zeros((len(views), *VIEW)), "float64"),
        (
            lambda views: np.zeros((len(views), 21), int),
            "an array of 21 int64 for a view of 40×48 px.*a class per pixel",
        ),
        (lambda views: np.full((len(views), *VIEW), -1), "class -1"),
        (lambda views: np.full((len(views), *VIEW), 2**31), "class 2147483648"),
        (lambda views: np.zeros((1, *VIEW), int), "4 views got 1 answers"),
    ],
)
def test_answers_that_are_no_masks_are_refused(answer, message):
    with pytest.raises(InputError, match=message):
        sh.audit(Answerer(answer, task="segment", preprocessing=PREPROCESSING["center"]), SAMPLES, steps=3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_any_whole_numbers_will_do(dtype):
    see = oracle(steps=3)
    model = answering(see, lambda taken: true_mask(taken, dtype) + dtype(200) * (taken.image == 1), "segment")
    assert sh.audit(model, SAMPLES, steps=3).metrics["miou"].value == 1


def test_segmenters_have_no_thresholds():
    with pytest.raises(InputError, match="--match-threshold: is for detectors, this model's task is segment"):
        sh.audit(answering(oracle(steps=3), true_mask, "segment"), SAMPLES, match_threshold=0.3)


def test_interrupted_and_started_again_it_gives_the_same_file(tmp_path):
    samples = shapes.samples(20, size=SIZE)

    def noisy(views):
        return (views[..., 0] // 100).astype(np.int64)

    shown = 0

    def dying(views):
        nonlocal shown
        shown += len(views)
        if shown > 120:
            raise KeyboardInterrupt
        return noisy(views)

    def run(answer, out):
        model = Answerer(answer, task="segment", preprocessing=PREPROCESSING["center"])
        return sh.audit(model, samples, motion="camera", steps=9, out=out)

    whole = run(noisy, tmp_path / "whole")
    assert whole.metrics["pixels_changed"].value > 0
    with pytest.raises(KeyboardInterrupt):
        run(dying, tmp_path / "parts")
    assert list((tmp_path / "parts" / "predictions").iterdir())
    run(noisy, tmp_path / "parts")
    assert (tmp_path / "parts" / "audit.json").read_bytes() == (tmp_path / "whole" / "audit.json").read_bytes()
