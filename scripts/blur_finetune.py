"""Blur surgery and the label-free fine-tune on the two CIFAR-10 nets: the first table of docs/repair/finetune.md.

    python scripts/train_contrast.py ../shared/data/cifar10 --seeds 0 1 2      # the nets, 6 to 20 min each on one core
    python scripts/blur_finetune.py ../shared/data/cifar10 --peers FOLDER      # 42 nets, 1 min each on one core at most
    python scripts/blur_finetune.py ../shared/data/cifar10 --only resnet_like-0 --arms "matched + tuned" --steps 480 \\
        --out out/blur_finetune-480

One row of ``--out``/rows.csv per net, seed and arm; what is there already is not made again. The table is printed.

The nets are tuned on training pictures, whose labels are not read, and measured on the test pictures. ``crop``: a
view of 32 px slides over the picture enlarged to 40 px by what its edges mirror, so that what is in it keeps its size;
in the middle it is the picture itself. ``roll``: the picture moves in a circle.

kornia's layers need kornia: ``pip install --target FOLDER --no-deps kornia==0.9.0 kornia_rs`` and ``--peers FOLDER``.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn

from shiftable.models.torch_model import TorchModel, torch_model
from shiftable.models.torchvision_repair import import_torchvision
from shiftable.models.weights import load_weights
from shiftable.repairing.finetune import Finetune, finetune
from shiftable.studies.cifar10 import PREPROCESSING, VIEW_SIZE, read_split
from shiftable.studies.nets import resnet_like, vgg_like
from shiftable.surgery.editing import Edit, operate
from shiftable.surgery.matching import match_moments
from shiftable.surgery.sites import find_sites

NETS: Mapping[str, Callable[..., nn.Module]] = {"vgg_like": vgg_like, "resnet_like": resnet_like}
SETTINGS = Finetune(
    steps=120, batch_size=64, learning_rate=2e-3, weight_agree=2.0, temperature=2.0, places=2, precision="bfloat16"
)
ARMS = ("plain", "blur", "matched", "matched + tuned", "plain + tuned", "kornia + tuned", "timm + tuned")
MARGIN_PX = 4
COLUMNS = (
    "accuracy", "agreement", "crop_consistency", "crop_p", "crop_accuracy", "roll_consistency", "roll_p",
    "roll_accuracy", "seconds",
)  # fmt: skip


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with train.parquet and test.parquet")
    parser.add_argument("--contrast", type=Path, default=Path("out/contrast"), help="of scripts/train_contrast.py")
    parser.add_argument("--only", nargs="+", help="nets with their seeds, as resnet_like-0")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--pictures", type=int, default=10_000, help="to tune on (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=SETTINGS.steps, help="another --out, too (default: %(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="to measure flips on (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=1, help="of each and every kind (default: %(default)s)")
    parser.add_argument("--peers", type=Path, help="a folder that holds kornia")
    parser.add_argument("--out", type=Path, default=Path("out/blur_finetune"))
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    torch.set_num_threads(1)
    settings = replace(SETTINGS, steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "rows.csv"
    nets = options.only or [f"{net}-{seed}" for net in NETS for seed in (0, 1, 2)]
    missing = [(net, arm) for net in nets for arm in options.arms if (net, arm) not in read(table)]
    if missing:
        learned, held_out = (read_split(options.data, split) for split in ("train", "test"))
        pictures, tests = learned[0][: options.pictures].numpy(), held_out[0].numpy()
        views = list(mirrored(pictures))
    for name, arm in missing:
        start, original = time.perf_counter(), opened(options.contrast, name)
        changed = ARM[arm.removesuffix(" + tuned")](original, pictures[:1024])
        if arm.endswith("tuned"):
            changed = finetune(changed, original, views, settings, folder=folder_of(options.out, name, arm))
        made = time.perf_counter() - start
        found = measured(replace(original, net=changed), original, tests, held_out[1].numpy(), options)
        write(table, {"net": name, "arm": arm, **found, "seconds": made})
    print_table(read(table), nets)


def folder_of(out: Path, name: str, arm: str) -> Path:
    """Where an arm's fine-tune is kept. The original's answers are the same for every arm, and asked for once."""
    folder, first = (out / name / each.replace(" + ", "-") for each in (arm, "matched + tuned"))
    folder.mkdir(parents=True, exist_ok=True)
    if (first / "answers.pt").exists() and not (folder / "answers.pt").exists():
        copyfile(first / "answers.pt", folder / "answers.pt")
    return folder


def opened(folder: Path, name: str) -> TorchModel:
    """A net of ``train_contrast.py`` as the package opens it."""
    net = NETS[name.rpartition("-")[0]]()
    load_weights(net, folder / f"{name}.safetensors")
    return torch_model(net, spec=name, view_size=VIEW_SIZE, preprocessing=PREPROCESSING, device="cpu")


def blurred(original: TorchModel, pictures: np.ndarray) -> nn.Module:
    """Every site blurred (binomial, 3 taps), nothing trained."""
    return operate(original.net, edits(original, pictures), original.inputs(pictures[:2]))


def edits(original: TorchModel, pictures: np.ndarray, match: bool = False) -> list[Edit]:
    return [Edit(site.name, match=match) for site in find_sites(original.net, original.inputs(pictures[:1]))]


def matched(original: TorchModel, pictures: np.ndarray) -> nn.Module:
    """The same, means and contrasts set back."""
    asked = edits(original, pictures, match=True)
    batches = [original.inputs(part) for part in np.split(pictures, 8)]
    return match_moments(operate(original.net, asked, batches[0]), original.net, asked, batches)


def kornia_layers(original: TorchModel, pictures: np.ndarray) -> nn.Module:
    """kornia's, in the same places: a blur after a dense convolution, and its maximum with a blur."""
    filters = import_module("kornia.filters")
    return replaced(
        original,
        lambda _, stride: filters.BlurPool2D(3, stride),
        lambda _, stride: filters.MaxBlurPool2D(3, stride, max_pool_size=2),
    )


