"""The page of an audit: it says what the table says, whole, offline, on any screen, whatever the files are called."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from fakes import FakeModel, checkerboards, hashed, parity, pictures
from PIL import Image

import shiftable as sh
from shiftable.auditing import METRICS, show_again
from shiftable.auditing.metrics import FRAMES
from shiftable.auditing.motions import MOTIONS, make_motion
from shiftable.auditing.motions.stage import Place, Stage
from shiftable.auditing.walks import lay_walks, make_walk
from shiftable.data import Box, Sample
from shiftable.errors import InputError
from shiftable.report import provenance, wording
from shiftable.report.heat_map import MOST_CELLS, MOST_ROWS, most_rows
from shiftable.report.motion_words import MOTION_WORDS
from shiftable.report.tallies import choose_rows, choose_worst, rows_of, steepness, tally
from shiftable.report.worst_cases import step_at, worst_case

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
    assert set(wording.METRIC_WORDS) == {name for name, metric in METRICS.items() if metric.walks != FRAMES}
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


# Every motion

BOXES = [(Box(8, 8, 14, 12),), (Box(5, 6, 11, 11),), (Box(6, 5, 12, 13),)]
"""So that a view of 8 × 8 px of pictures of 16 × 20 px has 4 places down or more, but not equally many."""

EVERY_MOTION = {
    "crop": ({}, "Moved by one pixel, ", "moved by one pixel", "one pixel apart", "px down"),
    "camera": ({}, "Moved in front of the camera by one pixel, ", "camera by one pixel", "one pixel apart", "px down"),
    "canvas": ({"size_px": 2}, "Moved by one pixel, ", "moved by one pixel", "one pixel apart", "px down"),
    "roll": ({}, "Rolled round by one pixel, ", "rolled round by one pixel", "one pixel apart", "px down"),
    "subpixel": ({}, "Moved by 1/8 of a pixel, ", "moved by 1/8 of a pixel", "1/8 of a pixel apart", "px down"),
    "scale": ({}, "Made one pixel larger, ", "made one pixel larger", "one pixel apart in size", "px larger"),
    "rotate": ({"step": 0.5}, "Turned by 0.5°, ", "turned by 0.5°", "0.5° apart", "° counter-clockwise"),
    "keep-box": ({}, "Moved by one pixel, its object whole in view, ", "whole in view", "one pixel apart", "the walk"),
}
"""Options, how the headline begins, the control's row, how the views of a pair differ, the axis of the heat map."""

TOO_FAR = {("camera", "pairs"), *((motion, "random") for motion in ("camera", "canvas", "roll", "scale"))}
"""Walks that need more room than there is in such small pictures."""

every_motion = pytest.mark.parametrize("motion", EVERY_MOTION)
RESTLESS = FakeModel(hashed, scores="logits")


def _boxed(count):
    return [replace(sample, boxes=BOXES[at % 3]) for at, sample in enumerate(_samples(count))]


def _audited(motion, out, count=6, walk="sweep", **options):
    chosen = {"steps": 7} if walk == "sweep" else {}
    given = {**EVERY_MOTION[motion][0], **chosen, **options}
    return sh.audit(RESTLESS, _boxed(count), motion=motion, walk=walk, out=out, **given)


def test_every_motion_is_here():
    assert set(EVERY_MOTION) == set(MOTIONS) == set(MOTION_WORDS)


@pytest.mark.usefixtures("page_only")
@every_motion
def test_every_motion_has_its_words(motion, tmp_path):
    _, headline, row, apart, axis = EVERY_MOTION[motion]
    audit = _audited(motion, tmp_path)
    page = sh.write_report(audit, samples=_boxed(6))
    text = " ".join(unescape("".join(Tags(page).words)).split())
    assert f"{headline}fake changes its answer" in text
    assert row in text
    assert f"Of two views {apart}, how often" in text
    assert f"per image, {apart}," in text
    assert ("steps of" in text) == ("step" in MOTIONS[motion].options)
    assert axis in text
    assert any(tag == "img" for tag, _ in Tags(page).tags)
    if MOTIONS[motion].axes == 1 or motion == "subpixel":
        assert not re.search(r"one pixel (down|apart,|further)|moved by one", text)


