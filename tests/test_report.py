"""The page of an audit: it says what the table says, whole, offline, on any screen, whatever the files are called."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from fakes import FakeModel, checkerboards, parity, pictures
from PIL import Image

import shiftable as sh
from shiftable.auditing import METRICS, show_again
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.report import wording
from shiftable.report.heat_map import MOST_CELLS, MOST_ROWS, most_rows
from shiftable.report.tallies import choose_rows, choose_worst, rows_of, steepness, tally
from shiftable.report.worst_cases import worst_case

WALKS = ("sweep", "pairs", "random", "grid")
MOST_BYTES = 5_000_000
HOSTILE = [
    '</script><script>alert("a")</script>',
    'a&b\'s "q" $x^$.jpg',
    "<img src=x onerror=alert(1)>",
    "猫 עברית.png",
    "{{7*7}}",
]


def brightness(views, classes=16):
    """Answers by the mean grey level: some pictures change theirs on the way, some never."""
    return -((views.mean(axis=(1, 2, 3))[:, None] - np.arange(classes) * 8 - 64) ** 2) / 40


MODEL = FakeModel(brightness, scores="logits")
NAMES = tuple(f"kind {number}" for number in range(16))


def _samples(count, labels=True):
    return pictures(count, (20, 26), labels=[number % 16 for number in range(count)] if labels else None)


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.audit_page._draw_figures", lambda *_: None)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    audit = sh.audit(MODEL, _samples(24), out=tmp_path_factory.mktemp("swept"))
    return audit, sh.write_report(audit, class_names=NAMES, samples=_samples(24))


def _heat(page):
    return json.loads(re.search(r'id="heat-map-data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)[1])


def _rows(audit, image):
    rows = [row for part in sh.read_parts(audit.folder) for row in part.table.to_pylist()]
    return [row for row in rows if row["image"] == image and row["control"] is None]


def _table(audit):
    return {
        image: _rows(audit, image)
        for image in dict.fromkeys(image for part in sh.read_parts(audit.folder) for image in part.images)
    }


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


# What the page says


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("walk", WALKS)
def test_every_walk_has_its_page_and_figures(walk, labels, tmp_path):
    audit = sh.audit(MODEL, _samples(9, labels), walk=walk, out=tmp_path)
    page = sh.write_report(audit, class_names=NAMES, samples=_samples(9, labels))
    assert page == tmp_path / "report.html"
    assert page.stat().st_size <= MOST_BYTES
    text = page.read_text("utf-8")
    for name, found in audit.metrics.items():
        assert f">{name}<" in text
        assert wording.figure_of(name, found.value) in text
    for words in wording.CONTROL_WORDS.values():
        assert words in text
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    expected = {"heatmap.png", "changes.png", "worst-1.png", "jaggedness.png" if walk == "sweep" else "flips.png"}
    assert expected | ({"places.png"} if walk == "grid" else set()) <= figures
    for name in figures:
        with Image.open(tmp_path / "figures" / name) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("walk", WALKS)
def test_cells_of_the_heat_map_are_the_rows_of_the_table(walk, tmp_path):
    audit = sh.audit(MODEL, _samples(7), walk=walk, out=tmp_path)
    heat = _heat(sh.write_report(audit, class_names=NAMES))
    table = _table(audit)
    assert set(heat["ids"]) == set(table)
    for number, image in enumerate(heat["ids"]):
        places = heat["places"][number] if len(heat["places"]) > 1 else heat["places"][0]
        cells = sorted(zip(map(tuple, places), heat["top"][number], heat["p"][number], strict=True))
        rows = table[image]
        shown = [row for row in rows if row["step"] == 1 or walk in ("sweep", "grid")]
        named = [heat["names"].index(NAMES[row["top1"]]) for row in shown]
        told = {
            ((row["dy"], row["dx"]), top, round(1000 * row["top1_p"])) for row, top in zip(shown, named, strict=True)
        }
        assert cells == sorted(told) if walk in ("sweep", "grid") else set(cells) == told
        assert heat["names"][heat["right"][number]] == NAMES[rows[0]["label"]]
        if "first" in heat:
            changes = sum(a["top1"] != b["top1"] for a, b in zip(rows[::2], rows[1::2], strict=True))
            assert changes == sum(np.array(heat["first"][number]) != heat["top"][number])


def test_tallies_are_the_metrics(swept):
    audit, _ = swept
    tallies = tally(audit)
    assert np.mean(tallies.instability) == pytest.approx(audit.metrics["p_top1_change"].value)
    assert np.mean(tallies.right) == pytest.approx(audit.metrics["accuracy"].value)
    assert np.mean(tallies.jagged) == pytest.approx(audit.metrics["jaggedness"].value)


def test_agreement_on_a_grid_is_counted_place_by_place(tmp_path):
    audit = sh.audit(MODEL, _samples(6), walk="grid", radius_px=2, out=tmp_path)
    agreement = tally(audit).agreement
    assert agreement[2, 2] == 1
    for dy, dx in [(-2, 1), (0, 2), (1, -1)]:
        alike = [
            row["top1"] == row["ref"]
            for rows in _table(audit).values()
            for row in rows
            if (row["dy"], row["dx"]) == (dy, dx)
        ]
        assert agreement[dy + 2, dx + 2] == pytest.approx(np.mean(alike))


def test_worst_cases_change_most_and_show_what_the_model_saw(swept):
    audit, page = swept
    tallies, samples = tally(audit), {sample.id: sample for sample in _samples(24)}
    worst = choose_worst(tallies, 6, by_steepness=False)
    assert tallies.flips[worst[0]] == tallies.flips.max()
    rows = rows_of(audit, worst)[int(worst[0])]
    case = worst_case(rows, lambda number: NAMES[number], show_again(audit), samples[rows.images[0]])
    assert case.flips == tallies.flips.max()
    assert case.strip[2].after
    stage = show_again(audit).stage(samples[case.image])
    for view in case.strip:
        dy = next(row for row in _rows(audit, case.image) if wording.place(row["dy"], row["dx"]) == view.place)["dy"]
        np.testing.assert_array_equal(view.picture, stage.view(int(dy), 0))
    for line in case.lines:
        told = [
            dict(zip(row["top5"], row["top5_p"], strict=True)).get(NAMES.index(line.name))
            for row in _rows(audit, case.image)
        ]
        known = [at for at, p in enumerate(told) if p is not None]
        np.testing.assert_allclose(line.p[known], [told[at] for at in known])
    assert wording.count(case.flips, "change") in page.read_text("utf-8")


def test_worst_pairs_are_the_steepest_flips(tmp_path):
    audit = sh.audit(MODEL, _samples(30), walk="pairs", out=tmp_path)
    tallies = tally(audit)
    worst = choose_worst(tallies, 6, by_steepness=True)
    assert tallies.steepest[worst].tolist() == sorted(tallies.steepest[tallies.flips > 0])[::-1][:6]
    steep = steepness(rows_of(audit, worst)[int(worst[0])])
    assert tallies.steepest[worst[0]] in steep


def test_a_steady_model_is_said_to_be_steady(tmp_path):
    steady = FakeModel(lambda views: np.tile([0.9, 0.1], (len(views), 1)))
    page = sh.write_report(sh.audit(steady, _samples(5, labels=False), out=tmp_path))
    text = " ".join(unescape("".join(Tags(page).words)).split())
    assert "changed its answer in none of 160 pairs of views (at most 53 in 100 with 95 % confidence)" in text
    assert "No answer changed." in text
    assert not list((tmp_path / "figures").glob("worst-*"))


@pytest.mark.usefixtures("page_only")
def test_a_model_that_always_changes_is_said_to(tmp_path):
    audit = sh.audit(FakeModel(parity), checkerboards(4), motion="roll", steps=8, out=tmp_path)
    assert "changes its answer every time" in sh.write_report(audit).read_text("utf-8")


@pytest.mark.usefixtures("page_only")
def test_one_image_is_enough(tmp_path):
    for walk in WALKS:
        audit = sh.audit(MODEL, _samples(1), walk=walk, out=tmp_path / walk)
        assert "unknown: one image" in sh.write_report(audit).read_text("utf-8")


@pytest.mark.usefixtures("page_only")
def test_controls_may_be_absent(tmp_path):
    text = sh.write_report(sh.audit(MODEL, _samples(3), controls=False, out=tmp_path)).read_text("utf-8")
    assert "No controls were taken" in text


@pytest.mark.usefixtures("page_only")
def test_metrics_may_be_chosen(tmp_path):
    text = sh.write_report(sh.audit(MODEL, _samples(3), metrics=["mac"], out=tmp_path)).read_text("utf-8")
    assert "changes its answer" in text
    assert ">margin<" not in text


@pytest.mark.usefixtures("page_only")
def test_skipped_images_and_warnings_are_told(tmp_path):
    def unreadable():
        raise InputError("no readable image (truncated)")

    audit = sh.audit(MODEL, [*_samples(3), Sample("<broken>.jpg", 0, unreadable)], out=tmp_path)
    page = Tags(sh.write_report(audit))
    assert any("<broken>.jpg" in word for word in page.words)
    assert any("no readable image (truncated)" in word for word in page.words)
    assert all(any(warning in word for word in page.words) for warning in audit.warnings)


@pytest.mark.usefixtures("page_only")
def test_a_whole_shard_may_be_unusable(tmp_path):
    def unreadable():
        raise InputError("no readable image")

    broken = [Sample(f"broken-{number}", 0, unreadable) for number in range(40)]
    page = sh.write_report(sh.audit(MODEL, [*broken, *_samples(4)], out=tmp_path, batch_size=4))
    assert len(_heat(page)["ids"]) == 4
    assert "and 20 more" in page.read_text("utf-8")


def test_every_metric_has_words():
    assert set(wording.METRIC_WORDS) == set(METRICS)
    assert set(wording.TOGETHER) <= set(METRICS)


def test_the_page_is_the_same_every_time(swept):
    audit, page = swept
    files = [page, *sorted((audit.folder / "figures").iterdir())]
    before = [file.read_bytes() for file in files]
    sh.write_report(audit, class_names=NAMES, samples=_samples(24))
    assert [file.read_bytes() for file in files] == before


def test_names_must_be_as_many_as_classes(swept):
    with pytest.raises(InputError, match="3 class names for 16 classes"):
        sh.write_report(swept[0], class_names=["a", "b", "c"])


# Pictures


@pytest.mark.usefixtures("page_only")
def test_pictures_come_from_where_the_audit_found_them(tmp_path):
    (tmp_path / "photos").mkdir()
    for sample in _samples(6):
        Image.fromarray(sample.read()).save(tmp_path / "photos" / f"{sample.id}.png")
    audit = sh.audit(MODEL, tmp_path / "photos", out=tmp_path / "out")
    assert any(tag == "img" for tag, _ in Tags(sh.write_report(audit)).tags)
    shutil.rmtree(tmp_path / "photos")
    page = sh.write_report(audit)
    assert not any(tag == "img" for tag, _ in Tags(page).tags)
    assert "can't be read any more" in unescape(page.read_text("utf-8"))


@pytest.mark.usefixtures("page_only")
def test_another_picture_of_the_same_name_is_not_shown(tmp_path):
    samples = pictures(6, (20, 90))
    audit = sh.audit(MODEL, samples, walk="pairs", out=tmp_path)
    square = [replace(sample, read=lambda: np.zeros((20, 20, 3), np.uint8)) for sample in samples]
    assert "of the pictures can't be read" in unescape(sh.write_report(audit, samples=square).read_text("utf-8"))
    gone = [replace(sample, id=f"other-{sample.id}") for sample in samples]
    assert "The pictures can't be read" in unescape(sh.write_report(audit, samples=gone).read_text("utf-8"))


# Safety and size


def test_names_of_files_and_classes_are_escaped(tmp_path):
    samples = [replace(sample, id=name) for sample, name in zip(_samples(5), HOSTILE, strict=True)]
    names = [*HOSTILE, *NAMES[5:]]
    for walk in ("sweep", "pairs"):
        audit = sh.audit(MODEL, samples, walk=walk, out=tmp_path / walk)
        page = sh.write_report(audit, class_names=names, samples=samples)
        found = Tags(page)
        assert sum(tag == "script" for tag, _ in found.tags) == 2
        assert all("onerror" not in attributes for _, attributes in found.tags)
        text = "".join(found.words)
        assert all(name in text for name in HOSTILE)
        assert "alert(" not in re.search(r"<script>.*?</script>", page.read_text("utf-8"), re.DOTALL)[0]
        assert set(_heat(page)["ids"]) == set(HOSTILE)


def test_a_large_audit_stays_small_and_says_which_images_it_shows(tmp_path):
    samples = [replace(sample, id=f"{sample.id}/{'x' * 300}") for sample in _samples(620)]
    audit = sh.audit(MODEL, samples, out=tmp_path, batch_size=64)
    page = sh.write_report(audit, class_names=[f"{name} {'y' * 300}" for name in NAMES], samples=samples)
    assert page.stat().st_size <= MOST_BYTES
    assert len(_heat(page)["ids"]) == MOST_ROWS
    assert "Shown are 500 of 620 images, at equal quantiles" in page.read_text("utf-8")

    tallies = tally(audit)
    instability = tallies.instability[choose_rows(tallies, MOST_ROWS)]
    assert len(instability) == MOST_ROWS
    quantiles = np.quantile(tallies.instability, np.linspace(0, 1, MOST_ROWS), method="nearest")
    np.testing.assert_allclose(np.sort(instability), quantiles, atol=1 / 32)
    assert instability.min() == tallies.instability.min()
    assert instability.max() == tallies.instability.max()


def test_long_walks_leave_room_for_fewer_images(swept):
    audit = swept[0]
    assert most_rows(audit) == MOST_ROWS
    assert most_rows(replace(audit, walk={"shape": "grid", "radius_px": 50})) == MOST_CELLS // 101**2
    assert most_rows(replace(audit, walk={"shape": "sweep", "steps": 10**6, "direction": "vertical"})) == 1


def test_nothing_is_loaded_from_anywhere(swept):
    for tag, attributes in Tags(swept[1]).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            link = attributes.get(name, "")
            assert not re.match(r"(?i)\s*(https?:)?//", link), (tag, link)
    assert "url(" not in swept[1].read_text("utf-8")


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


def _open(browser, page, width=1200, **options):
    tab = browser.new_page(viewport={"width": width, "height": 900}, **options)
    heard = {"requests": [], "complaints": []}
    tab.on("request", lambda request: heard["requests"].append(request.url))
    tab.on("console", lambda message: heard["complaints"].append(message.text))
    tab.on("pageerror", lambda error: heard["complaints"].append(str(error)))
    tab.goto(page.as_uri())
    tab.locator("#heat-map canvas").scroll_into_view_if_needed()
    return tab, heard


def _center(tab, heat, image, cell):
    """The middle of a sweep's cell, in px of the canvas."""
    box = tab.locator("#heat-map canvas").bounding_box()
    return {"x": box["width"] * (cell + 0.5) / heat["tile"][1], "y": box["height"] * (image + 0.5) / len(heat["ids"])}


