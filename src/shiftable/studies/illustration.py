"""Figure 1 of the paper: a picture is moved, scaled, or shown a frame later, and the probability jumps."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from shiftable.auditing import trace
from shiftable.auditing.tracing.trace import Panel as Traced
from shiftable.studies.rows import those
from shiftable.studies.study import Arm, Figure, Lines, Panel, Pictures, Row, Setting, Study, Told
from shiftable.studies.subjects import PHOTOGRAPHS, open_subject

MODELS = ("squeezenet1_1", "mobilenetv2")
MOTIONS = ("crop", "scale", "video")
CANDIDATES = 24
"""So many photographs are tried; the one with the largest jump is shown. It is an illustration."""
DRAWN = 3
"""Of the leading classes."""


def _arms(setting: Setting) -> Sequence[Arm]:
    models = setting.pick(("squeezenet1_1",), MODELS)
    return [{"model": model, "motion": motion} for model in models for motion in MOTIONS]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    model, motion = open_subject(str(arm["model"]), setting), str(arm["motion"])
    if motion == "video":
        name, panel = (
            "cockatoo.mp4",
            trace(model, setting.find("data", "cockatoo.mp4"), frames=setting.pick(10, 60)).panels[0],
        )
    else:
        photographs = sorted(setting.find(*PHOTOGRAPHS).glob("*.JPEG"))[: setting.pick(1, CANDIDATES)]
        panels = [
            trace(model, path, motion=motion, steps=setting.pick(9, 33), seed=setting.seed).panels[0]
            for path in photographs
        ]
        most = int(np.argmax([_jumps(panel).max() for panel in panels]))
        name, panel = photographs[most].name, panels[most]
    key, jumps = f"{arm['model']}-{motion}", _jumps(panel)
    largest = int(jumps.argmax()) + 1
    for side, at in (("before", largest - 1), ("after", largest)):
        Image.fromarray(panel.views[at]).save(setting.folder / "pictures" / f"{key}-{side}.png")
    for step, offset in enumerate(panel.offsets):
        for line, number in enumerate(panel.classes[:DRAWN]):
            yield {
                "picture": name,
                "axis": panel.axis,
                "offset": float(offset),
                "class": panel.names[number],
                "p": float(panel.probabilities[step, line]),
                "jump": float(jumps[step - 1]) if step else None,
            }


def _jumps(panel: Traced) -> Float[np.ndarray, "step"]:
    """From each step to the next, the largest change of a probability that is drawn."""
    return np.asarray(np.abs(np.diff(panel.probabilities[:, :DRAWN], axis=0)).max(1))


def _tell(rows: Sequence[Row]) -> Told:
    figures, findings = [], []
    for row in {(row["model"], row["motion"]): row for row in rows}.values():
        model, motion = str(row["model"]), str(row["motion"])
        own = those(rows, {"model": model, "motion": motion})
        jump = max(own, key=lambda each: float(each["jump"] or 0))
        findings.append(
            f"{model}, {motion}: from one step to the next the probability of a class moves by up to "
            f"{float(jump['jump'] or 0):.2f} ({jump['picture']})."
        )
        panels: tuple[Panel, ...] = (
            Lines(f"{model}, {motion}", "offset", "p", "class", {"model": model, "motion": motion}, str(row["axis"]),
                  "probability"),
            Pictures("Before and after the largest jump",
                     (f"{model}-{motion}-before.png", f"{model}-{motion}-after.png"), ("before", "after")),
        )  # fmt: skip
        figures.append(Figure(f"{model}-{motion}", f"{model}, {motion}", panels, 1, f"Picture: {row['picture']}."))
    worst = max(float(row["jump"] or 0) for row in rows)
    return Told(
        f"Yes: between two views that differ by one pixel, or two frames, a class's probability moves by up to "
        f"{worst:.2f}.",
        tuple(findings),
        tuple(figures),
    )


ILLUSTRATION = Study(
    "illustration",
    "Figure 1",
    "Can the answer jump where the eye sees no change?",
    (
        "One photograph moves by one pixel at a time, one grows by one pixel at a time, and a video goes on from frame "
        "to frame. The probabilities of the leading classes are drawn, with the two views around the largest jump.",
        f"Of {CANDIDATES} photographs the one with the largest jump is shown: this illustrates, it does not measure.",
    ),
    "Azulay & Weiss 2019, figure 1: the correct class's probability of InceptionResNetV2 drops from near 1 to near 0 "
    "by one pixel of shift, one pixel of scale, or one frame of a video.",
    _arms,
    _measure,
    _tell,
    ("How often it happens: see the studies crops and embedding.",),
)
