"""Kinds of nets for pictures of 32 × 32 px, each of 40 million multiply-adds or less, all ending in an average.

Each gives logits, and by ``features`` what it makes its answer of: a map, or a set of poses.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from shiftable.studies import filters
from shiftable.studies.filters import net_with
from shiftable.studies.nets import Padding, resnet_like, vgg_like

Pictures = Float[Tensor, "picture 3 y x"]


def dilated(seed: int, classes: int = 10) -> nn.Module:
    """`nets.vgg_like` without its last two poolings: what follows looks as far, by dilation, at every position."""
    net: Any = vgg_like(width=11, classes=classes, seed=seed)
    net.pool2, net.pool3 = (nn.MaxPool2d(2, 1, dilation=1) for _ in range(2))
    for conv in (net.conv3_1, net.conv3_2):
        conv.dilation, conv.padding = (2, 2), (2, 2)
    return net  # type: ignore[no-any-return]


class GroupConv2d(nn.Module):
    """Convolution over the plane and its turns by 90 degrees: (picture, turn × channel, y, x), turn by turn.

    Cohen & Welling, "Group equivariant convolutional networks", ICML 2016, section 6: each filter is turned four times;
    beyond the first layer its four planes are exchanged in a circle as it turns.
    """

    def __init__(self, inputs: int, outputs: int, turns: int = 4) -> None:
        super().__init__()
        self.turns = turns
        scale = (2 / (inputs * turns * 9)) ** 0.5
        self.weight = nn.Parameter(scale * torch.randn(outputs, turns * inputs, 3, 3))

    def forward(self, maps: Float[Tensor, "picture turned y x"]) -> Float[Tensor, "picture outwards y x"]:
        weight = self.weight.reshape(len(self.weight), self.turns, -1, 3, 3)
        turned = [weight.rot90(turn, (3, 4)).roll(turn if self.turns == 4 else 0, 1) for turn in range(4)]
        return functional.conv2d(maps, torch.cat(turned).flatten(1, 2), padding=1)


class GroupNorm2d(nn.BatchNorm2d):
    """Batch norm of (picture, 4 turns × channel, y, x) that treats a channel's four turns as one."""

    def forward(self, maps: Float[Tensor, "picture turned y x"]) -> Float[Tensor, "picture turned y x"]:
        last = maps.permute(0, 2, 3, 1)  # of maps whose channels lie side by side no number moves
        beside = last.reshape(*last.shape[:2], -1, self.num_features).permute(0, 3, 1, 2)
        return super().forward(beside).permute(0, 2, 3, 1).reshape(last.shape).permute(0, 3, 1, 2)


