"""What a crop, or a letterbox, laid by content brings a detector: a table of the docs on crop selection.

    python scripts/stable_detectors.py ../shared        # audits go to out/stable_detectors

FastestDet (total stride 16) under ``camera``: the pictures of ``scenes`` and the first of ``imagenet_samples``, a sweep
of one-pixel steps to the right. Audits that are there are not made again.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import shiftable as sh
from shiftable.errors import InputError
from shiftable.repairing import with_center_crop, with_stable_crop

STRIDE = 16
SQUASHED = {"resize_px": [352, 352], "crop": "center"}
FED = {"resampler": "box", "mean": [0], "std": [1], "color_order": "BGR"}
WAYS: Mapping[str, tuple[Mapping[str, object], Callable[[sh.Model], sh.Model]]] = {
    "squashed, as deployed": (SQUASHED, lambda model: model),
    "squashed, less a stride: in the middle": (
        SQUASHED, partial(with_center_crop, room_px=STRIDE - 1, letterbox=True),
    ),
    "squashed, less a stride: laid by content": (
        SQUASHED, partial(with_stable_crop, room_px=STRIDE - 1, letterbox=True),
    ),
    "letterbox": ({"crop": "letterbox"}, lambda model: model),
    "letterbox less a stride: in the middle": ({"crop": "letterbox"}, partial(with_center_crop, room_px=STRIDE - 1)),
    "letterbox less a stride: laid by content": ({"crop": "letterbox"}, partial(with_stable_crop, room_px=STRIDE - 1)),
    "region of 352 of 384 px: centre": (SQUASHED, partial(with_center_crop, room_px=2 * STRIDE)),
    "region of 352 of 384 px: chosen": (SQUASHED, partial(with_stable_crop, room_px=2 * STRIDE)),
}  # fmt: skip
METRICS = ("vanished", "appeared", "confidence_change", "centre_error_px", "objects_per_view")


def main() -> None:
    """Audit, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--images", type=int, default=60, help="of imagenet_samples, besides the scenes")
    parser.add_argument("--steps", type=int, default=17)
    parser.add_argument("--out", type=Path, default=Path("out/stable_detectors"))
    options = parser.parse_args()
    scenes = [each for each in sh.find_samples(options.shared / "data/scenes") if "_mask" not in each.id]
    samples = [*scenes, *sh.find_samples(options.shared / "data/imagenet_samples", options.images)]
    print(f"{len(samples)} pictures, {options.steps - 1} steps each\n")
    print(f"| the picture is | {' | '.join(METRICS)} |")
    print("|---" * (len(METRICS) + 1) + "|", flush=True)
    for name, (fed, repaired) in WAYS.items():
        folder = (
            options.out / f"{name.replace(' ', '-').replace(':', '').replace(',', '')}-{len(samples)}x{options.steps}"
        )
        audit = existing(folder) or sh.audit(
            repaired(opened(options.shared, fed)), samples, motion="camera", steps=options.steps,
            direction="horizontal", controls=False, out=folder,
        )  # fmt: skip
        found = [audit.metrics[metric] for metric in METRICS]
        cells = [f"{each.value:.4f} [{each.low:.4f}, {each.high:.4f}]" for each in found]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def opened(shared: Path, fed: Mapping[str, object]) -> sh.Model:
    """FastestDet, fed so."""
    return sh.open_model(
        str(shared / "models/fastestdet_coco.onnx"),
        task="detect",
        decoder="examples/fastestdet.py:decode",
        preprocessing={**FED, **fed},
    )


def existing(folder: Path) -> sh.Audit | None:
    """The finished audit that is there."""
    try:
        return sh.read_audit(folder)
    except InputError:
        return None


if __name__ == "__main__":
    main()
