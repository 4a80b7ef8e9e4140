"""Trains the two nets of the contrast "shallow with poolings, deep with strides" alike on CIFAR-10.

    python scripts/train_contrast.py ../shared/data/cifar10      # two nets, 60 and 90 ms a step on one idle core

Both see the same pictures in the same order, mirrored at random and never moved: random crops would teach what is to be
measured. For every arm and seed ``--out`` (out/contrast) gets the weights, ``vgg_like-0.safetensors``, and a record,
``vgg_like-0.json``; what is there already is not made again, so ``--seeds 0 1 2`` goes on where it was stopped. Beside
them lie ``cifar10.json``, the preprocessing, and ``classes.txt``, for the commands:

    shiftable explain shiftable.studies.nets:vgg_like ../shared/data/cifar10/test.parquet --images 200 \\
        --weights out/contrast/vgg_like-0.safetensors --preprocessing out/contrast/cifar10.json \\
        --class-names out/contrast/classes.txt --out out/contrast/explain-vgg_like-0

and the same for ``resnet_like``. The test pictures are given as the parquet file; they bring their labels. ``--images``
takes the first so many: the file interleaves the classes, so any multiple of 10 is balanced.

The view is the whole picture, so ``shiftable audit`` has two ways of moving it:

    --motion roll --steps 32     in a circle; all 32 places there are (33, the usual number, is one too many)
    --motion crop --steps 9      over the picture enlarged from 32 to 40 px, so that objects are 1.25 times as large;
                                 the usual 33 steps need 64 px and twice as large objects, which the nets know less well
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shiftable.studies.cifar10 import CLASSES, PREPROCESSING, VIEW_SIZE, normalised, read_split
from shiftable.studies.nets import resnet_like, vgg_like
from shiftable.training import shuffled_batches, train

ARMS: Mapping[str, Callable[..., nn.Module]] = {"vgg_like": vgg_like, "resnet_like": resnet_like}
BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 5e-3, 0.02

Split = tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with train.parquet and test.parquet")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="(default: both)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="(default: 0)")
    parser.add_argument("--steps", type=int, default=4000, help="of 128 pictures each (default: %(default)s)")
    parser.add_argument("--width", type=int, default=16, help="of the first stage (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU cores to use (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/contrast"), help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "cifar10.json", {"view_size": list(VIEW_SIZE), **PREPROCESSING.to_json()})
    (options.out / "classes.txt").write_text("\n".join(CLASSES) + "\n")

    wanted = [(arm, seed) for seed in options.seeds for arm in options.arms]
    missing = [(arm, seed) for arm, seed in wanted if not (options.out / f"{arm}-{seed}.json").exists()]
    if missing:
        splits = read_split(options.data, "train"), read_split(options.data, "test")
    for arm, seed in missing:
        make(options.out / f"{arm}-{seed}", arm, seed, options.width, options.steps, *splits)
    for arm, seed in wanted:
        record = json.loads((options.out / f"{arm}-{seed}.json").read_text())
        made = f"{record['steps']} steps at width {record['width']} in {record['seconds']:.0f} s"
        print(f"{arm} {seed}: accuracy {record['accuracy']:.4f}, {record['multiply_adds'] / 1e6:.1f} MMAC, {made}")


def make(place: Path, arm: str, seed: int, width: int, steps: int, learned: Split, held_out: Split) -> None:
    """Train one net and write its weights, then its record: where there is a record, the weights are whole."""
    start = time.perf_counter()
    net = ARMS[arm](width=width, classes=len(CLASSES), seed=seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = shuffled_batches(*learned, BATCH_SIZE, seed)
    # half the time; the weights stay in 32 bits, and their copies in 16 must not be kept from step to step
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        history = train(
            net,
            mirrored(batches, seed),
            steps,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            seed=seed,
            progress=report(place.name, steps),
        )
    seconds = time.perf_counter() - start
    record: dict[str, Any] = {
        "arm": arm,
        "seed": seed,
        "accuracy": accuracy(net.eval(), *held_out),
        "images": len(held_out[0]),
        "last_loss": sum(history[-100:]) / len(history[-100:]),
        "seconds": round(seconds, 1),
        "multiply_adds": multiply_adds(net),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "width": width,
        "steps": steps,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "precision": "bf16 autocast",
        "threads": torch.get_num_threads(),
        "command": shlex.join(["python", *sys.argv]),
        "versions": {name: version(name) for name in ("shiftable", "torch", "numpy")},
    }
    weights = place.with_suffix(".safetensors")
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, weights, {"arm": arm})
    weights.chmod(0o644)  # safetensors lets nobody else read it
    write_json(place.with_suffix(".json"), record)


def mirrored(batches: Iterator[Split], seed: int) -> Iterator[Split]:
    """The batches as a net takes them, a random half of the pictures mirrored left to right."""
    generator = torch.Generator().manual_seed(seed)
    for views, labels in batches:
        turned = torch.rand(len(views), 1, 1, 1, generator=generator) < 0.5
        yield normalised(torch.where(turned, views.flip(2), views)), labels


@torch.inference_mode()
def accuracy(net: nn.Module, views: Tensor, labels: Tensor) -> float:
    """The share of right answers, in 32 bits."""
    answers = torch.cat([net(normalised(part)).argmax(1) for part in torch.split(views, 500)])
    return (answers == labels).double().mean().item()


@torch.inference_mode()
def multiply_adds(net: nn.Module) -> int:
    """Of convolutions and linear layers, for one view."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, *VIEW_SIZE))
    return int(counter.get_total_flops()) // 2


def report(name: str, steps: int, every: int = 200) -> Callable[[int, float], None]:
    def show(step: int, loss: float) -> None:
        if step % every == 0 or step == steps:
            print(f"{name}: step {step} of {steps}, loss {loss:.3f}", file=sys.stderr, flush=True)

    return show


def write_json(path: Path, content: object) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
