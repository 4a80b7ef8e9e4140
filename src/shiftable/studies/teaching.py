"""Teaching invariance instead of building it in: shifted copies, penalties, tangents; beside a blur."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.studies.filters import BLURRED, kept_as, net_with
from shiftable.studies.rows import differ, estimate, grouped, said, those
from shiftable.studies.study import Arm, Bars, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.trained import (
    Batches,
    Vary,
    measure_shifts,
    measure_unseen,
    mirrored,
    padded,
    pictures,
    probabilities,
    steps_of,
    trained,
    windows,
)
from shiftable.training import Loss

TOTAL_STRIDE = 8
"""Of the net: 64 shifts show it every phase."""
COPIES = (1, 4, 16, 64)
WEIGHT = 1.0
"""Of a penalty beside the cross-entropy."""


def shifts(count: int, seed: int) -> Tensor:
    """So many of the 8 × 8 shifts of −4 to 3 px, the middle always among them: (shift, 2)."""
    every = torch.cartesian_prod(torch.arange(TOTAL_STRIDE), torch.arange(TOTAL_STRIDE))
    middle = (every == TOTAL_STRIDE // 2).all(1)
    others = every[~middle]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    return torch.cat([every[middle], others[order[: count - 1]]])


def copied(count: int, batches: Batches, seed: int) -> Batches:
    """Each picture at one of so many places, drawn anew each time, with a mirrored border; mirrored as without."""
    places = shifts(count, seed)
    generator = torch.Generator().manual_seed(seed + 1)

    def moved() -> Batches:
        for views, labels in batches:
            chosen = places[torch.randint(count, (len(views),), generator=generator)]
            yield windows(padded(views), chosen), labels

    return mirrored(moved(), seed)


def _taught(pooling: str, count: int) -> tuple[str, Vary | None]:
    """What a net is kept as, and what is done to its pictures: nothing but mirroring at one place."""
    name = kept_as(pooling)
    return (name, None) if count == 1 else (f"{name}-{count}-places", partial(copied, count))


def _augmentation_arms(setting: Setting) -> Sequence[Arm]:
    copies, poolings = setting.pick((1, 64), COPIES), setting.pick(("max",), ("max", BLURRED))
    return [
        {"pooling": pooling, "copies": count, "seed": seed}
        for seed in range(setting.pick(1, 3, 5))
        for pooling in poolings
        for count in copies
    ]


def _augmentation(arm: Arm, setting: Setting) -> Iterable[Row]:
    count, seed, pooling = int(arm["copies"] or 1), int(arm["seed"] or 0), str(arm["pooling"])
    name, vary = _taught(pooling, count)
    net = trained(partial(net_with, pooling, seed), name, setting, seed, vary=vary)
    yield {**measure_shifts(net, setting), **measure_unseen(net, setting), **_by_typicality(net, setting)}


def _by_typicality(net: nn.Module, setting: Setting) -> Row:
    """Changed answers of the most and the least typical third of test pictures.

    A picture is the less typical, the farther its colours, pooled over 8 × 8 px, and its contrast lie from the training
    pictures' mean, in units of how these vary (Mahalanobis' distance).
    """

    def summary(views: Tensor) -> Tensor:
        small = functional.avg_pool2d(views.permute(0, 3, 1, 2).float(), 8).flatten(1)
        return torch.cat([small, views.float().std((1, 2))], 1)

    learned, shown = summary(pictures(setting, "train")[0][:5000]), pictures(setting, "test")[0]
    mean, covariance = learned.mean(0), torch.cov(learned.T) + torch.eye(learned.shape[1])
    apart_by = summary(shown) - mean
    distance = (apart_by @ torch.linalg.inv(covariance) * apart_by).sum(1)
    larger = padded(shown)
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(8, (len(shown), 2), generator=generator)
    answers = [probabilities(net, windows(larger, place + torch.tensor([0, by]))).argmax(1) for by in (0, 1)]
    changed = (answers[0] != answers[1]).double()
    order = distance.argsort()
    third = max(1, len(order) // 3)
    return {
        "p_typical": float(changed[order[:third]].mean()),
        "p_untypical": float(changed[order[-third:]].mean()),
    }


def _augmentation_told(rows: Sequence[Row]) -> Told:
    def at(pooling: str, count: int, name: str) -> str:
        return said(estimate(those(rows, {"pooling": pooling, "copies": count}), name), True)

    poolings = [str(key[0]) for key in grouped(rows, "pooling")]
    counts = [int(key[0] or 0) for key in grouped(rows, "copies")]
    most, findings = max(counts), []
    for pooling in poolings:
        told = ", ".join(f"{count}: {at(pooling, count, 'p_top1_change')}" for count in counts)
        findings.append(f"{pooling}, P by number of places in training: {told}.")
        findings.append(
            f"{pooling}, after {most} places: the most typical third of the pictures changes "
            f"{at(pooling, most, 'p_typical')}, the least typical {at(pooling, most, 'p_untypical')} of the time "
            f"(after 1: {at(pooling, 1, 'p_typical')} and {at(pooling, 1, 'p_untypical')})."
        )
    first = poolings[0]
    ends = [those(rows, {"pooling": first, "copies": count}) for count in (1, most)]
    one, all_ = (estimate(end, "p_top1_change") for end in ends)
    return Told(
        f"With {most} of the {TOTAL_STRIDE**2} shifts that show the net every phase, one pixel changes the answer "
        f"{said(all_, True)} of the time, with the picture always in the middle {said(one, True)}"
        + ("." if differ(ends[0], ends[1], "p_top1_change") else ": by these seeds the two can't be told apart."),
        tuple(findings),
        (
            Figure("copies", "How many shifted copies until the answer holds still?", (
                Lines("Changed answers", "copies", "p_top1_change", "pooling", {}, "places in training", "P",
                      percent=True, log_x=True),
                Lines("Accuracy", "copies", "accuracy", "pooling", {}, "places in training", "accuracy", percent=True,
                      log_x=True),
                Lines("Most typical third", "copies", "p_typical", "pooling", {}, "places in training", "P",
                      percent=True, log_x=True),
                Lines("Least typical third", "copies", "p_untypical", "pooling", {}, "places in training", "P",
                      percent=True, log_x=True),
            )),
        ),
        (Table("All", ("pooling", "copies"), {"accuracy": "accuracy", "p_top1_change": "P",
               "consistency": "consistency", "p_typical": "P, typical", "p_untypical": "P, untypical",
               "accuracy_far": "accuracy, 8 px off"},
               percent=("accuracy", "p_top1_change", "consistency", "p_typical", "p_untypical", "accuracy_far")),),
    )  # fmt: skip


AUGMENTATION = Study(
    "augmentation",
    "How many shifted copies?",
    "How many shifted copies of the training pictures make the answer invariant?",
    (
        "A net of total stride 8 is trained on CIFAR-10 with every picture at 1, 2, … of the 64 shifts that differ for "
        "it, drawn anew at each step, equally long; once with max pooling, once with blurred maxima.",
        "Changed answers are measured from one pixel to the next at places within the trained range, of all test "
        "pictures, and of the thirds that are most and least like the training pictures.",
    ),
    "Azulay & Weiss 2018: every phase of a total stride of 45 takes 45² = 2025 copies; and augmentation teaches "
    "invariance only to pictures like those in training.",
    _augmentation_arms,
    _augmentation,
    _augmentation_told,
    (
        "CIFAR-10's test pictures are all of the training distribution: “untypical” is the tail of that.",
        "Training is equally long and short: what far longer training on shifted copies teaches is not measured.",
    ),
)


def variance_penalty(answers: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, and the variance of the probabilities under shifts: halves of the batch are two shifts of one."""
    one, other = answers.softmax(1).chunk(2)
    return functional.cross_entropy(answers, targets) + WEIGHT * (one - other).square().sum(1).mean()


