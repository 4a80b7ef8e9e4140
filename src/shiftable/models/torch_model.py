"""A PyTorch net as a model: normalising, layout and device are its business, views and scores the caller's."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.fx import GraphModule

from shiftable.errors import InputError
from shiftable.models.folding import fold_norms
from shiftable.models.outputs import check_offset, fit_names, scores_by_range
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Scores, Task
from shiftable.models.reasons import reason
from shiftable.models.torch_inputs import as_tensor, scale_and_offset

BATCH_SIZES = {"cpu": 32}
"""Views at once, by kind of device; 256 on an accelerator."""


@dataclass(frozen=True)
class TorchModel:
    """Answers views with a PyTorch net. Made by `torch_model`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same net fed otherwise.

    Args:
        exact_net: Where ``net`` is compiled, or run in 16 bits: the net whose answers in 32 bits count.
        plain_net: Where norms were folded in ``net``, or its layout is another: the net as its source gives it.
        model_args: What the function that built it was given.
    """

    net: nn.Module = field(repr=False)
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
    exact_net: nn.Module | None = field(default=None, repr=False)
    plain_net: nn.Module | None = field(default=None, repr=False)
    model_args: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view class"]:
        """One row of scores per view."""
        with torch.inference_mode(), self.arithmetic():
            return as_scores(self.net(self.inputs(views)))[:, self.class_offset or 0 :].float().cpu().numpy()

    def arithmetic(self) -> AbstractContextManager[object]:
        """In 16 bits, if the settings say so: PyTorch chooses the operations that bear it."""
        if self.settings["precision"] != "bfloat16":
            return nullcontext()
        return torch.autocast(torch.device(str(self.settings["device"])).type, dtype=torch.bfloat16)

    @cached_property
    def exact(self) -> "TorchModel | None":
        """The same net, uncompiled and in 32 bits, where this is only a faster likeness of it."""
        if self.exact_net is None:
            return None
        settings = {**self.settings, "precision": "float32", "compiled": False}
        return replace(self, net=self.exact_net, exact_net=None, settings=settings)

    @cached_property
    def scale_and_offset(self) -> tuple[Tensor, Tensor]:
        """What a pixel of 0 to 255 is multiplied by, and what is added."""
        return scale_and_offset(self.preprocessing, str(self.settings["device"]))

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Tensor:
        """What the net is fed for these views: on its device, in its layout, normalised."""
        return as_tensor(views, self.preprocessing, self.scale_and_offset, str(self.settings["layout"]))


def torch_model(
    net: nn.Module,
    *,
    spec: str,
    view_size: Size,
    preprocessing: Preprocessing,
    weights_sha256: str | None = None,
    scores: Scores | None = None,
    class_names: tuple[str, ...] | None = None,
    names_asked: bool = False,
    class_offset: int | None = None,
    task: Task = "classify",
    device: str | None = None,
    fast: bool = True,
    remarks: tuple[str, ...] = (),
) -> TorchModel:
    """A net, ready to be audited. The caller's net is copied, not touched.

    Args:
        net: Takes a batch of images, gives a row of scores per image.
        spec: Its name in records.
        view_size: (height, width) in px of what it is shown.
        preprocessing: How views become its input.
        weights_sha256: The fingerprint of its weights, for records.
        scores: What its answers are; None looks at its last operation, then at their range.
        class_names: A name per class; left out where their number is not that of the classes,
            unless the user asked for them.
        names_asked: Whether the user did.
        class_offset: How many of the first outputs are no classes.
        task: ``"classify"``, or ``"embed"`` where a row is a point of some space and not a score per class.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None takes an accelerator if there is one.
        fast: Channels-last layout and folded norms where they give the same answers.
        remarks: What a reader of its audit must know, a sentence each.

    Raises:
        InputError: If the device is not there, the net can't be copied, or it can't take a view.
    """
    place = device_named(device)
    settings: dict[str, object] = {
        "runtime": "torch",
        "device": str(place),
        "threads": torch.get_num_threads(),
        "layout": "contiguous",
        "folded_norms": 0,
        "precision": "float32",
        "compiled": False,
    }
    model = TorchModel(
        own_copy(net, place, spec), spec, weights_sha256, view_size, preprocessing, scores or "logits", class_names,
        BATCH_SIZES.get(place.type, 256), settings, task, class_offset, size_of(net), remarks,
    )  # fmt: skip
    probe = np.random.default_rng(0).integers(0, 256, (8, *view_size, 3), dtype=np.uint8)
    answer = _first_answer(model, probe[:2])
    check_offset(answer.shape[1], class_offset, spec)
    names = fit_names(class_names, answer.shape[1], class_offset, spec, asked=names_asked)
    model = replace(model, scores=scores or read_scores(answer), class_names=names)
    return _faster(model, probe) if fast else model


ANSWERS = ("logits", "image_embeds", "pooler_output")
"""Where a mapping or an object keeps its scores, or its embeddings."""


def as_scores(answer: Any) -> Tensor:
    """The rows in what a net returned: a tensor, or one of ``ANSWERS`` of a mapping or an object.

    Raises:
        InputError: If it is anything else, or not one row per view of two classes or more.
    """
    take = answer.get if isinstance(answer, Mapping) else partial(getattr, answer)
    found = next((rows for name in ANSWERS if (rows := take(name, None)) is not None), answer)
    if not isinstance(found, Tensor):
        without = " without logits" if isinstance(answer, dict) else ""
        raise InputError(
            f"the model answers with a {type(answer).__name__}{without}",
            todo="let it return a tensor of (view, class) scores",
        )
    if found.ndim == 4 and found.shape[2:] == (1, 1):
        found = found.flatten(1)
    if found.ndim != 2 or found.shape[1] < 2:
        raise InputError(
            f"the model's scores have the shape {tuple(found.shape)}",
            todo="they must be (view, class), 2 classes or more",
        )
    return found


def size_of(net: nn.Module) -> dict[str, int | None]:
    """How large a net is: parameters, their bytes, and the layers that multiply by weights."""
    weights = list(net.parameters())
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "bytes": sum(weight.numel() * weight.element_size() for weight in weights),
        "layers": sum(_weighted_layers(module) for module in net.modules()),
    }


WEIGHTED = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
)  # fmt: skip

WEIGHTED_OPERATIONS = re.compile(r"aten\.(conv\w*|linear|addmm)\.\w+")
"""The same in an exported program, whose graph has operations and no layers."""


def _weighted_layers(module: nn.Module) -> int:
    if isinstance(module, GraphModule):
        return sum(bool(WEIGHTED_OPERATIONS.fullmatch(str(node.target))) for node in module.graph.nodes)
    return isinstance(module, WEIGHTED)


def device_named(name: str | None) -> torch.device:
    """The device; without a name an accelerator, if there is one.

    Raises:
        InputError: If it is not there.
    """
    if name is None:
        name = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"  # type: ignore[union-attr]
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {name!r} can't be used ({reason(error)})", where="--device", todo="try cpu") from None


def own_copy(net: nn.Module, place: torch.device, spec: str) -> nn.Module:
    """A copy on a device that only answers: in evaluation mode, in 32 bits, without gradients.

    Raises:
        InputError: If it can't be copied.
    """
    try:
        copy = deepcopy(net)
    except Exception as error:  # weight norm's tensors, locks, open files: many types
        raise InputError(
            f"the model can't be copied ({reason(error)})", where=spec, todo="build it without what can't be copied"
        ) from error
    return copy.to(place).float().eval().requires_grad_(False)


def _first_answer(model: TorchModel, views: UInt8[np.ndarray, "view height width 3"]) -> Tensor:
    """The scores of some views, with the graph of their making where there is one.

    Raises:
        InputError: If the net can't take them, or does not answer with a row of numbers for each.
    """
    try:
        with torch.enable_grad():
            inputs = model.inputs(views)
            if inputs.is_floating_point():
                inputs = inputs.requires_grad_().clone()  # a copy may be changed in place, which a leaf may not
            answer = as_scores(model.net(inputs))
    except InputError as error:
        raise InputError(error.what, where=model.spec, todo=error.todo) from None
    except Exception as error:  # nets refuse in many types
        size = "×".join(map(str, model.view_size))
        raise InputError(
            f"the model can't take a view of {size} px ({reason(error)})",
            where=model.spec,
            todo="give its size by --preprocessing 'view_size=[H,W]'",
        ) from error
    if len(answer) != len(views):
        raise InputError(f"{len(views)} views got {len(answer)} answers", where=model.spec, todo="give one per view")
    if answer.isnan().any():
        raise InputError("the model answers with NaN", where=model.spec, todo="check its weights")
    return answer


def _faster(model: TorchModel, probe: UInt8[np.ndarray, "view height width 3"]) -> TorchModel:
    """Channels-last and folded norms, if the answers to some noise stay what they were; else the plain net.

    Both are decided by rule and not by a stopwatch, so that an audit is a function of its arguments. Where there is a
    2-D convolution, channels-last is 1.2 to 2 times faster on CPUs, and folding another 1.1 to 1.5 times.
    """
    if not any(type(module) is nn.Conv2d or isinstance(module, GraphModule) for module in model.net.modules()):
        return model
    try:
        net = deepcopy(model.net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        folded = fold_norms(net, model.inputs(probe[:1]))
        settings = {**model.settings, "layout": "channels_last", "folded_norms": folded}
        fast = replace(model, net=net, settings=settings, plain_net=model.net)
        before, after = model(probe), fast(probe)
    except Exception:  # a net that insists on its layout, or looks into its norms: the plain one is known to work
        return model
    same = np.allclose(before, after, rtol=0, atol=1e-3 * np.ptp(before))
    return fast if same and (before.argmax(1) == after.argmax(1)).all() else model


REARRANGING = (
    "View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "Squeeze", "Unsqueeze", "Select", "Slice", "Permute",
    "Transpose", "T", "ToCopy", "Mean", "AdaptiveAvgPool2D", "AvgPool2D", "Cat",
)  # fmt: skip
"""Operations after which scores are still what they were: logits, probabilities or sigmoids (a mean of them, too)."""

BY_OPERATION: dict[str, Scores] = {
    "Softmax": "probabilities",
    "Sigmoid": "sigmoid",
    "LogSoftmax": "logits",
    "Addmm": "logits",
    "Mm": "logits",
    "Convolution": "logits",
    "Relu": "logits",
}
"""What an operation's results are. A net may end in logits that all lie between 0 and 1: their range would mislead."""


def read_scores(answer: Tensor) -> Scores:
    """What scores are, by the last operation of the graph that made them; failing that, by their range."""
    step = answer.grad_fn
    while step is not None:
        operation = re.sub(r"Backward\d*$", "", step.name())
        if operation in BY_OPERATION:
            return BY_OPERATION[operation]
        step = step.next_functions[0][0] if operation in REARRANGING else None
    return scores_by_range(answer.detach().cpu().numpy())
