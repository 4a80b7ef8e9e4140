"""What is known of why a model's answer moves: the parts of a diagnosis, plain numbers all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from shiftable.auditing.intervals import Estimate

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

Cause: TypeAlias = Literal["aliasing", "border", "margin", "resize", "stride", "nothing"]
"""Of a finding: sampling without a low-pass; what enters and leaves at the edges; answers hardly decided; the model's
own resize; how many phases there are; none found."""


@dataclass(frozen=True)
class Subsampling:
    """A site in the table of a net's structure. Pairs are (y, x).

    Args:
        name: Of the site.
        kind: Its `shiftable.surgery.windows.Kind`.
        type: The module's class.
        kernel: The window's positions.
        stride: Of how many positions one is kept.
        padding: ((top, bottom), (left, right)), with what was padded just before.
        dilation: How far apart the window's positions are.
        input_size: Of the map before it.
        output_size: Of the map after it.
        channels: Of the map before it.
        stride_before_px: How far apart the positions of the map before it are, in px of the view.
        receptive_field_px: What a position after it sees.
        blur: What removes high frequencies before it, in words ("binomial 3×3"; "its own kernel, average 2×2"), or
            None. Learned kernels and maxima are none, and what was blurred before them is no longer so.
        on_main_path: Whether it is on the longest way through the net, and not in a shortcut or another branch.
    """

    name: str
    kind: str
    type: str
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    input_size: Pair
    output_size: Pair
    channels: int
    stride_before_px: Pair
    receptive_field_px: Pair
    blur: str | None
    on_main_path: bool


@dataclass(frozen=True)
class Structure:
    """Where a net subsamples, and what follows from its total stride.

    Args:
        spec: The model.
        view_size: (height, width) in px of what it was shown.
        resize: What the model does to a photograph before: layer 0. Words, or None where nobody knows.
        sites: In the order in which they are carried out.
        layers: How many layers multiply by weights, along the longest way through the net: convolutions and matrix
            products with learned weights, squeeze and excite's, too. Blurs are none.
        layers_in_all: The same, with all branches.
        stride_px: The total stride, (y, x): the common multiple of how far apart the positions of its maps are.
        receptive_field_px: Of the last map, (y, x), by windows alone: ``mixes`` look farther.
        last_map: The module that gives the last map, the one before what makes one position of it.
        mixes: What looks at all of a map, and where: "avgpool (AdaptiveAvgPool2d): global pooling"; a line a kind.
        remarks: What could not be seen, a sentence each.
    """

    spec: str
    view_size: Pair
    resize: str | None
    sites: tuple[Subsampling, ...]
    layers: int
    layers_in_all: int
    stride_px: Pair
    receptive_field_px: Pair
    last_map: str
    mixes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def main_path(self) -> tuple[Subsampling, ...]:
        """The sites on the longest way through the net: of its ``layers``, so many subsample."""
        return tuple(each for each in self.sites if each.on_main_path)

    @property
    def poolings(self) -> int:
        """How many of these pool: the seed paper counts pooling layers alone (VGG16 5 of 16, ResNet50 1 of 50)."""
        return sum("pooling" in each.kind for each in self.main_path)

    @property
    def copies(self) -> int:
        """How many shifted copies of an image show the net every phase: s², the paper's estimate (45 → 2025)."""
        return self.stride_px[0] * self.stride_px[1]

    @property
    def guaranteed(self) -> float:
        """The share of shifts at which sampling alone guarantees the same answer, 1/s²."""
        return 1 / self.copies


