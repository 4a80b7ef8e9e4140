"""The paper's experiments 1 and 2 on the shared photographs: small on a canvas, and cropped; and what depth does."""

from collections.abc import Iterable, Sequence

from shiftable.auditing import compare, read_audit
from shiftable.studies.rows import apart, estimate, grouped, said, those
from shiftable.studies.study import Arm, Bars, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.subjects import SUBJECTS, audited, measured, open_subject

NETS = ("squeezenet1_1", "mobilenetv2")
SMALL = ("squeezenet1_1", "mobilenet_v1_0.25_128")
"""For quick runs."""
SIZES_PX = (50, 75, 100, 125, 150, 200)
"""Short sides of the picture on a canvas of 224 px."""
CANVASES_PX = (224, 320)
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
        return [{"model": "squeezenet1_1", "size_px": size, "fill": "black"} for size in (75, 150)]
    one: list[Arm] = [{"model": model, "size_px": size, "fill": "black"} for model in NETS for size in SIZES_PX]
    others: list[Arm] = [{"model": model, "size_px": 100, "fill": fill} for model in NETS for fill in FILLS[1:]]
    return one + others


def _embedding(arm: Arm, setting: Setting) -> Iterable[Row]:
    size, fill = arm["size_px"], arm["fill"]
    found = audited(
        open_subject(str(arm["model"]), setting), f"{arm['model']}-canvas-{size}-{fill}", setting,
        count=_count(setting), motion="canvas", size_px=size, fill=fill, walk="pairs", walks=3, direction="diagonal",
    )  # fmt: skip
    yield measured(found)


def _embedding_told(rows: Sequence[Row]) -> Told:
    black = {"fill": "black"}
    models = [str(key[0]) for key in grouped(rows, "model")]
    findings = []
    for model in models:
        own = sorted(those(rows, {"model": model, **black}), key=lambda row: int(row["size_px"] or 0))
        small, large = own[0], own[-1]
        findings.append(
            f"{model}: from {small['size_px']} to {large['size_px']} px accuracy goes from "
            f"{_said(small, 'accuracy')} to {_said(large, 'accuracy')} and P from {_said(small, 'p_top1_change')} to "
            f"{_said(large, 'p_top1_change')}; among answers that are right P goes from "
            f"{_said(small, 'change_if_right')} to {_said(large, 'change_if_right')}."
        )
        fills = those(rows, {"model": model, "size_px": 100})
        if len(fills) > 1:
            told = ", ".join(f"{row['fill']} {_said(row, 'p_top1_change')}" for row in fills)
            findings.append(f"{model} at 100 px, P by what is around: {told}.")
    x = "short side of the picture, px"
    figures = (
        Figure("size", "Accuracy and stability against the size of the picture", (
            Lines("Accuracy", "size_px", "accuracy", "model", black, x, "accuracy", percent=True),
            Lines("Changed answers", "size_px", "p_top1_change", "model", black, x, "P(top-1 change)", percent=True),
            Lines("Changed answers, if right", "size_px", "change_if_right", "model", black, x, "P", percent=True),
            Lines("Change of probability", "size_px", "mac", "model", black, x, "MAC"),
        ), caption="Black around the picture, canvas as large as the view, one pixel down and right."),
        *(Figure(f"fill-{model}", f"{model}: what is around the picture", (
            Bars("Changed answers", "p_top1_change", "fill", {"model": model, "size_px": 100}, "P", True),
            Bars("Accuracy", "accuracy", "fill", {"model": model, "size_px": 100}, "accuracy", True),
        )) for model in models if len(those(rows, {"model": model, "size_px": 100})) > 1),
    )  # fmt: skip
    own = sorted(those(rows, {"model": models[0], **black}), key=lambda row: int(row["size_px"] or 0))
    low, high = own[0], own[-1]
    differ = [name for name in ("accuracy", "p_top1_change") if apart(estimate([low], name), estimate([high], name))]
    return Told(
        f"{models[0]}: accuracy is {_said(low, 'accuracy')} of pictures {low['size_px']} px high on black, and "
        f"{_said(high, 'accuracy')} of those {high['size_px']} px high; the answer changes "
        f"{_said(low, 'p_top1_change')} and {_said(high, 'p_top1_change')} of the time. "
        + (
            f"So size alone changes {' and '.join(COLUMNS[name] for name in differ)}."
            if differ
            else "By these pictures the two sizes can't be told apart."
        ),
        tuple(findings),
        figures,
        (Table("All sizes and fills", ("model", "size_px", "fill"), COLUMNS, percent=SHARES),),
    )


def _said(row: Row, name: str) -> str:
    return said(estimate([row], name), name in SHARES)


EMBEDDING = Study(
    "embedding",
    "Experiment 1: the picture, small on a canvas",
    "Is the accuracy low, and the answer unstable, because the picture is embedded?",
    (
        "Each photograph is made small, its short side as said, and put on a canvas of the view's size; it moves by "
        "one pixel down and right, three times from random places. The same with several surroundings.",
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
    yield {**measured(found), "layers": SUBJECTS[str(arm["model"])].layers}


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
    return Told(
        f"Raw, the most accurate ({best['model']}, {_share(best, 'accuracy')}) changes its answer "
        f"{_share(best, 'p_top1_change')} of the time, the least accurate ({worst['model']}, "
        f"{_share(worst, 'accuracy')}) {_share(worst, 'p_top1_change')}"
        + ("." if differ else ": by these photographs the two can't be told apart."),
        (
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
                Lines("MobileNetV1 by width", "width", "p_top1_change", None, x_words="width", joined=False,
                      y_words="P(top-1 change)", percent=True),
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
