"""Explain the shared models and the two CIFAR-10 nets: the tables of docs/explain/explained.md.

    python scripts/explained.py ../shared      # the diagnoses go to out/explained, the tables to stdout

Every diagnosis is a command of its own, as a user would give it; it is printed first. One that is there already is not
made again. The CIFAR-10 nets are those of ``scripts/train_contrast.py``, if it has been run.
"""

import argparse
import json
from pathlib import Path
from shutil import copyfile
from typing import Any

from everything_that_moves import run
from seven_models import LABELS, MODELS

CIFAR = ("vgg_like", "resnet_like")


def main() -> None:
    """Explain, and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path("out/explained"))
    parser.add_argument("--pages", type=Path, default=Path("docs/explain"))
    parser.add_argument("--contrast", type=Path, default=Path("out/contrast"), help="of scripts/train_contrast.py")
    options = parser.parse_args()
    found = {}
    for name, words in commands(options).items():
        folder = options.out / name
        if not (folder / "diagnosis.json").exists():
            run("explain", *words, "--out", str(folder))
        found[name] = json.loads((folder / "diagnosis.json").read_text())
    draw_together(options, list(found))
    print_table(found)
    for name, each in found.items():
        print_findings(name, each)


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """Folder below ``--out`` → the words of the command, after ``shiftable explain``."""
    images = [f"{options.shared}/data/imagenet_samples", "--labels", f"{options.shared}/{LABELS}"]
    asked: dict[str, list[str]] = {}
    for name in ("squeezenet1_1", "mobilenetv2_float", "mobilenet_v2_1.0_224"):
        spec, *flags = (word.format(shared=options.shared) for word in MODELS[name])
        more = [] if spec.endswith(".tflite") else ["--interventions", "--pairs", "2"]
        asked[name] = [spec, *images, *flags, "--images", str(options.images), *more]
    for weights in sorted(options.contrast.glob("*_like-*.safetensors")):
        net = weights.stem.rpartition("-")[0]
        asked[weights.stem] = [
            *(f"shiftable.studies.nets:{net}", f"{options.shared}/data/cifar10/test.parquet", "--images", "200"),
            *("--weights", str(weights), "--preprocessing", str(options.contrast / "cifar10.json")),
            *("--class-names", str(options.contrast / "classes.txt"), "--steps", "9"),
        ]
    return asked


def draw_together(options: argparse.Namespace, names: list[str]) -> None:
    """Invariance against equivariance of several nets in one figure: docs/explain/invariance.png."""
    folder = options.out / "several"
    first, *others = (name for name in names if name != "mobilenet_v2_1.0_224")  # nobody can look into that one
    if not (folder / "diagnosis.json").exists():
        words = [word for word in commands(options)[first] if word not in ("--interventions", "--pairs", "2")]
        beside = [word for name in others if not name.endswith("-1") for word in ("--beside", str(options.out / name))]
        run("explain", *words, "--dense", "0", *beside, "--out", str(folder))
    options.pages.mkdir(parents=True, exist_ok=True)
    copyfile(folder / "figures" / "invariance.png", options.pages / "invariance.png")


def print_table(found: dict[str, Any]) -> None:
    """The last map of each net, and what its answers do."""
    columns = ("net", "P", "sums vary, circular", "real", "equivariance error", "pooled change", "sharpness",
               "correlation", "sampling's share", "median margin", "unsteadiness")  # fmt: skip
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, each in found.items():
        margins, sampling, maps = each["margins"], each["sampling"], each["responses"]
        cells = [number(margins["p_flip"])]
        last = maps[-1] if maps else None
        for key, kind in (("sums_vary", "circular"), ("sums_vary", "real"), ("equivariance_error", "circular"),
                          ("pooled_change", "circular")):  # fmt: skip
            cells.append(number(last[key].get(kind)) if last else "–")
        cells.append(number(last["sharpness"]) if last else "–")
        cells += [number(sampling[key]) if sampling else "–" for key in ("correlation", "sampling_share")]
        cells += [number(margins[key]) for key in ("median_margin", "unsteadiness")]
        print(f"| {name} | {' | '.join(cells)} |")


def print_findings(name: str, diagnosis: dict[str, Any]) -> None:
    """What was found, layer by layer and site by site."""
    print(f"\n### {name}\n")
    for each in diagnosis["findings"]:
        print(f"- {each['words']}")
    if diagnosis["responses"]:
        print(
            "\n| map | stride, px | sums vary | equivariance error | pooled change | sharpness |\n"
            "|---|---|---|---|---|---|"
        )
    for each in diagnosis["responses"]:
        kind = "circular" if "circular" in each["sums_vary"] else "real"
        cells = [number(each[key][kind]) for key in ("sums_vary", "equivariance_error", "pooled_change")]
        print(f"| `{each['layer']}` | {each['stride_px'][1]} | {' | '.join(cells)} | {number(each['sharpness'])} |")
    if diagnosis["spectra"]:
        print("\n| site | beyond the limit | of white noise |\n|---|---|---|")
    for each in diagnosis["spectra"]:
        print(f"| `{each['site']}` | {number(each['aliased'])} | {each['aliased_noise']:.2f} |")
    if diagnosis["interventions"]:
        print("\n| blurred | P removed | MAC removed | agreement | accuracy | time |\n|---|---|---|---|---|---|")
    for each in diagnosis["interventions"]:
        cells = [number(each[key]) for key in ("flips_removed", "mac_removed", "agreement", "accuracy_change")]
        print(
            f"| {', '.join(f'`{site}`' for site in each['sites'])} | {' | '.join(cells)} | {each['time_ratio']:.2f} |"
        )
    check = diagnosis["risk"]["check"]
    print(f"\nrisk: {diagnosis['risk']['formula']}" + (f"; AUC {number(check['auc'])}, calibration error "
          f"{number(check['calibration_error'])} ({check['by_chance']:.3f} by chance)" if check else ""))  # fmt: skip


def number(estimate: dict[str, float] | None) -> str:
    """A number and its interval."""
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


if __name__ == "__main__":
    main()
