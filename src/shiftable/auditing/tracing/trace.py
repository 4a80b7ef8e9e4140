"""One image, or one clip, followed step by step: what the model is shown, and what it makes of it.

The picture is figure 1 of Azulay & Weiss 2019: the probability of the right class jumps where the eye sees no change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.motions import FLAGS, MOTIONS, Motion, make_motion
from shiftable.auditing.motions.stage import Picture, Place
from shiftable.auditing.scoring import leading, probabilities_and_evidence
from shiftable.auditing.showing import Show
from shiftable.auditing.tracing.views import VIDEO, Followed, first_frame, follow_clip, follow_image
from shiftable.auditing.walks import Walk, make_walk
from shiftable.data import SHAPES, Sample, check_labels, find_samples
from shiftable.data.video import VIDEO_SUFFIXES
from shiftable.engine import in_batches
from shiftable.errors import InputError, unknown
from shiftable.models import Model, open_model

OF_AN_IMAGE = ("crop", "scale", "rotate")
"""What an image is moved by where nothing is said, if it is in ``MOTIONS``."""

MOST_LINES = 8
"""So many lines can be told apart."""

MOST_FRAMES = 60
"""Frames of a clip, where nothing is said."""

ALL_FRAMES = 600
"""So many views of a clip are kept at once, at most."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One motion of the image: what was shown, step by step, and how probable the model found what.

    Args:
        motion: Name, where in the pipeline it happens, by what factor objects were enlarged to make room, and options.
        axis: What ``offsets`` are, in words.
        offsets: How far the picture has moved, in the unit that ``axis`` names; of a clip, its time in s.
        places: Of each step.
        frames: Of a clip, the numbers of its frames; else None.
        views: What the model was shown, step by step: RGB, of its view size.
        classes: Those drawn, the one that leads most often first.
        probabilities: Of these classes, 0 to 1.
        top1: The leading class of each step. Where more classes lead than are drawn, some of these are not.
        top1_p: Its probability.
        first_p: At each step, the probability of the class that led at the step before; NaN at the first.
        names: Of every class that is drawn or leads.
        home: The step that shows the deployed view; None of a clip, of which each frame is.
    """

    motion: Mapping[str, Any]
    axis: str
    offsets: Float[np.ndarray, "step"]
    places: Sequence[Place]
    frames: Sequence[int] | None
    views: Sequence[Picture]
    classes: Sequence[int]
    probabilities: Float[np.ndarray, "step line"]
    top1: Int[np.ndarray, "step"]
    top1_p: Float[np.ndarray, "step"]
    first_p: Float[np.ndarray, "step"]
    names: Mapping[int, str]
    home: int | None

    @property
    def flips(self) -> list[int]:
        """The steps that are answered otherwise than the one before."""
        return [int(pair) + 1 for pair in np.flatnonzero(np.diff(self.top1))]

    @property
    def jumps(self) -> Float[np.ndarray, "pair"]:
        """From each step to the next, how far the probability of its leading class moves; the mean is `mac`."""
        return np.asarray(np.abs(self.top1_p[:-1] - self.first_p[1:]))

    @property
    def at(self) -> int:
        """The step after the largest jump; after the largest one that changes the answer, if any does."""
        pairs = np.array(self.flips) - 1 if self.flips else np.arange(len(self.jumps))
        return int(pairs[self.jumps[pairs].argmax()]) + 1

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without the pictures."""
        return {
            "motion": dict(self.motion),
            "axis": self.axis,
            "offsets": self.offsets.tolist(),
            "places": [place._asdict() for place in self.places],
            "frames": None if self.frames is None else list(self.frames),
            "classes": list(self.classes),
            "names": {str(number): name for number, name in self.names.items()},
            "probabilities": self.probabilities.tolist(),
            "top1": self.top1.tolist(),
            "top1_p": self.top1_p.tolist(),
            "flips": self.flips,
            "jumps": self.jumps.tolist(),
            "at": self.at,
            "home": self.home,
        }