class GroupNet(nn.Module):
    """`nets.vgg_like` over the plane and its turns, of half the width, so of as many weights; turns are averaged."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        widths, inputs, turns = (width, 2 * width, 4 * width), 3, 1
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for outputs in widths:
            for _ in range(2):
                self.convolutions.append(GroupConv2d(inputs, outputs, turns))
                self.norms.append(GroupNorm2d(outputs))
                inputs, turns = outputs, 4
        self.head = nn.Linear(inputs, classes)

    def features(self, pictures: Pictures) -> Float[Tensor, "picture turned row column"]:
        maps = pictures
        for at, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            maps = norm(convolution(maps)).relu()
            if at % 2:
                maps = functional.max_pool2d(maps, 2)
        return maps

    def forward(self, pictures: Pictures) -> Float[Tensor, "picture class"]:
        return self.head(self.features(pictures).mean((2, 3)).reshape(len(pictures), 4, -1).mean(1))  # type: ignore[no-any-return]


class CapsuleNet(nn.Module):
    """Convolutions, then poses of parts that vote for poses of classes, routed by agreement.

    Sabour, Frosst & Hinton, "Dynamic routing between capsules", NeurIPS 2017: squash is equation 1, routing procedure
    1. The length of a class's pose says whether it is there; logits are its logarithmic odds.
    """

    def __init__(self, classes: int = 10, parts: int = 4, pose: int = 8, rounds: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, parts * pose, 3, 2, padding=1),
        )  # fmt: skip
        self.parts, self.pose, self.rounds = parts, pose, rounds
        self.votes = nn.Parameter(0.1 * torch.randn(parts * 64, classes, 8, pose))

    def features(self, pictures: Pictures) -> Float[Tensor, "picture class pose"]:
        """The poses of the classes."""
        poses = self.stem(pictures).unflatten(1, (self.parts, self.pose)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        votes = torch.einsum("ncvp,bnp->bncv", self.votes, _squashed(poses))
        agreement = votes.new_zeros(votes.shape[:3])
        found = votes.new_zeros(1)
        for _ in range(self.rounds):
            found = _squashed((agreement.softmax(2)[..., None] * votes).sum(1))
            agreement = agreement + (votes * found[:, None]).sum(3)
        return found

    def forward(self, pictures: Pictures) -> Float[Tensor, "picture class"]:
        length = self.features(pictures).norm(dim=2).clamp(1e-4, 1 - 1e-4)
        return torch.log(length / (1 - length))


def _squashed(poses: Tensor) -> Tensor:
    square = poses.square().sum(-1, keepdim=True)
    return square / (1 + square) * poses / (square + 1e-8).sqrt()


class SmallViT(nn.Module):
    """A vision transformer on patches of 4 px; positions are told by a depthwise convolution, as in CPVT.

    Dosovitskiy et al., ICLR 2021; Chu et al., "Conditional positional encodings", ICLR 2023: there is no table of
    positions that anchoring would contradict. With ``anchored`` patches are cut where the picture says.
    """

    def __init__(self, anchored: bool = False, classes: int = 10, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        from shiftable.layers import AnchoredConv2d

        self.patches: nn.Module = (AnchoredConv2d if anchored else nn.Conv2d)(3, width, 4, 4)
        circle = {"padding_mode": "circular"} if anchored else {}
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width, **circle)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def features(self, pictures: Pictures) -> Float[Tensor, "picture token channel"]:
        maps = self.patches(pictures)
        tokens = (maps + self.position(maps)).flatten(2).transpose(1, 2)
        with sdpa_kernel(SDPBackend.MATH):  # the fused one is slow backwards in 16 bits on a CPU
            for block in self.blocks:
                tokens = block(tokens)
        return self.norm(tokens)  # type: ignore[no-any-return]

    def forward(self, pictures: Pictures) -> Float[Tensor, "picture class"]:
        return self.head(self.features(pictures).mean(1))  # type: ignore[no-any-return]


def _strided(seed: int, classes: int = 10) -> nn.Module:
    return resnet_like(classes=classes, seed=seed)


def _plain(pooling: str, seed: int, classes: int = 10, padding_mode: Padding = "zeros") -> nn.Module:
    net: Any = net_with(pooling, seed, padding_mode)
    if classes != 10:
        net[-1] = nn.Linear(net[-1].in_features, classes)
    return net  # type: ignore[no-any-return]


def _polyphase(seed: int, classes: int = 10) -> nn.Module:
    """As published, with borders that go on in a circle: then nothing depends on the place of a picture on it."""
    return _plain("adaptive phase", seed, classes, "circular")


def _seeded(make: Callable[..., nn.Module], seed: int, classes: int = 10) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(classes=classes)


POOLED = {"pooled": "max", "blurred": filters.BLURRED}
"""Kinds that are `nets.vgg_like` with a pooling of the study filters."""

KINDS: Mapping[str, Callable[..., nn.Module]] = {
    "strided": _strided,
    "pooled": partial(_plain, POOLED["pooled"]),
    "dilated": dilated,
    "blurred": partial(_plain, POOLED["blurred"]),
    "polyphase": _polyphase,
    "group-equivariant": partial(_seeded, GroupNet),
    "capsules": partial(_seeded, CapsuleNet),
    "ViT": partial(_seeded, SmallViT),
    "ViT, anchored": partial(_seeded, partial(SmallViT, True)),
}
"""Name → (seed, classes) to a net."""


def kept_as(kind: str) -> str:
    """What a net of this kind is kept as, trained on pictures that never move."""
    if kind in POOLED:
        return filters.kept_as(POOLED[kind])
    return "resnet_like" if kind == "strided" else kind.replace(", ", "-")


def features(net: nn.Module, pictures: Pictures) -> Float[Tensor, "picture feature"]:
    """What a net makes its answer of: the last map, the tokens, or the poses of the classes; flat."""
    find = getattr(net, "features", None)
    if find is None:  # our plain nets end in an average, a flattening and a linear layer
        find = nn.Sequential(*list(net.children())[:-3])
    return find(pictures).flatten(1)  # type: ignore[no-any-return]
