"""Is pooling a low-pass filter? The same net with each kind of pooling, trained alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor, autocast, nn

from shiftable.studies.nets import Padding, vgg_like
from shiftable.studies.rows import differ, estimate, grouped, rank_correlation, said
from shiftable.studies.study import Arm, Bars, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.trained import measure_shifts, measure_unseen, trained


class _Learned(nn.Conv2d):
    """A filter of 4 × 4 weights for each channel, in 32 bits: in 16 a CPU takes ten times as long for its gradient."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 4, 2, padding=1, groups=channels, bias=False)

    def forward(self, map: Tensor) -> Tensor:
        with autocast(map.device.type, enabled=False):
            return super().forward(map.float())


def _filtered(filter: str, taps: int | None, channels: int) -> nn.Module:
    from shiftable.layers import BlurPool2d

    return BlurPool2d(2, kernel_size=2, filter=filter, taps=taps)


def _max_rect(channels: int) -> nn.Module:
    """Zhang's Rect-2, half a position on; our layers' filters have a middle, so that their box is a triangle here."""
    return nn.Sequential(nn.MaxPool2d(2, 1), nn.ReflectionPad2d((0, 1, 0, 1)), nn.AvgPool2d(2))


def _max_blurred(filter: str, taps: int, channels: int) -> nn.Module:
    from shiftable.layers import MaxBlurPool2d

    return MaxBlurPool2d(2, filter=filter, taps=taps)


def _adaptive(channels: int) -> nn.Module:
    from shiftable.layers import AdaptivePolyphase2d

    return AdaptivePolyphase2d(2)


POOLINGS: Mapping[str, Callable[[int], nn.Module]] = {
    "max": lambda channels: nn.MaxPool2d(2),
    "average": lambda channels: nn.AvgPool2d(2),
    "none (stride alone)": lambda channels: nn.AvgPool2d(1, 2),
    "triangle": partial(_filtered, "triangle", 3),
    "binomial": partial(_filtered, "binomial", 5),
    "Gaussian": partial(_filtered, "gaussian", 5),
    "Kaiser sinc": partial(_filtered, "kaiser", 11),
    "ideal": partial(_filtered, "ideal", None),
    "learned": _Learned,
    "adaptive phase": _adaptive,
    "max, then rect": _max_rect,
    "max, then triangle": partial(_max_blurred, "triangle", 3),
    "max, then binomial": partial(_max_blurred, "binomial", 5),
}
"""What closes each stage, given its channels. An average of 2 × 2 is the box, or rect, filter; others have a tap more
than they say, as what they stand for has an even window."""


def net_with(pooling: str, seed: int, padding_mode: Padding = "zeros") -> nn.Module:
    """`nets.vgg_like` with another pooling. Its convolutions begin with the same weights, whatever the pooling."""
    net = vgg_like(seed=seed, padding_mode=padding_mode)
    for stage, channels in enumerate((16, 32, 64), start=1):
        setattr(net, f"pool{stage}", POOLINGS[pooling](channels))
    return net


def kept_as(pooling: str) -> str:
    """What `net_with` of this pooling is kept as, trained on pictures that never move."""
    return "vgg_like-" + "-".join("".join(letter if letter.isalnum() else " " for letter in pooling).split())


BLURRED = "max, then triangle"
"""What other studies mean by a blur: `layers.MaxBlurPool2d` as it comes."""

PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "max": (0.7336, 0.8924, 0.6974, 0.8511, 0.9157, 0.8741, 0.8992),
    "max, then rect": (0.7401, 0.9072, 0.7139, 0.8690),
    "max, then triangle": (0.7391, 0.9110, 0.7169, 0.8751, 0.9329, 0.9054, 0.9783),
    "max, then binomial": (0.7405, 0.9135, 0.7138, 0.8825),
    "adaptive phase": (float("nan"),) * 4 + (0.9407, 0.9274, 1.0),
}
"""Accuracy and consistency of VGG16bn and of ResNet-18 on ImageNet (Zhang 2019, by filter, from scratch), then
accuracy, consistency and circular consistency of ResNet-18 on CIFAR-10 (TIPS; its blur is unnamed)."""
PUBLISHED_COLUMNS = {
    "vgg16bn": "VGG16bn, ImageNet: accuracy", "vgg16bn_consistency": "consistency",
    "resnet18": "ResNet-18, ImageNet: accuracy", "resnet18_consistency": "consistency",
    "tips": "ResNet-18, CIFAR-10: accuracy", "tips_consistency": "consistency", "tips_roll": "circular",
}  # fmt: skip


