"""The paper's experiments 1 and 2 on the shared photographs: small on a canvas, and cropped; and what depth does."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from shiftable.auditing import compare, read_audit
from shiftable.studies.rows import apart, estimate, grouped, rank_correlation, said, those
from shiftable.studies.study import Arm, Bars, Figure, Lines, Pictures, Row, Setting, Study, Table, Told
from shiftable.studies.subjects import SUBJECTS, audited, label_probabilities, measured, open_subject

NETS = ("squeezenet1_1", "mobilenetv2")
SMALL = ("squeezenet1_1", "mobilenet_v1_0.25_128")
"""For quick runs."""
SIZES_PX = (50, 75, 100, 125, 145)
"""Short sides of the picture; up to 145 px nearly all photographs fit on a canvas of 224 px."""
VIEW_PX, LARGE_PX = 224, 320
"""The nets' own view, and a larger one, which leaves room for larger pictures."""
LARGE_SIZES_PX = (100, 145, 200)
FILLS = ("black", "mean", "noise", "inpaint")
COLUMNS = {
    "p_top1_change": "P(top-1 change)",
    "mac": "MAC",
    "accuracy": "accuracy",
    "change_if_right": "P(change) if right",
}
SHARES = ("p_top1_change", "accuracy", "change_if_right", "worst_case_accuracy")


def _count(setting: Setting) -> int:
    return setting.pick(4, 200)


def _embedding_arms(setting: Setting) -> Sequence[Arm]:
    if setting.scale == "quick":
        return [_placed("squeezenet1_1", size) for size in (75, 145)] + [_placed("squeezenet1_1", None, "cropped")]
    return [
        arm
        for model in NETS
        for arm in (
            *(_placed(model, size) for size in SIZES_PX),
            *(_placed(model, 100, fill) for fill in FILLS[1:]),
            *(_placed(model, size, canvas_px=LARGE_PX) for size in LARGE_SIZES_PX),
            _placed(model, None, "cropped"),
        )
    ]


def _placed(model: str, size_px: int | None, fill: str = "black", canvas_px: int = VIEW_PX) -> Arm:
    return {"model": model, "size_px": size_px, "fill": fill, "canvas_px": canvas_px}


def _embedding(arm: Arm, setting: Setting) -> Iterable[Row]:
    model, size, fill, canvas = str(arm["model"]), arm["size_px"], arm["fill"], int(arm["canvas_px"] or VIEW_PX)
    large = "" if canvas == VIEW_PX else f"-on-{canvas}"
    name, motion = f"{model}-canvas-{size}-{fill}{large}", {"motion": "canvas", "size_px": size, "fill": fill}
    if fill == "cropped":
        name, motion = f"{model}-crop", {"motion": "crop"}
    opened = open_subject(model, setting, None if canvas == VIEW_PX else canvas)
    found = audited(opened, name, setting, count=_count(setting), walk="pairs", walks=3, direction="diagonal", **motion)
    yield {**measured(found), "images": found.images["count"]}


