"""What averaging over phases brings, and what it costs: the tables of docs/repair/phase_average.md.

    python scripts/phase_average.py ../shared --images 64                   # answers are kept in out/phase_average
    python scripts/phase_average.py ../shared --models squeezenet1_1 --exact --anchor

Every image is shown under ``crop`` in pairs of views one pixel apart, half of them moved to the right, half down,
always in the same larger views. A model is asked once about every window, and means over windows are told apart in
arithmetic; so no row owes its difference to other views. What was asked already is not asked again.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from crop_selection import MODELS

import shiftable as sh
from shiftable.auditing.intervals import difference, magnitude, rate
from shiftable.auditing.scoring import probabilities_and_evidence
from shiftable.data import read_labels
from shiftable.models.preprocessing import deployed_view
from shiftable.repairing import with_stable_crop
from shiftable.repairing.anchoring import with_anchored_phase
from shiftable.repairing.dense_phases import with_dense_phases
from shiftable.repairing.phase_average import HOME, margin_holding, phase_offsets, with_phase_average
from shiftable.repairing.phase_choice import answers_by_window, choose_phases, one_pixel_steps
from shiftable.repairing.strides import find_stride

ROOM_PX = 32
"""How much larger than the model's the views are: a stride of every model here."""

SHARES = (0.8, 0.95)
"""Of the flips, below the margins of the adaptive averages."""


def main() -> None:
    """Ask, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--walks", type=int, default=2, help="pairs an image along each axis, at random places")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS)[:3])
    parser.add_argument("--phases", type=int, default=4, help="along each axis, at most: a power of 2")
    parser.add_argument("--exact", action="store_true", help="also the last stage made dense, of PyTorch nets")
    parser.add_argument("--anchor", action="store_true", help="also crops that keep the picture's phase")
    options = parser.parse_args()
    Path("out/phase_average").mkdir(parents=True, exist_ok=True)
    for name in options.models:
        model = MODELS[name](options.shared)
        stride = find_stride(model, options.shared / "data/imagenet_samples")
        pairs = 2 * options.walks
        print(f"\n{name}: stride {stride[0]} px, {options.images} images x {pairs} pairs\n", flush=True)
        print("| mean over | windows | P | MAC | accuracy | agreement | P, times | MAC, times | accuracy, points |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        labels = known(options)
        plain: np.ndarray | None = None
        for title, windows, answers in ways(name, model, stride, options):
            plain = answers if plain is None else plain
            print(row(title, windows, answers, plain, model, labels), flush=True)
        print(chosen(name, model, stride, options), flush=True)
        print(costs(model, stride, options), flush=True)


def ways(
    name: str, model: sh.Model, stride: tuple[int, int], options: argparse.Namespace
) -> Iterator[tuple[str, float, np.ndarray]]:
    """(title, windows a view, answers) of every row."""
    offsets, answers = asked(name, model, stride, options)

    def mean(windows: Sequence[tuple[int, int]]) -> np.ndarray:
        return np.asarray(answers[:, :, [offsets.index(each) for each in windows]].mean(axis=2, dtype=np.float64))

    plain = mean([HOME])
    yield "the plain view", 1, plain
    counts = [2**power for power in range(1, options.phases.bit_length())]
    for k in counts:
        yield f"{k} x {k}, {stride[0] // k} px apart", k * k, mean(phase_offsets((k, k), stride))
    for k in counts:
        yield f"{k} x {k}, 1 px apart", k * k, mean(phase_offsets((k, k), (k, k)))
    for step in (1, stride[0] // 2):
        full = mean(phase_offsets((2, 2), (2 * step, 2 * step)))
        for share in SHARES:
            close = below_margin(plain, model, share)
            windows = 1 + 3 * close.mean()
            yield (
                f"2 x 2, {step} px apart, if close ({share:.0%} of flips)",
                windows,
                np.where(close[..., None], full, plain),
            )
    if options.exact and hasattr(model, "net"):
        dense = with_phase_average(with_dense_phases(model), offsets_px=[HOME], room_px=ROOM_PX)
        yield "the last stage, dense", 1, kept(f"{name}-dense", dense, options)[:, :, 0]
    if options.anchor:
        for places in sorted({stride[0], 32}):
            around = with_phase_average(model, offsets_px=[HOME], room_px=ROOM_PX - places)
            anchored = with_anchored_phase(around, stride_px=stride, strides=places // stride[0])
            yield f"crop, {places} places", 1, kept(f"{name}-anchored-{places}", anchored, options)[:, :, 0]
        crop = with_stable_crop(with_phase_average(model, offsets_px=[HOME]), room_px=ROOM_PX)
        yield "crop, 33 places", 1, kept(f"{name}-crop", crop, options)[:, :, 0]


def asked(
    name: str, model: sh.Model, stride: tuple[int, int], options: argparse.Namespace
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The windows of all means, and the answers to them."""
    k = options.phases
    offsets = sorted({*phase_offsets((k, k), stride), *phase_offsets((k, k), (k, k))})
    averaged = with_phase_average(model, offsets_px=offsets, room_px=ROOM_PX)
    return offsets, kept(f"{name}-{k}", averaged, options)


