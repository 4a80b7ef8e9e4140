"""When a repair is refused: slips in what was asked, nothing to repair, nothing that helps, too few images to tell."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log

from shiftable.auditing import Audit
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.repairing.candidates import Candidate, images_needed
from shiftable.repairing.choosing import Limits, closest

LEAST_RATE = 0.005
"""Where P is surely below this, there is nothing to repair."""


def check_asked(limits: Limits, motion: str, walk: str, finetune: int, tune_images: object) -> None:
    """Raises InputError for what can't be asked of a repair."""
    if not limits.budget > 0:
        raise InputError(f"a budget can't be {limits.budget:g}", where="--budget", todo="give a ratio: 1.1 is a tenth")
    for flag, share in (("--min-agreement", limits.min_agreement), ("--max-accuracy-loss", limits.max_accuracy_loss)):
        if not 0 <= share <= 1:
            raise InputError(f"can't be {share:g}", where=flag, todo="give a share of 0 to 1")
    if motion not in ("crop", "camera"):
        raise InputError(f"repairs are not measured under {motion!r}", where="--motion", todo="take crop or camera")
    if walk not in ("pairs", "sweep"):
        raise InputError(f"repairs are not measured on {walk!r} walks", where="--walk", todo="take pairs or sweep")
    if finetune < 0:
        raise InputError(f"{finetune} steps can't be tuned", where="--finetune", todo="give 0 or more")
    if tune_images is not None and not finetune:
        raise InputError("nothing is tuned", where="--tune-images", todo="say for how many steps, --finetune 400")


def refuse_steady(before: Audit, model: Model) -> None:
    """Raises InputError where there is nothing to repair, or too few images to see anything."""
    found = before.metrics["p_top1_change"]
    if found.high <= LEAST_RATE:
        raise InputError(
            f"nothing to repair: {found.value:.2%} of {found.pairs} one-pixel steps change its answer, at most "
            f"{found.high:.2%}",
            where=model.spec,
            todo="try --motion camera, or another set of images",
        )
    if not found.value:
        raise InputError(
            f"no answer changes in {found.pairs} one-pixel steps of {found.images} images, so there is nothing to "
            f"compare with; P may still be {found.high:.1%}",
            where=model.spec,
            todo=f"give {ceil(log(0.025) / log(1 - LEAST_RATE))} images, which would tell it from {LEAST_RATE:.1%}",
        )


def nothing_chosen(
    candidates: Sequence[Candidate], left_out: Mapping[str, str], limits: Limits, model: Model
) -> InputError:
    """Why nothing was chosen, naming what came closest.

    Args:
        candidates: What was measured.
        left_out: What was not, and why.
        limits: What was allowed.
        model: The model.
    """
    if not candidates:
        name, why = next(((name, why) for name, why in left_out.items() if "times as long" in why), ("", ""))
        said = f"nothing comes near the budget: {name} {why}" if name else "there is nothing that can be done to it"
        return InputError(said, where=model.spec, todo="see shiftable repair --dry-run, or raise --budget")
    near = closest(candidates, limits)
    if near is not None:
        return InputError(
            f"nothing that helps keeps within the limits; the closest is {near.name}: it removes "
            f"{near.flips_removed.value / _before(near):.0%} of the changed answers, but {limits.exceeded(near)}",
            where=model.spec,
            todo=f"give {_needed(near, limits)}",
        )
    best = max(candidates, key=lambda each: each.flips_removed.value, default=None)
    needed = None if best is None else images_needed(best.flips_removed)
    if best is None or needed is None:
        return InputError("no repair makes it steadier", where=model.spec, todo="see shiftable explain")
    gain = best.flips_removed
    return InputError(
        f"too few images to tell: {best.name} removes {gain.value:.2%} of the steps' changes, but that may be chance "
        f"({gain.low:.2%} to {gain.high:.2%})",
        where=model.spec,
        todo=f"give about {2 * needed} images, half of which choose",
    )


def _needed(near: Candidate, limits: Limits) -> str:
    """The options under which a candidate would keep to the limits."""
    flags = []
    if near.time_ratio.value > limits.budget:
        flags.append(f"--budget {ceil(100 * near.time_ratio.value) / 100:g}")
    if near.agreement.value < limits.min_agreement:
        flags.append(f"--min-agreement {floor(100 * near.agreement.value) / 100:g}")
    if (loss := limits.loss(near)) is not None:
        flags.append(f"--max-accuracy-loss {ceil(1000 * loss) / 1000:g}")
    return " and ".join(flags)


def _before(candidate: Candidate) -> float:
    return max(candidate.flips.value + candidate.flips_removed.value, 1e-12)