@pytest.mark.parametrize("motion", ["rotate", "scale", "keep-box"])
def test_motions_of_another_kind_have_their_figures(motion, tmp_path):
    sh.write_report(_audited(motion, tmp_path, count=3), samples=_boxed(3))
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"heatmap.png", "worst-1.png", "flips.png" if motion == "keep-box" else "jaggedness.png"} <= figures


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("walk", WALKS)
@every_motion
def test_every_motion_has_a_page_for_every_walk_it_can_take(motion, walk, tmp_path):
    if walk == "grid" and (MOTIONS[motion].axes == 1 or MOTIONS[motion].needs_boxes):
        with pytest.raises(InputError, match="has no grid"):
            _audited(motion, tmp_path, walk=walk)
        return
    if (motion, walk) in TOO_FAR:
        return
    audit = _audited(motion, tmp_path, 3, walk, **({"step": 0.1} if motion == "subpixel" else {}))
    heat, text = _heat(sh.write_report(audit, samples=_boxed(3))), (tmp_path / "report.html").read_text("utf-8")
    assert len(heat["ids"]) == audit.images["count"]
    if walk == "random":
        assert {"subpixel": "at most 3.1 px apart", "rotate": "at most 15.5° apart"}.get(motion, "31 px apart") in text
    if (motion, walk) == ("subpixel", "grid"):
        assert "from 0.3 px up to 0.3 px down" in text


@pytest.mark.usefixtures("page_only")
@every_motion
def test_cells_and_views_of_every_motion_are_at_their_places(motion, tmp_path):
    audit = _audited(motion, tmp_path)
    heat = _heat(sh.write_report(audit, samples=_boxed(6)))
    for number, image in enumerate(heat["ids"]):
        rows = _rows(audit, image)
        shared = heat["places"][0] if len(heat["places"]) == 1 else heat["places"][number]
        told = [_spoken(heat["of"], place) for place in shared]
        for cell, row in enumerate(rows):
            assert told[cell] == wording.place(row["dy"], row["dx"], row["scale"], row["angle"])
        assert all(top == -1 for top in heat["top"][number][len(rows) :])
    show, samples = show_again(audit), {sample.id: sample for sample in _boxed(6)}
    rows = rows_of(audit, [0, 1])[0]
    case = worst_case(rows, "class {}".format, show, samples[rows.images[0]])
    stage, table = show.stage(samples[case.image]), _rows(audit, case.image)
    asked = {wording.place(row["dy"], row["dx"], row["scale"], row["angle"]): row for row in table}
    (path,) = lay_walks(
        show.walk, stage.dy, stage.dx, np.random.default_rng(0), home=stage.home, shorten=show.motion.needs_boxes
    )
    for view in case.strip:
        np.testing.assert_array_equal(view.picture, stage.view(*path[asked[view.place]["step"]].tolist()))
    assert (np.diff(case.offsets) > 0).all()


def _spoken(of, place):
    """A cell's place as the page's script says it."""
    return {
        "shift": lambda: wording.place(*place),
        "scale": lambda: wording.place(0, 0, 1 + place[0] / 100),
        "angle": lambda: wording.place(0, 0, 1, place[0]),
    }[of]()


