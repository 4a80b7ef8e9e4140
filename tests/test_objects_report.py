"""The page of a detector, a segmenter or a key-point model: it says what the tables say, whole and offline."""

import re
import shlex
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import FakeModel, pictures
from PIL import Image
from rich.console import Console

import shiftable as sh
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.answers import Detections, Poses
from shiftable.report import objects_terms as terms
from shiftable.report import objects_words as words
from shiftable.report.objects_compared import detected_pair, placed_pair
from shiftable.report.objects_content import command
from shiftable.report.objects_masks import hatched
from shiftable.report.objects_page import show_objects, write_objects_report
from shiftable.report.objects_pairs import Rows

HOSTILE = '</script><script>alert("a")</script>'
MOST_BYTES = 5_000_000
SIZE = (48, 64)


@dataclass(frozen=True)
class Fake(FakeModel):
    """Answers with lists of objects, or masks."""

    view_size: tuple[int, int] = SIZE
    preprocessing: Preprocessing = Preprocessing(resize_px=60)  # noqa: RUF009
    task: str = "detect"

    def __call__(self, views):
        return self.answer(views)


def bright_blocks(views, block=8):
    """A box for every cell of a grid that is brighter than most: what it sees depends on where the grid lies."""
    found = []
    for view in views:
        height, width = (side // block for side in view.shape[:2])
        cells = view[: height * block, : width * block].mean(axis=2).reshape(height, block, width, block)
        light = cells.mean(axis=(1, 3))
        y, x = np.nonzero(light > 134)
        corners = np.stack([x, y, x + 1, y + 1], axis=1) * float(block)
        scores = np.clip((light[y, x] - 128) / 16, 0, 1)
        found.append(Detections(corners, scores, (x + y) % 3))
    return found


def nothing(views):
    return [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) for _ in views]


def brightest_rows(views, points=4):
    """A point in the lightest four rows of each of so many columns, as sure as these are light."""
    found = []
    for view in views:
        columns = [
            column.reshape(-1, 4, column.shape[1]) for column in np.array_split(view.mean(axis=2), points, axis=1)
        ]
        rows = [4 * int(column.mean(axis=(1, 2)).argmax()) for column in columns]
        scores = [float(np.clip((column.mean(axis=(1, 2)).max() - 130) / 10, 0, 1)) for column in columns]
        x = (np.arange(points) + 0.5) * view.shape[1] / points
        found.append(Poses(np.stack([x, rows, scores], axis=1)[None], np.array([0.9])))
    return found


