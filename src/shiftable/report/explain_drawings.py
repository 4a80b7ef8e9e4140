"""From the numbers of a diagnosis to what its pictures show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Estimate
from shiftable.explaining.diagnosis import Intervention, Response, Sampling, Spectrum
from shiftable.report.explain_plots import (
    SMALLEST,
    Axis,
    Curve,
    Drawing,
    Heat,
    Plot,
    Rows,
    Strip,
    ends,
    exact,
    linear,
    logarithmic,
    logarithms,
    spanning,
)
from shiftable.report.explain_words import ALIKE, KINDS, figure, interval
from shiftable.report.trace_words import signed
from shiftable.report.wording import shorten

MOST_SITES = 12
"""Sites whose spectra are drawn: those with most beyond their limit. The table holds all."""
MOST_LAYERS = 4
"""Layers whose maps are shown."""
MOST_CHANNELS = 4
DARKEST, BRIGHTEST = 0.5, 99.5
"""Percentiles of a map that are drawn black and white: a few strong responses would leave the rest dark."""
LARGEST_MAP = 112
"""Positions of a map that are shown, along a side."""
MOST_MAPS = 5
MOST_CLASSES = 4
MOST_NETS = 8
ORDINALS = ("First", "Second", "Third", "Fourth")


def spectra(found: Sequence[Spectrum]) -> Drawing | None:
    """One plot per site: power by frequency, that of white noise beside it, and the limit of the site's stride."""
    if not found:
        return None
    worst = sorted(found, key=lambda each: -each.aliased.value)[:MOST_SITES]
    chosen = [each for each in found if each in worst]
    values = np.concatenate([np.concatenate([each.power, each.power_noise]) for each in chosen])
    y = logarithmic("power; 1 is white noise", values, decades=5)
    x = exact("cycles per position", 0.0, max(0.5, *(float(each.frequency.max()) for each in chosen)), most=5)
    return Drawing("spectra", "Power by frequency, site by site", tuple(_spectrum(each, x, y) for each in chosen), 3)


def _spectrum(each: Spectrum, x: Axis, y: Axis) -> Plot:
    limit = 1 / (2 * max(each.stride))
    curves = (
        Curve("this site", each.frequency, _drawable(each.power), 0),
        Curve("white noise through it", each.frequency, _drawable(each.power_noise), 1),
    )
    says = f"{each.site}: {figure(each.aliased.value, '%')} of the power is beyond {limit:g} cycles per position"
    return Plot(shorten(each.site, 44), curves, x, y, ((limit, f"limit {limit:.3g}"),), limit, says)


def _drawable(power: Float[np.ndarray, "ring"]) -> Float[np.ndarray, "ring"]:
    """Logarithms; what is nothing, as frequency 0 is where the mean is removed, is left out."""
    return np.where(power > SMALLEST, logarithms(power), np.nan)


def interventions(found: Sequence[Intervention]) -> Drawing | None:
    """A bar per intervention: how many of the changed answers it takes away."""
    if not found:
        return None
    values = [each.flips_removed for each in found]
    reach = [end for each in values for end in (each.value, each.low, each.high)]
    notes = tuple(f"{figure(each.value, '%')} ({interval(each, '%')})" for each in values)
    rows = Rows(
        "Changed answers taken away",
        tuple(" + ".join(each.sites) for each in found),
        tuple(values),
        notes,
        linear("share of all one-pixel steps", reach, percent=True),
        "; ".join(f"{' + '.join(each.sites)}: {note}" for each, note in zip(found, notes, strict=True)),
    )
    return Drawing("interventions", "What blurring each site takes away", (rows,), 1)


def sampling(found: Sampling) -> Drawing:
    """A plot per class: its logit as measured, and as sampling alone predicts it."""
    classes = len(found.measured[:MOST_CLASSES])
    x = _offsets(found.offsets_px)
    plots = []
    for at in range(classes):
        measured, predicted = found.measured[at], found.predicted[at]
        curves = (Curve("measured", found.offsets_px, measured, 0), Curve("predicted", found.offsets_px, predicted, 5))
        y = spanning("logit", [*measured, *predicted])
        words = f"{ORDINALS[at]} class by score"
        plots.append(Plot(words, curves, x, y, says=f"{words}: its logit by offset, measured and predicted"))
    return Drawing("sampling", "Logits of one image by offset, predicted and measured", tuple(plots),
                   3 if len(plots) == 3 else 2)  # fmt: skip


