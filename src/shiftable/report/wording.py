"""Plain words for what an audit found: a reader should not have to know what a top-1 is."""

from collections.abc import Mapping
from math import ceil, floor, isnan, log10

from shiftable.auditing import METRICS, Audit, Estimate, Walk
from shiftable.report.motion_words import SHIFTED, step_words, words_of
from shiftable.report.motion_words import place as place

TOGETHER = (
    *("p_top1_change", "p_set_change", "jaccard", "mac", "cosine_distance"),
    *("accuracy", "change_if_right", "margin"),
)
"""To be read together: a surer model is steadier, and one that always gives the same wrong answer never changes."""

METRIC_WORDS: Mapping[str, tuple[str, str]] = {
    "p_top1_change": ("Changed answers", "Of two views {apart}, how often the first choices differ."),
    "mac": (
        "Mean absolute change",
        "How far the probability of the first choice moves from one view to the next: 0 not at all, 1 altogether.",
    ),
    "accuracy": ("Accuracy", "How often the first choice is right, over all views."),
    "change_if_right": (
        "Changed although right",
        "Changed answers among the pairs whose first view was answered right.",
    ),
    "margin": (
        "Margin",
        "How far the first choice is ahead of the second, in logits. A surer model changes its answer less often, so "
        "compare models of like margin.",
    ),
    "jaggedness": (
        "Jaggedness",
        "How often along an image's walk the right class enters or leaves the five first choices (the first choice, "
        "where there are ten classes or fewer).",
    ),
    "jaggedness_per_step": ("Jaggedness per step", "The same as a share of the steps."),
    "jaggedness_self": (
        "Jaggedness, without labels",
        "How often along an image's walk the unmoved picture's answer enters or leaves the five first choices (the "
        "first choice, where there are ten classes or fewer).",
    ),
    "consistency": (
        "Consistency",
        "Of two views of a picture {at_most}, how often the first choices agree.",
    ),
    "accuracy_top5": (
        "Accuracy, five choices",
        "How often the right class is among the five first choices, over all views.",
    ),
    "worst_case_accuracy": ("Right everywhere", "Share of the images that are answered right at every place."),
    "share_constant": ("The same everywhere", "Share of the images that get the same answer at every place."),
    "p_set_change": (
        "Changed sets",
        "Of two views {apart}, how often the classes scored at or above the threshold are not the same.",
    ),
    "jaccard": (
        "Overlap of the sets",
        "Of the classes scored at or above the threshold in one of two views {apart}, the share that is so in both; 1 "
        "where there is none.",
    ),
    "cosine_distance": (
        "Cosine distance",
        "How far an embedding moves from one view to the next: 0 not at all, 1 as far as unrelated directions are "
        "apart.",
    ),
}
"""Metric → its name and what it says; how two views differ is the motion's. One that is not here is explained by its
own docstring."""

EMBEDDER_SAYS: Mapping[str, str] = {
    "p_top1_change": "Of two views {apart}, how often another one of the other images is nearest.",
    "mac": "How far the cosine similarity to the image that was nearest moves from one view to the next.",
    "margin": "How much nearer the nearest image is than the second, as a difference of cosine similarities.",
    "jaggedness_self": "How often along an image's walk the unmoved picture's nearest image enters or leaves the five "
    "nearest (the nearest, where there are ten images or fewer).",
    "consistency": "Of two views of a picture {at_most}, how often the same image is nearest.",
    "share_constant": "Share of the images that have the same nearest image at every place.",
}
"""What a metric says where answers are neighbours."""

CONTROL_WORDS = {
    "still": "the same picture again",
    "grey": "one grey level lighter or darker",
    "jpeg": "saved as JPEG, quality 95",
}

WAYS: Mapping[str | None, str] = {"vertical": "up and down", "horizontal": "left and right", "diagonal": "diagonally"}


def embeds(audit: Audit) -> bool:
    """Whether the model is an embedder, so that its answers are images of the set."""
    return bool(audit.model["task"] == "embed")


def answers_words(audit: Audit) -> str:
    """What the model answers with.

    Args:
        audit: Knows the model.
    """
    model = audit.model
    if embeds(audit):
        return (
            f"embeddings of {model['dimensions']:,} numbers; its answer to a view is the nearest of the other "
            f"{audit.images['count'] - 1:,} images, unmoved, by the cosine"
        )
    named = f"; a class is named from {model['threshold']:g} on" if "threshold" in model else ""
    return f"{model['classes']:,} classes, answers in {model['scores']}{named}"


def measure(audit: Audit) -> str:
    """What the number beside an answer is."""
    return "cosine similarity" if embeds(audit) else "probability"


def metric_words(name: str, audit: Audit | None = None) -> tuple[str, str]:
    """What a metric is called, and what it says of such a model and such a motion; by default of a shift by pixels."""
    summary = (METRICS[name].of.__doc__ or "").strip().partition("\n")[0] if name in METRICS else ""
    title, says = METRIC_WORDS.get(name, (name.replace("_", " ").capitalize(), summary))
    if audit is not None and embeds(audit):
        says = EMBEDDER_SAYS.get(name, says)
    words = step_words(SHIFTED) if audit is None else words_of(audit)
    return title, says.format(apart=words.apart, at_most=words.at_most) if name in METRIC_WORDS else says


def times(share: float) -> str:
    """How often, as people say it.

    Example:
        >>> times(0.094), times(0.004), times(0.0), times(1.0), times(0.999)
        ('9 times in 100', '1 time in 250', 'never', 'every time', 'more than 99 times in 100')
    """
    if share in (0, 1):
        return "every time" if share else "never"
    if share < 0.02:
        return f"1 time in {_two_digits(1 / share):,}"
    return "more than 99 times in 100" if share >= 0.995 else f"{round(100 * share)} times in 100"


