"""The page of a video audit says what its table says, whole, offline, also where the video is gone."""

import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pyarrow as pa
import pytest
from fakes import FakeModel
from PIL import Image

import shiftable as sh
from shiftable.auditing.predictions import Predictions, Row, tabulate
from shiftable.errors import InputError
from shiftable.report import video_content, video_costs, video_words
from shiftable.report.video_charts import timeline
from shiftable.report.video_films import (
    APART_S,
    MOST_FILMS,
    MOST_MOMENTS,
    Film,
    choose_moments,
    chosen_films,
    decimated,
    read_films,
)
from shiftable.report.video_page import show_video, write_video_report

av = pytest.importorskip("av", reason="PyAV is not installed")

MOST_BYTES = 5_000_000
HOSTILE = ('</script><script>alert("a")</script>', "<img src=x onerror=alert(1)>", "$x^$ & {{7*7}}", "猫 עברית")
NAMES = tuple(f"{HOSTILE[number % len(HOSTILE)]} {number}" for number in range(12))


def columns(views, classes=12):
    """Scores that change as something bright moves across the view."""
    profile = views.mean(axis=(1, 3))
    grid = np.stack([np.roll(profile, shift, axis=1)[:, 0] for shift in range(classes)], axis=1)
    return grid / 40 + np.random.default_rng(int(views.sum()) % 2**32).normal(size=(len(views), classes)) / 4


MODEL = FakeModel(columns, scores="logits", view_size=(16, 16))


def clip(path, frames=30, rate=10, seed=0):
    """A clip of a bright square that moves by a few px a frame, stands still for a while, and moves again."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(np.where(np.arange(frames) % 10 < 6, rng.integers(1, 4, frames), 0)) % 40
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        for at in x:
            picture = np.full((32, 48, 3), 20, np.uint8)
            picture[8:24, at : at + 8] = 220
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


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.video_page._draw_figures", lambda *_: None)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit of one labelled clip, and its page."""
    from shiftable.auditing.videos.audit import audit_video

    folder = tmp_path_factory.mktemp("video")
    path = clip(folder / "clip.mkv")
    audit = audit_video(MODEL, path, labels={"clip.mkv": 3}, out=folder / "out")
    return audit, write_video_report(audit, NAMES)


def film(top1, time_s=None, p=None, classes=12, name="film", label=None):
    """A film whose answers are known."""
    frames = len(top1)
    scores = np.full((frames, classes), 0.01)
    scores[np.arange(frames), top1] = 0.5 if p is None else p
    times = np.arange(frames) / 10 if time_s is None else time_s
    rows = [
        Row(
            None,
            0,
            at,
            0.0,
            0.0,
            at,
            frame=at,
            time_s=float(times[at]),
            moved=(0.0, float(at % 5), 0.0) if at else None,
        )
        for at in range(frames)
    ]
    return Film(name, Predictions(tabulate(name, rows, scores, "probabilities", label), classes))


# What the page says


def test_the_page_says_what_was_measured(audited):
    audit, page = audited
    assert page == audit.folder / "report.html"
    assert page.stat().st_size <= MOST_BYTES
    text = unescape(page.read_text("utf-8"))
    for name, found in audit.metrics.items():
        assert f">{name}<" in text
        assert f"<b>{video_words.value_of(name, found.value)}</b>" in text
    for control in audit.controls:
        assert video_words.CONTROL_WORDS[control] in text
    (only,) = read_films(audit)
    often = audit.metrics["flips_per_minute"].value
    assert only.flips_per_minute == pytest.approx(often)
    assert f"changes its answer {often:.0f} times a minute" in text
    assert len(only.flips) == round(audit.metrics["p_top1_change"].value * 29)
    assert only.right == pytest.approx(audit.metrics["accuracy"].value)
    assert f"{len(only.flips)} changes in 3 s" in text


def test_figures_are_beside_it(audited):
    audit, _ = audited
    figures = {path.name for path in (audit.folder / "figures").iterdir()}
    assert {"changes.png", "timeline-1.png", "movement.png", "smoothing.png", "moment-1.png"} <= figures
    for name in figures:
        with Image.open(audit.folder / "figures" / name) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_smoothing_is_told_beside_its_delay(audited):
    audit, page = audited
    rows = json.loads((audit.folder / "smoothing.json").read_text())["rows"]
    found = video_costs.smoothing(audit)
    assert len(found["rows"]) == len(rows)
    assert sum(map(len, found["series"].values())) == sum(row["delay_frames"] is not None for row in rows)
    text = unescape(page.read_text("utf-8"))
    for words, _, often, delay, right in found["rows"]:
        assert f">{words}<" in text
        assert f'>{often}</td><td class="number">{delay}</td><td class="number">{right}<' in text


