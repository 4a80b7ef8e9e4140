"""What whole nets cost once all that subsamples in them is blurred, beside the plain net and timm's own way.

    python benchmarks/whole_nets.py [--rounds 9] [--keep]

prints a table and writes ``benchmarks/results/whole_nets.json`` (``whole_nets_keep.json``).

Inference, float32, 224 px, random weights, one thread and its own CPU time, so that what else the machine does counts
little. All candidates of a cell are visited once per round, in random order; a ratio is the median over rounds of a
candidate's time over that of the plain net in the same round, with the quartiles. With ``--keep`` the allocator keeps
what was freed, as ``shiftable audit`` has it (``keep_freed_memory``): fresh memory costs a plain net time as well.

"blurred" is `shiftable.surgery.editing.operate` with every site, "timm's" is ``aa_layer=timm.layers.BlurPool2d``, which
carries convolutions out at stride 1 and blurs and subsamples after them; it leaves the first convolution as it is,
which is blurred here. timm's MobileNets have no such option.
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
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.engine import keep_freed_memory
from shiftable.models.torchvision_repair import import_torchvision
from shiftable.surgery.editing import Edit, operate
from shiftable.surgery.sites import find_sites

LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def nets() -> dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module] | None]]:
    """By name: the plain net, and timm's blurred one."""
    torchvision: Any = import_torchvision()
    import timm
    from timm.layers import BlurPool2d

    return {
        "ResNet-18": (torchvision.models.resnet18, partial(timm.create_model, "resnet18", aa_layer=BlurPool2d)),
        "ResNet-50": (torchvision.models.resnet50, partial(timm.create_model, "resnet50", aa_layer=BlurPool2d)),
        "MobileNetV2": (torchvision.models.mobilenet_v2, None),
        "MobileNetV2, same": (partial(timm.create_model, "mobilenetv2_100", pad_type="same"), None),
    }


def candidates(plain: nn.Module, timms: nn.Module | None) -> dict[str, nn.Module]:
    """By name."""
    view = torch.zeros(1, 3, 224, 224)
    sites = [site.name for site in find_sites(plain, view)]
    found = {"plain": plain}
    for padding in ("reflect", "zero-normalised"):
        found[f"blurred, {padding}"] = operate(plain, [Edit(site, padding=padding) for site in sites], view)
    return found if timms is None else {**found, "timm's": timms}


def measured(rounds: int) -> dict[str, dict[str, Any]]:
    """By net, layout and batch: the plain net's milliseconds, and each candidate's ratio with its quartiles."""
    rng = random.Random(0)
    cells = {}
    for name, (plain, timms) in nets().items():
        torch.manual_seed(0)
        made = candidates(plain().eval(), timms and timms().eval())
        for layout, memory_format in LAYOUTS.items():
            made = {each: net.to(memory_format=memory_format) for each, net in made.items()}  # type: ignore[call-overload]
            for batch in (1, 8):
                views = torch.randn(batch, 3, 224, 224).contiguous(memory_format=memory_format)
                times = timed(made, views, rounds * (1 if batch > 1 else 3), rng)
                ratios = {
                    each: spread([ours / base for ours, base in zip(times[each], times["plain"], strict=True)])
                    for each in made
                }
                cell = f"{name} {layout} {batch}"
                cells[cell] = {"plain_ms": statistics.median(times["plain"]), "ratios": ratios}
                said = (f"{each} {mid:.2f} [{low:.2f}, {high:.2f}]" for each, (low, mid, high) in ratios.items())
                print(f"| {cell} | {cells[cell]['plain_ms']:.0f} | {'; '.join(said)} |", flush=True)
    return cells


def timed(made: dict[str, nn.Module], views: Tensor, rounds: int, rng: random.Random) -> dict[str, list[float]]:
    """Milliseconds of every round."""
    times: dict[str, list[float]] = {each: [] for each in made}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for each in rng.sample(list(made), len(made)):
                begin = time.thread_time()
                made[each](views)
                if number:  # the first warms up
                    times[each].append(1000 * (time.thread_time() - begin))
    return times


def spread(ratios: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(each, 3) for each in statistics.quantiles(ratios, n=4)]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", action="store_true", help="with an allocator that keeps what was freed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.keep:
        keep_freed_memory()
    print("| net, layout, batch | plain, ms | over plain: median [quartiles] |\n|---|---|---|")
    cells = measured(options.rounds)
    setting = {"rounds": options.rounds, "threads": 1, "torch": torch.__version__, "machine": platform.machine()}
    out = Path(__file__).parent / "results" / ("whole_nets_keep.json" if options.keep else "whole_nets.json")
    out.write_text(json.dumps({"cells": cells, "setting": setting}, indent=1) + "\n")


if __name__ == "__main__":
    main()
