"""A model's net as its source gives it, and the same model with another net: for surgery and for training."""

from dataclasses import replace

from torch import nn

from shiftable.models.runtimes import run_by
from shiftable.models.torch_model import TorchModel, torch_model
from shiftable.models.weights import fingerprint


def plain(model: TorchModel) -> TorchModel:
    """The model with its net as the source gives it: contiguous, norms unfolded, uncompiled, in 32 bits.

    The names of modules and weights are the source's. It is the model's own net, not a copy.
    """
    exact = model.exact or model
    net = exact.plain_net or exact.net
    return replace(exact, net=net, plain_net=None, settings={**exact.settings, "layout": "contiguous",
                                                             "folded_norms": 0})  # fmt: skip


def with_net(model: TorchModel, net: nn.Module) -> TorchModel:
    """The same model with another net, made as fast as the model was, and of its precision.

    Args:
        model: Says what the net is fed, what its answers are, and where it runs.
        net: A net that takes the same inputs and gives the same classes, names as in `plain`. It is copied.

    Raises:
        InputError: If it can't take a view, or does not answer as the model does.
    """
    made = torch_model(
        net,
        spec=model.spec,
        view_size=model.view_size,
        preprocessing=model.preprocessing,
        weights_sha256=fingerprint(net),
        scores=model.scores,
        class_names=model.class_names,
        class_offset=model.class_offset,
        task=model.task,
        device=str(model.settings["device"]),
        fast=model.plain_net is not None,
        remarks=model.remarks,
    )
    made = replace(made, model_args=model.model_args, batch_size=model.batch_size)
    if model.exact is None:
        return made
    precision = "bf16" if model.settings["precision"] == "bfloat16" else "fp32"
    again = run_by(made, runtime="torch", precision=precision, compile=bool(model.settings["compiled"]), threads=None)
    assert isinstance(again, TorchModel), "PyTorch's models are run by PyTorch"
    return again
