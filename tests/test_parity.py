"""A model fed otherwise, and other files of it: planted faults are found and named, clean twins are not accused."""

import json
import re
import shutil
import threading
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from fakes import FakeModel, histogram, pictures
from markupsafe import escape

from shiftable.auditing.feeding.naming import explain
from shiftable.auditing.feeding.parity import parity
from shiftable.auditing.feeding.stills import Stills, answer_stills
from shiftable.auditing.feeding.variants import VARIANTS, declared, fed, fed_like, open_against, variants_of
from shiftable.auditing.motions import MOTIONS
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.numbers import as_numbers
from shiftable.models.preprocessing import GREY, LETTERBOXES, deployed_view
from shiftable.report.parity_page import COLUMNS, parity_rows, write_parity

SIZE = (75, 101)
OWN = Preprocessing(resize_px=20)


@dataclass(frozen=True)
class Looker:
    """Looks at numbers, not at views: at the colours and the roughness of the corners, by fixed random weights."""

    preprocessing: Preprocessing = OWN
    spec: str = "looker"
    noise: float = 0.0
    view_size: tuple[int, int] = (16, 16)
    scores: str = "logits"
    weights_sha256: str | None = None
    task: str = "classify"
    class_names: tuple[str, ...] | None = None
    batch_size: int = 8
    settings: dict[str, object] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list, compare=False)

    def __call__(self, views):
        self.asked.append(len(views))
        planes = as_numbers(views, replace(self.preprocessing, layout="NCHW"))
        quarters = planes.reshape(len(views), 3, 2, 8, 2, 8)
        rough = np.abs(np.diff(planes, axis=3)).mean(axis=(2, 3))
        seen = np.concatenate([quarters.mean(axis=(3, 5)).reshape(len(views), -1), rough], axis=1)
        weights = np.random.default_rng(0).normal(size=(seen.shape[1], 7))
        wrong = np.random.default_rng(1).normal(size=(len(views), 7)) * self.noise
        return (3 * seen @ weights + wrong).astype(np.float32)


