"""Plain words for a diagnosis: what a number is called, how it is written, what was found in one sentence."""

from collections.abc import Mapping
from math import floor, isfinite, log10

import numpy as np

from shiftable.auditing import Estimate
from shiftable.explaining.diagnosis import Diagnosis, Finding, Interaction, Sampling, Structure
from shiftable.report.wording import at_most, count, times

CAUSES: Mapping[str, str] = {
    "aliasing": "Sampling without a blur before it",
    "border": "What enters and leaves at the edges",
    "margin": "Answers that are hardly decided",
    "resize": "The model’s own resize",
    "stride": "How coarsely the net samples",
    "nothing": "Nothing that stands out",
}
"""A finding's cause → its title."""

KINDS: Mapping[str, str] = {"circular": "rolled round (sampling alone)", "real": "really moved (with the border)"}
ALIKE = ("circular", "real")
"""Kinds of shift, the one first in which several nets are compared."""

PARTS: Mapping[str, str] = {
    "structure": "where the net subsamples, and all that is seen inside: nobody can look into this model",
    "interventions": "what blurring each site does: ask for it with --interventions",
    "sampling": "what sampling alone predicts",
    "spectra": "the spectra of the sites",
    "responses": "how the layers’ maps follow the picture",
    "margins": "how sure the answers are",
    "risk": "the risk of a single answer",
    "outside": "what the answers alone tell of the stride",
}
"""Part of a diagnosis → what is missing where it is."""

ANSWERS = ("structure", "margins", "risk", "outside")
"""What is said to be missing of a model that nobody can look into: not what only a net has."""


def figure(value: float | None, unit: str = "") -> str:
    """A number in its unit, to about three digits.

    Example:
        >>> figure(0.0944, "%"), figure(1 / 1024, "%"), figure(0.03271), figure(12.3, "px"), figure(0.0, "%")
        ('9.4\\xa0%', '0.098\\xa0%', '0.0327', '12.3\\xa0px', '0\\xa0%')
    """
    if value is None or not isfinite(value):
        return "unknown"
    if unit == "%":
        share = 100 * value
        if share and abs(share) < 0.995:
            return f"{share:.{min(6, 1 - floor(log10(abs(share))))}f}\xa0%".replace("-", "−")
        return (f"{share:.0f}\xa0%" if abs(share) in (0, 100) else f"{share:.1f}\xa0%").replace("-", "−")
    return f"{value:.3g}\xa0{unit}".strip().replace("-", "−")


def interval(found: Estimate | Finding, unit: str = "") -> str:
    """A 95 % interval in words; empty where there is none.

    Example:
        >>> interval(Estimate(0.094, 0.068, 0.118, 100, 400), "%")
        '6.8 to 11.8\\xa0%'
    """
    if found.low is None or found.high is None or not (isfinite(found.low) and isfinite(found.high)):
        return ""
    low, high = figure(found.low, unit), figure(found.high, unit)
    return f"{low.removesuffix(unit).strip()} to {high}" if unit else f"{low} to {high}"


def flips(diagnosis: Diagnosis) -> Estimate | None:
    """How often the answer changes from one px to the next: the main number; None where nothing says."""
    if diagnosis.sampling is not None:
        return diagnosis.sampling.flips_measured
    if diagnosis.margins is not None:
        found: Estimate = diagnosis.margins.p_flip
        return found
    return diagnosis.interventions[0].flips_before if diagnosis.interventions else None


def headline(diagnosis: Diagnosis, name: str) -> str:
    """What was found, in one sentence.

    Args:
        diagnosis: What was found.
        name: The model's, as a person says it.
    """
    found = flips(diagnosis)
    if found is None:
        structure = diagnosis.structure
        return f"{name} was looked into; how often its answer changes was not measured." if structure is None else (
            f"{name} {keeps(structure)}."
        )  # fmt: skip
    if found.value == 0:
        limit = f" ({at_most(found.high)} with 95 % confidence)" if isfinite(found.high) else ""
        return f"Moved by one pixel, {name} changed its answer in none of {count(found.pairs, 'step')}{limit}."
    said = f"Moved by one pixel, {name} changes its answer {times(found.value)}"
    share = None if diagnosis.sampling is None else diagnosis.sampling.sampling_share
    if share is not None:
        rest = "" if share.value >= 0.5 else "; the rest goes with the edges"
        return f"{said}; {_whole(share.value)} of how its scores move is sampling, foretold from one picture{rest}."
    outside = getattr(diagnosis.outside, "stride_px", None)
    return f"{said}; its answers repeat every {outside} pixels." if outside else f"{said}."


def keeps(structure: Structure) -> str:
    """How coarsely a net samples, as the end of a sentence."""
    if not structure.sites:
        return "subsamples nowhere"
    return (
        f"subsamples {count(len(structure.sites), 'time')}, down to one position in {pair(structure.stride_px)} pixels"
    )


