"""Small nets of our own: trained on CIFAR-10, kept, and measured under shifts, scales and noise."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float32, Int64, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from shiftable.engine import write_atomically
from shiftable.studies.cifar10 import normalised, read_split
from shiftable.studies.study import Row, Setting
from shiftable.training import Loss, shuffled_batches, train

Views: TypeAlias = UInt8[Tensor, "view 32 32 3"]
Labels: TypeAlias = Int64[Tensor, " view"]
Batches: TypeAlias = Iterator[tuple[Tensor, Tensor]]
Vary: TypeAlias = Callable[[Batches, int], Batches]
"""Batches of views and labels, and a seed, to batches as a net takes them."""

BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05
PAD_PX = 4
"""Test pictures get a mirrored border of so many px, and views slide over that: real shifts, up to 4 px each way."""
ROLLED_PX = 32
AT_ONCE = 500


def steps_of(setting: Setting) -> int:
    """How long a net is trained: a minute and a half on one core, usually."""
    return setting.pick(20, 1200, 8000)


def trained(
    make: Callable[[], nn.Module],
    name: str,
    setting: Setting,
    seed: int,
    *,
    vary: Vary | None = None,
    loss: Loss = functional.cross_entropy,
    steps: int | None = None,
) -> nn.Module:
    """A net trained on CIFAR-10, or the one that was kept: what is stopped goes on where it was.

    Args:
        make: Makes the net, with its random weights.
        name: What is trained, and how: as this it is kept, for other studies as well.
        setting: The study's.
        seed: Of the order of the pictures and what is done to them.
        vary: What is done to the pictures; None mirrors a random half of them.
        loss: What is made small.
        steps: None takes those of `steps_of`.
    """
    steps = steps_of(setting) if steps is None else steps
    net, file = make(), setting.nets / f"{name}-{steps}-steps-{seed}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not file.exists():
        batches = shuffled_batches(*pictures(setting, "train"), BATCH_SIZE, seed)
        checkpoint = file.with_suffix(".checkpoint")
        train(
            net,
            (vary or mirrored)(batches, seed),
            steps,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            loss=loss,
            precision="bfloat16",
            seed=seed,
            checkpoint=checkpoint,
        )
        weights = {key: value.contiguous() for key, value in net.state_dict().items()}
        write_atomically(file, lambda draft: save_file(weights, draft))
        checkpoint.unlink()
    net.load_state_dict(load_file(file))
    return net.eval()


def pictures(setting: Setting, split: str) -> tuple[Views, Labels]:
    """CIFAR-10's pictures and labels: all to learn from, 2,000 to test with; few of a quick run."""
    counts: tuple[int | None, int | None, int | None] = (512, None, None) if split == "train" else (40, 2000, None)
    return _split(setting.find("data", "cifar10"), split, setting.pick(*counts))


@lru_cache(maxsize=2)
def _split(folder: Path, split: str, count: int | None) -> tuple[Views, Labels]:
    return read_split(folder, "train" if split == "train" else "test", count)


def mirrored(batches: Batches, seed: int) -> Batches:
    """A random half of the pictures mirrored left to right, and all as a net takes them. None is moved."""
    generator = torch.Generator().manual_seed(seed)
    for views, labels in batches:
        turned = torch.rand(len(views), 1, 1, 1, generator=generator) < 0.5
        yield normalised(torch.where(turned, views.flip(2), views)), labels


def padded(views: Views) -> UInt8[Tensor, "view 40 40 3"]:
    """Views with a mirrored border of ``PAD_PX``."""
    inside = views.permute(0, 3, 1, 2).float()
    return functional.pad(inside, (PAD_PX,) * 4, mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)


def windows(larger: UInt8[Tensor, "view 40 40 3"], places: Int64[Tensor, "view 2"]) -> Views:
    """The part of each larger view that begins at a place, (y, x)."""
    y, x = (places[:, axis, None] + torch.arange(32) for axis in (0, 1))
    number = torch.arange(len(larger))[:, None, None]
    return larger[number, y[:, :, None], x[:, None, :]]


