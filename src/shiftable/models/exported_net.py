"""An exported program as a net: loaded without running code, shown batches of a size it takes."""

import io
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from shiftable.errors import InputError
from shiftable.models.exported_archive import GIVE_OTHER, check_archive
from shiftable.models.fixed_batch import FixedBatch
from shiftable.models.preprocessing import Size
from shiftable.models.quiet import quiet
from shiftable.models.reasons import reason

DTYPES = {torch.float32: "float32", torch.uint8: "uint8", torch.int8: "int8"}
"""Types of numbers a net may be fed, as in `Preprocessing`."""

Limits: TypeAlias = tuple[int, int | None]
"""The least and the most; None for no limit."""


class ExportedNet(FixedBatch):
    """An exported program that takes batches of any size, whatever it was exported for.

    It has no modes: whether it trains was decided when it was exported. `FixedBatch` does the batches.

    Args:
        net: The program's module.
        batches: The fewest and the most views it takes; None for no limit.
        sides: The least and the most px of its height, and of its width.
        height_axis: Which axis of its input the height is.
    """

    def __init__(self, net: nn.Module, batches: Limits, sides: tuple[Limits, Limits], height_axis: int) -> None:
        super().__init__(net, *batches)
        self.sides = sides
        self.height_axis = height_axis

    @property
    def any_size(self) -> bool:
        """Whether it was exported for more than one size."""
        return any(low != high for low, high in self.sides)

    def forward(self, inputs: Tensor) -> Tensor:
        """One row of scores per view.

        Raises:
            ValueError: If the views are of a size that it was not exported for: PyTorch does not always notice.
        """
        size = inputs.shape[self.height_axis : self.height_axis + 2]
        if not all(
            low <= side <= (side if high is None else high) for side, (low, high) in zip(size, self.sides, strict=True)
        ):
            raise ValueError(f"exported for sides of {', '.join(map(_in_words, self.sides))} px")
        return super().forward(inputs)

    def train(self, mode: bool = True) -> "ExportedNet":
        """Nothing: a program refuses to be asked."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedNet":
        with quiet():  # torch 2.13 warns of its own tree specs when they are copied
            return ExportedNet(deepcopy(self.net, memo), (self.fewest, self.most), self.sides, self.height_axis)


def load_exported(content: bytes, path: Path) -> tuple[ExportedNet, Size, dict[str, Any]]:
    """The net in a ``.pt2`` file.

    Args:
        content: The file.
        path: Its name, for errors.

    Returns:
        The net, the (height, width) in px that it takes, and what else is known of its input: fields of
        `Preprocessing`.

    Raises:
        InputError: If it is no exported program, could run code, was exported in training mode, or takes no images.
    """
    check_archive(content, path)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(content))
            # its guards are code, which may be anyone's; the size of the input is checked without them, too
            net = program.module(check_guards=False)
    except Exception as error:  # what a newer PyTorch wrote, or a damaged file: many types
        raise InputError(f"can't be loaded ({reason(error)})", where=path, todo=GIVE_OTHER) from error
    _refuse_training(program, path)
    given = _image_input(program, path)
    view_size, layout = _size_and_layout(given, path)
    batches, *sides = (_limits(program, given.shape[axis]) for axis in ((0, 2, 3) if layout == "NCHW" else (0, 1, 2)))
    shown = ExportedNet(net, batches, (sides[0], sides[1]), 2 if layout == "NCHW" else 1)
    return shown, view_size, {"layout": layout, "dtype": DTYPES[given.dtype]}


def _refuse_training(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        for place, argument in enumerate(getattr(getattr(node.target, "_schema", None), "arguments", ())):
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            if argument.name in ("train", "training") and given is True:
                raise InputError(
                    f"was exported in training mode ({node.target})",
                    where=path,
                    todo="call net.eval() before exporting",
                )


def _image_input(program: ExportedProgram, path: Path) -> Tensor:
    """A stand-in for the one input, with its shape and type."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        raise InputError(f"takes {len(names)} inputs", where=path, todo="export a net that takes a batch of images")
    if inputs[0].dtype not in DTYPES:
        name = str(inputs[0].dtype).removeprefix("torch.")
        raise InputError(f"takes numbers of type {name}", where=path, todo="export it in float32: net.float()")
    return inputs[0]


def _size_and_layout(given: Tensor, path: Path) -> tuple[Size, str]:
    """(height, width) in px, where they may vary those of the export's example; and the layout."""
    shape = [side if isinstance(side, int) else side.node.hint for side in given.shape]
    if len(shape) == 4 and shape[1] == 3:
        return (shape[2], shape[3]), "NCHW"
    if len(shape) == 4 and shape[3] == 3:
        return (shape[1], shape[2]), "NHWC"
    raise InputError(
        f"takes an input of the shape {tuple(shape)}", where=path, todo="export a net that takes a batch of RGB images"
    )


def _limits(program: ExportedProgram, side: Any) -> Limits:
    """What the length of an axis may be."""
    if isinstance(side, int):
        return side, side
    allowed = program.range_constraints.get(side.node.expr)
    if allowed is None:  # a length that follows from another
        return side.node.hint, side.node.hint
    return max(1, int(allowed.lower)), int(allowed.upper) if allowed.upper.is_Integer else None


def _in_words(limits: Limits) -> str:
    low, high = limits
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"
