"""The page of a diagnosis says what the diagnosis says, whole and offline, also where parts of it are missing."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from math import nan

import numpy as np
import pytest
from PIL import Image

from shiftable.auditing.intervals import magnitude, rate
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import (
    Diagnosis,
    Finding,
    Interaction,
    Intervention,
    Response,
    Sampling,
    Spectrum,
    Structure,
    Subsampling,
)
from shiftable.explaining.margins import measure_margins
from shiftable.explaining.outside import reveal_stride
from shiftable.explaining.risk import fit_risk, read_risk, views_at_risk
from shiftable.report import explain_drawings, explain_plots, explain_words
from shiftable.report.explain_figures import explain_figure
from shiftable.report.explain_page import DRAWN, claim_folder, explain_drawings_of, read_beside, write_diagnosis
from shiftable.report.explain_sections import SNIPPET
from shiftable.report.explain_text import show_diagnosis
from shiftable.report.explain_words import ANSWERS, PARTS, figure

MOST_BYTES = 5_000_000
HOSTILE = ('</script><script>alert("a")</script>', "<img src=x onerror=alert(1)>", "$x^$ & {{7*7}} `", "猫 עברית")
SITES = ("features.3.conv", "features.6.pool", "features.12.expand.downsample", "features.15.pool")
IMAGES, STEPS, CLASSES, STRIDE = 24, 65, 8, 16


def _scores(seed=0):
    """Logits along walks: each image's own class, a dependence on the offset modulo ``STRIDE``, a drift."""
    rng = np.random.default_rng(seed)
    at = np.arange(STEPS)
    scores = rng.normal(0, 0.5, (IMAGES, 1, CLASSES)).repeat(STEPS, axis=1)
    scores[np.arange(IMAGES), :, rng.integers(0, CLASSES, IMAGES)] += rng.gamma(1.5, 1.5, (IMAGES, 1))
    for order in (1, 2, 4):
        phase, size = rng.uniform(0, 2 * np.pi, (2, IMAGES, 1, CLASSES))
        scores += 0.06 * size * np.cos(2 * np.pi * order * at[:, None] / STRIDE + phase)
    return scores + np.cumsum(rng.normal(0, 0.04, scores.shape), axis=1)


def _rate(value, rng):
    hits = rng.binomial(STEPS - 1, np.clip(value * rng.gamma(1, 1, IMAGES), 0, 1)).astype(float)
    return rate(hits, np.full(IMAGES, STEPS - 1.0))


def _size(value, rng):
    return magnitude(value * rng.gamma(8, 1 / 8, IMAGES), np.ones(IMAGES))


def _response(number, rng):
    side, offsets = (56, 28, 14, 7)[number % 4], np.arange(-STRIDE, STRIDE + 1, dtype=float)
    y, x = np.mgrid[:side, :side] / side
    maps = np.stack([np.exp(-(((y - 0.5) ** 2 + (x - 0.5 - at / 224) ** 2) * 30)) for at in (-16, -8, 0, 8, 16)])
    wave = np.cos(2 * np.pi * offsets / 2 ** (number + 1) + rng.uniform(0, 6, (3, 1)))
    both = {"circular": 0.02 * (number + 1), "real": 0.03 * (number + 1)}
    return Response(
        layer=SITES[number % 4] if number < 4 else f"late.{number}",
        depth=(number + 1) / 5,
        stride_px=(2 ** (number + 1),) * 2,
        channels=32 * 2**number,
        size=(side, side),
        sums_vary={kind: _size(value, rng) for kind, value in both.items()},
        equivariance_error={kind: _size(5 * value, rng) for kind, value in both.items()},
        map_change={kind: _size(0.3 + 0.1 * number + value, rng) for kind, value in both.items()},
        pooled_change={kind: _size(2 * value, rng) for kind, value in both.items()},
        sharpness=_size(0.1 + 0.05 * number, rng),
        offsets_px=offsets,
        sums={kind: 1 + value * wave for kind, value in both.items()},
        maps=maps + rng.normal(0, 0.02, maps.shape),
        maps_at_px=np.array([-16.0, -8, 0, 8, 16]),
    )


def _spectrum(number, rng):
    frequency = np.linspace(0.01, 0.7, 32)
    share = frequency / frequency.sum()
    power, noise = (each / (each * share).sum() for each in (np.exp(-frequency * (14 - 3 * number)) + 1e-4,
                                                             np.exp(-frequency * 2)))  # fmt: skip
    return Spectrum(SITES[number], (2, 2), _rate(0.1 + 0.1 * number, rng), 0.5, frequency,
                    power, noise, share)  # fmt: skip


