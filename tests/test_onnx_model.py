"""ONNX files answer as NumPy computes by hand, however they take their views, and refuse in one line."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Model, Preprocessing, open_model  # noqa: E402
from shiftable.models.image_input import ImageInput, image_input  # noqa: E402
from shiftable.models.onnx_model import onnx_model  # noqa: E402
from shiftable.models.onnx_session import refusal  # noqa: E402

HEIGHT, WIDTH, CLASSES = 12, 20, 7
"""Not square."""

VIEWS = np.random.default_rng(1).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(2).normal(size=(3 * HEIGHT * WIDTH, CLASSES)).astype(np.float32)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "float16": 10, "float64": 11}


def node(operation, inputs, outputs, **attributes):
    return helper.make_node(operation, inputs, outputs, **attributes)


def graph(nodes, inputs, outputs, constants=(), opset=17, domains=(), ir_version=8):
    """A model: inputs and outputs are {name: (dtype, shape)}."""
    infos = [
        [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (dtype, shape) in each.items()]
        for each in (inputs, outputs)
    ]
    arrays = [numpy_helper.from_array(array, name) for name, array in dict(constants).items()]
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(
        helper.make_graph(nodes, "g", *infos, arrays), opset_imports=versions, ir_version=ir_version
    )


def linear(*after, batch="n", dtype="float32", nhwc=False, weights=WEIGHTS, rows=("n", CLASSES), bias=None, **more):
    """Flattens, multiplies by the weights, then does what else is asked: (operation, attributes) each."""
    steps = [node("Cast", ["x"], ["f"], to=1)] if dtype != "float32" else [node("Identity", ["x"], ["f"])]
    if nhwc:
        steps += [node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]), node("Flatten", ["t"], ["flat"])]
    else:
        steps += [node("Flatten", ["f"], ["flat"])]
    steps += [node("MatMul", ["flat", "w"], ["r0"])]
    constants = {"w": weights}
    for number, (operation, attributes, *inputs) in enumerate(after):
        extra = [f"c{number}_{place}" for place in range(len(inputs))]
        constants |= dict(zip(extra, inputs, strict=True))
        steps.append(node(operation, [f"r{number}", *extra], [f"r{number + 1}"], **attributes))
    steps.append(node("Identity", [f"r{len(after)}"], ["y"]))
    shape = [batch, HEIGHT, WIDTH, 3] if nhwc else [batch, 3, HEIGHT, WIDTH]
    return graph(steps, {"x": (dtype, shape)}, {"y": ("float32", list(rows))}, constants, **more)


@pytest.fixture
def saved(tmp_path):
    """Writes a model and says where."""

    def save(model, name="net.onnx"):
        file = tmp_path / name
        file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return str(file)

    return save


def by_hand(views, mean=MEAN, std=STD):
    """The linear model's answers, everything written out."""
    pixels = ((views / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    return pixels.reshape(len(views), -1) @ WEIGHTS


def same(answers, want):
    np.testing.assert_allclose(answers, want, rtol=1e-4, atol=1e-3)


def refused(path, **more):
    """The one line with which a file is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        open_model(path, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


# ── answers ──


@pytest.mark.parametrize("batch", ["n", 1, 2, 5, 8])
def test_answers_are_the_graphs_whatever_its_batch(saved, batch):
    path = saved(linear(batch=batch))
    model = open_model(path)
    assert isinstance(model, Model)
    assert (model.view_size, model.spec, model.scores) == ((HEIGHT, WIDTH), path, "logits")
    answers = model(VIEWS)
    assert (answers.shape, answers.dtype) == ((5, CLASSES), np.float32)
    same(answers, by_hand(VIEWS))
    assert model.batch_size == (30 if batch == 5 else 32)


def test_a_view_has_one_answer_whatever_is_shown_with_it(saved):
    fixed, free = open_model(saved(linear(batch=2))), open_model(saved(linear(), "free.onnx"))
    for model in (fixed, free):
        alone = np.concatenate([model(VIEWS[k : k + 1]) for k in range(5)])
        np.testing.assert_array_equal(alone, model(VIEWS))
    np.testing.assert_array_equal(fixed(VIEWS), free(VIEWS))


def test_threads_make_no_difference(saved):
    path = saved(linear())
    one, two = (open_model(path, threads=threads) for threads in (1, 2))
    assert (one.settings["threads"], two.settings["threads"]) == (1, 2)
    np.testing.assert_array_equal(one(VIEWS), two(VIEWS))


def test_a_graph_that_wants_nhwc_gets_it(saved):
    model = open_model(saved(linear(nhwc=True)))
    assert model.preprocessing.layout == model.settings["layout"] == "NHWC"
    same(model(VIEWS), by_hand(VIEWS))


@pytest.mark.parametrize(("dtype", "low"), [("uint8", 0), ("int8", -128)])
def test_an_8_bit_input_is_fed_the_grey_levels(saved, dtype, low):
    model = open_model(saved(linear(dtype=dtype)))
    assert (model.preprocessing.dtype, model.preprocessing.std) == (dtype, (1 / 255,) * 3)
    np.testing.assert_allclose(model(VIEWS), by_hand(VIEWS + float(low), 0, 1 / 255), rtol=1e-4, atol=0.5)
    assert "leave mean and std out" in refused(model.spec, preprocessing={"mean": [0.5, 0.5, 0.5]})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_fed_as_such(saved, dtype):
    model = open_model(saved(linear(dtype=dtype)))
    assert model.preprocessing.dtype == "float32"
    np.testing.assert_allclose(model(VIEWS), by_hand(VIEWS), atol=0.3)


def test_other_preprocessing_feeds_the_same_session_otherwise(saved):
    model = open_model(saved(linear()))
    other = replace(model, preprocessing=replace(model.preprocessing, color_order="BGR", mean=(0.1, 0.2, 0.3)))
    assert other.runner is model.runner
    same(other(VIEWS), by_hand(VIEWS[..., ::-1], (0.1, 0.2, 0.3)))
    same(model(VIEWS), by_hand(VIEWS))


def test_takes_arrays_that_are_read_only_or_mirrored(saved):
    model = open_model(saved(linear()))
    frozen = VIEWS.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model(frozen), model(VIEWS))
    np.testing.assert_array_equal(model(VIEWS[:, :, ::-1]), model(VIEWS[:, :, ::-1].copy()))


def test_the_callers_batch_is_its_own(saved):
    """An audit uses one array again and again: answers must not change with it."""
    model, batch = open_model(saved(linear(nhwc=True, dtype="uint8"))), VIEWS.copy()
    answers = model(batch)
    before = answers.copy()
    batch[:] = 0
    np.testing.assert_array_equal(answers, before)


@pytest.mark.parametrize("shape", [("n", CLASSES, 1, 1), ("n", 1, 1, CLASSES), ("n", 1, CLASSES)])
def test_axes_of_one_are_left_out(saved, shape):
    to = np.array([-1 if side == "n" else side for side in shape])
    same(open_model(saved(linear(("Reshape", {}, to), rows=shape)))(VIEWS), by_hand(VIEWS))


def test_class_offset_leaves_the_first_out(saved):
    path = saved(linear())
    model = open_model(path, class_offset=1, class_names=list("abcdef"))
    np.testing.assert_array_equal(model(VIEWS), open_model(path)(VIEWS)[:, 1:])
    assert (model.class_offset, model.class_names) == (1, tuple("abcdef"))
    named = open_model(path, class_offset=1, class_names=["background", *"abcdef"])  # as its file of labels has it
    assert named.class_names == tuple("abcdef")
    assert "--class-offset 1" in refused(path, class_names=list("abcdef"))
    assert "class offset 6 of 7 scores" in refused(path, class_offset=6)


def test_embeddings_are_rows_too(saved):
    model = open_model(saved(linear()), task="embed")
    assert (model.task, model(VIEWS).shape) == ("embed", (5, CLASSES))


def test_a_batch_that_is_fixed_inside_is_fed_one_by_one(saved):
    model = open_model(saved(linear(("Reshape", {}, np.array([1, CLASSES])))))
    assert (model.settings["views_per_call"], model.batch_size) == (1, 32)
    assert any("one by one" in remark for remark in model.remarks)
    same(model(VIEWS), by_hand(VIEWS))


# ── what scores are ──

ROW = np.array([0, CLASSES])
KINDS = {
    "logits": ([], "logits"),
    "bias": ([("Add", {}, np.ones(CLASSES, np.float32))], "logits"),
    "softmax": ([("Softmax", {"axis": 1})], "probabilities"),
    "log softmax": ([("LogSoftmax", {"axis": 1})], "logits"),
    "sigmoid": ([("Sigmoid", {})], "sigmoid"),
    "logits within 0 and 1": ([("Mul", {}, np.float32([1e-9])), ("Relu", {})], "logits"),
    "softmax behind reshape, cast and slice": (
        [
            ("Softmax", {"axis": 1}), ("Reshape", {}, ROW), ("Cast", {"to": 11}), ("Cast", {"to": 1}),
            ("Slice", {}, np.array([1]), np.array([9]), np.array([1])),
        ],
        "probabilities",
    ),
    "sigmoids that sum to about 1": ([("Mul", {}, np.float32([0])), ("Add", {}, np.float32([-1.79])), ("Sigmoid", {})],
                                     "sigmoid"),
    "probabilities by range alone": ([("Softmax", {"axis": 1}), ("Mul", {}, np.float32([1]))], "probabilities"),
}  # fmt: skip


@pytest.mark.parametrize(("after", "kind"), KINDS.values(), ids=KINDS)
def test_scores_are_read_from_the_last_operation(saved, after, kind):
    model = open_model(saved(linear(*after, rows=("n", "c"))))
    assert model.scores == kind
    assert open_model(model.spec, scores="logits").scores == "logits"


def test_probabilities_are_not_softmaxed_again(saved):
    logits = open_model(saved(linear()))(VIEWS)
    want = np.exp(logits - logits.max(1, keepdims=True))
    answers = open_model(saved(linear(("Softmax", {"axis": 1}))))(VIEWS)
    np.testing.assert_allclose(answers, want / want.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_quantised_answers_keep_their_ties(saved):
    """Dequantised by the graph itself: 8-bit levels, many of them equal."""
    scale, zero = np.float32(0.05), np.uint8(128)
    after = [("Softmax", {"axis": 1}), ("QuantizeLinear", {}, scale, zero), ("DequantizeLinear", {}, scale, zero)]
    model = open_model(saved(linear(*after)))
    answers = model(VIEWS)
    assert (model.scores, model.settings["precision"]) == ("probabilities", "int8")
    assert len(np.unique(answers)) <= 21
    ordered = np.sort(answers, axis=1)
    assert (ordered[:, 0] == ordered[:, 1]).all()  # exactly
    assert model.score_step == float(scale)
    formed = open_model(saved(linear(*after, ("Reshape", {}, ROW), ("Cast", {"to": 11}), ("Cast", {"to": 1}))))
    assert formed.score_step == float(scale)


def test_a_step_that_the_graph_does_not_tell_is_none(saved):
    scale, zero = np.full(CLASSES, 0.05, np.float32), np.zeros(CLASSES, np.uint8)
    quantised = [("QuantizeLinear", {}, np.float32(0.05), np.uint8(0))]
    each_its_own = [*quantised, ("DequantizeLinear", {"axis": 1}, scale, zero)]
    assert open_model(saved(linear(*each_its_own))).score_step is None
    inside = [*quantised, ("DequantizeLinear", {}, np.float32(0.05), np.uint8(0)), ("Softmax", {"axis": 1})]
    assert open_model(saved(linear(*inside))).score_step is None
    assert open_model(saved(linear())).score_step is None


def test_without_the_onnx_package_scores_are_read_from_their_range(saved, monkeypatch):
    path = saved(linear(("Softmax", {"axis": 1})))
    monkeypatch.setattr("shiftable.models.onnx_graph.find_spec", lambda name: None)
    model = open_model(path)
    assert (model.scores, model.size["parameters"], model.size["layers"]) == ("probabilities", None, None)


# ── what is recorded ──


def test_size_settings_and_fingerprint(saved):
    path = saved(linear())
    model = open_model(path, threads=1)
    content = Path(path).read_bytes()
    assert model.size == {"parameters": WEIGHTS.size, "bytes": len(content), "layers": 1}
    assert model.weights_sha256 == hashlib.sha256(content).hexdigest()
    assert model.settings["backend"] == "onnxruntime"
    assert model.settings["providers"] == ["CPUExecutionProvider"]
    assert (model.settings["device"], model.settings["precision"], model.settings["views_per_call"]) == (
        "cpu", "float32", "any",
    )  # fmt: skip
    json.dumps([model.settings, model.size])  # as an audit records them


def test_attention_is_no_layer_and_a_transposed_weight_is(saved):
    steps = [
        node("Flatten", ["x"], ["flat"]),
        node("Transpose", ["w"], ["wt"]),
        node("MatMul", ["flat", "wt"], ["r"]),
        node("Transpose", ["r"], ["rt"]),
        node("MatMul", ["r", "rt"], ["a"]),
        node("MatMul", ["a", "r"], ["y"]),
    ]
    ends = {"x": ("float32", [2, 3, HEIGHT, WIDTH])}, {"y": ("float32", [2, CLASSES])}
    model = open_model(saved(graph(steps, *ends, {"w": np.ascontiguousarray(WEIGHTS.T)})))
    assert model.size["layers"] == 1


def test_weights_in_a_file_beside_it_are_part_of_the_fingerprint(tmp_path):
    file = tmp_path / "net.onnx"
    prints = []
    for factor in (1, 2):
        model = linear(weights=WEIGHTS * np.float32(factor))
        onnx.save(model, file, save_as_external_data=True, location=f"{factor}.bin", size_threshold=0)
        graph_bytes = file.stat().st_size
        (tmp_path / f"{factor}.bin").rename(tmp_path / "1.bin") if factor == 2 else None
        file.write_bytes(file.read_bytes().replace(b"2.bin", b"1.bin"))
        opened = open_model(str(file))
        same(opened(VIEWS), by_hand(VIEWS) * factor)
        assert opened.size["bytes"] == graph_bytes + WEIGHTS.nbytes
        prints.append(opened.weights_sha256)
    assert prints[0] != prints[1]
    (tmp_path / "1.bin").unlink()
    message = refused(str(file))
    assert "its weights are in" in message
    assert "1.bin" in message


# ── what is assumed ──


def test_what_is_assumed_is_said_and_a_file_beside_it_says_otherwise(saved, tmp_path):
    path = saved(linear())
    (remark,) = open_model(path).remarks
    assert "bilinear, centre crop, and ImageNet's mean and std were assumed" in remark
    (tmp_path / "net.json").write_text('{"resize_px": 30, "mean": [0.5], "std": [0.5]}')
    model = open_model(path)
    assert (model.remarks, model.preprocessing.resize_px) == ((), 30)
    same(model(VIEWS), by_hand(VIEWS, 0.5, 0.5))
    assert open_model(path, preprocessing={"resize_px": 31}).preprocessing.resize_px == 31
    (tmp_path / "net.json").write_text('{"resample": "bicubic"}')
    assert f"{tmp_path / 'net.json'}: unknown preprocessing field 'resample'" in refused(path)


def pooled(shape):
    return graph(
        [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["y"])],
        {"x": ("float32", shape)}, {"y": ("float32", ["n", 3])},
    )  # fmt: skip


def test_a_view_of_any_size(saved):
    path = saved(pooled(["n", 3, "h", "w"]))
    model = open_model(path)
    assert model.view_size == (224, 224)
    assert "224×224 px were assumed" in model.remarks[0]
    model = open_model(path, preprocessing={"view_size": [HEIGHT, WIDTH], "mean": [0], "std": [1]})
    assert (model.view_size, model.remarks) == ((HEIGHT, WIDTH), ())
    np.testing.assert_allclose(model(VIEWS), VIEWS.mean((1, 2)) / 255, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view_size": [24, 20]}, "its input is fixed at 12×20 px, and view_size asks for 24×20 px; leave view_size"),
        ({"layout": "NHWC"}, "its graph takes NCHW, not NHWC; leave layout out"),
        ({"dtype": "uint8"}, "its graph takes float32, not uint8; leave dtype out"),
    ],
)
def test_what_contradicts_the_graph_is_refused(saved, changes, message):
    assert message in refused(saved(linear()), preprocessing=changes)
    assert open_model(saved(linear()), preprocessing={"view_size": [HEIGHT, WIDTH]}).view_size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        (["n", 3, 5, 6], ImageInput("NCHW", None, 5, 6)),
        ([4, 5, 6, 3], ImageInput("NHWC", 4, 5, 6)),
        ([1, 3, 5, 3], ImageInput("NCHW", 1, 5, 3)),
        ([None, "c", 5, 6], ImageInput("NCHW", None, 5, 6)),
        ([-1, -1, -1, -1], ImageInput(None, None, None, None)),
    ],
)
def test_a_shape_tells_the_layout(shape, want):
    assert image_input(shape, "x") == want


def test_an_open_shape_may_be_said_to_be_nhwc(saved):
    steps = [node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)]
    path = saved(graph(steps, {"x": ("float32", ["n", "h", "w", "c"])}, {"y": ("float32", ["n", 3])}))
    changes = {"layout": "NHWC", "view_size": [HEIGHT, WIDTH], "mean": [0], "std": [1]}
    np.testing.assert_allclose(open_model(path, preprocessing=changes)(VIEWS), VIEWS.mean((1, 2)) / 255, rtol=1e-5)


# ── a graph that was just exported ──


def test_onnx_model_takes_bytes_and_what_is_known():
    model = onnx_model(
        linear(("Softmax", {"axis": 1})).SerializeToString(), spec="timm/x", view_size=(HEIGHT, WIDTH),
        preprocessing=Preprocessing(resize_px=20, mean=(0.5,), std=(0.5,)), scores="logits", weights_sha256="abc",
        size={"parameters": 1}, threads=1, settings={"backend": "onnxruntime from torch"}, remarks=("exported",),
    )  # fmt: skip
    assert (model.spec, model.weights_sha256, model.scores, model.size) == (
        "timm/x",
        "abc",
        "logits",
        {"parameters": 1},
    )
    assert (model.settings["backend"], model.settings["threads"]) == ("onnxruntime from torch", 1)
    assert model.remarks == ("exported",)
    own = onnx_model(
        linear().SerializeToString(), spec="x", view_size=(HEIGHT, WIDTH), preprocessing=Preprocessing(resize_px=20)
    )
    assert (own.size["layers"], own.scores, own.weights_sha256) == (1, "logits", None)
    same(own(VIEWS), by_hand(VIEWS))


# ── what can't be used ──


def test_what_is_no_onnx_file_is_refused(saved, tmp_path):
    assert f"{tmp_path / 'no.onnx'}: no such file" in refused(str(tmp_path / "no.onnx"))
    (tmp_path / "folder.onnx").mkdir()
    assert "it is a folder" in refused(str(tmp_path / "folder.onnx"))
    assert "the file is empty" in refused(saved(b""))
    for content, what in {
        b"\x89PNG\r\n\x1a\n" + bytes(40): "a PNG image",
        b"PK\x03\x04" + bytes(40): "a zip archive",
        b"\n<!DOCTYPE html><html>": "an HTML",
        b"\x1c\0\0\0TFL3" + bytes(40): "a TFLite model; let its name end in .tflite",
        b"version https://git-lfs.github.com/spec/v1\n": "a Git LFS pointer",
        bytes(8) + b'{"a": 1}' + bytes(20): "a safetensors checkpoint",
    }.items():
        message = refused(saved(content))
        assert "it is no ONNX model but seems to be" in message
        assert what in message
    whole = linear().SerializeToString()
    for content in (b"hello, this is no model at all", bytes(100), whole[: len(whole) // 2], whole[:60]):
        assert "it is no ONNX model, or a damaged one; fetch or export it again" in refused(saved(content))


def test_an_opset_or_a_format_that_onnxruntime_does_not_know_is_named(saved):
    message = refused(saved(linear(opset=999)))
    assert "its opset is 999, which onnxruntime" in message
    assert "older opset" in message
    assert "its format (IR) is version 99" in refused(saved(linear(ir_version=99)))


def test_an_operator_that_onnxruntime_does_not_know_is_named(saved):
    message = refused(saved(linear(("Wobble", {"domain": "com.example"}), domains=["com.example"])))
    assert "has no operator com.example:Wobble; export it without operators of your own" in message
    assert "has no operator Wobble (opset 17)" in refused(saved(linear(("Wobble", {}))))
    message = "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Conv(11) node with name"
    assert refusal(message, "1.32")[0] == "onnxruntime 1.32 can't run the operator Conv (opset 11) on these types"


def test_other_errors_are_one_line_without_codes(saved):
    message = refused(saved(linear(weights=WEIGHTS[1:])))
    assert "can't take an input of 2×3×12×20" in message or "can't run it" in message
    assert "[ONNXRuntimeError]" not in message


def test_inputs_that_are_no_images_are_refused(saved):
    two = {"x": ("float32", ["n", 3, 4, 4]), "age": ("float32", ["n", 3])}
    steps = [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["q"]), node("Add", ["q", "age"], ["y"])]
    message = refused(saved(graph(steps, two, {"y": ("float32", ["n", 3])})))
    assert "it has 2 inputs (x, age)" in message
    assert "its input has the shape ?×1×28×28" in refused(saved(pooled(["n", 1, 28, 28])))
    steps = [node("Cast", ["x"], ["f"], to=1), node("Flatten", ["f"], ["y"])]
    model = graph(steps, {"x": ("int32", ["n", 3, 4, 4])}, {"y": ("float32", ["n", 48])})
    assert "its input is a tensor(int32)" in refused(saved(model))


def test_outputs_that_are_no_rows_are_refused(saved, shared):
    message = refused(str(shared / "models" / "fastestdet_coco.onnx"))
    assert "its output is 758 (1×85×22×22 float32)" in message
    assert "give a --decoder" in message


def test_of_several_outputs_the_one_with_rows_is_taken(saved):
    model = linear()
    model.graph.node.append(node("ArgMax", ["y"], ["class"], axis=1, keepdims=1))
    model.graph.output.insert(0, helper.make_tensor_value_info("class", TensorProto.INT64, ["n", 1]))
    model.graph.node.append(node("Unsqueeze", ["f", "axis"], ["map"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    model.graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, None))
    same(open_model(saved(model))(VIEWS), by_hand(VIEWS))
    model.graph.node.append(node("Identity", ["y"], ["again"]))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["n", CLASSES]))
    message = refused(saved(model))
    assert "it has several outputs: class" in message
    assert "again (2×7 float32)" in message


def test_nan_is_refused(saved):
    assert "answers with NaN" in refused(saved(linear(weights=WEIGHTS * np.float32(np.nan))))


def test_options_that_a_file_does_not_take_are_refused(saved):
    path = saved(linear())
    assert "--model-arg is for models that are built here" in refused(path, model_args={"depth": 3})
    assert "nothing says what its outputs mean; say --decoder" in refused(path, task="detect")
    assert "--weights is for PyTorch models" in refused(path, weights="x.safetensors")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "gpu"])
def test_a_device_that_is_not_there_is_refused(saved, device):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert f"--device: device '{device}' can't be used" in refused(saved(linear()), device=device)


def test_a_missing_package_names_the_extra(saved, monkeypatch):
    monkeypatch.setattr("shiftable.models.onnx_session.find_spec", lambda name: None)
    assert refused(saved(linear())).endswith("onnxruntime is not installed; pip install 'shiftable[onnx]'")


def test_nothing_is_printed_and_torch_is_not_imported(saved):
    code = (
        "import sys; from shiftable.models import open_model\n"
        f"open_model({saved(linear())!r})\n"
        f"try: open_model({saved(linear(opset=999), 'new.onnx')!r})\n"
        "except Exception as error: assert 'opset' in str(error)\n"
        "assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
