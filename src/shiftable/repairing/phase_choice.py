"""Which windows to average, by what it brings: the few that leave fewest flips, chosen on some images, told on others.

Equally spaced phases are best against the grid alone. With the border, and with a budget of three windows or five, what
is best is measured: every window is asked about once, and subsets are compared in arithmetic. Neighbouring windows are
worth trying: of n in a row, one step replaces one, so the mean changes by 1/n of what n steps do to the plain answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from shiftable.auditing.intervals import Estimate, magnitude, rate
from shiftable.auditing.motions import make_motion
from shiftable.auditing.scoring import probabilities_and_evidence
from shiftable.auditing.showing import Show, Shown, show_or_say
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models.protocol import Scores
from shiftable.repairing.phase_average import HOME, Offset, PhaseAveraged

Answers = Float32[np.ndarray, "image view window score"]
"""To every window of every view. Views 2 i and 2 i + 1 are a pair: the second one pixel further."""

LEAST_IMAGES = 8
"""Fewer are not parted in two."""


@dataclass(frozen=True)
class PhaseChoice:
    """Windows in the order in which they were taken: the first n are the subset of n, which takes n times the time.

    Args:
        offsets_px: Where they lie, (down, right) px from the plain view, which is the first.
        p_top1_change: Share of one-pixel steps with another top class, of means over the first 1, 2, … windows, on
            images that had no part in the choice.
        mac: Mean change of the top class's probability, likewise.
        chosen_on: How many images made the choice.
    """

    offsets_px: tuple[Offset, ...]
    p_top1_change: tuple[Estimate, ...]
    mac: tuple[Estimate, ...]
    chosen_on: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            "offsets_px": [list(offset) for offset in self.offsets_px],
            "p_top1_change": [each.to_json() for each in self.p_top1_change],
            "mac": [each.to_json() for each in self.mac],
            "chosen_on": self.chosen_on,
        }


def answers_by_window(averaged: PhaseAveraged, samples: Sequence[Sample], *, walks: int = 4, seed: int = 0) -> Answers:
    """A model's answers to all windows of pairs of views one pixel apart, half of them down, half to the right.

    Args:
        averaged: The model, averaged over all windows that come into question.
        samples: The images; those that can't be used are left out.
        walks: Pairs of each image along each axis, at random places.
        seed: Of the places.

    Raises:
        InputError: If no image can be used.
    """
    motion, size = make_motion("crop"), averaged.view_size
    shows = [
        Show(motion, make_walk("pairs", walks=walks, direction=way), averaged.preprocessing, size, False, seed=seed)
        for way in ("vertical", "horizontal")
    ]
    found = []
    for numbered in enumerate(samples):
        shown = [each for show in shows if isinstance(each := show_or_say(show, numbered), Shown)]
        if len(shown) == len(shows):
            views = [each.views[row.view] for each in shown for row in each.rows]
            found.append(averaged.answers(np.stack(views)))
    if not found:
        raise InputError(f"none of {len(samples)} images can be used", todo="give others")
    return np.stack(found)


def choose_phases(
    answers: Answers,
    offsets_px: Sequence[Offset],
    scores: Scores,
    *,
    most: int = 8,
    by: Literal["flips", "mac"] = "mac",
    seed: int = 0,
) -> PhaseChoice:
    """Take windows one by one, the plain view first, then always the one that helps most.

    Half of the images choose, the other half say what it brings.

    Args:
        answers: Of `answers_by_window`.
        offsets_px: Where its windows lie.
        scores: What the answers are.
        most: Windows at most.
        by: What counts: ``"flips"``, then the change of the top class's probability; or that alone, of which few images
            tell more.
        seed: Of parting the images.

    Raises:
        InputError: If there are fewer than 8 images, or the plain view is not among the windows.
    """
    images = len(answers)
    if images < LEAST_IMAGES:
        raise InputError(f"{images} images are too few to choose by", todo=f"give {LEAST_IMAGES} or more")
    if HOME not in offsets_px:
        raise InputError("the plain view is not among the windows", where="offsets_px", todo="add (0, 0)")
    choosing, telling = np.split(np.random.default_rng(seed).permutation(images), [images // 2])

    def cost(windows: Sequence[int]) -> tuple[float, float]:
        flips, changes = one_pixel_steps(answers[choosing][:, :, windows].mean(axis=2), scores)
        return (float(flips.mean()) if by == "flips" else 0.0), float(changes.mean())

    taken = [list(offsets_px).index(HOME)]
    while len(taken) < min(most, len(offsets_px)):
        rest = (window for window in range(len(offsets_px)) if window not in taken)
        taken.append(min(rest, key=lambda window: cost([*taken, window])))
    means = (answers[telling][:, :, taken[:count]].mean(axis=2) for count in range(1, len(taken) + 1))
    told = [one_pixel_steps(mean, scores) for mean in means]
    counts = np.full(len(telling), float(told[0][0].shape[1]))
    return PhaseChoice(
        tuple(offsets_px[window] for window in taken),
        tuple(rate(flips.sum(axis=1).astype(float), counts) for flips, _ in told),
        tuple(magnitude(changes.sum(axis=1), counts, seed=seed) for _, changes in told),
        len(choosing),
    )


def one_pixel_steps(
    answers: Float[np.ndarray, "image view score"], scores: Scores
) -> tuple[Bool[np.ndarray, "image pair"], Float[np.ndarray, "image pair"]]:
    """Whether the top class changes from a pair's first view to its second, and by how much its probability does.

    Args:
        answers: Views 2 i and 2 i + 1 are a pair.
        scores: What they are.
    """
    images, views, classes = answers.shape
    chances, _ = probabilities_and_evidence(answers.reshape(-1, classes), scores)
    pairs = chances.reshape(images, views // 2, 2, classes)
    top: Int[np.ndarray, "image pair step"] = answers.argmax(axis=2).reshape(images, -1, 2)
    held = np.take_along_axis(pairs, top[..., :1, None], axis=3)[..., 0]
    return top[..., 0] != top[..., 1], np.abs(held[..., 0] - held[..., 1])
