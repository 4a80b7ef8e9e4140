"""The page, the figure and the text of a repair, and its command."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_repair import UNTIMED, candidate, estimate, jumping, noise

from shiftable.auditing import read_audit
from shiftable.cli import main
from shiftable.models.preprocessing import CropSelection
from shiftable.repairing.plan import Phases, Plan
from shiftable.repairing.repair import repair
from shiftable.report import repair_words
from shiftable.report.repair_charts import Mark, cost_axis, efficient, numbers_beside, pareto
from shiftable.report.repair_page import command, marks_of, write_repair
from shiftable.report.repair_text import show_repair

VOID = ("meta", "link", "br", "img", "path", "rect", "circle")


class Page(HTMLParser):
    """Tags with attributes, and text; every tag that is opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    labels = [number % 20 for number in range(12)]
    return repair(jumping(), noise(12, labels), **UNTIMED, walks=1, out=tmp_path_factory.mktemp("repaired"))[1]


@pytest.fixture(scope="module")
def page(found):
    return write_repair(found, samples=noise(12))


# The page.


def test_the_page_says_what_was_measured_and_asks_for_nothing(found, page):
    text = page.read_text("utf-8")
    read = Page(text)
    assert len(text) < 5_000_000
    assert not re.search(r"(src|href)=\"https?:", text)
    assert repair_words.headline(found) in read.text
    for each in (*found.candidates, *found.combined):
        assert each.name in read.text
    for what, why in found.left_out.items():
        assert what in read.text
        assert re.sub(r"\s+", " ", why)[:40] in read.text
    for remark in found.remarks:
        assert remark[:60] in read.text


