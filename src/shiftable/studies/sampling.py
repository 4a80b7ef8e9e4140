"""The sampling theorem made visible: what a stride does to a response, with a low-pass before it and without."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from shiftable.studies.rows import estimate, those
from shiftable.studies.study import Arm, Figure, Lines, Pictures, Row, Setting, Study, Table, Told

STRIDE = 4
LENGTH = 256
FILTERS = ("none", "box", "triangle", "smooth", "ideal")
"""What comes before the stride: none, or so many boxes of its length in a row; or all below the limit."""
WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of a bump, its standard deviation in positions."""
PLATE_PX = 256
LAST_STRIDE = 16
LAYERS = {"first": (1, 2), "last": (6, LAST_STRIDE)}
"""Of the embedded net: how many of its blocks, and their total stride."""

Signal = Float[np.ndarray, "*axes"]


def _arms(setting: Setting) -> Sequence[Arm]:
    return [
        *({"part": "bump", "filter": name, "axes": axes} for name in FILTERS for axes in (1, 2)),
        *({"part": "fold", "filter": name} for name in ("none", "triangle", "ideal")),
        *({"part": "moire", "filter": name} for name in FILTERS),
        {"part": "convolution"},
    ]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    name = str(arm.get("filter"))
    if arm["part"] == "bump":
        yield from _bumps(name, int(arm["axes"] or 1))
    elif arm["part"] == "fold":
        yield from _fold(name, setting.seed)
    elif arm["part"] == "moire":
        yield _moire(name, setting)
    else:
        yield from _convolution()


def low_passed(signal: Signal, name: str, stride: int = STRIDE) -> Signal:
    """A signal after one of ``FILTERS`` along each of its axes, in a circle."""
    for axis in range(signal.ndim):
        signal = np.fft.ifft(np.fft.fft(signal, axis=axis) * _gain(name, signal.shape[axis], stride, axis, signal.ndim),
                             axis=axis).real  # fmt: skip
    return signal


def _gain(name: str, length: int, stride: int, axis: int, axes: int) -> Signal:
    """A filter's gain at each frequency of a circle, to be multiplied along one of so many axes."""
    frequency = np.fft.fftfreq(length)
    if name == "ideal":
        gain = (np.abs(frequency) < 0.5 / stride - 1e-12).astype(float)
    else:
        box = np.ones(stride) / stride
        taps = np.ones(1)
        for _ in range(FILTERS.index(name)):
            taps = np.convolve(taps, box)
        middle = (len(taps) - 1) / 2
        gain = np.real(np.exp(-2j * np.pi * np.outer(frequency, np.arange(len(taps)) - middle)) @ taps)
    shape = [1] * axes
    shape[axis] = length
    return np.asarray(gain.reshape(shape))


