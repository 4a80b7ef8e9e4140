"""Models that know where a view was taken, and so can answer the truth, or miss it by as much as a test wants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from fakes import FakeModel

from shiftable.auditing.motions import make_motion
from shiftable.auditing.motions.stage import Place, Window
from shiftable.auditing.showing import Show
from shiftable.auditing.walks import make_walk
from shiftable.data import shapes
from shiftable.models import Preprocessing

SIZE = (72, 88)
"""(height, width) of the scenes in px."""

COUNT = 4
SCENES = list(shapes.scenes(COUNT, seed=3, size=SIZE))
SAMPLES = [  # drawn once
    replace(sample, read=lambda picture=sample.read(): picture) for sample in shapes.samples(COUNT, seed=3, size=SIZE)
]

VIEW = (40, 48)
PREPROCESSING = {
    "center": Preprocessing(resize_px=60),
    "letterbox": Preprocessing(resize_px=48, crop="letterbox"),
}


@dataclass(frozen=True)
class Answerer(FakeModel):
    """A fake whose answers are taken as they are."""

    view_size: tuple[int, int] = VIEW
    task: str = "detect"

    def __call__(self, views):
        return self.answer(views)


@dataclass(frozen=True)
class Taken:
    """Where a view was taken: of which image, at which place, showing which part of the still scene."""

    image: int
    place: Place
    window: Window

    def in_view(self, points):
        """Points (x, y) of the still scene in px of the view."""
        scale = np.array([VIEW[1] / self.window.width, VIEW[0] / self.window.height])
        return (np.asarray(points, float) - [self.window.x, self.window.y]) * scale


@dataclass
class Oracle:
    """Recognises views: exactly, or the nearest of those it knows (of a control)."""

    known: dict[bytes, Taken] = field(default_factory=dict)

    def __call__(self, view) -> Taken:
        if (taken := self.known.get(view.tobytes())) is not None:
            return taken
        row = view.ravel()[::7].astype(np.int16)
        return list(self.known.values())[int(np.abs(self.every - row).sum(axis=1).argmin())]

    @cached_property
    def every(self):
        """Some pixels of all views."""
        return np.stack([np.frombuffer(view, np.uint8)[::7] for view in self.known]).astype(np.int16)


def oracle(motion="crop", crop="center", samples: Sequence = tuple(SAMPLES), **walk) -> Oracle:
    """Who knows all views of an audit of these images."""
    show = Show(make_motion(motion), make_walk(**walk), PREPROCESSING[crop], VIEW)
    known = {}
    for image, sample in enumerate(samples):
        stage = show.stage(sample)
        for dy in stage.dy:
            for dx in stage.dx:
                known.setdefault(stage.view(dy, dx).tobytes(), Taken(image, stage.place(dy, dx), stage.window(dy, dx)))
    return Oracle(known)


def answering(see: Oracle, say: Callable[[Taken], object], task="detect", crop="center", **more) -> Answerer:
    """A model that says something of every view by where it was taken."""

    def answer(views):
        answers = [say(see(view)) for view in views]
        return np.stack(answers) if task == "segment" else answers

    return Answerer(answer, task=task, preprocessing=PREPROCESSING[crop], **more)
