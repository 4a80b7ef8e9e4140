"""The sections of a diagnosis's page: the numbers of each part as rows of words, beside its drawings."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from markupsafe import Markup, escape

from shiftable.auditing import Estimate
from shiftable.explaining.diagnosis import (
    Finding,
    Interaction,
    Intervention,
    Response,
    Sampling,
    Spectrum,
    Structure,
    Subsampling,
)
from shiftable.explaining.margins import Margins
from shiftable.explaining.outside import Outside
from shiftable.explaining.risk import Risk
from shiftable.report import charts, explain_words
from shiftable.report.explain_charts import drawn, legend
from shiftable.report.explain_plots import Drawing
from shiftable.report.explain_words import figure, interval, pair

Table = dict[str, Any]
MOST_SITES = 200
"""Rows of the table of sites."""

SNIPPET = """from shiftable.explaining.risk import read_risk
risk = read_risk("risk.json")
unsure = risk(logits.max() - sorted(logits)[-2]) > 0.2"""


def picture(drawing: Drawing | None) -> dict[str, Any] | None:
    """A drawing as the page shows it."""
    if drawing is None:
        return None
    small = drawing.columns > 2
    return {
        "name": drawing.name,
        "title": drawing.title,
        "small": small,
        "columns": drawing.columns,
        "parts": [(part.title, type(part).__name__.lower(), drawn(part, small)) for part in drawing.parts],
        "keys": legend(drawing),
    }


def finding(found: Finding, anchors: Sequence[str]) -> dict[str, Any]:
    """A finding as the page shows it.

    Args:
        found: What was found.
        anchors: The figures that are on the page.
    """
    return {
        "title": explain_words.CAUSES.get(found.cause, found.cause),
        "site": found.site,
        "words": coded(found.words),
        "value": figure(found.value, found.unit),
        "interval": interval(found, found.unit),
        "remedy": coded(found.remedy),
        "link": f"#{found.figure}" if found.figure in anchors else None,
    }


def coded(text: str) -> Markup:
    """A sentence, what stands between backticks as code; all of it escaped."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 and at < len(parts) - 1 else escape(part)
        for at, part in enumerate(parts)
    )


def structure(found: Structure | None) -> dict[str, Any] | None:
    """The table of sites, the resize first, and what the total stride means."""
    if found is None:
        return None
    rows = [_site(number, each) for number, each in enumerate(found.sites[:MOST_SITES], start=1)]
    return {
        "words": explain_words.stride_words(found),
        "resize": found.resize or "not known",
        "rows": rows,
        "more": max(0, len(found.sites) - MOST_SITES),
        "mixes": found.mixes,
        "last_map": found.last_map,
        "view": "{} × {} px".format(*found.view_size),
    }


def _site(number: int, each: Subsampling) -> dict[str, Any]:
    after = tuple(before * step for before, step in zip(each.stride_before_px, each.stride, strict=True))
    dilated = f", dilated {pair(each.dilation)}" if max(each.dilation) > 1 else ""
    size = " → ".join("{} × {}".format(*size) for size in (each.input_size, each.output_size))
    return {
        "number": number,
        "name": each.name,
        "type": f"{each.type}, {each.kind}" + ("" if each.on_main_path else "; in a branch"),
        "kernel": "{} × {}".format(*each.kernel) + dilated,
        "stride": pair(each.stride),
        "padding": _padding(each.padding),
        "blur": each.blur or "nothing",
        "size": size,
        "after": f"{pair((after[0], after[1]))}\xa0px",
        "sees": f"{pair(each.receptive_field_px)}\xa0px",
    }  # fmt: skip


