"""Photographers' bias: where objects are in a data set, and what a net becomes that learns from such pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from shiftable.bias import Bias, bias
from shiftable.data import Box
from shiftable.data.shapes import CLASSES, Scene, render, scenes
from shiftable.studies.rows import differ, estimate, grouped, said, those
from shiftable.studies.study import Arm, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.training import shuffled_batches, train

CANVAS_PX, VIEW_PX = 96, 64
DISTANCES_PX = (0, 4, 8, 12, 16)
"""How far an object stands from the view's middle; the photographer's stand within about 6 px."""
PLACEMENTS = ("photographer", "uniform places", "uniform places and sizes")
RADII_PX = (6.0, 20.0)
"""Of the sizes that are uniform; a photographer's are of 8 to 13 px."""


def _arms(setting: Setting) -> Sequence[Arm]:
    data: list[Arm] = [] if setting.shared is None else [{"part": "boxes"}]
    seeds = range(setting.pick(1, 3, 5))
    return data + [{"part": "net", "placement": placement, "seed": seed} for seed in seeds for placement in PLACEMENTS]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    if arm["part"] == "boxes":
        yield from _boxes(bias(tiny_imagenet(setting)))
    else:
        yield from _net(str(arm["placement"]), int(arm["seed"] or 0), setting)


def tiny_imagenet(setting: Setting) -> dict[str, tuple[Box, ...]]:
    """The shared boxes of tiny-ImageNet, by file. Annotations count pixels from 0 and include the last one."""
    import pyarrow.parquet as pq

    table = pq.read_table(setting.find("data", "tiny_imagenet_boxes.parquet"))
    rows = table.slice(0, setting.pick(2000, len(table))).to_pylist()
    found: dict[str, tuple[Box, ...]] = {}
    for row in rows:
        if row["xmax"] > row["xmin"] and row["ymax"] > row["ymin"]:
            size = int(row["height"]), int(row["width"])
            box = Box(row["xmin"], row["ymin"], row["xmax"] + 1, row["ymax"] + 1, row["wnid"], size)
            found[row["file"]] = (*found.get(row["file"], ()), box)
    return found


def _boxes(found: Bias) -> Iterable[Row]:
    for side, each in found.preferences.items():
        facts = {
            "spread": each.spread.value, "spread_low": each.spread.low, "spread_high": each.spread.high,
            "distance": each.distance, "boxes": found.boxes, "classes": len(found.classes),
            "classes_below_1": sum(kind[side].spread.high < 1 for kind in found.classes.values()),
        }  # fmt: skip
        for at, count in enumerate(each.counts):
            share = float(count) / max(int(each.counts.sum()), 1)
            yield {"side": side, "place": (at + 0.5) / len(each.counts), "share": share, **facts}


def _net(placement: str, seed: int, setting: Setting) -> Iterable[Row]:
    """A net that learned from one placement, asked about objects at growing distance from the middle."""
    from shiftable.models.demo import demo_net

    count, steps = setting.pick(64, 4000), setting.pick(20, 600)
    typical = scenes(count, 100 + seed, (CANVAS_PX, CANVAS_PX), "photographer")
    rng = np.random.default_rng(seed)
    learned = [placed(scene, placement, rng) for scene in typical]
    views = torch.from_numpy(np.stack([picture_of(scene) for scene in learned]))
    labels = torch.tensor([scene.label for scene in learned])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = demo_net(pretrained=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = shuffled_batches(views, labels, min(128, count), seed)
    shown = ((_normalised(_turned(part, step)), right) for step, (part, right) in enumerate(batches))
    train(net, shown, steps, learning_rate=5e-3, weight_decay=0.02, precision="bfloat16", seed=seed)
    net.eval()
    tested = list(scenes(setting.pick(20, 500), 7, (CANVAS_PX, CANVAS_PX), "photographer"))
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, len(tested))
    truth = np.array([scene.label for scene in tested])
    for distance in DISTANCES_PX:
        first, second = (_answers(net, tested, angles, distance, right) for right in (0, 1))
        yield {
            "distance_px": distance,
            "accuracy": float((first == truth).mean()),
            "p_top1_change": float((first != second).mean()),
            "change_if_right": float((first != second)[first == truth].mean()) if (first == truth).any() else None,
        }


def placed(scene: Scene, placement: str, rng: np.random.Generator) -> Scene:
    """The same object, where and as large as one of ``PLACEMENTS`` says: entirely inside the view."""
    radius = rng.uniform(*RADII_PX) if placement == PLACEMENTS[2] else scene.radius
    low, high = (CANVAS_PX - VIEW_PX) / 2 + radius, (CANVAS_PX + VIEW_PX) / 2 - radius
    y, x = rng.uniform(low, high, 2)
    return scene if placement == PLACEMENTS[0] else replace(scene, y=float(y), x=float(x), radius=float(radius))


def _answers(net: nn.Module, tested: Sequence[Scene], angles: np.ndarray, distance_px: int, right: int) -> np.ndarray:
    """The leading classes of scenes whose object stands so far from the middle, and ``right`` px farther right."""
    views = []
    for scene, angle in zip(tested, angles, strict=True):
        # whole pixels: so the next place shows the same bytes, one pixel on
        dy = round(CANVAS_PX / 2 + distance_px * np.sin(angle) - scene.y)
        dx = round(CANVAS_PX / 2 + distance_px * np.cos(angle) - scene.x)
        views.append(picture_of(scene, dy, dx + right))
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(np.stack(views)), 250)
        return torch.cat([net(_normalised(part)) for part in parts]).argmax(1).numpy()