def textured(count, size=SIZE):
    """Samples of a fine pattern of some strength on coloured quarters: what an antialias takes away."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        colours = rng.integers(60, 196, (2, 2, 3)).repeat(size[0] // 2 + 1, 0).repeat(size[1] // 2 + 1, 1)
        fine = rng.integers(-1, 2, (*size, 3)) * rng.integers(10, 60)
        array = np.clip(colours[: size[0], : size[1]] + fine, 0, 255).astype(np.uint8)
        found.append(Sample(f"image-{number}", None, lambda array=array: array))
    return found


FAULTS = {
    "without-antialias": {"antialias": False},
    "bgr": {"color_order": "BGR"},
    "half": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    "bytes": {"mean": (0.0,), "std": (1 / 255,)},
    "squashed": {"resize_px": (16, 16)},
    "no-margin": {"resize_px": 16},
    "letterbox": {"crop": "letterbox"},
    "letterbox-corner": {"crop": "letterbox-corner"},
    "bicubic": {"resampler": "bicubic"},
}


def export(name, **changes):
    """The same model in a file that is fed otherwise."""
    return Looker(replace(OWN, **changes), f"models/{name}.onnx")


@cache
def found_in(folder):
    """All faults at once, a clean twin, and one that is wrong for reasons of its own."""
    against = [export(name, **changes) for name, changes in FAULTS.items()]
    against += [export("clean"), replace(export("noisy"), noise=1.0)]
    return parity(Looker(), textured(24), against=against, out=folder, walks=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return found_in(tmp_path_factory.getbasetemp() / "parity")


def by_title(found, title):
    return next(each for each in found.compared if each.title == title)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(found, fault):
    each = by_title(found, f"{fault}.onnx")
    assert each.explanation.verdict == "explained"
    assert each.explanation.variant == fault
    assert each.explanation.distance_then < 1e-6 < each.explanation.distance
    told = next(finding for finding in found.findings if finding.startswith(f"{fault}.onnx"))
    assert VARIANTS[fault].cause in told
    assert f"as looker would {VARIANTS[fault].phrase}" in told
    assert "Moved, it changes" in told


def test_a_clean_twin_is_declared_the_same(found):
    each = by_title(found, "clean.onnx")
    assert (each.explanation.verdict, each.still.value, each.difference.value, each.changes) == ("same", 0, 0, {})
    assert any("clean.onnx answers as looker does" in finding for finding in found.findings)


def test_what_no_preprocessing_explains_is_not_explained(found):
    each = by_title(found, "noisy.onnx")
    assert each.explanation.verdict == "unexplained"
    told = next(finding for finding in found.findings if finding.startswith("noisy.onnx"))
    assert "No preprocessing explains it" in told
    assert "quantisation or another export error" in told


def test_faults_with_a_name_come_first_and_choices_last(found):
    kinds = [
        0 if "It answers as" in finding else 1 if "No preprocessing" in finding else 2 if "answers as" in finding else 3
        for finding in found.findings
    ]
    assert kinds == sorted(kinds)
    assert set(kinds) == {0, 1, 2, 3}


def test_a_variant_is_the_same_as_a_file_that_is_fed_so(found):
    for fault in ("without-antialias", "bgr", "half"):
        variant, file = by_title(found, VARIANTS[fault].title), by_title(found, f"{fault}.onnx")
        for name in ("still", "distance", "moved", "difference", "mac", "changes"):
            assert getattr(variant, name) == getattr(file, name)


def test_letterboxes_are_compared_with_each_other(found):
    corner, box = (
        next(each for each in found.compared if each.name == name) for name in ("letterbox-corner", "letterbox")
    )
    assert (corner.beside, box.beside) == ("letterbox", "reference")
    assert corner.difference.value == pytest.approx(corner.moved.value - box.moved.value)


def test_everything_is_in_the_record(found, tmp_path):
    page = write_parity(found, tmp_path)
    record = json.loads((tmp_path / "parity.json").read_text())
    assert record == json.loads(json.dumps(found.to_json()))
    assert [each["name"] for each in record["compared"]][11:] == list(variants_of(OWN, (16, 16))[0])
    assert record["motion"]["name"] == "camera"
    assert page == tmp_path / "report.html"
    for each in found.compared:
        assert (found.folder / each.name / "audit.json").is_file()


def test_rows_for_the_terminal(found):
    rows = parity_rows(found)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert len(rows) == 1 + len(found.compared)
    assert rows[0][0] == "looker (as it is)"


def test_it_goes_on_and_ends_in_the_same_record(tmp_path):
    model = Looker()
    first = parity(model, textured(6), against=[export("a", antialias=False)], out=tmp_path, walks=1)
    before = (write_parity(first).read_bytes(), (tmp_path / "parity.json").read_bytes())
    shutil.rmtree(tmp_path / "squashed")
    (tmp_path / "bgr" / "audit.json").unlink()
    model.asked.clear()
    again = parity(model, textured(6), against=[export("a", antialias=False)], out=tmp_path, walks=1)
    assert again == first
    assert (write_parity(again).read_bytes(), (tmp_path / "parity.json").read_bytes()) == before
    with pytest.raises(InputError, match="holds another audit"):
        parity(model, textured(7), out=tmp_path, walks=1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (FakeModel(histogram, (16, 16), OWN, spec="b"), r"12 classes apart, looker 7.*open_model\(…, class_offset=5\)"),
        (
            FakeModel(lambda views: histogram(views, 5), (16, 16), OWN, spec="b"),
            "5 classes apart, looker 7.*if looker's first outputs are no classes, add --class-offset 2",
        ),
        (FakeModel(lambda views: histogram(views)[0], (16, 16), OWN, spec="b"), r"b: its scores .* shape \(12,\)"),
        (replace(Looker(), task="embed", spec="b"), "its task is 'embed'"),
    ],
)
def test_models_that_can_not_be_compared_are_refused_in_one_line(other, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        parity(Looker(), textured(3), against=[other], out=tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("motion", ["scale", "keep-box", "video"])
def test_motions_that_not_every_way_of_feeding_has_are_refused_before_anything_runs(motion, tmp_path):
    asked = Looker()
    with pytest.raises(InputError, match=f"--motion: parity has no motion {motion}: .*; take camera") as caught:
        parity(asked, textured(2), out=tmp_path, motion=motion)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not asked.asked


@pytest.mark.parametrize(("motion", "options"), [("rotate", {}), ("subpixel", {}), ("scale", {"on": "canvas"})])
def test_motions_between_pixels_work_for_every_way_of_feeding(motion, options, tmp_path):
    if motion == "scale":
        options = {**options, "canvas_px": 224, "fill": "mean"}
    found = parity(Looker(), textured(2), out=tmp_path, motion=motion, walks=1, **options)
    assert {each.kind for each in found.compared} == {"variant"}


def test_a_model_that_can_not_be_fed_otherwise_is_refused():
    class Own:
        spec, weights_sha256, task, scores = "own", None, "classify", "logits"
        view_size, preprocessing, class_names, batch_size, settings = (16, 16), OWN, None, 4, {}

        def __call__(self, views):
            return views

    with pytest.raises(InputError, match="can't be fed otherwise"):
        fed(Own(), OWN)


def test_an_image_that_can_not_be_used_is_left_out_for_all():
    def broken():
        raise InputError("no readable image")

    narrow = Sample("narrow", None, lambda: np.zeros((1, 900, 3), np.uint8))
    samples = [*textured(3), Sample("broken", None, broken), narrow]
    models = {"reference": Looker(), "box": Looker(replace(OWN, crop="letterbox"))}
    answers, wrong = answer_stills(models, {}, samples)
    assert {len(each.top1) for each in answers.values()} == {4}
    assert [error.where for error in wrong] == ["broken"]
    with pytest.raises(InputError, match="none of the 1 images"):
        answer_stills(models, {}, samples[3:4])
    with pytest.raises(InputError, match="no readable image"):
        answer_stills(models, {}, samples, strict=True)


def test_still_pictures_are_asked_about_as_many_at_once_as_the_model_bears():
    meeting = threading.Barrier(3)  # nobody is answered before there are three

    @dataclass(frozen=True)
    class Served(Looker):
        batch_size: int = 1
        at_once: int = 3

        def __call__(self, views):
            meeting.wait(20)
            return super().__call__(views)

    found, _ = answer_stills({"reference": Served()}, {}, textured(6))
    plain, _ = answer_stills({"reference": Looker(batch_size=1)}, {}, textured(6))
    np.testing.assert_array_equal(found["reference"].reference_p, plain["reference"].reference_p)


# The rule


def stills(top1, p):
    p = np.array(p, float)
    return Stills(np.array(top1), p, np.zeros(len(p)), np.zeros(len(p), bool))


PLAIN = stills([0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6])


FAR = stills([0, 1, 2, 9], [0.8, 0.8, 0.7, 0.4])
RULE = {
    "rounding": (stills([0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6004]), {}, "same", None, []),
    "probabilities only": (stills([0, 1, 2, 3], [0.9, 0.8, 0.7, 0.65]), {}, "unexplained", None, []),
    "a tie": (stills([0, 1, 2, 9], PLAIN.reference_p), {"bgr": FAR}, "unexplained", "bgr", []),
    "explained": (FAR, {"bgr": FAR, "rgb": PLAIN}, "explained", "bgr", []),
    "nearer, but not by half": (FAR, {"bgr": stills([0, 1, 2, 9], [0.6, 0.8, 0.7, 0.4])}, "unexplained", "bgr", []),
    "nearer, but fewer agree": (FAR, {"bgr": stills([5, 1, 2, 3], [0.8, 0.8, 0.7, 0.4])}, "unexplained", "bgr", []),
    "not to be told apart": (
        FAR,
        {"without-antialias": stills([0, 1, 2, 9], [0.802, 0.8, 0.7, 0.4]), "opencv-linear": FAR, "bgr": PLAIN},
        "explained",
        "without-antialias",
        ["opencv-linear"],
    ),
}


@pytest.mark.parametrize(("model", "variants", "verdict", "variant", "others"), RULE.values(), ids=RULE)
def test_the_rule(model, variants, verdict, variant, others):
    answers = {"reference": PLAIN, "model": model, **variants}
    said = explain(answers, "model", "reference", list(variants))
    assert (said.verdict, said.variant, list(said.others)) == (verdict, variant, others)


# The variants


def test_what_equals_the_models_own_is_left_out():
    pytest.importorskip("cv2")
    pytest.importorskip("torch")
    for own, absent in [
        (Preprocessing(), {"with-antialias", "bilinear", "rgb", "imagenet", "crop-even"}),
        (Preprocessing(mean=(0.5,), std=(0.5,), color_order="BGR"), {"half", "bgr"}),
        (Preprocessing(224, crop="center-down"), {"no-margin", "crop-down"}),
        (Preprocessing(224, dtype="uint8"), {"half", "unit", "bytes", "imagenet"}),
        (Preprocessing(crop="letterbox"), {"letterbox", "crop-down", "crop-even"}),
        (Preprocessing(library="opencv", antialias=False), {"opencv-linear"}),
    ]:
        ways, _ = variants_of(own, (224, 224))
        assert not absent & set(ways)
        assert set(ways) <= set(VARIANTS)
        assert len(set(ways.values())) == len(ways) >= 10
        assert own not in ways.values()
        for way in ways.values():
            assert (way.layout, way.dtype) == (own.layout, own.dtype)
            assert declared(own, way) or way.dtype != "float32"


def test_every_variant_can_be_shown():
    image = pictures(1, (70, 93))[0].read()
    for resampler in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        for name, way in variants_of(Preprocessing(72, resampler), (64, 64))[0].items():
            assert deployed_view(image, way, (64, 64)).shape == (64, 64, 3), name


def test_a_package_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("shiftable.auditing.feeding.variants.find_spec", lambda name: None)
    ways, remarks = variants_of(OWN, (16, 16))
    assert not {"opencv-linear", "tensor"} & set(ways)
    assert "OpenCV, linear was left out: cv2 is not installed" in remarks


def test_what_a_runtime_wants_is_no_difference():
    base = Preprocessing()
    assert declared(base, replace(base, layout="NHWC", dtype="uint8", mean=(0.5,))) == {}
    assert declared(base, replace(base, antialias=False, mean=(0.5,))) == {"antialias": False, "mean": [0.5] * 3}


def test_a_file_that_says_nothing_is_fed_as_the_reference_is():
    reference = Looker(Preprocessing(40, "bicubic", False, mean=(0.5,), library="opencv"))
    file = fed_like(Looker(Preprocessing(20, layout="NHWC")), reference).preprocessing
    assert file == replace(reference.preprocessing, layout="NHWC")
    eight_bit = fed_like(Looker(Preprocessing(20, dtype="uint8"), view_size=(8, 8)), reference).preprocessing
    assert eight_bit == replace(reference.preprocessing, resize_px=20, dtype="uint8", mean=Preprocessing().mean)


def test_a_model_that_is_sent_pixels_is_not_fed_other_numbers(tmp_path):
    @dataclass(frozen=True)
    class Served(Looker):
        as_pixels: bool = True

    found = parity(Served(), textured(3), out=tmp_path, walks=1)
    assert {each.part for each in found.compared} == {"resize", "crop"}
    assert "what the pixels become was left out: the model is sent RGB pixels" in found.warnings[-1]


def test_an_audit_is_not_overwritten(found, tmp_path):
    model = Looker()
    parity(model, textured(2), out=tmp_path, walks=1)
    model.asked.clear()
    folder = tmp_path / "reference"
    with pytest.raises(InputError, match="holds an audit, whose page would be lost; give another --out"):
        parity(model, textured(2), out=folder, walks=1)
    assert not model.asked
    (folder / "audit.json").rename(tmp_path / "away.json")  # one that was begun
    with pytest.raises(InputError, match="holds an audit"):
        write_parity(found, folder)
    assert not (folder / "report.html").exists()


# Files of the same model


def exported(folder, outputs=7, side=None, name="net.onnx", beside=None):
    """An ONNX file that gives the means of the colours, times weights. ``side`` is what it takes, None any."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shapes = [("x", ["n", 3, side, side]), ("y", ["n", outputs])]
    infos = [onnx.helper.make_tensor_value_info(which, 1, shape) for which, shape in shapes]
    weights = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        onnx.helper.make_node("Flatten", ["p"], ["f"]),
        onnx.helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", infos[:1], infos[1:], [onnx.numpy_helper.from_array(weights, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    if beside:
        path.with_suffix(".json").write_text(json.dumps(beside))
    return str(path)