def _padding(padding: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """Once where all four sides are alike."""
    (top, bottom), (left, right) = padding
    if top == bottom == left == right:
        return str(top)
    return f"top {top}, bottom {bottom}, left {left}, right {right}"


def interventions(found: Sequence[Intervention], pairs: Sequence[Interaction]) -> dict[str, Any] | None:
    """The table, and how pairs act together."""
    if not found:
        return None
    labelled = any(each.accuracy_change is not None for each in found)
    columns = ["Blurred", "Changed answers", "Taken away", "Mean change of probability", "Same answer as before",
               *(["Accuracy, in points"] if labelled else []), "Time"]  # fmt: skip
    rows = []
    for each in found:
        accuracy = ("not known", "") if each.accuracy_change is None else points(each.accuracy_change)
        cells = [
            (f"{figure(each.flips_before.value, '%')} → {figure(each.flips.value, '%')}", ""),
            _both(each.flips_removed, "%"),
            _both(each.mac),
            _both(each.agreement, "%"),
        ]
        cells += [accuracy] if labelled else []
        rows.append((" + ".join(each.sites), [*cells, (f"×\xa0{each.time_ratio:.2f}", "")]))
    together = [(" + ".join(each.sites), explain_words.interaction(each)) for each in pairs]
    return {"table": {"columns": columns, "rows": rows}, "together": together}


def sampling(found: Sampling | None) -> dict[str, Any] | None:
    """How the prediction does, measure by measure, and the strongest frequencies."""
    if found is None:
        return None
    measures = [
        {"title": title, "says": says, **cell(title, each, unit)}
        for title, says, unit, each in explain_words.measures(found)
    ]
    share = found.sampling_share
    return {
        "how": found.how,
        "why_not": found.why_not,
        "measures": measures,
        "stride": pair(found.stride_px),
        "border": None if share is None else figure(1 - share.value, "%"),
        "own": None if share is None else figure(share.value, "%"),
        "width": 0 if share is None else round(100 * min(1.0, max(0.0, share.value))),
        "strongest": explain_words.strongest(found),
    }


def cell(title: str, found: Estimate, unit: str) -> dict[str, Any]:
    """A number, its interval, and a bar."""
    high = found.value if not isfinite(found.high) else max(found.high, found.value)
    end = 1.0 if found.value <= 1 and high > 0.2 else charts.nice_end(high)
    value, within = figure(found.value, unit), interval(found, unit) or "no interval: one image"
    text = f"{title}: {value}, 95 % interval {within}"
    return {
        "value": value,
        "interval": within,
        "end": f"{100 * end:g}\xa0%" if unit == "%" else f"{end:g}",
        "bar": charts.interval_bar(found, end, text),
    }


def spectra(found: Sequence[Spectrum]) -> Table | None:
    """The table of what is beyond the limit of each site."""
    if not found:
        return None
    columns = ["Site", "Stride", "Limit, cycles per position", "Power beyond it", "Of white noise"]
    rows = [
        (each.site, [(pair(each.stride), ""), (f"{1 / (2 * max(each.stride)):.3g}", ""), _both(each.aliased, "%"),
                     (figure(each.aliased_noise, "%"), "")])
        for each in found
    ]  # fmt: skip
    return {"columns": columns, "rows": rows}


def responses(found: Sequence[Response]) -> Table | None:
    """The table of all layers."""
    if not found:
        return None
    kinds = list(dict.fromkeys(kind for each in found for kind in each.sums_vary))
    short = {"circular": "rolled", "real": "moved"}

    def headed(words: str) -> list[str]:
        return [f"{words}, {short.get(kind, kind)}" for kind in kinds]

    def of(measured: Mapping[str, Estimate]) -> list[str]:
        return [figure(measured[kind].value) if kind in measured else "–" for kind in kinds]

    columns = ["Layer", "Depth", "Stride", "Channels", *headed("Sums vary"), *headed("Error"), *headed("Map changes"),
               *headed("Average changes"), "Sharpness"]  # fmt: skip
    rows = [
        [each.layer, f"{each.depth:.2f}", f"{pair(each.stride_px)} px", f"{each.channels:,}", *of(each.sums_vary),
         *of(each.equivariance_error), *of(each.map_change), *of(each.pooled_change), figure(each.sharpness.value)]
        for each in found
    ]  # fmt: skip
    return {"columns": columns, "rows": rows}


def margins(found: Margins | None) -> dict[str, Any] | None:
    """How sure, how steady, and by tenth of the margins."""
    if found is None:
        return None
    rows = [
        [f"{number}", f"{figure(each.margins[0])} to {figure(each.margins[1])}", _within(each.p_flip, "%"),
         figure(each.rms_change)]
        for number, each in enumerate(found.tenths, start=1)
    ]  # fmt: skip
    return {
        "flips": figure(found.p_flip.value, "%"),
        "modelled": figure(found.modelled, "%"),
        "median": _within(found.median_margin),
        "change": _within(found.rms_change),
        "unsteadiness": _within(found.unsteadiness),
        "table": {
            "columns": ["Tenth", "Margin, logits", "Changed answers", "Change of the lead, logits"],
            "rows": rows,
        },
    }


def risk(found: Risk | None) -> dict[str, Any] | None:
    """The formula, and how it does on images that it was not fitted to."""
    if found is None:
        return None
    check = found.check
    measures = [] if check is None else [
        ("Mean risk given", "What it said on average.", figure(check.mean_risk, "%"), ""),
        ("What happened", "The share of those views with a neighbour that is answered otherwise.",
         *_both(check.observed, "%")),
        ("Calibration error", "How far what happened is from what it said, on average. On so few images a perfect "
         f"risk would show {figure(check.by_chance, '%')}.", *_both(check.calibration_error, "%")),
        ("Order", "How often, of a view that changes and one that does not, the former is given the greater risk: "
         "50 % is guessing, 100 % perfect.", *_both(check.auc, "%")),
        ("Gain over one risk for all", "By what share its squared error is less than that of the mean rate.",
         *_both(check.skill, "%")),
    ]  # fmt: skip
    return {
        "formula": found.formula,
        "neighbours": found.neighbours,
        "images": found.images,
        "seen": f"{figure(found.margins_seen[0])} to {figure(found.margins_seen[1])}",
        "measures": measures,
        "checked": None if check is None else check.observed.images,
        "remarks": found.remarks,
        "snippet": SNIPPET,
    }


def outside(found: Outside | None) -> dict[str, Any] | None:
    """What the answers tell of the stride."""
    if found is None:
        return None
    return {
        "statement": found.statement,
        "stride": found.stride_px,
        "dip": None if found.dip is None else _within(found.dip, "%"),
        "untested": ", ".join(map(str, found.untested)),
        "images": found.images,
        "steps": found.steps,
    }


def points(found: Estimate) -> tuple[str, str]:
    """A difference of shares in points, with its sign, and its interval.

    Example:
        >>> points(Estimate(-0.004, -0.011, 0.003, 60, 240))
        ('−0.4', '−1.1 to +0.3')
    """
    value, low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (found.value, found.low, found.high))
    return value, f"{low} to {high}" if isfinite(found.low) else ""


def _both(found: Estimate, unit: str = "") -> tuple[str, str]:
    """The number, and its interval."""
    return figure(found.value, unit), interval(found, unit)


def _within(found: Estimate, unit: str = "") -> str:
    """The same in a sentence."""
    value, within = _both(found, unit)
    return f"{value} ({within})" if within else value