class _Tangents(nn.Module):
    """Answers for the pictures, and their change per px of shift, by a step along the tangent.

    Simard et al., "Tangent prop", NeurIPS 1991; Bishop, PRML 5.5.4: the tangent of a shift is the picture's own
    gradient.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, views: Tensor) -> Tensor:
        if not self.training:
            return self.net(views)  # type: ignore[no-any-return]
        sign = torch.randint(2, (len(views), 1, 1, 1)) * 2 - 1
        along = (views.roll(1, -1) - views.roll(-1, -1)) / 2, (views.roll(1, -2) - views.roll(-1, -2)) / 2
        step = STEP_PX * (along[0] * sign + along[1] * sign.flip(0))
        return self.net(torch.cat([views, views + step]))  # type: ignore[no-any-return]


STEP_PX = 1.0
"""How far along the tangent: far enough that 16 bits tell the change."""


def tangent_penalty(answers: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the pictures, and the squared change of their probabilities per px."""
    one, other = answers.chunk(2)
    change = (other.softmax(1) - one.softmax(1)) / STEP_PX
    return functional.cross_entropy(one, targets) + WEIGHT * change.square().sum(1).mean()


def twice(batches: Batches, seed: int) -> Batches:
    """Half of each batch, at two places each."""
    half = ((views[: len(views) // 2], labels[: len(views) // 2]) for views, labels in batches)
    doubled = ((views.repeat(2, 1, 1, 1), labels.repeat(2)) for views, labels in half)
    return copied(TOTAL_STRIDE**2, doubled, seed)


WAYS: Mapping[str, str] = {
    "nothing": "the picture in the middle",
    "augmentation": "every picture at any of the 64 shifts",
    "variance penalty": "two shifts of each picture, and a penalty on the variance of the answer",
    "tangent propagation": "a penalty on the answer's derivative by shift",
    "blur": "blurred maxima, the picture in the middle",
    "blur and augmentation": "both",
}
"""Way → what it does. PRML 5.5.3 names four: copies, a penalty, features by hand (study features), structure (blur)."""


def _regularisation_arms(setting: Setting) -> Sequence[Arm]:
    ways = setting.pick(("nothing", "variance penalty", "tangent propagation"), tuple(WAYS))
    return [{"way": way, "seed": seed} for seed in range(setting.pick(1, 3, 5)) for way in ways]


def _regularisation(arm: Arm, setting: Setting) -> Iterable[Row]:
    way, seed = str(arm["way"]), int(arm["seed"] or 0)
    pooling = BLURRED if "blur" in way else "max"
    make: Callable[[], nn.Module] = partial(net_with, pooling, seed)
    name, vary = _taught(pooling, TOTAL_STRIDE**2 if "augmentation" in way else 1)
    loss: Loss = functional.cross_entropy
    steps = steps_of(setting)
    if way == "variance penalty":
        name, loss, vary = f"{name}-variance", variance_penalty, twice  # a batch as large as the others
    if way == "tangent propagation":
        name, loss, steps = f"{name}-tangents", tangent_penalty, steps // 2  # each costs two passes
        make = partial(_with_tangents, make)
    net = trained(make, name, setting, seed, vary=vary, loss=loss, steps=steps)
    yield {**measure_shifts(net, setting), **measure_unseen(net, setting), "steps": steps}


def _with_tangents(make: Callable[[], nn.Module]) -> nn.Module:
    return _Tangents(make())


def _regularisation_told(rows: Sequence[Row]) -> Told:
    found = {str(key[0]): same for key, same in grouped(rows, "way").items()}

    def line(name: str) -> str:
        return ", ".join(f"{way} {said(estimate(same, name), True)}" for way, same in found.items())

    nothing = estimate(found["nothing"], "p_top1_change")
    better = [
        way for way, same in found.items()
        if estimate(same, "p_top1_change").value < nothing.value and differ(same, found["nothing"], "p_top1_change")
    ]  # fmt: skip
    return Told(
        f"At equal training time one pixel changes the answer: {line('p_top1_change')}. Seed by seed better than doing "
        f"nothing: {', '.join(better) or 'none'}.",
        (
            f"Accuracy: {line('accuracy')}.",
            f"Consistency under circular shifts: {line('consistency_roll')}.",
            f"8 px off the middle, beyond what was trained on, accuracy: {line('accuracy_far')}.",
        ),
        (
            Figure("ways", "Four approaches to invariance", (
                Bars("Changed answers, real shifts", "p_top1_change", "way", {}, "P(top-1 change)", True),
                Bars("Accuracy", "accuracy", "way", {}, "accuracy", True),
                Bars("Consistency, circular shifts", "consistency_roll", "way", {}, "consistency", True),
                Bars("Accuracy 8 px off the middle", "accuracy_far", "way", {}, "accuracy", True),
            )),
        ),
        (Table("All ways", ("way",), {"accuracy": "accuracy", "p_top1_change": "P", "mac": "MAC",
               "consistency": "consistency", "consistency_roll": "consistency, circular", "steps": "steps"},
               percent=("accuracy", "p_top1_change", "consistency", "consistency_roll")),),
    )  # fmt: skip


REGULARISATION = Study(
    "regularisation",
    "Four approaches to invariance",
    "Is invariance better taught by shifted copies, by a penalty, by tangents, or built in by a blur?",
    (
        "One small net is trained on CIFAR-10 from the same weights in each way, at equal cost: a batch of the "
        "variance penalty holds two shifts of half as many pictures, and tangent propagation, two passes a step, gets "
        "half the steps.",
        *(f"{way}: {says}." for way, says in WAYS.items()),
    ),
    "Bishop, PRML 5.5.3 and 5.5.4, names the approaches; Simard et al. 1991 tangent propagation. We know of no "
    "comparison at equal cost with a blur.",
    _regularisation_arms,
    _regularisation,
    _regularisation_told,
    (f"Each penalty has one weight, {WEIGHT:g}: others may do better.", "One small net, briefly trained."),
)