def _arms(setting: Setting) -> Sequence[Arm]:
    poolings = setting.pick(("max", "binomial"), tuple(POOLINGS))
    return [{"pooling": pooling, "seed": seed} for seed in range(setting.pick(1, 3, 5)) for pooling in poolings]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    pooling, seed = str(arm["pooling"]), int(arm["seed"] or 0)
    net = trained(partial(net_with, pooling, seed), kept_as(pooling), setting, seed)
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

    if isinstance(pooling, nn.Sequential):
        return _dense(pooling[-1], pooling[:-1](map))
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

    def at(pooling: str, name: str) -> str:
        return f"{pooling} {said(estimate(found[pooling], name), True)}"

    def verdict(name: str) -> str:
        told_apart = [pooling for pooling, same in found.items() if differ(same, plain, name)]
        ends = (at(pick(found, key=lambda pooling: estimate(found[pooling], name).value), name) for pick in (min, max))
        return (
            f"from {' to '.join(ends)}; {at('max', name)}; seed by seed these differ from max: "
            f"{' · '.join(told_apart) or 'none'}."
        )

    names = [name for name in ("none (stride alone)", "max", "average", "binomial", "ideal") if name in found]
    alone = found.get("none (stride alone)", ())
    takes_away = differ(plain, alone, "aliased") and estimate(plain, "aliased").value < estimate(alone, "aliased").value
    order = rank_correlation(
        *([estimate(same, name).value for same in found.values()] for name in ("aliased", "p_top1_change"))
    )
    return Told(
        f"A maximum is {'a poor' if takes_away else 'no'} low-pass. Of the power behind each pooling's own filter lies "
        "beyond what the stride can carry: "
        + ", ".join(at(name, "aliased") for name in names)
        + f". One pixel of real shift changes the answer {verdict('p_top1_change')}",
        (
            f"P goes with that power: over the poolings their rank correlation is {order:.2f}.",
            f"Accuracy: {verdict('accuracy')}",
            f"Consistency under real shifts: {verdict('consistency')}",
            f"Consistency under circular shifts: {verdict('consistency_roll')}",
            *(
                f"Generalises to {words}? Accuracy {verdict('accuracy_' + name)}"
                for name, words in (
                    ("smaller", "pictures of 24 px"), ("larger", "pictures of 40 px"), ("far", "8 px off the middle"),
                    ("noise", "noise of a tenth of the range"),
                )
            ),
        ),
        (
            Figure("stability", "Stability and accuracy by pooling", (
                Bars("Changed answers, real shifts", "p_top1_change", "pooling", {}, "P(top-1 change)", True),
                Bars("Accuracy", "accuracy", "pooling", {}, "accuracy", True),
                Bars("Consistency, real shifts", "consistency", "pooling", {}, "consistency", True),
                Bars("Consistency, circular shifts", "consistency_roll", "pooling", {}, "consistency", True),
            )),
            Figure("aliasing", "Aliased power and stability", (
                Bars("Power beyond what the stride can carry", "aliased", "pooling", {}, "share of the power", True),
                Lines("Every net", "aliased", "p_top1_change", None, {}, "share of the power", "P(top-1 change)",
                      percent=True, joined=False),
            )),
            Figure("unseen", "What was never trained on", tuple(
                Bars(title, f"accuracy_{name}", "pooling", {}, "accuracy", True) for name, title in (
                    ("smaller", "Pictures of 24 px"), ("larger", "Pictures of 40 px"), ("far", "8 px off the middle"),
                    ("noise", "Noise of a tenth of the range"))
            )),
        ),
        (
            _beside_published(found),
            Table("All poolings", ("pooling",), {"accuracy": "accuracy", "consistency": "consistency",
                  "consistency_roll": "consistency, circular", "p_top1_change": "P", "mac": "MAC",
                  "aliased": "aliased"},
                  percent=("accuracy", "consistency", "consistency_roll", "p_top1_change", "aliased")),
        ),
    )  # fmt: skip


def _beside_published(found: Mapping[str, Sequence[Row]]) -> Table:
    own = {"accuracy": "this net: accuracy", "consistency": "consistency", "consistency_roll": "circular"}
    rows: list[Row] = []
    for pooling, published in PUBLISHED.items():
        same = found.get(pooling, ())
        rows += [{**row, **dict(zip(PUBLISHED_COLUMNS, published, strict=False))} for row in same[:1]]
        rows += same[1:]  # a published figure has no seeds: it stands in one row, and so without an interval
    columns = {**own, **PUBLISHED_COLUMNS}
    return Table("Beside published figures", ("pooling",), columns, percent=tuple(columns), rows=rows)


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
    "Zhang 2019 (ImageNet, from scratch) and TIPS (CIFAR-10) are in the table: every blur raises consistency, and "
    "accuracy with it. There shifts of up to 31 of 224 px and nets that subsample by strides as well; here one small "
    "net, briefly trained, and shifts of up to 4 of 32 px: compare the order only.",
    _arms,
    _measure,
    _tell,
    ("One small net, briefly trained: its accuracy is far from the best.",),
)