@dataclass(frozen=True, eq=False)
class Trace:
    """One image, or one clip, along one motion or several.

    Args:
        model: The model's spec, the sha256 of its weights, its preprocessing, scores and number of classes.
        image: The image's id: its file's name.
        source: Where it came from, as it was given; None for what was handed over as pixels.
        label: The right class, or None.
        named: Whether the model's classes have names.
        asked: What was asked for, by the names of `trace`'s arguments; what does not apply is left out.
        remarks: What a reader must know, a sentence each.
        panels: One per motion.
    """

    model: Mapping[str, Any]
    image: str
    source: str | None
    label: int | None
    named: bool
    asked: Mapping[str, Any]
    remarks: Sequence[str]
    panels: Sequence[Panel]

    @property
    def model_name(self) -> str:
        """The model's name without the way there; an address stays whole."""
        spec = str(self.model["spec"])
        return spec if "://" in spec else spec.rstrip("/").rpartition("/")[2] or spec

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without the pictures."""
        return {**vars(self), "panels": [panel.to_json() for panel in self.panels]}


def trace(
    model: Model | str,
    source: str | Path | Sample,
    *,
    motion: str | Sequence[str] | None = None,
    steps: int | None = None,
    direction: str | None = None,
    step: float | int | None = None,
    on: str | None = None,
    fill: str | None = None,
    size_px: int | None = None,
    canvas_px: int | None = None,
    label: int | None = None,
    classes: int = 5,
    start_s: float | int = 0.0,
    frames: int | None = None,
    enlarge: bool = True,
    seed: int = 0,
) -> Trace:
    """Follow one image along a motion, or one clip from frame to frame: every view, and how probable each class is.

    The views of an image are those of an audit's sweep, and so are the answers (Azulay & Weiss 2019, figure 1). Frames
    of a clip are shown as the model is deployed. A clip may be moved like an image: then its first frame is.

    Args:
        model: An open classifier, or a name for `open_model`.
        source: An image or a clip: a file, a table or folder that holds one image, ``"shapes"`` for a drawn one, or a
            sample.
        motion: What moves, one panel each: names of ``MOTIONS``, and ``"video"`` for a clip. None takes crop, scale and
            rotate for an image, video for a clip.
        steps: Views of an image, the deployed one in the middle; None takes 33.
        direction: Which way a step goes, of motions that go down and right: vertical (None), horizontal or diagonal.
        step: How far a step goes, of motions that have a choice.
        on: What a motion works on, of those that have a choice.
        fill: What surrounds the picture on a canvas.
        size_px: The short side of the picture on a canvas.
        canvas_px: The canvas's side.
        label: The right class. It is drawn even if it never leads.
        classes: How many lines at most: the classes that lead most often, with those before and after the largest jump.
        start_s: Where in the clip to begin, in s.
        frames: How many frames of it, at most 600; None takes 60.
        enlarge: Whether the image may be enlarged where the model leaves too little room for the walk.
        seed: Of what a motion draws at random.

    Raises:
        InputError: For a model that is no classifier, more than one image, a clip without frames there, a motion or a
            label that does not exist, an option that no motion has, an image too narrow for the walk.
    """
    clip = _is_clip(source)
    names = _motions(motion, clip)
    given = {"step": step, "on": on, "fill": fill, "size_px": size_px, "canvas_px": canvas_px}
    given = {option: value for option, value in given.items() if value is not None}
    # a slip is better told before a model is opened
    moving = _ways(names, given, steps, direction, seed)
    _refuse_idle(names, clip, steps, direction, start_s, frames)
    _check_numbers(classes, start_s, frames)
    model = open_model(model) if isinstance(model, str) else model
    outputs = _classes_of(model)
    if clip:
        assert isinstance(source, str | Path)
        sample = Sample(Path(source).name, None, partial(first_frame, Path(source), start_s))
    else:
        sample = _one_image(source)
    label = sample.label if label is None else label
    check_labels([replace(sample, label=label)], outputs, "the label")

    panels, failed = [], []
    for name, way in zip(names, moving, strict=True):
        try:
            if way is None:
                assert isinstance(source, str | Path)
                followed = follow_clip(model, Path(source), start_s, frames or MOST_FRAMES)
            else:
                show = Show(*way, model.preprocessing, model.view_size, False, enlarge, seed)
                followed = follow_image(show, sample)
        except InputError as error:
            if motion is not None or clip:
                raise
            failed.append((name, error))
            continue
        panels.append(_panel(model, outputs, followed, label, classes))
    if not panels:
        raise failed[0][1]
    named = [panel.motion["name"] for panel in panels]
    usual = {"motion": named, "classes": classes, "enlarge": enlarge, "seed": seed}
    walked = [way[1].steps for way in moving if way is not None]
    of_image = {"steps": walked[0], "direction": direction} if walked else {}
    of_clip = {"start_s": start_s, "frames": (frames or MOST_FRAMES) if None in moving else None} if clip else {}
    asked = {name: value for name, value in {**usual, **of_image, **of_clip}.items() if value is not None}
    return Trace(
        model={
            "spec": model.spec,
            "weights_sha256": model.weights_sha256,
            "view_size": list(model.view_size),
            "preprocessing": model.preprocessing.to_json(),
            "scores": model.scores,
            "classes": outputs,
        },
        image=sample.id,
        source=None if isinstance(source, Sample) else str(source),
        label=label,
        named=bool(model.class_names),
        asked={**asked, **given},
        remarks=[f"{name}: {error.what} (at {error.where})" for name, error in failed],
        panels=panels,
    )


# What is asked for


def _is_clip(source: str | Path | Sample) -> bool:
    return not isinstance(source, Sample) and Path(source).suffix.lower() in VIDEO_SUFFIXES


def _motions(motion: str | Sequence[str] | None, clip: bool) -> list[str]:
    if motion is None:
        return [VIDEO] if clip else [name for name in OF_AN_IMAGE if name in MOTIONS]
    names = list(dict.fromkeys([motion] if isinstance(motion, str) else motion))
    menu = [*(name for name in MOTIONS if not MOTIONS[name].needs_boxes), VIDEO]
    if not names:
        raise InputError("no motion given", where="--motion", todo="give one, or leave it out")
    for name in names:
        if name not in menu:
            raise unknown("motion", name, menu)
    if VIDEO in names and not clip:
        raise InputError("the motion video is for clips, not for an image", where="--motion", todo="give a video file")
    return names


def _ways(
    names: Sequence[str], given: Mapping[str, Any], steps: int | None, direction: str | None, seed: int
) -> list[tuple[Motion, Walk] | None]:
    """Each motion with its walk, None for a clip's own; options go to those motions that have them."""
    motions = {name: MOTIONS[name] for name in names if name != VIDEO}
    for option in given:
        if not any(option in motion.options for motion in motions.values()):
            able = [name for name in MOTIONS if option in MOTIONS[name].options]
            todo = f"it is for --motion {' or '.join(able)}" if able else "leave it out"
            raise InputError(f"no {option} in {', '.join(names)}", where=FLAGS.get(option, f"--{option}"), todo=todo)
    sideways = any(motion.axes == 2 for motion in motions.values())
    ways: list[tuple[Motion, Walk] | None] = []
    for name in names:
        if name == VIDEO:
            ways.append(None)
            continue
        axes = motions[name].axes
        walk = make_walk("sweep", steps=steps, direction=direction if axes == 2 or not sideways else None, axes=axes)
        own = {option: value for option, value in given.items() if option in motions[name].options}
        ways.append((make_motion(name, seed=seed, **own), walk))
    return ways