def kept(title: str, averaged: Any, options: argparse.Namespace) -> np.ndarray:
    """The answers to all windows: asked once, in parts of 8 images, and kept."""
    samples = sh.find_samples(options.shared / "data/imagenet_samples", options.images)
    parts = []
    for begin in range(0, options.images, 8):
        path = Path(f"out/phase_average/{title}-{options.walks}-{begin}-{min(begin + 8, options.images)}.npy")
        if not path.exists():
            found = answers_by_window(averaged, samples[begin : begin + 8], walks=options.walks, seed=begin)
            np.save(path, found)
        parts.append(np.load(path))
    return np.concatenate(parts)


def known(options: argparse.Namespace) -> np.ndarray:
    """The class of every image."""
    folder = options.shared / "data/imagenet_samples"
    labels = read_labels(folder / "labels.csv")
    return np.array([labels[each.id] for each in sh.find_samples(folder, options.images)])


def below_margin(plain: np.ndarray, model: sh.Model, share: float) -> np.ndarray:
    """Which views have a margin so small: that of a share of the flips, of the other half of the images."""
    _, evidence = probabilities_and_evidence(
        plain.reshape(-1, plain.shape[-1]), model.scores, getattr(model, "score_step", None)
    )
    second, first = np.partition(evidence, (-2, -1), axis=1)[:, -2:].T
    margins = (first - second).reshape(plain.shape[:2])
    flips, _ = one_pixel_steps(plain, model.scores)
    close = np.zeros(margins.shape, bool)
    for half in (0, 1):
        other = slice(1 - half, None, 2)
        margin = margin_holding(margins[other], np.repeat(flips[other], 2, axis=1), share)
        close[half::2] = margins[half::2] < margin
    return close


def row(title: str, windows: float, answers: np.ndarray, plain: np.ndarray, model: sh.Model, labels: np.ndarray) -> str:
    """A line of the table."""
    both = [figures(each, model, labels) for each in (plain, answers)]
    counts = {name: np.full(len(sums), size) for name, (sums, size) in both[1].items()}
    p, mac = rate(both[1]["P"][0], counts["P"]), magnitude(both[1]["MAC"][0], counts["MAC"])
    right = rate(both[1]["right"][0], counts["right"])
    gain = difference(both[0]["right"][0], counts["right"], both[1]["right"][0], counts["right"])
    same = np.mean(answers.argmax(2) == plain.argmax(2))
    cells = [title, f"{windows:.3g}", *(f"{each.value:.4f} [{each.low:.4f}, {each.high:.4f}]" for each in (p, mac))]
    cells += [f"{right.value:.3f}", f"{same:.3f}", *(times(*(each[name][0] for each in both)) for name in ("P", "MAC"))]
    return f"| {' | '.join(cells)} | {100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] |"


def figures(answers: np.ndarray, model: sh.Model, labels: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """Sums per image, and of how many."""
    flips, changes = one_pixel_steps(answers, model.scores)
    right = answers.argmax(2) == labels[:, None]
    found = {"P": flips, "MAC": changes, "right": right}
    return {name: (each.sum(axis=1).astype(float), float(each.shape[1])) for name, each in found.items()}


def times(before: np.ndarray, after: np.ndarray) -> str:
    """The ratio of two means over the same images, with its paired bootstrap interval."""
    draws = np.random.default_rng(0).multinomial(len(before), np.full(len(before), 1 / len(before)), 10_000)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanpercentile((draws @ after) / (draws @ before), (2.5, 97.5))
        return f"{after.mean() / before.mean():.2f} [{low:.2f}, {high:.2f}]"


def chosen(name: str, model: sh.Model, stride: tuple[int, int], options: argparse.Namespace) -> str:
    """Windows taken by what they bring, told on the other half of the images."""
    offsets, answers = asked(name, model, stride, options)
    lines = ["\n| windows | taken by MAC | P | MAC | taken by flips | P | MAC |", "|---|---|---|---|---|---|---|"]
    by_mac, by_flips = (choose_phases(answers, offsets, model.scores, by=by, most=6) for by in ("mac", "flips"))
    for n in range(len(by_mac.mac)):
        cells = [str(n + 1)]
        for found in (by_mac, by_flips):
            p, mac = found.p_top1_change[n], found.mac[n]
            cells += [str(found.offsets_px[n]), f"{p.value:.4f} [{p.low:.4f}, {p.high:.4f}]", f"{mac.value:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, f"\n{by_mac.chosen_on} images choose, {by_mac.mac[0].images} tell"])


def costs(model: sh.Model, stride: tuple[int, int], options: argparse.Namespace) -> str:
    """A view's time, of 16 photographs at once, against the plain model's."""
    repaired: dict[str, sh.Model] = {
        f"{k} x {k}": with_phase_average(model, phases=k, stride_px=stride) for k in (1, 2)
    }
    if options.exact and hasattr(model, "net"):
        repaired["last stage dense"] = with_dense_phases(model)
    images = [each.read() for each in sh.find_samples(options.shared / "data/imagenet_samples", 16)]
    views = {
        name: np.stack([deployed_view(each, way.preprocessing, way.view_size) for each in images])
        for name, way in repaired.items()
    }
    found: dict[str, list[float]] = {name: [] for name in repaired}
    for _ in range(6):  # in turn, for the machine may be busy
        for name, way in repaired.items():
            begin = time.perf_counter()
            way(views[name])
            found[name].append(time.perf_counter() - begin)
    least = {name: min(each[1:]) for name, each in found.items()}
    return "time: " + ", ".join(f"{name} {each / least['1 x 1']:.2f}" for name, each in least.items())


if __name__ == "__main__":
    main()