def shades(views):
    """The class of a pixel is its shade, averaged over cells of the view."""
    grey = views.mean(axis=3)
    cells = grey.reshape(len(grey), SIZE[0] // 4, 4, SIZE[1] // 4, 4).mean(axis=(2, 4))
    return np.repeat(np.repeat((cells // 20).astype(np.int64), 4, axis=1), 4, axis=2)


ANSWERS = {"detect": bright_blocks, "segment": shades, "keypoints": brightest_rows}


def _samples(count, names=None):
    plain = pictures(count, (70, 96))
    return [Sample(names[at] if names else each.id, None, each.read) for at, each in enumerate(plain)]


def _audit(task, out, count=3, samples=None, answer=None, **options):
    model = Fake(answer or ANSWERS[task], task=task)
    options = {"steps": 9, "motion": "crop"} | options
    return sh.audit(model, samples or _samples(count), out=out, **options), model


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.objects_page._draw_figures", lambda *_: None)


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


def _rows(audit, table):
    paths = sorted((audit.folder / table).glob("part-*.parquet"))
    return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]


def _h1(page):
    return unescape(re.search(r"<h1>(.*?)</h1>", page.read_text("utf-8"), re.DOTALL)[1])


@pytest.fixture(scope="module", params=list(ANSWERS))
def written(request, tmp_path_factory):
    audit, model = _audit(request.param, tmp_path_factory.mktemp(request.param))
    page = write_objects_report(audit, samples=_samples(3), model=model if request.param == "segment" else None)
    return request.param, audit, page


# What the page says


def test_every_task_has_its_page_and_figures(written):
    task, audit, page = written
    assert page == audit.folder / "report.html"
    assert page.stat().st_size <= MOST_BYTES
    text = page.read_text("utf-8")
    for name, found in audit.metrics.items():
        assert f">{name}<" in text
        assert terms.figure_of(name, found.value) in text
        assert name in terms.METRIC_WORDS, "every metric is explained in plain words"
    assert words.headline(audit) == _h1(page)
    drawn = {"changes.png", "phases.png", "pair-1.png"}
    drawn |= {"thresholds.png"} if task == "detect" else set()
    drawn |= {"errors.png", "parts.png"} if task != "segment" else set()
    figures = {path.name for path in (audit.folder / "figures").iterdir()}
    assert drawn <= figures
    for name in figures:
        with Image.open(audit.folder / "figures" / name) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_the_page_asks_nobody_for_anything(written):
    _, _, page = written
    tags = Tags(page)
    assert {tag for tag, _ in tags.tags}.isdisjoint({"script", "iframe", "object", "embed", "form"})
    for tag, attributes in tags.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(name) or ""
            if tag != "a":
                assert value == "" or value.startswith("data:")
            assert "://" not in value
    assert "url(" not in page.read_text("utf-8")


def test_all_that_is_drawn_is_also_said(written):
    """Pictures have a text, tables have headings, and charts have a table."""
    _, _, page = written
    tags = Tags(page)
    drawings = [attributes for tag, attributes in tags.tags if tag == "svg"]
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in drawings)
    charts = [each for each in drawings if each.get("class") == "chart"]
    assert charts
    assert sum("The same as a table" in word for word in tags.words) >= 1
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("page_only")
def test_the_headline_is_what_a_naive_count_gives(tmp_path):
    """Vanished: seen (0.5) at one step, and no match of 0.3 at the next one."""
    audit, _ = _audit("detect", tmp_path)
    page = write_objects_report(audit, samples=_samples(3))
    objects = [row for row in _rows(audit, "objects") if row["control"] is None]
    views = {(row["image"], row["walk"], row["step"]) for row in _rows(audit, "predictions") if row["control"] is None}
    kept = {
        (row["image"], row["walk"], row["step"] - 1, row["match"])
        for row in objects
        if row["match"] is not None and row["score"] >= 0.3
    }
    seen = [row for row in objects if row["score"] >= 0.5 and (row["image"], row["walk"], row["step"] + 1) in views]
    everything, seen = seen, [row for row in seen if row["inside"]]
    gone = [row for row in seen if (row["image"], row["walk"], row["step"], row["object"]) not in kept]
    assert audit.metrics["vanished"].pairs == len(seen)
    assert 0 < len(gone) < len(seen)
    share = len(gone) / len(seen)
    assert f"loses {round(100 * share)} of 100 objects that it saw; shown the same picture again, none." in _h1(page)
    assert 0 < len(seen) < len(everything)
    left = f"left out: {len(everything) - len(seen):,} of {len(everything):,} objects."
    whole, inner = (terms.figure_of(name, audit.metrics[name].value) for name in ("dropped_with_border", "dropped"))
    assert left in page.read_text()
    assert f"With those {whole} are no longer counted one step later, without them {inner}." in page.read_text()
    assert f"This rests on {len(seen):,} objects in {len(views) - 3:,} pairs of views of 3 images" in page.read_text()


@pytest.mark.usefixtures("page_only")
def test_tables_behind_the_charts_hold_what_the_tables_of_the_audit_hold(tmp_path):
    audit, _ = _audit("detect", tmp_path)
    text = write_objects_report(audit, samples=_samples(3)).read_text("utf-8")
    errors = [
        np.hypot(row["dcx"], row["dcy"])
        for row in _rows(audit, "objects")
        if row["control"] is None and row["match"] is not None and row["score"] >= 0.3
    ]
    counted = sum(int(each.replace(",", "")) for each in re.findall(r"px(?: or more)?</th><td>([\d,]+)</td>", text))
    assert 0 < counted <= len(errors)
    assert counted == audit.metrics["centre_error_px"].pairs
    section = text[text.index('id="thresholds"') : text.index('id="phases"')]
    at_half = re.search(r'<th scope="row">0.5</th><td>([\d.]+) %</td>', section)
    assert float(at_half[1]) == pytest.approx(100 * audit.metrics["vanished"].value, abs=0.051)


def test_a_pair_says_what_became_of_each_object():
    """One stays, one vanishes, one is new, one falls below the threshold but is still there."""

    def row(number, score, x, match=None, inside=True):
        return {"object": number, "class": number, "score": score, "x0": x, "y0": 4.0, "x1": x + 8, "y1": 20.0,
                "inside": inside, "match": match}  # fmt: skip

    view = {"image": "a", "dy": 0.0, "dx": 0.0, "scale": 1.0, "angle": 0.0}
    before = [row(0, 0.9, 0.0), row(1, 0.8, 10.0), row(2, 0.6, 20.0), row(3, 0.7, 30.0, inside=False)]
    after = [row(0, 0.9, 0.0, match=0), row(1, 0.7, 40.0), row(2, 0.4, 20.0, match=2)]
    thresholds = {"score_threshold": 0.5, "match_threshold": 0.3}
    pair = detected_pair(Rows((view, view), (before, after)), None, "kind {}".format, thresholds, SIZE)
    first, second = ([(mark.name, mark.state) for mark in side.marks] for side in pair.sides)
    assert ("kind 0", "kept") in first
    assert ("kind 0", "kept") in second
    assert ("kind 1", "lost") in first
    assert ("kind 1", "gone") in second
    assert ("kind 1", "new") in second
    assert ("kind 2", "kept") in first
    assert ("kind 2", "kept") in second
    assert pair.title == "1 of 3 objects vanished, 1 object appeared"
    assert "kind 1, score 0.80: no match in the second view" in pair.said
    assert "kind 3, score 0.70: no match in the second view, at the border, so it does not count" in pair.said


def test_a_pair_of_points_has_lines_from_where_they_were():
    def row(number, score, y, match=None, inside=True):
        return {"object": number, "class": number, "score": score, "x0": 5.0, "y0": y, "x1": 5.0, "y1": y,
                "match": match, "inside": inside}  # fmt: skip

    view = {"image": "a", "dy": 0.0, "dx": 0.0, "scale": 1.0, "angle": 0.0}
    before = [row(0, 0.9, 10.0), row(1, 0.8, 20.0), row(2, 0.2, 30.0), row(3, 0.9, 47.0, inside=False)]
    after = [row(0, 0.9, 13.0, match=0), row(1, 0.3, 20.0, match=1), row(2, 0.9, 30.0, match=2)]
    pair = placed_pair(Rows((view, view), (before, after)), None, 0.5, SIZE)
    marks = {mark.name: mark for mark in pair.sides[1].marks}
    assert marks["point 0"].start == (5.0, 10.0)
    assert marks["point 0"].box[:2] == (5.0, 13.0)
    assert marks["point 1"].state == "gone"
    assert marks["point 2"].state == "new"
    assert "point 3, score 0.90: no match in the second view, at the border, so it does not count" in pair.said
    assert pair.title == "1 point lost, 1 point new, the others move by 3.0 px on average"


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("motion", ["crop", "camera"])
def test_boxes_are_drawn_where_the_model_saw_them(motion, tmp_path):
    """Back from the still scene into the view: corners on the grid of cells of `bright_blocks`."""
    audit, _ = _audit("detect", tmp_path, motion=motion)
    text = write_objects_report(audit, samples=_samples(3)).read_text("utf-8")
    first_view = re.search(r'<svg class="view" viewBox="0 0 64 48".*?</svg>', text, re.DOTALL)[0]
    boxes = re.findall(r'<g class="mark (?:kept|lost)"><rect class="halo" x="([-\d.]+)" y="([-\d.]+)"', first_view)
    assert boxes
    assert all(float(side) % 8 == 0 for box in boxes for side in box)


def test_striped_pixels_are_those_that_change():
    picture = np.full((*SIZE, 3), 90, np.uint8)
    marked = np.zeros(SIZE, bool)
    marked[10:20, 5:9] = True
    drawn = hatched(picture, marked)
    assert (np.ptp(drawn[~marked], axis=0) == 0).all()
    assert {tuple(pixel) for pixel in drawn[marked].tolist()} == {(0, 0, 0), (255, 214, 0)}


@pytest.mark.usefixtures("page_only")
def test_masks_need_the_model(tmp_path):
    audit, model = _audit("segment", tmp_path)
    alone = write_objects_report(audit, samples=_samples(3)).read_text("utf-8")
    assert "What changes class" not in alone
    assert "the audit keeps no masks" in alone.lower()
    asked = write_objects_report(audit, samples=_samples(3), model=model).read_text("utf-8")
    assert asked.count("<figcaption>What changes class") == asked.count('class="sides three"') > 0
    row = max(
        (row for row in _rows(audit, "predictions") if row["control"] is None and row["step"]),
        key=lambda row: row["changed"] / row["pixels"],
    )
    assert f"{row['changed']:,} pixels of {row['pixels']:,} change class" in asked


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("letterbox", [False, True])
def test_a_segmenter_without_fault_has_a_page(letterbox, tmp_path):
    """Nothing changes: the headline, what it rests on and the controls say so, and no interval is made up."""

    def by_colour(views):
        return (views[..., 0] // 26).astype(np.int64)

    fitting = Preprocessing(crop="letterbox") if letterbox else Preprocessing(resize_px=60)
    samples = _samples(3) if not letterbox else [Sample(str(at), None, each.read) for at, each in enumerate(
        pictures(3, (SIZE[0] + 8, 40)))]  # fmt: skip
    model = Fake(by_colour, task="segment", preprocessing=fitting)
    audit = sh.audit(model, samples, motion="camera" if letterbox else "crop", steps=9, out=tmp_path)
    page = write_objects_report(audit, samples=samples, model=model)
    assert "0 % of the pixels that fake sorts change class; shown the same picture again, none." in _h1(page)
    assert "This rests on 24 pairs of views of 3 images." in page.read_text()
    assert "No pixel changed class." in page.read_text()


@pytest.mark.usefixtures("page_only")
def test_a_segmenters_headline_and_controls_are_what_the_tables_say(tmp_path):
    audit, model = _audit("segment", tmp_path)
    page = write_objects_report(audit, samples=_samples(3), model=model)
    moved = [row for row in _rows(audit, "predictions") if row["control"] is None and row["step"]]
    share = sum(row["changed"] for row in moved) / sum(row["pixels"] for row in moved)
    found = audit.metrics["pixels_changed"]
    assert found.value == pytest.approx(share)
    assert f"{100 * share:.1f} % of the pixels that fake sorts change class" in _h1(page)
    assert f"it is between {100 * found.low:.1f} and {100 * found.high:.1f} %." in page.read_text()
    jpeg = audit.controls["jpeg"]["pixels_changed"]
    assert terms.figure_of("pixels_changed", jpeg.value) in page.read_text()


@pytest.mark.usefixtures("page_only")
def test_charts_fold_by_px_of_the_view(tmp_path):
    audit, _ = _audit("detect", tmp_path, motion="camera")
    text = write_objects_report(audit, samples=_samples(3)).read_text("utf-8")
    assert "offset modulo 8, px of the view" in text
    assert "in px of the view, which the grid lies on" in text


# What may go wrong


@pytest.mark.usefixtures("page_only")
def test_names_are_escaped(tmp_path):
    names = [HOSTILE, "a&b.png", "{{7*7}}"]
    samples = _samples(3, names)
    audit, _ = _audit("detect", tmp_path, samples=samples)
    kinds = [f"<b>{number}</b>{HOSTILE}" for number in range(3)]
    page = write_objects_report(audit, class_names=kinds, samples=samples)
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "<b>0</b>" not in text
    assert "49" not in {word.strip() for word in Tags(page).words}


@pytest.mark.usefixtures("page_only")
def test_images_that_are_gone_are_missed_in_words(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in _samples(2):
        Image.fromarray(sample.read()).save(folder / f"{sample.id}.png")
    audit = sh.audit(Fake(bright_blocks), folder, steps=9, out=tmp_path / "out")
    assert "<image" in write_objects_report(audit).read_text("utf-8")
    for path in folder.iterdir():
        path.unlink()
    text = write_objects_report(audit).read_text("utf-8")
    assert "<image" not in text
    assert "can’t be read any more" in text
    assert "vanished" in text[text.index('id="pairs"') :]


@pytest.mark.usefixtures("page_only")
def test_a_model_that_sees_nothing_has_a_page(tmp_path):
    audit, _ = _audit("detect", tmp_path, answer=nothing)
    page = write_objects_report(audit, samples=_samples(3))
    assert _h1(page) == "fake saw no object in any view."
    assert "No object vanished or appeared" in page.read_text("utf-8")


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("task", ANSWERS)
def test_one_image_has_no_interval_and_a_page(task, tmp_path):
    audit, _ = _audit(task, tmp_path, count=1)
    assert "unknown: one image" in write_objects_report(audit, samples=_samples(1)).read_text("utf-8")


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("walk", ["pairs", "random", "grid"])
def test_every_walk_has_its_page(walk, tmp_path):
    options = {"walk": walk, "steps": None, "motion": "crop"} | ({"radius_px": 2} if walk == "grid" else {})
    audit, _ = _audit("detect", tmp_path, count=2, **options)
    page = write_objects_report(audit, samples=_samples(2))
    assert ("objects in a view, on average" in _h1(page)) == (walk == "random")


def test_the_command_line_makes_it_again(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(_samples(1)[0].read()).save(folder / "a b.png")
    audit = sh.audit(Fake(bright_blocks), folder, steps=5, out=tmp_path / "out", score_threshold=0.6)
    line = command(audit)
    assert line is not None
    told = shlex.split(line)
    assert told[:2] == ["shiftable", "audit"]
    options = dict(zip(told[4::2], told[5::2], strict=True))
    assert options["--task"] == "detect"
    assert options["--score-threshold"] == "0.6"
    assert options["--match-threshold"] == "0.3"
    assert options["--steps"] == "5"
    assert len(told) == len(set(told[4::2])) * 2 + 4, "no option twice"


@pytest.mark.usefixtures("page_only")
def test_names_must_fit_the_classes(tmp_path):
    audit, _ = _audit("detect", tmp_path, count=1)
    if not audit.model.get("classes"):
        assert "kind a" in write_objects_report(audit, class_names=["kind a"], samples=_samples(1)).read_text("utf-8")
    else:
        with pytest.raises(InputError, match="class names"):
            write_objects_report(audit, class_names=["kind a"] * (audit.model["classes"] + 1))


def test_the_terminal_says_the_same(written):
    _, audit, page = written
    out = StringIO()
    show_objects(Console(file=out, width=200, highlight=False, soft_wrap=True), audit, page)
    told = out.getvalue()
    for name, found in audit.metrics.items():
        assert terms.figure_of(name, found.value) in next(line for line in told.splitlines() if line.startswith(name))
    assert words.headline(audit) in told
    assert str(page) in told
