"""What answers for a PyTorch net: PyTorch, onnxruntime or OpenVINO; in 32 bits or 16; compiled or not.

onnxruntime and OpenVINO in 32 bits answer as PyTorch does, but for the last bits, which is checked. In 16 bits, or
compiled, a model is a faster likeness of another, which it has as ``exact``: an audit asks that one again where it is
close (`shiftable.auditing.rechecking`).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch

from shiftable.errors import InputError
from shiftable.models.exporting import compared, export_onnx
from shiftable.models.fixed_batch import FixedBatch
from shiftable.models.onnx_model import onnx_model
from shiftable.models.openvino_model import openvino_model
from shiftable.models.protocol import Model
from shiftable.models.reasons import reason
from shiftable.models.torch_model import TorchModel

BFLOAT16 = {"fp32": "float32", "bf16": "bfloat16"}
"""The names of precisions: the option's, and the record's."""

TRIALS = 3
"""Batches of which the fastest counts when runtimes are compared."""


def run_by(model: TorchModel, *, runtime: str, precision: str, compile: bool, threads: int | None) -> Model:
    """The same model, answered by another runtime, in another precision, or compiled.

    Args:
        model: PyTorch's.
        runtime: ``"torch"``; ``"onnx"`` (onnxruntime) or ``"openvino"``, for which the net is exported once; ``"auto"``
            takes the fastest of those that can be had.
        precision: ``"fp32"`` or ``"bf16"``.
        compile: Whether ``torch.compile`` makes PyTorch's faster.
        threads: Of onnxruntime and OpenVINO; None takes all cores.

    Returns:
        A model whose settings say by what it is run. An exported one has ``checks``: how it was compared with PyTorch,
        as `compared` gives it. With ``bf16`` or ``compile`` it has an ``exact`` model.

    Raises:
        InputError: If it can't be run so.
    """
    _refuse(model, runtime, precision, compile)
    exported = _Exported(model, precision, threads)
    ways: dict[str, Callable[[], Model]] = {
        "torch": partial(_by_torch, model, precision, compile),
        "onnx": exported.by_onnxruntime,
        "openvino": exported.by_openvino,
    }
    if runtime != "auto":
        return ways[runtime]()
    if compile or model.settings["device"] != "cpu":
        return ways["torch"]()
    if precision == "bf16":
        del ways["onnx"]
    if find_spec("openvino") is None:
        del ways["openvino"]
    return _fastest(list(ways.values()))


def _refuse(model: TorchModel, runtime: str, precision: str, compile: bool) -> None:
    if runtime in ("onnx", "openvino"):
        if compile:
            raise InputError("--compile is for --runtime torch", where=model.spec, todo="leave one of them out")
        if model.settings["device"] != "cpu":
            raise InputError(
                f"--runtime {runtime} runs on the CPU", where=model.spec, todo="say --device cpu, or --runtime torch"
            )
        if runtime == "onnx" and precision == "bf16":
            raise InputError(
                "onnxruntime has no bf16 on CPUs", where=model.spec, todo="use --runtime openvino, or torch"
            )
    if model.task == "embed":  # what is close is found among classes, and embeddings have none
        for asked, what, option in ((precision == "bf16", "bf16", "--precision"), (compile, "--compile", "--compile")):
            if asked:
                raise InputError(f"{what} is for classifiers", where=model.spec, todo=f"leave {option} out")


def _by_torch(model: TorchModel, precision: str, compile: bool) -> TorchModel:
    net = model.net
    settings = {**model.settings, "precision": BFLOAT16[precision], "compiled": compile}
    if compile:
        # one size of batch: every other would be compiled anew, for half a minute
        net = FixedBatch(torch.compile(model.net, dynamic=False), model.batch_size, model.batch_size)  # type: ignore[arg-type]
    elif precision == "fp32":
        return model
    fast = replace(model, net=net, settings=settings, exact_net=model.net)
    try:
        fast(np.zeros((1, *model.view_size, 3), np.uint8))
    except Exception as error:  # no compiler, or a net that can't be compiled: many types
        option = "--compile" if compile else "--precision"
        raise InputError(
            f"it fails with {option} ({reason(error)})", where=model.spec, todo=f"use it without {option}"
        ) from error
    return fast


class _Exported:
    """A model whose net is exported when it is first needed, and then once."""

    def __init__(self, model: TorchModel, precision: str, threads: int | None) -> None:
        self.model = model
        self.precision = precision
        self.threads = threads
        self.content: bytes | None = None

    def _onnx(self) -> bytes:
        self.content = self.content or export_onnx(self.model)
        return self.content

    def by_onnxruntime(self) -> Model:
        """Answered by onnxruntime."""
        model, fed = self.model, self.model.preprocessing
        if fed.dtype != "float32":  # nets that take whole numbers take the pixels as they are
            fed = replace(fed, mean=(0.0,), std=(1 / 255,))
        other = onnx_model(
            self._onnx(),
            spec=model.spec,
            view_size=model.view_size,
            preprocessing=fed,
            scores=model.scores,
            class_names=model.class_names,
            class_offset=model.class_offset,
            task=model.task,
            threads=self.threads,
            weights_sha256=model.weights_sha256,
            size=model.size,
            settings={"runtime": "onnx"},
            remarks=model.remarks,
        )
        return replace(other, checks=compared(model, other))

    def by_openvino(self) -> Model:
        """Answered by OpenVINO."""
        model = self.model
        other = openvino_model(self._onnx(), model, threads=self.threads, precision=BFLOAT16[self.precision])
        return replace(other, checks=compared(model, other.exact or other))


def _fastest(ways: list[Callable[[], Model]]) -> Model:
    """The model that answers a batch soonest; ways that can't be gone are left out, but for the first."""
    best, soonest = ways[0](), np.inf
    for at, way in enumerate(ways):
        try:
            model = way() if at else best
        except InputError:
            continue
        seconds = _seconds(model)
        if seconds < soonest:
            best, soonest = model, seconds
    return best


def _seconds(model: Model) -> float:
    """How long a batch takes, after one that does not count."""
    views = np.random.default_rng(0).integers(0, 256, (model.batch_size, *model.view_size, 3), dtype=np.uint8)
    model(views)
    best = np.inf
    for _ in range(TRIALS):
        begin = time.perf_counter()
        model(views)
        best = min(best, time.perf_counter() - begin)
    return float(best)