def timm_layers(original: TorchModel, pictures: np.ndarray) -> nn.Module:
    """timm's, the way its ResNets take them: after a dense convolution, and after a dense maximum."""
    import_torchvision()  # timm looks for it
    from timm.layers import BlurPool2d

    def blur(channels: int, stride: int) -> Any:
        return BlurPool2d(channels, 3, stride)

    return replaced(original, blur, lambda channels, stride: nn.Sequential(nn.MaxPool2d(2, 1), blur(channels, stride)))


def replaced(
    original: TorchModel, after: Callable[[int, int], nn.Module], pooling: Callable[[int, int], nn.Module]
) -> nn.Module:
    """A copy whose strided convolutions are dense and followed by a layer, and whose poolings are another one."""
    net, channels = deepcopy(original.net), 0
    for name, layer in list(net.named_modules()):
        made: nn.Module | None = None
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
            if layer.stride != (1, 1):
                stride, layer.stride = layer.stride[0], (1, 1)
                made = nn.Sequential(layer, after(channels, stride))
        elif isinstance(layer, nn.MaxPool2d):
            made = pooling(channels, 2)
        if made is not None:
            net.set_submodule(name, made)
    return net


ARM: Mapping[str, Callable[[TorchModel, np.ndarray], nn.Module]] = {
    "plain": lambda original, _: original.net,
    "blur": blurred,
    "matched": matched,
    "kornia": kornia_layers,
    "timm": timm_layers,
}


