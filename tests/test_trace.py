"""A trace tells what an audit of the same walk tells, and its page shows it, offline, whatever the names are."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from fakes import FakeModel, checkerboards, hashed, histogram, parity, pictures
from PIL import Image

import shiftable as sh
from shiftable.auditing.tracing.trace import ALL_FRAMES, MOST_FRAMES, choose_lines, trace
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.report import trace_words
from shiftable.report.trace_charts import MOST_VIEWS, axis_end
from shiftable.report.trace_page import show_trace, write_trace

STEPS = 7
HOSTILE = ('</script><script>alert("a")</script>', "<img src=x onerror=alert(1)>", "$x^$ & {{7*7}}", "猫 עברית")
MODEL = FakeModel(hashed, scores="logits")


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.trace_page.trace_figure", lambda *_: None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of 12 frames, 10 a second, of a bright square that moves by 2 px a frame."""
    return _clip(tmp_path_factory.mktemp("clip") / "clip.mkv", 12)


def _clip(path, frames):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        for number in range(frames):
            picture = np.full((32, 48, 3), 20, np.uint8)
            picture[8:24, 2 * number : 2 * number + 16] = 220
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


# What is traced


@pytest.mark.parametrize(
    ("motion", "options"),
    [
        ("crop", {"direction": "horizontal"}),
        ("crop", {"direction": "diagonal"}),
        ("roll", {}),
        ("scale", {}),
        ("canvas", {"fill": "noise", "size_px": 2}),
        ("rotate", {"step": 2.0}),
        ("subpixel", {"step": 0.5, "on": "roll"}),
    ],
)
def test_a_panel_says_what_an_audit_of_the_same_walk_says(motion, options, tmp_path):
    sample = pictures(1, (24, 36), labels=[3])[0]
    audit = sh.audit(
        MODEL, [sample], motion=motion, steps=STEPS, controls=False, seed=5, out=tmp_path, keep_scores=True, **options
    )
    rows = [row for part in sh.read_parts(audit.folder) for row in part.table.to_pylist()]
    found = trace(MODEL, sample, motion=motion, steps=STEPS, seed=5, classes=8, **options)
    (panel,) = found.panels
    assert panel.top1.tolist() == [row["top1"] for row in rows]
    np.testing.assert_allclose(panel.top1_p, [row["top1_p"] for row in rows])
    np.testing.assert_allclose(panel.first_p[1:], [row["first_p"] for row in rows[1:]])
    assert [tuple(place) for place in panel.places] == [
        tuple(row[name] for name in ("dy", "dx", "scale", "angle")) for row in rows
    ]
    line = panel.classes.index(3)
    np.testing.assert_allclose(panel.probabilities[:, line], [row["label_p"] for row in rows])
    assert np.mean(panel.jumps) == pytest.approx(audit.metrics["mac"].value)
    assert len(panel.flips) / (STEPS - 1) == pytest.approx(audit.metrics["p_top1_change"].value)
    assert panel.motion["enlarged"] == audit.motion["enlarged"]


def test_views_are_what_the_model_was_shown():
    sample = pictures(1)[0]
    (panel,) = trace(MODEL, sample, motion="crop", steps=STEPS, direction="horizontal").panels
    np.testing.assert_array_equal(hashed(np.stack(panel.views)).argmax(1), panel.top1)
    for left, right in zip(panel.views, panel.views[1:], strict=False):  # moved by one pixel to the right
        np.testing.assert_array_equal(left[:, :-1], right[:, 1:])
    assert panel.offsets.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert panel.offsets[panel.home] == 0


def test_an_image_is_moved_in_every_way_unless_one_is_named():
    found = trace(MODEL, pictures(1, (40, 60))[0], steps=5)
    assert [panel.motion["name"] for panel in found.panels] == ["crop", "scale", "rotate"]
    assert [panel.axis for panel in found.panels] == ["px down", "times as large", "degrees counter-clockwise"]
    assert all(len(panel.views) == 5 for panel in found.panels)


