"""Blur surgery and the label-free fine-tune on SqueezeNet and MobileNetV2: the second table of docs/repair/finetune.md.

    python scripts/finetune_imagenet.py ../shared --times                         # nets and audits go to out/finetune
    python scripts/finetune_imagenet.py ../shared --only squeezenet1_1 --mosaic 1 --out out/finetune-1 \\
        --set steps=150 learning_rate=1e-4 weight_agree=2.0 temperature=1.0

Tuned on the 2,000 pictures of tiny ImageNet (64 px, enlarged) and on 100 photographs of kangaroos; no label is read;
measured on the 200 photographs of ImageNet, which are never tuned on. Every net is audited with the same pairs of
views one pixel apart under ``crop``, and compared image by image with the net as it is. A run that was killed goes on.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blur_finetune import folder_of
from crop_selection import MODELS, per_image, times_less
from torch import nn

import shiftable as sh
from shiftable.auditing.intervals import Estimate, difference, rate
from shiftable.auditing.predictions import read_parts
from shiftable.models.preprocessing import deployed_view, resize, resized_size
from shiftable.models.torch_model import TorchModel
from shiftable.repairing.finetune import Finetune, finetune
from shiftable.surgery.editing import Edit, operate
from shiftable.surgery.matching import match_moments

SETTINGS = Finetune(
    steps=80, batch_size=16, learning_rate=3e-5, weight_agree=1.0, temperature=4.0, places=2, precision="bfloat16"
)
SITES: Mapping[str, Sequence[str]] = {
    "squeezenet1_1": ("features.2", "features.8"),
    "mobilenetv2": ("conv_stem", "blocks.2.0.conv_dw", "blocks.3.0.conv_dw", "blocks.5.0.conv_dw"),
}
"""Which are blurred: of SqueezeNet's those that brought most; all of MobileNetV2's but one that is worse for it."""

ARMS = ("plain", "matched", "matched + tuned", "plain + tuned")
SCALES_PX = (256, 320, 400)
"""The short sides that a photograph to tune on is resized to."""
MORE = 3
"""How often each photograph stands among the pictures, at each scale."""


def main() -> None:
    """Tune, audit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--only", nargs="+", choices=SITES, default=list(SITES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--sites", nargs="+", help="other sites to blur")
    parser.add_argument("--mosaic", type=int, default=2, help="small pictures along each side (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="other settings of the fine-tune")
    parser.add_argument("--images", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=4, help="an image (default: %(default)s)")
    parser.add_argument("--times", action="store_true", help="also the ratio of CPU times")
    parser.add_argument("--out", type=Path, default=Path("out/finetune"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)}
    columns = (
        "net",
        "arm",
        "P",
        "MAC",
        "accuracy",
        "agreement",
        "P, times less",
        "MAC, times less",
        "accuracy, points",
    )
    print(f"| {' | '.join(columns)} | time |\n|{'---|' * (len(columns) + 1)}")
    for name in options.only:
        original: Any = MODELS[name](options.shared)
        pictures = Pictures(options.shared / "data", options.mosaic)
        settings = replace(SETTINGS, **changes)
        for arm in options.arms:
            net = made(name, arm, original, pictures, settings, options)
            print(row(name, arm, replace(original, net=net), original, options), flush=True)


class Pictures(Sequence[np.ndarray]):
    """What is tuned on, read when it is asked for: sides of 256 px or more, of which the model sees 224.

    Args:
        data: The folder with both.
        mosaic: So many small pictures stand beside and above each other, enlarged so that together they have 256 px.
            One alone is a blurred photograph, and hardly aliases.
    """

    def __init__(self, data: Path, mosaic: int) -> None:
        self.small = sh.find_samples(data / "tiny_imagenet_val.parquet")
        self.photographs = [each for each in sh.find_samples(data / "kangaroo") if each.id.endswith(".jpg")]
        self.mosaic = mosaic
        self.sides = [(photograph, side) for photograph in self.photographs for side in SCALES_PX] * MORE

    def __len__(self) -> int:
        return len(self.small) + len(self.sides)

    def __getitem__(self, number: Any) -> Any:
        if number >= len(self.small):
            sample, side = self.sides[number - len(self.small)]
            picture = sample.read()
            return resize(picture, resized_size(picture.shape[:2], side), "bilinear", True)
        side = SCALES_PX[0] // self.mosaic
        chosen = np.random.default_rng(number).integers(0, len(self.small), self.mosaic**2)
        chosen[0] = number
        tiles = [resize(self.small[each].read(), (side, side), "bilinear", True) for each in chosen]
        rows = [np.concatenate(tiles[at : at + self.mosaic], axis=1) for at in range(0, len(tiles), self.mosaic)]
        return np.concatenate(rows)


def made(
    name: str, arm: str, original: TorchModel, pictures: Pictures, settings: Finetune, options: argparse.Namespace
) -> nn.Module:
    """The net of an arm."""
    net = original.net
    if arm in ("matched", "matched + tuned"):
        shown = np.stack([deployed_view(pictures[number], original.preprocessing, original.view_size)
                          for number in range(0, len(pictures), len(pictures) // 128)])  # fmt: skip
        batches = [original.inputs(part) for part in np.array_split(shown, len(shown) // 16)]
        edits = [Edit(site, match=True) for site in options.sites or SITES[name]]
        net = match_moments(operate(net, edits, batches[0]), net, edits, batches)
    if not arm.endswith("tuned"):
        return net
    begin, losses = time.perf_counter(), []
    tuned = finetune(
        net, original, pictures, settings, folder=folder_of(options.out, name, arm), save_every=50,
        on_step=lambda step, loss: losses.append(loss),
    )  # fmt: skip
    if losses:
        first, last = np.mean(losses[:20]), np.mean(losses[-20:])
        print(f"<!-- {name} {arm}: loss {first:.3f} → {last:.3f}, {time.perf_counter() - begin:.0f} s -->", flush=True)
    return tuned


def row(name: str, arm: str, model: TorchModel, original: TorchModel, options: argparse.Namespace) -> str:
    """A line of the table: the audit of a net beside that of the net as it is."""
    after = audited(name, arm, model, options)
    before = audited(name, "plain", original, options)
    found = [after.metrics[metric] for metric in ("p_top1_change", "mac", "accuracy")]
    found.append(agreement(before, after))
    cells = [name, arm, *(f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in found)]
    if arm == "plain":
        cells.append(f"a steady net's agreement is {steadiest(before):.3f} at most")
    else:
        cells += [times_less(before, after, metric) for metric in ("p_top1_change", "mac")]
        gain = difference(*per_image(before, "accuracy"), *per_image(after, "accuracy"))
        cells.append(f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]")
        if options.times:
            cells.append(f"{time_ratio(model, original):.3f}")
    return f"| {' | '.join(cells)} |"


def audited(name: str, arm: str, model: TorchModel, options: argparse.Namespace) -> sh.Audit:
    """Pairs of views one pixel apart."""
    images = options.shared / "data/imagenet_samples"
    return sh.audit(
        model, images, labels=images / "labels.csv", motion="crop", walk="pairs", walks=options.pairs,
        direction="horizontal", count=options.images, controls=False,
        out=options.out / f"{name}-{arm.replace(' + ', '-')}-{options.images}x{options.pairs}",
    )  # fmt: skip


def agreement(before: sh.Audit, after: sh.Audit) -> Estimate:
    """The share of all views that two nets answer alike."""
    same, count = [], []
    for one, two in zip(read_parts(before.folder), read_parts(after.folder), strict=True):
        rows = np.arange(len(one.table))
        same.append(one.per_image((one["top1"] == two["top1"]).astype(float), rows))
        count.append(one.per_image(np.ones(len(rows)), rows))
    return rate(np.concatenate(same), np.concatenate(count))


def steadiest(audit: sh.Audit) -> float:
    """On how many views a net could agree with this one at most that never changed its answer to a picture."""
    shares = [np.bincount(part["top1"][part.image == number]).max() / (part.image == number).sum()
              for part in read_parts(audit.folder) for number in range(len(part.images))]  # fmt: skip
    return float(np.mean(shares))


def time_ratio(model: TorchModel, original: TorchModel, rounds: int = 40) -> float:
    """CPU time of one view over that of the net as it is, on one thread, taken in turn: the median."""
    view = original.inputs(np.random.default_rng(0).integers(0, 256, (1, *original.view_size, 3), np.uint8))
    found = []
    with torch.inference_mode():
        for _ in range(rounds):
            begin = time.process_time()
            original.net(view)
            middle = time.process_time()
            model.net(view)
            found.append((time.process_time() - middle) / (middle - begin))
    return float(np.median(found))


if __name__ == "__main__":
    main()
