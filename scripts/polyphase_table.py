"""Nets converted to adaptive polyphase sampling without training: the tables of docs/repair/polyphase.md.

    python scripts/train_contrast.py ../shared/data/cifar10 --seeds 0 1     # once: the nets, in out/contrast
    python scripts/polyphase_table.py ../shared/data/cifar10                # audits go to out/polyphase

Every net is audited as it is, and converted, without and with a blur of 3 taps before positions are dropped. In a
circle (``roll``): pairs of views one pixel apart, at places anywhere in the circle. For real shifts (``crop``): nine
views in a row, cut from the picture enlarged from 32 to 40 px, so that something enters and leaves. Accuracy unmoved is
that of all test pictures as they are.
"""

import argparse
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import shiftable as sh
from shiftable.models.torch_model import torch_model
from shiftable.studies.cifar10 import PREPROCESSING, VIEW_SIZE, normalised, read_split
from shiftable.studies.nets import resnet_like, vgg_like
from shiftable.surgery.dilating import circular
from shiftable.surgery.edits import Edit
from shiftable.surgery.polyphase_surgery import with_polyphase
from shiftable.surgery.sites import find_sites

ARMS: Mapping[str, Callable[[], nn.Module]] = {"vgg_like": vgg_like, "resnet_like": resnet_like}
WALKS: Mapping[str, dict[str, Any]] = {"roll": {"walk": "pairs", "walks": 4}, "crop": {"walk": "sweep", "steps": 9}}
PICTURE = torch.zeros(1, 3, *VIEW_SIZE)


def main() -> None:
    """Audit, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="the folder with test.parquet")
    parser.add_argument("--nets", type=Path, default=Path("out/contrast"), help="with the weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--motions", nargs="+", choices=WALKS, default=list(WALKS))
    parser.add_argument("--out", type=Path, default=Path("out/polyphase"))
    parser.add_argument("--borders", action="store_true", help="instead what circular windows cost, phases kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = read_split(options.data, "test")
    if options.borders:
        some = [each[:2000] for each in pictures]
        print("\n| net | as it is | windows in a circle |\n|---|---|---|", flush=True)
        for arm in ARMS:
            for seed in options.seeds:
                net = weighted(arm, seed, options.nets)
                own = unmoved(net, *some)
                with circular(net):
                    print(f"| {arm} {seed} | {own:.4f} | {unmoved(net, *some):.4f} |", flush=True)
        return
    for motion in options.motions:
        print(f"\n{motion}, {options.images} images x {WALKS[motion]}\n")
        print("| net | | unmoved | accuracy | P | MAC | multiply-adds, times |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for arm in ARMS:
            for seed in options.seeds:
                nets = {"as it is": weighted(arm, seed, options.nets)}
                for name, taps in (("polyphase", 1), ("blurred, polyphase", 3)):
                    nets[name] = converted(nets["as it is"], taps)
                for name, net in nets.items():
                    folder = options.out / f"{arm}-{seed}-{motion}-{name.replace(', ', '-').replace(' ', '_')}"
                    model = torch_model(net, spec=f"{arm}-{seed}", view_size=VIEW_SIZE, preprocessing=PREPROCESSING)
                    audit = sh.audit(
                        model, options.data / "test.parquet", motion=motion, **WALKS[motion], direction="horizontal",
                        count=options.images, controls=False, out=folder,
                    )  # fmt: skip
                    times = multiply_adds(net) / multiply_adds(nets["as it is"])
                    print(row(f"{arm} {seed}", name, unmoved(net, *pictures), audit, times), flush=True)


def weighted(arm: str, seed: int, nets: Path) -> nn.Module:
    """A net that was trained."""
    net = ARMS[arm]()
    net.load_state_dict(load_file(nets / f"{arm}-{seed}.safetensors"))
    return net.eval()


def converted(net: nn.Module, taps: int) -> nn.Module:
    """The net with all its sites converted."""
    targets = {site: Edit(site.name, "polyphase", taps=taps) for site in find_sites(net, PICTURE)}
    return with_polyphase(copy.deepcopy(net), targets, PICTURE)


@torch.no_grad()
def unmoved(net: nn.Module, views: Tensor, labels: Tensor) -> float:
    """The share of right answers to the pictures as they are."""
    answers = torch.cat([net(normalised(part)).argmax(1) for part in torch.split(views, 500)])
    return (answers == labels).double().mean().item()


@torch.inference_mode()
def multiply_adds(net: nn.Module) -> int:
    """Of convolutions and linear layers, for one view."""
    with FlopCounterMode(display=False) as counter:
        net(PICTURE)
    return int(counter.get_total_flops()) // 2


def row(net: str, name: str, unmoved: float, audit: sh.Audit, times: float) -> str:
    """A line of the table."""
    found = [audit.metrics[metric] for metric in ("accuracy", "p_top1_change", "mac")]
    cells = (f"{each.value:.4f} [{each.low:.4f}, {each.high:.4f}]" for each in found)
    return f"| {net} | {name} | {unmoved:.4f} | {' | '.join(cells)} | {times:.2f} |"


if __name__ == "__main__":
    main()
