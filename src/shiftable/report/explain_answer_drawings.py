"""From what the answers alone tell, margins, risk and the outside view, to what their pictures show."""

from itertools import chain

import numpy as np

from shiftable.explaining.margins import QUANTILES, Margins
from shiftable.explaining.outside import Outside
from shiftable.explaining.risk import Risk
from shiftable.report.explain_plots import (
    Axis,
    Curve,
    Drawing,
    Plot,
    Rows,
    ends,
    exact,
    linear,
    logarithmic,
    logarithms,
)
from shiftable.report.explain_words import figure, interval


def margins(found: Margins) -> Drawing:
    """By tenth of the margins: how far the lead moves a pixel, beside the margin itself; and how many answers flip."""
    tenths = found.tenths
    at = np.arange(1, len(tenths) + 1, dtype=float)
    x = Axis("the views by margin, in tenths: 1 the least sure", 0.5, len(at) + 0.5,
             tuple((place, f"{place:g}") for place in at.tolist()))  # fmt: skip
    means = [each.mean_margin for each in tenths]
    moves = np.array([each.quantiles for each in tenths], float)
    y = logarithmic("logits, in steps of ten", chain(means, moves.ravel().tolist()), decades=4)
    names = [f"change of the lead: {10 * share:g} in 10 are smaller" for share in QUANTILES]
    curves = [Curve("the margin", at, logarithms(means), 0)]
    curves += [Curve(name, at, logarithms(moves[:, number]), number + 1) for number, name in enumerate(names)]
    rates, low, high = ends(each.p_flip for each in tenths)
    flips = linear("of all steps", [*rates, *high], percent=True)
    return Drawing(
        "margins",
        "How sure, and how steady",
        (
            Plot("The lead, and how far it moves in one pixel", tuple(curves), x, y,
                 says="Margin and change of the lead by tenth of the margins"),
            Plot("Changed answers", (Curve("", at, rates, 0, low, high),), x, flips,
                 says="Share of changed answers by tenth of the margins"),
        ),
    )  # fmt: skip


def risk(found: Risk) -> Drawing:
    """The curve, risk by margin; and, of images that it was not fitted to, what happened by the risk given."""
    low, high = found.margins_seen
    at = np.linspace(low, high if high > low else low + 1, 60)
    curve = Curve("", at, found(at), 0)
    x, y = linear("margin, logits", at), linear("risk", curve.y, percent=True)
    parts = [Plot("Risk by margin", (curve,), x, y, says="The fitted risk by margin")]
    if found.check is not None:
        bins = found.check.bins
        given = np.array([each.risk for each in bins], float)
        seen, below, above = ends(each.observed for each in bins)
        end = linear("", [*given, *above], percent=True).high
        guide = Curve("", np.array([0.0, end]), np.array([0.0, end]), kind="guide")
        both = linear("risk that was given", [end], percent=True)
        up = Axis("share that changed", both.low, both.high, both.ticks)
        plot = Plot("On images it was not fitted to", (guide, Curve("", given, seen, 0, below, above)), both, up,
                    says="Observed share by given risk; on the thin line they are equal")  # fmt: skip
        parts.append(plot)
    return Drawing("risk", "The risk of one answer", tuple(parts))


def outside(found: Outside) -> Drawing:
    """How much answers differ by distance, with the dips at the stride; and what the place modulo m explains."""
    lags = np.array(found.lags_px, float)
    apart = np.array(found.difference, float)
    x = exact("views so many px apart", 0.0, float(lags[-1]) if len(lags) else 1.0, most=8)
    y = linear("difference of the answers", apart)
    stride = found.stride_px
    marks = tuple((float(at), f"{at} px") for at in found.lags_px if stride and at % stride == 0)[:3]
    curve = Curve("", lags, apart, 0)
    parts: list[Plot | Rows] = [
        Plot("How much answers differ", (curve,), x, y, marks, says="Difference of the answers by distance")
    ]
    if found.moduli:
        values = [each.explained for each in found.moduli]
        reach = [end for each in values for end in (each.value, each.low, each.high)]
        notes = tuple(f"{figure(each.value, '%')} ({interval(each, '%')})" for each in values)
        names = tuple(f"modulo {each.px}" + (", certain" if each.shows else "") for each in found.moduli)
        parts.append(Rows("What the place modulo m explains", names, tuple(values), notes,
                          linear("share of the changes", reach, percent=True),
                          "; ".join(f"{name}: {note}" for name, note in zip(names, notes, strict=True))))  # fmt: skip
    if len(found.by_phase) > 1:
        phases = np.arange(len(found.by_phase), dtype=float)
        parts.append(
            Plot(
                "Where the answer jumps",
                (Curve("", phases, np.array(found.by_phase, float), 0),),
                exact(f"step, modulo {len(phases)} px", 0.0, float(phases[-1])),
                linear("change in one pixel", found.by_phase),
                says=f"Change of the answer by place modulo {len(phases)}",
            )
        )
    return Drawing("outside", "What the answers alone tell", tuple(parts))