def test_the_page_asks_for_nothing_and_shows_the_cell_under_the_pointer(browser, swept):
    _, page = swept
    heat = _heat(page)
    tab, heard = _open(browser, page)
    canvas, tip = tab.locator("#heat-map canvas"), tab.locator("#heat-map .tip")
    assert not tip.is_visible()
    for image, cell in [(0, 0), (11, 20), (23, 32)]:
        canvas.hover(position=_center(tab, heat, image, cell))
        told = tip.inner_text()
        assert heat["ids"][image] in told
        assert wording.place(*heat["places"][0][cell]) in told
        assert f"{heat['names'][heat['top'][image][cell]]}, {heat['p'][image][cell] / 10:.1f} %" in told
    assert [url for url in heard["requests"] if not url.startswith("data:")] == [page.as_uri()]
    assert heard["complaints"] == []
    tab.close()


def test_shades_are_those_of_right_and_wrong(browser, swept):
    _, page = swept
    heat = _heat(page)
    tab, _ = _open(browser, page)
    light = np.array(heat["top"]) == np.array(heat["right"])[:, None]
    assert 0 < light.mean() < 1
    for image, cell in [(0, 0), (5, 9), (12, 30), (23, 16)]:
        at = _center(tab, heat, image, cell)
        pixel = tab.evaluate(
            "([x, y]) => [...document.querySelector('canvas').getContext('2d').getImageData(x, y, 1, 1).data]",
            [at["x"], at["y"]],
        )
        assert (np.mean(pixel[:3]) > 128) == light[image, cell]
    tab.close()


