"""A PyTorch net that says where in the view something is, as a model: its own resizes and maps are its business."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.models.answers import Detections, Poses, SegmentAnswers
from shiftable.models.checked_answers import checked, together
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Scores, Task
from shiftable.models.reading import Reader
from shiftable.models.reasons import reason
from shiftable.models.torch_inputs import as_tensor, scale_and_offset
from shiftable.models.torch_model import device_named, own_copy, size_of

BATCH_SIZE = 8
"""Views at once: detectors keep a lot of each."""


@dataclass(frozen=True)
class DenseModel:
    """Answers views with a PyTorch net. Made by `dense_model`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same net fed otherwise.

    Args:
        net: The net.
        read: Asks it, and finds its answers in what it returns.
        model_args: What the function that built it was given.
    """

    net: nn.Module = field(repr=False)
    read: Reader = field(repr=False)
    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    task: Task
    class_names: tuple[str, ...] | None = field(repr=False)
    settings: dict[str, object]
    size: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE
    scores: Scores = "probabilities"
    model_args: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(
        self, views: UInt8[np.ndarray, "view height width 3"]
    ) -> list[Detections] | list[Poses] | SegmentAnswers:
        """The answer to each view, as its task has it."""
        with torch.inference_mode():
            found = self.read(self.net, self.inputs(views), self.view_size)
        if len(found) != len(views):
            raise InputError(f"{len(views)} views got {len(found)} answers", where=self.spec, todo="give one per view")
        answers = [checked(each, self.task, self.view_size, self.spec, coarser=True) for each in found]
        return together(answers, self.task)

    @cached_property
    def _normalising(self) -> tuple[Tensor, Tensor]:
        return scale_and_offset(self.preprocessing, str(self.settings["device"]))

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Tensor:
        """What the net is fed for these views."""
        return as_tensor(views, self.preprocessing, self._normalising, str(self.settings["layout"]))


def dense_model(
    net: nn.Module,
    read: Reader,
    *,
    spec: str,
    task: Task,
    view_size: Size,
    preprocessing: Preprocessing,
    weights_sha256: str | None = None,
    class_names: tuple[str, ...] | None = None,
    device: str | None = None,
    settings: Mapping[str, object] | None = None,
    remarks: tuple[str, ...] = (),
) -> DenseModel:
    """A net, ready to be audited. The caller's net is copied, not touched.

    Args:
        net: Takes a batch of images.
        read: Asks it, and finds its answers in what it returns.
        spec: Its name in records.
        task: ``"detect"``, ``"segment"`` or ``"keypoints"``.
        view_size: (height, width) in px of what it is shown.
        preprocessing: How views become its input.
        weights_sha256: The fingerprint of its weights, for records.
        class_names: A name per class.
        device: ``"cpu"``, ``"cuda"``, …; None takes an accelerator if there is one.
        settings: More to be recorded.
        remarks: What a reader of its audit must know, a sentence each.

    Raises:
        InputError: If the device is not there, the net can't be copied, or it does not answer a view of noise.
    """
    place = device_named(device)
    recorded = {
        "runtime": "torch",
        "device": str(place),
        "threads": torch.get_num_threads(),
        "layout": "contiguous",
        "precision": "float32",
        **(settings or {}),
    }
    model = DenseModel(
        own_copy(net, place, spec), read, spec, weights_sha256, view_size, preprocessing, task, class_names, recorded,
        size_of(net), remarks,
    )  # fmt: skip
    probe = np.random.default_rng(0).integers(0, 256, (1, *view_size, 3), dtype=np.uint8)
    try:
        model(probe)
    except InputError as error:
        raise InputError(error.what, where=error.where or spec, todo=error.todo) from None
    except (Exception, SystemExit) as error:  # nets refuse in many types
        size = "×".join(map(str, view_size))
        raise InputError(
            f"the model can't take a view of {size} px ({reason(error)})",
            where=spec,
            todo="give its size by --preprocessing 'view_size=[H,W]'",
        ) from error
    return model
