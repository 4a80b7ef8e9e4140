"""What a comparison says, in plain words; never more than its intervals allow."""

from collections.abc import Sequence

from shiftable.auditing.comparing.comparison import Compared, Comparison
from shiftable.report import wording
from shiftable.report.motion_words import words_of
from shiftable.report.wording import shorten

LONGEST = 60

SIDE_BY_SIDE = {
    "raw": "Raw",
    "matched_accuracy": "At matched accuracy",
    "matched_margin": "At matched margin",
}
"""Figure → what its column is called."""


def headline(comparison: Comparison) -> str:
    """Who is steadiest as the models are, in one sentence."""
    return f"{_moved(comparison)}, {_ranked(comparison, 'raw')}."


def verdict(comparison: Comparison, figure: str) -> str:
    """Whether that holds among equally right, or equally sure, answers; or why it can't be said."""
    if figure in comparison.absent:
        return comparison.absent[figure]
    right = wording.count(comparison.images["right"] or 0, "image")
    start = {
        "matched_accuracy": f"On the {right} that all of them answer right unmoved",
        "matched_margin": "At the same margin, as if all were equally sure",
    }[figure]
    leader = comparison.steadiest("raw")
    lost = f" {_name(leader)} no longer leads." if leader in comparison.told_apart(figure)[0] else ""
    return f"{start}, {_ranked(comparison, figure)}.{lost}"


def _ranked(comparison: Comparison, figure: str) -> str:
    """Who is steadiest, who can't be told apart from it, and who changes more often."""
    best, (apart, alike) = comparison.steadiest(figure), comparison.told_apart(figure)
    name, often = _name(best), _often(best, figure)
    if not alike:
        less = "less often than" if len(apart) == 1 else "least often, and less than"
        others = _list(apart)
        return f"{name} changes its answer {less} {others}: {often}, against {_range_of(apart, figure)}"
    if not apart and len(alike) == 1:
        theirs = _often(alike[0], figure)
        both = f"{often} and {theirs}" if often != theirs else f"{often}, both of them"
        return f"{name} and {_name(alike[0])} can’t be told apart: they change their answers {both}"
    if not apart:
        return (
            f"the {len(comparison.audits)} models can’t be told apart from the steadiest, {name}: "
            f"they change their answers {_range_of([best, *alike], figure)}"
        )
    verb = "changes its answer" if len(apart) == 1 else "change their answers"
    return (
        f"{name} changes its answer least often ({often}), but can’t be told apart from {_list(alike)}; "
        f"{_list(apart)} {verb} more often ({_range_of(apart, figure)})"
    )


def covered(comparison: Comparison) -> str:
    """How much of the pooled pairs the standardised figure rests on, and which margins it leaves out."""
    standard = comparison.standard
    share = f"{100 * standard.covered:.0f} %"
    if standard.kept.all():
        return "Every tenth of the margins has pairs enough of every model, so that all pairs are covered."
    ends = [None, *(f"{edge:.2g}" for edge in standard.edges), None]
    gaps: list[tuple[int, int]] = []
    for at, kept in enumerate(standard.kept):
        if not kept:
            start = gaps.pop()[0] if gaps and gaps[-1][1] == at else at
            gaps.append((start, at + 1))
    said = [_range(ends[low], ends[high]) for low, high in gaps]
    return (
        f"It covers {share} of all pairs; left out, for having fewer than 30 pairs of some model, are margins "
        f"{' and '.join(said)} logits."
    )


def points(share: float) -> str:
    """A difference of shares, in percentage points.

    Example:
        >>> points(-0.0789), points(0.0), points(0.0004)
        ('−7.9', '0', '+0.04')
    """
    if share == 0:
        return "0"
    digits = 1 if abs(share) >= 0.001 else 2
    return f"{100 * share:+.{digits}f}".replace("-", "−")


def _range(low: str | None, high: str | None) -> str:
    if low is None:
        return f"up to {high}"
    return f"above {low}" if high is None else f"from {low} to {high}"


def _moved(comparison: Comparison) -> str:
    audit = comparison.audits[0].audit
    words = words_of(audit)
    return f"Shown two views of a picture {words.at_most}" if audit.walk["shape"] == "random" else words.did


def _often(compared: Compared, figure: str) -> str:
    found = compared.stability[figure]
    return wording.times(found.value) if found.value else f"in none of {wording.count(found.pairs, 'pair')}"


def _range_of(some: Sequence[Compared], figure: str) -> str:
    """How often the first and the last of some models change their answers."""
    ranked = sorted(some, key=lambda compared: compared.stability[figure].value)
    low, high = _often(ranked[0], figure), _often(ranked[-1], figure)
    return low if low == high else f"from {low} to {high}"


def _name(compared: Compared) -> str:
    return shorten(compared.name, LONGEST)


def _list(some: Sequence[Compared]) -> str:
    names = [_name(compared) for compared in some]
    if len(names) > 2:
        return f"{len(names)} of the others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