def test_a_motion_that_the_image_has_no_room_for_is_left_out_and_named(monkeypatch):
    sample = pictures(1, (40, 60))[0]
    # without antialias no window may end between pixels, which scale needs
    plain = replace(MODEL, preprocessing=replace(MODEL.preprocessing, antialias=False))
    found = trace(plain, sample, steps=3)
    assert "crop" in [panel.motion["name"] for panel in found.panels]
    left_out = {"crop", "scale", "rotate"} - {panel.motion["name"] for panel in found.panels}
    assert left_out
    assert {remark.partition(": ")[0] for remark in found.remarks} == left_out
    with pytest.raises(InputError):
        trace(plain, sample, steps=3, motion="scale")


def test_options_go_to_the_motions_that_have_them():
    sample = pictures(1, (40, 60))[0]
    crop, canvas = trace(MODEL, sample, motion=["crop", "canvas"], fill="mean", steps=3, size_px=3).panels
    assert "fill" not in crop.motion
    assert canvas.motion["fill"] == "mean"
    _, rotate = trace(MODEL, sample, motion=["crop", "rotate"], steps=3, step=3.0, direction="horizontal").panels
    assert rotate.offsets.tolist() == [-3, 0, 3]


def test_every_flip_is_counted_and_the_largest_is_marked():
    (panel,) = trace(FakeModel(parity), checkerboards(1)[0], motion="roll", steps=8).panels
    assert panel.flips == list(range(1, 8))
    (panel,) = trace(MODEL, pictures(1)[0], motion="roll", steps=8).panels
    assert panel.jumps[panel.at - 1] == max(panel.jumps[step - 1] for step in panel.flips)


def test_a_steady_model_has_no_flips_and_its_largest_jump_is_marked():
    """Class 0 always leads, less so where the first pixel is bright."""

    def steady(views):
        p = 0.9 - views[:, 0, 0, 0] / 1000
        return np.stack([p, 1 - p], axis=1)

    (panel,) = trace(FakeModel(steady), pictures(1)[0], motion="crop", steps=STEPS).panels
    assert panel.flips == []
    assert panel.jumps[panel.at - 1] == panel.jumps.max() > 0
    assert trace_words.headline(panel, named=False).startswith("No answer changes; one pixel down, the probability")


def test_probabilities_that_differ_are_not_written_alike():
    (panel,) = trace(MODEL, pictures(1)[0], motion="crop", steps=2).panels
    still = replace(panel, top1=np.zeros(2, int), names={0: "class 0"})
    for before, after, said in ((0.9996, 0.9981, "100.0 % → 99.8 %"), (0.7, 0.4, "70 % → 40 %")):
        there = replace(still, top1_p=np.array([before, after]), first_p=np.array([np.nan, after]))
        assert trace_words.headline(there, named=False).replace("\xa0", " ").endswith(f"goes {said} at most")


def test_lines_are_the_label_the_largest_jump_and_what_leads_most():
    top1 = np.array([4, 4, 4, 2, 7, 7, 9])
    assert choose_lines(top1, 3, None, 5) == [4, 7, 2, 9]
    assert choose_lines(top1, 6, None, 2) == [7, 9]
    assert choose_lines(top1, 3, 1, 2) == [4, 1]
    assert choose_lines(top1, 3, 1, 1) == [1]
    found = trace(MODEL, pictures(1)[0], motion="crop", steps=STEPS, label=11, classes=3)
    assert len(found.panels[0].classes) <= 3
    assert 11 in found.panels[0].classes


def test_it_is_a_function_of_its_arguments():
    sample = pictures(1, (40, 60))[0]
    once, again = (trace(MODEL, sample, steps=3, seed=2).to_json() for _ in range(2))
    assert json.dumps(once) == json.dumps(again)


# Clips


def test_a_clip_is_followed_frame_by_frame(clip):
    (panel,) = trace(MODEL, clip).panels
    assert panel.motion["name"] == "video"
    assert list(panel.frames) == list(range(12))
    np.testing.assert_allclose(panel.offsets, np.arange(12) / 10, atol=1e-6)
    np.testing.assert_array_equal(hashed(np.stack(panel.views)).argmax(1), panel.top1)


