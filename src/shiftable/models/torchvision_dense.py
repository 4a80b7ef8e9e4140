"""torchvision's detectors, segmenters and key-point nets: what each does, and the views it is to be shown."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Task

if TYPE_CHECKING:
    from torch import nn


def dense_names(models: ModuleType) -> dict[str, tuple[Task, ...]]:
    """The names of the nets, and what they can do.

    Args:
        models: ``torchvision.models``.
    """
    tasks: dict[str, tuple[Task, ...]] = dict.fromkeys(models.list_models(module=models.segmentation), ("segment",))
    for name in models.list_models(module=models.detection):
        tasks[name] = ("keypoints", "detect") if name.startswith("keypoint") else ("detect",)
    return tasks


def resizes_inside(net: "nn.Module") -> bool:
    """Whether it resizes and normalises by itself, as torchvision's detectors do."""
    return all(hasattr(getattr(net, "transform", None), name) for name in ("min_size", "max_size", "fixed_size"))


def shown_to(name: str, net: "nn.Module", weights: Any) -> tuple[Size, Preprocessing, tuple[str, ...]]:
    """View size, preprocessing, and a sentence on what was assumed.

    Detectors normalise and resize inside: they are fed pixels from 0 to 1. Those of one size (SSD) squash pictures to
    it, and so does the preprocessing. The others bring the short side to their own and keep proportions: their view is
    of that height and 4:3, and pictures of other proportions stand in a letterbox. Segmenters keep proportions too, and
    see the square in the middle.

    Args:
        name: The net's.
        net: The net.
        weights: Its default weights, which know their preprocessing.
    """
    inside: Any = getattr(net, "transform", None)
    if not resizes_inside(net):
        shown = weights.transforms()
        (side,), mean, std = shown.resize_size, tuple(shown.mean), tuple(shown.std)
        remark = f"{name} takes pictures of any proportions: the square in the middle, {side}×{side} px, was assumed"
        return (side, side), Preprocessing(side, shown.interpolation.value, mean=mean, std=std), (_otherwise(remark),)
    if inside.fixed_size:
        width, height = inside.fixed_size
        squash = Preprocessing((height, width), antialias=False, mean=(0.0,), std=(1.0,), library="tensor")
        return (height, width), squash, ()
    side = inside.min_size[-1]
    view_size = side, min(side * 4 // 3, inside.max_size)
    remark = f"{name} takes pictures of any proportions: 4:3, {side}×{view_size[1]} px, in a letterbox were assumed"
    whole = Preprocessing(side, antialias=False, crop="letterbox", mean=(0.0,), std=(1.0,), library="tensor")
    return view_size, whole, (_otherwise(remark),)


def _otherwise(remark: str) -> str:
    return f"{remark}; say otherwise by --preprocessing 'view_size=[H,W]'"
