"""Kinds of nets side by side: outer invariance of the answer, inner equivariance of the features."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from shiftable.studies.cifar10 import normalised
from shiftable.studies.kinds import KINDS, features, kept_as
from shiftable.studies.rows import differ, estimate, grouped, said, those
from shiftable.studies.study import Arm, Bars, Figure, Row, Setting, Study, Table, Told
from shiftable.studies.trained import PAD_PX, Views, measure_shifts, padded, pictures, trained, windows

SHIFTS_PX = (0, 1, 2, 3, 4)


def _arms(setting: Setting) -> Sequence[Arm]:
    kinds = setting.pick(("pooled", "capsules"), tuple(KINDS))
    return [{"kind": kind, "seed": seed} for seed in range(setting.pick(1, 3, 5)) for kind in kinds]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    kind, seed = str(arm["kind"]), int(arm["seed"] or 0)
    net = trained(partial(KINDS[kind], seed=seed), kept_as(kind), setting, seed)
    yield {"what": "answers", **measure_shifts(net, setting)}
    yield from _changes(net, pictures(setting, "test")[0][:500])


def _changes(net: nn.Module, views: Views) -> Iterable[Row]:
    """How far answers and features of moved pictures are from those of the unmoved, over what varies between pictures.

    1.4 is as far as between unrelated pictures.
    """
    larger = padded(views)

    @torch.inference_mode()
    def both(right: int) -> tuple[Tensor, Tensor]:
        place = torch.tensor([[PAD_PX, PAD_PX - right]]).expand(len(views), 2)
        shown = torch.split(normalised(windows(larger, place)), 250)
        return torch.cat([net(part).softmax(1) for part in shown]), torch.cat([features(net, part) for part in shown])

    still = both(0)
    for shift in SHIFTS_PX[1:]:
        moved = both(shift)
        answer, inner = (
            float((a - b).square().mean().sqrt() / b.sub(b.mean(0)).square().mean().sqrt())
            for a, b in zip(moved, still, strict=True)
        )
        yield {"what": "changes", "shift_px": shift, "answer": answer, "features": inner}


def _tell(rows: Sequence[Row]) -> Told:
    answers, changes = those(rows, {"what": "answers"}), those(rows, {"what": "changes"})
    found = {str(key[0]): same for key, same in grouped(answers, "kind").items()}

    def line(name: str) -> str:
        unlike = [kind for kind, same in found.items() if differ(same, found["pooled"], name)]
        return (
            " · ".join(f"{kind} {said(estimate(same, name), True)}" for kind, same in found.items())
            + f"; seed by seed these differ from pooled: {' · '.join(unlike) or 'none'}."
        )

    one = {str(key[0]): same for key, same in grouped(those(changes, {"shift_px": 1}), "kind").items()}
    balance = " · ".join(
        f"{kind} {said(estimate(same, 'answer'))} and {said(estimate(same, 'features'))}" for kind, same in one.items()
    )
    return Told(
        f"One pixel changes the answer: {line('p_top1_change')}",
        (
            f"Accuracy: {line('accuracy')}",
            f"Consistency under circular shifts: {line('consistency_roll')}",
            f"Moved by one pixel, answer and features change by, over what varies between pictures: {balance}. Outer "
            "invariance is a small first number, inner equivariance that the second is not 0 and grows with the shift.",
        ),
        (
            Figure("answers", "Answers", (
                Bars("Changed answers, real shifts", "p_top1_change", "kind", {"what": "answers"}, "P", True),
                Bars("Accuracy", "accuracy", "kind", {"what": "answers"}, "accuracy", True),
            )),
            Figure("balance", "Outer invariance, inner equivariance", tuple(
                Bars(f"{words}, picture moved by {shift} px", name, "kind", {"what": "changes", "shift_px": shift},
                     "change")
                for shift in (SHIFTS_PX[1], SHIFTS_PX[-1])
                for name, words in (("answer", "Answer"), ("features", "Features"))
            ), caption="Root mean square, over what varies between pictures; 1.4 is as far as unrelated pictures."),
        ),
        (Table("All kinds", ("kind",), {"accuracy": "accuracy", "p_top1_change": "P", "mac": "MAC",
               "consistency": "consistency", "consistency_roll": "consistency, circular"}, {"what": "answers"},
               ("accuracy", "p_top1_change", "consistency", "consistency_roll")),),
    )  # fmt: skip


ARCHITECTURES = Study(
    "architectures",
    "Which kind of net holds still?",
    "Which kind of net keeps its answer and still knows where things are?",
    (
        "Nets of nine kinds, of 40 million multiply-adds or less, are trained on CIFAR-10 equally long, pictures "
        "mirrored but never moved: strided (residual), pooled, dilated, blurred, adaptive polyphase, convolution over "
        "turns (p4), capsules with dynamic routing, and a vision transformer with and without anchored patches.",
        "Answers are measured as in the study filters; features (the last map, tokens, or the poses of the classes) by "
        "how far they change when the picture moves.",
    ),
    "Chaman & Dokmanić 2021: adaptive polyphase is exact under circular shifts. Sabour et al. 2017: capsules should be "
    "equivariant inside and invariant outside.",
    _arms,
    _measure,
    _tell,
    (
        "Equal steps are not equal cost, and briefly trained transformers and capsules on CIFAR-10 are weak.",
        "escnn's and others' larger equivariant nets are not in it.",
    ),
)