def _embedding_told(rows: Sequence[Row]) -> Told:
    on_black: Arm = {"fill": "black", "canvas_px": VIEW_PX}
    models = [str(key[0]) for key in grouped(rows, "model")]
    answers, findings = [], []
    for model in models:
        own = sorted(those(rows, {"model": model, **on_black}), key=lambda row: int(row["size_px"] or 0))
        small, large = own[0], own[-1]
        (crop,) = those(rows, {"model": model, "fill": "cropped"})
        answers.append(
            f"{model} gets {_said(small, 'accuracy')} right of pictures {small['size_px']} px high on black, "
            f"{_said(large, 'accuracy')} of those {large['size_px']} px high, and {_said(crop, 'accuracy')} of crops; "
            f"crops still change their answer {_said(crop, 'p_top1_change')} of the time, the small pictures "
            f"{_said(small, 'p_top1_change')}."
        )
        findings.append(
            f"{model}, answers that are right: P is {_said(small, 'change_if_right')} at {small['size_px']} px, "
            f"{_said(large, 'change_if_right')} at {large['size_px']} px, {_said(crop, 'change_if_right')} of crops."
        )
        fills = those(rows, {"model": model, "size_px": 100, "canvas_px": VIEW_PX})
        if len(fills) > 1:
            told = ", ".join(
                f"{row['fill']} {_said(row, 'p_top1_change')} at accuracy {_said(row, 'accuracy')}" for row in fills
            )
            findings.append(f"{model} at 100 px, P by what is around: {told}.")
        for row in those(rows, {"model": model, "canvas_px": LARGE_PX}):
            beside = "".join(
                f", on {VIEW_PX} px {_said(same, 'p_top1_change')} at {_said(same, 'accuracy')}"
                for same in those(own, {"size_px": row["size_px"]})
            )
            findings.append(
                f"{model}, {row['size_px']} px on a canvas of {LARGE_PX} px: P {_said(row, 'p_top1_change')} at "
                f"accuracy {_said(row, 'accuracy')}{beside}."
            )
    first = [those(rows, {"model": models[0], **part})[0] for part in ({**on_black}, {"fill": "cropped"})]
    low_accuracy = apart(*(estimate([row], "accuracy") for row in first))
    stays = estimate(first[1:], "p_top1_change").low > 0
    return Told(
        f"The accuracy: {'yes' if low_accuracy else 'by these pictures unknown'}. The changes: "
        f"{'not alone' if stays else 'perhaps'}. {answers[0]}",
        (*answers[1:], *findings),
        _embedding_figures(rows, models),
        (Table("All sizes, fills and canvases", ("model", "size_px", "fill", "canvas_px"), {**COLUMNS,
               "images": "images"}, percent=SHARES),),
    )  # fmt: skip


def _embedding_figures(rows: Sequence[Row], models: Sequence[str]) -> tuple[Figure, ...]:
    black: Arm = {"fill": "black", "canvas_px": VIEW_PX}
    at_100: Arm = {"size_px": 100, "canvas_px": VIEW_PX}
    x = "short side of the picture, px"
    return (
        Figure("size", "Accuracy and stability against the size of the picture", (
            Lines("Accuracy", "size_px", "accuracy", "model", black, x, "accuracy", percent=True),
            Lines("Changed answers", "size_px", "p_top1_change", "model", black, x, "P(top-1 change)", percent=True),
            Lines("Changed answers, if right", "size_px", "change_if_right", "model", black, x, "P", percent=True),
            Lines("Change of probability", "size_px", "mac", "model", black, x, "MAC"),
        ), caption=f"Black around the picture, a canvas of {VIEW_PX} px, one pixel down and right."),
        *(Figure(f"fill-{model}", f"{model}: what is around the picture", (
            Bars("Changed answers", "p_top1_change", "fill", {"model": model, **at_100}, "P", True),
            Bars("Accuracy", "accuracy", "fill", {"model": model, **at_100}, "accuracy", True),
        )) for model in models if len(those(rows, {"model": model, **at_100})) > 1),
    )  # fmt: skip


def _said(row: Row, name: str) -> str:
    return said(estimate([row], name), name in SHARES)


EMBEDDING = Study(
    "embedding",
    "Experiment 1: the picture, small on a canvas",
    "Is the accuracy low, and the answer unstable, because the picture is embedded?",
    (
        "Each photograph is made small, its short side as said, and put on a canvas of the view's size; it moves by "
        "one pixel down and right, three times from random places. The same with several surroundings, and on a "
        "larger canvas, which the nets are shown as it is.",
        "Beside that the same photographs as deployed: resized, cropped and not embedded, the crop moved as far.",
    ),
    "Azulay & Weiss 2019, table 1, embedded (100 px, mean fill, diagonal): P(top-1 change) 0.18 to 0.20, MAC 0.06 to "
    "0.086 for VGG16, ResNet50, DenseNet121 (PyTorch weights).",
    _embedding_arms,
    _embedding,
    _embedding_told,
    (
        "200 photographs from ImageNet's training set: accuracy is flattered.",
        "A smaller picture on a canvas of one size is also at other distances from its edge.",
    ),
)


def _crops_arms(setting: Setting) -> Sequence[Arm]:
    models = setting.pick(SMALL[:1], tuple(SUBJECTS))
    return [{"model": model, "motion": motion} for model in models for motion in ("crop", "canvas")]