def _bumps(name: str, axes: int) -> Iterable[Row]:
    """A bump that moves by one position: how much the sum of every stride-th position varies."""
    length = LENGTH if axes == 1 else 64
    places = (np.arange(length) + length // 2) % length - length // 2
    for width in WIDTHS:
        line = np.exp(-0.5 * (places / width) ** 2)
        bump = line if axes == 1 else line[:, None] * line
        found = low_passed(bump, name)
        sums = [np.roll(found, d, axis=-1)[(slice(None, None, STRIDE),) * axes].sum() for d in range(STRIDE)]
        varies = float(np.std(sums) / np.mean(np.abs(sums)))
        half = float(np.max(np.abs(np.array(sums) - np.mean(sums))) / np.abs(np.mean(sums)))
        row: dict[str, float] = {"width": width, "varies": varies, "largest": half}
        if name == "none" and axes == 1:  # Poisson's sum: the harmonics of the stride
            row["foretold"] = float(2 * sum(np.exp(-2 * (np.pi * width * k / STRIDE) ** 2) for k in range(1, 9)))
        yield row


def _fold(name: str, seed: int) -> Iterable[Row]:
    """Power by frequency before the stride, and after it, where what lay beyond the limit is folded back."""
    rng = np.random.default_rng(seed)
    before, after = np.zeros(LENGTH // 2), np.zeros(LENGTH // STRIDE // 2)
    slope = 1 / np.maximum(np.abs(np.fft.fftfreq(LENGTH)), 1 / LENGTH) ** 0.5
    for _ in range(400):
        signal = np.fft.ifft(np.fft.fft(rng.standard_normal(LENGTH)) * slope).real
        kept = low_passed(signal, name)
        before += np.abs(np.fft.fft(kept)[: LENGTH // 2]) ** 2 / LENGTH
        after += np.abs(np.fft.fft(kept[::STRIDE])[: LENGTH // STRIDE // 2]) ** 2 / (LENGTH / STRIDE)
    top = before[1:].max()
    for at in range(1, LENGTH // 2):
        yield {"side": "before the stride", "frequency": at / LENGTH, "power": float(before[at] / top)}
    for at in range(1, LENGTH // STRIDE // 2):
        yield {"side": "after the stride", "frequency": at / LENGTH, "power": float(after[at] / top)}


def _moire(name: str, setting: Setting) -> Row:
    """A zone plate, whose frequency grows outwards, kept at every fourth position."""
    middle = (np.arange(PLATE_PX) - PLATE_PX / 2 + 0.5) / PLATE_PX
    plate = 0.5 + 0.5 * np.cos(np.pi * PLATE_PX / 2 * (middle[:, None] ** 2 + middle**2) * 2)
    kept = low_passed(plate, name)[::STRIDE, ::STRIDE]
    spectrum = np.abs(np.fft.fft2(low_passed(plate, name) - plate.mean())) ** 2
    frequency = np.abs(np.fft.fftfreq(PLATE_PX))
    beyond = (frequency[:, None] >= 0.5 / STRIDE) | (frequency >= 0.5 / STRIDE)
    for file, picture in ((f"moire-{name}.png", np.kron(kept, np.ones((STRIDE, STRIDE)))), ("plate.png", plate)):
        Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)).save(
            setting.folder / "pictures" / file
        )
    return {"aliased": float(spectrum[beyond].sum() / (np.abs(np.fft.fft2(plate - plate.mean())) ** 2).sum())}


def _convolution() -> Iterable[Row]:
    """The embedded net on a circle: two features of a layer, summed over its positions, as the picture moves."""
    import torch

    from shiftable.data.shapes import draw_scene, render
    from shiftable.models import demo, open_model
    from shiftable.surgery.dilating import circular

    opened: Any = open_model("demo", fast=False)
    still = opened.inputs(render(draw_scene(3, label=1, size=demo.VIEW_SIZE))[None])
    moved = torch.cat([still.roll(offset, dims=-1) for offset in range(LAST_STRIDE + 1)]).double()
    for layer, (blocks, stride) in LAYERS.items():
        net = opened.net[:blocks].double()
        with torch.no_grad(), circular(net):
            sums = net(moved).sum((2, 3)).numpy()
        f, g = sums[:, np.argsort(-sums.mean(0))[:2]].T
        for offset, (one, other) in enumerate(zip(f, g, strict=True)):
            total = one + 2 * other
            yield {"layer": layer, "stride": stride, "offset": offset, "f": one, "g": other, "total": total,
                   "change": abs(total / (f[0] + 2 * g[0]) - 1)}  # fmt: skip


def _tell(rows: Sequence[Row]) -> Told:
    bumps: Arm = {"part": "bump", "axes": 1}
    plain, smooth = (
        estimate(those(rows, {**bumps, "filter": name, "width": 1.0}), "varies").value for name in ("none", "triangle")
    )
    aliased = {name: estimate(those(rows, {"part": "moire", "filter": name}), "aliased").value for name in FILTERS}
    found = those(rows, {"part": "convolution", "layer": "last"})
    at_stride = [float(row["change"] or 0) for row in found if int(row["offset"] or 0) % LAST_STRIDE == 0]
    between = [float(row["change"] or 0) for row in found if int(row["offset"] or 0) % LAST_STRIDE]
    apart = [
        abs(float(row["largest"] or 0) - float(row["foretold"] or 0))
        for row in those(rows, {**bumps, "filter": "none"})
        if float(row["width"] or 0) >= 1
    ]
    figures = (
        Figure("bumps", "How much a sum over the kept positions depends on where the picture stands", (
            Lines("1-D", "width", "varies", "filter", bumps, "bump's width, in positions", "variation of the sum"),
            Lines("2-D", "width", "varies", "filter", {"part": "bump", "axes": 2}, "bump's width, in positions",
                  "variation of the sum"),
        ), caption="Standard deviation of the sum over its mean, over all places of a Gaussian bump at stride 4."),
        Figure("folding", "Spectra: what lies beyond the limit is folded back", tuple(
            Lines(f"low-pass: {name}", "frequency", "power", "side", {"part": "fold", "filter": name},
                  "cycles per position", "power", log_y=True) for name in ("none", "triangle", "ideal")
        ), 3, "Noise whose power falls with frequency, before a stride of 4 and after it; the limit is 0.125."),
        Figure("moire", "The Moiré pattern", (Pictures(
            "The plate, and every fourth position of it",
            ("plate.png", *(f"moire-{name}.png" for name in FILTERS)),
            ("the plate", *FILTERS),
        ),), 1, "The plate's frequency grows outwards. Without a low-pass, rings appear that it does not have."),
        Figure("phase", "f + 2g: two features of the embedded net, summed over the map", (
            Lines("first layer, stride 2", "offset", "total", None, {"part": "convolution", "layer": "first"},
                  "picture moved by, px", "f + 2g", from_zero=False),
            Lines("last map, stride 16", "offset", "total", None, {"part": "convolution", "layer": "last"},
                  "picture moved by, px", "f + 2g", from_zero=False),
        ), caption="On a circle. The sum is the same again exactly at multiples of the stride, and nowhere else."),
    )  # fmt: skip
    return Told(
        f"A sum over every fourth position of a bump one position wide varies by {plain:.1%} with its place; after a "
        f"triangular low-pass by {smooth:.2%}.",
        (
            f"In the embedded net, f + 2g over the last map differs by up to {max(between):.0%} between places, and by "
            f"{max(at_stride):.0e} of itself at multiples of the total stride of {LAST_STRIDE} px.",
            f"Poisson's sum foretells how far it varies from the harmonics of the stride alone, 2 Σ exp(−2π²σ²k²/s²), "
            f"to {max(apart):.0e}.",
            "Aliased power of the plate, as a share of all: "
            + ", ".join(f"{name} {share:.1%}" for name, share in aliased.items())
            + ". A low-pass lessens it; only the ideal one ends it, and rings at edges.",
            "A box as long as the stride already makes the sum of a linear response exactly constant: its gain is 0 at "
            "every multiple of 1/s. It still lets half of what lies near the limit through, so single positions change "
            "(the Moiré pattern), and what comes after a ReLU is no longer a sum.",
            "Four things that are often one word. Blurring (a low-pass) takes away high frequencies and keeps every "
            "position. Subsampling keeps every s-th position and takes nothing away first. Downsampling is blurring, "
            "then subsampling. Pooling summarises a window: an average is a (poor) blur, a maximum is none, and makes "
            "new high frequencies; with a stride either subsamples as well.",
            "For a sum to stay the same it is enough that the response has nothing at multiples of 1/s; that all of "
            "the response can be interpolated (the paper's “shiftable”) needs half of that, Nyquist's limit.",
        ),
        figures,
        (Table("Aliased power and variation", ("filter",), {"aliased": "aliased share of the plate's power"},
               {"part": "moire"}, ("aliased",)),),
    )  # fmt: skip


SAMPLING = Study(
    "sampling",
    "The theorem made visible",
    "What does a stride do to a response, and what does a low-pass before it change?",
    (
        "A Gaussian bump, in 1-D and in 2-D, moves by one position at a time; every fourth position is kept and "
        "summed, as global pooling does. The same after each of several low-pass filters, all in a circle.",
        "Noise and a zone plate are subsampled by 4 in the same ways, and their spectra compared.",
        "The embedded net, without edges, is shown one picture at every place; two features of its first layer and of "
        "its last map are summed over their positions.",
    ),
    "Azulay & Weiss 2019, section 3: global sums of a response are shift-invariant if it is “shiftable”, that is, if "
    "it can be interpolated from its samples; strides without blurring break that.",
    _arms,
    _measure,
    _tell,
    ("Filters of finite length stand for their kind at stride 4 only.",),
)