def test_a_file_of_any_size_is_shown_the_references_views(tmp_path):
    (model,) = open_against([exported(tmp_path)], Looker())
    assert (model.view_size, model.preprocessing) == ((16, 16), OWN)
    assert model.remarks == (f"nothing says how {model.spec} is fed: it is fed as looker",)
    assert model(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 7)
    (fixed,) = open_against([exported(tmp_path, side=32)], Looker())
    assert (fixed.view_size, fixed.preprocessing) == ((32, 32), replace(OWN, resize_px=36))
    (told,) = open_against([exported(tmp_path, beside={"view_size": 24, "resampler": "bicubic"})], Looker())
    assert (told.view_size, told.preprocessing.resampler, told.remarks) == ((24, 24), "bicubic", ())


def test_a_background_class_is_left_out_and_that_is_said(tmp_path):
    for side in (None, 16, 32):
        (model,) = open_against([exported(tmp_path, outputs=8, side=side)], Looker())
        assert (model.class_offset, model.view_size) == (1, (side or 16,) * 2)
        assert model(np.zeros((2, *model.view_size, 3), np.uint8)).shape == (2, 7)
        assert model.remarks == (
            f"{model.spec} gives a score more than looker: its first was taken for a background class, and left out",
            f"nothing says how {model.spec} is fed: it is fed as looker",
        )
    (same,) = open_against([exported(tmp_path)], Looker())
    assert same.class_offset is None


