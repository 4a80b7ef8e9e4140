"""What a crop that holds on to the picture brings on a video, beside smoothing: a table of the docs on crop selection.

    python scripts/stable_videos.py ../shared
    python scripts/stable_videos.py ../shared --pan     # only how often the crop changes when the camera pans

The shared video, frame by frame, SqueezeNet and MobileNetV2: centre crop, crop chosen in each frame, crop that follows.
The smoothings (exponential averages, hysteresis) are measured on the answers of each. A pan is a frame that goes over a
photograph by whole pixels, with the noise of a camera (sigma 2 grey levels, another in every frame).
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from crop_selection import MODELS

import shiftable as sh
from shiftable.auditing.videos.audit import SMOOTHING
from shiftable.models.crop_following import Follower
from shiftable.models.crop_selection import CropSelection, select
from shiftable.repairing import with_center_crop, with_stable_crop

WAYS: Mapping[str, Callable[[sh.Model], sh.Model]] = {
    "centre": with_center_crop,
    "chosen in each frame": with_stable_crop,
    "followed": partial(with_stable_crop, follow=True),
}
METRICS = ("flips_per_minute", "mac", "accuracy")


def main() -> None:
    """Audit, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["squeezenet1_1", "mobilenetv2"])
    parser.add_argument("--pan", action="store_true", help="instead, pans over photographs; no model is asked")
    options = parser.parse_args()
    if options.pan:
        pans(options.shared / "data/imagenet_samples")
        return
    video = options.shared / "data/cockatoo.mp4"
    print("| model | crop | smoothing | flips a minute | mean delay, frames | MAC | accuracy |")
    print("|---|---|---|---|---|---|---|")
    for name in options.models:
        model = MODELS[name](options.shared)
        for way, repaired in WAYS.items():
            audit = sh.audit(
                repaired(model), video, motion="video", labels=options.shared / "data/video.csv", controls=False
            )
            mac, accuracy = (f"{audit.metrics[metric].value:.4f}" for metric in ("mac", "accuracy"))
            for row in json.loads((audit.folder / SMOOTHING).read_text())["rows"]:
                setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items()) or "none"
                rate = row["flips_per_minute"]
                late = "0" if setting == "none" else f"{row['delay_frames']:.1f}"
                steady = row.get("accuracy", {}).get("value")
                cells = [f"{rate['value']:.1f} [{rate['low']:.1f}, {rate['high']:.1f}]", late]
                cells += [mac, accuracy] if setting == "none" else ["", f"{steady:.4f}" if steady is not None else ""]
                print(f"| {name} | {way} | {setting} | {' | '.join(cells)} |", flush=True)
            for said in audit.warnings:
                print(f"  {said}")


def pans(images: Path, count: int = 16, far_px: int = 80) -> None:
    """Print how often a frame's crop is not the part of the scene that the one before was; a centre crop never is."""
    print("| camera, px a frame | chosen in each frame | followed |\n|---|---|---|")
    selections = [CropSelection(), CropSelection(follow=True)]
    pictures = [sample.read() for sample in sh.find_samples(images, count)]
    wide = [picture for picture in pictures if picture.shape[1] >= 320 + far_px and picture.shape[0] >= 320]
    shake = (far_px // 2 + np.random.default_rng(0).normal(0, 4, 2 * far_px)).round().astype(int).tolist()
    paths = {"1": range(far_px + 1), "4": range(0, far_px + 1, 4), "shakes, sigma 4": shake}
    for name, path in paths.items():
        shares = []
        for selection in selections:
            changes = []
            for number, picture in enumerate(wide):
                shape = 7, picture.shape[0], picture.shape[1] - far_px, 3
                noises = np.random.default_rng(number).normal(0, 2, shape).round().astype(np.int16)
                choose = (
                    Follower(selection, 256, (224, 224))
                    if selection.follow
                    else partial(select, selection=selection, resize_px=256, view_size=(224, 224))
                )
                at = []
                for turn, x in enumerate(path):
                    frame = picture[:, x : x + picture.shape[1] - far_px]
                    chosen = choose((frame + noises[turn % len(noises)]).clip(0, 255).astype(np.uint8))
                    at.append((chosen.top, x + chosen.left))
                changes.append(np.mean([a != b for a, b in pairwise(at)]))
            shares.append(f"{np.mean(changes):.4f}")
        print(f"| {name} | {' | '.join(shares)} |", flush=True)
    print(f"\n{len(wide)} photographs")


if __name__ == "__main__":
    main()
