"""Open a model by its name: the tables of where models come from."""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shiftable.errors import InputError, missing_extra, unknown
from shiftable.models import zoos
from shiftable.models.artefacts import Options, check_task, sha256_of
from shiftable.models.exported import from_exported
from shiftable.models.http_model import from_http
from shiftable.models.hugging_face import from_hugging_face
from shiftable.models.onnx_model import from_onnx
from shiftable.models.preprocessing import Preprocessing, Size, prepare
from shiftable.models.protocol import DENSE, Model, Scores, Task
from shiftable.models.repaired_folder import from_repaired
from shiftable.models.tflite_model import from_tflite

if TYPE_CHECKING:
    from torch import nn

    from shiftable.models.dense_model import DenseModel
    from shiftable.models.torch_model import TorchModel

NETS: Mapping[str, tuple[str, Callable[[str, Options, bool], object]]] = {
    "demo": (r"(demo)", zoos.from_demo),
    "timm/NAME": (r"timm/(.+)", zoos.from_timm),
    "torchvision/NAME": (r"torchvision/(.+)", zoos.from_torchvision),
    "hf/ID": (r"hf/(.+)", from_hugging_face),
    "FILE.pt2": (r"(.+\.pt2)", from_exported),
    "package.module:factory": (r"([\w.]+:\w+)", zoos.from_factory),
}
"""PyTorch nets: pattern, and (name, options, whether with pretrained weights) → net or ready model."""

ARTEFACTS: Mapping[str, tuple[str, Callable[[str, Options], Model]]] = {
    "http(s)://…": (r"((?i:https?)://.+)", from_http),  # first: an address may end in .onnx
    "FILE.onnx": (r"(.+\.onnx)", from_onnx),
    "FILE.tflite": (r"(.+\.tflite)", from_tflite),
}
"""What is deployed as it is, without torch: pattern, and (name, options) → ready model."""

SOURCES: tuple[str, ...] = (*NETS, *ARTEFACTS, "FOLDER")
"""How a model may be named."""

Runtime = Literal["torch", "onnx", "openvino", "auto"]
Precision = Literal["fp32", "bf16"]