def measured(
    model: TorchModel, original: TorchModel, tests: np.ndarray, labels: np.ndarray, options: argparse.Namespace
) -> dict[str, float]:
    """Accuracy and agreement on all test pictures unmoved; of the first ones, pairs under both motions."""
    answers = top1(model, np.array_split(tests, 20))
    found: dict[str, float] = {
        "accuracy": float((answers == labels).mean()),
        "agreement": float((answers == top1(original, np.array_split(tests, 20))).mean()),
    }
    pictures = tests[: options.images]
    motions = (
        ("crop", partial(cropped, mirrored(pictures)), 2 * MARGIN_PX + 1),
        ("roll", partial(rolled, pictures), VIEW_SIZE[0]),
    )
    for motion, show, room in motions:
        generator = np.random.default_rng(0)
        agree, same, right = [], [], []
        for _ in range(options.pairs):
            one, two = generator.integers(0, room, (2, 2, len(pictures)))
            if motion == "crop":
                one[1] = generator.integers(0, room - 1, len(pictures))  # so that there is a place to its right
            at_one = top1(model, show(*one))
            agree.append(at_one == top1(model, show(*two)))
            same.append(at_one == top1(model, show(one[0], one[1] + 1)))
            right.append(at_one == labels[: len(pictures)])
        found[f"{motion}_consistency"] = float(np.mean(agree))
        found[f"{motion}_p"] = 1 - float(np.mean(same))
        found[f"{motion}_accuracy"] = float(np.mean(right))
    return found


def mirrored(pictures: np.ndarray) -> np.ndarray:
    """The pictures, larger by what their edges mirror."""
    margins = ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0))
    return np.pad(pictures, margins, "reflect")


def cropped(padded: np.ndarray, top: np.ndarray, left: np.ndarray) -> Iterator[np.ndarray]:
    """Views whose content lies at these places, in parts."""
    rows, columns = np.arange(VIEW_SIZE[0])[:, None], np.arange(VIEW_SIZE[1])
    for part in np.array_split(np.arange(len(padded)), max(1, len(padded) // 500)):
        y, x = top[part, None, None], left[part, None, None]
        yield padded[part[:, None, None], y + rows, x + columns]


def rolled(pictures: np.ndarray, down: np.ndarray, right: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures moved in a circle, in parts."""
    rows, columns = np.arange(VIEW_SIZE[0])[:, None], np.arange(VIEW_SIZE[1])
    for part in np.array_split(np.arange(len(pictures)), max(1, len(pictures) // 500)):
        y, x = down[part, None, None], right[part, None, None]
        yield pictures[part[:, None, None], (rows - y) % VIEW_SIZE[0], (columns - x) % VIEW_SIZE[1]]


def top1(model: TorchModel, parts: Iterable[np.ndarray]) -> np.ndarray:
    """The leading class of every view."""
    return np.concatenate([model(part).argmax(1) for part in parts])


def read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows there are, by net and arm."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["net"], row["arm"]): row for row in csv.DictReader(file)}


def write(path: Path, row: dict[str, Any]) -> None:
    """One row more."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, ["net", "arm", *COLUMNS], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()})


def print_table(rows: dict[tuple[str, str], dict[str, str]], nets: list[str]) -> None:
    """Means over seeds, and their standard deviation."""
    columns = ("accuracy", "agreement", "consistency, crop", "P, crop", "accuracy moved, crop", "consistency, roll",
               "P, roll", "accuracy moved, roll", "s")  # fmt: skip
    print(f"| net | arm | {' | '.join(columns)} |\n|{'---|' * (2 + len(columns))}")
    for net in dict.fromkeys(name.rpartition("-")[0] for name in nets):
        for arm in ARMS:
            found = [row for (name, each), row in rows.items() if name in nets and name.startswith(net) and each == arm]
            if found:
                cells = [spread([float(row[column]) for row in found]) for column in COLUMNS]
                print(f"| `{net}`, {len(found)} seeds | {arm} | {' | '.join(cells)} |")


def spread(values: list[float]) -> str:
    """The mean, and how far seeds lie apart."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


if __name__ == "__main__":
    main()