def test_a_part_of_a_clip(clip):
    (panel,) = trace(MODEL, clip, start_s=0.45, frames=3).panels
    assert list(panel.frames) == [5, 6, 7]
    assert list(trace(MODEL, clip, start_s=0.45, frames=MOST_FRAMES).panels[0].frames) == list(range(5, 12))


def test_a_clip_may_be_moved_like_an_image(clip):
    film, crop = trace(MODEL, clip, motion=["video", "crop"], start_s=0.3, frames=2, steps=3).panels
    np.testing.assert_array_equal(film.views[0], crop.views[crop.home])


def test_two_frames_are_enough_and_one_is_not(tmp_path):
    (panel,) = trace(MODEL, _clip(tmp_path / "two.mkv", 2)).panels
    assert len(panel.views) == 2
    assert panel.at == 1
    page = write_trace(trace(MODEL, tmp_path / "two.mkv"), tmp_path / "out")
    assert "One frame later, at 0.10 s" in page.read_text("utf-8")
    with pytest.raises(InputError, match="only one frame from 0 s on; give a clip with two frames or more"):
        trace(MODEL, _clip(tmp_path / "one.mkv", 1))
    with pytest.raises(InputError, match=r"only one frame from 0\.1 s on; begin earlier"):
        trace(MODEL, tmp_path / "two.mkv", start_s=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 33}, "--steps: a clip that goes frame by frame has no steps; give --frames"),
        ({"direction": "vertical"}, "--direction: a clip that goes frame by frame has no direction"),
        ({"motion": "crop", "frames": 4}, "--frames: only the first frame is moved; add --motion video"),
        ({"frames": ALL_FRAMES + 1}, "--frames: 601 frames are too many for one page; give 600 or fewer"),
    ],
)
def test_what_a_clip_has_not_is_refused(clip, options, message):
    with pytest.raises(InputError, match=message):
        trace(MODEL, clip, **options)


# What can't be traced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": 20}, "label 20 of image-0 is out of range; the model's classes are 0 to 19"),
        ({"label": -1}, "out of range"),
        ({"motion": "crpo"}, "unknown motion 'crpo'; did you mean crop"),
        ({"motion": ["crop", "keep-box"]}, "unknown motion 'keep-box'"),
        ({"motion": []}, "no motion given"),
        ({"motion": "video"}, "video is for clips"),
        ({"fill": "black"}, "--fill: no fill in crop, .*; it is for --motion canvas|scale"),
        ({"steps": 1}, "steps can't be 1"),
        ({"direction": "up"}, "unknown direction"),
        ({"motion": "rotate", "direction": "vertical"}, "no direction"),
        ({"classes": 0}, "--classes: 0 lines"),
        ({"classes": 9}, "give 1 to 8"),
        ({"frames": 5}, "frames are a clip's"),
        ({"start_s": -1.0}, "can't begin at -1 s"),
        ({"start_s": 1.5}, "--start: a start is a clip's, and this is an image"),
        ({"motion": "crop", "steps": 99, "enlarge": False}, "image-0: step 0 .* leaves the image; .* px are missing"),
    ],
)
def test_slips_are_told_in_one_line(options, message):
    sample = pictures(1)[0]
    if "fill" in options:
        options = {**options, "motion": ["crop", "roll"]}
    with pytest.raises(InputError, match=message) as caught:
        trace(MODEL, sample, **options)
    assert "\n" not in str(caught.value)


def test_only_classifiers_have_probabilities_of_classes():
    with pytest.raises(InputError, match="the task of this model is 'embed'; give a classifier"):
        trace(replace(MODEL, task="embed"), pictures(1)[0])


def test_one_image_is_asked_for(tmp_path):
    for number, sample in enumerate(pictures(3)):
        Image.fromarray(sample.read()).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"more than one image \(0.png, 1.png, …\); give one image"):
        trace(MODEL, tmp_path)
    assert trace(MODEL, tmp_path / "1.png", steps=3).image == "1.png"
    assert trace(MODEL, "shapes", steps=3).panels
    with pytest.raises(InputError, match="no such file"):
        trace(MODEL, tmp_path / "4.png")