@dataclass(frozen=True)
class Response:
    """How one layer's map follows the picture. Estimates are over images; changes are per step of one px.

    Definitions are in `shiftable.explaining.following`. Errors and changes of 1.4 are as large as between the maps of
    unrelated pictures.

    Args:
        layer: The module whose map it is, or the site before which it was taken.
        depth: How far into the net, 0 to 1.
        stride_px: How far apart the map's positions are, (y, x).
        channels: Of the map.
        size: Positions, (y, x).
        sums_vary: The coefficient of variation, over the offsets, of the map's global sums: circular shifts, so that
            sampling alone counts; and real ones, with the border.
        equivariance_error: The map of the moved picture against the moved map of the still one, RMS over RMS of what
            varies in the map; circular and real as before.
        map_change: The map against the one a px before, RMS of the difference over RMS of what varies. It should move.
        pooled_change: The same of its global average over positions, over the pooled map's spread between images. It
            should not.
        sharpness: The spectral centroid, in cycles per position, 0 to 0.5 along an axis.
        offsets_px: The offsets of the curves.
        sums: Global sums of a few channels of one image by offset, each over the mean of the map's absolute values
            (after a ReLU, over its own mean): circular and real. The last channel is the one that varies least.
        maps: The map of one channel of that image at a few offsets, for the figure.
        maps_at_px: Those offsets.
    """

    layer: str
    depth: float
    stride_px: Pair
    channels: int
    size: Pair
    sums_vary: Mapping[str, Estimate]
    equivariance_error: Mapping[str, Estimate]
    map_change: Mapping[str, Estimate]
    pooled_change: Mapping[str, Estimate]
    sharpness: Estimate
    offsets_px: Float[np.ndarray, "offset"] = field(repr=False)
    sums: Mapping[str, Float[np.ndarray, "channel offset"]] = field(repr=False)
    maps: Float[np.ndarray, "place y x"] = field(repr=False)
    maps_at_px: Float[np.ndarray, "place"] = field(repr=False)


@dataclass(frozen=True)
class Spectrum:
    """What a site's response holds above the frequency that its stride can carry.

    Args:
        site: The site.
        stride: Its stride, (y, x).
        aliased: Share of the power of its stride-1 response outside the square |f| < 1 / (2 · stride); the mean
            removed, Hann window.
        aliased_noise: The same where the site is shown white noise instead: what its own weights let through.
        frequency: Distance from frequency 0, in cycles per position.
        power: Density of power by frequency, the mean over the ring: 1 everywhere for white noise.
        power_noise: The same where the site is shown white noise.
        share: Of all frequencies, those in the ring: ``(power * share).sum()`` is 1.
    """

    site: str
    stride: Pair
    aliased: Estimate
    aliased_noise: float
    frequency: Float[np.ndarray, "ring"] = field(repr=False)
    power: Float[np.ndarray, "ring"] = field(repr=False)
    power_noise: Float[np.ndarray, "ring"] = field(repr=False)
    share: Float[np.ndarray, "ring"] = field(repr=False)


@dataclass(frozen=True)
class Sampling:
    """What sampling alone predicts of the answers, and how much of what was measured that is.

    Args:
        how: "dilated": one forward pass with every stride taken out. "phases": the shifted views themselves, where
            something in the net forbids that.
        why_not: What forbids it, or None.
        stride_px: The total stride, (y, x).
        correlation: Of predicted and measured changes of logits from one px to the next, over classes and offsets.
        rms_ratio: RMS of the predicted changes over that of the measured ones.
        sampling_share: The share of the measured changes' power that goes along with the prediction, 0 to 1: the square
            of the correlation. The rest is the border's, and what the resize does.
        flips_predicted: Share of one-px steps at which the predicted answers change their leading class.
        flips_measured: The same as measured.
        harmonics: Power of the logits' dependence on the offset at the frequencies (m, n) / stride, as
            ``harmonics[m, n]``; [0, 0] is 0.
        predicted: Predicted logits of one image's leading classes by offset, for the figure.
        measured: The same as measured.
        offsets_px: Those offsets.
    """

    how: Literal["dilated", "phases"]
    why_not: str | None
    stride_px: Pair
    correlation: Estimate | None
    rms_ratio: Estimate | None
    sampling_share: Estimate | None
    flips_predicted: Estimate
    flips_measured: Estimate
    harmonics: Float[np.ndarray, "m n"] = field(repr=False)
    predicted: Float[np.ndarray, "class offset"] = field(repr=False)
    measured: Float[np.ndarray, "class offset"] = field(repr=False)
    offsets_px: Float[np.ndarray, "offset"] = field(repr=False)


