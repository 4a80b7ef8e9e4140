"""What an audit costs beside the bare forward passes, and beside the loop that public scripts use.

    python benchmarks/audit_speed.py            # prints a table, writes benchmarks/results/audit_speed.json

One process, the same threads. The candidates take turns; the ratio of every round is taken within the round, and the
median over rounds is given with the smallest and the largest. Images are 500 × 375 JPEGs, weights random (speed does
not depend on them). "Bare" is the net's own forward on the same batches, already normalised and in its layout;
control views and the padding of the last batch are in both. The public loop decodes the JPEG for every
shift, and runs the net eager, contiguous and unfolded, in batches of 32. The process keeps freed memory, as the command
line does, which speeds up all three.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import shiftable as sh
from shiftable.auditing import show_again
from shiftable.data import list_samples
from shiftable.data.shapes import draw_scene, render
from shiftable.engine import keep_freed_memory
from shiftable.models.torchvision_repair import import_torchvision

MODELS = {
    "SqueezeNet 1.1": "torchvision/squeezenet1_1",
    "MobileNetV2": "timm/mobilenetv2_100",
    "ResNet-18": "timm/resnet18",
}
WALKS: dict[str, dict[str, Any]] = {"sweep of 33": {"walk": "sweep"}, "four pairs": {"walk": "pairs", "walks": 4}}
BATCH = 32


def write_images(folder: Path, count: int) -> None:
    """Photograph-like JPEGs of 500 × 375 px."""
    for number in range(count):
        scene = draw_scene(number, size=(375, 500))
        Image.fromarray(render(scene, (375, 500))).save(folder / f"{number:05}.jpg", quality=90)


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def costs(run: Callable[[], object]) -> tuple[float, float]:
    """How long one run takes: by the clock, and in the time of all cores together, in s."""
    clock, cores = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - cores


def public_loop(net: torch.nn.Module, folder: Path, shifts: int) -> None:
    """Decode, resize and crop again for every shift; eager, contiguous, batches of 32."""
    transforms = import_torchvision().transforms
    finish = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    resize, waiting = transforms.Resize(256), []
    with torch.no_grad():
        for path in sorted(folder.iterdir()):
            for shift in range(shifts):
                image = resize(Image.open(path).convert("RGB"))
                left = (image.width - 224) // 2
                waiting.append(finish(image.crop((left, shift, left + 224, shift + 224))))
                if len(waiting) == BATCH:
                    net(torch.stack(waiting)).softmax(1).max(1)
                    waiting = []
        if waiting:
            net(torch.stack(waiting)).softmax(1).max(1)


def measure(spec: str, options: dict[str, Any], folder: Path, rounds: int, scratch: Path) -> dict[str, Any]:
    """One model and walk: median, smallest and largest ratios."""
    model: Any = sh.open_model(
        spec, model_args={"pretrained": False}, preprocessing={"resampler": "bilinear"}, device="cpu"
    )
    plain: Any = sh.open_model(spec, model_args={"pretrained": False}, device="cpu", fast=False)

    def audit() -> sh.Audit:
        return sh.audit(model, folder, out=scratch, overwrite=True, **options)

    first = audit()
    images = list(list_samples(folder))
    show = show_again(first)
    views = [view for number, sample in enumerate(images) for view in show(number, sample).views]
    answers = len(views)
    views += views[: -len(views) % BATCH]
    batches = [model.inputs(np.stack(views[at : at + BATCH])) for at in range(0, len(views), BATCH)]
    moved = show.walk.views / show.views_per_image  # the share of views that are not controls

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.net(batch)

    shifts = 3  # the public loop takes as long per shift whatever their number
    timings = []
    for _ in range(rounds):
        alone, whole = seconds(bare), seconds(audit)
        public = seconds(lambda: public_loop(plain.net, folder, shifts))
        faster = (answers / whole) / (len(images) * shifts / public)
        timings.append((whole / alone, faster, faster * moved, answers / whole))
    names = ("over_bare", "over_public", "over_public_without_controls", "answers_per_second")
    return {name: spread(column) for name, column in zip(names, zip(*timings, strict=True), strict=True)}


def spread(values: Sequence[float]) -> list[float]:
    """Median, smallest and largest."""
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    """Measure all, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    keep_freed_memory()
    columns = [
        "model, walk",
        "audit / bare forward",
        "answers/s: audit / public loop",
        "controls not counted",
        "answers/s",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        write_images(folder, options.images)
        for name, spec in MODELS.items():
            for walk, arguments in WALKS.items():
                found = measure(spec, arguments, folder, options.rounds, Path(scratch, "audit"))
                results[f"{name}, {walk}"] = found
                cells = [f"{m:.3g} [{low:.3g}, {high:.3g}]" for m, low, high in found.values()]
                print(f"| {name}, {walk} | {' | '.join(cells)} |", flush=True)
    results["setting"] = {
        "threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(), **vars(options),
    }  # fmt: skip
    target = Path(__file__).parent / "results" / "audit_speed.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