def test_a_clip_that_is_over_or_is_none(clip, tmp_path):
    with pytest.raises(InputError, match=r"no frame from 7 s on; the last frame is at 1\.10 s"):
        trace(MODEL, clip, start_s=7)
    with pytest.raises(InputError, match="1 frame is no motion"):
        trace(MODEL, clip, frames=1)
    (tmp_path / "broken.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"broken.mp4"):
        trace(MODEL, tmp_path / "broken.mp4")


def test_a_model_that_answers_nan_is_told():
    with pytest.raises(InputError, match=r"answers NaN \(step 0\)"):
        trace(FakeModel(lambda views: np.full((len(views), 3), np.nan)), pictures(1)[0], steps=3)


# The page


def test_the_page_its_figures_and_its_numbers(tmp_path):
    found = trace(MODEL, pictures(1, (40, 60), labels=[2])[0], motion=["crop", "rotate"], steps=9)
    page = write_trace(found, tmp_path / "new")
    assert page == tmp_path / "new" / "trace.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        *("trace-crop.png", "trace-rotate.png", "trace.html", "trace.json", "trace.png"),
    ]
    assert json.loads((page.parent / "trace.json").read_text("utf-8")) == found.to_json()
    for path in page.parent.glob("*.png"):
        with Image.open(path) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    text = unescape(page.read_text("utf-8"))
    for panel in found.panels:
        assert trace_words.headline(panel, named=False) in text
    lead = trace_words.leading_panel(found)
    assert f"<h1>{trace_words.headline(lead, named=False)}.</h1>" in text

    write_trace(trace(MODEL, pictures(1, (40, 60))[0], motion="crop", steps=3), page.parent)
    assert not list(page.parent.glob("trace-*.png"))  # none of the last trace is left


@pytest.mark.usefixtures("page_only")
def test_the_users_own_pictures_stay(tmp_path):
    for name in ("trace-of-my-cat.png", "trace-crop-2.png", "trace-rotate.png"):
        (tmp_path / name).touch()
    write_trace(trace(MODEL, pictures(1)[0], motion="crop", steps=3), tmp_path)
    assert {path.name for path in tmp_path.glob("trace-*.png")} == {"trace-of-my-cat.png", "trace-crop-2.png"}


@pytest.mark.usefixtures("page_only")
def test_the_table_is_the_curves(tmp_path):
    found = trace(MODEL, pictures(1)[0], motion="crop", steps=STEPS)
    page = write_trace(found, tmp_path).read_text("utf-8")
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)[1]
    rows = [re.findall(r'<td class="number">([\d.]+) %</td>', row) for row in body.split("</tr>")[:-1]]
    np.testing.assert_allclose(np.array(rows, float) / 100, found.panels[0].probabilities, atol=0.00051)
    assert body.count("<small>changed</small>") == len(found.panels[0].flips)


@pytest.mark.usefixtures("page_only")
def test_curves_are_where_their_probabilities_are(tmp_path):
    (panel,) = trace(MODEL, pictures(1)[0], motion="crop", steps=STEPS).panels
    from shiftable.report.trace_charts import panel_chart

    styles = trace_words.line_styles([panel])
    chart = str(panel_chart(panel, axis_end([panel]), styles, "words"))
    ticks = {float(p) / 100: float(y) - 4 for y, p in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+) %', chart)}
    zero, end = ticks[0.0], max(ticks)
    for at in range(len(panel.classes)):
        path = re.search(rf'line-{at}"><path d="M([^"]+)"', chart)[1]
        y = np.array([point.split()[1] for point in path.split("L")], float)
        np.testing.assert_allclose((zero - y) / (zero - ticks[end]) * end, panel.probabilities[:, at], atol=1e-3)