@every_motion
def test_every_motion_is_shown_again_from_its_record(motion, tmp_path):
    audit = _audited(motion, tmp_path, count=3)
    found = {**audit.motion, "floor": {"share": 0.02}, "of a later version": 1}
    show = show_again(replace(audit, motion=found))
    for number, sample in enumerate(_boxed(3)):
        shown = show(number, sample)
        expected = _rows(audit, sample.id)
        moved = [row for row in shown.rows if row.control is None]
        assert [tuple(row[name] for name in PLACES) for row in expected] == [
            tuple(getattr(row, name) for name in PLACES) for row in moved
        ]
        answers = hashed(np.stack([shown.views[row.view] for row in moved])).argmax(axis=1)
        assert answers.tolist() == [row["top1"] for row in expected]


PLACES = ("walk", "step", "dy", "dx", "scale", "angle")


@pytest.mark.usefixtures("page_only")
def test_sweeps_of_differing_length_leave_cells_empty(tmp_path):
    audit = _audited("keep-box", tmp_path, steps=33)
    heat = _heat(sh.write_report(audit))
    lengths = [len(_rows(audit, image)) for image in heat["ids"]]
    assert len(set(lengths)) > 1
    assert heat["tile"] == [1, max(lengths)]
    for top, length in zip(heat["top"], lengths, strict=True):
        assert top.count(-1) == max(lengths) - length
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "White is where a walk has no more places." in text
    assert "<span>1</span><span>place along the walk</span>" in text


@pytest.mark.usefixtures("page_only")
def test_the_floor_of_an_interpolation_stands_beside_the_controls(tmp_path):
    audit = _audited("rotate", tmp_path)
    floor = {"step_levels": 6.1, "floor_levels": 0.122, "share": 0.02}
    text = sh.write_report(replace(audit, motion={**audit.motion, "floor": floor})).read_text("utf-8")
    said = "Of the change between neighbouring views, 2 % is the instrument's own (0.12 of 6.1 grey levels)."
    assert said in unescape(text)
    still = {name: value for name, value in audit.motion.items() if name != "floor"}
    assert 'id="floor"' not in sh.write_report(replace(audit, motion=still)).read_text("utf-8")


def test_a_step_is_found_again_by_its_place():
    stage = Stage(
        lambda i, j: np.zeros((1, 1, 3), np.uint8), range(-9, 3), range(4, 8), lambda i, j: Place(i / 10, j / 10),
        home=(0, 4),
    )  # fmt: skip
    for step in [(-9, 4), (2, 7), (0, 5)]:
        assert step_at(stage, stage.place(*step)) == step
    assert step_at(stage, Place(0.3, 0.5)) is None
    assert step_at(stage, Place(0.1, 0.5, 1.1)) is None
    turning = Stage(stage.view, range(-9, 3), range(1), lambda i, j: Place(angle=i / 3))
    assert step_at(turning, Place(angle=-8 / 3)) == (-8, 0)


@pytest.mark.parametrize("command", [{"motion": "rotate", "step": 0.5}, {"motion": "scale"}, {"motion": "crop"}])
@pytest.mark.usefixtures("page_only")
def test_the_command_has_no_options_that_were_not_taken(command, tmp_path):
    (tmp_path / "photos").mkdir()
    for sample in _samples(3):
        Image.fromarray(sample.read()).save(tmp_path / "photos" / f"{sample.id}.png")
    audit = sh.audit(RESTLESS, tmp_path / "photos", steps=5, out=tmp_path / "out", **command)
    words = provenance.command(audit)
    assert "None" not in words
    assert ("--direction" in words) == (command["motion"] == "crop")
    assert ("--step 0.5" in words) == ("step" in command)