def test_remarks_of_other_things_are_kept():
    @dataclass(frozen=True)
    class Remarkable(Looker):
        remarks: tuple[str, ...] = ("nothing says how a.onnx is fed: …", "its input's range is unusual")

    said = fed_like(Remarkable(spec="a.onnx"), Looker()).remarks
    assert said == ("nothing says how a.onnx is fed: it is fed as looker", "its input's range is unusual")


def test_device_and_threads_go_to_those_that_have_them(monkeypatch):
    asked = {}

    def opening(spec, **options):
        asked[spec] = options["device"], options["threads"]
        return Looker(spec=spec)

    monkeypatch.setattr("shiftable.auditing.feeding.variants.open_model", opening)
    specs = ["a.onnx", "a.tflite", "http://host/", "timm/a"]
    opened = open_against(specs, Looker(), device="cuda", threads=3)
    assert [model.spec for model in opened] == specs
    assert list(asked.values()) == [("cuda", 3), (None, 3), (None, None), ("cuda", 3)]
    assert open_against([], Looker()) == []


# Letterboxes move


@pytest.mark.parametrize("crop", LETTERBOXES)
@pytest.mark.parametrize("size", [(45, 61), (61, 45), (40, 40)])
def test_a_letterbox_slides_over_grey(crop, size):
    image = np.random.default_rng(0).integers(0, 100, (*size, 3), dtype=np.uint8)  # never the grey of the bars
    own, view_size = Preprocessing(7, crop=crop), (32, 24)
    stage = MOTIONS["crop"].stage(image, own, view_size, (9, 6), True)
    assert (stage.dy, stage.dx) == (range(-5, 6), range(-3, 4))
    still = stage.view(0, 0)
    np.testing.assert_array_equal(still, deployed_view(image, own, view_size))
    for dy, dx in [(5, 0), (0, 3), (2, 1)]:
        moved, back = stage.view(dy, dx), stage.view(-dy, -dx)
        np.testing.assert_array_equal(moved[dy:, dx:], still[: 32 - dy, : 24 - dx])
        np.testing.assert_array_equal(back[: 32 - dy, : 24 - dx], still[dy:, dx:])
        assert (moved[:dy] == GREY).all()
        assert (moved[:, :dx] == GREY).all()
    np.testing.assert_array_equal(MOTIONS["camera"].stage(image, own, view_size, (0, 0), True).view(0, 0), still)


