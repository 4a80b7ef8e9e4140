"""Files with a decoder answer with boxes, key points and maps of classes; what is none is told in one line."""

import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from test_onnx_model import graph, node  # noqa: E402

from shiftable.auditing.record import start_run  # noqa: E402
from shiftable.cli import main  # noqa: E402
from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Detections, Model, Poses, open_model  # noqa: E402
from shiftable.models.checked_answers import MOST_BOXES, checked  # noqa: E402
from shiftable.models.class_maps import cells_assumed, class_map, enlarged_classes, enlarged_logits, fits  # noqa: E402
from shiftable.models.preprocessing import deployed_view, letterbox_place, parse_changes  # noqa: E402

HEIGHT, WIDTH = 12, 20
"""Not square."""

VIEWS = np.random.default_rng(1).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
PLAIN = {"crop": "letterbox", "mean": [0], "std": [1]}
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def saved(tmp_path):
    """Writes a file and says where."""

    def save(content, name="net.onnx"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return str(file)

    return save


def two_outputs(batch="n"):
    """The input itself, and its first channel as whole grey levels."""
    steps = [
        node("Identity", ["x"], ["same"]),
        node("Slice", ["x", "low", "high", "axis"], ["red"]),
        node("Mul", ["red", "top"], ["scaled"]),
        node("Round", ["scaled"], ["round"]),
        node("Cast", ["round"], ["levels"], to=6),
    ]
    constants = {
        "low": np.array([0], np.int64), "high": np.array([1], np.int64), "axis": np.array([1], np.int64),
        "top": np.array(255, np.float32),
    }  # fmt: skip
    shape = [batch, 3, HEIGHT, WIDTH]
    outputs = {"same": ("float32", shape), "levels": ("int32", [batch, 1, HEIGHT, WIDTH])}
    return graph(steps, {"x": ("float32", shape)}, outputs, constants)


def one_output(kind="float32", rows=HEIGHT, columns=WIDTH, after=()):
    """The input, resized to a grid, or what else is asked."""
    steps = [node("AveragePool", ["x"], ["p"], kernel_shape=[HEIGHT // rows, WIDTH // columns],
                  strides=[HEIGHT // rows, WIDTH // columns])]  # fmt: skip
    steps += after or [node("Identity", ["p"], ["y"])]
    shape = [1, rows, columns] if after else [1, 3, rows, columns]
    return graph(steps, {"x": ("float32", [1, 3, HEIGHT, WIDTH])}, {"y": (kind, shape)})


class Recording:
    """A decoder that keeps what it is given, and returns what it is told."""

    def __init__(self, answer=([], [], [])):
        self.answer, self.calls = answer, []

    def __call__(self, outputs, view_size):
        self.calls.append((outputs, view_size))
        return self.answer(outputs, view_size) if callable(self.answer) else self.answer


def refused(*arguments, **more):
    """The one line with which something is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        open_model(*arguments, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


# ── what a decoder is given ──


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_decoder_gets_all_outputs_of_one_view_after_the_other(saved, batch):
    decoder = Recording()
    model = open_model(saved(two_outputs(batch)), task="detect", decoder=decoder, preprocessing=PLAIN)
    assert isinstance(model, Model)
    assert len(decoder.calls) == 2  # tried on a grey view and on noise
    answers = model(VIEWS)
    assert [type(answer) for answer in answers] == [Detections] * 5
    assert len(decoder.calls) == 7
    for view, ((same, levels), size) in zip(VIEWS, decoder.calls[2:], strict=True):
        assert size == (HEIGHT, WIDTH)
        assert (same.dtype, levels.dtype) == (np.float32, np.int32)
        np.testing.assert_allclose(same, view.transpose(2, 0, 1)[None] / 255, atol=1e-6)
        np.testing.assert_array_equal(levels[0, 0], view[..., 0])


def tflite_outputs():
    """An 8-bit image as floats, as whole numbers, and as other levels (scale 2, zero point 10)."""
    from test_tflite_model import OP, Builder, schema

    net, shape = Builder(), (1, HEIGHT, WIDTH, 3)
    image = net.tensor(shape, "uint8", (1.0, 0))
    real, whole, other = net.tensor(shape), net.tensor(shape, "int32"), net.tensor(shape, "uint8", (2.0, 10))
    net.operation(OP.DEQUANTIZE, [image], [real], schema.DequantizeOptionsT())
    net.operation(OP.CAST, [image], [whole], schema.CastOptionsT())
    net.operation(OP.QUANTIZE, [real], [other], schema.QuantizeOptionsT())
    return net.content([image], [other, whole, real])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_tflite_decoder_gets_what_levels_stand_for_in_the_files_order(saved, threads):
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("flatbuffers")
    decoder = Recording()
    path = saved(tflite_outputs(), "net.tflite")
    model = open_model(path, task="detect", decoder=decoder, threads=threads)
    assert model.settings["threads"] == threads
    model(VIEWS)
    for view, ((other, whole, real), _) in zip(VIEWS, decoder.calls[2:], strict=True):
        assert (other.dtype, whole.dtype, real.dtype) == (np.float32, np.int32, np.float32)
        np.testing.assert_array_equal(whole[0], view)
        np.testing.assert_array_equal(real[0], view)
        np.testing.assert_allclose(other[0], view, atol=1)  # in steps of 2
        assert set(np.unique(other % 2)) == {0}


def test_replaced_preprocessing_feeds_the_same_file_otherwise(saved):
    decoder = Recording()
    model = open_model(saved(two_outputs()), task="detect", decoder=decoder, preprocessing=PLAIN)
    replace(model, preprocessing=replace(model.preprocessing, color_order="BGR"))(VIEWS[:1])
    (same, _), _ = decoder.calls[-1]
    np.testing.assert_allclose(same[0], VIEWS[0, ..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)


def test_whole_pictures_are_assumed_and_said(saved):
    model = open_model(saved(two_outputs()), task="detect", decoder=Recording())
    assert (model.preprocessing.crop, model.preprocessing.mean) == ("letterbox", (0, 0, 0))
    assert "the whole picture in a letterbox, bilinear, and pixels from 0 to 1 were assumed" in model.remarks[0]
    squashed = open_model(model.spec, task="detect", decoder=Recording(), preprocessing={"resize_px": [HEIGHT, WIDTH]})
    assert (squashed.preprocessing.crop, squashed.remarks) == ("center", ())


def test_what_is_recorded(saved, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def decode(outputs, view_size):\n    return [], [], []\n")
    path = saved(two_outputs())
    first = open_model(path, task="detect", decoder=f"{file}:decode", class_names=["cat"])
    assert (first.task, first.spec, first.class_names, first.batch_size) == ("detect", path, ("cat",), 8)
    assert first.settings["decoder"] == f"{file}:decode"
    assert first.size["bytes"] == Path(path).stat().st_size
    file.write_text("def decode(outputs, view_size):\n    return (), (), ()\n")
    second = open_model(path, task="detect", decoder=f"{file}:decode")
    assert first.weights_sha256 == second.weights_sha256
    files = [model.settings["decoder_file"] for model in (first, second)]
    assert all(each.startswith("mine.py (sha256 ") for each in files)
    start_run(tmp_path / "run", {}, first, None, False)
    with pytest.raises(InputError) as caught:
        start_run(tmp_path / "run", {}, second, None, False)
    assert f"was begun with decoder_file {files[0]}, this is {files[1]}; " in str(caught.value)
    assert str(caught.value).endswith("or --overwrite to begin anew")


# ── what it may return ──

BOXES = [[1, 2, 3, 4], [0.5, 0, 25.5, 12]]


@pytest.mark.parametrize(
    "returned",
    [
        (BOXES, [0.25, 1], [3, 0]),
        [np.array(BOXES), np.array([0.25, 1]), np.array([3.0, 0.0])],
        Detections(np.array(BOXES), np.array([0.25, 1]), np.array([3, 0])),
    ],
    ids=["lists", "whole floats as classes", "Detections"],
)
def test_boxes(returned):
    found = checked(returned, "detect", (HEIGHT, WIDTH), "me")
    np.testing.assert_array_equal(found.boxes, BOXES)
    np.testing.assert_array_equal(found.scores, np.float32([0.25, 1]))
    assert found.classes.tolist() == [3, 0]
    assert (found.boxes.dtype, found.classes.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("nothing", [([], [], []), (np.empty((0, 4)), np.empty(0), np.empty(0, int))])
def test_no_boxes(nothing):
    found = checked(nothing, "detect", (HEIGHT, WIDTH), "me")
    assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))


POINTS = [[[1, 2, 0.5], [30, -4, 0.0]]]


def test_points():
    for returned in ((POINTS, [0.5]), Poses(np.array(POINTS), np.array([0.5]))):
        found = checked(returned, "keypoints", (HEIGHT, WIDTH), "me")
        np.testing.assert_array_equal(found.points, np.float32(POINTS))
    assert checked(([], []), "keypoints", (HEIGHT, WIDTH), "me").points.shape == (0, 0, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_maps_are_enlarged_by_the_nearest_cell(dtype):
    coarse = np.random.default_rng(0).integers(0, 2, (HEIGHT // 4, WIDTH // 4)).astype(dtype)
    found = checked(coarse, "segment", (HEIGHT, WIDTH), "me", coarser=True)
    np.testing.assert_array_equal(found, coarse.repeat(4, axis=0).repeat(4, axis=1))
    assert found.dtype == np.int32


@pytest.mark.parametrize("size", [(HEIGHT // 4, WIDTH // 4), (HEIGHT - 1, WIDTH)])
def test_ready_models_give_maps_of_the_views_size(size):
    with pytest.raises(InputError, match=f"{size[0]}×{size[1]} int64 for a view of 12×20 px; .* pixel of the view$"):
        checked(np.zeros(size, int), "segment", (HEIGHT, WIDTH), "me")


@pytest.mark.parametrize("people", [np.zeros((0, 17, 3)), np.zeros((0, 17, 3), np.float32), np.zeros((0, 17, 2))])
def test_a_view_without_people_keeps_the_number_of_points(people):
    assert checked((people, []), "keypoints", (HEIGHT, WIDTH), "me").points.shape == (0, 17, 3)


def test_padding_is_left_out_before_it_is_looked_at():
    boxes = np.zeros((100, 4))
    boxes[0], boxes[1] = BOXES[0], [9, 9, 0, 0]  # the other way round, but unlikely
    scores, classes = np.zeros(100), np.full(100, -1)
    scores[:2], classes[0] = [0.9, 0.0499], 3
    found = checked((boxes, scores, classes), "detect", (HEIGHT, WIDTH), "me")
    assert (found.boxes.tolist(), found.classes.tolist()) == ([BOXES[0]], [3])
    assert len(checked((boxes * 0, scores * 0, classes), "detect", (HEIGHT, WIDTH), "me").scores) == 0
    points = np.zeros((3, 4, 3))
    points[0, :2] = POINTS[0]
    points[0, 1, 2] = 0.9
    found = checked((points, [0.9, 0.01, 0]), "keypoints", (HEIGHT, WIDTH), "me")
    np.testing.assert_array_equal(found.points, np.float32(points[:1]))
    assert checked((points * 0, [0, 0, 0]), "keypoints", (HEIGHT, WIDTH), "me").points.shape == (0, 4, 3)


def test_the_only_person_stays_however_unlikely():
    found = checked((np.zeros((1, 17, 3)), [0.01]), "keypoints", (HEIGHT, WIDTH), "me")
    assert found.points.shape == (1, 17, 3)


def test_the_best_boxes_are_not_too_many():
    def answer(likely):
        scores = np.r_[np.full(likely, 0.05), np.full(500, 0.049)]
        return np.tile(BOXES[0], (len(scores), 1)), scores, np.zeros(len(scores))

    assert len(checked(answer(MOST_BOXES), "detect", (HEIGHT, WIDTH), "me").scores) == MOST_BOXES
    with pytest.raises(InputError, match=r"me: returns 1001 boxes in one view; does it suppress doubles \(NMS\)"):
        checked(answer(MOST_BOXES + 1), "detect", (HEIGHT, WIDTH), "me")


NONSENSE = [
    ("detect", None, "returns None"),
    ("detect", (BOXES, [0.5, 0.5]), "returns a tuple of 2"),
    ("detect", (np.zeros((3, 5)), [0] * 3, [0] * 3), r"boxes of the shape \(3, 5\), not n × 4"),
    ("detect", (BOXES, [0.5], [0, 0]), r"scores of the shape \(1,\), not 2"),
    ("detect", (BOXES, [0.5, 0.5], [[0, 0]]), r"classes of the shape \(1, 2\)"),
    ("detect", ([[1, 2, 3]], [0.5], [0]), "not n × 4"),
    ("detect", ([[1, 2], [3]], [0.5], [0]), "boxes that are no array"),
    ("detect", ([[3, 2, 1, 4]], [0.5], [0]), "a box from x = 3 to x = 1"),
    ("detect", ([[1, 4, 3, 2]], [0.5], [0]), "a box from y = 4 to y = 2"),
    ("detect", ([[1, 2, np.nan, 4]], [0.5], [0]), "boxes that are NaN or infinite"),
    ("detect", (BOXES, [0.5, 1.5], [0, 0]), r"scores outside 0 to 1 \(1.5\)"),
    ("detect", (BOXES, [0.5, -2], [0, 0]), r"scores outside 0 to 1 \(-2\)"),
    ("detect", (BOXES, [0.5, np.inf], [0, 0]), "scores that are NaN or infinite"),
    ("detect", (BOXES, [0.5, 0.5], [0, -1]), "the class -1"),
    ("detect", (BOXES, [0.5, 0.5], [0, 0.5]), "the class 0.5"),
    ("detect", (BOXES, [0.5, 0.5], ["cat", "dog"]), "classes of the type <U3"),
    ("detect", ([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], [0.5, 0.5], [0, 0]), "fractions of the view"),
    ("detect", ([[-0.01, 0, 0.5, 0.5], [0.1, 0.1, 1, 1.04]], [0.5, 0.5], [0, 0]), "2 boxes within one pixel"),
    ("detect", ([[-0.1, 0, 0.5, 0.5], [0.1, 0.1, 1, 1.2]], [0.5, 0.5], [0, 0]), "fractions of the view"),
    ("detect", ([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0, 0, 9, 9]], [0.5, 0.5, 0], [0, 0, -1]), "2 boxes within one"),
    ("detect", (BOXES, [0.5, 0.0], [0, np.nan]), "classes that are NaN"),
    ("detect", ([BOXES[0], [np.nan] * 4], [0.5, 0.0], [0, 0]), "boxes that are NaN"),
    ("detect", ([[0, 0, 1e200, 1]], [0.5], [0]), "boxes that are NaN or infinite"),
    ("detect", (BOXES, [0.5, 0.5], [0, 1e12]), r"the class 1e\+12"),
    ("keypoints", ([[[-0.02, 0.3, 0.9], [0.7, 1.03, 0.9], [30, 40, 0]]], [0.5]), "fractions of the view"),
    ("keypoints", ([[[1, np.nan, 0]]], [0.5]), "points that are NaN"),
    ("keypoints", np.zeros((1, 17, 3)), "returns an array of 1×17×3 float64"),
    ("keypoints", (np.zeros((1, 17, 2)), [0.5]), r"points of the shape \(1, 17, 2\), not n × n × 3"),
    ("keypoints", (np.array(POINTS), [0.5, 0.5]), "scores of persons"),
    ("keypoints", (np.array(POINTS) * [1, 1, 9], [0.5]), "scores of points outside 0 to 1"),
    ("keypoints", (np.full((1, 17, 3), 0.5), [0.5]), "fractions of the view"),
    ("segment", np.zeros((HEIGHT, WIDTH)), "an array of 12×20 float64"),
    ("segment", [[1, 2]], "a list of 1"),
    ("segment", np.zeros((1, HEIGHT, WIDTH), int), "an array of 1×12×20 int64 for a view of 12×20 px"),
    ("segment", np.zeros((WIDTH, HEIGHT), int), "an array of 20×12 int64 for a view of 12×20 px"),
    ("segment", np.full((HEIGHT, WIDTH), -1), "the class -1"),
]


@pytest.mark.parametrize(("task", "returned", "message"), NONSENSE)
def test_nonsense_shows_at_opening(saved, task, returned, message):
    path = saved(two_outputs())
    with pytest.raises(InputError, match=message) as caught:
        open_model(path, task=task, decoder=Recording(returned), preprocessing=PLAIN)
    line = str(caught.value)
    assert line.startswith("decoder test_decoders:Recording: returns ")
    assert "1×3×12×20 float32, 1×1×12×20 int32" in line
    assert "it must return" in line
    assert "\n" not in line


def test_a_decoder_that_exits_is_told_as_one_that_raises(saved):
    path = saved(two_outputs())
    assert "exits: raises SystemExit (bye)" in refused(path, task="detect", decoder=exits)
    late = Recording(lambda outputs, view_size: ([], [], []))
    model = open_model(path, task="detect", decoder=late)
    late.answer = exits
    with pytest.raises(InputError, match="raises SystemExit"):
        model(VIEWS)


def exits(outputs, view_size):
    sys.exit("bye")


def test_a_decoder_that_raises_is_named_with_what_it_was_given(saved):
    def mistaken(outputs, view_size):
        return outputs[7]

    line = refused(saved(two_outputs()), task="detect", decoder=mistaken)
    assert "mistaken: raises IndexError (list index out of range)" in line
    assert "it is called with ([1×3×12×20 float32, 1×1×12×20 int32], (12, 20))" in line


# ── how it is named ──


def test_decoders_by_name(saved, tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "reading_boxes.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass\nclass A:\n    a: int\n\n"
        "def decode(outputs, view_size):\n    return [[0, 0, view_size[1], view_size[0]]], [1], [7]\n"
    )
    (tmp_path / "broken_reading.py").write_text("def decode(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = saved(two_outputs())
    for name in (
        "shop.reading_boxes:decode",
        "shop/reading_boxes.py:decode",
        f"{tmp_path}/shop/reading_boxes.py:decode",
    ):
        (found,) = open_model(path, task="detect", decoder=name)(VIEWS[:1])
        assert (found.boxes.tolist(), found.classes.tolist()) == ([[0, 0, WIDTH, HEIGHT]], [7])
    for name, message in {
        "shop.reading_boxes:decod": "did you mean decode?",
        "shop/no_such.py:decode": "no such file",
        "no_such_decoder:decode": "no module 'no_such_decoder'",
        "broken_reading.py:decode": "importing it fails (SyntaxError",
        "decode": "names no function; write package.module:function, or path/to/file.py:function",
    }.items():
        assert message in refused(path, task="detect", decoder=name)


def test_a_decoders_file_finds_the_modules_beside_it(saved, tmp_path):
    (tmp_path / "own_folder").mkdir()
    (tmp_path / "own_folder" / "beside_the_decoder.py").write_text("BOX = [0, 0, 1, 1]\n")
    file = tmp_path / "own_folder" / "reading.py"
    file.write_text(
        "from beside_the_decoder import BOX\n\ndef decode(outputs, view_size):\n    return [BOX], [1], [7]\n"
    )
    before = list(sys.path), list(sys.argv)
    model = open_model(saved(two_outputs()), task="detect", decoder=f"{file}:decode")
    assert (sys.path, sys.argv) == before
    assert model(VIEWS[:1])[0].boxes.tolist() == [[0, 0, 1, 1]]


PARSER = (
    "import argparse\n\nparser = argparse.ArgumentParser()\nparser.add_argument('--model'{})\nparser.parse_args()\n"
)
DECODE = "def decode(outputs, view_size):\n    return [], [], []\n"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (PARSER.format(", required=True"), "the following arguments are required: --model"),
        ("import sys\n\nsys.exit(3)\n", "(3)"),
        ("raise SystemExit\n", "SystemExit"),
    ],
)
def test_a_file_that_exits_when_imported_is_one_line(saved, tmp_path, capfd, code, why):
    Image.fromarray(VIEWS[0]).save(tmp_path / "photo.png")
    (tmp_path / "script.py").write_text(code + DECODE)
    decoder, out = f"{tmp_path}/script.py:decode", str(tmp_path / "out")
    path = saved(two_outputs())
    assert main(["audit", path, str(tmp_path), "--task", "detect", "--decoder", decoder, "--out", out]) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert "script.py:decode: importing it ends the program" in line
    assert why in line
    assert "__main__" in line
    assert not Path(out).exists()


def test_our_own_arguments_are_not_the_decoders(saved, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(PARSER.format("") + DECODE)
    monkeypatch.setattr(sys, "argv", ["shiftable", "audit", "net.onnx"])
    assert open_model(saved(two_outputs()), task="detect", decoder=f"{tmp_path}/script.py:decode").task == "detect"


# ── without one ──


@pytest.mark.parametrize(
    ("task", "example"), [("detect", "fastestdet.py"), ("keypoints", "movenet.py"), ("segment", "deeplab.py")]
)
def test_where_a_decoder_is_needed_it_says_how(saved, task, example):
    line = refused(saved(two_outputs()), task=task)
    assert "--decoder package.module:function or path/to/file.py:function" in line
    assert example in line
    assert (EXAMPLES / example).exists()


def test_one_map_of_classes_needs_none(saved):
    largest = node("ArgMax", ["p"], ["a"], axis=1, keepdims=0), node("Cast", ["a"], ["y"], to=6)
    model = open_model(saved(one_output("int32", after=largest)), task="segment", preprocessing=PLAIN)
    np.testing.assert_array_equal(model(VIEWS), VIEWS.argmax(axis=-1))
    assert model(VIEWS).dtype == np.int32


def test_logits_are_enlarged_before_the_largest_is_taken(saved):
    torch = pytest.importorskip("torch")
    model = open_model(saved(one_output(rows=3, columns=5)), task="segment", preprocessing=PLAIN)
    pooled = VIEWS.reshape(5, 3, 4, 5, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(pooled), (HEIGHT, WIDTH), mode="bilinear").argmax(1)
    assert (model(VIEWS) == wanted.numpy()).mean() > 0.999  # but for ties


def test_what_an_output_was_taken_for_is_said(saved):
    model = open_model(saved(one_output(rows=3, columns=5)), task="segment", preprocessing=PLAIN)
    assert (
        "3 numbers for each of 3×5 cells) says nothing of itself: 3 logits per cell were assumed" in model.remarks[-1]
    )
    assert (model.settings["decoder"], model.settings["decoder_file"]) == (None, None)
    largest = node("ArgMax", ["p"], ["a"], axis=1, keepdims=0), node("Cast", ["a"], ["y"], to=6)
    assert not open_model(saved(one_output("int32", after=largest)), task="segment", preprocessing=PLAIN).remarks


def softmaxed(numbers):
    return np.exp(numbers) / np.exp(numbers).sum(axis=1, keepdims=True)


def test_a_detectors_grid_is_taken_for_no_logits():
    noise = np.random.default_rng(0).normal(size=(2, 40, 4, 6)).astype(np.float32)
    sigmoids, size = 1 / (1 + np.exp(-noise)), (64, 96)
    behind_a_box = np.concatenate([noise[:, :4], softmaxed(noise[:, 4:])], axis=1)
    for output in (sigmoids, behind_a_box):
        with pytest.raises(ValueError, match=r"40 numbers for each of 4×6 cells\) looks like a detector's"):
            cells_assumed(output, size, "NCHW")
        assert cells_assumed(output, (48, 72), "NCHW")  # small cells, as segmenters have
    for output in (noise, softmaxed(noise), softmaxed(noise).transpose(0, 2, 3, 1)):
        assert "40 logits per cell were assumed" in cells_assumed(output, size, "NCHW")[0]


def test_fastestdet_is_no_segmenter(shared):
    path = str(shared / "models" / "fastestdet_coco.onnx")
    line = refused(path, task="segment", preprocessing={"view_size": [352, 352]})
    assert "85 numbers for each of 22×22 cells) looks like a detector's" in line
    assert "say --decoder" in line
    assert "give a --decoder and its --task to shiftable audit; shiftable trace takes classifiers only" in refused(path)


@pytest.mark.parametrize("size", [(12, 20), (25, 41), (13, 60)])
def test_enlarging_is_pytorchs(size):
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(4, 12, 20)).astype(np.float32)
    plane = torch.from_numpy(logits)[None]
    wanted = torch.nn.functional.interpolate(plane, size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(enlarged_logits(logits, size), wanted.numpy(), atol=1e-5)
    classes = (logits[0] * 10).astype(int)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(classes)[None, None].float(), size, mode="nearest-exact")
    np.testing.assert_array_equal(enlarged_classes(classes, size), wanted[0, 0].numpy())


def test_where_the_classes_are_is_told_by_the_proportions_then_by_the_layout():
    logits = np.random.default_rng(0).normal(size=(1, 6, 12, 20)).astype(np.float32)
    for layout in ("NCHW", "NHWC"):
        np.testing.assert_array_equal(class_map(logits, (12, 20), layout), logits[0].argmax(0))
        np.testing.assert_array_equal(class_map(logits.transpose(0, 2, 3, 1), (12, 20), layout), logits[0].argmax(0))
    cube = logits[:, :, :6, :6]
    assert (class_map(cube, (6, 6), "NCHW") == cube[0].argmax(0)).all()
    assert (class_map(cube, (6, 6), "NHWC") == cube[0].argmax(-1)).all()
    for other in (logits[:, :1], logits[0], np.zeros((1, 2, 12, 20), int), logits.transpose(0, 1, 3, 2)):
        with pytest.raises(ValueError, match="no map"):
            class_map(other, (12, 20), "NCHW")


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("size", [(513, 513), (520, 693), (97, 301)])
def test_coarse_maps_fit_their_view_and_no_turned_one(stride, size):
    height, width = (-(-side // stride) for side in size)
    assert fits((height, width), size)
    assert size[0] == size[1] or not fits((width, height), size)
    assert not fits((size[0] + 1, size[1]), size)


# ── what is not for it ──


def test_options_for_other_tasks_are_refused(saved):
    path = saved(two_outputs())
    assert "a decoder is for models that detect" in refused(path, decoder=Recording())
    assert "--scores is for classifiers" in refused(path, task="detect", decoder=Recording(), scores="logits")
    assert "--class-offset is for classifiers" in refused(path, task="detect", decoder=Recording(), class_offset=1)
    assert "takes 2 views at once" in refused(saved(two_outputs(2)), task="detect", decoder=Recording())
    assert "the task detect is for models that run here" in refused("http://127.0.0.1:9/", task="detect")
    assert "give a --decoder" in refused(path)


# ── the examples ──


def example(name):
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fastestdet_reads_a_cell():
    cells = np.full((1, 85, 22, 22), 0.0, np.float32)
    cells[0, :5, 4, 9] = 1, 0.5, -0.25, 0, np.log(3)  # sigmoids of 1/2 and 3/4
    cells[0, 5 + 7, 4, 9] = 0.5
    boxes, scores, classes = example("fastestdet").decode([cells], (44, 88))
    center = (9 + np.tanh(0.5)) * 4, (4 + np.tanh(-0.25)) * 2
    np.testing.assert_allclose(boxes, [[center[0] - 22, center[1] - 16.5, center[0] + 22, center[1] + 16.5]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.5**0.4], rtol=1e-5)
    assert classes.tolist() == [7]


def test_fastestdet_leaves_out_doubles_as_pytorchs_operator_does():
    torch = pytest.importorskip("torch")
    from shiftable.models.torchvision_repair import non_maximum_suppression

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (80, 2))
    boxes, scores = np.hstack([corners, corners + rng.uniform(10, 60, (80, 2))]), rng.random(80)
    wanted = non_maximum_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), 0.45).tolist()
    assert 10 < len(wanted) < 70
    assert example("fastestdet").without_doubles(boxes, scores) == wanted


def test_movenet_and_deeplab_read_their_arrays():
    raw = np.random.default_rng(0).random((1, 1, 17, 3)).astype(np.float32)
    points, scores = example("movenet").decode([raw], (192, 96))
    np.testing.assert_allclose(points[0, 3], raw[0, 0, 3, [1, 0, 2]] * [96, 192, 1], rtol=1e-6)
    np.testing.assert_allclose(scores, [raw[..., 2].mean()], rtol=1e-6)
    classes = np.array([[[0, 5], [255, 20]]])
    assert example("deeplab").decode([classes], (2, 2)).tolist() == [[0, 5], [0, 20]]


def scene(shared, name, model):
    image = np.asarray(Image.open(shared / "data" / "scenes" / name).convert("RGB"))
    return image, deployed_view(image, model.preprocessing, model.view_size)


def iou(box, other):
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    inside = np.prod((high - low).clip(0))
    return inside / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - inside)


def test_fastestdet_finds_people_and_dogs(shared):
    names = (shared / "models" / "coco_labels.txt").read_text().splitlines()
    model = open_model(
        str(shared / "models" / "fastestdet_coco.onnx"),
        task="detect",
        decoder=f"{EXAMPLES}/fastestdet.py:decode",
        preprocessing=parse_changes("resize_px=[352,352];resampler=box;mean=[0];std=[1];color_order=BGR"),
        class_names=names,
    )
    assert (model.view_size, model.class_names[16], model.remarks) == ((352, 352), "dog", ())
    # by eye, as fractions of the picture
    there = {
        "pets.jpg": [("dog", (0.24, 0.09, 0.5, 0.68)), ("dog", (0.67, 0.4, 0.96, 0.86))],
        "people.png": [("person", (0.31, 0.2, 0.48, 0.84)), ("person", (0.5, 0.23, 0.66, 0.84))],
        "street_1.jpg": [("bus", (0.08, 0.17, 0.94, 0.88))],
        "owl.jpg": [("bird", (0.31, 0.03, 0.65, 0.88))],
    }
    for name, objects in there.items():
        (found,) = model(scene(shared, name, model)[1][None])
        sure = found.scores > 0.7
        for what, box in objects:
            boxes = found.boxes[sure & (found.classes == names.index(what))]
            assert max(iou(each, 352 * np.array(box)) for each in boxes) > 0.7, (name, what)
        assert found.scores.min() >= 0.05
    dogs, _ = (model(scene(shared, name, model)[1][None])[0] for name in ("pets.jpg", "owl.jpg"))
    assert (dogs.classes[dogs.scores > 0.7] == names.index("dog")).sum() == 2


def test_movenets_points_lie_on_the_person(shared):
    path = shared / "models" / "movenet_single_pose_lightning_ptq.tflite"
    model = open_model(str(path), task="keypoints", decoder=f"{EXAMPLES}/movenet.py:decode")
    image, view = scene(shared, "squat.png", model)
    (found,) = model(view[None])
    (height, width), (top, left) = letterbox_place(image.shape[:2], model.view_size)
    x, y, scores = ((found.points[0] - [left, top, 0]) / [width, height, 1]).T
    assert (scores > 0.3).all()
    assert found.scores > 0.6
    assert 0.2 < x.min() < x.max() < 0.75  # the person, by eye, as a fraction of the picture
    assert 0.28 < y[:5].min() < y[:5].max() < 0.38  # the head
    assert y[15:].min() > 0.8  # the ankles
    assert np.abs(x[:5] - 0.58).max() < 0.1


@pytest.mark.parametrize("decoder", [None, f"{EXAMPLES}/deeplab.py:decode"])
def test_deeplabs_bird_is_where_the_mask_says(shared, decoder):
    names = (shared / "models" / "pascal_voc_labels.txt").read_text().splitlines()
    path = str(shared / "models" / "deeplabv3_mnv2_pascal_quant.tflite")
    model = open_model(path, task="segment", decoder=decoder, class_names=names)
    image, view = scene(shared, "bird_segmentation.png", model)
    (found,) = model(view[None])
    assert found.shape == (513, 513) == image.shape[:2]
    mask = np.asarray(Image.open(shared / "data" / "scenes" / "bird_segmentation_mask.png"))
    bird = names.index("bird")
    mine, theirs = found == bird, mask == bird
    assert (mine & theirs).sum() / (mine | theirs).sum() > 0.8
