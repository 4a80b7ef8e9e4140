"""A crop with a memory keeps hold of one place from frame to frame: in a transform and in audits of videos."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeModel, hashed
from test_crop_selection import SMALL, VIEW, scene

import shiftable as sh
from shiftable.data.video import read_frames
from shiftable.models import Preprocessing
from shiftable.models.crop_following import Follower, frame_viewer
from shiftable.models.crop_selection import select
from shiftable.models.preprocessing import deployed_view
from shiftable.repairing import StableCrop, with_stable_crop


def test_a_followed_place_is_kept_until_it_leaves_the_range():
    big = scene((60, 400), seed=4)
    frames = [big[:46, x : x + 54] for x in range(0, 300)]
    crop = StableCrop(VIEW, (46, 54), SMALL)
    chosen = list(map(Follower(SMALL, (46, 54), VIEW, reach_px=2), frames))
    places = [x + each.left for x, each in enumerate(chosen)]
    moved = np.mean(np.diff(places) != 0)
    alone = [x + crop.choose(frame).left for x, frame in enumerate(frames)]
    assert moved < np.mean(np.diff(alone) != 0) + 0.1
    for x, (frame, each) in enumerate(zip(frames, chosen, strict=True)):
        assert 0 <= each.left <= 6, x
        assert crop.cut(frame, each).shape == (*VIEW, 3)


def test_following_ignores_a_stronger_place_that_enters():
    frame, roomy = scene((52, 60), seed=4) // 2 + 40, replace(SMALL, room_px=12)
    crop = StableCrop(VIEW, (52, 60), roomy)
    (first,) = crop.follow([frame])
    stronger = frame.copy()
    # a bright spot at another place of the crop's range, away from what is held
    row, column = (first.top + 6) % 13 + 20, (first.left + 6) % 13 + 24
    stronger[row - 1 : row + 2, column - 1 : column + 2] = 255
    forgetful = select(stronger, replace(roomy, rule="local-maximum"), (52, 60), VIEW)
    assert list(crop.follow([frame, stronger, frame])) == [first] * 3
    assert forgetful[:2] != first[:2]


def test_a_frame_without_texture_keeps_the_centre():
    grey = np.full((46, 54, 3), 50, np.uint8)
    chosen = list(StableCrop(VIEW, (46, 54), SMALL).follow([grey, scene((46, 54)), grey]))
    assert [each.found for each in chosen] == [False, True, False]
    assert chosen[0][:2] == (3, 3)


def test_a_letterboxed_picture_is_followed_as_well():
    big = scene((60, 400), seed=4)
    letterbox = replace(SMALL, letterbox=True)
    follower = Follower(letterbox, 46, VIEW, reach_px=2)
    chosen = [follower(big[:50, x : x + 60]) for x in range(100)]
    assert np.mean(np.diff([x + each.left for x, each in enumerate(chosen)]) != 0) < 0.4
    for each in chosen:
        assert each.left <= 0
        assert each.left + each.width >= 60


def test_a_still_image_is_shown_alike_whether_followed_or_not():
    image, alone = scene((92, 120)), Preprocessing(46, crop=SMALL)
    followed = replace(alone, crop=replace(SMALL, follow=True))
    np.testing.assert_array_equal(deployed_view(image, followed, VIEW), deployed_view(image, alone, VIEW))
    first, held = frame_viewer(followed, VIEW)(image)
    assert held
    assert first.shape == (*VIEW, 3)
    centred = Preprocessing(46)
    np.testing.assert_array_equal(frame_viewer(centred, VIEW)(image)[0], deployed_view(image, centred, VIEW))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A camera that moves over a scene, and at last sees nothing."""
    pytest.importorskip("av", reason="PyAV (the extra video) is not installed")
    from test_video import write_clip

    big = scene((92, 300), seed=4)
    frames = [big[:, x : x + 120] for x in range(24)] + [np.full((92, 120, 3), 60, np.uint8)] * 6
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", frames)


@pytest.mark.parametrize("follow", [False, True])
def test_an_audit_of_a_video_is_shown_what_a_plain_loop_shows(clip, follow):
    model = with_stable_crop(FakeModel(hashed, VIEW, Preprocessing(46), scores="logits"), room_px=6, follow=follow)
    audit = sh.audit(model, clip, motion="video")
    viewer = frame_viewer(model.preprocessing, VIEW)
    shown = [viewer(frame.picture) for frame in read_frames(clip)]
    answers = [int(hashed(view[None]).argmax()) for view, _ in shown]
    top1 = [row["top1"] for part in sh.read_parts(audit.folder) for row in part.of(None).table.to_pylist()]
    assert top1 == answers
    count = sum(not held for _, held in shown)
    assert 6 <= count < 24
    assert f"{count} of 30 frames have nothing to hold on to: their centre is kept" in audit.warnings
    assert sh.read_audit(audit.folder).model["preprocessing"]["crop"]["follow"] is follow
    if follow:
        alone = [deployed_view(frame.picture, model.preprocessing, VIEW) for frame in read_frames(clip)]
        assert any((view != other).any() for (view, _), other in zip(shown, alone, strict=True))
