"""ONNX files as models, answered by onnxruntime. No torch needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from shiftable.errors import InputError
from shiftable.models.artefacts import WHOLE, Options, check_options, model_file, prepared_for_file
from shiftable.models.decoded_model import DecodedModel, check_batch, tried_once
from shiftable.models.decoder import file_decoder
from shiftable.models.numbers import AS_PIXELS, as_levels, as_numbers, levels_stand_for
from shiftable.models.onnx_graph import OnnxGraph, fingerprint_and_bytes, read_onnx
from shiftable.models.onnx_session import Runner, open_session, tried
from shiftable.models.outputs import check_offset, fit_names, scores_by_range
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import DENSE, Scores, Task

BATCH_SIZE = 32
"""Views at once; more makes no CPU faster."""


@dataclass(frozen=True)
class OnnxModel:
    """Answers views with onnxruntime. Made by `from_onnx` or `onnx_model`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same session fed otherwise. ``checks`` is how an
    exported net was compared with PyTorch, for records.
    """

    runner: Runner = field(repr=False)
    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    scores: Scores
    class_names: tuple[str, ...] | None = field(repr=False)
    batch_size: int
    settings: dict[str, object]
    task: Task = "classify"
    class_offset: int | None = None
    size: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()
    score_step: float | None = None
    checks: Mapping[str, object] = field(default_factory=dict, repr=False)

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view class"]:
        """One row of scores per view."""
        return self.runner(self.inputs(views))[:, self.class_offset or 0 :]

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Shaped[np.ndarray, "view *axes"]:
        """What the graph is fed for these views."""
        return _fed(views, self.preprocessing)


def _fed(
    views: UInt8[np.ndarray, "view height width 3"], preprocessing: Preprocessing
) -> Shaped[np.ndarray, "view *axes"]:
    if preprocessing.dtype in AS_PIXELS:
        return as_levels(views, preprocessing, AS_PIXELS[preprocessing.dtype])
    return as_numbers(views, preprocessing)


def from_onnx(path: str, options: Options) -> OnnxModel | DecodedModel:
    """An ONNX file, ready to be audited.

    The graph says layout, size and type of its input, and by its last operation what its scores are. An 8-bit input is
    fed the grey levels, since ONNX does not say what they stand for. Outputs that are no scores have a decoder.

    Args:
        path: The file. ``NAME.json`` beside it says how photographs become its input.
        options: The user's.

    Raises:
        InputError: If the file can't be used.
    """
    check_options(options, path)
    file = model_file(path, "an ONNX model")
    runner = open_session(file, path, options.threads, options.device)
    fields: dict[str, Any] = {**WHOLE.get(options.task, {}), **runner.image.fields, "dtype": "float32"}
    if runner.dtype in AS_PIXELS:
        fields |= {"dtype": runner.dtype, **levels_stand_for(AS_PIXELS[runner.dtype], runner.dtype)[0]}
    view_size, preprocessing, remarks = prepared_for_file(
        file, runner.image.view_size, fields, options.preprocessing, any_size=runner.image.any_size
    )
    if runner.dtype in AS_PIXELS and any(getattr(preprocessing, name) != fields[name] for name in ("mean", "std")):
        raise InputError(f"its input is {runner.dtype}: grey levels", where=path, todo="leave mean and std out")
    graph = read_onnx(file)
    sha256, size = fingerprint_and_bytes(file, graph)
    if options.task in DENSE:
        check_batch(runner.image.batch, path)
        decoder = file_decoder(options.decoder, options.task, preprocessing.layout, path)
        settings = {**_settings(runner, graph, preprocessing), "views_per_call": 1, **decoder.record}
        decoded = DecodedModel(
            runner.each, _fed, decoder, path, sha256, view_size, preprocessing, options.task, options.class_names,
            settings, _size(graph, size), remarks,
        )  # fmt: skip
        return tried_once(decoded)
    model = OnnxModel(
        runner, path, sha256, view_size, preprocessing, "logits", options.class_names, BATCH_SIZE, {}, options.task,
        options.class_offset, _size(graph, size), remarks,
    )  # fmt: skip
    return _ready(model, graph, options.scores)


def onnx_model(
    content: bytes | Path,
    *,
    spec: str,
    view_size: Size,
    preprocessing: Preprocessing,
    scores: Scores | None = None,
    class_names: tuple[str, ...] | None = None,
    class_offset: int | None = None,
    task: Task = "classify",
    threads: int | None = None,
    weights_sha256: str | None = None,
    size: Mapping[str, int | None] | None = None,
    device: str | None = None,
    settings: Mapping[str, object] | None = None,
    remarks: tuple[str, ...] = (),
) -> OnnxModel:
    """A graph whose preprocessing is known, ready to be audited: a net that was just exported, say.

    Args:
        content: The file, or what is in it.
        spec: Its name in records.
        view_size: (height, width) in px of what it is shown.
        preprocessing: How views become its input.
        scores: What its answers are; None looks at its last operation, then at their range.
        class_names: A name per class.
        class_offset: How many of the first outputs are no classes.
        task: ``"classify"`` or ``"embed"``.
        threads: On a CPU; None takes all cores.
        weights_sha256: The fingerprint of its weights, for records.
        size: Parameters, bytes and layers; None counts them in the graph.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; None is the CPU.
        settings: More to be recorded, or recorded otherwise.
        remarks: What a reader of its audit must know.

    Raises:
        InputError: If it can't be used.
    """
    runner, graph = open_session(content, spec, threads, device), read_onnx(content)
    if size is None:
        size = _size(graph, len(content) if isinstance(content, bytes) else fingerprint_and_bytes(content, graph)[1])
    model = OnnxModel(
        runner, spec, weights_sha256, view_size, preprocessing, "logits", class_names, BATCH_SIZE,
        dict(settings or {}), task, class_offset, size, remarks,
    )  # fmt: skip
    return _ready(model, graph, scores)


def _size(graph: OnnxGraph | None, size: int) -> dict[str, int | None]:
    return {
        "parameters": None if graph is None else graph.parameters,
        "bytes": size,
        "layers": None if graph is None else graph.layers,
    }


def _ready(model: OnnxModel, graph: OnnxGraph | None, scores: Scores | None) -> OnnxModel:
    """The model with what its first answers, to some noise, tell of it.

    Raises:
        InputError: If it can't take a view, or its answers are not usable.
    """
    probe = np.random.default_rng(0).integers(0, 256, (model.runner.image.batch or 2, *model.view_size, 3), np.uint8)
    runner, rows, remarks = tried(model.runner, model.inputs(probe))
    if np.isnan(rows).any():
        raise InputError("the model answers with NaN", where=model.spec, todo="check its weights")
    check_offset(rows.shape[1], model.class_offset, model.spec)
    read = graph.scores(runner.output) if graph else None
    batch = runner.image.batch
    return replace(
        model,
        runner=runner,
        scores=scores or read or scores_by_range(rows),
        class_names=fit_names(model.class_names, rows.shape[1], model.class_offset, model.spec),
        batch_size=max(batch, BATCH_SIZE // batch * batch) if batch else BATCH_SIZE,
        settings={**_settings(runner, graph, model.preprocessing), **model.settings},
        remarks=model.remarks + remarks,
        score_step=_score_step(graph.model.graph, runner.output) if graph else None,
    )


FORMING = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Slice", "Gather"}
"""Operations that leave numbers what they are."""


def _score_step(graph: Any, output: str) -> float | None:
    """How far neighbouring scores lie apart, where an output is made of 8-bit levels last."""
    from onnx import numpy_helper

    made = {name: node for node in graph.node for name in node.output}
    while output in made and made[output].op_type in FORMING:
        output = made[output].input[0]
    if output not in made or made[output].op_type != "DequantizeLinear":
        return None
    scale = made[output].input[1]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if scale in made and made[scale].op_type == "Constant":
        constants[scale] = made[scale].attribute[0].t
    if scale not in constants or constants[scale].external_data:
        return None
    steps = numpy_helper.to_array(constants[scale])
    return float(steps.item()) if steps.size == 1 else None


def _settings(runner: Runner, graph: OnnxGraph | None, preprocessing: Preprocessing) -> dict[str, object]:
    """What the speed of its answers, and their last bits, depend on."""
    import onnxruntime

    return {
        "backend": "onnxruntime",
        "version": onnxruntime.__version__,
        "device": runner.device,
        "threads": runner.threads,
        "providers": runner.session.get_providers(),
        "layout": preprocessing.layout,
        "precision": graph.precision if graph else runner.dtype,
        "views_per_call": runner.image.batch or "any",
    }