def open_model(
    model: "str | nn.Module" = "demo",
    *,
    weights: str | Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    scores: Scores | None = None,
    class_names: Sequence[str] | None = None,
    class_offset: int | None = None,
    task: Task = "classify",
    device: str | None = None,
    threads: int | None = None,
    decoder: str | Callable[..., object] | None = None,
    fast: bool = True,
    runtime: Runtime = "torch",
    precision: Precision = "fp32",
    compile: bool = False,
) -> Model:
    """A model, ready to be audited.

    Args:
        model: One of the forms in ``SOURCES`` (``"demo"``, ``"timm/resnet50"``, ``"model.onnx"``, …), or a PyTorch net,
            which is copied and not touched.
        weights: A safetensors (or weights-only) checkpoint to load instead of pretrained weights.
        model_args: Arguments for the function that builds the net, or for the client of an HTTP model.
        preprocessing: Fields of `Preprocessing` to replace, and ``view_size``, (height, width) in px.
        scores: What the answers are, where the model's last operation does not tell.
        class_names: A name per class, where the model's own are missing or wrong.
        class_offset: How many of the first outputs are no classes: 1 for models with a background class.
        task: ``"classify"``, ``"embed"`` for a model whose answers are embeddings, ``"detect"`` (boxes), ``"segment"``
            (a class per pixel) or ``"keypoints"``.
        device: ``"cpu"``, ``"cuda"``, …; None takes an accelerator if there is one.
        threads: Threads of the model on a CPU, where its runtime can be told (ONNX, TFLite, OpenVINO). PyTorch's are
            the process's: ``torch.set_num_threads``.
        decoder: For models that detect, segment or find key points, where their outputs need one: a function
            ``decode(outputs, view_size)``, or its name, ``package.module:function`` or ``path/to/file.py:function``. It
            is called once for every view with all raw outputs for a batch of one, a list of arrays in the model's order
            (what is quantised as the numbers that it stands for), and (height, width) in px; it returns `Detections`,
            `Poses`, a 2-D array of classes, or ``boxes, scores, classes`` or ``points, scores`` as a tuple.
        fast: Use the faster layout and folded norms where they give the same answers.
        runtime: What answers for a PyTorch net: ``"torch"``; ``"onnx"`` or ``"openvino"`` after exporting it once;
            ``"auto"`` takes whichever of these is fastest here.
        precision: ``"bf16"`` for 16-bit arithmetic; an audit has near ties answered again in fp32.
        compile: Let ``torch.compile`` make the net faster; near ties are answered again, too.

    Raises:
        InputError: If anything of this can't be used.
    """
    options = Options(
        model_args or {}, preprocessing or {}, scores, tuple(class_names) if class_names else None, class_offset, task,
        device, threads, decoder,
    )  # fmt: skip
    check_task(options, model if isinstance(model, str) else type(model).__name__)
    asked = {"weights": weights, "runtime": runtime != "torch", "precision": precision != "fp32", "compile": compile}
    if isinstance(model, str):
        for pattern, open_artefact in ARTEFACTS.values():
            if found := re.fullmatch(pattern, model):
                _refuse_for_artefacts(model, asked)
                return open_artefact(found[1], options)
        if model and source_form(model) is None and Path(model).is_dir():
            how: dict[str, Any] = {"fast": fast, "runtime": runtime, "precision": precision, "compile": compile}
            return from_repaired(model, options, how, weights)
    opened = origin_of(model, options, weights is None)
    if not isinstance(opened, zoos.Origin):
        _refuse_for_ready(model, opened, {**vars(options), "task": task not in ("classify", opened.task), **asked})
        return opened  # type: ignore[no-any-return]  # a factory's own Model, checked in from_factory
    return open_origin(
        opened, model, options, weights, fast=fast, runtime=runtime, precision=precision, compile=compile
    )


def open_origin(
    opened: zoos.Origin,
    model: "str | nn.Module",
    options: Options,
    weights: str | Path | None = None,
    *,
    fast: bool = True,
    runtime: Runtime = "torch",
    precision: Precision = "fp32",
    compile: bool = False,
) -> Model:
    """A net whose source is known, ready to be audited. Arguments as those of `open_model`; ``model`` is its name."""
    if options.task in DENSE:
        for name, asked in (("runtime", runtime != "torch"), ("precision", precision != "fp32"), ("compile", compile)):
            if asked:
                raise InputError(f"--{name} is for classifiers, and the task is {options.task}", where="the model",
                                 todo="leave it out")  # fmt: skip
        return _dense_model(model, opened, options, weights)
    ready = _torch_model(model, opened, options, weights, fast)
    if runtime != "torch" or precision != "fp32" or compile:
        from shiftable.models.runtimes import run_by

        return run_by(ready, runtime=runtime, precision=precision, compile=compile, threads=options.threads)
    return ready


def source_form(model: str) -> str | None:
    """Which of ``NETS`` and ``ARTEFACTS`` a name is of, by its form alone; None for others, folders among them.

    Example:
        >>> source_form("timm/resnet18"), source_form("out/model.onnx"), source_form("repaired/")
        ('timm/NAME', 'FILE.onnx', None)
    """
    tables = {**ARTEFACTS, **NETS}
    return next((form for form, (pattern, _) in tables.items() if re.fullmatch(pattern, model)), None)