def _crops(arm: Arm, setting: Setting) -> Iterable[Row]:
    found = audited(
        open_subject(str(arm["model"]), setting), f"{arm['model']}-{arm['motion']}", setting,
        count=_count(setting), motion=str(arm["motion"]), walk="sweep", steps=setting.pick(5, 17),
    )  # fmt: skip
    heat = np.round(255 * label_probabilities(found)).astype(np.uint8)
    Image.fromarray(heat.repeat(CELL_PX, 1)).save(setting.folder / "pictures" / f"{arm['model']}-{arm['motion']}.png")
    yield {**measured(found), "layers": SUBJECTS[str(arm["model"])].layers}


CELL_PX = 8
"""How wide a place is drawn in a heat map; a photograph is a row of one px."""


def _crops_told(rows: Sequence[Row]) -> Told:
    crop, canvas = those(rows, {"motion": "crop"}), those(rows, {"motion": "canvas"})
    findings = [
        f"{row['model']}: cropped P {_said(row, 'p_top1_change')} at accuracy {_said(row, 'accuracy')}; small on black "
        f"P {_said(other, 'p_top1_change')} at accuracy {_said(other, 'accuracy')}."
        for row, other in zip(crop, canvas, strict=True)
    ]
    unstable = [f"{row['model']} {_said(row, 'worst_case_accuracy')} of {_said(row, 'accuracy')}" for row in crop]
    return Told(
        "Without any embedding, a step of one pixel changes the answer of "
        + ", ".join(f"{row['model']} {_said(row, 'p_top1_change')}" for row in crop)
        + " of the time.",
        (*findings, "Right at every place of a sweep, of those right on average: " + "; ".join(unstable) + "."),
        tuple(
            Figure(motion, title, (
                Bars("Changed answers", "p_top1_change", "model", {"motion": motion}, "P(top-1 change)", True),
                Bars("Jaggedness: the right class enters or leaves the top 5", "jaggedness", "model",
                     {"motion": motion}, "times a sweep"),
            )) for motion, title in (("crop", "Crops (experiment 2)"), ("canvas", "Small on black (experiment 1)"))
        )
        + tuple(
            Figure(f"heat-{motion}", f"Heat maps, {words}", (
                Pictures("Probability of the right class, black 0, white 1",
                         tuple(f"{row['model']}-{motion}.png" for row in same),
                         tuple(str(row["model"]) for row in same)),
            ), 1, "Every row is a photograph, from the surest to the least sure; every column a place, one px further "
            "down. What is steady is grey from left to right; what jumps is speckled.")
            for motion, words, same in (("crop", "crops", crop), ("canvas", "small on black", canvas))
        ),
        (Table("All models", ("motion", "model"), {**COLUMNS, "jaggedness": "jaggedness",
               "worst_case_accuracy": "right everywhere"}, percent=SHARES),),
    )  # fmt: skip


CROPS = Study(
    "crops",
    "Experiment 2: crops, and every net's jaggedness",
    "Does the answer change with one pixel if nothing is embedded and the view is only cropped elsewhere?",
    (
        "Each photograph is resized as the model is deployed, and its view slides down by one pixel at a time, a sweep "
        "about the middle; beside it the same on a black canvas.",
        "Jaggedness counts how often the right class enters or leaves the top 5 within a sweep.",
    ),
    "Azulay & Weiss 2019, table 1, crop: P(top-1 change) 0.062 VGG16, 0.061 ResNet50, 0.068 DenseNet121; MAC 0.038, "
    "0.040, 0.045.",
    _crops_arms,
    _crops,
    _crops_told,
    ("The paper slides over boxes of objects, diagonally; whole photographs are used here, vertically.",),
)


def _depth_arms(setting: Setting) -> Sequence[Arm]:
    return [{"models": ",".join(setting.pick(SMALL, tuple(SUBJECTS)))}]


def _depth(arm: Arm, setting: Setting) -> Iterable[Row]:
    names = str(arm["models"]).split(",")
    for name in names:
        audited(open_subject(name, setting), name, setting, count=_count(setting), motion="crop", walk="pairs",
                walks=setting.pick(2, 4), direction="horizontal")  # fmt: skip
    found = compare([read_audit(setting.folder / "kept" / name) for name in names])
    for name, each in zip(names, found.audits, strict=True):
        subject = SUBJECTS[name]
        row: dict[str, str | int | float | None] = {"model": name, "layers": subject.layers, "width": subject.width}
        row |= measured(each.audit)
        for figure in ("matched_accuracy", "matched_margin"):
            if figure not in found.absent:
                value = each.stability[figure]
                row |= {figure: value.value, f"{figure}_low": value.low, f"{figure}_high": value.high}
        yield row


