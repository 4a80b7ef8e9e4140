"""What an ONNX file says of itself beside its answers: the last operation, parameters, layers, files it needs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shiftable.models.artefacts import sha256_of
from shiftable.models.outputs import Made, scores_by_graph
from shiftable.models.protocol import Scores

WEIGHTED = {
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "Gemm", "FusedGemm", "QGemm", "MatMul",
    "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits",
}  # fmt: skip
"""Operations that multiply by weights, where one of their inputs is constant (attention multiplies without)."""

NO_WEIGHTS = {6, 7, 9}
"""TensorProto's INT32, INT64 and BOOL: shapes, axes, indices, and the biases of quantised layers."""


@dataclass(frozen=True)
class OnnxGraph:
    """A file's graph, without the weights that lie in other files. Made by `read_onnx`."""

    model: Any

    @cached_property
    def constants(self) -> set[str]:
        """The names of what does not depend on the input: weights, and what is made of weights alone."""
        graph = self.model.graph
        names = {tensor.name for tensor in graph.initializer} | {""}
        for node in graph.node:  # in the order of computation, as the format demands
            if all(name in names for name in node.input):
                names.update(node.output)
        return names

    @cached_property
    def made(self) -> Made:
        """Of each result that depends on the input the operation that made it, and of what."""
        return {
            name: (node.op_type, [source for source in node.input if source not in self.constants])
            for node in self.model.graph.node
            for name in node.output
            if name not in self.constants
        }

    def scores(self, output: str) -> Scores | None:
        """What an output's scores are, where the last operations tell."""
        return scores_by_graph(output, self.made)

    @property
    def parameters(self) -> int:
        """Numbers in its weights."""
        total = 0
        for tensor in _weights(self.model):
            count = 1
            for side in tensor.dims:
                count *= side
            total += count if tensor.data_type not in NO_WEIGHTS else 0
        return total

    @property
    def layers(self) -> int:
        """Convolutions and multiplications by weights."""
        return sum(
            node.op_type in WEIGHTED and any(name in self.constants for name in node.input if name)
            for node in self.model.graph.node
        )

    @property
    def precision(self) -> str:
        """``"int8"`` for quantised layers, ``"float16"`` for such weights, else ``"float32"``."""
        if any("DequantizeLinear" in node.op_type or "QLinear" in node.op_type for node in self.model.graph.node):
            return "int8"
        return "float16" if any(tensor.data_type == 10 for tensor in _weights(self.model)) else "float32"

    @property
    def other_files(self) -> list[str]:
        """The names of the files beside it that hold its weights."""
        names = {
            entry.value
            for tensor in self.model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        return sorted(names)


def _weights(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def read_onnx(content: bytes | Path) -> OnnxGraph | None:
    """The graph; None where the package onnx is not installed, or can't read it."""
    if find_spec("onnx") is None:
        return None
    import onnx

    try:
        if isinstance(content, bytes):
            return OnnxGraph(onnx.load_model_from_string(content))
        return OnnxGraph(onnx.load_model(content, load_external_data=False))
    except Exception:  # protobuf's are of many types
        return None


def fingerprint_and_bytes(path: Path, graph: OnnxGraph | None) -> tuple[str, int]:
    """The sha256 and the size of a file; with the files that hold its weights, if there are any.

    Args:
        path: The file.
        graph: What is in it, as far as it could be read.
    """
    beside = [path.parent / name for name in graph.other_files] if graph else []
    files = [path, *(file for file in beside if file.is_file())]
    size = sum(file.stat().st_size for file in files)
    if len(files) == 1:
        return sha256_of(path), size
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest(), size