def test_movement_is_told_beside_the_answers(audited):
    from shiftable.auditing.videos.results import movement_table

    audit, _ = audited
    found = video_costs.movement(audit)
    rows = movement_table(audit.folder)
    assert found["shares"] == [row["p_top1_change"] for row in rows]
    assert [int(pairs) for pairs in found["pairs"]] == [row["pairs"] for row in rows]
    assert sum(row["pairs"] for row in rows) == 29


def test_without_controls_labels_or_smoothing(tmp_path, page_only):
    from shiftable.auditing.videos.audit import audit_video

    audit = audit_video(MODEL, clip(tmp_path / "a.mkv"), controls=False, smoothing=False, out=tmp_path / "out")
    text = write_video_report(audit).read_text("utf-8")
    assert "No controls were taken" in text
    assert "What smoothing would do" not in text
    assert "Accuracy" not in text


def test_two_frames_are_enough(tmp_path, page_only):
    from shiftable.auditing.videos.audit import audit_video

    audit = audit_video(MODEL, clip(tmp_path / "two.mkv", 2), out=tmp_path / "out")
    assert "2 frames of 1 video" in write_video_report(audit).read_text("utf-8")


def test_a_steady_model_has_no_worst_moments(tmp_path):
    from shiftable.auditing.videos.audit import audit_video

    steady = replace(MODEL, answer=lambda views: np.tile([3.0, 1.0, 0.0], (len(views), 1)))
    audit = audit_video(steady, clip(tmp_path / "a.mkv"), out=tmp_path / "out")
    page = write_video_report(audit)
    text = unescape(page.read_text("utf-8"))
    assert "never changes its answer" in text
    assert "No answer changed." in text
    assert not list((audit.folder / "figures").glob("moment-*"))


def test_many_videos_share_a_page(tmp_path, page_only):
    from shiftable.auditing.videos.audit import audit_video

    (tmp_path / "films").mkdir()
    for number in range(MOST_FILMS + 2):
        clip(tmp_path / "films" / f"{number}.mkv", 12, seed=number)
    audit = audit_video(MODEL, tmp_path / "films", controls=False, out=tmp_path / "out")
    films = read_films(audit)
    assert [each.id for each in films] == [f"{number}.mkv" for number in range(MOST_FILMS + 2)]
    text = write_video_report(audit).read_text("utf-8")
    assert text.count('<svg class="timeline"') == MOST_FILMS
    assert "2 more are in the table" in text
    assert all(f"<bdi>{each.id}</bdi></th>" in text for each in films)
    shown = chosen_films(films)
    assert min(each.flips_per_minute for each in shown) >= max(
        each.flips_per_minute for each in films if each not in shown
    )


# Moments and pictures


def test_moments_are_the_steepest_changes_and_apart():
    top1 = np.array([1, 1, 2, 1] + [1] * 20 + [3] * 20)
    p = np.linspace(0.4, 0.9, len(top1))
    chosen = choose_moments([film(top1, p=p)])
    assert chosen[0][1] == 24
    times = [each.time_s[at] for each, at in chosen]
    assert all(abs(a - b) >= APART_S for number, a in enumerate(times) for b in times[:number])
    assert len(chosen) == 2
    busy = film(np.arange(400) % 3)
    assert len(choose_moments([busy])) == MOST_MOMENTS


def test_pictures_are_the_frames_of_the_file(audited):
    from shiftable.data.video import read_frames
    from shiftable.models.preprocessing import deployed_view
    from shiftable.report.video_films import moments

    audit, page = audited
    pictures = {frame.number: frame.picture for frame in read_frames(audit.images["source"])}
    found = moments(audit, choose_moments(read_films(audit)))
    assert found
    for moment in found:
        assert moment.at in moment.film.flips
        assert {moment.at - 1, moment.at} <= set(moment.shown)
        for row, picture in zip(moment.shown, moment.pictures, strict=True):
            view = deployed_view(pictures[int(moment.film.rows["frame"][row])], MODEL.preprocessing, (16, 16))
            np.testing.assert_array_equal(picture, view)
    assert sum(tag == "img" for tag, _ in Tags(page).tags) == sum(len(moment.shown) for moment in found)


def test_a_video_that_is_gone_leaves_words(tmp_path, page_only):
    from shiftable.auditing.videos.audit import audit_video

    path = clip(tmp_path / "a.mkv")
    audit = audit_video(MODEL, path, out=tmp_path / "out")
    path.unlink()
    page = write_video_report(audit)
    assert not any(tag == "img" for tag, _ in Tags(page).tags)
    assert "can’t be decoded any more" in unescape(page.read_text("utf-8"))


# Timelines


def test_a_long_timeline_keeps_its_peaks():
    values = np.random.default_rng(0).random(50_000)
    values[[7, 31_337]] = [2.0, -1.0]
    values[100:300] = np.nan
    kept = decimated(values, 1000)
    assert len(kept) <= 1002
    assert {7, 31_337} <= set(kept.tolist())
    assert np.nanmax(values[kept]) == np.nanmax(values)
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(decimated(values[:900], 1000), np.arange(900))


