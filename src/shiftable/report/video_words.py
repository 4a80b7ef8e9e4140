"""Plain words and units for a video audit."""

from collections.abc import Mapping
from math import isnan

from shiftable.auditing import METRICS
from shiftable.auditing.videos.results import UNMOVED, UNMOVED_PX
from shiftable.report import wording

VIDEO_WORDS: Mapping[str, tuple[str, str]] = {
    "flips_per_minute": ("Changes per minute", "How often in a minute the first choice changes."),
    "flips_per_second": ("Changes per second", "How often in a second the first choice changes."),
    "p_top1_change": ("Changed answers", "Of two successive frames, how often the first choices differ."),
    "mac": (
        "Mean absolute change",
        "How far the probability of the first choice moves from one frame to the next: 0 not at all, 1 altogether.",
    ),
    "accuracy": ("Accuracy", "How often the first choice is right, over all frames with a label."),
    "pm_k": ("Right all around", "Frames that are right, as are all frames shortly before and after."),
    "change_if_right": (
        "Changed although right",
        "Changed answers among the pairs whose first frame was answered right.",
    ),
    "jaggedness": ("Jaggedness", "How often the right class enters or leaves the five first choices."),
    "jaggedness_self": (
        "Jaggedness, without labels",
        "How often the first frame's answer enters or leaves the five first choices.",
    ),
}
"""What metrics are called where pairs are successive frames; the others as on every page."""


FIRST = (
    *("flips_per_minute", "p_top1_change", "mac"),
    *("accuracy", "pm_k", "change_if_right", "margin"),
)
"""To be read together, in this order."""


CONTROL_WORDS: Mapping[str, str] = {
    **wording.CONTROL_WORDS,
    "still": "the same frame again",
    UNMOVED: f"two frames that moved by less than {UNMOVED_PX:g} px",
}


SMOOTHING_WORDS: Mapping[str, str] = {
    "raw": "as the model answers",
    "average": "probabilities averaged over time",
    "hold": "a new answer must lead for so many frames",
    "margin": "a new answer must lead by so much",
    "average and hold": "averaged, and must lead for so many frames",
}


REFERENCES = (
    "Azulay & Weiss 2019. Why do deep convolutional networks generalize so poorly to small image transformations? "
    "Journal of Machine Learning Research 20(184): figure 1, P(top-1 change), mean absolute change.",
    "Shankar et al. 2021. Do image classifiers generalize across time? ICCV: pm-k.",
    "Künsch 1989. The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17: "
    "intervals from one video, by moving blocks.",
)


def duration(seconds: float | int) -> str:
    """A length of time as people say it.

    Example:
        >>> duration(13.95), duration(0.5), duration(372)
        ('14 s', '0.5 s', '6.2 min')
    """
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def value_of(name: str, value: float | int) -> str:
    """A metric's value in its unit."""
    if isnan(value):
        return "unknown"
    if name in METRICS and METRICS[name].unit != "frequency":
        return wording.figure_of(name, value)
    return f"{value:.0f}" if value >= 20 else f"{value:.2g}"


def setting_words(setting: Mapping[str, float | int]) -> str:
    """How a smoothing is set, as a short label.

    Example:
        >>> setting_words({"alpha": 0.3, "hold_frames": 3}), setting_words({})
        ('α 0.3, 3 frames', '')
    """
    words = {"alpha": "α {:g}", "hold_frames": "{:g} frames", "margin": "by {:g}"}
    return ", ".join(words.get(name, name + " {:g}").format(value) for name, value in setting.items())


def first_name(name: str) -> str:
    """A class's name without its synonyms, and not too long."""
    return wording.shorten(name.partition(", ")[0], 40)
