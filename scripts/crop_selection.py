"""What a chosen crop brings: the tables of docs/repair/crop_selection.md.

    python scripts/crop_selection.py ../shared                      # 200 images; audits go to out/crop_selection
    python scripts/crop_selection.py ../shared --images 24 --walks 4 --models squeezenet1_1 --rules
    python scripts/crop_selection.py ../shared --sweep --rooms      # how far the crop may move, against accuracy

Every model is audited twice under each motion, shown the same larger views: once with the centre crop of these, once
with the crop chosen in them. Pairs of views one pixel apart, moved to the right. Audits that are there are not made
again.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import shiftable as sh
from shiftable.auditing.intervals import difference
from shiftable.auditing.metrics import METRICS
from shiftable.auditing.motions import make_motion
from shiftable.auditing.predictions import read_parts
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import make_walk
from shiftable.models.crop_rules import RULES
from shiftable.models.preprocessing import CropSelection, deployed_view, select
from shiftable.repairing import safe_shifts, stable_crop_of, with_center_crop, with_stable_crop

MODELS: Mapping[str, Callable[[Path], sh.Model]] = {
    "squeezenet1_1": lambda shared: sh.open_model(
        "torchvision/squeezenet1_1", weights=shared / "models/squeezenet1_1.safetensors"
    ),
    "mobilenetv2": lambda shared: sh.open_model(
        "timm/mobilenetv2_100",
        weights=shared / "models/mobilenetv2_100.safetensors",
        model_args={"pad_type": "same"},
        preprocessing={"resampler": "bilinear"},
    ),
    "mobilenet_v1_0.75_192.tflite": lambda shared: sh.open_model(
        str(shared / "models/mobilenet_v1_0.75_192_quant.tflite"), class_offset=1
    ),
    "squeezenet1_1.onnx": lambda shared: sh.open_model(str(exported(shared))),
}
MOTIONS = ("crop", "camera")


def main() -> None:
    """Audit, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--walks", type=int, default=8, help="pairs an image, at random places")
    parser.add_argument("--sweep", action="store_true", help="instead 32 steps in a row about the middle")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--motions", nargs="+", choices=MOTIONS, default=list(MOTIONS))
    parser.add_argument("--rooms", action="store_true", help="also smaller rooms, shown the same views")
    parser.add_argument("--rules", action="store_true", help="also all rules, on the first model under crop")
    parser.add_argument("--times", action="store_true", help="also what choosing costs; wants a quiet machine")
    parser.add_argument("--out", type=Path, default=Path("out/crop_selection"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    opened = {name: MODELS[name](options.shared) for name in options.models}
    for motion in options.motions:
        print(f"\n{motion}, {options.images} images x {32 if options.sweep else options.walks} pairs\n", flush=True)
        print("| model | rule | P | MAC | accuracy | P, times less | MAC, times less | accuracy, points |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for name, model in opened.items():
            center = audited(model, name, "center", motion, options)
            print(row(name, "center", center), flush=True)
            for room_px in rooms(model) if options.rooms else rooms(model)[:1]:
                found = audited(model, name, "anchored", motion, options, room_px)
                print(row(name, f"anchored, room {room_px} px", found, center), flush=True)
    if options.rules:
        columns = "rule | place changes, crop | camera | P | MAC | accuracy | P, times less | MAC, times less"
        print(f"\n| {columns} | accuracy, points |")
        print("|---|---|---|---|---|---|---|---|---|")
        name, model = next(iter(opened.items()))
        center = audited(model, name, "center", "crop", options)
        for rule in RULES:
            moved = [f"{changes(model, rule, motion, options):.4f}" for motion in MOTIONS]
            cells = row(rule, "", audited(model, name, rule, "crop", options), center).split(" | ", 2)
            print(f"{cells[0]} | {moved[0]} | {moved[1]} | {cells[2]}", flush=True)
        print(safe(model, options))
    if options.times:
        for name, model in opened.items():
            print(costs(name, model, options))


def selection_of(model: sh.Model) -> CropSelection:
    """The usual chosen crop."""
    found = with_stable_crop(model).preprocessing.crop
    assert isinstance(found, CropSelection), "a chosen crop is what was asked for"
    return found


def rooms(model: sh.Model) -> list[int]:
    """How far the crop may move in all: the usual, and less."""
    usual = selection_of(model).room_px
    return [usual, *(round(usual * part) for part in (0.75, 0.5, 0.25))]


def audited(
    model: sh.Model, name: str, rule: str, motion: str, options: argparse.Namespace, room_px: int | None = None
) -> sh.Audit:
    """The audit of a model with this rule; with less room than usual shown a part of the same views."""
    repaired: Any = with_stable_crop(model, rule=rule, room_px=room_px)
    less = room_px not in (None, rooms(model)[0])
    if less:
        steps = {"camera": 0, "crop": 32 if options.sweep else 1}[motion]  # a motion after the resize enlarges by them
        larger = max(selection_of(model).larger(model.view_size)) + steps
        repaired = replace(repaired, preprocessing=replace(repaired.preprocessing, resize_px=larger))
    images = options.shared / "data/imagenet_samples"
    walk: dict[str, Any] = (
        {"walk": "sweep", "steps": 33} if options.sweep else {"walk": "pairs", "walks": options.walks}
    )
    how = f"{rule}-{room_px}" if less else rule
    folder = options.out / f"{name}-{motion}-{how}-{options.images}x{'sweep' if options.sweep else options.walks}"
    if (folder / "audit.json").exists():
        return sh.read_audit(folder)
    return sh.audit(
        repaired, images, labels=images / "labels.csv", motion=motion, **walk,
        direction="horizontal", count=options.images, controls=False, out=folder,
    )  # fmt: skip


def per_image(audit: sh.Audit, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators."""
    parts = [METRICS[metric].of(part.of(None)) for part in read_parts(audit.folder)]
    sums, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return sums, counts


def row(name: str, rule: str, audit: sh.Audit, center: sh.Audit | None = None) -> str:
    """A line of the table."""
    found = [audit.metrics[metric] for metric in ("p_top1_change", "mac", "accuracy")]
    cells = [name, rule, *(f"{each.value:.4f} [{each.low:.4f}, {each.high:.4f}]" for each in found)]
    if center is not None:
        cells += [times_less(center, audit, metric) for metric in ("p_top1_change", "mac")]
        gain = difference(*per_image(center, "accuracy"), *per_image(audit, "accuracy"))
        cells.append(f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]")
    return f"| {' | '.join(cells)} |"


def times_less(before: sh.Audit, after: sh.Audit, metric: str) -> str:
    """The ratio of two means over the same images, with its paired bootstrap interval."""
    means = [sums / counts for sums, counts in (per_image(before, metric), per_image(after, metric))]
    draws = np.random.default_rng(0).multinomial(len(means[0]), np.full(len(means[0]), 1 / len(means[0])), 10_000)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (draws @ means[0]) / (draws @ means[1])
        low, high = np.percentile(ratios, (2.5, 97.5), method="lower")
        return f"{means[0].mean() / means[1].mean():.1f} [{low:.1f}, {high:.1f}]"


def shown(model: sh.Model, motion: str, options: argparse.Namespace) -> Iterator[tuple[Show, Any]]:
    """How the images of a sweep are shown, and the image, ready to be moved."""
    walk = make_walk("sweep", steps=33, direction="horizontal")
    show = Show(make_motion(motion), walk, model.preprocessing, model.view_size, controls=False)
    images = options.shared / "data/imagenet_samples"
    for sample in sh.find_samples(images, options.images):
        try:
            yield show, show.stage(sample)
        except sh.InputError:
            continue


def changes(model: sh.Model, rule: str, motion: str, options: argparse.Namespace) -> float:
    """The share of one-pixel steps, 32 an image, at which the crop is not the same part of the scene."""
    repaired = with_stable_crop(model, rule=rule)
    shares = []
    for _, stage in shown(repaired, motion, options):
        places = [stage.window(0, dx)[:2] for dx in range(-16, 17)]
        shares.append(np.mean([a != b for a, b in pairwise(places)]))
    return float(np.mean(shares))


def safe(model: sh.Model, options: argparse.Namespace) -> str:
    """How far images may move before their crop changes."""
    repaired = with_stable_crop(model)
    crop, images = stable_crop_of(repaired), options.shared / "data/imagenet_samples"
    found = [
        safe_shifts(sample.read(), crop.selection, crop.resize_px, crop.size)
        for sample in sh.find_samples(images, options.images)
    ]
    radii = np.percentile([each.radius_px for each in found], (25, 50, 75))
    still = sum(not each.chosen.found for each in found)
    return (
        f"\nwhole images: safe radius {radii[0]:.0f}, {radii[1]:.0f}, {radii[2]:.0f} px (quartiles); "
        f"{np.mean([each.neighbours for each in found]):.4f} of the one-pixel shifts are safe; {still} without texture"
    )


def costs(name: str, model: sh.Model, options: argparse.Namespace) -> str:
    """Milliseconds an image: the model's, what choosing adds to a view, and what the views of photographs cost."""
    center, stable = with_center_crop(model), with_stable_crop(model)
    selection = stable_crop_of(stable).selection
    images = [sample.read() for sample in sh.find_samples(options.shared / "data/imagenet_samples", 24)]
    size = selection.larger(model.view_size)
    rng = np.random.default_rng(0)
    views = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in images]
    batch = rng.integers(0, 256, (model.batch_size, *model.view_size, 3), np.uint8)
    one = milliseconds(lambda: model(batch[:1]))
    many = milliseconds(lambda: model(batch)) / len(batch)
    chosen = milliseconds(lambda: [select(v, selection, size, model.view_size) for v in views])
    viewing = ", ".join(
        f"{what} {milliseconds(partial(viewed, way, images)) / len(images):.2f}"
        for what, way in {"as deployed": model, "centre of larger": center, "chosen": stable}.items()
    )
    chosen /= len(views)
    return (
        f"{name}: model {one:.2f} ms alone, {many:.2f} ms in a batch; "
        f"choosing in a view of {size[0]} px {chosen:.3f} ms "
        f"({chosen / one:.1%}, {chosen / many:.1%}); views of photographs: {viewing} ms"
    )


def viewed(model: sh.Model, images: list[Any]) -> None:
    """Make the views of still images."""
    for image in images:
        deployed_view(image, model.preprocessing, model.view_size)


def milliseconds(call: Callable[[], object], rounds: int = 7) -> float:
    """The median."""
    call()
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - begin))
    return float(np.median(found))


def exported(shared: Path) -> Path:
    """SqueezeNet as an ONNX file, written once."""
    path = Path("out/crop_selection/squeezenet1_1.onnx")
    if not path.exists():
        import torch

        model: Any = MODELS["squeezenet1_1"](shared)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            model.net, (torch.zeros(2, 3, 224, 224),), path, dynamo=True, external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    return path


if __name__ == "__main__":
    main()