def basis(diagnosis: Diagnosis) -> str:
    """What the headline rests on."""
    found, structure = flips(diagnosis), diagnosis.structure
    said = []
    if found is not None:
        within = interval(found, "%")
        sure = f": with 95 % confidence it is {within}." if within else "."
        said.append(f"This rests on {count(found.pairs, 'step')} of one pixel, of {count(found.images, 'image')}{sure}")
    if structure is not None and found is not None:
        said.append(f"The net {keeps(structure)}.")
    if diagnosis.findings:
        said.append("What follows from it, the worst first, is below.")
    return " ".join(said)


def pair(both: tuple[int, int]) -> str:
    """(y, x), once where they are alike.

    Example:
        >>> pair((32, 32)), pair((4, 2))
        ('32', '4 × 2')
    """
    return str(both[0]) if both[0] == both[1] else f"{both[0]} × {both[1]}"


def stride_words(structure: Structure) -> str:
    """What follows from the total stride, in two or three sentences."""
    counts = (
        f"{sum(each.on_main_path for each in structure.sites)} of {structure.layers} layers on the longest way through "
        f"the net subsample ({structure.layers_in_all} layers with all branches)."
    )
    if structure.copies == 1:
        return f"{counts} The last map has a position for every pixel: the total stride is 1."
    return (
        f"{counts} The total stride s is {pair(structure.stride_px)} px: so far apart are the positions of the last "
        f"map, each of which sees {pair(structure.receptive_field_px)} px. Moving the picture by a multiple of s moves "
        f"that map by whole positions; any other move samples new places. There are s² = {structure.copies:,} cases, "
        f"and sampling guarantees the same answer in 1 of them: 1/s² = {figure(structure.guaranteed, '%')} of all "
        f"shifts. To show the net every case, training would take {structure.copies:,} shifted copies of each image."
    )


def measures(found: Sampling) -> list[tuple[str, str, str, Estimate]]:
    """What was measured of the prediction: (title, what it says, unit, estimate)."""
    rows = [
        ("Share of sampling", "Of the changes of the scores from one pixel to the next, the part (of their power) that "
         "is foretold from the sampling grid alone.", "%", found.sampling_share),
        ("Share of the border", "The rest: what enters and leaves at the edges, and the padding.", "%",
         _rest(found.sampling_share)),
        ("Correlation", "Of predicted and measured changes: 1 is a perfect prediction, 0 none.", "", found.correlation),
        ("Size", "Predicted changes over measured ones, both as root mean square: 1 where they are as large.", "",
         found.rms_ratio),
        ("Changed answers, predicted", "One-pixel steps at which the predicted first choice changes.", "%",
         found.flips_predicted),
        ("Changed answers, measured", "The same as measured.", "%", found.flips_measured),
    ]  # fmt: skip
    return [(title, says, unit, each) for title, says, unit, each in rows if each is not None]


def _rest(share: Estimate | None) -> Estimate | None:
    return (
        None if share is None else Estimate(1 - share.value, 1 - share.high, 1 - share.low, share.images, share.pairs)
    )


def interaction(found: Interaction) -> str:
    """What blurring two sites does beyond what each does by itself."""
    alone = found.first.value + found.second.value
    said = f"together {figure(found.both.value, '%')}, one by one {figure(alone, '%')} in sum; the difference is "
    said += f"{figure(found.beyond.value, '%')} ({interval(found.beyond, '%')})"
    if found.beyond.high < 0:
        return f"{said}: they remove the same changes, so that the second blur brings less"
    return f"{said}: each brings more with the other" if found.beyond.low > 0 else f"{said}, which may be chance"


def strongest(found: Sampling, most: int = 5) -> list[tuple[str, str, str]]:
    """The frequencies at which the answer depends most on the place: (waves down, waves across, share of the power)."""
    power = np.asarray(found.harmonics, float)
    total = power.sum()
    if power.size < 2 or not total > 0:
        return []
    rows, columns = power.shape
    shares: dict[tuple[int, int], float] = {}
    for (down, right), value in np.ndenumerate(power / total):
        place = (
            min(down, rows - down),
            min(right, columns - right),
        )  # either sign is the same wave, or its mirror image
        shares[place] = shares.get(place, 0.0) + float(value)
    first = sorted(shares.items(), key=lambda each: -each[1])[:most]
    return [(str(down), str(right), figure(share, "%")) for (down, right), share in first if share >= 0.005]


def unseen(diagnosis: Diagnosis) -> list[str]:
    """What this diagnosis can't show, a sentence each."""
    inside = diagnosis.structure is not None
    parts = ANSWERS if not inside else [name for name in PARTS if name != "outside"]
    missing = [f"Not here: {PARTS[name]}." for name in parts if not _there(getattr(diagnosis, name))]
    structure = diagnosis.structure.remarks if diagnosis.structure is not None else ()
    return [*dict.fromkeys([*diagnosis.remarks, *structure]), *missing]


def model_name(spec: str) -> str:
    """The model's name without the way there; an address stays whole.

    Example:
        >>> model_name("torchvision/squeezenet1_1")
        'squeezenet1_1'
    """
    return spec if "://" in spec else spec.rstrip("/").rpartition("/")[2] or spec


def _whole(share: float) -> str:
    return f"{100 * share:.0f}\xa0%"


def _there(part: object) -> bool:
    return part is not None and part != ()
