"""What a diagnosis found, in words, worst first: each with its number, the figure that shows it, and what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite

from shiftable.auditing.intervals import Estimate
from shiftable.explaining.diagnosis import Cause, Finding, Intervention, Sampling, Spectrum, Structure
from shiftable.explaining.margins import Margins
from shiftable.explaining.outside import Outside

TOLD = 3
"""Sites that get a finding of their own: those with the most to it."""

HARDLY = 0.01
"""Shares below this are not worth a finding."""

BLUR = "Blur before this site subsamples (`shiftable explain --interventions` measures what that brings)."
STEADY = (
    "Choose the crop by the picture's content instead of its centre (`shiftable.repairing.with_stable_crop`), so that "
    "a moved picture is cut in the same place."
)


def findings(
    structure: Structure | None,
    flips: Estimate,
    sampling: Sampling | None,
    spectra: Sequence[Spectrum],
    interventions: Sequence[Intervention],
    margins: Margins | None,
    outside: Outside | None,
    antialias: bool,
    shrinks: bool,
) -> tuple[Finding, ...]:
    """Everything that was found, the finding that stands for most of the changed answers first.

    Args:
        structure: Where the net subsamples; None of one that nobody can look into.
        flips: Share of one-px steps at which the answer changes.
        sampling: What sampling alone predicts.
        spectra: Site by site.
        interventions: What blurring sites does.
        margins: How sure the model is, and how steady.
        outside: What the answers alone tell.
        antialias: Whether the model's own resize widens its filter when it makes a photograph smaller.
        shrinks: Whether that resize makes these photographs smaller at all.
    """
    found = [
        *_resize(antialias, shrinks),
        *_stride(structure, flips),
        *_sampling(sampling, structure),
        *_single_sites(interventions),
        *_spectra(spectra, sampling, interventions),
        *_margins(margins, flips),
        *_outside(outside),
    ]
    if not found or flips.value == 0:
        found.append(_steady(flips))
    return tuple(sorted(found, key=lambda each: -each.weight))


def _about(
    estimate: Estimate,
    cause: Cause,
    words: str,
    *,
    weight: float,
    remedy: str,
    figure: str | None,
    site: str | None = None,
    unit: str = "%",
) -> Finding:
    low, high = (end if isfinite(end) else None for end in (estimate.low, estimate.high))
    return Finding(site, cause, words, estimate.value, low, high, unit, min(1.0, max(0.0, weight)), remedy, figure)


def _steady(flips: Estimate) -> Finding:
    words = f"None of {flips.pairs:,} one-pixel steps changed the answer." if flips.value == 0 else (
        "Nothing stood out: the answer changes, and none of what was looked at says why."
    )  # fmt: skip
    return _about(
        flips, "nothing", words, weight=0.0, figure=None,
        remedy="Show it more images, or others (`--images`), before believing that.",
    )  # fmt: skip


def _resize(antialias: bool, shrinks: bool) -> Iterator[Finding]:
    if antialias or not shrinks:
        return
    words = (
        "The photograph is made smaller without a filter that widens with it, before the net sees anything: what is "
        "too fine for the small picture turns into patterns that change with every pixel."
    )
    yield Finding(
        "resize", "resize", words, 1.0, None, None, "", 0.5,
        "Resize with antialias (Pillow does; in torchvision and OpenCV ask for it); `shiftable audit --parity` says "
        "whether its answers stay.", None,
    )  # fmt: skip


def _stride(structure: Structure | None, flips: Estimate) -> Iterator[Finding]:
    if structure is None:
        return
    if not structure.sites:
        words = (
            "The net keeps every position of its maps: nothing in it subsamples, so its answer moves for other reasons."
        )
        yield _about(flips, "stride", words, weight=0.05, remedy="Look at the border and the margins.",
                     figure="structure")  # fmt: skip
        return
    y, x = structure.stride_px
    words = (
        f"After {len(structure.sites)} subsamplings the net looks at one place in {y} × {x} pixels. A picture moved by "
        "anything but a multiple of that is sampled elsewhere: sampling guarantees the same answer for 1 shift in "
        f"{structure.copies:,}, and to show the net every case, training would need {structure.copies:,} shifted "
        "copies of each image."
    )
    yield Finding(
        None, "stride", words, structure.guaranteed, None, None, "%", 0.02,
        "Don't hope that shifted copies in training cover it: blur where it subsamples.", "structure",
    )  # fmt: skip


def _sampling(sampling: Sampling | None, structure: Structure | None) -> Iterator[Finding]:
    if sampling is None or structure is None or sampling.sampling_share is None or sampling.rms_ratio is None:
        return
    share, ratio = sampling.sampling_share, sampling.rms_ratio.value
    border = Estimate(1 - share.value, 1 - share.high, 1 - share.low, share.images, share.pairs)
    sees_all = all(seen > size for seen, size in zip(structure.receptive_field_px, structure.view_size, strict=True))
    if share.value >= HARDLY:
        scaled = "" if 0.8 < ratio < 1.25 else f" (the prediction, {ratio:.1f} times as large, is scaled to fit)"
        yield _about(
            share, "aliasing",
            f"{share.value:.0%} of the change of the answer from one pixel to the next is foretold from the still "
            f"picture alone{scaled}, by working out what the net would see if its sampling grid lay elsewhere. That "
            "part is aliasing: detail too fine for the grid, which comes out differently wherever the grid lies.",
            weight=share.value, figure="sampling",
            remedy="Blur before the sites that subsample; those with the most to gain are named here.",
        )  # fmt: skip
    if border.value >= HARDLY:
        everywhere = (
            f" Every position of the last map sees them (it looks at {max(structure.receptive_field_px)} pixels), so "
            "they count everywhere."
        )
        yield _about(
            border, "border",
            f"{border.value:.0%} of the change of the answer can't be foretold so: it goes with the edges, where one "
            "column of the picture leaves, another enters, and the padding of every layer meets the grid elsewhere."
            + (everywhere if sees_all else ""),
            weight=border.value, figure="sampling", remedy=STEADY,
        )  # fmt: skip


def _single_sites(interventions: Sequence[Intervention]) -> Iterator[Finding]:
    single = [each for each in interventions if len(each.sites) == 1 and each.flips_before.value]
    certain = [each for each in single if each.mac_removed.low > 0 or each.flips_removed.low > 0]
    for each in sorted(certain, key=lambda each: each.mac_removed.value, reverse=True)[:TOLD]:
        jumps = each.mac.value + each.mac_removed.value
        steadied = _scaled(each.mac_removed, 1 / jumps)
        yield _about(
            steadied, "aliasing",
            f"Blurring `{each.sites[0]}` alone, without any tuning, takes away {steadied.value:.0%} of how far the "
            "leading class's probability jumps from pixel to pixel; the answer changes at "
            f"{each.flips.value:.1%} of the steps, {each.flips_before.value:.1%} before. {each.agreement.value:.0%} of "
            "all answers stay what they were.",
            site=each.sites[0], weight=steadied.value, figure="interventions",
            remedy="Put a blur there and tune the net a little to it; without tuning, the answers lose what is shown. "
            f"It takes {each.time_ratio:.2f} times as long.",
        )  # fmt: skip
    if single and not certain:
        best = max(single, key=lambda each: each.flips_removed.value)
        yield _about(
            best.flips_removed, "aliasing",
            f"Blurring no single site steadies the answers by more than chance would on {best.flips.images} images "
            f"(most flips go with `{best.sites[0]}`). The layers behind a blur were never trained with one, and what "
            "they make of it hides what it brings.",
            site=best.sites[0], weight=0.05, figure="interventions",
            remedy="Give more images, or tune the net with the blurs in place before judging them.",
        )  # fmt: skip


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return replace(estimate, value=estimate.value * factor, low=estimate.low * factor, high=estimate.high * factor)


def _spectra(
    spectra: Sequence[Spectrum], sampling: Sampling | None, interventions: Sequence[Intervention]
) -> Iterator[Finding]:
    share = sampling.sampling_share.value if sampling and sampling.sampling_share else 1.0
    judged = {each.sites[0] for each in interventions if len(each.sites) == 1}
    most = sorted((each for each in spectra if each.site not in judged), key=lambda each: -each.aliased.value)[:TOLD]
    total = sum(each.aliased.value for each in spectra)
    for each in most:
        if each.aliased.value < HARDLY:
            continue
        kept = "every second" if max(each.stride) == 2 else f"one in {max(each.stride)}"
        yield _about(
            each.aliased, "aliasing",
            f"{each.aliased.value:.0%} of what `{each.site}` is about to subsample changes faster from place to place "
            f"than its grid, {kept} position, can follow (for white noise: {each.aliased_noise:.0%}). After it, nobody "
            "can tell that detail from a coarser pattern. Whether answers change for it, only an intervention tells.",
            site=each.site, weight=0.5 * share * each.aliased.value / total, remedy=BLUR, figure="spectra",
        )  # fmt: skip


def _margins(margins: Margins | None, flips: Estimate) -> Iterator[Finding]:
    if margins is None or not flips.value or not isfinite(margins.unsteadiness.value):
        return
    # tenths hold about equally many pairs, so their rates' shares are shares of the flips
    rates = [each.p_flip.value for each in margins.tenths]
    unsure = rates[: max(1, round(len(rates) * 0.2))]
    share = sum(unsure) / sum(rates) if sum(rates) else 0.0
    yield _about(
        margins.unsteadiness, "margin",
        f"The lead of the first class over the second moves by {margins.rms_change.value:.2f} a pixel, where it is "
        f"{margins.median_margin.value:.2f} in the typical picture (in logits). {share:.0%} of the changed answers are "
        "among the fifth of the views that are least sure: there the net is as good as undecided.",
        unit="", weight=0.5 * share,
        remedy="Don't show an answer whose margin is so small: `risk.json` turns the margin of one view into the "
        "probability that it changes within a pixel.",
        figure="margins",
    )  # fmt: skip


def _outside(outside: Outside | None) -> Iterator[Finding]:
    if outside is None or outside.stride_px is None:
        return
    stride = next(each for each in outside.moduli if each.px == outside.stride_px)
    yield _about(
        stride.explained, "aliasing",
        f"{outside.statement} The model samples the picture on a grid that wide, and sees it anew at every offset.",
        weight=stride.explained.value, figure="outside",
        remedy="Nobody can look into this file: explain the net it was exported from, or steady what it is shown, by "
        "a crop that follows the picture's content.",
    )  # fmt: skip
