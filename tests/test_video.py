"""Videos: what is read is what was written, and an audit of one is what a plain loop over its frames gives."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram

import shiftable as sh
from shiftable.auditing.metrics import METRICS, choose_metrics, estimate, pm_k
from shiftable.auditing.predictions import Predictions, Row, tabulate
from shiftable.auditing.videos import frames as video_frames
from shiftable.auditing.videos import tables as video_tables
from shiftable.auditing.videos.audit import audit_video
from shiftable.auditing.videos.frames import ahead
from shiftable.auditing.videos.results import MOVEMENT_PX, movement_table
from shiftable.data.shapes import draw_scene, render
from shiftable.data.video import BY_PLANES, find_videos, probe, read_frames, read_video_labels
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import deployed_view

av = pytest.importorskip("av", reason="PyAV (the extra video) is not installed")

SIZE = (48, 64)
MODEL = FakeModel(hashed, (8, 8), Preprocessing(resize_px=16), scores="logits")


def write_clip(path, frames, fps=20, codec="libx264", **options):
    """A video of pictures of one size, nearly lossless."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("form", sorted(BY_PLANES))
@pytest.mark.parametrize("size", [(48, 64), (97, 131)])
def test_levels_do_not_depend_on_the_way_of_converting_them(form, size):
    height, width = size
    frame, bytes_a_level = av.VideoFrame(width, height, form), 2 if form.endswith("10le") else 1
    rng = np.random.default_rng(0)
    for plane in frame.planes:
        noise = rng.integers(0, 1024 if bytes_a_level == 2 else 256, plane.buffer_size // bytes_a_level)
        plane.update(noise.astype(f"<u{bytes_a_level}").tobytes())
    pixels, planes = (frame.reformat(format=shape).to_ndarray() for shape in ("rgb24", "gbrp"))
    np.testing.assert_array_equal(pixels, planes)


def moving(count, size=SIZE, seed=0, dx=0.4, dy=0.1):
    """A scene that slides by, with exact shifts."""
    scene = draw_scene(seed, size=size)
    return [render(scene, size, dy=dy * number, dx=dx * number) for number in range(count)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three videos of differing length and rate, in a folder."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.mp4", moving(50, seed=1))
    write_clip(folder / "b.mkv", moving(33, seed=2, dx=1.5), fps=10)
    write_clip(folder / "c.mp4", [moving(1, seed=3)[0]] * 20 + moving(10, seed=3), fps=25)
    return folder


def rows_of(audit, control=None):
    return [row for part in sh.read_parts(audit.folder) for row in part.of(control).table.to_pylist()]


# Reading


def test_frames_are_those_that_were_written_in_order_and_on_time(tmp_path):
    frames = moving(30)
    found = list(read_frames(write_clip(tmp_path / "clip.mp4", frames, fps=12)))
    assert [frame.number for frame in found] == list(range(30))
    assert [frame.time_s for frame in found] == pytest.approx([number / 12 for number in range(30)])
    for frame, picture in zip(found, frames, strict=True):
        assert frame.picture.shape == (*SIZE, 3)
        assert frame.picture.dtype == np.uint8
        assert np.abs(frame.picture.astype(int) - picture).mean() < 3


def test_a_file_says_what_it_holds(tmp_path):
    found = probe(write_clip(tmp_path / "clip.mp4", moving(30), fps=12))
    assert (found.fps, found.size, found.frames) == (12, SIZE, 30)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_turned_camera_is_turned_back(tmp_path, matrix, turns):
    path = write_clip(tmp_path / "clip.mp4", moving(3))
    (plain, *_) = read_frames(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the track's matrix: a b u c d v x y w, 16.16 fixed point
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[at + place : at + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    (turned, *_) = read_frames(path)
    np.testing.assert_array_equal(turned.picture, np.rot90(plain.picture, turns))
    assert turned.picture.flags.c_contiguous


def test_only_videos_of_a_folder_are_found_in_order(clips, tmp_path):
    assert [video.id for video in find_videos(clips)] == ["a.mp4", "b.mkv", "c.mp4"]
    assert [video.id for video in find_videos(clips / "b.mkv")] == ["b.mkv"]
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / "note.txt").touch()
    with pytest.raises(InputError, match="no videos among 1 files"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_videos(tmp_path / "none")


def _sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _other_size(path):
    for number, size in enumerate((SIZE, (64, 48))):
        write_clip(path.with_name(f"{number}.h264"), moving(5, size))
    path.write_bytes(b"".join(path.with_name(f"{number}.h264").read_bytes() for number in range(2)))


def _cut(path, **options):
    write_clip(path, moving(40), **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def _no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        container.mux(stream.encode())


UNUSABLE = {
    "text": ("clip.mp4", lambda path: path.write_text("hello, " * 100), "no readable video"),
    "empty": ("clip.mp4", lambda path: path.touch(), "no readable video"),
    "absent": ("clip.mp4", lambda path: None, "no such file"),
    "picture": ("clip.png", lambda path: av.VideoFrame.from_ndarray(moving(1)[0]).to_image().save(path), "a picture"),
    "sound": ("clip.m4a", _sound, "no video in it"),
    "size": ("clip.h264", _other_size, "frame 5 is 48×64 px, those before are 64×48 px"),
    "cut mp4": ("clip.mp4", lambda path: _cut(path, movflags="faststart"), r"damaged or cut short at frame \d+"),
    "cut mp4, index at its end": ("clip.mp4", _cut, "no readable video"),
    "cut mkv": ("clip.mkv", _cut, r"damaged or cut short at frame \d+ \(.* s are missing\)"),
    "no frames": ("clip.mp4", _no_frames, "no "),
}


@pytest.mark.parametrize(("name", "make", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_whole_video_is_one_clear_line(tmp_path, capfd, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        list(read_frames(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    assert capfd.readouterr() == ("", "")  # FFmpeg keeps quiet as well


def test_of_a_file_that_was_cut_all_whole_frames_come_before_the_error(tmp_path):
    path = tmp_path / "clip.mp4"
    _cut(path, movflags="faststart")
    seen = []
    with pytest.raises(InputError) as caught:
        seen.extend(frame.number for frame in read_frames(path))  # a list grows as far as it comes
    numbers = []
    try:
        for frame in read_frames(path):
            numbers.append(frame.number)
    except InputError:
        pass
    assert numbers == list(range(len(numbers)))
    assert f"at frame {len(numbers)} " in str(caught.value)


def test_without_pyav_the_extra_is_named():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from shiftable.data.video import read_frames\n"
        "try: next(read_frames('x.mp4'))\n"
        "except Exception as error: print(error)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "pip install 'shiftable[video]'" in said


def test_memory_does_not_grow_with_length(tmp_path):
    frames = moving(20)
    paths = [write_clip(tmp_path / f"{count}.mp4", frames * (count // 20)) for count in (140, 240)]
    model, peaks = FakeModel(histogram, (64, 64), Preprocessing(resize_px=64)), []
    audit_video(model, paths[0])  # imports and caches
    for path in paths:
        tracemalloc.start()
        audit_video(model, path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100 * 3000  # a view is 12 kB, a picture 9 kB


# The audit


def _naive(path, label=None, k=2):
    """Metrics of one video by a plain loop over its frames."""
    times, scores = [], []
    for frame in read_frames(path):
        view = deployed_view(frame.picture, MODEL.preprocessing, MODEL.view_size)
        scores.append(hashed(view[None])[0].astype(np.float32).astype(float))
        times.append(frame.time_s)
    p = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in scores]
    top = [int(row.argmax()) for row in scores]
    pairs = list(pairwise(range(len(top))))
    right = [one == label for one in top]
    change = [top[a] != top[b] for a, b in pairs]
    return {
        "p_top1_change": np.mean(change),
        "mac": np.mean([abs(p[a][top[a]] - p[b][top[a]]) for a, b in pairs]),
        "flips_per_second": sum(change) / (times[-1] - times[0]),
        "flips_per_minute": 60 * sum(change) / (times[-1] - times[0]),
        "accuracy": np.mean(right),
        "pm_k": np.mean([all(right[max(0, at - k) : at + k + 1]) for at in range(len(right))]),
    }


def test_one_video_is_what_a_plain_loop_gives(clips):
    path = clips / "a.mp4"
    audit = audit_video(MODEL, path, labels={"a.mp4": 4}, pm_k=2)
    for name, value in _naive(path, 4).items():
        assert audit.metrics[name].value == pytest.approx(value, abs=1e-9), name
    assert set(choose_metrics("frames", True)) - set(audit.metrics) <= {"change_if_right"}  # absent: never right
    rows = rows_of(audit)
    assert [row["frame"] for row in rows] == [row["step"] for row in rows] == list(range(50))
    assert {(row["walk"], row["dy"], row["dx"], row["ref"]) for row in rows} == {(0, 0, 0, rows[0]["top1"])}
    assert audit.images | {"sha256": None} == {
        "source": str(path), "listed": 1, "count": 1, "labelled": 1, "sha256": None, "skipped": [], "frames": 50,
        "fps": 20, "seconds": 2.5,
    }  # fmt: skip
    assert audit.walk == {"shape": "frames"}
    assert audit.motion["name"] == "video"
    assert any("one video" in warning for warning in audit.warnings)


def test_several_videos_are_their_mean_and_intervals_are_over_videos(clips):
    audit = audit_video(MODEL, clips, labels={"a.mp4": 4, "b.mkv": 4, "c.mp4": 4}, pm_k=2)
    naive = [_naive(clips / name, 4) for name in ("a.mp4", "b.mkv", "c.mp4")]
    for name in naive[0]:
        assert audit.metrics[name].value == pytest.approx(np.mean([one[name] for one in naive])), name
        assert audit.metrics[name].images == 3
    assert audit.metrics["flips_per_minute"].pairs == audit.metrics["p_top1_change"].pairs == 49 + 32 + 29
    assert not any("one video" in warning for warning in audit.warnings)
    assert 0 <= audit.metrics["flips_per_second"].low <= audit.metrics["flips_per_second"].high <= 25


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_table_does_not_depend_on_batches_and_pieces(clips, monkeypatch, chunk):
    whole = rows_of(audit_video(MODEL, clips / "a.mp4"))
    monkeypatch.setattr(video_tables, "CHUNK", chunk)
    assert rows_of(audit_video(MODEL, clips / "a.mp4", batch_size=3)) == whole


def test_rows_say_how_far_the_picture_moved_in_pixels_of_the_view(clips):
    model = FakeModel(histogram, (24, 24), Preprocessing(resize_px=24))  # half of the frame's 48
    first, *rows = rows_of(audit_video(model, clips / "a.mp4"))
    assert (first["moved_px"], first["moved_y"], first["residual"], first["first_p"]) == (None, None, None, None)
    assert np.median([row["moved_x"] for row in rows]) == pytest.approx(0.2, abs=0.03)
    assert np.median([row["moved_y"] for row in rows]) == pytest.approx(0.05, abs=0.03)
    for row in rows:
        assert row["moved_px"] == pytest.approx(np.hypot(row["moved_y"], row["moved_x"]))
        assert row["residual"] < 10
        assert row["first_p"] is not None


def test_what_did_not_move_is_a_control_and_absent_where_everything_moves(clips):
    still = audit_video(MODEL, clips / "c.mp4")
    assert still.controls["unmoved"]["p_top1_change"].pairs >= 15
    assert "unmoved" not in audit_video(MODEL, clips / "b.mkv").controls
    assert audit_video(MODEL, clips / "c.mp4", controls=False).controls == {}


def test_controls_are_shown_about_once_a_second(clips):
    audit = audit_video(MODEL, clips / "a.mp4")
    for control, each in (("still", 1), ("grey", 2), ("jpeg", 1)):
        rows = rows_of(audit, control)
        assert sorted({row["frame"] for row in rows}) == [0, 20, 40]
        assert [row["step"] for row in rows] == [0, 1] * 3 * each
        assert len({row["walk"] for row in rows}) == 3 * each
        assert audit.controls[control]["mac"].pairs == 3 * each
    assert audit.controls["still"]["p_top1_change"].value == audit.controls["still"]["mac"].value == 0
    shown = {row["frame"]: row for row in rows_of(audit)}
    for row in rows_of(audit, "jpeg")[::2]:
        assert row["top1_p"] == shown[row["frame"]]["top1_p"]
        assert row["ref"] == shown[0]["ref"]


def test_stopped_and_started_again_finished_videos_are_not_decoded_again(clips, tmp_path, monkeypatch):
    whole = audit_video(MODEL, clips, out=tmp_path / "whole")
    views = 0

    def dying(batch):
        nonlocal views
        views += len(batch)
        if views > 100:
            raise KeyboardInterrupt
        return hashed(batch)

    with pytest.raises(KeyboardInterrupt):
        audit_video(replace(MODEL, answer=dying), clips, out=tmp_path / "parts")
    assert [path.name for path in sorted((tmp_path / "parts" / "predictions").iterdir())] == ["part-00000.parquet"]
    opened = []

    def noted(path):
        opened.append(path.name)
        return read_frames(path)

    monkeypatch.setattr(video_frames, "read_frames", noted)
    told = []
    again = audit_video(MODEL, clips, out=tmp_path / "parts", progress=lambda done, total: told.append((done, total)))
    assert opened == ["b.mkv", "c.mp4"]
    for name in ("audit.json", "smoothing.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert rows_of(again) == rows_of(whole)
    assert told[0] == (50, 113)
    assert told[-1] == (113, 113)
    assert told == sorted(told)
    with pytest.raises(InputError, match="holds another audit"):
        audit_video(MODEL, clips, out=tmp_path / "parts", pm_k=3)
    with pytest.raises(InputError, match="begun with batch size 4"):
        audit_video(MODEL, clips, out=tmp_path / "parts", batch_size=9)


def test_one_bad_video_is_left_out_and_named(clips, tmp_path):
    for name in ("a.mp4", "c.mp4"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    _cut(tmp_path / "b.mp4", movflags="faststart")
    write_clip(tmp_path / "d.mp4", moving(1))
    audit = audit_video(MODEL, tmp_path)
    assert [entry["image"] for entry in audit.images["skipped"]] == ["b.mp4", "d.mp4"]
    assert "damaged or cut short at frame" in audit.images["skipped"][0]["reason"]
    assert "a single frame" in audit.images["skipped"][1]["reason"]
    assert audit.images["count"] == 2
    assert any("2 of 4 videos were skipped: b.mp4" in warning for warning in audit.warnings)
    assert str(tmp_path) not in json.dumps(audit.images["skipped"])
    with pytest.raises(InputError, match=r"^b.mp4: damaged or cut short"):
        audit_video(MODEL, tmp_path, strict=True)
    with pytest.raises(InputError, match="damaged or cut short"):
        audit_video(MODEL, tmp_path / "b.mp4")


def test_labels_of_videos_and_of_frames(clips, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,class_index,name\n" + "".join(f"{name},4,x\n" for name in ("a.mp4", "b.mkv", "c.mp4")))
    of_videos = audit_video(MODEL, clips, labels=table)
    assert {row["label"] for row in rows_of(of_videos)} == {4}
    assert of_videos.images["labelled"] == 3
    table.write_text("file,frame,class_index\n" + "".join(f"a.mp4,{at},{at % 3}\n" for at in range(10, 40)))
    of_frames = rows_of(audit_video(MODEL, clips / "a.mp4", labels=table))
    assert [row["label"] for row in of_frames] == [at % 3 if 10 <= at < 40 else None for at in range(50)]
    plain = rows_of(audit_video(MODEL, clips / "a.mp4"))
    unlabelled = {"label", "label_p", "label_rank"}
    for one, other in zip(of_frames, plain, strict=True):
        assert {k: v for k, v in one.items() if k not in unlabelled} == {
            k: v for k, v in other.items() if k not in unlabelled
        }
    assert read_video_labels(table)[1]["a.mp4"][11] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,frame,class_index\na.mp4,1,2\na.mp4,1,3\n", "frame 1 of a.mp4 is there twice"),
        ("file,frame,class_index\na.mp4,x,2\n", "no whole numbers"),
        ("file,frame,class_index\na.mp4,0,99\n", "label 99 of a.mp4, frame 0 is out of range"),
        ("file,frame,class_index\nz.mp4,0,1\n", "the labels are for other files"),
        ("file,class_index\nz.mp4,1\n", "the labels are for other files"),
        ("file,class_index\na.mp4,99\n", "label 99 of a.mp4 is out of range"),
        ("file,frame,class_index\n", "no rows"),
    ],
)
def test_labels_that_fit_nothing_are_refused(clips, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        audit_video(MODEL, clips / "a.mp4", labels=tmp_path / "labels.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_first_frames_alone(clips):
    few = audit_video(MODEL, clips / "a.mp4", count=12)
    assert few.images["frames"] == 12
    assert rows_of(few) == rows_of(audit_video(MODEL, clips / "a.mp4"))[:12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": replace(MODEL, task="detect")}, "videos are shown to classifiers so far, not for the task detect"),
        ({"model": replace(MODEL, task="embed")}, "not for the task embed"),
        ({"pm_k": -1}, "pm_k can't be -1"),
        ({"count": 1}, "1 frames hold no pair"),
        ({"metrics": ["jaggedness"]}, "jaggedness is not defined on the frames of a video"),
        ({"metrics": ["pm_k"]}, "pm_k needs labels"),
        ({"videos": []}, "there are no videos"),
    ],
)
def test_what_can_not_be_asked_is_refused(clips, options, message):
    with pytest.raises(InputError, match=message):
        audit_video(**{"model": MODEL, "videos": clips / "a.mp4", **options})


def test_an_error_of_the_model_is_not_the_videos_fault(clips):
    def failing(views):
        raise InputError("the server is gone")

    grey = lambda views: hashed(views) if len(views) == 1 else failing(views)  # noqa: E731
    with pytest.raises(InputError, match="the server is gone"):
        audit_video(replace(MODEL, answer=grey), clips / "a.mp4")
    nan = lambda views: hashed(views) * (np.nan if len(views) > 1 else 1)  # noqa: E731
    with pytest.raises(InputError, match="the model answers NaN"):
        audit_video(replace(MODEL, answer=nan), clips / "a.mp4")


def test_a_model_that_can_not_change_is_exactly_still(clips):
    audit = audit_video(FakeModel(lambda views: np.tile([0.2, 0.8], (len(views), 1))), clips)
    for name, metric in METRICS.items():
        if name in audit.metrics and metric.stable_is is not None:
            assert audit.metrics[name].value == metric.stable_is, name


# Beside it


def test_smoothing_is_told_beside_the_model(clips, tmp_path):
    audit = audit_video(MODEL, clips, labels={"a.mp4": 4, "b.mkv": 5, "c.mp4": 6}, out=tmp_path)
    rows = json.loads((tmp_path / "smoothing.json").read_text())["rows"]
    assert rows[0]["name"] == "raw"
    assert rows[0]["setting"] == {}
    assert rows[0]["delay_frames"] == rows[0]["delay_s"] == 0
    for name in ("flips_per_minute", "accuracy", "pm_k"):
        assert rows[0][name] == audit.metrics[name].to_json()
    hold = {row["setting"]["hold_frames"]: row for row in rows if row["name"] == "hold"}
    for frames, row in hold.items():
        assert row["delay_frames"] == pytest.approx(frames - 1)
        assert (frames - 1) / 25 <= row["delay_s"] <= (frames - 1) / 10
        assert row["flips_per_minute"]["value"] < rows[0]["flips_per_minute"]["value"]
    assert all(row["steps"] > 0 and row["never"] <= row["steps"] for row in rows)
    none = audit_video(MODEL, clips, smoothing=False)
    assert not (none.folder / "smoothing.json").exists()
    assert none.metrics["mac"] == audit.metrics["mac"]


def test_movement_and_change_are_told_together(clips):
    audit = audit_video(MODEL, clips)
    table, rows = movement_table(audit.folder), rows_of(audit)
    assert sum(row["pairs"] for row in table) == audit.metrics["p_top1_change"].pairs
    for low, high, row in zip(MOVEMENT_PX[:-1], MOVEMENT_PX[1:], table, strict=True):
        inside = [
            one["top1"] != before["top1"]
            for before, one in pairwise(rows)
            if one["moved_px"] is not None and low <= one["moved_px"] < high
        ]
        assert row["pairs"] == len(inside)
        assert row["p_top1_change"] == (pytest.approx(np.mean(inside)) if inside else None)


def _answered(right, labels=None):
    """A table of one video from what was right; class 0 is the label, class 1 the wrong one."""
    tables = []
    for number, one in enumerate(right):
        rows = [Row(None, 0, at, 0, 0, at, time_s=at / 10) for at in range(len(one))]
        scores = np.stack([np.asarray(one, float), 1 - np.asarray(one, float)], axis=1)
        tables.append(tabulate(f"v{number}", rows, scores, "probabilities", 0))
    import pyarrow as pa

    return Predictions(pa.concat_tables(tables), 2)


@pytest.mark.parametrize("k", [0, 1, 3, 10])
def test_pm_k_is_what_a_plain_loop_gives(k):
    rng = np.random.default_rng(k)
    right = [rng.random(count) < 0.9 for count in (40, 3, 1, 25)]
    top, bottom = pm_k(_answered(right), k)
    naive = [sum(one[max(0, at - k) : at + k + 1].all() for at in range(len(one))) for one in right]
    assert top.tolist() == naive
    assert bottom.tolist() == [len(one) for one in right]


def test_frequencies_are_shares_by_the_clock():
    right = np.random.default_rng(0).random((6, 101)) < 0.8
    table = _answered(right)
    share = estimate("p_top1_change", [METRICS["p_top1_change"].of(table)])
    second = estimate("flips_per_second", [METRICS["flips_per_second"].of(table)], most=10.0)
    minute = estimate("flips_per_minute", [METRICS["flips_per_minute"].of(table)], most=600.0)
    for end in ("value", "low", "high"):
        assert getattr(second, end) == pytest.approx(10 * getattr(share, end))
        assert getattr(minute, end) == pytest.approx(600 * getattr(share, end))
    assert np.isnan(estimate("flips_per_second", [METRICS["flips_per_second"].of(table)]).low)


def test_items_made_ahead_are_the_same_and_so_are_their_errors():
    def count(to):
        try:
            yield from range(to)
            raise InputError("over")
        finally:
            closed.append(to)

    closed = []
    for depth in (1, 5):
        made = ahead(count(20), depth)
        assert [next(made) for _ in range(20)] == list(range(20))
        with pytest.raises(InputError, match="over"):
            next(made)
    made = ahead(count(1000), 2)
    next(made)
    made.close()
    assert closed == [20, 20, 1000]


def test_the_cockatoo(shared):
    """280 frames, twice the same; nearly nothing of it stands still."""
    model = FakeModel(histogram, (64, 64), Preprocessing(resize_px=64))
    audit = audit_video(model, shared / "data" / "cockatoo.mp4", labels=None, count=40)
    assert audit.images["frames"] == 40
    assert audit.images["fps"] == 20
    assert probe(shared / "data" / "cockatoo.mp4").frames == 280