def _refuse_idle(
    names: Sequence[str], clip: bool, steps: int | None, direction: str | None, start_s: float | int, frames: int | None
) -> None:
    """Raises InputError for what was asked of a clip and this is none, or the other way round."""
    by_frames, moved = VIDEO in names, names != [VIDEO]
    whole = "a clip that goes frame by frame"
    menu = (
        ("--start", start_s > 0 and not clip, "a start is a clip's, and this is an image", "leave it out"),
        ("--frames", frames is not None and not clip, "frames are a clip's, and this is an image", "give --steps"),
        ("--frames", frames is not None and not by_frames, "only the first frame is moved", "add --motion video"),
        ("--steps", steps is not None and not moved, f"{whole} has no steps", "give --frames"),
        ("--direction", direction is not None and not moved, f"{whole} has no direction", "leave it out"),
    )
    for flag, idle, what, todo in menu:
        if idle:
            raise InputError(what, where=flag, todo=todo)


def _check_numbers(classes: int, start_s: float | int, frames: int | None) -> None:
    if not start_s >= 0:
        raise InputError(f"a clip can't begin at {start_s:g} s", where="--start", todo="give 0 or more")
    if not 1 <= classes <= MOST_LINES:
        raise InputError(f"{classes} lines can't be told apart", where="--classes", todo=f"give 1 to {MOST_LINES}")
    if frames is not None and frames < 2:
        raise InputError(f"{frames} frame is no motion", where="--frames", todo="give 2 or more")
    if frames is not None and frames > ALL_FRAMES:
        todo = f"give {ALL_FRAMES} or fewer, and --start for a later part"
        raise InputError(f"{frames} frames are too many for one page", where="--frames", todo=todo)