@pytest.mark.parametrize("library", ["opencv", "tensor"])
def test_the_camera_moves_in_front_of_the_library_that_resizes(library):
    pytest.importorskip({"opencv": "cv2", "tensor": "torch"}[library])
    image, own = pictures(1, (90, 131))[0].read(), Preprocessing(40, library=library)
    stage = MOTIONS["camera"].stage(image, own, (32, 32), (4, 6), True)
    frame = image[2 - 1 : 2 - 1 + 86, 3 + 2 : 3 + 2 + 125]
    np.testing.assert_array_equal(stage.view(1, -2), deployed_view(frame, own, (32, 32)))


# The page


def test_the_page_loads_nothing_and_says_what_was_found(found, tmp_path):
    text = write_parity(found, tmp_path).read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href|action)=["']?\s*(https?:)?//""", text)
    assert "url(" not in text
    assert "without-antialias.onnx: its resize has lost the antialias (8 other files also fed wrongly)." in text
    for finding in found.findings:
        assert escape(finding) in text
    for each in found.compared:
        assert escape(each.title) in text
    assert text.count('class="bar"') == 2 * len(found.compared) + 3


def test_names_of_files_are_text(tmp_path):
    nasty = "<script>alert(1)</script>{{7*7}}.onnx"
    result = parity(
        Looker(spec="<b>&</b>"), textured(4), against=[Looker(OWN, nasty)], out=tmp_path / "audits", walks=1
    )
    text = write_parity(result, tmp_path / "page").read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>&" not in text
    assert escape("{{7*7}}") in text
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in (tmp_path / "audits").iterdir())