def test_every_file_that_is_linked_is_there(found, page):
    links = [attrs["href"] for tag, attrs in Page(page.read_text("utf-8")).tags if tag == "a"]
    for link in links:
        if not link.startswith("#"):
            assert (found.folder / link.partition("#")[0]).exists(), link
    assert {"before/report.html", "comparison.json", "figures/pareto.png"} <= set(links)
    assert (found.folder / "figures" / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_files_beside_say_the_same(found, page):
    record = json.loads((found.folder / "repair.json").read_text("utf-8"))
    assert record == json.loads(json.dumps(found.to_json()))
    before, after = (read_audit(found.folder / name) for name in ("before", "after"))
    removed = record["verified"]["flips_removed"]["value"]
    assert removed == pytest.approx(before.metrics["p_top1_change"].value - after.metrics["p_top1_change"].value)
    compared = json.loads((found.folder / "comparison.json").read_text("utf-8"))
    assert [each["folder"] for each in compared["audits"]] == [str(found.folder / name) for name in ("before", "after")]


def test_names_that_look_like_markup_are_text(found, tmp_path):
    evil = replace(found.candidates[0], name="<script>alert(1)</script>")
    again = replace(found, candidates=(evil, *found.candidates[1:]))
    text = write_repair(again).read_text("utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_what_may_be_chance_is_called_so(found):
    unsure = replace(found.verified, flips_removed=estimate(0.01, 0.02), mac_removed=estimate(0.01, 0.02))
    assert "more than chance can’t be told" in repair_words.basis(replace(found, verified=unsure))
    half = replace(unsure, mac_removed=estimate(0.03, 0.02))
    assert "falls by 0.030 (0.010 to 0.050)" in repair_words.basis(replace(found, verified=half))
    sure = replace(found, verified=replace(found.verified, flips_removed=estimate(0.05, 0.02)))
    assert "5.0 percentage points" in repair_words.basis(sure)
    assert "chance" in repair_words.costs(candidate("", accuracy=-0.005, reach=0.01))
    assert "chance" not in repair_words.costs(candidate("", accuracy=-0.05, reach=0.01))


def test_whoever_measured_on_what_it_was_chosen_by_says_so(found):
    assert "that the repair was chosen by" in repair_words.basis(found)
    parted = {**found.settings, "listed": 24}
    assert "that nothing was chosen by" in repair_words.basis(replace(found, settings=parted))


def test_every_part_of_a_plan_is_said():
    pytest.importorskip("torch")
    from shiftable.repairing.finetune import Finetune
    from shiftable.surgery.edits import Edit

    whole = Plan(
        crop=CropSelection(), phases=Phases(((0, 0), (0, 2)), only_below=0.5),
        edits=(Edit("a"), Edit("b"), Edit("c", "dense"), Edit("d", "polyphase")), finetune=Finetune(steps=7),
    )  # fmt: skip
    said = " ".join(repair_words.done(whole))
    for word in ("anchored", "2 windows", "below 0.5", "a and b", "at c", "at d", "7 steps"):
        assert word in said
    assert repair_words.done(Plan()) == []


def test_the_command_is_the_one_that_makes_it_again(found):
    assert command(found) is None  # the images were handed over in Python
    named = replace(found, settings={**found.settings, "images": "my photos"})
    words = command(named)
    assert words.startswith("shiftable repair fake 'my photos' --images 12 --budget 1000.0")
    assert "--walks 1" in words


def test_the_text_names_the_choice_and_the_page(found, page):
    console = Console(record=True, width=200)
    show_repair(console, found, page)
    text = console.export_text()
    assert f"{found.steps[-1].name} ✓" in text
    assert f"report: {page}" in text.replace("\n", "")


# The figure.

POINTS = st.lists(st.tuples(st.floats(0.8, 4), st.floats(0, 1)), min_size=1, max_size=12)


@given(points=POINTS)
def test_efficient_points_are_beaten_by_none_and_beat_the_rest(points):
    best = efficient(points)
    for at, (time, flips) in enumerate(points):
        beaten = any(
            other[0] <= time and other[1] <= flips and (other != (time, flips) or number < at)
            for number, other in enumerate(points)
            if number != at
        )
        assert (at in best) == (not beaten)


@given(points=POINTS, budget=st.floats(0.9, 3))
def test_all_that_is_drawn_lies_within_the_figure(points, budget):
    marks = [Mark(str(at) if at else "", "name", time, estimate(flips)) for at, (time, flips) in enumerate(points)]
    axis, ticks = cost_axis(marks, budget)
    assert all(-0.001 <= axis.place(mark.time, ticks) <= 1.001 for mark in marks)
    assert -0.001 <= axis.place(budget, ticks) <= 1.001
    read = Page(str(pareto(marks, budget)))
    circles = [attrs for tag, attrs in read.tags if tag == "circle"]
    assert len(circles) == len(points) - 1
    assert all(0 <= float(each["cx"]) <= 420 and 0 <= float(each["cy"]) <= 280 for each in circles)


def test_numbers_of_near_points_do_not_cover_each_other():
    places = [(100.0, 100.0), (103.0, 101.0), (180.0, 100.0)]
    stand = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(places, numbers_beside(places), strict=True)]
    for at, one in enumerate(stand):
        for other in stand[:at]:
            assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= 10


def test_the_first_mark_is_the_model_as_it_is(found):
    now, *others = marks_of(found)
    assert (now.label, now.time) == ("", 1.0)
    assert now.flips.value == pytest.approx(found.candidates[0].flips.value + found.candidates[0].flips_removed.value)
    assert [mark.label for mark in others] == [str(at) for at in range(1, len(others) + 1)]
    assert any(mark.chosen for mark in others)


# The command.


def test_the_dry_run_prints_every_site_and_measures_nothing(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert main(["repair", "demo", "--dry-run"]) == 0
    text = capsys.readouterr().out
    for word in (
        "0.0",
        "5.0",
        "Conv2d",
        "2×2",
        "64×64 → 32×32",
        "BlurConv2d",
        "crop chosen by content",
        "dense at 5.0",
    ):
        assert word in text
    assert not list(tmp_path.iterdir())
    assert main(["repair", "demo", "--dry-run", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["site"] for each in told["sites"]] == ["0.0", "1.0", "3.0", "5.0"]
    assert {"crop chosen by content", "blur at all 4 sites"} <= set(told["candidates"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["timm/resnet18"], "no images given"),
        (["demo", "shapes", "--budget", "0"], "--budget"),
        (["demo", "shapes", "--motion", "rotate"], "--motion"),
        (["demo", "nowhere"], "no such file"),
        (["demo", "shapes", "--format", "xml"], "--format"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(asked, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["repair", *asked]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_demo_is_repaired_from_one_end_to_the_other(capsys, tmp_path):
    pytest.importorskip("torch")
    asked = ["repair", "demo", "shapes", "--images", "12", "--walks", "1", "--out", str(tmp_path), "--threads", "1"]
    code = main([*asked, "--budget", "5", "--min-agreement", "0", "--max-accuracy-loss", "1", "--format", "json"])
    out, error = capsys.readouterr()
    if code == 2:  # with so few images it may be that nothing is told from chance
        assert "too few images" in error or "no repair makes it steadier" in error
        return
    told = json.loads(out)
    assert {each["name"] for each in told["candidates"]} > {"crop chosen by content", "blur at 0.0", "dense at 5.0"}
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "plan.json").exists()
