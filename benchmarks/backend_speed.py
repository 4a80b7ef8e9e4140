"""What an audit costs beside the bare runs of onnxruntime and LiteRT, and what these save beside PyTorch.

    python benchmarks/backend_speed.py ../shared    # prints tables, writes benchmarks/results/backend_speed.json

One process, all cores, real weights and the first of the shared images. The candidates take turns; every ratio is taken
within a round; the median over rounds is given with the smallest and the largest. "Bare" is the runtime alone on the
same views, already the numbers it is fed; control views are in both. The public loop is that of audit_speed.py: PyTorch
eager and contiguous in fp32, the JPEG decoded for every shift, in a process of
its own with nothing changed. "Same pairs" are the neighbouring views that get
the same two classes as from PyTorch in fp32.
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from audit_speed import BATCH, WALKS, public_loop, seconds, spread

import shiftable as sh
from shiftable.auditing import show_again
from shiftable.engine import keep_freed_memory

NETS: dict[str, dict[str, Any]] = {
    "SqueezeNet 1.1": {"model": "torchvision/squeezenet1_1", "weights": "squeezenet1_1.safetensors"},
    "MobileNetV2": {
        "model": "timm/mobilenetv2_100",
        "weights": "mobilenetv2_100.safetensors",
        "model_args": {"pad_type": "same"},
        "preprocessing": {"resampler": "bilinear"},
    },
}
TFLITE = {
    "MobileNetV2 1.0 224, 8 bits": "mobilenet_v2_1.0_224_quant.tflite",
    "MobileNetV1 0.75 192, 8 bits": "mobilenet_v1_0.75_192_quant.tflite",
    "MobileNetV1 0.25 128, 8 bits": "mobilenet_v1_0.25_128_quant.tflite",
}


def opened(shared: Path, name: str, **how: Any) -> Any:
    """One of ``NETS``, with its real weights."""
    given = dict(NETS[name])
    weights = shared / "models" / given.pop("weights")
    return sh.open_model(given.pop("model"), weights=weights, device="cpu", **given, **how)


def bare_run(model: Any, views: Sequence[np.ndarray]) -> Callable[[], None]:
    """The runtime alone, on numbers that are ready."""
    batches = [model.inputs(np.stack(views[at : at + BATCH])) for at in range(0, len(views), BATCH)]

    def run() -> None:
        for batch in batches:
            model.runner(batch)

    return run


def shown(audit: sh.Audit, samples: Sequence[sh.Sample]) -> list[np.ndarray]:
    """All views of an audit, filled up to whole batches as it does."""
    show = show_again(audit)
    views = [view for number, sample in enumerate(samples) for view in show(number, sample).views]
    return views + views[: -len(views) % BATCH]


def over_bare(model: Any, samples: Sequence[sh.Sample], walk: dict[str, Any], rounds: int, out: Path) -> list[float]:
    """How long an audit takes, the bare runs being 1: median, smallest, largest."""
    run = bare_run(model, shown(sh.audit(model, samples, out=out, overwrite=True, **walk), samples))
    ratios = []
    for _ in range(rounds):
        alone = seconds(run)
        ratios.append(seconds(lambda: sh.audit(model, samples, out=out, overwrite=True, **walk)) / alone)
    return spread(ratios)


def public_seconds(shared: Path, name: str, folder: Path, shifts: int) -> float:
    """How long the public loop takes in this process, which is one of its own: nothing is done to its allocator."""
    net = NET_OF_THE_PROCESS.get(name)
    if net is None:
        net = NET_OF_THE_PROCESS[name] = opened(shared, name, fast=False).net
        public_loop(net, folder, 1)  # the first run loads and warms up
    return seconds(lambda: public_loop(net, folder, shifts))


NET_OF_THE_PROCESS: dict[str, Any] = {}


def against_public(
    model: Any, public: Callable[[int], float], samples: Sequence[sh.Sample], images: int, walk: dict[str, Any],
    rounds: int, out: Path,
) -> list[float]:  # fmt: skip
    """How many times as many answers a second as the public loop's; control views are not counted."""
    shifts, ratios = 3, []
    for _ in range(rounds):
        per_second = images * shifts / public(shifts)
        whole = seconds(lambda: sh.audit(model, samples, out=out, overwrite=True, **walk))
        moved = len(samples) * show_again(sh.read_audit(out)).walk.views
        ratios.append(moved / whole / per_second)
    return spread(ratios)