def harmonics(found: Sampling) -> Drawing | None:
    """The power of the answer's dependence on the place, by frequency; along one axis only, as a curve."""
    power = np.asarray(found.harmonics, float)
    total = power.sum()
    if power.size < 2 or not total > 0:
        return None
    rows, columns = power.shape
    shares = np.fft.fftshift(power / total)
    title = "Where in frequency the answer depends on the place"
    if 1 in power.shape:
        count = max(power.shape)
        at = np.arange(count // 2 + 1)
        folded = _folded(power.reshape(-1) / total)
        x = exact(f"cycles per {count} px", 0.0, float(at[-1]))
        y = linear("share of the power", folded, percent=True)
        return Drawing("harmonics", title, (Plot(title, (Curve("", at.astype(float), folded),), x, y),), 1)
    words = "down: cycles per {} px", "to the right: cycles per {} px"
    y, x = (_centred(word.format(size), size) for word, size in zip(words, (rows, columns), strict=True))
    shades = np.sqrt(shares / shares.max())
    return Drawing("harmonics", title, (Heat(title, shades, x, y, f"{title}: {rows} × {columns} frequencies"),), 1)


def _centred(words: str, size: int) -> Axis:
    """Of cells whose middle one, number ``size // 2``, is frequency 0."""
    half = size // 2
    stride = max(1, -(-size // 8))
    ticks = [(float(at), signed(at)) for at in range(-half, size - half) if at % stride == 0]
    return Axis(words, -half - 0.5, size - half - 0.5, tuple(ticks))


def _folded(power: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """Both signs of a frequency together."""
    half = len(power) // 2
    found = np.array([power[at] + (power[-at] if 0 < at < len(power) - at else 0.0) for at in range(half + 1)])
    return found


def responses(found: Sequence[Response]) -> Drawing | None:
    """After section 3 of Azulay & Weiss: a layer's map at a few offsets, then its sums by offset, for a few layers."""
    shown = [each for each in found if each.maps.size]
    if not shown:
        return None
    places = np.unique(np.linspace(0, len(shown) - 1, min(MOST_LAYERS, len(shown))).round().astype(int))
    parts: list[Strip | Plot] = []
    for each in (shown[at] for at in places):
        parts.append(_strip(each))
        parts += _sums(each)
    return Drawing("responses", "Maps and their sums as the picture moves", tuple(parts), 2)


def _strip(each: Response) -> Strip:
    chosen = np.unique(np.linspace(0, len(each.maps) - 1, min(MOST_MAPS, len(each.maps))).round().astype(int))
    maps = _smaller(np.asarray(each.maps, float)[chosen])
    low, high = np.nanpercentile(maps, [DARKEST, BRIGHTEST])
    captions = tuple(f"{signed(float(each.maps_at_px[at]))} px" for at in chosen)
    size = "{} × {} positions".format(*each.size)
    title = f"{shorten(each.layer, 44)}: one of {each.channels:,} channels, {size}, every {max(each.stride_px)} px"
    return Strip(
        title, np.clip((maps - low) / ((high - low) or 1.0), 0, 1), captions, f"{title}, at {', '.join(captions)}"
    )


def _smaller(maps: Float[np.ndarray, "place y x"]) -> Float[np.ndarray, "place y2 x2"]:
    """Means of blocks, where a map has more positions than a figure can show."""
    block = -(-max(maps.shape[1:]) // LARGEST_MAP)
    places, tall, wide = (size // block if axis else size for axis, size in enumerate(maps.shape))
    cut = maps[:, : tall * block, : wide * block]
    return np.asarray(cut.reshape(places, tall, block, wide, block).mean(axis=(2, 4)))


def _sums(each: Response) -> list[Plot]:
    known = {kind: np.asarray(sums, float)[:MOST_CHANNELS] for kind, sums in each.sums.items() if np.size(sums)}
    y = spanning("sum over its mean", [value for sums in known.values() for value in (*sums.ravel(), 1.0)])
    x = _offsets(each.offsets_px)
    return [
        Plot(
            f"Sums, {KINDS.get(kind, kind)}",
            tuple(Curve(f"channel {at + 1}", each.offsets_px, row, at) for at, row in enumerate(sums)),
            x, y, says=f"Global sums of {each.layer} by offset, {KINDS.get(kind, kind)}",
        )
        for kind, sums in known.items()
    ]  # fmt: skip


def depth(found: Sequence[Response]) -> Drawing | None:
    """Along depth: how much sums vary, how far maps are from moving along, how sharp they are."""
    if not found:
        return None
    x = exact("depth, 1 is the last map", 0.0, 1.0)
    plots = [
        _by_depth("How much global sums vary", "variation over the mean", found, [each.sums_vary for each in found], x),
        _by_depth("How far the map is from moving along", "error, 0 is none", found,
                  [each.equivariance_error for each in found], x),
        _by_depth("How sharp the map is", "cycles per position", found,
                  [{"circular": each.sharpness} for each in found], x, named=False),
    ]  # fmt: skip
    return Drawing("depth", "Layers by depth", tuple(plots), 3)


def _by_depth(
    title: str, words: str, found: Sequence[Response], measured: Sequence[Mapping[str, Estimate]], x: Axis,
    named: bool = True,
) -> Plot:  # fmt: skip
    curves = []
    for style, kind in enumerate(dict.fromkeys(kind for each in measured for kind in each)):
        there = [at for at, each in enumerate(measured) if kind in each]
        values, low, high = ends(measured[at][kind] for at in there)
        at_depth = np.array([found[at].depth for at in there], float)
        curves.append(Curve(KINDS.get(kind, kind) if named else "", at_depth, values, style, low, high))
    y = linear(words, [value for curve in curves if curve.high is not None for value in (*curve.y, *curve.high)])
    return Plot(title, tuple(curves), x, y, says=f"{title}, by depth")


def invariance(records: Sequence[Mapping[str, Any]]) -> Drawing | None:
    """Along depth, how much maps change and how much their averages do: of several nets, or of one with both kinds.

    Args:
        records: Diagnoses as `Diagnosis.to_json` gives them, this net's first.
    """
    nets = [each for each in records if each.get("responses")][:MOST_NETS]
    if not nets:
        return None
    x = exact("depth: 0 the picture, 1 the last map", 0.0, 1.0)
    plots = []
    for field, title in (("map_change", "The map: should move along"), ("pooled_change", "Its average: should not")):
        if len(nets) == 1:
            layers = nets[0]["responses"]
            curves = [_traced(layers, field, kind, KINDS.get(kind, kind), style)
                      for style, kind in enumerate(layers[0][field])]  # fmt: skip
        else:
            kind = alike(nets)
            curves = [_traced(net["responses"], field, kind, shorten(str(net["spec"]), 40), style)
                      for style, net in enumerate(nets)]  # fmt: skip
        reach = [value for each in curves if each.high is not None for value in (*each.y, *each.high)]
        y = linear("change per pixel", reach)
        plots.append(Plot(title, tuple(curves), x, y, says=f"{title}: change per pixel by depth"))
    return Drawing("invariance", "Invariance against equivariance", tuple(plots))


def alike(nets: Sequence[Mapping[str, Any]]) -> str:
    """The kind of shift in which nets are compared: the first of ``ALIKE`` that all of them have."""
    known = [set(layer["map_change"]) for net in nets for layer in net["responses"]]
    return next((kind for kind in ALIKE if all(kind in each for each in known)), ALIKE[-1])


def _traced(layers: Sequence[Mapping[str, Any]], field: str, kind: str, name: str, style: int) -> Curve:
    there = [each for each in layers if kind in each[field]]
    values, low, high = ends(Estimate.from_json(each[field][kind]) for each in there)
    return Curve(name, np.array([each["depth"] for each in there], float), values, style, low, high)


def _offsets(offsets_px: Float[np.ndarray, "offset"]) -> Axis:
    low, high = float(offsets_px.min()), float(offsets_px.max())
    return exact("the picture moved by, px", low, high if high > low else low + 1, signed=True)