def _classes_of(model: Model) -> int:
    if model.task != "classify":
        raise InputError(
            f"a trace shows the probabilities of classes, and the task of this model is {model.task!r}",
            where=model.spec,
            todo="give a classifier",
        )
    return count_outputs(model)


def _one_image(source: str | Path | Sample) -> Sample:
    if isinstance(source, Sample):
        return source
    samples = find_samples(source, 1 if str(source) == SHAPES else 2)
    if len(samples) > 1:
        raise InputError(
            f"holds more than one image ({samples[0].id}, {samples[1].id}, …)", where=source, todo="give one image"
        )
    return samples[0]


# What it makes of it


def _panel(model: Model, outputs: int, followed: Followed, label: int | None, most: int) -> Panel:
    scores = _scores(model, outputs, followed.views)
    step: float | None = getattr(model, "score_step", None)
    p, _ = probabilities_and_evidence(scores, model.scores, step)
    top1 = leading(scores, 1)[:, 0]
    steps = np.arange(len(top1))
    top1_p, first_p = p[steps, top1], np.append(np.nan, p[steps[1:], top1[:-1]])
    panel = Panel(
        **vars(followed), classes=[], probabilities=p[:, :0], top1=top1, top1_p=top1_p, first_p=first_p, names={}
    )
    lines = choose_lines(top1, panel.at, label, most)
    named = model.class_names.__getitem__ if model.class_names else "class {}".format
    names = {number: named(number) for number in dict.fromkeys([*lines, *top1.tolist()])}
    return replace(panel, classes=lines, probabilities=p[:, lines], names=names)


def _scores(model: Model, outputs: int, views: Sequence[Picture]) -> Float[np.ndarray, "step class"]:
    """What the model answers, asked as an audit asks it; of a faster model the exact one is asked."""
    asked: Model = getattr(model, "exact", None) or model

    def call(batch: np.ndarray) -> np.ndarray:
        return np.asarray(asked(batch))

    _, scores = next(in_batches([(None, views)], call, model.batch_size))
    if scores.shape != (len(views), outputs):
        raise InputError(f"its scores have the shape {scores.shape}, not {(len(views), outputs)}", where=model.spec)
    if np.isnan(scores).any():
        raise InputError(
            f"the model answers NaN (step {int(np.isnan(scores).any(axis=1).argmax())})",
            where=model.spec,
            todo="look at its weights",
        )
    return scores


def choose_lines(top1: Int[np.ndarray, "step"], at: int, label: int | None, most: int) -> list[int]:
    """The classes to draw, the one that leads most often first; one that never leads comes last.

    The label is always drawn, then what leads before and after step ``at``, then what leads most often.

    Example:
        >>> choose_lines(np.array([3, 3, 3, 5, 3, 8, 8]), 3, 1, 3)
        [3, 5, 1]
    """
    numbers, first, counts = np.unique(top1, return_index=True, return_counts=True)
    by_lead = numbers[np.lexsort((first, -counts))].tolist()
    wanted = [*([] if label is None else [label]), int(top1[at - 1]), int(top1[at]), *by_lead]
    kept = list(dict.fromkeys(wanted))[:most]
    return sorted(kept, key=lambda number: by_lead.index(number) if number in by_lead else len(by_lead))