def test_an_hour_fits_on_a_page():
    rng = np.random.default_rng(0)
    frames = 20_000
    chart = timeline(film(rng.integers(0, 6, frames), p=rng.uniform(0.1, 1, frames)), "words")
    assert len(chart) < 400_000


def test_curves_and_ticks_are_where_they_belong():
    known = film([1, 1, 2, 2, 1, 1], p=np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]))
    chart = str(timeline(known, "words"))
    assert known.lines() == [1, 2]
    ticks = re.search(r'class="flip" d="([^"]+)"', chart)[1]
    x = [float(at) for at in re.findall(r"M([\d.]+) ", ticks)]
    np.testing.assert_allclose(x, [58 + 834 * row / 5 for row in known.flips], atol=0.06)
    path = re.search(r'line-0"><path d="([^"]+)"', chart)[1]
    y = np.array([float(point.split()[1]) for point in re.split("[ML]", path)[1:]])
    np.testing.assert_allclose((180 - y) / 170, known.p(1), atol=1e-3)  # the axis ends at 100 %


def test_a_line_breaks_where_its_class_is_not_known():
    top1 = [1, 1, 2, 2, 1, 1]
    scores = np.full((6, 12), 0.001)
    scores[np.arange(6), top1] = 0.5
    scores[2:4, 3:8] = 0.1  # so class 1 is not among the five first choices
    rows = [Row(None, 0, at, 0.0, 0.0, at, frame=at, time_s=at / 10) for at in range(6)]
    table = tabulate("a", rows, scores, "probabilities")  # it tells the probability of the first answer at every frame
    nine = pa.array([9] * len(rows), pa.int32())
    part = Film("a", Predictions(table.set_column(table.column_names.index("ref"), "ref", nine), 12))
    assert np.isnan(part.p(1)).tolist() == [False, False, True, True, False, False]
    path = re.search(r'line-0"><path d="([^"]+)"', str(timeline(part, "words")))[1]
    assert path.count("M") == 2


# Safety


def test_names_are_escaped_and_nothing_is_loaded(audited):
    _, page = audited
    found = Tags(page)
    assert not any(tag == "script" or "onerror" in attributes for tag, attributes in found.tags)
    assert any(name in "".join(found.words) for name in NAMES)
    for _, attributes in found.tags:
        links = [attributes.get(name) or "" for name in ("src", "href", "srcset", "poster")]
        assert not any(re.match(r"(?i)\s*(https?:)?//", link) for link in links)
    text = page.read_text("utf-8")
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_a_file_of_a_hostile_name(tmp_path, page_only):
    from shiftable.auditing.videos.audit import audit_video

    path = clip(tmp_path / "<img src=x onerror=alert(1)>.mkv")
    page = write_video_report(audit_video(MODEL, path, out=tmp_path / "out"))
    assert not any("onerror" in attributes for _, attributes in Tags(page).tags)
    assert "<img src=x onerror=alert(1)>.mkv" in Tags(page).words


def test_names_must_be_as_many_as_classes(audited):
    with pytest.raises(InputError, match="3 class names for 12 classes"):
        write_video_report(audited[0], ["a", "b", "c"])


def test_the_page_is_the_same_every_time(audited):
    audit, page = audited
    before = page.read_bytes()
    write_video_report(audit, NAMES)
    assert page.read_bytes() == before


def test_the_page_asks_for_nothing_in_a_browser(audited):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium to open the page in")
    _, page = audited
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 390, "height": 800})
        requests, complaints = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(page.as_uri())
        assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
        assert complaints == []
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        chromium.close()


# The terminal


def test_the_terminal_gets_the_sentence_and_the_tables(audited):
    from rich.console import Console

    audit, page = audited
    out = StringIO()
    show_video(Console(file=out, width=160), audit, page)
    text = out.getvalue()
    assert text.startswith(f"On 3 s of video, {audit.model_name} changes its answer")
    assert "as the model answers" in text
    assert "flips_per_minute" in text
    assert text.rstrip().endswith("report.html")


def test_it_is_the_report_of_every_video_audit(audited):
    audit, page = audited
    before = page.read_bytes()
    assert sh.write_report(audit, class_names=NAMES) == page
    assert page.read_bytes() == before


def test_the_command_says_what_the_record_knows(tmp_path):
    path = clip(tmp_path / "clip.mkv")
    usual = sh.audit(MODEL, path, motion="video", out=tmp_path / "usual")
    assert video_content._command(usual) == f"shiftable audit fake {path} --motion video --seed 0"
    options = {"count": 12, "controls": False, "metrics": ["mac"], "strict": True}
    chosen = sh.audit(MODEL, path, motion="video", out=tmp_path / "chosen", **options)
    assert video_content._command(chosen).endswith("--images 12 --seed 0 --no-controls --strict --metric mac")
