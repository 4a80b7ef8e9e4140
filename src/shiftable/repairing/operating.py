"""A model's net with a plan's surgery: operated on, its moments matched, and tuned, as the plan says."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.repairing.plan import Plan

if TYPE_CHECKING:
    from torch import nn

Picture = UInt8[np.ndarray, "height width 3"]


def operated_net(
    model: Model,
    plan: Plan,
    views: Sequence[Picture],
    images: Callable[[], Iterable[Picture]],
    folder: Path,
) -> "nn.Module":
    """A copy of the model's net with a plan's edits, ready for `repaired`.

    Args:
        model: As it was opened.
        plan: What to do.
        views: What the model is shown of some unmoved images: for the moments.
        images: Gives what a fine-tune may look at.
        folder: Where that keeps its state.

    Raises:
        InputError: If the model is no PyTorch net, or its net can't be operated on so.
    """
    from shiftable.models.other_net import plain
    from shiftable.models.torch_model import TorchModel
    from shiftable.surgery.editing import operate
    from shiftable.surgery.matching import match_moments

    if not isinstance(model, TorchModel):
        raise InputError("surgery is for PyTorch nets", where=model.spec, todo="open the net it was made from")
    given = plain(model)
    batches = [
        given.inputs(np.stack(views[at : at + given.batch_size])) for at in range(0, len(views), given.batch_size)
    ]
    net = operate(given.net, plan.edits, batches[0][:1])
    if any(edit.match for edit in plan.edits):
        net = match_moments(net, given.net, plan.edits, batches)
    if plan.finetune is not None:
        from shiftable.repairing.finetune import finetune, views_with_room

        net = finetune(net, given, views_with_room(given, images()), plan.finetune, folder=folder)
    return net