def _depth_told(rows: Sequence[Row]) -> Told:
    def line(name: str) -> str:
        return ", ".join(f"{row['model']} {_share(row, name)}" for row in rows if row.get(name) is not None)

    best, worst = (pick(rows, key=lambda row: float(row["accuracy"] or 0)) for pick in (max, min))
    differ = apart(estimate([best], "p_top1_change"), estimate([worst], "p_top1_change"))
    changes = [float(row["p_top1_change"] or 0) for row in rows]
    orders = {
        name: rank_correlation([float(row[name] or 0) for row in rows], changes)
        for name in ("accuracy", "layers", "margin")
    }
    fair = [row for row in rows if row.get("matched_margin") is not None]
    level = rank_correlation(*([float(row[name] or 0) for row in fair] for name in ("accuracy", "matched_margin")))
    matched = "" if np.isnan(level) else f"; of P at matched margin with accuracy {level:.2f}"
    verdict = ""
    if differ:
        steadier = estimate([best], "p_top1_change").value < estimate([worst], "p_top1_change").value
        verdict = "Not these: " if steadier else "These are: "
    return Told(
        f"{verdict}the most accurate ({best['model']}, {_share(best, 'accuracy')}) changes its answer "
        f"{_share(best, 'p_top1_change')} of the time, the least accurate ({worst['model']}, "
        f"{_share(worst, 'accuracy')}) {_share(worst, 'p_top1_change')}"
        + ("." if differ else ": by these photographs the two can't be told apart."),
        (
            "Rank correlation of P with accuracy, layers and margin over the nets: "
            + ", ".join(f"{name} {value:.2f}" for name, value in orders.items())
            + f"{matched}. In the paper the more accurate nets change more often.",
            f"At matched accuracy (photographs that all get right): {line('matched_accuracy') or 'too few'}.",
            f"At matched margin: {line('matched_margin') or 'too few pairs in every bin'}.",
            "Width, view size and depth grow together in the MobileNetV1 family, so they can't be told apart there.",
        ),
        (
            Figure("accuracy", "Stability against accuracy, margin and layers", (
                Lines("Against accuracy", "accuracy", "p_top1_change", "model", x_words="accuracy",
                      y_words="P(top-1 change)", percent=True, joined=False),
                Lines("Against the margin", "margin", "p_top1_change", "model", x_words="margin (logits)",
                      y_words="P(top-1 change)", percent=True, joined=False),
                Lines("Against layers", "layers", "p_top1_change", "model", x_words="layers with weights",
                      y_words="P(top-1 change)", percent=True, joined=False),
                Lines("TFLite files by width; of 1: MobileNetV2", "width", "p_top1_change", None, x_words="width",
                      y_words="P(top-1 change)", percent=True, joined=False),
            )),
            Figure("matched", "Three ways to compare", (
                Bars("Raw", "p_top1_change", "model", {}, "P", True),
                Bars("At matched accuracy", "matched_accuracy", "model", {}, "P", True),
                Bars("At matched margin", "matched_margin", "model", {}, "P", True),
            ), 1),
        ),
        (Table("All models", ("model",), {**COLUMNS, "margin": "margin", "matched_accuracy": "P, matched accuracy",
               "matched_margin": "P, matched margin"}, percent=(*SHARES, "matched_accuracy", "matched_margin")),),
    )  # fmt: skip


def _share(row: Row, name: str) -> str:
    return said(estimate([row], name), True)


DEPTH = Study(
    "depth",
    "Deeper, more accurate, less invariant?",
    "Are deeper and more accurate nets less invariant?",
    (
        "The shared classifiers answer the same pairs of views one pixel apart. A surer or more accurate net changes "
        "its answer less often for that alone, so three figures are given: raw; on the photographs that all get right; "
        "and at equal margins (direct standardisation).",
    ),
    "Azulay & Weiss 2018: the modern, deeper nets are more accurate and less invariant (VGG16, ResNet50, "
    "InceptionResNetV2).",
    _depth_arms,
    _depth,
    _depth_told,
    (
        "Seven nets are no law, and of different view sizes.",
        "The paper's own nets need their weights from a hub; see docs/seven_models.md for how to add models.",
    ),
)
