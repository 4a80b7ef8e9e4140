"""What an audit costs beside the bare forward passes of the same views, motion by motion.

    python benchmarks/motion_speed.py ../shared   # prints tables, writes benchmarks/results/motion_speed.json

One process, the same threads, sweeps of 33. Audit and bare forward take turns; their ratio is taken within a round, and
the median over rounds is given with the smallest and the largest. "Bare" is the net's own forward on the same
batches, already normalised and in its layout; control views and the padding of the last batch are in both. "Views" is
what making a view costs by itself, in core-milliseconds: the image's own work (its resize, its phases) is shared among
the views of its sweep, decoding is not in it. "Floor" is the time that the interpolation's floor takes, measured once
an audit, however many images there are: ``over_bare`` holds it, ``less_floor_over_bare`` is without it, as in an audit
of very many images, and ``…_cores`` the same in the time of all cores, which neighbours on the machine disturb less.
Every entry of the results has its own setting, for ``--motions`` measures some alone. With the
shared folder, weights and images are the real ones; without,
weights are random and images are procedural JPEGs of 500 × 375 px.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from audit_speed import BATCH, costs, spread, write_images
from backend_speed import opened

import shiftable as sh
from shiftable.auditing import Show, show_again
from shiftable.auditing.motions.floors import interpolation_floor
from shiftable.data import Box, list_samples
from shiftable.engine import keep_freed_memory

MOTIONS: dict[str, dict[str, Any]] = {
    "crop": {"motion": "crop"},
    "camera": {"motion": "camera"},
    "keep-box": {"motion": "keep-box"},
    "canvas, black": {"motion": "canvas"},
    "roll": {"motion": "roll"},
    "subpixel on crop": {"motion": "subpixel"},
    "subpixel on roll": {"motion": "subpixel", "on": "roll"},
    "scale on crop": {"motion": "scale"},
    "scale on canvas": {"motion": "scale", "on": "canvas"},
    "rotate": {"motion": "rotate"},
}
RANDOM = {"MobileNetV2": "timm/mobilenetv2_100", "SqueezeNet 1.1": "torchvision/squeezenet1_1"}


def open_net(name: str, shared: Path | None) -> Any:
    """A model with its real weights, or with random ones where there are none."""
    if shared:
        return opened(shared, name)
    return sh.open_model(
        RANDOM[name], model_args={"pretrained": False}, preprocessing={"resampler": "bilinear"}, device="cpu"
    )


def boxed(samples: Sequence[sh.Sample]) -> list[sh.Sample]:
    """The samples, each with a box in its middle."""
    found = []
    for sample in samples:
        height, width = sample.read().shape[:2]
        box = Box(0.45 * width, 0.45 * height, 0.55 * width, 0.55 * height)
        found.append(replace(sample, boxes=(box,)))
    return found


def show_views(show: Show, samples: Sequence[sh.Sample]) -> list[np.ndarray]:
    """All views of an audit."""
    return [view for number, sample in enumerate(samples) for view in show(number, sample).views]


def view_milliseconds(show: Show, samples: Sequence[sh.Sample]) -> float:
    """What a view of the motion costs, without controls and decoding, on one core."""
    bare = replace(show, controls=False)
    decoded = [replace(sample, read=lambda pixels=sample.read(): pixels) for sample in samples]  # type: ignore[misc]
    count, begin = 0, time.process_time()
    for number, sample in enumerate(decoded):
        count += sum(len(np.ascontiguousarray(view)) > 0 for view in bare(number, sample).views)
    return 1000 * (time.process_time() - begin) / count


def measure(
    model: Any, samples: Sequence[sh.Sample], options: dict[str, Any], rounds: int, out: Path
) -> dict[str, Any]:
    """One model and motion: median, smallest and largest ratio; and what a view costs."""

    def audit() -> sh.Audit:
        return sh.audit(model, samples, out=out, overwrite=True, walk="sweep", **options)

    show = show_again(audit())
    views = show_views(show, samples)
    views += views[: -len(views) % BATCH]
    batches = [model.inputs(np.stack(views[at : at + BATCH])) for at in range(0, len(views), BATCH)]

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.net(batch)

    def floor() -> None:
        interpolation_floor(show.motion, model.preprocessing, model.view_size, seed=show.seed)

    bare()
    timings = []
    for _ in range(rounds):
        (alone, cores), (whole, all_cores), (once, core) = costs(bare), costs(audit), costs(floor)
        less = (whole - once) / alone, (all_cores - core) / cores
        timings.append((whole / alone, *less, len(views) / whole, once))
    names = "over_bare", "less_floor_over_bare", "less_floor_over_bare_cores", "views_per_second", "floor_s"
    found = {name: spread(column) for name, column in zip(names, zip(*timings, strict=True), strict=True)}
    return {**found, "view_core_ms": spread([view_milliseconds(show, samples) for _ in range(rounds)])}


def main() -> None:
    """Measure all, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, nargs="?", help="the folder of real models and images")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "motion_speed.json")
    parser.add_argument("--motions", nargs="+", choices=list(MOTIONS), default=list(MOTIONS))
    options = parser.parse_args()
    keep_freed_memory()
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    setting = {
        "threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(),
        "images": options.images, "rounds": options.rounds, "real": options.shared is not None,
    }  # fmt: skip
    columns = [
        "model",
        "motion",
        "audit / bare forward",
        "less the floor",
        "in core time",
        "views/s",
        "floor, s",
        "a view, core-ms",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        if options.shared:
            folder = options.shared / "data" / "imagenet_samples"
        else:
            folder.mkdir()
            write_images(folder, options.images)
        samples = boxed(list_samples(folder)[: options.images])
        for name in RANDOM:
            model = open_net(name, options.shared)
            for motion in options.motions:
                found = measure(model, samples, MOTIONS[motion], options.rounds, Path(scratch, "audit"))
                results[f"{name}, {motion}"] = {**found, "setting": setting}
                cells = [f"{middle:.3g} [{low:.3g}, {high:.3g}]" for middle, low, high in found.values()]
                print(f"| {name} | {motion} | {' | '.join(cells)} |", flush=True)
                options.out.parent.mkdir(exist_ok=True)
                options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
