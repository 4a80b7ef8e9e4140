"""Two small nets for pictures of 32 × 32 px: shallow with poolings, and deep with strides.

They differ as the paper's VGG16 and ResNets do: the one subsamples by pooling, after few convolutions; the other by
strided convolutions, among many. All else is alike: the same three halvings (total stride 8), a global average before
the linear layer, widths that double from stage to stage, and at equal ``width`` about equal work.

At the usual width of 16 and 32 × 32 px: 9.9 million multiply-adds with 7 layers, and 10.6 with 20.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Padding: TypeAlias = Literal["zeros", "circular"]
STAGES = (1, 2, 4)
"""How wide each is, in units of the first. Each halves the map once: a total stride of 8."""


def vgg_like(
    width: int = 16, classes: int = 10, convolutions: int = 2, seed: int = 0, padding_mode: Padding = "zeros"
) -> nn.Module:
    """Shallow with poolings: stages of 3 × 3 convolutions, each stage closed by a 2 × 2 maximum.

    ``(batch, 3, height, width)`` to logits ``(batch, classes)``; sides are best multiples of 8 px.

    Args:
        width: Channels of the first stage; each further stage has twice as many as the one before.
        classes: How many logits.
        convolutions: Per stage.
        seed: Of the random weights. The caller's random state is left alone.
        padding_mode: Of the convolutions, as in ``torch.nn.Conv2d``.

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; with
        batch norms, and a global average instead of two of the three linear layers.

    Example:
        >>> vgg_like()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    net = nn.Sequential()
    with _seeded(seed):
        inputs = 3
        for stage, outputs in enumerate((width * times for times in STAGES), start=1):
            for number in range(1, convolutions + 1):
                name = f"{stage}_{number}"
                convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, padding_mode=padding_mode)
                net.add_module(f"conv{name}", convolution)
                net.add_module(f"norm{name}", nn.BatchNorm2d(outputs))
                net.add_module(f"relu{name}", nn.ReLU())  # not in place: a hook on the norm sees what it gave
                inputs = outputs
            net.add_module(f"pool{stage}", nn.MaxPool2d(2))
        _add_head(net, inputs, classes)
    return net


def resnet_like(width: int = 16, classes: int = 10, blocks: int = 3, seed: int = 0) -> nn.Module:
    """Deep with strides: stages of residual blocks; the first block of each stage has stride 2, and nothing pools.

    ``(batch, 3, height, width)`` to logits ``(batch, classes)``; sides are best multiples of 8 px.

    Args:
        width: Channels of the first convolution and stage; each further stage has twice as many as the one before.
        classes: How many logits.
        blocks: Per stage, of two convolutions each.
        seed: Of the random weights. The caller's random state is left alone.

    References:
        He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016: the blocks of their figure 2,
        shortcuts of option B (1 × 1 convolutions of stride 2). Their nets for CIFAR-10 halve twice; this one halves in
        its first stage, too.

    Example:
        >>> resnet_like()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    net = nn.Sequential()
    with _seeded(seed):
        net.add_module("conv", nn.Conv2d(3, width, 3, padding=1, bias=False))
        net.add_module("norm", nn.BatchNorm2d(width))
        net.add_module("relu", nn.ReLU())
        inputs = width
        for stage, outputs in enumerate((width * times for times in STAGES), start=1):
            others = (_Residual(outputs, outputs, stride=1) for _ in range(blocks - 1))
            net.add_module(f"stage{stage}", nn.Sequential(_Residual(inputs, outputs, stride=2), *others))
            inputs = outputs
        _add_head(net, inputs, classes)
    return net


class _Residual(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut; a stride is the first convolution's and the shortcut's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu2 = nn.ReLU()

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        inner = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(inner)) + self.shortcut(x))  # type: ignore[no-any-return]


def _add_head(net: nn.Sequential, inputs: int, classes: int) -> None:
    net.add_module("average", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("linear", nn.Linear(inputs, classes))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
