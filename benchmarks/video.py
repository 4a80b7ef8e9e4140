"""What the audit of a video costs: beside the bare forward passes, beside decoding, and in memory.

    python benchmarks/video.py [SHARED]         # prints a table, writes benchmarks/results/video.json

Speed: SqueezeNet 1.1 and MobileNetV2 on SHARED's cockatoo.mp4 (1280 × 720), or on a synthetic clip of that size;
weights random, for speed does not depend on them. The candidates take turns; ratios are taken within a round, the
median over rounds is given with the smallest and the largest. "Bare" is the net's own forward on the same batches,
already normalised; control views and the padding of the last batch are in both. Frames are *read* when they are decoded
and their colours are pixels; they are *ready* when their views are made, too, and how far the picture moved is known.
Core-milliseconds are the time of all cores together,
which neighbours on the machine disturb less than the clock; those of the model hold that its threads wait for each
other. A frame has 1.2 views in the mean, with its controls.

Memory: the peak of a process that audits a synthetic clip of 10 minutes over that of 1 minute (320 × 240, 20 frames a
second), with the embedded model.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audit_speed import costs, spread

import shiftable as sh
from shiftable.auditing.videos.audit import audit_video
from shiftable.auditing.videos.frames import show_frames
from shiftable.data.shapes import draw_scene, render
from shiftable.data.video import read_frames
from shiftable.engine import keep_freed_memory

MODELS = {"SqueezeNet 1.1": "torchvision/squeezenet1_1", "MobileNetV2": "timm/mobilenetv2_100"}
FPS = 20
RESULTS = Path(__file__).parent / "results" / "video.json"


def write_clip(path: Path, frames: int, size: tuple[int, int]) -> Path:
    """A scene that slides to and fro, in H.264, from a few pictures that are rendered once."""
    import av

    scene = draw_scene(0, size=size)
    pictures = [render(scene, size, dy=0.3 * number, dx=0.7 * number) for number in range(min(frames, 40))]
    there_and_back = [*pictures, *pictures[-2:0:-1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = there_and_back[number % len(there_and_back)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def measure(spec: str, clip: Path, rounds: int, count: int | None) -> dict[str, Any]:
    """One model: medians, smallest and largest."""
    model: Any = sh.open_model(spec, model_args={"pretrained": False}, device="cpu")
    views = [view for seen in show_frames(model, clip, True, count) for view in seen.views]
    answers, frames = len(views), sum(1 for _ in show_frames(model, clip, False, count))
    size = model.batch_size
    views += views[: -len(views) % size]
    batches = [model.inputs(np.stack(views[at : at + size])) for at in range(0, len(views), size)]

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.net(batch)

    def read() -> None:
        for _ in islice(read_frames(clip), count):
            pass

    def ahead() -> None:
        for _ in show_frames(model, clip, True, count):
            pass

    def audit() -> None:
        audit_video(model, clip, count=count)

    bare()
    timings = []
    for _ in range(rounds):
        (alone, bare_cores), (reading, _), (making, ready_cores), (whole, cores) = (
            costs(run) for run in (bare, read, ahead, audit)
        )
        timings.append(
            (
                *(whole / alone, alone / reading, alone / making),
                *(frames / reading, frames / making, frames / alone, answers / alone, frames / whole),
                *(1000 * ready_cores / frames, 1000 * bare_cores / frames, 1000 * cores / frames),
            )
        )
    names = (
        *("audit_over_bare", "reading_rate_over_model_rate", "ready_rate_over_model_rate"),
        *("read_frames_per_second", "ready_frames_per_second", "model_frames_per_second"),
        *("model_views_per_second", "audited_frames_per_second"),
        *("ready_core_ms_per_frame", "bare_core_ms_per_frame", "audit_core_ms_per_frame"),
    )
    return {name: spread(column) for name, column in zip(names, zip(*timings, strict=True), strict=True)}


PEAK = """
import resource, sys
from pathlib import Path
import shiftable as sh
from shiftable.auditing.videos.audit import audit_video
audit_video(sh.open_model("demo"), sys.argv[1])
status = Path("/proc/self/status")
if status.exists():  # getrusage would tell the parent's peak, where that was higher
    print(*(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def peak_mib(clip: Path) -> float:
    """The largest resident memory, in MiB, of a process that audits the clip with the embedded model."""
    printed = subprocess.run([sys.executable, "-c", PEAK, str(clip)], check=True, capture_output=True, text=True).stdout
    return int(printed.split()[-1]) / 1024


def memory(folder: Path, minutes: tuple[float, float], told: Callable[[str], None]) -> dict[str, float]:
    """Peaks of a short and a long clip."""
    short, long = (peak_mib(write_clip(folder / f"{m}.mp4", round(60 * FPS * m), (240, 320))) for m in minutes)
    told(
        f"| memory | {minutes[0]:g} min {short:.0f} MiB, {minutes[1]:g} min {long:.0f} MiB, ratio {long / short:.3f} |"
    )
    return {
        "short_min": minutes[0],
        "long_min": minutes[1],
        "short_mib": short,
        "long_mib": long,
        "ratio": long / short,
    }


def main() -> None:
    """Measure all, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=None, help="only the first so many of the clip")
    parser.add_argument("--parts", nargs="+", choices=("speed", "memory"), default=("speed", "memory"))
    parser.add_argument("--minutes", type=float, nargs=2, default=(1.0, 10.0), help="of the two clips for memory")
    options = parser.parse_args()
    keep_freed_memory()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    print("| what | median [smallest, largest] |\n|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "speed" in options.parts:
            clip = options.shared / "data" / "cockatoo.mp4" if options.shared else None
            if clip is None or not clip.exists():
                clip = write_clip(folder / "large.mp4", options.frames or 280, (720, 1280))
            setting = {
                "threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(),
                "clip": clip.name, "rounds": options.rounds, "frames": options.frames,
            }  # fmt: skip
            for name, spec in MODELS.items():
                results[name] = measure(spec, clip, options.rounds, options.frames)
                for what, (middle, low, high) in results[name].items():
                    print(f"| {name}: {what.replace('_', ' ')} | {middle:.3g} [{low:.3g}, {high:.3g}] |", flush=True)
                results[name]["setting"] = setting
                write(results)
        if "memory" in options.parts:
            results["memory"] = memory(folder, tuple(options.minutes), lambda line: print(line, flush=True))
            write(results)


def write(results: dict[str, Any]) -> None:
    """What has been measured so far."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