def _intervention(sites, removed, rng):
    before, after = _rate(0.09, rng), _rate(0.09 - removed, rng)
    gone = replace(before, value=before.value - after.value, low=removed - 0.02, high=removed + 0.025)
    mac = _size(0.05, rng)
    return Intervention(sites, after, before, gone, mac, replace(mac, value=removed / 2), _rate(0.9, rng),
                        replace(gone, value=-0.01, low=-0.02, high=0.001), 1.04)  # fmt: skip


def _structure():
    sites, stride, size = [], 1, 224
    for number, name in enumerate(SITES):
        sites.append(
            Subsampling(name, *(("convolution", "Conv2d"), ("max pooling", "MaxPool2d"))[number % 2],
                        (3, 3), (2, 2), ((0, 1), (0, 1)) if number == 1 else ((1, 1), (1, 1)), (1, 1), (size, size),
                        (size // 2, size // 2), 16 * 2**number, (stride, stride), (7 * stride, 7 * stride),
                        "average 2×2" if number == 2 else None, number != 3)
        )  # fmt: skip
        stride, size = 2 * stride, size // 2
    return Structure("torchvision/example", (224, 224), "short side to 256 px, bilinear, antialiased; centre crop",
                     tuple(sites), 16, 18, (16, 16), (211, 211), "features.18", ("global_pool (AdaptiveAvgPool2d)",),
                     ("One operation could not be followed: `roll`.",))  # fmt: skip


def _sampling(rng):
    offsets = np.arange(-STRIDE, STRIDE + 1, dtype=float)
    wave = np.cumsum(rng.normal(0, 1, (3, STRIDE)), axis=1)
    predicted = np.array([9.0, 8.4, 6.0])[:, None] + 0.3 * wave[:, offsets.astype(int) % STRIDE]
    measured = predicted + np.cumsum(rng.normal(0, 0.08, predicted.shape), axis=1)
    ring = np.minimum(np.arange(STRIDE), STRIDE - np.arange(STRIDE))
    harmonics = 1 / (1 + ring[:, None] ** 2 + ring**2) ** 2
    harmonics[0, 0] = 0
    return Sampling("dilated", None, (STRIDE, STRIDE), _size(0.81, rng), _size(0.9, rng), _rate(0.64, rng),
                    _rate(0.07, rng), _rate(0.094, rng), harmonics, predicted, measured, offsets)  # fmt: skip


def example_diagnosis():
    """A diagnosis with all parts, its numbers drawn at random, and consistent."""
    rng = np.random.default_rng(5)
    scores, sampling = _scores(), _sampling(rng)
    interventions = tuple(_intervention((site,), 0.01 + 0.015 * at, rng) for at, site in enumerate(SITES))
    interventions += (_intervention((SITES[2], SITES[3]), 0.06, rng),)
    share = sampling.sampling_share
    single = [each.flips_removed for each in interventions]
    beyond = replace(single[0], value=-0.04, low=-0.07, high=-0.005)
    interactions = (Interaction((SITES[2], SITES[3]), single[2], single[3], single[4], beyond),)
    findings = (
        Finding(None, "aliasing", "Most of the change of the answer is foretold from the still picture.", share.value,
                share.low, share.high, "%", share.value, "Blur before the sites that subsample.", "sampling"),
        Finding(SITES[3], "aliasing", f"Blurring `{SITES[3]}` alone takes away half of the changed answers.", 0.0553,
                0.0352, 0.0812, "%", 0.5, "Put a blur there and tune the net a little to it.", "interventions"),
        Finding(None, "margin", "The lead moves by 0.4 a pixel, where it is 2.1 in the typical picture.", 0.19, 0.11,
                0.33, "", 0.3, "Don’t show an answer whose margin is so small.", "margins"),
        Finding(None, "stride", "After 4 subsamplings the net looks at one place in 16 × 16 pixels.", 1 / 256, None,
                None, "%", 0.02, "Don’t hope that shifted copies in training cover it.", "structure"),
    )  # fmt: skip
    return Diagnosis(
        spec="torchvision/example",
        model={"spec": "torchvision/example", "weights_sha256": "0123456789abcdef" * 4, "view_size": [224, 224],
               "scores": "logits", "classes": CLASSES},
        images={"source": "photos/", "listed": IMAGES, "count": IMAGES, "sha256": "ab" * 32, "labelled": 0},
        settings={"steps": STEPS, "direction": "horizontal", "layers": list(SITES), "dense": 2, "interventions": True,
                  "pairs": 2, "seed": 5, "machine": {"system": "Linux"}, "versions": {"numpy": "2.4.6"}},
        structure=_structure(),
        responses=tuple(_response(number, rng) for number in range(4)),
        spectra=tuple(_spectrum(number, rng) for number in range(4)),
        sampling=sampling,
        interventions=interventions,
        margins=measure_margins(scores),
        risk=fit_risk(*views_at_risk(scores)),
        outside=reveal_stride(np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True), moduli=(2, 4, 8, 16)),
        findings=findings,
        remarks=("Two images were smaller than the view and left out.",),
        interactions=interactions,
    )  # fmt: skip


