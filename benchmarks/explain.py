"""How long `explain` takes, and how much memory, beside the bare forward pass of the same views.

    python benchmarks/explain.py ../shared     # prints tables, writes benchmarks/results/explain.json

MobileNetV2 at 224 px, 32 images, everything but interventions, as the command line does it. Each run is a process of
its own. "Bare" is the net's own forward of the real sweeps' views in the same batches, one sweep a batch: its peak
memory is that of the activations of one batch. Twice as many images tell whether memory grows with them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

MIB = 1024 if sys.platform != "darwin" else 2**20

BARE = """
import resource, sys, time, numpy as np, torch
from backend_speed import opened
from pathlib import Path
from shiftable.data import find_samples
from shiftable.engine import keep_freed_memory
from shiftable.explaining.views import swept
keep_freed_memory()
shared, count = Path(sys.argv[1]), int(sys.argv[2])
model = opened(shared, "MobileNetV2")
seconds = 0.0
for each in swept(model, find_samples(shared / "data/imagenet_samples", count), 33):
    inputs, begin = model.inputs(each.views), time.perf_counter()
    with torch.no_grad():
        model.net(inputs)
    seconds += time.perf_counter() - begin
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

EXPLAIN = """
import resource, sys, time
from shiftable.cli import main
begin = time.perf_counter()
assert main(sys.argv[1:]) == 0
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measured(code: str, *arguments: object) -> dict[str, float]:
    """Seconds and peak MiB of a process."""
    here = Path(__file__).parent
    path = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    ).stdout
    seconds, peak = printed.split()[-2:]
    return {"seconds": float(seconds), "peak_mib": float(peak) / MIB}


def explained(shared: Path, count: int, out: Path) -> dict[str, float]:
    """The same of the command."""
    return measured(
        EXPLAIN, "explain", "timm/mobilenetv2_100", shared / "data/imagenet_samples", "--images", count,
        "--weights", shared / "models/mobilenetv2_100.safetensors", "--model-arg", "pad_type=same",
        "--preprocessing", "resampler=bilinear", "--out", out, "--overwrite", "--device", "cpu",
    )  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder of real models and images")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "explain.json")
    options = parser.parse_args()
    runs: dict[str, Any] = {
        "bare": measured(BARE, options.shared, options.images),
        "explain": explained(options.shared, options.images, Path("out/benchmark-explain")),
        "twice as many": explained(options.shared, 2 * options.images, Path("out/benchmark-explain")),
    }
    print("| run | seconds | peak MiB |\n|---|---|---|")
    for name, each in runs.items():
        print(f"| {name} | {each['seconds']:.0f} | {each['peak_mib']:.0f} |")
    ratios = {
        "seconds_over_bare": runs["explain"]["seconds"] / runs["bare"]["seconds"],
        "memory_over_bare": runs["explain"]["peak_mib"] / runs["bare"]["peak_mib"],
        "memory_twice_over_once": runs["twice as many"]["peak_mib"] / runs["explain"]["peak_mib"],
    }
    print(ratios)
    setting = {"images": options.images, "cores": os.cpu_count(), "machine": platform.machine()}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps({**runs, **ratios, "setting": setting}, indent=1) + "\n")


if __name__ == "__main__":
    main()
