"""TFLite files answer as their 8-bit numbers say, whichever interpreter is asked, and refuse in one line."""

import hashlib
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
flatbuffers = pytest.importorskip("flatbuffers")

from ai_edge_litert import schema_py_generated as schema  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Model, Preprocessing, open_model  # noqa: E402
from shiftable.models.numbers import as_levels  # noqa: E402
from shiftable.models.tflite_session import refusal  # noqa: E402

HEIGHT, WIDTH, CLASSES = 12, 20, 7
"""Not square."""

VIEWS = np.random.default_rng(1).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(2).normal(size=(CLASSES, 3)).astype(np.float32)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

OP, TYPE, OPTIONS = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions
DTYPES = {"float32": TYPE.FLOAT32, "uint8": TYPE.UINT8, "int8": TYPE.INT8, "int32": TYPE.INT32}


class Builder:
    """A TFLite file, operation by operation."""

    def __init__(self):
        self.tensors, self.operations, self.codes, self.buffers = [], [], [], [schema.BufferT()]

    def tensor(self, shape, dtype="float32", quantisation=None, values=None, signature=None):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.tensors)}", list(shape), DTYPES[dtype]
        if signature:
            tensor.shapeSignature = list(signature)
        if quantisation:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quantisation[0]], [quantisation[1]]
        if values is not None:
            tensor.buffer = len(self.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, dtype).tobytes(), np.uint8)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operation(self, code, inputs, outputs, options=None):
        kind = schema.OperatorCodeT()
        kind.version = 1
        if isinstance(code, str):
            kind.builtinCode = kind.deprecatedBuiltinCode = OP.CUSTOM
            kind.customCode = code
        else:
            kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), list(inputs), list(outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptions, operator.builtinOptionsType = options, getattr(OPTIONS, name)
        self.codes.append(kind)
        self.operations.append(operator)

    def content(self, inputs, outputs):
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operations, inputs, outputs
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self.codes, [graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def small(
    dtype="float32", quantisation=None, batch=1, nchw=False, signature=None, last=None, weights=WEIGHTS, size=None,
    shape=None,
):  # fmt: skip
    """Averages each channel, multiplies by the weights; then does what is asked: logistic or softmax."""
    net, (height, width) = Builder(), size or (HEIGHT, WIDTH)
    shape = shape or ((batch, 3, height, width) if nchw else (batch, height, width, 3))
    image = real = net.tensor(shape, dtype, quantisation, signature=signature)
    if dtype != "float32":
        real = net.tensor(shape)
        if quantisation:
            net.operation(OP.DEQUANTIZE, [image], [real], schema.DequantizeOptionsT())
        else:
            net.operation(OP.CAST, [image], [real], schema.CastOptionsT())
    axes = net.tensor([2], "int32", values=[2, 3] if nchw else [1, 2])
    mean, rows = net.tensor([batch, 3]), net.tensor([batch, CLASSES])
    reducing, multiplying = schema.ReducerOptionsT(), schema.FullyConnectedOptionsT()
    net.operation(OP.MEAN, [real, axes], [mean], reducing)
    net.operation(OP.FULLY_CONNECTED, [mean, net.tensor(weights.shape, values=weights), -1], [rows], multiplying)
    if last == "softmax":
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        rows, before = net.tensor([batch, CLASSES]), rows
        net.operation(OP.SOFTMAX, [before], [rows], softmax)
    elif last == "logistic":
        rows, before = net.tensor([batch, CLASSES]), rows
        net.operation(OP.LOGISTIC, [before], [rows])
    elif last:
        rows, before = net.tensor([batch, CLASSES]), rows
        net.operation(last, [before], [rows])
    return net.content([image], [rows])


@pytest.fixture
def saved(tmp_path):
    """Writes a model and says where."""

    def save(content, name="net.tflite"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return save


def by_hand(views, mean=MEAN, std=STD):
    """The small model's answers, everything written out."""
    return ((views / 255.0 - mean) / std).mean((1, 2)) @ WEIGHTS.T


def same(answers, want, atol=1e-4):
    np.testing.assert_allclose(answers, want, rtol=1e-4, atol=atol)


def refused(path, **more):
    """The one line with which a file is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        open_model(path, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


# ── answers ──


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_answers_are_the_graphs_whatever_its_batch_and_layout(saved, batch, nchw):
    model = open_model(saved(small(batch=batch, nchw=nchw)))
    assert isinstance(model, Model)
    assert (model.view_size, model.batch_size, model.scores) == ((HEIGHT, WIDTH), 32, "logits")
    assert (model.preprocessing.layout, model.settings["views_per_call"]) == ("NCHW" if nchw else "NHWC", batch)
    answers = model(VIEWS)
    assert (answers.shape, answers.dtype) == ((5, CLASSES), np.float32)
    same(answers, by_hand(VIEWS))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_the_number_of_interpreters_makes_no_difference(saved, threads):
    path = saved(small())
    model = open_model(path, threads=threads)
    views = np.random.default_rng(3).integers(0, 256, (33, HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert model.settings["threads"] == threads
    np.testing.assert_array_equal(model(views), np.concatenate([model(view[None]) for view in views]))
    np.testing.assert_array_equal(model(views), open_model(path, threads=1)(views))


def test_a_model_may_be_asked_from_several_threads_at_once(saved):
    model = open_model(saved(small()), threads=2)
    want = model(VIEWS)
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: model(VIEWS), range(40)):
            np.testing.assert_array_equal(answers, want)


def test_an_interpreter_is_given_back_after_an_error(saved):
    model = open_model(saved(small()), threads=1)
    with pytest.raises(ValueError, match=r"(?i)dimension|size"):
        model(VIEWS[:, :4])
    same(model(VIEWS), by_hand(VIEWS))


def test_other_preprocessing_feeds_the_same_interpreters_otherwise(saved):
    model = open_model(saved(small()))
    other = replace(model, preprocessing=replace(model.preprocessing, color_order="BGR", mean=(0.1, 0.2, 0.3)))
    assert other.runner is model.runner
    same(other(VIEWS), by_hand(VIEWS[..., ::-1], (0.1, 0.2, 0.3)))
    same(model(VIEWS), by_hand(VIEWS))


def test_a_view_of_any_size(saved):
    path = saved(small(signature=[-1, -1, -1, 3], size=(1, 1)))
    model = open_model(path, preprocessing={"view_size": [HEIGHT, WIDTH]})
    same(model(VIEWS), by_hand(VIEWS))
    assert open_model(path).view_size == (224, 224)
    assert any("224×224 px were assumed" in remark for remark in open_model(path).remarks)


def test_class_offset_leaves_the_first_out(saved):
    path = saved(small())
    model = open_model(path, class_offset=1, class_names=list("abcdef"))
    np.testing.assert_array_equal(model(VIEWS), open_model(path)(VIEWS)[:, 1:])
    named = open_model(path, class_offset=1, class_names=["background", *"abcdef"])  # as its file of labels has it
    assert named.class_names == tuple("abcdef")
    assert "--class-offset 1" in refused(path, class_names=list("abcdef"))


@pytest.mark.parametrize(
    ("last", "scores"), [(None, "logits"), ("softmax", "probabilities"), ("logistic", "sigmoid"), (OP.RELU, "logits")]
)
def test_scores_are_read_from_the_last_operation(saved, last, scores):
    model = open_model(saved(small(last=last)))
    assert model.scores == scores
    assert open_model(model.spec, scores="logits").scores == "logits"
    assert (model.size["layers"], model.size["parameters"]) == (1, WEIGHTS.size)


# ── 8-bit inputs ──

QUANTISED = {
    "uint8, -1 to 1": ("uint8", (1 / 128, 128), 0.5, 0.5),
    "uint8, -1 to 1, off by half a level": ("uint8", (2 / 255, 127), 0.5, 0.5),
    "uint8, 0 to 1": ("uint8", (1 / 255, 0), 0.0, 1.0),
    "uint8, 0 to 255": ("uint8", (1.0, 0), 0.0, 1 / 255),
    "uint8, -128 to 127": ("uint8", (1.0, 128), 128 / 255, 1 / 255),
    "int8, -1 to 1": ("int8", (2 / 255, -1), 0.5, 0.5),
    "int8, 0 to 1": ("int8", (1 / 255, -128), 0.0, 1.0),
}


@pytest.mark.parametrize(("dtype", "quantisation", "mean", "std"), QUANTISED.values(), ids=QUANTISED)
def test_pixels_go_in_as_they_are_and_the_record_says_what_they_stand_for(saved, dtype, quantisation, mean, std):
    model = open_model(saved(small(dtype, quantisation)))
    fields = model.preprocessing
    assert (fields.dtype, fields.mean, fields.std) == (dtype, (mean,) * 3, (std,) * 3)
    np.testing.assert_array_equal(model.inputs(VIEWS), VIEWS if dtype == "uint8" else VIEWS.astype(int) - 128)
    same(model(VIEWS), by_hand(VIEWS, mean, std), atol=0.02 / std)


@pytest.mark.parametrize(("dtype", "low"), [("uint8", 0), ("int8", -128)])
def test_levels_of_which_the_file_says_nothing_are_grey_levels(saved, dtype, low):
    model = open_model(saved(small(dtype)))
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.0,) * 3, (1 / 255,) * 3)
    same(model(VIEWS), by_hand(VIEWS + float(low), 0, 1 / 255), atol=0.01)


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 114), ("int8", -14)])
def test_an_input_that_stands_for_normalised_pixels_gets_these_quantised(saved, dtype, zero):
    model = open_model(saved(small(dtype, (0.018658, zero))))
    assert (model.preprocessing.mean, model.preprocessing.std) == (tuple(MEAN), tuple(STD))
    levels = np.rint((VIEWS / 255 - MEAN) / STD / 0.018658) + zero
    limits = np.iinfo(dtype)
    assert np.abs(model.inputs(VIEWS).astype(int) - levels.clip(limits.min, limits.max)).max() <= 1
    same(model(VIEWS), by_hand(VIEWS), atol=0.05)


def test_a_mean_and_std_that_are_asked_for_are_applied_before_quantising(saved):
    asked = {"mean": [0.45, 0.5, 0.6], "std": [0.6, 0.7, 0.8]}
    model = open_model(saved(small("uint8", (1 / 128, 128))), preprocessing=asked)
    same(model(VIEWS), by_hand(VIEWS, *map(np.array, asked.values())), atol=0.02)
    swapped = replace(model, preprocessing=replace(model.preprocessing, color_order="BGR"))
    same(swapped(VIEWS), by_hand(VIEWS[..., ::-1], *map(np.array, asked.values())), atol=0.02)


def test_a_range_of_no_usual_numbers_is_said(saved):
    assert any("no usual range" in remark for remark in open_model(saved(small("uint8", (1 / 20, 30)))).remarks)
    assert not any("no usual range" in each for each in open_model(saved(small("uint8", (1 / 128, 128)))).remarks)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_levels_are_those_of_a_naive_loop(layout):
    fields = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), layout=layout, dtype="int8", color_order="BGR")
    levels = as_levels(VIEWS[:1, :3, :2], fields, (0.02, 5))
    for row in range(3):
        for column in range(2):
            for channel in range(3):
                number = (VIEWS[0, row, column, 2 - channel] / 255 - fields.mean[channel]) / fields.std[channel]
                want = min(max(np.floor(number / 0.02 + 0.5) + 5, -128), 127)
                at = (0, row, column, channel) if layout == "NHWC" else (0, channel, row, column)
                assert levels[at] == want


# ── the shared models ──

SHARED = {
    "mobilenet_v1_0.25_128_quant": (128, 8), "mobilenet_v1_0.5_160_quant": (160, 13),
    "mobilenet_v1_0.75_192_quant": (192, 17), "mobilenet_v2_1.0_224_quant": (224, 19),
    "tf2_mobilenet_v2_1.0_224_ptq": (224, 19),
}  # fmt: skip
"""Side in px, and how many of 25 images are right at the least: about three less than the models' README suggests."""


@pytest.mark.parametrize(("name", "side", "right"), [(name, *each) for name, each in SHARED.items()], ids=SHARED)
def test_the_shared_models_know_the_shared_images(shared, name, side, right):
    from shiftable.data.images import list_samples
    from shiftable.models.preprocessing import deployed_view

    model = open_model(str(shared / "models" / f"{name}.tflite"), class_offset=1)
    samples = list_samples(shared / "data" / "imagenet_samples" / "labels.csv")[::8][:25]
    views = np.stack([deployed_view(sample.read(), model.preprocessing, model.view_size) for sample in samples])
    scores = model(views)
    assert (model.view_size, scores.shape) == ((side, side), (25, 1000))
    assert sum(scores.argmax(1) == [sample.label for sample in samples]) >= right
    # no second softmax: probabilities they are, in levels of 1/256, rounded down to 0 for most classes
    assert model.scores == "probabilities"
    np.testing.assert_array_equal(scores * 256, np.rint(scores * 256))
    assert np.median(np.abs(scores.sum(1) - 1)) < 0.1
    assert any(len(np.unique(np.sort(row)[-5:])) < 5 for row in scores)  # ties are exact
    assert model.settings["delegate"] == "xnnpack"
    assert 28 <= model.size["layers"] <= 53


def test_the_shared_detectors_are_refused(shared):
    folder = shared / "models"
    message = refused(str(folder / "deeplabv3_mnv2_pascal_quant.tflite"))
    assert "1×513×513 int64" in message
    assert "give a --decoder" in message
    assert "1×1×17×3 float32" in refused(str(folder / "movenet_single_pose_lightning_ptq.tflite"))


# ── what can't be used ──


def test_what_is_no_tflite_file_is_refused(saved, tmp_path):
    assert f"{tmp_path / 'no.tflite'}: no such file" in refused(str(tmp_path / "no.tflite"))
    assert "the file is empty" in refused(saved(b""))
    for content, what in {
        b"\x89PNG\r\n\x1a\n" + bytes(40): "a PNG image",
        b"PK\x03\x04" + bytes(40): "a zip archive",
        b"<html><body>404": "an HTML",
        bytes([8, 8, 18, 7]) + b"pytorch" + bytes(40): "an ONNX model; let its name end in .onnx",
    }.items():
        message = refused(saved(content))
        assert "it is no TFLite model but seems to be" in message
        assert what in message
    for content in (
        b"hello, no model at all",
        small()[:100],
        small()[: len(small()) // 2],
        b"\x1c\0\0\0TFL3" + bytes(99),
    ):
        assert "it is no TFLite model, or a damaged one; fetch or export it again" in refused(saved(content))


def test_a_damaged_file_never_ends_the_process(shared, tmp_path):
    """Bytes changed anywhere: it opens, or is refused; in a process of its own, for it must not take ours along."""
    whole = (shared / "models" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    rng = random.Random(0)
    for number in range(30):
        damaged = bytearray(whole)
        last = len(whole) - 1
        for _ in range(30):  # the graph is at the end, or at the beginning
            place = (rng.randrange(8, 4000), rng.randrange(last - 20000, last), rng.randrange(8, last))[number % 3]
            damaged[place] = rng.randrange(256)
        (tmp_path / f"{number}.tflite").write_bytes(damaged)
    code = (
        "import sys; from pathlib import Path\n"
        "from shiftable.errors import InputError; from shiftable.models import open_model\n"
        "for path in Path(sys.argv[1]).glob('*.tflite'):\n"
        "    try: open_model(str(path), threads=1); print('opened')\n"
        "    except InputError: print('refused')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split().count("refused") >= 5
    assert len(ran.stdout.split()) == 30


def test_an_operator_that_litert_does_not_know_is_named(saved):
    assert "has no operator Wobble; export it without operators of your own" in refused(saved(small(last="Wobble")))
    message = refused(saved(small(last="FlexWobble")))
    assert "it needs TensorFlow's operator Wobble" in message
    assert "TFLITE_BUILTINS" in message
    assert "has no operator with the number 250; update ai-edge-litert" in refused(saved(small(last=250)))
    message = "Didn't find op for builtin opcode 'CONV_2D' version '99'. An older version of this builtin"
    assert refusal(message, "2")[0] == "LiteRT 2 has no operator CONV_2D in version 99"
    assert refusal("something\nelse", "2") == (
        "LiteRT 2 can't run it (something)",
        "convert it again, or update ai-edge-litert",
    )


def test_inputs_that_are_no_images_are_refused(saved):
    net = Builder()
    first, second, sums = net.tensor([1, 4, 4, 3]), net.tensor([1, 4, 4, 3]), net.tensor([1, 4, 4, 3])
    net.operation(OP.ADD, [first, second], [sums], schema.AddOptionsT())
    assert "it has 2 inputs (t0, t1)" in refused(saved(net.content([first, second], [sums])))
    net = Builder()
    first, second = net.tensor([1, 28, 28, 1]), net.tensor([1, 28, 28, 1])
    net.operation(OP.LOGISTIC, [first], [second])
    assert "its input has the shape 1×28×28×1" in refused(saved(net.content([first], [second])))
    net = Builder()
    first, second = net.tensor([1, 4, 4, 3], "int32"), net.tensor([1, 4, 4, 3], "int32")
    net.operation(OP.ADD, [first, first], [second], schema.AddOptionsT())
    assert "its input is int32" in refused(saved(net.content([first], [second])))


def test_what_contradicts_the_graph_is_refused(saved):
    path = saved(small("uint8", (1 / 128, 128)))
    assert "its input is fixed at 12×20 px, and view_size asks for 24×24 px" in refused(
        path, preprocessing={"view_size": 24}
    )
    assert "its graph takes uint8, not float32" in refused(path, preprocessing={"dtype": "float32"})


def test_nan_is_refused(saved):
    assert "answers with NaN" in refused(saved(small(weights=WEIGHTS * np.float32(np.nan))))


def test_options_that_a_file_does_not_take_are_refused(saved):
    path = saved(small())
    assert "--model-arg is for models that are built here" in refused(path, model_args={"depth": 3})
    assert "are not one map of classes; say --decoder" in refused(path, task="segment")
    assert "--device: device 'cuda' can't be used" in refused(path, device="cuda")
    assert "--weights is for PyTorch models" in refused(path, weights="x.safetensors")


def test_a_missing_package_names_the_extra(saved, monkeypatch):
    monkeypatch.setattr("shiftable.models.tflite_session.find_spec", lambda name: None)
    assert refused(saved(small())).endswith("ai-edge-litert is not installed; pip install 'shiftable[litert]'")


def test_fingerprint(saved):
    content = small()
    model = open_model(saved(content))
    assert (model.weights_sha256, model.size["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_nothing_is_printed_and_torch_is_not_imported(saved):
    code = (
        "import sys; from shiftable.models import open_model\n"
        f"open_model({saved(small())!r})\n"
        f"try: open_model({saved(small(last='Wobble'), 'new.tflite')!r})\n"
        "except Exception as error: assert 'Wobble' in str(error)\n"
        "assert 'torch' not in sys.modules; print('said', file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "said\n")
