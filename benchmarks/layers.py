"""How long layers take that subsample, beside PyTorch's own poolings and timm's blur, in both layouts.

    python benchmarks/layers.py [--rounds 5]     # prints tables, writes benchmarks/results/layers.json

One thread and its own CPU time, so that what else the machine does counts little. All candidates are visited once per
round, in random order; medians over rounds, each divided by that of ``avg_pool2d(2)``. A forward and backward pass is
to the map. Eager; float32; batches of 8.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers import AdaptivePolyphase2d, BlurPool2d, MaxBlurPool2d
from shiftable.models.torchvision_repair import import_torchvision

SHAPES = ((8, 64, 112, 112), (8, 256, 56, 56), (8, 512, 28, 28))
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def every_phase(image: Tensor) -> Tensor:
    """Adaptive polyphase sampling by its definition: all phases made, the strongest of each image kept."""
    every = torch.stack([image[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)], dim=1)
    strongest = torch.linalg.vector_norm(every, dim=(2, 3, 4)).argmax(dim=1)
    return every[torch.arange(len(image)), strongest]


def candidates(channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """By name."""
    import_torchvision()  # which timm needs
    from timm.layers import BlurPool2d as TimmBlurPool2d

    return {
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
        "max_pool2d(2, 1), timm BlurPool2d": nn.Sequential(nn.MaxPool2d(2, 1), TimmBlurPool2d(channels, 3)),
        "MaxBlurPool2d(2)": MaxBlurPool2d(2),
        "max_pool2d(3, 1, 1), timm BlurPool2d": nn.Sequential(nn.MaxPool2d(3, 1, 1), TimmBlurPool2d(channels, 3)),
        "MaxBlurPool2d(3, 2, 1)": MaxBlurPool2d(3, 2, 1),
        "every phase, the strongest kept": every_phase,
        "AdaptivePolyphase2d": AdaptivePolyphase2d(),
    }


COMPARED = {
    "BlurPool2d, 3": "timm BlurPool2d, 3",
    "BlurPool2d, 3, zero-normalised": "timm BlurPool2d, 3",
    "BlurPool2d, 5": "timm BlurPool2d, 5",
    "BlurPool2d, 5, zero-normalised": "timm BlurPool2d, 5",
    "MaxBlurPool2d(2)": "max_pool2d(2, 1), timm BlurPool2d",
    "MaxBlurPool2d(3, 2, 1)": "max_pool2d(3, 1, 1), timm BlurPool2d",
    "AdaptivePolyphase2d": "every phase, the strongest kept",
}
"""Ours: what it is compared with."""


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


def measured(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds: by pass, by layout and shape, by candidate."""
    rng = random.Random(0)
    tables: dict[str, dict[str, dict[str, float]]] = {name: {} for name in PASSES}
    for layout, memory_format in LAYOUTS.items():
        for shape in SHAPES:
            image = torch.randn(shape).contiguous(memory_format=memory_format)
            layers = candidates(shape[1])
            for name, run in PASSES.items():
                times: dict[str, list[float]] = {each: [] for each in layers}
                for number in range(rounds + 1):
                    for each in rng.sample(list(layers), len(layers)):
                        begin = time.thread_time()
                        run(layers[each], image)
                        if number:  # the first warms up
                            times[each].append(1000 * (time.thread_time() - begin))
                cell = f"{layout} {'x'.join(map(str, shape[1:]))}"
                tables[name][cell] = {each: statistics.median(times[each]) for each in layers}
    return tables


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "layers.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = measured(options.rounds)
    for name, cells in tables.items():
        print(f"\n| {name}: ms (over avg_pool2d) | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}")
        for each in next(iter(cells.values())):
            row = (f"{cell[each]:.1f} ({cell[each] / cell['avg_pool2d(2)']:.2f})" for cell in cells.values())
            print(f"| {each} | {' | '.join(row)} |")
        print(f"\n| {name}: times faster | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}")
        for ours, theirs in COMPARED.items():
            print(f"| {ours} | {' | '.join(f'{cell[theirs] / cell[ours]:.1f}' for cell in cells.values())} |")
    setting = {"rounds": options.rounds, "threads": 1, "torch": torch.__version__, "machine": platform.machine()}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps({"ms": tables, "setting": setting}, indent=1) + "\n")


if __name__ == "__main__":
    main()
