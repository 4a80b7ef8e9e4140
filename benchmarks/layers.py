"""How long layers take that subsample, beside PyTorch's poolings and what timm and kornia have, in both layouts.

    python benchmarks/layers.py [--rounds 5] [--peers FOLDER] [--compiled]

prints tables and writes ``benchmarks/results/layers.json`` (``layers_compiled.json``).

One thread and its own CPU time, so that what else the machine does counts little. All candidates are visited once per
round, in random order; medians over rounds, each divided by that of ``avg_pool2d(2)``. A forward and backward pass is
to the map. float32; batches of 8. kornia is measured where it can be imported, or is in the folder
(``pip install --target FOLDER --no-deps kornia==0.9.0 kornia_rs``). Its border is zeros, and of its maxima there are a
row and a column fewer, so it does a little less.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers import AdaptivePolyphase2d, BlurPool2d, MaxBlurPool2d
from shiftable.models.torchvision_repair import import_torchvision

SHAPES = ((8, 64, 112, 112), (8, 256, 56, 56), (8, 512, 28, 28))
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def every_phase(image: Tensor) -> Tensor:
    """Adaptive polyphase sampling by its definition: all phases made by an index, the strongest of each image kept.

    Chaman & Dokmanić, CVPR 2021, section 4: phases y_ij(n) = x(2n + (i, j)), of which the one of the largest norm.
    """
    images, channels, rows, columns = image.shape
    place = torch.arange(rows * columns, device=image.device).view(rows, columns)
    order = torch.cat([place[y::2, x::2].flatten() for y in (0, 1) for x in (0, 1)])
    every = image.flatten(2).index_select(2, order).view(images, channels, 4, -1).transpose(1, 2)
    strongest = torch.linalg.vector_norm(every.flatten(2), dim=2).argmax(dim=1)
    return every[torch.arange(images), strongest].view(images, channels, rows // 2, columns // 2)


def candidates(channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """By name."""
    import_torchvision()  # which timm needs
    from timm.layers import BlurPool2d as TimmBlurPool2d

    found: dict[str, Callable[[Tensor], Tensor]] = {
        "avg_pool2d(2)": partial(functional.avg_pool2d, kernel_size=2),
        "max_pool2d(3, 2, 1)": partial(functional.max_pool2d, kernel_size=3, stride=2, padding=1),
        "clone": torch.clone,
        "timm BlurPool2d, 3": TimmBlurPool2d(channels, 3),
        "BlurPool2d, 3": BlurPool2d(),
        "BlurPool2d, 3, zero-normalised": BlurPool2d(padding_mode="zero-normalised"),
        "timm BlurPool2d, 5": TimmBlurPool2d(channels, 5),
        "BlurPool2d, 5": BlurPool2d(taps=5),
        "BlurPool2d, 5, zero-normalised": BlurPool2d(taps=5, padding_mode="zero-normalised"),
        "BlurPool2d, kaiser 11": BlurPool2d(filter="kaiser"),
        "MaxBlurPool2d(2)": MaxBlurPool2d(2),
        "max_pool2d(3, 1, 1), timm BlurPool2d": nn.Sequential(nn.MaxPool2d(3, 1, 1), TimmBlurPool2d(channels, 3)),
        "MaxBlurPool2d(3, 2, 1)": MaxBlurPool2d(3, 2, 1),
        "every phase, the strongest kept": every_phase,
        "AdaptivePolyphase2d": AdaptivePolyphase2d(),
    }
    if find_spec("kornia"):
        from kornia.filters import BlurPool2D, MaxBlurPool2D

        found |= {
            "kornia BlurPool2D, 3": BlurPool2D(3),
            "kornia BlurPool2D, 5": BlurPool2D(5),
            "kornia MaxBlurPool2D, 3": MaxBlurPool2D(3),
        }
    return found


COMPARED = (
    ("BlurPool2d, 3", "timm BlurPool2d, 3"),
    ("BlurPool2d, 5", "timm BlurPool2d, 5"),
    ("BlurPool2d, 3, zero-normalised", "kornia BlurPool2D, 3"),
    ("BlurPool2d, 5, zero-normalised", "kornia BlurPool2D, 5"),
    ("MaxBlurPool2d(2)", "kornia MaxBlurPool2D, 3"),
    ("MaxBlurPool2d(3, 2, 1)", "max_pool2d(3, 1, 1), timm BlurPool2d"),
    ("AdaptivePolyphase2d", "every phase, the strongest kept"),
)
"""Ours, and what it is compared with."""


def forward(layer: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """Inference."""
    with torch.no_grad():
        layer(image)


def forward_and_backward(layer: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """As in training."""
    image = image.detach().requires_grad_()
    answer = layer(image)
    torch.autograd.grad(answer, image, torch.ones_like(answer))


PASSES = {"forward": forward, "forward and backward": forward_and_backward}


def measured(rounds: int, compiled: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds: by pass, by layout and shape, by candidate."""
    rng = random.Random(0)
    tables: dict[str, dict[str, dict[str, float]]] = {name: {} for name in PASSES}
    for layout, memory_format in LAYOUTS.items():
        for shape in SHAPES:
            image = torch.randn(shape).contiguous(memory_format=memory_format)
            layers = candidates(shape[1])
            if compiled:
                torch._dynamo.reset()
                layers = {each: torch.compile(layer) for each, layer in layers.items()}
            for name, run in PASSES.items():
                times: dict[str, list[float]] = {each: [] for each in layers}
                for number in range(rounds + 1):
                    for each in rng.sample(list(layers), len(layers)):
                        begin = time.thread_time()
                        run(layers[each], image)
                        if number:  # the first warms up
                            times[each].append(1000 * (time.thread_time() - begin))
                cell = f"{layout} {'x'.join(map(str, shape[1:]))}"
                print(name, cell, flush=True)
                tables[name][cell] = {each: statistics.median(times[each]) for each in layers}
    return tables


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: beside this file")
    parser.add_argument("--peers", type=Path, help="a folder with kornia")
    parser.add_argument("--compiled", action="store_true", help="under torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peers:
        sys.path.append(str(options.peers))
    tables = measured(options.rounds, options.compiled)
    for name, cells in tables.items():
        print(f"\n| {name}: ms (over avg_pool2d) | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}")
        for each in next(iter(cells.values())):
            row = (f"{cell[each]:.1f} ({cell[each] / cell['avg_pool2d(2)']:.2f})" for cell in cells.values())
            print(f"| {each} | {' | '.join(row)} |")
        print(f"\n| {name}: times faster | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}")
        for ours, theirs in COMPARED:
            if theirs not in next(iter(cells.values())):
                continue
            row = (f"{cell[theirs] / cell[ours]:.1f}" for cell in cells.values())
            print(f"| {ours}; than {theirs} | {' | '.join(row)} |")
    setting = {"rounds": options.rounds, "threads": 1, "torch": torch.__version__, "machine": platform.machine()}
    name = "layers_compiled.json" if options.compiled else "layers.json"
    out = options.out or Path(__file__).parent / "results" / name
    out.write_text(json.dumps({"ms": tables, "setting": setting}, indent=1) + "\n")


if __name__ == "__main__":
    main()
