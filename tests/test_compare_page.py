"""The page of a comparison: it says no more than the intervals allow, whole, offline, on any screen."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import shiftable as sh
from shiftable.auditing import Estimate, read_audit
from shiftable.auditing.comparing.comparison import FIGURES, compare
from shiftable.errors import InputError
from shiftable.report.compare_charts import Axis, Point, scatter
from shiftable.report.compare_page import write_comparison
from shiftable.report.compare_words import covered, headline, verdict
from shiftable.report.labels import Box, place_labels

HOSTILE = "<script>alert(1)</script>"
SIZES = {"steady": (1_235_496, 18), "wild": (3_504_872, 53), "other": (None, None)}


def _with(audit, name, parameters=None, layers=None):
    size = {"parameters": parameters, "bytes": None, "layers": layers}
    return replace(audit, model={**audit.model, "spec": name, "size": size})


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audits")
    models = {"steady": histogram, "wild": hashed, "other": lambda views: hashed(views + 1)}
    samples = [replace(sample, label=int(histogram(sample.read()[None, 6:14, 9:17]).argmax()))
               for sample in pictures(24, (20, 26))]  # fmt: skip
    found = [sh.audit(FakeModel(answer, spec=f"zoo/{name}", scores="logits"), samples, steps=17, out=folder / name)
             for name, answer in models.items()]  # fmt: skip
    return [_with(audit, audit.model["spec"], *SIZES[audit.folder.name]) for audit in found]


@pytest.fixture(scope="module")
def written(audits, tmp_path_factory):
    comparison = compare(audits)
    return comparison, write_comparison(comparison, tmp_path_factory.mktemp("out") / "comparison")


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.compare_page._draw_figures", lambda *_: None)


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its words."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def _text(page):
    return " ".join("".join(Tags(page).words).split())


# What the page says


def test_page_json_and_figures_are_there(written):
    comparison, page = written
    assert page.name == "report.html"
    assert page.stat().st_size < 200_000
    content = json.loads((page.parent / "comparison.json").read_text("utf-8"))
    assert content == json.loads(json.dumps(comparison.to_json()))
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    assert figures == {
        "intervals.png",
        *(f"against-{key}.png" for key in ("accuracy", "margin", "layers", "parameters")),
    }
    for name in figures:
        with Image.open(page.parent / "figures" / name) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_every_model_has_a_row_with_its_numbers(written):
    comparison, page = written
    text = _text(page)
    for compared in comparison.audits:
        assert compared.name in text
        for found in compared.stability.values():
            assert f"{100 * found.value:.1f} %" in text or found.value in (0, 1)
    assert "18 layers" in text
    assert "1.24 M parameters" in text
    assert comparison.audits[0].audit.folder.name in text


def test_every_chart_has_its_words(written):
    charts = [attributes for tag, attributes in Tags(written[1]).tags if tag == "svg"]
    assert len(charts) == 5
    for chart in charts:
        assert chart["role"] == "img"
        assert all(compared.name in chart["aria-label"] for compared in written[0].audits if compared.name != "other")


def test_a_steadier_model_is_said_to_be(audits):
    comparison = compare(audits[:2])
    said = headline(comparison)
    assert said == (
        "Moved by one pixel, steady changes its answer less often than wild: 29 times in 100, against 95 times in 100."
    )


@pytest.mark.usefixtures("page_only")
def test_what_cant_be_told_apart_is_not_ranked(audits, tmp_path):
    shutil.copytree(audits[1].folder, tmp_path / "copy")
    comparison = compare([audits[1], read_audit(tmp_path / "copy")])
    text = _text(write_comparison(comparison, tmp_path / "out"))
    assert "can’t be told apart: they change their answers" in headline(comparison)
    assert "less often than" not in text
    assert "not told apart" in text


def _estimate(value, low=None, high=None):
    return Estimate(value, value if low is None else low, value if high is None else high, 50, 1600)


def _invented(audits, raw, apart, margin=None, margin_apart=()):
    """A comparison with these shares; the numbers in `apart` can be told from the steadiest."""
    base = compare(audits)

    def against(shares, chosen):
        best = int(np.argmin(shares))
        return [None if at == best else _estimate(share - shares[best], 0.01 if at in chosen else -0.01, 0.5)
                for at, share in enumerate(shares)]  # fmt: skip

    columns = {"raw": (raw, against(raw, apart))}
    if margin:
        columns["matched_margin"] = (margin, against(margin, margin_apart))
    compared = [
        replace(
            one,
            stability={figure: _estimate(shares[at]) for figure, (shares, _) in columns.items()},
            against_steadiest={figure: found[at] for figure, (_, found) in columns.items() if found[at]},
        )
        for at, one in enumerate(base.audits)
    ]
    return replace(
        base, audits=compared, absent={figure: "Not to be had." for figure in FIGURES if figure not in columns}
    )


def test_the_headline_says_who_is_steadiest_and_no_more(audits):
    one = headline(_invented(audits, [0.1, 0.02, 0.3], [0, 2]))
    assert "wild changes its answer least often, and less than steady and other: 2 times in 100" in one
    assert "from 10 times in 100 to 30 times in 100" in one
    two = headline(_invented(audits, [0.1, 0.02, 0.03], [0]))
    assert "least often (2 times in 100), but can’t be told apart from other; steady changes its answer more" in two
    three = headline(_invented(audits, [0.1, 0.02, 0.03], []))
    assert "the 3 models can’t be told apart from the steadiest, wild" in three


def test_the_verdict_says_when_a_lead_is_lost(audits):
    comparison = _invented(audits, [0.1, 0.02, 0.3], [0, 2], [0.01, 0.2, 0.3], [1, 2])
    said = verdict(comparison, "matched_margin")
    assert "steady changes its answer least often, and less than wild and other" in said
    assert said.endswith("wild no longer leads.")
    assert verdict(comparison, "matched_accuracy") == "Not to be had."
    kept = _invented(audits, [0.1, 0.02, 0.3], [0, 2], [0.2, 0.01, 0.3], [])
    assert "can’t be told apart from the steadiest, wild" in verdict(kept, "matched_margin")
    assert "no longer" not in verdict(kept, "matched_margin")


def test_uncovered_margins_are_named(audits):
    comparison = compare(audits[:2])
    standard = comparison.standard._replace(
        edges=np.array([0.5, 1.0, 2.0]), kept=np.array([False, False, True, False]), covered=0.25
    )
    said = covered(replace(comparison, standard=standard))
    assert "25 % of all pairs" in said
    assert "margins up to 1 and above 2 logits" in said


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("walk", ["sweep", "pairs", "random", "grid"])
def test_every_walk_has_its_page_without_labels(walk, tmp_path):
    audits = [sh.audit(FakeModel(answer, spec=name, scores="logits"), pictures(6, (20, 26)), walk=walk,
                       controls=False, out=tmp_path / name)
              for name, answer in (("steady", histogram), ("wild", hashed))]  # fmt: skip
    text = _text(write_comparison(compare(audits), tmp_path / "out"))
    assert "because the audits have no labels" in text
    assert "Changed although right" not in text
    assert ("at most 31 px apart" in text) == (walk == "random")
    assert "Images6 of 6 listed" in text.replace(" 6 of", "6 of")


def test_the_page_is_the_same_every_time(written):
    comparison, page = written
    files = [page, page.parent / "comparison.json", *sorted((page.parent / "figures").iterdir())]
    before = [file.read_bytes() for file in files]
    assert write_comparison(comparison, page.parent) == page
    assert [file.read_bytes() for file in files] == before


def test_an_audits_folder_is_left_alone(written):
    folder = written[0].audits[0].audit.folder
    before = (folder / "audit.json").read_bytes()
    with pytest.raises(InputError, match="holds an audit"):
        write_comparison(written[0], folder)
    assert (folder / "audit.json").read_bytes() == before
    assert not (folder / "comparison.json").exists()


def test_a_folder_that_cant_be_written_is_refused(written, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"):
        write_comparison(written[0], tmp_path / "file")


# Safety


@pytest.fixture(scope="module")
def hostile(audits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name in (HOSTILE.replace("/", "∕"), "{{7*7}} $x^$ " + "long " * 20):
        shutil.copytree(audits[1].folder, folder / name)
        (folder / name / "report.html").write_text("the audit's own page")
    found = [read_audit(path) for path in sorted(folder.iterdir())]
    specs = ["zoo/same", "zoo/same", f"http://host/{HOSTILE}"]
    chosen = zip([*found, audits[0]], specs, strict=True)
    comparison = compare([_with(audit, spec, 10**at, at) for at, (audit, spec) in enumerate(chosen, start=3)])
    return write_comparison(comparison, folder / "out & <out>")


def test_names_are_escaped(hostile):
    page = Tags(hostile)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all("onerror" not in attributes for _, attributes in page.tags)
    text = "".join(page.words)
    assert HOSTILE in text
    assert "{{7*7}}" in text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and "report.html" in attributes["href"]]
    assert len(links) == 2
    assert all(re.fullmatch(r"\./[\w./%{}$-]+", link) for link in links)


def test_nothing_is_loaded_from_anywhere(written, hostile):
    for page in (written[1], hostile):
        for tag, attributes in Tags(page).tags:
            for name in ("src", "href", "srcset", "action", "data"):
                assert not re.match(r"(?i)\s*((https?:)?//|javascript:)", attributes.get(name, "")), (tag, attributes)
        assert "url(" not in page.read_text("utf-8")


# Charts


@given(
    places=st.lists(st.tuples(st.floats(60, 400), st.floats(20, 200)), min_size=1, max_size=12),
    letters=st.integers(1, 20),
)
@settings(max_examples=40, deadline=None)
def test_names_cover_neither_each_other_nor_a_point(places, letters):
    frame = Box(52, 4, 410, 360)
    bars = [Box(x - 3, y - 20, x + 3, y + 20) for x, y in places]
    boxes = place_labels(places, [(letters * 7.7, 16.0)] * len(places), frame, bars)
    assert None not in boxes
    for one, other in combinations(boxes, 2):
        assert min(one.right, other.right) <= max(one.left, other.left) or (
            min(one.bottom, other.bottom) <= max(one.top, other.top)
        )
    for box in boxes:
        assert frame.left <= box.left < box.right <= frame.right
        assert frame.top <= box.top < box.bottom <= frame.bottom
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in places)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_axes_of_rates_hold_their_values(values):
    ticks = Axis("accuracy", "", "rate").ticks(values)
    assert ticks[0] <= min(values) + 1e-9
    assert ticks[-1] >= max(values) - 1e-9
    assert 2 <= len(ticks) <= 6
    assert 0 <= ticks[0] < ticks[-1] <= 1 + 1e-9


@given(values=st.lists(st.floats(1e-3, 1e10), min_size=2, max_size=5), kind=st.sampled_from(["log", "number"]))
def test_axes_hold_their_values(values, kind):
    axis = Axis("size", "", kind)
    ticks = axis.ticks(values)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 6
    assert all(-1e-6 <= axis.place(value, ticks) <= 1 + 1e-6 for value in values)


def test_thirty_models_in_one_place_all_have_names():
    points = [Point(f"a model with number {at}", 0.5, _estimate(0.1, 0.05, 0.15)) for at in range(30)]
    svg = scatter(Axis("accuracy", "accuracy", "rate"), points)
    assert sum(f">{point.name}<" in svg for point in points) == 30


# In a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium to open the page in")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


NAME_BOXES = """[...document.querySelectorAll('.plots svg')].map(svg => [...svg.querySelectorAll('.name')].map(text => {
  const box = text.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; }))"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_asks_for_nothing_and_complains_of_nothing(browser, written, hostile, width, scheme):
    for page in (written[1], hostile):
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        requests, complaints = [], []
        tab.on("request", lambda request, heard=requests: heard.append(request.url))
        tab.on("console", lambda message, heard=complaints: heard.append(message.text))
        tab.on("pageerror", lambda error, heard=complaints: heard.append(str(error)))
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
        assert complaints == []
        shade = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (np.mean([int(part) for part in re.findall(r"\d+", shade)[:3]]) > 128) == (scheme == "light")
        for names in tab.evaluate(NAME_BOXES):
            assert len(names) >= 2
            for one, other in combinations(names, 2):
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                assert min(across, down) <= 3  # a line's box is higher than its letters
        tab.close()
