"""Hugging Face's detectors and segmenters: how they are shown pictures, and how their answers are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiftable.models.answers import KEPT_FROM
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftable.models.reading import Reader

ENDINGS: Mapping[str, Task] = {
    "ForImageClassification": "classify",
    "ForObjectDetection": "detect",
    "ForSemanticSegmentation": "segment",
}
"""Of the names of architectures."""


def tasks_of(config: Any) -> tuple[Task, ...]:
    """What a net was trained for, by its configuration; nothing where that is not known."""
    names = config.architectures or ()
    return tuple(task for ending, task in ENDINGS.items() if any(name.endswith(ending) for name in names))


def detections_by(processor: Any) -> "Reader":
    """What a detector says, by its image processor's own ``post_process_object_detection``.

    Args:
        processor: The image processor.
    """

    def read(net: "nn.Module", inputs: "Tensor", view_size: Size) -> list[object]:
        output, sizes = net(inputs), [tuple(view_size)] * len(inputs)
        found = processor.post_process_object_detection(output, threshold=KEPT_FROM, target_sizes=sizes)
        return [tuple(each[name].cpu().numpy() for name in ("boxes", "scores", "labels")) for each in found]

    return read


def in_proportion(
    config: Mapping[str, Any], preprocessing: Preprocessing, name: str
) -> tuple[Size, Preprocessing, tuple[str, ...]] | None:
    """View size, preprocessing and a sentence on what was assumed, for an image processor that keeps proportions.

    Such nets take pictures of any proportions, with a short side of so many px and a long one of at most so many. A
    view has one size: 4:3, in which pictures of other proportions stand in a letterbox.

    Args:
        config: The image processor's.
        preprocessing: What was read of it otherwise.
        name: The net's.

    Returns:
        None for a processor that squashes or crops.
    """
    size = config.get("size") or {}
    short, longest = size.get("shortest_edge"), size.get("longest_edge")
    if not short or config.get("do_center_crop"):
        return None
    view_size = short, min(short * 4 // 3, longest or short * 4 // 3)
    remark = (
        f"{name.rpartition('/')[2]} takes pictures of any proportions: 4:3, {short}×{view_size[1]} px, in a letterbox "
        "were assumed; "
        "say otherwise by --preprocessing 'view_size=[H,W]'"
    )
    return view_size, replace(preprocessing, resize_px=short, crop="letterbox"), (remark,)
