"""Audit the shared models under every motion that is not a plain shift, and detectors, segmenters and videos.

    python scripts/everything_that_moves.py ../shared     # the audits go to out/moves, the tables to stdout

Every audit is a command of its own, as a user would give it; it is printed first. An audit that is there already is not
made again. The tables are those of docs/everything_that_moves.md.
"""

import argparse
import shlex
import sys
from pathlib import Path

from seven_models import MODELS

from shiftable.auditing import Audit, read_audit
from shiftable.cli import main as shiftable

SAMPLES, LABELS = "{shared}/data/imagenet_samples", ["--labels", "{shared}/data/imagenet_samples/labels.csv"]
KANGAROO = "{shared}/data/kangaroo"
KEEP_BOX = ["--motion", "keep-box", "--boxes", "{shared}/data/kangaroo/boxes.csv"]
VIDEO = ["{shared}/data/cockatoo.mp4", "--motion", "video", "--labels", "{shared}/data/video.csv"]
SIDEWAYS = ["--direction", "horizontal"]
SCENES = "{out}/scenes"
FASTESTDET = [
    *("{shared}/models/fastestdet_coco.onnx", SCENES, "--task", "detect"),
    *("--decoder", "examples/fastestdet.py:decode", "--class-names", "{shared}/models/coco_labels.txt"),
    *("--preprocessing", "resize_px=[352,352];resampler=box;mean=[0];std=[1];color_order=BGR"),
]
DEEPLAB = [
    *("{shared}/models/deeplabv3_mnv2_pascal_quant.tflite", SCENES, "--task", "segment"),
    *("--preprocessing", "resize_px=[513,513]"),
]
MOVENET = [
    *("{shared}/models/movenet_single_pose_lightning_ptq.tflite", "{out}/people", "--task", "keypoints"),
    *("--decoder", "examples/movenet.py:decode", "--preprocessing", "resize_px=[192,192]"),
]
CLASSIFIERS = ("squeezenet1_1", "mobilenetv2_float")


def _classifier(name: str, source: list[str]) -> list[str]:
    spec, *flags = MODELS[name]
    return [spec, source[0], *flags, *source[1:]]


AUDITS: dict[str, list[str]] = {
    **{
        f"{name}/{motion}": _classifier(name, [source, *more])
        for name in CLASSIFIERS
        for motion, (source, *more) in {
            "kangaroo-crop": [KANGAROO, "--motion", "crop", *SIDEWAYS],
            "kangaroo-keep-box": [KANGAROO, *KEEP_BOX, *SIDEWAYS],
            "kangaroo-keep-box-source": [KANGAROO, *KEEP_BOX, "--at", "source", *SIDEWAYS],
            "crop": [SAMPLES, *LABELS, "--motion", "crop", *SIDEWAYS, "--images", "64"],
            "subpixel": [SAMPLES, *LABELS, "--motion", "subpixel", *SIDEWAYS, "--images", "64"],
            "scale": [SAMPLES, *LABELS, "--motion", "scale", "--images", "64"],
            "scale-canvas": [SAMPLES, *LABELS, "--motion", "scale", "--on", "canvas", "--images", "64"],
            "rotate": [SAMPLES, *LABELS, "--motion", "rotate", "--images", "64"],
        }.items()
    },
    **{f"{name}/video": _classifier(name, VIDEO) for name in (*CLASSIFIERS, "mobilenet_v2_1.0_224")},
    "fastestdet/scenes": [*FASTESTDET, "--motion", "camera", *SIDEWAYS, "--steps", "17"],
    "fastestdet/imagenet": [
        *(SAMPLES if word == SCENES else word for word in FASTESTDET),
        *("--motion", "camera", *SIDEWAYS, "--steps", "17"),
    ],
    "deeplab/scenes": [*DEEPLAB, "--motion", "camera", *SIDEWAYS, "--steps", "17"],
    "movenet/people": [*MOVENET, "--motion", "camera", *SIDEWAYS, "--steps", "17"],
}
"""Folder below ``--out`` → the words of the command, after ``shiftable audit``."""


def main() -> None:
    """Audit, and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--out", type=Path, default=Path("out/moves"))
    parser.add_argument("--only", default="", help="Only audits whose name holds this.")
    options = parser.parse_args()
    link_scenes(options.shared, options.out)
    for name, words in AUDITS.items():
        if options.only not in name:
            continue
        folder = options.out / name
        if not (folder / "audit.json").exists():
            run("audit", *(word.format(shared=options.shared, out=options.out) for word in words), "--out", str(folder))
        print_row(name, read_audit(folder))


def link_scenes(shared: Path, out: Path) -> None:
    """The photographs of the shared scenes, without the masks beside two of them; and those of one person apart."""
    photos = [path for path in sorted((shared / "data/scenes").iterdir()) if not path.stem.endswith("_mask")]
    folders = {"scenes": photos, "people": [path for path in photos if path.stem in ("people", "squat")]}
    for name, paths in folders.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            if not (out / name / path.name).exists():
                (out / name / path.name).symlink_to(path.resolve())


def print_row(name: str, found: Audit) -> None:
    """One audit, as lines of Markdown."""
    floor = found.motion.get("floor")
    said = f"; floor {100 * floor['share']:.1f} % of a step" if floor else ""
    print(f"\n### {name}: {found.images['count']} of {found.images['listed']} images{said}\n")
    still = found.controls.get("still", {})
    for metric, each in found.metrics.items():
        beside = f" (still {still[metric].value:g})" if metric in still else ""
        print(f"- {metric}: {each.value:.4f} [{each.low:.4f}, {each.high:.4f}], {each.pairs} pairs{beside}")
    for warning in found.warnings:
        print(f"- note: {warning}")


def run(*words: str) -> None:
    """One command, printed and run; the script ends where it fails."""
    print(shlex.join(["shiftable", *words]), flush=True)
    if shiftable(list(words)):
        sys.exit(1)


if __name__ == "__main__":
    main()