def test_the_page_fits_on_a_phone(found, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium to open the page in")
    page = write_parity(found, tmp_path)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (360, 1280):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            complaints = []
            tab.on("console", lambda message, complaints=complaints: complaints.append(message.text))
            tab.goto(page.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert complaints == []
        browser.close()


# Real models


def optional(name):
    """Skips where a package is not installed, a torchvision of another torch being repaired."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def verdicts(reference, against, samples):
    """What is said of other files of a model, from still pictures alone."""
    ways, _ = variants_of(reference.preprocessing, reference.view_size)
    files = {f"file {name}": model for name, model in against.items()}  # whatever they are called, no variants
    models = {"reference": reference, **files, **{name: fed(reference, way) for name, way in ways.items()}}
    answers, _ = answer_stills(models, {}, samples)
    return {name: explain(answers, f"file {name}", "reference", list(ways)) for name in against}


def test_faults_of_an_onnx_file_are_named(shared, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    optional("torchvision")
    from shiftable.models import open_model

    weights = shared / "models" / "squeezenet1_1.safetensors"
    reference = open_model("torchvision/squeezenet1_1", weights=weights, device="cpu", fast=False)
    path = tmp_path / "squeezenet.onnx"
    torch.onnx.export(reference.net, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=False)
    faults = {
        "without-antialias": {"antialias": False},
        "bgr": {"color_order": "BGR"},
        "half": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "clean": {"antialias": True},
    }
    against = {name: open_model(str(path), preprocessing=changes) for name, changes in faults.items()}
    said = verdicts(reference, against, find_samples(shared / "data" / "imagenet_samples", 12))
    assert {name: each.variant for name, each in said.items()} == {**{name: name for name in faults}, "clean": None}
    assert said.pop("clean").verdict == "same"
    assert {each.verdict for each in said.values()} == {"explained"}
    assert all(0 < each.distance_then < 1e-4 < 0.01 < each.distance for each in said.values())


def test_a_quantised_twin_differs_and_no_preprocessing_explains_it(shared):
    pytest.importorskip("ai_edge_litert")
    optional("timm")
    from shiftable.models import open_model

    folder = shared / "models"
    reference = open_model(
        "timm/mobilenetv2_100", weights=folder / "mobilenetv2_100.safetensors", model_args={"pad_type": "same"},
        preprocessing={"resampler": "bilinear", "resize_px": 256}, device="cpu",
    )  # fmt: skip
    twin = open_model(str(folder / "tf2_mobilenet_v2_1.0_224_ptq.tflite"), class_offset=1)
    swapped = replace(twin, preprocessing=replace(twin.preprocessing, color_order="BGR"))
    samples = find_samples(shared / "data" / "imagenet_samples", 12)
    said = verdicts(reference, {"twin": twin, "swapped": swapped}, samples)
    assert said["twin"].verdict == "unexplained"
    assert 0.005 < said["twin"].distance < 0.1
    assert (said["swapped"].verdict, said["swapped"].variant) == ("explained", "bgr")