def picture_of(scene: Scene, dy: int = 0, dx: int = 0) -> np.ndarray:
    """The middle of a scene that has moved by so many px."""
    start = (CANVAS_PX - VIEW_PX) // 2
    picture = render(scene, (CANVAS_PX, CANVAS_PX), dy, dx)
    return picture[start : start + VIEW_PX, start : start + VIEW_PX]


def _turned(views: Tensor, step: int) -> Tensor:
    """The batch as it is, upside down, mirrored, or both: the world looks the same, and no object leaves its ring."""
    return views.flip([axis for axis in (1, 2) if step >> (axis - 1) & 1])


def _normalised(views: Tensor) -> Tensor:
    from shiftable.models.demo import PREPROCESSING

    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    return ((views / 255 - mean) / std).permute(0, 3, 1, 2)


def _tell(rows: Sequence[Row]) -> Told:
    boxes, nets = those(rows, {"part": "boxes"}), those(rows, {"part": "net"})
    findings = []
    for (side,), same in grouped(boxes, "side").items():
        row = same[0]
        findings.append(
            f"tiny-ImageNet, {side}: spread {said(estimate([row], 'spread'))} of what no preference would give, "
            f"distance from uniform {float(row['distance'] or 0):.2f}; in {row['classes_below_1']} of {row['classes']} "
            "classes the interval lies below 1."
        )
    at = {
        (placement, distance): [row for row in nets if (row["placement"], row["distance_px"]) == (placement, distance)]
        for placement in PLACEMENTS
        for distance in DISTANCES_PX
    }
    near, far = DISTANCES_PX[0], DISTANCES_PX[-1]
    for name, words in (("accuracy", "accuracy"), ("p_top1_change", "P")):
        told = "; ".join(
            f"{placement} {said(estimate(at[placement, near], name), True)} in the middle, "
            f"{said(estimate(at[placement, far], name), True)} at {far} px"
            for placement in PLACEMENTS
        )
        findings.append(f"Nets by what they learned from, {words}: {told}.")
    typical, uniform = PLACEMENTS[:2]
    there = {placement: estimate(at[placement, far], "p_top1_change") for placement in PLACEMENTS}
    told_apart = differ(at[uniform, far], at[typical, far], "p_top1_change")
    helps = told_apart and there[uniform].value < there[typical].value
    ends = any(there[placement].low <= 0 for placement in PLACEMENTS[1:])
    return Told(
        f"{far} px from the middle one pixel changes the answer: "
        + ", ".join(f"{placement} {said(there[placement], True)}" for placement in PLACEMENTS)
        + ". Uniform places "
        + ("help there" if helps else "do not help there" if told_apart else "help there by less than these seeds tell")
        + ("." if ends else ", and end it nowhere."),
        tuple(findings),
        (
            *((Figure("boxes", "Where objects are in tiny-ImageNet, and how large", tuple(
                Lines(title, "place", "share", None, {"part": "boxes", "side": side}, words, "share of boxes",
                      percent=True)
                for side, title, words in (
                    ("across", "From left to right", "0 at the left edge, 1 at the right"),
                    ("down", "From top to bottom", "0 at the top, 1 at the bottom"),
                    ("size", "Size", "root of the share of the image"))
            ), 3, "No preference would be a level line at 5 %. Boxes that touch the edge are left out of the places."),)
              if boxes else ()),
            Figure("distance", "What a net learns from them", (
                Lines("Changed answers", "distance_px", "p_top1_change", "placement", {"part": "net"},
                      "distance from the middle, px", "P(top-1 change)", percent=True),
                Lines("Accuracy", "distance_px", "accuracy", "placement", {"part": "net"},
                      "distance from the middle, px", "accuracy", percent=True),
            ), caption="The same test objects, moved outwards. The photographer’s stand within about 6 px."),
        ),
        (Table("Nets", ("placement", "distance_px"), {"accuracy": "accuracy", "p_top1_change": "P",
               "change_if_right": "P, if right"}, {"part": "net"}, ("accuracy", "p_top1_change", "change_if_right")),),
    )  # fmt: skip


BIAS = Study(
    "bias",
    "Photographers' bias",
    "Do photographers put objects in the middle, and would a uniform data set solve it?",
    (
        "Boxes of tiny-ImageNet are held against no preference (shiftable bias does the same for any annotations).",
        f"Then the cause is put to the test: the embedded net's architecture learns from drawn shapes ({len(CLASSES)} "
        "classes) placed as a photographer would, the same anywhere in the view, and anywhere in any size; all answer "
        "the same test objects, moved outwards from the middle, and one pixel on.",
    ),
    "Azulay & Weiss 2019, section 4: ImageNet's objects lie near the middle and are of typical sizes; the note to it "
    "asks whether a uniform data set would solve the problem.",
    _arms,
    _measure,
    _tell,
    ("Drawn shapes in views of 64 px are not photographs.",),
)
