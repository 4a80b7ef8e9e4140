"""Audit the seven shared ImageNet classifiers under three motions, and compare them: the pages of docs/seven_models.

    python scripts/seven_models.py ../shared            # about 10 minutes on 2 cores; the audits go to out/seven_models

Every audit is a command of its own, as a user would give it; it is printed first. An audit that is there already is not
made again.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

from shiftable.cli import main as shiftable

LABELS = "data/imagenet_samples/labels.csv"

MODELS: dict[str, list[str]] = {
    "squeezenet1_1": ["torchvision/squeezenet1_1", "--weights", "{shared}/models/squeezenet1_1.safetensors"],
    "mobilenetv2_float": [
        *("timm/mobilenetv2_100", "--model-arg", "pad_type=same"),
        *("--preprocessing", "resampler=bilinear", "--weights", "{shared}/models/mobilenetv2_100.safetensors"),
    ],
    **{
        name: [f"{{shared}}/models/{file}.tflite", "--class-offset", "1"]
        for name, file in {
            "mobilenet_v1_0.25_128": "mobilenet_v1_0.25_128_quant",
            "mobilenet_v1_0.5_160": "mobilenet_v1_0.5_160_quant",
            "mobilenet_v1_0.75_192": "mobilenet_v1_0.75_192_quant",
            "mobilenet_v2_1.0_224": "mobilenet_v2_1.0_224_quant",
            "tf2_mobilenet_v2_1.0_224": "tf2_mobilenet_v2_1.0_224_ptq",
        }.items()
    },
}
LINK = re.compile(r'<a href="(?!https?:|#)[^"]*">(.*?)</a>')
"""To the audits' own pages and figures, which stay in the folder of results."""

MOTIONS = {"crop": [], "camera": [], "canvas": ["--fill", "black"]}
WALK = ["--walk", "pairs", "--walks", "3", "--direction", "horizontal"]


def main() -> None:
    """Audit, compare, and put the pages into the docs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/seven_models"))
    parser.add_argument("--pages", type=Path, default=Path("docs/seven_models"))
    options = parser.parse_args()
    images = f"{options.shared}/data/imagenet_samples"
    for motion, more in MOTIONS.items():
        folders = []
        for name, model in MODELS.items():
            folder = options.out / motion / name
            folders.append(str(folder))
            if not (folder / "audit.json").exists():
                spec, *flags = (word.format(shared=options.shared) for word in model)
                run("audit", spec, images, *flags, "--labels", f"{options.shared}/{LABELS}", "--motion", motion, *more,
                    *WALK, "--images", str(options.images), "--out", str(folder))  # fmt: skip
        run("compare", *folders, "--out", str(options.out / motion))
        options.pages.mkdir(parents=True, exist_ok=True)
        page = (options.out / motion / "report.html").read_text()
        (options.pages / f"{motion}.html").write_text(LINK.sub(r"\1", page))


def run(*words: str) -> None:
    """One command, printed and run; the script ends where it fails."""
    print(shlex.join(["shiftable", *words]), flush=True)
    if shiftable(list(words)):
        sys.exit(1)


if __name__ == "__main__":
    main()