def test_keys_and_fingers_reach_the_cells(browser, swept):
    _, page = swept
    heat = _heat(page)
    tab, _ = _open(browser, page, 390, has_touch=True)
    canvas, tip = tab.locator("#heat-map canvas"), tab.locator("#heat-map .tip")
    canvas.tap(position=_center(tab, heat, 3, 4))
    assert heat["ids"][3] in tip.inner_text()
    canvas.focus()
    for key in ["ArrowDown", "ArrowDown", "ArrowRight"]:
        canvas.press(key)
    assert heat["ids"][5] in tip.inner_text()
    assert wording.place(*heat["places"][0][5]) in tip.inner_text()
    canvas.press("Escape")
    assert not tip.is_visible()
    tab.close()


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("walk", WALKS)
def test_fits_on_a_phone_without_complaint(walk, browser, tmp_path):
    samples = [replace(sample, id=f"{'long' * 30}-{sample.id}") for sample in _samples(8)]
    page = sh.write_report(
        sh.audit(MODEL, samples, walk=walk, out=tmp_path), class_names=["m" * 90] * 16, samples=samples
    )
    for width in (360, 390):
        tab, heard = _open(browser, page, width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        canvas = tab.locator("#heat-map canvas")
        canvas.hover(position={"x": 4, "y": 4})
        assert tab.locator("#heat-map .tip").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert heard["complaints"] == []
        tab.close()


@pytest.mark.usefixtures("page_only")
def test_hostile_names_do_nothing_in_a_browser(browser, tmp_path):
    samples = [replace(sample, id=name) for sample, name in zip(_samples(5), HOSTILE, strict=True)]
    audit = sh.audit(MODEL, samples, out=tmp_path)
    page = sh.write_report(audit, class_names=[*HOSTILE, *NAMES[5:]], samples=samples)
    tab, heard = _open(browser, page)
    tab.locator("#heat-map canvas").hover(position=_center(tab, _heat(page), 2, 2))
    assert any(name in tab.locator("#heat-map .tip").inner_text() for name in HOSTILE)
    assert heard["complaints"] == []
    assert len([url for url in heard["requests"] if not url.startswith("data:")]) == 1
    tab.close()


def test_dark_is_dark(browser, swept):
    shades = {}
    for scheme in ("light", "dark"):
        tab, _ = _open(browser, swept[1], color_scheme=scheme)
        color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = np.mean([int(part) for part in re.findall(r"\d+", color)[:3]])
        tab.close()
    assert shades["light"] > 200
    assert shades["dark"] < 60
