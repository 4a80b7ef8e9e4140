"""What a TFLite file says of itself beside its answers: the last operation, parameters, layers."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from shiftable.models.outputs import Made, scores_by_graph
from shiftable.models.protocol import Scores

WEIGHTED = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE", "FULLY_CONNECTED", "BATCH_MATMUL",
}  # fmt: skip
"""Operations that multiply by weights, where one of their inputs is constant."""


@dataclass(frozen=True)
class TfliteGraph:
    """A file's main graph. Made by `read_tflite`.

    Args:
        operations: In the order of computation: name, inputs, outputs (numbers of tensors; -1 is none).
        weights: Of each tensor that the file holds the values of, how many these are; by its number.
    """

    operations: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    weights: dict[int, int]

    @cached_property
    def constants(self) -> set[int]:
        """What does not depend on the input: weights, and what is made of weights alone (dequantised, say)."""
        found = {-1, *self.weights}
        for _, inputs, outputs in self.operations:
            if found.issuperset(inputs):
                found.update(outputs)
        return found

    @cached_property
    def made(self) -> Made:
        """Of each tensor that depends on the input the operation that made it, and of what."""
        return {
            tensor: (name, [source for source in inputs if source not in self.constants])
            for name, inputs, outputs in self.operations
            for tensor in outputs
            if tensor not in self.constants
        }

    def scores(self, output: int) -> Scores | None:
        """What the scores in a tensor are, where the last operations tell."""
        return scores_by_graph(output, self.made)

    @property
    def layers(self) -> int:
        """Convolutions and multiplications by weights."""
        return sum(
            name in WEIGHTED and any(source in self.constants and source >= 0 for source in inputs)
            for name, inputs, _ in self.operations
        )

    @property
    def parameters(self) -> int:
        """Numbers in the weights and biases of its layers."""
        used = {source for name, inputs, _ in self.operations if name in WEIGHTED for source in self._origins(inputs)}
        return sum(self.weights[tensor] for tensor in used)

    def _origins(self, tensors: tuple[int, ...]) -> set[int]:
        """The weights among some tensors, or of which these were made by one operation."""
        sources = {
            source for _, inputs, outputs in self.operations if set(outputs) & set(tensors) & self.constants
            for source in inputs
        }  # fmt: skip
        return (sources | set(tensors)) & self.weights.keys()


def read_tflite(content: bytes) -> TfliteGraph:
    """The graph of a file that LiteRT has checked: a damaged one must not come here.

    Args:
        content: What is in it.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    # the older of the two fields holds at most 127
    kinds = [names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?") for code in codes]
    operations = [graph.Operators(number) for number in range(graph.OperatorsLength())]
    return TfliteGraph(
        tuple((kinds[each.OpcodeIndex()], _numbers(each, "Inputs"), _numbers(each, "Outputs")) for each in operations),
        {
            number: prod(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
            for number in range(graph.TensorsLength())
            if _has_values(model, tensor := graph.Tensors(number))
        },
    )


def _numbers(operation: Any, field: str) -> tuple[int, ...]:
    return tuple(getattr(operation, field)(number) for number in range(getattr(operation, f"{field}Length")()))


def _has_values(model: Any, tensor: Any) -> bool:
    buffer = model.Buffers(tensor.Buffer())
    return bool(buffer.DataLength() or buffer.Size())  # larger files keep their values behind the graph
