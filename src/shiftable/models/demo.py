"""The demo model: a small net of our own training, shipped with the package, for audits without downloads."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from shiftable.errors import InputError
from shiftable.models.preprocessing import Preprocessing

VIEW_SIZE = (64, 64)
"""(height, width) in px of what the net is shown."""

PREPROCESSING = Preprocessing(resize_px=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

WEIGHTS = Path(__file__).with_name("demo.safetensors")
"""Written by ``scripts/train_demo.py``; the classes' names and the measured accuracy are in its metadata."""

CLASS_COUNT = 10


def demo_net(pretrained: bool = True) -> nn.Module:
    """An ordinary strided convolutional net of total stride 16: ``(batch, 3, 64, 64)`` to logits ``(batch, 10)``.

    Args:
        pretrained: With the weights of the package, in evaluation mode; otherwise as it is before training.

    Raises:
        InputError: If the weights are missing.

    Example:
        >>> import torch
        >>> demo_net()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 10])
    """
    net = nn.Sequential(
        _block(3, 16, stride=2),
        _block(16, 32, stride=2),
        _block(32, 32, stride=1),
        _block(32, 64, stride=2),
        _block(64, 64, stride=1),
        _block(64, 128, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, CLASS_COUNT),
    )
    if not pretrained:
        return net
    _check_weights()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


def _block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def class_names() -> tuple[str, ...]:
    """The names of the demo net's classes, in the order of its logits.

    Raises:
        InputError: If the weights are missing.
    """
    return tuple(metadata()["classes"].split(","))


def metadata() -> dict[str, str]:
    """What the weights' file says about itself: classes, how it was made, what was measured.

    Raises:
        InputError: If the weights are missing.
    """
    _check_weights()
    with safe_open(WEIGHTS, framework="pt") as file:
        return dict(file.metadata())


def _check_weights() -> None:
    if not WEIGHTS.exists():
        raise InputError("the demo model's weights are missing", where=WEIGHTS, todo="run `make demo-model`")
