"""Exported nets answered by OpenVINO, on the CPU: the fastest of the runtimes, in 32 bits and in 16."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from shiftable.errors import InputError, missing_extra
from shiftable.models.artefacts import cores
from shiftable.models.numbers import as_numbers
from shiftable.models.parts import in_parts
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Model, Scores, Task
from shiftable.models.reasons import reason

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""Our names and OpenVINO's. Left to itself it takes 16 bits wherever the CPU has them, and says nothing."""


@dataclass(frozen=True)
class OpenvinoModel:
    """Answers views with OpenVINO. Made by `openvino_model`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same graph fed otherwise.

    Args:
        compiled: The graph, ready to be asked.
        checks: How it was compared with PyTorch, for records.
        exact_compiled: Where ``compiled`` computes in 16 bits: the same graph in 32.
    """

    compiled: Any = field(repr=False)
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
    exact_compiled: Any = field(default=None, repr=False)
    checks: Mapping[str, object] = field(default_factory=dict, repr=False)

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view class"]:
        """One row of scores per view."""
        numbers = as_numbers(views, self.preprocessing)
        batch = self.settings["views_per_call"]
        rows = in_parts(self._rows, numbers, batch if isinstance(batch, int) else len(numbers))
        return rows[:, self.class_offset or 0 :]

    def _rows(self, numbers: Shaped[np.ndarray, "view *axes"]) -> Float32[np.ndarray, "view output"]:
        (answer,) = self._request.infer([numbers]).values()
        return answer.astype(np.float32, copy=False)  # type: ignore[no-any-return]

    @cached_property
    def _request(self) -> Any:
        return self.compiled.create_infer_request()

    @cached_property
    def exact(self) -> "OpenvinoModel | None":
        """The same graph in 32 bits, where this computes in 16."""
        if self.exact_compiled is None:
            return None
        settings = {**self.settings, "precision": "float32"}
        return replace(self, compiled=self.exact_compiled, exact_compiled=None, settings=settings)


def openvino_model(
    content: bytes,
    model: Model,
    *,
    threads: int | None,
    precision: str,
) -> OpenvinoModel:
    """A model's net, exported as ONNX, answered by OpenVINO. What is not of the runtime stays as it was.

    Args:
        content: The graph, as in a file.
        model: What it was exported from.
        threads: None takes all cores.
        precision: ``"float32"``; or ``"bfloat16"``, whose model has an ``exact`` one in 32 bits.

    Raises:
        InputError: If OpenVINO is not installed, can't take the graph, or the CPU has no 16-bit arithmetic.
    """
    openvino = import_openvino()
    core, threads = openvino.Core(), threads or cores()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError("this CPU has no bf16 arithmetic", where="--precision", todo="leave it out")

    def compiled(precision: str) -> Any:
        hints = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",  # all threads on one batch
        }
        return core.compile_model(core.read_model(content), "CPU", hints)

    try:
        graph, exact_graph = compiled(precision), compiled("float32") if precision != "float32" else None
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO can't take it ({reason(error)})", where=model.spec, todo="use --runtime onnx, or torch"
        ) from error
    batch = graph.input(0).partial_shape[0]
    settings: dict[str, object] = {
        "runtime": "openvino",
        "backend": "openvino",
        "version": openvino.__version__,
        "device": "cpu",
        "threads": threads,
        "precision": precision,
        "views_per_call": batch.get_length() if batch.is_static else "any",
    }
    return OpenvinoModel(
        graph, model.spec, model.weights_sha256, model.view_size, model.preprocessing, model.scores, model.class_names,
        model.batch_size, settings, model.task, getattr(model, "class_offset", None), getattr(model, "size", {}),
        tuple(getattr(model, "remarks", ())), exact_graph,
    )  # fmt: skip


def import_openvino() -> Any:
    """The package openvino, without its telemetry.

    With the package openvino-telemetry beside it, openvino reports to Google Analytics when it is imported, unless the
    user once ran ``opt_in_out --opt_out``. It does without that package where it can't be imported: so it is marked as
    missing for this process, unless somebody has imported it already.

    Raises:
        InputError: If it is not installed.
    """
    if find_spec("openvino") is None:
        raise missing_extra("openvino", "openvino")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails
    import openvino

    return openvino
