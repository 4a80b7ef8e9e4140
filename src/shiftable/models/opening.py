"""Open a model by its name: the one table of where models come from."""

import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftable.errors import InputError, missing_extra, unknown
from shiftable.models import zoos
from shiftable.models.hugging_face import from_hugging_face
from shiftable.models.preprocessing import Preprocessing, Size, check_fits, override
from shiftable.models.protocol import Model, Scores

if TYPE_CHECKING:
    from torch import nn

Opener = Callable[[str, Mapping[str, Any], bool], object]

SOURCES: Mapping[str, tuple[str, Opener]] = {
    "demo": (r"(demo)", zoos.from_demo),
    "timm/NAME": (r"timm/(.+)", zoos.from_timm),
    "torchvision/NAME": (r"torchvision/(.+)", zoos.from_torchvision),
    "hf/ID": (r"hf/(.+)", from_hugging_face),
    "package.module:factory": (r"([\w.]+:\w+)", zoos.from_factory),
}
"""How a model may be named, and who opens it: (name, arguments, whether with pretrained weights) → net or model."""


def open_model(
    model: "str | nn.Module" = "demo",
    *,
    weights: str | Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    scores: Scores | None = None,
    class_names: Sequence[str] | None = None,
    device: str | None = None,
    fast: bool = True,
) -> Model:
    """A model, ready to be audited.

    Args:
        model: One of the forms in ``SOURCES`` (``"demo"``, ``"timm/resnet50"``, ``"my.module:build"``, …), or a PyTorch
            net, which is copied and not touched.
        weights: A safetensors (or weights-only) checkpoint to load instead of pretrained weights.
        model_args: Arguments for the function that builds the net.
        preprocessing: Fields of `Preprocessing` to replace, and ``view_size``, (height, width) in px.
        scores: What the answers are, where the model's last operation does not tell.
        class_names: A name per class, where the model's own are missing or wrong.
        device: ``"cpu"``, ``"cuda"``, …; None takes an accelerator if there is one.
        fast: Use the faster layout and folded norms where they give the same answers.

    Raises:
        InputError: If anything of this can't be used.
    """
    if importlib.util.find_spec("torch") is None:
        raise missing_extra("torch", "torch")
    from torch import nn

    from shiftable.models.torch_model import torch_model
    from shiftable.models.weights import fingerprint, load_weights

    opened: Any = _open(model, model_args or {}, weights is None) if isinstance(model, str) else model
    if isinstance(opened, nn.Module):
        opened = zoos.as_origin(opened)
    if not isinstance(opened, zoos.Origin):
        if weights or preprocessing or scores or class_names or device:
            raise InputError(
                "it is ready as it is", where=model, todo="set its weights, preprocessing … where it is made"
            )
        return opened  # type: ignore[no-any-return]  # a factory's own Model, checked in from_factory
    spec = model if isinstance(model, str) else type(model).__name__
    view_size, prepared = _prepared(opened, preprocessing or {}, spec)
    net = opened.net
    if weights is not None:
        net = deepcopy(net)
        load_weights(net, weights)
    ready = torch_model(
        net,
        spec=spec,
        view_size=view_size,
        preprocessing=prepared,
        weights_sha256=fingerprint(net) if weights is None else hashlib.sha256(Path(weights).read_bytes()).hexdigest(),
        scores=scores,
        class_names=tuple(class_names) if class_names else opened.class_names,
        device=device,
        fast=fast,
    )
    if class_names and ready.class_names is None:
        raise InputError(f"there are {len(class_names)} class names but another number of scores", where=spec)
    return ready


def _prepared(opened: zoos.Origin, changes: Mapping[str, Any], spec: str) -> tuple[Size, Preprocessing]:
    """The view and the preprocessing: what the source says, with what the user changes."""
    if opened.doubt and not changes:
        raise InputError(opened.doubt, where=spec, todo="say by --preprocessing what it is to be shown instead")
    changes = dict(changes)
    view_size = opened.view_size
    if "view_size" in changes:
        view_size = _view_size(changes.pop("view_size"))
        changes.setdefault("resize_px", _scaled(opened.preprocessing.resize_px, opened.view_size, view_size))
    prepared = override(opened.preprocessing, changes)
    check_fits(prepared, view_size, spec)
    return view_size, prepared


def _view_size(value: object) -> Size:
    match value:
        case [int(height), int(width)] if min(height, width) > 0:
            return height, width
        case int(side) if side > 0:
            return side, side
    raise InputError(f"view_size can't be {value!r}", where="--preprocessing", todo="give [HEIGHT,WIDTH] in px")


def _scaled(resize_px: int | Size, old: Size, new: Size) -> int | Size:
    """A resize that leaves the same share of the image in another view."""
    if isinstance(resize_px, int):
        return int(resize_px * min(new) / min(old))
    return int(resize_px[0] * new[0] / old[0]), int(resize_px[1] * new[1] / old[1])


def _open(spec: str, arguments: Mapping[str, Any], pretrained: bool) -> object:
    for pattern, opener in SOURCES.values():
        if found := re.fullmatch(pattern, spec):
            return opener(found[1], arguments, pretrained)
    raise unknown("model", spec, SOURCES)
