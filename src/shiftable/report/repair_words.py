"""What a repair says, in plain words; never more than its intervals allow."""

from collections.abc import Sequence
from math import isinf

from shiftable.repairing.candidates import Candidate
from shiftable.repairing.plan import Plan
from shiftable.repairing.repair import Repair
from shiftable.report import wording
from shiftable.report.compare_words import points
from shiftable.report.motion_words import words_of


def headline(repair: Repair) -> str:
    """What it was, and what it is, in one sentence."""
    before, after = (each.audit for each in repair.comparison.audits)
    was, now = (audit.metrics["p_top1_change"] for audit in (before, after))
    said = wording.times(now.value) if now.value else f"in none of {wording.count(now.pairs, 'pair')} of views"
    return (
        f"{words_of(before).did}, {before.model_name} changed its answer {wording.times(was.value)}; repaired, {said}."
    )


def basis(repair: Repair) -> str:
    """How sure that is, and what it costs."""
    verified = repair.verified
    return f"{_steadier(verified)} {costs(verified)} {_proof(repair)}"


def costs(candidate: Candidate) -> str:
    """Time and accuracy, in a sentence."""
    time = candidate.time_ratio
    said = f"An answer takes {ratio(time.value)} times as long as before ({ratio(time.low)} to {ratio(time.high)})"
    right = candidate.accuracy_change
    if right is None:
        same = candidate.agreement
        return f"{said}, and the repaired net agrees with the original on {share(same.value)} of the pictures."
    told = "" if right.low > 0 or right.high < 0 else ", which may be chance"
    return (
        f"{said}; accuracy changes by {points(right.value)} points ({points(right.low)} to {points(right.high)}{told})."
    )


def _steadier(verified: Candidate) -> str:
    removed, change = verified.flips_removed, verified.mac_removed
    if removed.low > 0:
        return (
            f"It removes {points(removed.value).removeprefix('+')} percentage points of changed answers "
            f"({points(removed.low).removeprefix('+')} to {points(removed.high).removeprefix('+')})."
        )
    if change.low > 0:
        return (
            "Whether fewer answers change can’t be told from these pictures, but they move less: the mean absolute "
            f"change falls by {change.value:.3f} ({change.low:.3f} to {change.high:.3f})."
        )
    return "Whether that is more than chance can’t be told from these pictures."


def _proof(repair: Repair) -> str:
    settings = repair.settings
    images = wording.count(settings["proving"], "picture")
    if settings["proving"] + settings["choosing"] > settings["listed"]:
        return f"Both were measured on the {images} that the repair was chosen by."
    return f"Both were measured on {images} that nothing was chosen by."


def done(plan: Plan) -> list[str]:
    """What a plan does to a model, a sentence each."""
    said = []
    if plan.crop is not None:
        said.append(
            f"The crop is chosen by what is in the picture, before the resize (rule “{plan.crop.rule}”, "
            f"{plan.crop.room_px} px of room): when the picture moves, the crop moves with it, and the model is shown "
            "the same pixels again."
        )
    if plan.phases is not None:
        windows = len(plan.phases.offsets_px)
        when = (
            ""
            if plan.phases.only_below is None
            else (f", where the margin of the first is below {plan.phases.only_below:.2g}")
        )
        said.append(f"Answers are averaged over {windows} windows of a larger view{when}.")
    by_remedy: dict[str, list[str]] = {}
    for edit in plan.edits:
        by_remedy.setdefault(edit.remedy, []).append(edit.site)
    for remedy, sites in by_remedy.items():
        said.append(f"{REMEDIES[remedy]} at {listed(sites)}.")
    if plan.finetune is not None:
        said.append(
            f"The net was tuned for {plan.finetune.steps} steps without labels: to answer as the original, and alike "
            "wherever the picture lies."
        )
    return said


REMEDIES = {
    "blur": "What the stride can’t carry is blurred away",
    "dense": "Every position is kept, instead of every second, say,",
    "polyphase": "The strongest phase is kept, instead of always the first,",
}
"""What an edit does."""


def listed(names: Sequence[str], most: int = 4) -> str:
    """Some names, and how many more.

    Example:
        >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"], 2)
        ('a and b', 'a, b and 3 more')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ratio(value: float) -> str:
    """A time ratio.

    Example:
        >>> ratio(1.0234), ratio(12.31)
        ('1.02', '12.3')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def share(value: float) -> str:
    """A share, in percent.

    Example:
        >>> share(0.906), share(1.0)
        ('90.6 %', '100 %')
    """
    return f"{100 * value:.1f} %" if value < 1 else "100 %"


def less(before: float, after: float) -> str:
    """How many times less.

    Example:
        >>> less(0.1, 0.01), less(0.1, 0.0), less(0.0, 0.0)
        ('10 times less', 'all of it', '–')
    """
    times = before / after if after else float("inf") if before else 1.0
    if isinf(times):
        return "all of it"
    return f"{times:.2g} times less" if times > 1.05 else "–"