def _only(response, kind):
    """A response of one kind of shift."""
    names = ("sums_vary", "equivariance_error", "map_change", "pooled_change", "sums")
    return replace(response, **{name: {kind: getattr(response, name)[kind]} for name in names})


STEADY = np.zeros((10, STEPS, CLASSES)) + np.arange(CLASSES)
"""Answers that never change."""
EXAMPLE = example_diagnosis()
EMPTY = np.zeros((0, 1, 1))
UNTRIED = {"interventions": (), "interactions": ()}
BLACK_BOX = replace(
    EXAMPLE, spec="models/box.onnx", structure=None, responses=(), spectra=(), sampling=None, **UNTRIED
)  # fmt: skip
LESS = {
    "a black box": BLACK_BOX,
    "nothing but answers": replace(BLACK_BOX, margins=None, risk=None),
    "structure only": replace(
        BLACK_BOX, structure=EXAMPLE.structure, margins=None, risk=None, outside=None, findings=()
    ),
    "no site": replace(
        EXAMPLE, structure=replace(EXAMPLE.structure, sites=(), stride_px=(1, 1)), spectra=(), **UNTRIED
    ),
    "no interventions": replace(EXAMPLE, **UNTRIED),
    "no prediction, one axis": replace(
        EXAMPLE,
        sampling=replace(
            EXAMPLE.sampling, how="phases", why_not="attention looks at all of a map", correlation=None, rms_ratio=None,
            sampling_share=None, harmonics=np.arange(16.0)[None],
        ),
    ),
    "no dependence on the place": replace(
        EXAMPLE, sampling=replace(EXAMPLE.sampling, harmonics=np.zeros((STRIDE, STRIDE)), predicted=np.zeros((1, 3)),
                                  measured=np.zeros((1, 3)), offsets_px=np.arange(3.0)),
    ),
    "no maps": replace(
        EXAMPLE,
        responses=tuple(replace(each, maps=EMPTY, maps_at_px=EMPTY[:, 0, 0], sums={}) for each in EXAMPLE.responses),
    ),
    "one kind of shift": replace(
        EXAMPLE, responses=tuple(_only(each, "real") for each in EXAMPLE.responses)
    ),
    "no interval": replace(
        EXAMPLE, sampling=replace(EXAMPLE.sampling, rms_ratio=replace(EXAMPLE.sampling.rms_ratio, low=nan, high=nan)),
    ),
    "a risk that was not checked": replace(EXAMPLE, risk=fit_risk(*(each[:4] for each in views_at_risk(_scores())))),
    "no flips": replace(
        BLACK_BOX, margins=measure_margins(STEADY), risk=fit_risk(*views_at_risk(STEADY)), outside=reveal_stride(STEADY)
    ),
    "nothing recorded": replace(EXAMPLE, model={}, images={}, settings={}, remarks=()),
    "nothing at all": Diagnosis("a", {}, {}, {}, None, (), (), None, (), None, None, None, ()),
}  # fmt: skip


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.words, self.code = [], [], [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            (self.code if "pre" in self.open else self.words).append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture
def page_only(monkeypatch):
    """Leaves the PNG files out: they take longer than all the rest."""
    monkeypatch.setattr("shiftable.report.explain_page.explain_figure", lambda _, path: path.touch())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of the example, with its figures."""
    return write_diagnosis(EXAMPLE, tmp_path_factory.mktemp("explained"))


# The page


def test_asks_for_nothing_and_is_small(written):
    page = Page(written)
    assert written.stat().st_size < MOST_BYTES
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "audio", "video"}
    links = [attrs[name] for _, attrs in page.tags for name in ("href", "src") if name in attrs]
    assert links
    assert not [link for link in links if not re.match(r"data:|#|figures/|(diagnosis|structure|risk)\.json$", link)]
    assert "url(" not in written.read_text()
    assert page.open == []


def test_links_lead_somewhere(written):
    page = Page(written)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all((written.parent / link).exists() for link in links if not link.startswith("#"))
    assert {f"#{each.figure}" for each in EXAMPLE.findings} <= set(links)


def test_every_figure_is_drawn_and_is_a_picture(written):
    names = {path.stem for path in (written.parent / "figures").iterdir()}
    assert names == set(DRAWN)
    for name in DRAWN:
        with Image.open(written.parent / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200
            assert np.asarray(picture.convert("L")).std() > 5


def test_says_the_numbers_of_the_diagnosis(written):
    text = Page(written).text
    for estimate in (EXAMPLE.sampling.sampling_share, EXAMPLE.sampling.flips_measured, EXAMPLE.risk.check.observed):
        assert f"{100 * estimate.value:.1f} %" in text
        assert f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %" in text
    for each in EXAMPLE.spectra:
        assert f"{100 * each.aliased.value:.1f} %" in text
    for each in EXAMPLE.interventions:
        assert f"{100 * each.flips_before.value:.1f} % → {100 * each.flips.value:.1f} %" in text
    assert f"s² = {STRIDE**2} cases" in text
    assert "0.39 % of all shifts" in text
    assert "3 of 16 layers on the longest way through the net subsample (18 layers" in text
    assert EXAMPLE.risk.formula in Page(written).code
    assert EXAMPLE.outside.statement in text
    found = [text.index(each.words.replace("`", "")) for each in EXAMPLE.findings]
    assert found == sorted(found)
    assert all(each.remedy in text for each in EXAMPLE.findings)


def test_the_command_asks_for_the_same_again(written):
    (command,) = (each for each in Page(written).code if each.startswith("shiftable explain"))
    assert command.split()[:4] == ["shiftable", "explain", "torchvision/example", "photos/"]
    assert f"--images {IMAGES} --steps {STEPS} --direction horizontal --layer {SITES[0]} --layer" in command
    assert command.endswith("--dense 2 --interventions --pairs 2 --seed 5")
    text = Page(written).text
    assert "Versions" in text
    assert "numpy 2.4.6" in text


def test_files_hold_the_diagnosis(written):
    found = read_beside(written.parent)
    assert found == json.loads(json.dumps(EXAMPLE.to_json()))
    assert json.loads((written.parent / "structure.json").read_text()) == found["structure"]
    risk = read_risk(written.parent / "risk.json")
    assert risk(1.0) == EXAMPLE.risk(1.0)


def test_the_lines_shown_for_a_deployment_run(written, monkeypatch):
    monkeypatch.chdir(written.parent)
    names = {"logits": np.array([1.0, 3.0, 2.5])}
    exec(SNIPPET, names)
    assert bool(names["unsure"]) == bool(EXAMPLE.risk(0.5) > 0.2)
    assert len(SNIPPET.splitlines()) == 3


@pytest.mark.parametrize("what", LESS)
def test_reads_well_where_parts_are_missing(what, tmp_path, page_only):
    diagnosis = LESS[what]
    path = write_diagnosis(diagnosis, tmp_path)
    page = Page(path)
    assert page.open == []
    assert not re.search(r"\b(None|nan|inf|Undefined)\b|\(\)|\{\{| ,", page.text)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"][1:] for tag, attrs in page.tags if tag == "a" and attrs["href"].startswith("#")} <= ids
    assert ids & set(DRAWN) == {each.stem for each in (tmp_path / "figures").iterdir()}
    assert (tmp_path / "structure.json").exists() == (diagnosis.structure is not None)
    for name, words in PARTS.items():
        part = getattr(diagnosis, name)
        told = name in ANSWERS if diagnosis.structure is None else name != "outside"
        assert (f"Not here: {words}" in page.text) == (told and (part is None or part == ()))
    drawings = [attrs["d"] for tag, attrs in page.tags if tag == "path"]
    assert not [path for path in drawings if "nan" in path or "inf" in path]


@pytest.mark.parametrize(
    ("what", "name"),
    [("no prediction, one axis", "harmonics"), ("no maps", "depth"), ("a risk that was not checked", "risk")],
)
def test_figures_are_drawn_where_parts_are_missing(what, name, tmp_path):
    diagnosis = LESS[what]
    explain_figure(explain_drawings_of(diagnosis, diagnosis.to_json(), ())[name], tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert min(picture.size) > 200


def test_what_an_earlier_diagnosis_left_is_taken_away(tmp_path, page_only):
    write_diagnosis(EXAMPLE, tmp_path)
    (tmp_path / "figures" / "mine.png").touch()
    write_diagnosis(LESS["nothing but answers"], tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"outside.png", "mine.png"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diagnosis.json", "figures", "report.html"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_words_and_no_code(name, written, tmp_path, page_only):
    finding = replace(EXAMPLE.findings[0], site=name, words=f"{name} and `{name}`", remedy=name)
    diagnosis = replace(
        EXAMPLE,
        spec=name,
        structure=replace(EXAMPLE.structure, sites=tuple(replace(each, name=name) for each in EXAMPLE.structure.sites),
                          resize=name, mixes=(name,), last_map=name, remarks=(name,)),
        responses=tuple(replace(each, layer=name) for each in EXAMPLE.responses),
        spectra=tuple(replace(each, site=name) for each in EXAMPLE.spectra),
        interventions=tuple(replace(each, sites=(name,)) for each in EXAMPLE.interventions),
        interactions=(replace(EXAMPLE.interactions[0], sites=(name, name)),),
        sampling=replace(EXAMPLE.sampling, how="phases", why_not=name),
        images={**EXAMPLE.images, "source": name},
        settings={"layers": [name]},
        findings=(finding,),
        remarks=(name,),
    )  # fmt: skip
    path = write_diagnosis(diagnosis, tmp_path, [{**EXAMPLE.to_json(), "spec": name}])
    page, plain = Page(path), Page(written)
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == []
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert name.replace("`", "") in unescape(page.text).replace("`", "")


def test_findings_that_have_no_figure_here_have_no_link(tmp_path, page_only):
    finding = replace(EXAMPLE.findings[0], figure="spectra", low=None, high=None)
    page = Page(write_diagnosis(replace(EXAMPLE, spectra=(), findings=(finding,)), tmp_path))
    assert "#spectra" not in [attrs.get("href") for _, attrs in page.tags]


# Beside others


def test_several_nets_share_the_figure_of_invariance():
    record = EXAMPLE.to_json()
    others = [{**record, "spec": f"timm/other_{number}"} for number in range(3)]
    drawing = explain_drawings.invariance([record, *others])
    assert [name for _, name in drawing.legend()] == [EXAMPLE.spec, *(each["spec"] for each in others)]
    changes, pooled = drawing.parts
    for curve in changes.curves:
        np.testing.assert_allclose(curve.y, [each.map_change["circular"].value for each in EXAMPLE.responses])
    for curve in pooled.curves:
        np.testing.assert_allclose(curve.y, [each.pooled_change["circular"].value for each in EXAMPLE.responses])


def test_nets_are_compared_in_the_kind_of_shift_that_all_have():
    real = replace(EXAMPLE, responses=tuple(_only(each, "real") for each in EXAMPLE.responses)).to_json()
    assert explain_drawings.alike([EXAMPLE.to_json(), EXAMPLE.to_json()]) == "circular"
    assert explain_drawings.alike([EXAMPLE.to_json(), real]) == "real"


def test_reading_what_is_no_diagnosis_says_so(tmp_path):
    with pytest.raises(InputError, match="no diagnosis is there"):
        read_beside(tmp_path)
    (tmp_path / "diagnosis.json").write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        read_beside(tmp_path)
    (tmp_path / "diagnosis.json").write_text("[1]")
    with pytest.raises(InputError, match="is no diagnosis"):
        read_beside(tmp_path)


def test_a_folder_is_claimed_before_the_work(tmp_path, page_only):
    claim_folder(tmp_path / "new")
    write_diagnosis(EXAMPLE, tmp_path)
    with pytest.raises(InputError, match="another diagnosis"):
        claim_folder(tmp_path)
    (tmp_path / "mine.txt").touch()
    claim_folder(tmp_path, overwrite=True)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"mine.txt"}
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(InputError, match="holds an audit"):
        claim_folder(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        claim_folder(tmp_path / "mine.txt")


# What is drawn


def test_the_limit_is_that_of_the_stride_and_what_is_beyond_is_shaded():
    drawing = explain_drawings.spectra(EXAMPLE.spectra)
    for plot, each in zip(drawing.parts, EXAMPLE.spectra, strict=True):
        assert plot.shaded == plot.marks[0][0] == 1 / (2 * max(each.stride))
        np.testing.assert_allclose(10 ** plot.curves[0].y, each.power)
        np.testing.assert_allclose(10 ** plot.curves[1].y, each.power_noise)


def test_of_many_sites_those_with_most_beyond_are_drawn_in_order():
    rng = np.random.default_rng(0)
    many = [replace(EXAMPLE.spectra[0], site=str(at), aliased=_rate(0.02 * at, rng)) for at in rng.permutation(20)]
    drawing = explain_drawings.spectra(many)
    shown = [int(plot.title) for plot in drawing.parts]
    least = min(many[[each.site for each in many].index(str(at))].aliased.value for at in shown)
    assert len(shown) == explain_drawings.MOST_SITES
    assert all(each.aliased.value <= least for each in many if int(each.site) not in shown)
    assert shown == [int(each.site) for each in many if int(each.site) in shown]


def test_shares_of_waves_add_up_and_count_either_sign():
    power = np.zeros((8, 8))
    power[1, 2] = power[7, 6] = power[7, 2] = power[1, 6] = 1.0
    power[4, 0] = 4.0
    found = replace(EXAMPLE.sampling, harmonics=power)
    assert explain_words.strongest(found) == [("1", "2", "50.0\xa0%"), ("4", "0", "50.0\xa0%")]
    heat = explain_drawings.harmonics(found).parts[0]
    row, column = np.unravel_index(np.argmax(heat.shades), heat.shades.shape)
    assert (heat.y.low + row + 0.5, heat.x.low + column + 0.5) == (-4, 0)
    line = explain_drawings.harmonics(replace(found, harmonics=np.array([[0, 1.0, 2, 1]]))).parts[0]
    np.testing.assert_allclose(line.curves[0].y, [0, 0.5, 0.5])


@pytest.mark.parametrize("sides", [(3, 5), (112, 112), (113, 300), (500, 500)])
def test_maps_are_made_small_by_means(sides):
    maps = np.random.default_rng(0).random((2, *sides))
    shown = explain_drawings._smaller(maps)
    assert max(shown.shape[1:]) <= explain_drawings.LARGEST_MAP
    block = sides[0] // shown.shape[1]
    np.testing.assert_allclose(shown[1, 0, 0], maps[1, :block, :block].mean())


@pytest.mark.parametrize("values", [[0.0], [0.3, 0.001], [-0.2, 0.4], [123.0], [nan], []])
def test_axes_hold_their_values(values):
    known = [value for value in values if value == value]
    for axis in (explain_plots.linear("", values), explain_plots.spanning("", values)):
        assert axis.low < axis.high
        assert all(axis.low <= value <= axis.high for value in known)
        assert all(axis.low - 1e-9 <= at <= axis.high + 1e-9 for at, _ in axis.ticks)
    axis = explain_plots.logarithmic("", values)
    assert axis.low < axis.high
    assert all(explain_plots.logarithms([value])[0] <= axis.high for value in known)


# The terminal


@pytest.mark.parametrize("what", [None, *LESS])
def test_the_terminal_tells_the_findings_worst_first_and_the_sites(what, tmp_path):
    from rich.console import Console

    diagnosis = EXAMPLE if what is None else LESS[what]
    console = Console(file=StringIO(), width=400, legacy_windows=False)
    show_diagnosis(console, diagnosis, tmp_path / "report.html")
    text = console.file.getvalue()
    places = [text.index(each.words) for each in diagnosis.findings]
    assert places == sorted(places)
    assert all(each.remedy in text for each in diagnosis.findings)
    assert str(tmp_path / "report.html") in text
    if diagnosis.structure is not None:
        assert all(each.name in text for each in diagnosis.structure.sites)
    for each in diagnosis.spectra:
        assert figure(each.aliased.value, "%") in text


def test_markup_in_names_is_no_markup(tmp_path):
    from rich.console import Console

    console = Console(file=StringIO(), width=400)
    name = "[red]layer[/red] [/]"
    show_diagnosis(console, replace(EXAMPLE, findings=(replace(EXAMPLE.findings[1], site=name, words=name),)), tmp_path)
    assert console.file.getvalue().count(name) == 2