@pytest.mark.usefixtures("page_only")
def test_the_command_says_what_the_record_knows(tmp_path):
    (tmp_path / "photos").mkdir()
    rows = ["file,xmin,ymin,xmax,ymax"]
    for sample in _samples(3):
        Image.fromarray(sample.read()).save(tmp_path / "photos" / f"{sample.id}.png")
        rows.append(f"{sample.id}.png,8,8,14,12")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(rows))
    plain = {"images": tmp_path / "photos", "motion": "keep-box", "steps": 5}
    audit = sh.audit(MODEL, **plain, boxes=boxes, out=tmp_path / "usual")
    words = shlex.split(provenance.command(audit))
    assert words[words.index("--boxes") + 1] == str(boxes)
    assert not {"--metric", "--no-controls", "--no-enlarge", "--strict", "--keep-scores"} & set(words)
    audit = sh.audit(
        MODEL, **plain, boxes=str(boxes), metrics=["mac", "margin"], controls=False, enlarge=False, strict=True,
        keep_scores=True, out=tmp_path / "unusual",
    )  # fmt: skip
    said = provenance.command(audit)
    assert said.endswith("--no-controls --no-enlarge --strict --keep-scores --metric mac --metric margin")
    assert "<code>--preprocessing</code>" in sh.write_report(audit).read_text("utf-8")
    by_hand = {f"{sample.id}.png": (Box(8.0, 8.0, 14.0, 12.0),) for sample in _samples(3)}
    assert provenance.command(sh.audit(MODEL, **plain, boxes=by_hand, out=tmp_path / "hand")) is None


@pytest.mark.parametrize(
    ("motion", "walk", "said"),
    [
        ("crop", "random", "both places drawn at random, at most 31 px apart on each axis"),
        ("keep-box", "random", "both places drawn at random, at most 31 px apart on each axis"),
        ("rotate", "random", "both angles drawn at random, at most 31° apart"),
        ("rotate", "pairs", "1° apart: an angle drawn at random, and one step further"),
        ("scale", "pairs", "a size drawn at random, and one step further"),
    ],
)
def test_walks_are_told_in_the_motions_words(swept, motion, walk, said):
    moving = make_motion(motion)
    walk = make_walk(walk, axes=moving.axes).to_json()
    audit = replace(swept[0], motion={"name": motion, **moving.options}, walk=walk)
    assert wording.walk_words(audit).endswith(said)


def test_one_note_where_boxes_left_no_walk(tmp_path):
    boxes = [Box(8.0, 8.0, 14.0, 12.0), Box(10.0, 0.0, 16.0, 20.0)]
    samples = [replace(sample, boxes=(box,)) for sample, box in zip(_samples(2), boxes, strict=True)]
    (note,) = sh.audit(MODEL, samples, motion="keep-box", steps=5, out=tmp_path / "a").warnings
    assert note.startswith("1 of 2 images were skipped")
    unknown = replace(_samples(3)[2], boxes=None)
    notes = sh.audit(MODEL, [*samples, unknown], motion="keep-box", steps=5, out=tmp_path / "b").warnings
    assert "1 of 3 images have no two places that show the whole box" in notes


@pytest.mark.usefixtures("page_only")
def test_only_own_figures_are_deleted(tmp_path):
    audit = sh.audit(MODEL, _samples(3), out=tmp_path)
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("worst-1.png", "worst-of-all.png", "my.png"):
        (figures / name).touch()
    sh.write_report(audit)
    assert {path.name for path in figures.iterdir()} == {"worst-of-all.png", "my.png"}


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


@pytest.mark.usefixtures("page_only")
@pytest.mark.parametrize("motion", ["rotate", "scale", "subpixel", "keep-box"])
def test_the_pointer_says_where_a_view_is_in_every_motions_words(motion, browser, tmp_path):
    audit = _audited(motion, tmp_path)
    page = sh.write_report(audit)
    heat = _heat(page)
    tab, heard = _open(browser, page)
    canvas, tip = tab.locator("#heat-map canvas"), tab.locator("#heat-map .tip")
    for image, cell in [(0, 0), (2, 3), (5, heat["tile"][1] - 1)]:
        canvas.hover(position=_center(tab, heat, image, cell))
        row = dict(enumerate(_rows(audit, heat["ids"][image]))).get(cell)
        told = wording.place(row["dy"], row["dx"], row["scale"], row["angle"]) if row else "no view here"
        assert tip.inner_text().split("\n")[1] == told
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