def at_most(share: float) -> str:
    """An upper limit, rounded away from 0.

    Example:
        >>> at_most(0.0561), at_most(0.0042)
        ('at most 6 in 100', 'at most 1 in 230')
    """
    return f"at most {ceil(100 * share)} in 100" if share >= 0.02 else f"at most 1 in {_two_digits(1 / share, floor):,}"


def between(low: float, high: float) -> str:
    """An interval of shares.

    Example:
        >>> between(0.05, 0.157), between(0.001, 0.04)
        ('between 5 and 16 in 100', 'between 1 in 1,000 and 4 in 100')
    """
    ends = [
        f"{round(100 * end)} in 100" if end >= 0.02 else f"1 in {_two_digits(1 / end):,}" if end else "0"
        for end in (low, high)
    ]
    if low >= 0.02:
        ends[0] = ends[0].removesuffix(" in 100")
    return f"between {ends[0]} and {ends[1]}"


def headline(audit: Audit, change: Estimate) -> str:
    """What was found, in one sentence.

    Args:
        audit: The audit.
        change: How often the answers to the two views of a pair differ.
    """
    name, limit = audit.model_name, f"({at_most(change.high)} with 95 % confidence)" if not isnan(change.high) else ""
    pairs = f"in none of {count(change.pairs, 'pair')} of views {limit}".rstrip()
    if audit.walk["shape"] == "random":
        said = pairs if change.value == 0 else times(change.value)
        does = "finds different nearest images" if embeds(audit) else "disagrees with itself"
        start = f"Shown two views of the same picture {words_of(audit).at_most}, {name} {does} {said}"
    else:
        now, once = ("finds", "found") if embeds(audit) else ("changes", "changed")
        what = "another nearest image" if embeds(audit) else "its answer"
        said = f"{once} {what} {pairs}" if change.value == 0 else f"{now} {what} {times(change.value)}"
        start = f"{words_of(audit).did}, {name} {said}"
    still = audit.controls.get("still", {}).get("p_top1_change")
    if still is None:
        return f"{start}."
    return f"{start}; shown the same picture again, {times(still.value)}."


def basis(audit: Audit, change: Estimate) -> str:
    """What the headline rests on."""
    images = count(change.images, "image")
    rests = f"This rests on {count(change.pairs, 'pair')} of views, of {images}"
    known = change.value > 0 and not isnan(change.low)
    rests += f": with 95 % confidence it is {between(change.low, change.high)}." if known else "."
    if embeds(audit):
        rests += (
            " Its answer to a view is the nearest of the other images, by the cosine of the embeddings; percentages "
            "beside an answer are that cosine."
        )
    if (sets := audit.metrics.get("p_set_change")) is not None:
        rests += (
            f" Its answer here is its first choice; the set of classes scored {audit.model['threshold']:g} or more "
            f"changes {times(sets.value)}."
        )
    return rests


def walk_words(audit: Audit) -> str:
    """Where the views were taken."""
    walk, words = Walk(**audit.walk), words_of(audit)
    way = WAYS.get(walk.direction)
    (views, where), both = words.places, words.one.partition(" ")[2] + "s"
    axes = " on each axis" if walk.axes == 2 else ""
    further = f"and one step further ({way})" if way else "and one step further"
    return {
        "sweep": f"one walk of {walk.steps} {views} per image, {words.apart}, {f'{way} ' if way else ''}{where}",
        "pairs": f"{count(walk.walks, 'pair')} per image, {words.apart}: {words.one} drawn at random, {further}",
        "random": f"{count(walk.walks, 'pair')} per image, both {both} drawn at random, {words.at_most}{axes}",
        "grid": f"all places up to {walk.radius_px} steps away on each axis, {words.apart}; every row and every column "
        "is a walk",
    }[walk.shape]


def figure_of(name: str, value: float) -> str:
    """A metric's value in its unit: rates in percent.

    Example:
        >>> figure_of("p_top1_change", 0.09375), figure_of("mac", 0.04433), figure_of("margin", 1.8288)
        ('9.4 %', '0.044', '1.83')
        >>> figure_of("cosine_distance", 0.00312)
        '0.0031'
    """
    if isnan(value):
        return "unknown"
    if METRICS[name].unit == "rate":
        return f"{100 * value:.1f} %" if 0 < value < 0.9995 else f"{100 * value:.0f} %"
    if name in ("mac", "jaccard"):
        return f"{value:.3f}"
    small = METRICS[name].unit == "magnitude" and 0 < value < 0.1  # as cosine distances are: two digits of them
    return f"{value:.{min(6, 1 - floor(log10(value)))}f}" if small else f"{value:.2f}"


def interval_of(name: str, estimate: Estimate) -> str:
    """An estimate's 95 % interval in words."""
    if isnan(estimate.low):
        return "unknown: one image"
    return f"{figure_of(name, estimate.low).removesuffix(' %')} to {figure_of(name, estimate.high)}"


def shorten(text: str, most: int) -> str:
    """The beginning and the end of a text that is too long for a page.

    Example:
        >>> shorten("n01440764/a-long-name.jpg", 14)
        'n014407…me.jpg'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def count(number: int, noun: str) -> str:
    """How many.

    Example:
        >>> count(1, "pair"), count(1920, "pair")
        ('1 pair', '1,920 pairs')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _two_digits(number: float, rounded=round) -> int:  # type: ignore[no-untyped-def]
    unit = 10 ** max(0, floor(log10(number)) - 1)
    return int(rounded(number / unit) * unit)