def measure_shifts(net: nn.Module, setting: Setting, seed: int = 0) -> Row:
    """Accuracy in the middle, and what becomes of answers under real shifts and circular ones.

    Args:
        net: Answers normalised views with logits.
        setting: The study's.
        seed: Of the places.

    Returns:
        ``accuracy``; ``consistency`` and ``consistency_roll`` (two independent places, Zhang 2019); ``p_top1_change``,
        ``mac`` and ``p_roll`` (a place and one px to the right of it).
    """
    views, labels = pictures(setting, "test")
    generator = torch.Generator().manual_seed(seed)

    def random(high: int) -> Int64[Tensor, "view 2"]:
        return torch.randint(high, (len(views), 2), generator=generator)

    larger, right = padded(views), torch.tensor([0, 1])
    one, other = random(2 * PAD_PX + 1), random(2 * PAD_PX + 1)
    pair = torch.stack([one[:, 0], one[:, 1].clamp(max=2 * PAD_PX - 1)], 1)
    rolled = [random(ROLLED_PX) for _ in range(2)]
    still = probabilities(net, views)
    real = [probabilities(net, windows(larger, places)) for places in (one, other, pair, pair + right)]
    round_ = [probabilities(net, _rolled(views, by)) for by in (rolled[0], rolled[1], rolled[0] + right)]
    first = real[2].argmax(1)
    change = (real[2] - real[3]).gather(1, first[:, None]).abs()

    def alike(a: Tensor, b: Tensor) -> float:
        return float((a.argmax(1) == b.argmax(1)).double().mean())

    return {
        "accuracy": float((still.argmax(1) == labels).double().mean()),
        "consistency": alike(real[0], real[1]),
        "p_top1_change": 1 - alike(real[2], real[3]),
        "mac": float(change.double().mean()),
        "consistency_roll": alike(round_[0], round_[1]),
        "p_roll": 1 - alike(round_[0], round_[2]),
    }


def measure_unseen(net: nn.Module, setting: Setting, seed: int = 0) -> Row:
    """Accuracy on what was never trained on: pictures smaller and larger, far off the middle, and under noise."""
    views, labels = pictures(setting, "test")
    generator = torch.Generator().manual_seed(seed)
    plain = views.permute(0, 3, 1, 2).float()

    def scaled(factor: float) -> Tensor:
        side = round(32 * factor)
        small = functional.interpolate(plain, (side, side), mode="bilinear", antialias=True)
        if side < 32:
            before = (32 - side) // 2
            return functional.pad(small, (before, 32 - side - before) * 2, mode="replicate")
        start = (side - 32) // 2
        return small[:, :, start : start + 32, start : start + 32]

    far = functional.pad(plain, (8, 0, 8, 0), mode="reflect")[:, :, :32, :32]
    noise = plain + 25.5 * torch.randn(plain.shape, generator=generator)
    shown = {"smaller": scaled(0.75), "larger": scaled(1.25), "far": far, "noise": noise}

    def right(changed: Tensor) -> float:
        found = probabilities(net, changed.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
        return float((found.argmax(1) == labels).double().mean())

    return {f"accuracy_{name}": right(changed) for name, changed in shown.items()}


@torch.inference_mode()
def probabilities(net: nn.Module, views: Views) -> Float32[Tensor, "view class"]:
    """A net's answers in 32 bits."""
    return torch.cat([net(normalised(part)).softmax(1) for part in torch.split(views, AT_ONCE)])


def _rolled(views: Views, by: Int64[Tensor, "view 2"]) -> Views:
    y, x = ((torch.arange(32) - by[:, axis, None]) % 32 for axis in (0, 1))
    return views[torch.arange(len(views))[:, None, None], y[:, :, None], x[:, None, :]]