def faster(
    model: Any, than: Any, samples: Sequence[sh.Sample], walk: dict[str, Any], rounds: int, out: Path
) -> list[float]:
    """How many times as fast one model is audited as another."""
    ratios = []
    for _ in range(rounds):
        slow = seconds(lambda: sh.audit(than, samples, out=out, overwrite=True, **walk))
        ratios.append(slow / seconds(lambda: sh.audit(model, samples, out=out, overwrite=True, **walk)))
    return spread(ratios)


def same_pairs(model: Any, other: Any, samples: Sequence[sh.Sample], walk: dict[str, Any], scratch: Path) -> float:
    """The share of adjacent pairs that two models answer with the same two classes."""
    answers = []
    for number, each in enumerate((model, other)):
        out = scratch / f"flips-{number}"
        sh.audit(each, samples, out=out, overwrite=True, **walk)
        parts = [part.of(None) for part in sh.read_parts(out)]
        answers.append(
            np.concatenate(
                [np.stack([part["top1"][part.moved - 1], part["top1"][part.moved]]) for part in parts], axis=1
            )
        )
    return float((answers[0] == answers[1]).all(axis=0).mean())


def main() -> None:
    """Measure all, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    everything = sh.find_samples(options.shared / "data/imagenet_samples", 4 * options.images)
    few = everything[: options.images]
    results: dict[str, Any] = {}

    def note(name: str, **found: Any) -> None:
        results[name] = found
        print(name, json.dumps(found), flush=True)

    alone = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with alone as process, TemporaryDirectory() as name:
        scratch = Path(name)
        folder = scratch / "images"
        folder.mkdir()
        for sample in everything[:12]:
            (folder / Path(sample.id).name).symlink_to((options.shared / "data/imagenet_samples" / sample.id).resolve())
        for net in NETS:
            exact = opened(options.shared, net)
            onnx = opened(options.shared, net, runtime="onnx")

            def public(shifts: int, net: str = net) -> float:
                return process.submit(public_seconds, options.shared.resolve(), net, folder, shifts).result()

            low = opened(options.shared, net, precision="bf16")
            for walk, asked in WALKS.items():
                arguments = (few, asked, options.rounds, scratch / "audit")
                note(
                    f"{net}, onnxruntime, {walk}",
                    over_bare=over_bare(onnx, *arguments),
                    over_public=against_public(
                        onnx, public, few, len(list(folder.iterdir())), asked, options.rounds, scratch / "audit"
                    ),
                    same_pairs=same_pairs(exact, onnx, few, asked, scratch),
                )
            many, sweep = everything, WALKS["sweep of 33"]
            note(
                f"{net}, PyTorch bf16, sweep of 33, {len(many)} images",
                over_fp32=faster(low, exact, many, sweep, options.rounds, scratch / "audit"),
                same_pairs=same_pairs(exact, low, many, sweep, scratch),
                recheck=json.loads((scratch / "flips-1" / "run.json").read_text())["recheck"],
            )
        for model, file in TFLITE.items():
            lite = sh.open_model(str(options.shared / "models" / file), class_offset=1)
            for walk, asked in WALKS.items():
                note(f"{model}, {walk}", over_bare=over_bare(lite, few, asked, options.rounds, scratch / "audit"))
    results["setting"] = {
        "threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(),
        "images": options.images, "rounds": options.rounds,
    }  # fmt: skip
    target = Path(__file__).parent / "results" / "backend_speed.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
