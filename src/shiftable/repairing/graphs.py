"""A repaired PyTorch model as one file for deployment: ONNX, or an exported program."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from shiftable.errors import InputError
from shiftable.models import Model, open_model
from shiftable.models.exporting import Rows, compared, export_onnx
from shiftable.models.preprocessing import Size
from shiftable.models.quiet import quiet
from shiftable.models.reasons import reason
from shiftable.models.torch_model import TorchModel, as_scores
from shiftable.repairing.export import aside
from shiftable.repairing.phase_average import Offset, PhaseAveraged


def to_onnx(model: Model | str | Path, path: str | Path, *, overwrite: bool = False) -> Model:
    """Write a PyTorch model as an ONNX file, with ``NAME.json`` beside it, which says how it is fed.

    An average over windows is part of the graph: it takes the larger view. Where to cut is not: a chosen crop is made
    before the pixels become numbers; ``NAME.json`` says how, and this package, `StableCrop` and the reference do it.

    Args:
        model: A repaired model or any other that PyTorch answers for, or the folder of one.
        path: The file; its name ends in ``.onnx``.
        overwrite: Whether files that are there may be replaced.

    Returns:
        The file, opened; it was asked the same as the model.

    Raises:
        InputError: If the model can't be exported, answers otherwise afterwards, asks for windows only where it is
            unsure, or the file is there.
    """
    return _written(model, Path(path), ".onnx", export_onnx, overwrite)


def to_pt2(model: Model | str | Path, path: str | Path, *, overwrite: bool = False) -> Model:
    """Write a PyTorch model as ``torch.export.save`` does, with ``NAME.json`` beside it. As `to_onnx`.

    Args:
        model: As for `to_onnx`.
        path: The file; its name ends in ``.pt2``.
        overwrite: As for `to_onnx`.

    Returns:
        As `to_onnx`.

    Raises:
        InputError: As `to_onnx`.
    """
    return _written(model, Path(path), ".pt2", program_of, overwrite)


class Averaged(nn.Module):
    """The mean of a net's scores over windows of a larger view, in one graph: for export alone.

    Args:
        net: Gives scores.
        offsets_px: Where the windows lie, (down, right) of the middle.
        size: (height, width) in px of a window.
        room_px: (down, across) how much larger the view is; None rolls the view itself.
        height_axis: Which axis of the input the height is.
    """

    def __init__(
        self, net: nn.Module, offsets_px: tuple[Offset, ...], size: Size, room_px: Size | None, height_axis: int
    ) -> None:
        super().__init__()
        self.net = net
        self.offsets_px = offsets_px
        self.size = size
        self.room_px = room_px
        self.height_axis = height_axis

    def forward(self, inputs: Tensor) -> Tensor:
        """One row of scores per view."""
        windows = torch.cat([self._window(inputs, offset) for offset in self.offsets_px])
        scores = as_scores(self.net(windows))
        return scores.reshape(len(self.offsets_px), -1, scores.shape[1]).mean(0)

    def _window(self, inputs: Tensor, offset: Offset) -> Tensor:
        axes = (self.height_axis, self.height_axis + 1)
        if self.room_px is None:
            return inputs.roll((-offset[0], -offset[1]), axes)
        for axis, room, along, side in zip(axes, self.room_px, offset, self.size, strict=True):
            inputs = inputs.narrow(axis, room // 2 + along, side)
        return inputs


def _written(
    model: Model | str | Path, path: Path, ending: str, export: Callable[[TorchModel], bytes], overwrite: bool
) -> Model:
    if path.suffix != ending:
        raise InputError(f"the name must end in {ending}", where=path, todo=f"say {path.with_suffix(ending).name}")
    if path.exists() and not overwrite:
        raise InputError("is there already", where=path, todo="give another name, or overwrite it")
    whole = _in_one(open_model(str(model), device="cpu") if isinstance(model, str | Path) else model)
    fed, beside = json.dumps(_fed(whole), indent=1) + "\n", path.with_suffix(".json")
    if beside.exists() and not overwrite and beside.read_text(encoding="utf-8", errors="replace") != fed:
        raise InputError("is there already, and says something else", where=beside,
                         todo="give another name, or overwrite it")  # fmt: skip
    content = export(whole)
    device: Any = whole.settings["device"] if ending == ".pt2" else None
    reopened = partial(
        open_model, device=device, scores=whole.scores, class_names=whole.class_names, class_offset=whole.class_offset,
        task=whole.task,
    )  # fmt: skip
    with aside(path.parent) as draft:
        (draft / path.name).write_bytes(content)
        (draft / beside.name).write_text(fed, encoding="utf-8")
        found = compared(whole, reopened(str(draft / path.name)))
        for name in (beside.name, path.name):
            os.replace(draft / name, path.with_name(name))
    opened: Any = reopened(str(path))
    return cast(Model, replace(opened, checks=found) if hasattr(opened, "checks") else opened)


def _in_one(model: Any) -> TorchModel:
    """The model, its windows part of its net."""
    inner = getattr(model, "exact", None) or model
    if isinstance(inner, PhaseAveraged) and isinstance(inner.model, TorchModel):
        if inner.only_below != inf:
            raise InputError(
                "it asks for more windows only where it is unsure, which is no graph",
                where=model.spec,
                todo="export the model without its phases, and average where it is deployed, or always average",
            )
        plain = inner.model
        height_axis = 2 if plain.preprocessing.layout == "NCHW" else 1
        room = None if inner.around == "circle" else inner.room_px
        net = Averaged(plain.net, inner.offsets_px, plain.view_size, room, height_axis)
        return replace(plain, net=net, view_size=inner.view_size, preprocessing=inner.preprocessing, plain_net=None)
    if not isinstance(inner, TorchModel):
        raise InputError("PyTorch does not answer for it", where=model.spec,
                         todo="deploy its own file, or open it with runtime torch")  # fmt: skip
    return inner


def _fed(model: TorchModel) -> dict[str, Any]:
    """What ``NAME.json`` says: what pixels become is known of whole numbers."""
    fields = model.preprocessing.to_json()
    if model.preprocessing.dtype != "float32":
        fields = {name: value for name, value in fields.items() if name not in ("mean", "std")}
    return {"view_size": list(model.view_size), **fields}


def program_of(model: TorchModel) -> bytes:
    """What ``torch.export.save`` writes: for any number of views, or the model's where the net takes no other.

    Raises:
        InputError: If the net can't be exported.
    """
    net = Rows(model.net).eval()
    try:
        with quiet(), torch.no_grad():
            try:
                views = np.zeros((2, *model.view_size, 3), np.uint8)
                program = torch.export.export(net, (model.inputs(views),), dynamic_shapes=({0: Dim("batch", min=1)},))
            except Exception:  # it takes one number of views, and no others
                views = np.zeros((model.batch_size, *model.view_size, 3), np.uint8)
                program = torch.export.export(net, (model.inputs(views),))
            content = io.BytesIO()
            torch.export.save(program, content)
    except Exception as error:  # exports fail in many types
        raise InputError(f"it can't be exported ({reason(error)})", where=model.spec,
                         todo="open it by package.module:factory: weights are written then") from error  # fmt: skip
    return content.getvalue()