@pytest.mark.parametrize("steps", [2, 5, 7, 33, 60])
def test_the_strip_holds_the_largest_jump(steps):
    (panel,) = trace(MODEL, pictures(1, (90, 120))[0], motion="crop", steps=steps).panels
    for at in range(1, steps):
        forced = replace(panel, top1=(np.arange(steps) >= at).astype(int))
        chosen = trace_words.chosen_steps(forced, MOST_VIEWS)
        assert {forced.at - 1, forced.at} <= set(chosen)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(MOST_VIEWS, steps)


def test_names_are_escaped_and_nothing_is_loaded(tmp_path):
    names = tuple(HOSTILE[number % len(HOSTILE)] + f" {number}" for number in range(20))
    sample = Sample(HOSTILE[0], 1, pictures(1)[0].read)
    page = write_trace(trace(replace(MODEL, class_names=names), sample, motion="crop", steps=9), tmp_path)
    found = Tags(page)
    assert not any(tag == "script" or "onerror" in attributes for tag, attributes in found.tags)
    assert "default-src 'none'" in page.read_text("utf-8")
    assert HOSTILE[0] in "".join(found.words)
    for _, attributes in found.tags:
        links = [attributes.get(name) or "" for name in ("src", "href", "srcset")]
        assert not any(re.match(r"(?i)\s*(https?:)?//", link) for link in links)
    assert "url(" not in page.read_text("utf-8")


@pytest.mark.usefixtures("page_only")
def test_the_command_makes_it_again(clip, tmp_path):
    found = trace(MODEL, str(clip), start_s=0.2, frames=4, label=3)
    assert found.asked == {"motion": ["video"], "classes": 5, "enlarge": True, "seed": 0, "start_s": 0.2, "frames": 4}
    assert trace_words.command(found) == (
        f"shiftable trace fake {clip} --motion video --classes 5 --seed 0 --start 0.2 --frames 4 --label 3"
    )
    assert trace_words.command(trace(MODEL, pictures(1)[0], steps=3)) is None


def test_names_are_short_where_that_tells_them_apart():
    named = replace(FakeModel(parity), class_names=("crane, bird", "crane, machine"))
    (panel,) = trace(named, checkerboards(1)[0], motion="roll", steps=3).panels
    assert {trace_words.short_name(panel, number) for number in (0, 1)} == {"crane, bird", "crane, machine"}
    named = replace(FakeModel(parity), class_names=("hen, Gallus", "cock, Gallus"))
    (panel,) = trace(named, checkerboards(1)[0], motion="roll", steps=3).panels
    said = trace_words.headline(panel, named=True)
    assert re.fullmatch(r"One pixel down, and “(hen|cock)” becomes “(hen|cock)”: 100\xa0%\xa0→\xa00\xa0%", said)


def test_the_terminal_gets_a_line_for_every_motion(tmp_path):
    from rich.console import Console

    found = trace(FakeModel(histogram), pictures(1, (40, 60))[0], motion=["crop", "roll"], steps=5)
    out = StringIO()
    show_trace(Console(file=out, width=200), found, tmp_path / "trace.html")
    crop, roll, report = out.getvalue().splitlines()
    assert crop.startswith(f"crop: {len(found.panels[0].flips)} of 4 answers change.")
    assert re.match(r"roll: 0 of 4 answers change\. No answer changes, and .* stays at \d+\xa0%", roll)
    assert report == f"report: {tmp_path / 'trace.html'}"


# Real models


def test_a_real_photograph_flips_and_a_real_clip_flickers(shared, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    model = sh.open_model("torchvision/squeezenet1_1", weights=shared / "models" / "squeezenet1_1.safetensors")
    koala = shared / "data" / "imagenet_samples" / "n01882714_koala.JPEG"
    (panel,) = trace(model, koala, motion="crop", direction="horizontal", label=105).panels
    assert len(panel.flips) > 3
    assert panel.jumps.max() > 0.15
    (film,) = trace(model, shared / "data" / "cockatoo.mp4", start_s=5.0, frames=8).panels
    assert list(film.frames) == list(range(100, 108))
    assert len(film.flips) >= 1
