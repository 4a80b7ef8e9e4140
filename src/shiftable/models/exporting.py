"""A PyTorch net as an ONNX graph in memory, and whether it still answers as PyTorch does."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from shiftable.errors import InputError, missing_extra
from shiftable.models.preprocessing import Size
from shiftable.models.protocol import Model
from shiftable.models.quiet import quiet
from shiftable.models.reasons import reason
from shiftable.models.torch_model import TorchModel, as_scores

USE_TORCH = "use --runtime torch"

TOLERANCE = 1e-3
"""The largest difference between two runtimes' answers, as a share of their range. Usual ones are below 1e-5."""

SAMPLE = 64
"""Views on which answers are compared."""

GRIDS = (2, 4, 8, 16, 32, 1024)
"""Random colours on so many points a side make a sample's views: smooth ones, and noise."""

MOST_BYTES = 2**31 - 2**20
"""More than that is no single ONNX file."""


class Rows(nn.Module):
    """A net whose answer is the tensor of scores, whatever it came wrapped in."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        """One row of scores per view."""
        return as_scores(self.net(inputs))


def export_onnx(model: TorchModel) -> bytes:
    """A model's net as an ONNX file's bytes: takes what the net takes, any number of views if the net allows it.

    A net that can't be exported for any number is exported for batches of the model's ``batch_size``.

    Raises:
        InputError: If onnx is not installed, or the net can't be exported.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise missing_extra(package, "onnx")
    if sum(weight.numel() * weight.element_size() for weight in model.net.parameters()) > MOST_BYTES:
        raise InputError("too large for an ONNX file", where=model.spec, todo=USE_TORCH)
    try:
        program = _exported(model, 2, ({0: torch.export.Dim("batch", min=1)},))
        if program.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):  # it takes 2, and no more
            program = _exported(model, model.batch_size, None)
    except Exception as error:  # exports fail in many types, some of them with pages of advice
        raise _no_export(model, error) from error
    return program.SerializeToString()  # type: ignore[no-any-return]


def _exported(model: TorchModel, batch: int, dims: Any) -> Any:
    """ONNX's own object."""
    inputs = model.inputs(np.zeros((batch, *model.view_size, 3), np.uint8)).contiguous()
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            Rows(model.net).eval(), (inputs,), dynamo=True, dynamic_shapes=dims, verbose=False, optimize=True
        )
    assert program is not None
    return program.model_proto


def _no_export(model: TorchModel, error: Exception) -> InputError:
    first = error
    while first.__cause__ is not None and isinstance(first.__cause__, Exception):  # the last says only at which step
        first = first.__cause__
    return InputError(f"it can't be exported ({reason(first)})", where=model.spec, todo=USE_TORCH)


def sample_views(size: Size) -> UInt8[np.ndarray, "view height width 3"]:
    """Views to compare answers on, always the same: random colours, smooth ones and noise.

    Args:
        size: (height, width) in px.
    """
    rng, (height, width) = np.random.default_rng(0), size
    views = np.empty((SAMPLE, height, width, 3), np.uint8)
    for number in range(SAMPLE):
        points = GRIDS[number % len(GRIDS)]
        colours = rng.integers(0, 256, (min(points, height), min(points, width), 3), dtype=np.uint8)
        views[number] = np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC))
    return views


def compared(model: Model, other: Model) -> dict[str, object]:
    """How another runtime's answers differ from PyTorch's on `sample_views`, for the record.

    Args:
        model: PyTorch's.
        other: The exported one.

    Returns:
        ``largest_difference`` of scores, rounded to 2 digits, and ``other_top1``, "n of views".

    Raises:
        InputError: If they differ by more than ``TOLERANCE``. (A top-1 can only change by less at a near tie.)
    """
    views = sample_views(model.view_size)
    batches = [views[at : at + model.batch_size] for at in range(0, len(views), model.batch_size)]
    want, got = (np.concatenate([each(batch) for batch in batches]) for each in (model, other))
    largest = float(np.abs(want - got).max()) if want.shape == got.shape else float("inf")
    if not largest <= TOLERANCE * float(np.ptp(want)):
        raise InputError(
            f"exported, its answers differ from PyTorch's by up to {largest:.2g}", where=model.spec, todo=USE_TORCH
        )
    changed = int((want.argmax(axis=1) != got.argmax(axis=1)).sum())
    return {"largest_difference": float(f"{largest:.2g}"), "other_top1": f"{changed} of {len(views)}"}