def origin_of(model: "str | nn.Module", options: Options, pretrained: bool) -> Any:
    """The net with what its source knows of it, or a factory's ready model."""
    if isinstance(model, str) and source_form(model) not in NETS:
        raise unknown("model", model, SOURCES)
    if importlib.util.find_spec("torch") is None:
        raise missing_extra("torch", "torch")
    from torch import nn

    opened: Any = model
    if isinstance(model, str):
        found, opener = next(
            (found, opener) for pattern, opener in NETS.values() if (found := re.fullmatch(pattern, model))
        )
        opened = opener(found[1], options, pretrained)
    return zoos.as_origin(opened, options.task) if isinstance(opened, nn.Module) else opened


def _torch_model(
    model: "str | nn.Module", opened: zoos.Origin, options: Options, weights: str | Path | None, fast: bool
) -> "TorchModel":
    from shiftable.models.torch_model import torch_model

    spec, view_size, prepared, net, weights_sha256 = _prepared(model, opened, options, weights)
    made = torch_model(
        zoos.without_head(net) if options.task == "embed" else net,
        spec=spec,
        view_size=view_size,
        preprocessing=prepared,
        weights_sha256=weights_sha256,
        remarks=opened.remarks,
        scores=options.scores,
        class_names=options.class_names or opened.class_names,
        names_asked=options.class_names is not None,
        class_offset=options.class_offset,
        task=options.task,
        device=options.device,
        fast=fast,
    )
    return replace(made, model_args=options.model_args)


def _dense_model(
    model: "str | nn.Module", opened: zoos.Origin, options: Options, weights: str | Path | None
) -> "DenseModel":
    from shiftable.models.decoder import find_decoder
    from shiftable.models.dense_model import dense_model
    from shiftable.models.reading import by_decoder, by_form

    decoder = None if options.decoder is None else find_decoder(options.decoder)
    spec, view_size, prepared, net, weights_sha256 = _prepared(model, opened, options, weights)
    made = dense_model(
        net,
        by_decoder(decoder, options.task) if decoder else opened.read or by_form(options.task),
        spec=spec,
        task=options.task,
        view_size=view_size,
        preprocessing=prepared,
        weights_sha256=weights_sha256,
        class_names=options.class_names or opened.class_names,
        device=options.device,
        settings=decoder.record if decoder else None,
        remarks=() if {"view_size", "crop"} & set(options.preprocessing) else opened.remarks,
    )
    return replace(made, model_args=options.model_args)


def _prepared(
    model: "str | nn.Module", opened: zoos.Origin, options: Options, weights: str | Path | None
) -> tuple[str, Size, Preprocessing, Any, str]:
    """Name, view size, preprocessing, the net with its weights, and their fingerprint.

    Raises:
        InputError: If it does something else than the task, or can't be shown or loaded what is asked.
    """
    from shiftable.models.weights import fingerprint, load_weights

    spec = model if isinstance(model, str) else type(model).__name__
    if opened.tasks and options.task not in opened.tasks:
        raise zoos.other_task(options.task, opened.tasks, spec)
    if opened.doubt and not options.preprocessing:
        raise InputError(opened.doubt, where=spec, todo="say by --preprocessing what it is to be shown instead")
    view_size, prepared = prepare(opened.preprocessing, opened.view_size, options.preprocessing, spec)
    net: Any = opened.net
    if weights is None:
        return spec, view_size, prepared, net, opened.weights_sha256 or fingerprint(net)
    net = deepcopy(net)
    load_weights(net, weights)
    return spec, view_size, prepared, net, sha256_of(Path(weights))


def _refuse_for_artefacts(model: str, asked: Mapping[str, object]) -> None:
    for name, value in asked.items():
        if value:
            raise InputError(f"--{name} is for PyTorch models", where="the model", todo="leave it out")


def _refuse_for_ready(model: object, opened: Model, asked: Mapping[str, object]) -> None:
    device = asked["device"] not in (None, opened.settings.get("device"))
    if device or any(value for name, value in asked.items() if name not in ("model_args", "threads", "device")):
        raise InputError("it is ready as it is", where=model, todo="set its weights, preprocessing … where it is made")
