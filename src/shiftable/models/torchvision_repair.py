"""Import torchvision even where its compiled part was built for another torch.

Such a copy dies on import with ``operator torchvision::nms does not exist``, and timm and transformers with it. Its
Python part works once the two operators that it looks up first are defined. A healthy torchvision is left alone.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from shiftable.errors import InputError, missing_extra
from shiftable.models.reasons import reason

if TYPE_CHECKING:
    import torch

_operators: list["torch.library.Library"] = []  # what is defined here lives as long as this list holds it


def import_torchvision() -> ModuleType:
    """torchvision, with ``nms`` in plain PyTorch where its own is missing.

    Raises:
        InputError: If torchvision is not installed, or fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError:
        raise missing_extra("torchvision", "torchvision") from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise _unusable(error) from None
    # A failed import leaves half of its modules behind.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _define_operators()
    try:
        torchvision = importlib.import_module("torchvision")
        boxes: Any = importlib.import_module("torchvision.ops.boxes")
    except RuntimeError as error:  # it needs more than what is defined here
        raise _unusable(error) from None
    boxes._assert_has_ops = lambda: None  # it would refuse because the compiled library is absent
    return torchvision


def _unusable(error: Exception) -> InputError:
    return InputError(f"torchvision can't be imported ({reason(error)})", todo="install the one made for this torch")


def _define_operators() -> None:
    import torch

    if _operators:
        return
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", non_maximum_suppression, "CompositeExplicitAutograd")
    _operators.append(library)


def non_maximum_suppression(boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float) -> "torch.Tensor":
    """The indices of the boxes that no better box covers by more than ``iou_threshold``, best first.

    Args:
        boxes: ``(box, 4)``: x0, y0, x1, y1.
        scores: ``(box,)``. Of equal scores the earlier box counts as better.
        iou_threshold: Intersection over union, 0 to 1. A box that is covered by exactly this much stays.
    """
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    ranked = boxes[order]
    area = (ranked[:, 2] - ranked[:, 0]) * (ranked[:, 3] - ranked[:, 1])
    alive = torch.ones(len(ranked), dtype=torch.bool, device=boxes.device)
    for best in range(len(ranked)):
        if not alive[best]:
            continue
        rest = slice(best + 1, None)
        top_left = torch.maximum(ranked[best, :2], ranked[rest, :2])
        bottom_right = torch.minimum(ranked[best, 2:], ranked[rest, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
        # torchvision's own arithmetic: the threshold is a double; boxes without area are 0/0, which is above none
        iou = overlap / (area[best] + area[rest] - overlap)
        alive[rest] &= ~(iou.double() > iou_threshold)
    return order[alive]