@dataclass(frozen=True)
class Intervention:
    """What became of the answers when some sites were blurred, each paired with the net as it is.

    Args:
        sites: The sites that were blurred.
        flips: Share of one-px steps at which the leading class changes.
        flips_before: The same of the net as it is.
        flips_removed: Before minus after.
        mac: Mean change of the leading class's probability a step.
        mac_removed: Before minus after.
        agreement: Share of views that get the same leading class as from the net as it is.
        accuracy_change: After minus before, where labels are known.
        time_ratio: Time of a forward pass over that of the net as it is, taken in turn.
    """

    sites: tuple[str, ...]
    flips: Estimate
    flips_before: Estimate
    flips_removed: Estimate
    mac: Estimate
    mac_removed: Estimate
    agreement: Estimate
    accuracy_change: Estimate | None
    time_ratio: float


@dataclass(frozen=True)
class Interaction:
    """What blurring two sites together does beyond what each does by itself. Flips removed, as of `Intervention`.

    Args:
        sites: The two.
        first: Removed by blurring the first alone.
        second: By the second alone.
        both: By both together.
        beyond: ``both − first − second``, −2 to 2. Below 0: they remove the same flips. Above: one needs the other.
    """

    sites: tuple[str, str]
    first: Estimate
    second: Estimate
    both: Estimate
    beyond: Estimate


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in words.

    Args:
        site: The site or layer that it is about; None where it is about the whole model.
        cause: What kind of thing it is.
        words: The finding, a sentence or two for a reader who never heard of Nyquist.
        value: Its number.
        low: Of its 95 % interval; None where there is none.
        high: The same.
        unit: Of the number, "%" for a share.
        weight: How much of the changed answers it stands for, 0 to 1: the worst is told first.
        remedy: What to do.
        figure: The figure that shows it: its name in ``figures/``, without ``.png``.
    """

    site: str | None
    cause: Cause
    words: str
    value: float
    low: float | None
    high: float | None
    unit: str
    weight: float
    remedy: str
    figure: str | None


@dataclass(frozen=True)
class Diagnosis:
    """Why a model's answer moves.

    Args:
        spec: The model.
        model: What was opened, as an audit records it.
        images: The images, as an audit records them.
        settings: What was asked for: offsets, seed, layers, ...
        structure: Where it subsamples; None of a model that nobody can look into.
        responses: Layer by layer, in their order.
        spectra: Site by site, in their order.
        sampling: What sampling alone predicts.
        interventions: What blurring each site does; empty if not asked for.
        margins: Of `shiftable.explaining.margins`.
        risk: Of `shiftable.explaining.risk`.
        outside: Of `shiftable.explaining.outside`: what the answers alone tell of the stride.
        findings: Worst first.
        remarks: What a reader must know, a sentence each.
        interactions: What blurring two sites does beyond each by itself; empty if not asked for.
    """

    spec: str
    model: Mapping[str, Any]
    images: Mapping[str, Any]
    settings: Mapping[str, Any]
    structure: Structure | None
    responses: tuple[Response, ...]
    spectra: tuple[Spectrum, ...]
    sampling: Sampling | None
    interventions: tuple[Intervention, ...]
    margins: Any
    risk: Any
    outside: Any
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()
    interactions: tuple[Interaction, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and text."""
        found: dict[str, Any] = plain(self)
        return found


def plain(value: Any) -> Any:
    """Dataclasses, arrays and estimates as JSON has them; what is no number there is None."""
    if hasattr(value, "to_json") and not isinstance(value, Diagnosis):
        return value.to_json()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
