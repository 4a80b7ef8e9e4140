"""Is pooling a low-pass filter? The same net with each kind of pooling, trained alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn

from shiftable.studies.nets import vgg_like
from shiftable.studies.rows import apart, estimate, grouped, said
from shiftable.studies.study import Arm, Bars, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.trained import measure_shifts, measure_unseen, trained


def _learned(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 4, 2, padding=1, groups=channels, bias=False)


def _filtered(filter: str, channels: int) -> nn.Module:
    from shiftable.layers import BlurPool2d

    return BlurPool2d(2, kernel_size=2, filter=filter)


def _max_blurred(channels: int) -> nn.Module:
    from shiftable.layers import MaxBlurPool2d

    return MaxBlurPool2d(2)


def _adaptive(channels: int) -> nn.Module:
    from shiftable.layers import AdaptivePolyphase2d

    return AdaptivePolyphase2d(2)


POOLINGS: Mapping[str, Callable[[int], nn.Module]] = {
    "max": lambda channels: nn.MaxPool2d(2),
    "average": lambda channels: nn.AvgPool2d(2),
    "none (stride alone)": lambda channels: nn.AvgPool2d(1, 2),
    "triangle": partial(_filtered, "triangle"),
    "binomial": partial(_filtered, "binomial"),
    "Kaiser sinc": partial(_filtered, "kaiser"),
    "ideal": partial(_filtered, "ideal"),
    "learned": _learned,
    "adaptive phase": _adaptive,
    "max, then binomial": _max_blurred,
}
"""What closes each stage, given its channels. An average of 2 × 2 is the box, or rect, filter."""


def net_with(pooling: str, seed: int) -> nn.Module:
    """`nets.vgg_like` with another pooling. Its convolutions begin with the same weights, whatever the pooling."""
    net = vgg_like(seed=seed)
    for stage, channels in enumerate((16, 32, 64), start=1):
        setattr(net, f"pool{stage}", POOLINGS[pooling](channels))
    return net


def _arms(setting: Setting) -> Sequence[Arm]:
    poolings = setting.pick(("max", "binomial"), tuple(POOLINGS))
    return [{"pooling": pooling, "seed": seed} for seed in range(setting.pick(1, 3, 5)) for pooling in poolings]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    pooling, seed = str(arm["pooling"]), int(arm["seed"] or 0)
    name = f"{''.join(letter for letter in pooling if letter.isalnum())}-{seed}"
    net = trained(partial(net_with, pooling, seed), name, setting, seed)
    yield {**measure_shifts(net, setting), **measure_unseen(net, setting), "aliased": aliased(net, setting)}


def aliased(net: nn.Module, setting: Setting) -> float:
    """Share of the power of what comes before each pooling's stride that its stride can't carry; mean over stages.

    Measured behind the pooling's own filter, at stride 1: what is left of a maximum, an average, a low-pass.
    """
    import torch

    from shiftable.studies.cifar10 import normalised
    from shiftable.studies.trained import pictures

    shares: list[float] = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        dense = _dense(module, args[0]).double()
        dense = dense - dense.mean((2, 3), keepdim=True)
        power = torch.fft.fft2(dense).abs().square().sum((0, 1))
        high = [torch.fft.fftfreq(size).abs() >= 0.25 for size in power.shape]
        beyond = high[0][:, None] | high[1]
        shares.append(float(power[beyond].sum() / power.sum()))

    handles = [net.get_submodule(f"pool{stage}").register_forward_pre_hook(look) for stage in (1, 2, 3)]
    try:
        with torch.inference_mode():
            net(normalised(pictures(setting, "test")[0][:200]))
    finally:
        for handle in handles:
            handle.remove()
    return float(np.mean(shares))


def _dense(pooling: nn.Module, map: Tensor) -> Tensor:
    """What a pooling gives at stride 1."""
    from torch.nn import functional

    from shiftable.layers import BlurPool2d, MaxBlurPool2d

    if isinstance(pooling, nn.MaxPool2d):
        return functional.max_pool2d(map, 2, 1)
    if isinstance(pooling, nn.AvgPool2d):
        return functional.avg_pool2d(map, pooling.kernel_size, 1)
    if isinstance(pooling, nn.Conv2d):
        return functional.conv2d(map, pooling.weight, None, 1, 1, 1, pooling.groups)
    if isinstance(pooling, BlurPool2d):
        return pooling.low_pass(map, (2, 2))
    if isinstance(pooling, MaxBlurPool2d):
        return pooling.blur.low_pass(functional.max_pool2d(map, 2, 1), (2, 2))
    return map


def _tell(rows: Sequence[Row]) -> Told:
    found = {str(key[0]): same for key, same in grouped(rows, "pooling").items()}
    plain = found["max"]

    def line(name: str, percent: bool = True) -> str:
        return ", ".join(f"{pooling} {said(estimate(same, name), percent)}" for pooling, same in found.items())

    def unlike(name: str) -> str:
        others = [
            pooling for pooling, same in found.items()
            if pooling != "max" and apart(estimate(same, name), estimate(plain, name))
        ]  # fmt: skip
        return ", ".join(others) or "none of the others"

    steady = min(found, key=lambda pooling: estimate(found[pooling], "p_top1_change").value)
    return Told(
        f"By real shifts of one pixel {steady} changes its answer least often "
        f"({said(estimate(found[steady], 'p_top1_change'), True)}), max pooling "
        f"{said(estimate(plain, 'p_top1_change'), True)}; told apart from max pooling by its seeds: "
        f"{unlike('p_top1_change')}.",
        (
            f"Beyond what the stride can carry, of the power behind each pooling's own filter: {line('aliased')}.",
            f"Accuracy: {line('accuracy')}; told apart from max pooling: {unlike('accuracy')}.",
            f"Consistency under real shifts: {line('consistency')}.",
            f"Never trained on: smaller pictures {line('accuracy_smaller')}; larger {line('accuracy_larger')}; "
            f"8 px off {line('accuracy_far')}; noise {line('accuracy_noise')}.",
        ),
        (
            Figure("stability", "Stability and accuracy by pooling", (
                Bars("Changed answers, real shifts", "p_top1_change", "pooling", {}, "P(top-1 change)", True),
                Bars("Accuracy", "accuracy", "pooling", {}, "accuracy", True),
                Bars("Consistency, real shifts", "consistency", "pooling", {}, "consistency", True),
                Bars("Consistency, circular shifts", "consistency_roll", "pooling", {}, "consistency", True),
            )),
            Figure("aliasing", "Aliased power against stability", (
                Lines("", "aliased", "p_top1_change", "pooling", {}, "power beyond the limit", "P(top-1 change)",
                      percent=True, joined=False),
            ), 1),
            Figure("unseen", "What was never trained on", tuple(
                Bars(title, f"accuracy_{name}", "pooling", {}, "accuracy", True) for name, title in (
                    ("smaller", "Pictures of 24 px"), ("larger", "Pictures of 40 px"), ("far", "8 px off the middle"),
                    ("noise", "Noise of a tenth of the range"))
            )),
        ),
        (Table("All poolings", ("pooling",), {"accuracy": "accuracy", "consistency": "consistency",
               "consistency_roll": "consistency, circular", "p_top1_change": "P", "mac": "MAC", "aliased": "aliased"},
               percent=("accuracy", "consistency", "consistency_roll", "p_top1_change", "aliased")),),
    )  # fmt: skip


FILTERS_STUDY = Study(
    "filters",
    "Is pooling a low-pass filter?",
    "Is pooling a low-pass filter, and what happens with others?",
    (
        "One small net (three stages, 10 million multiply-adds) is trained on CIFAR-10 from the same weights with each "
        "pooling, equally long, pictures mirrored but never moved.",
        "Then accuracy; consistency of the answers at two random places; changes from one pixel to the next, of views "
        "cut from pictures with a mirrored border of 4 px (real shifts) and rolled (circular ones); and accuracy on "
        "pictures smaller, larger, farther off and noisier than any in training.",
    ),
    "Zhang 2019, ImageNet, from scratch, accuracy / consistency: VGG16bn 73.4 / 89.2 (max), 74.0 / 90.7 (rect-2), "
    "73.9 / 91.1 (triangle-3), 74.1 / 91.4 (binomial-5); ResNet18 69.7 / 85.1, 71.4 / 86.9, 71.7 / 87.5, 71.4 / 88.3. "
    "TIPS, CIFAR-10, ResNet-18, accuracy, consistency under real and circular shifts: 91.6, 87.4, 89.9 (plain), 93.3, "
    "90.5, 97.8 (blur), 94.1, 92.7, 100 (adaptive phase). There shifts of up to 31 of 224 px and nets that subsample "
    "by strides as well; here one small net, briefly trained, and shifts of up to 4 of 32 px: compare the order only.",
    _arms,
    _measure,
    _tell,
    ("One small net, briefly trained: its accuracy is far from the best.",),
)
