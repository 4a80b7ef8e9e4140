"""What users do today against flicker, measured beside the model: averages over time, and switching late on purpose.

Exponential averaging of the probabilities; hysteresis in time (a new class must lead for n frames) and in probability
(it must lead by a margin). All of them steady any answer and delay every true change; how much of either is measured on
the model's own answers. Each is the same little machine with other settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from shiftable.errors import InputError

KEPT = 64
"""How many frames' probabilities are kept, at random, to measure delays with."""

LONGEST = 300
"""After how many frames a delay is no longer waited for."""


@dataclass(frozen=True)
class Smoothing:
    """How answers are held still. As it is by default, it does nothing.

    Args:
        alpha: The weight of the newest frame in the exponential average of the probabilities, above 0, up to 1.
        hold: For how many frames in succession a new class must lead before it becomes the answer.
        margin: By how much its (averaged) probability must exceed that of the answer, 0 to 1.
    """

    alpha: float = 1.0
    hold: int = 1
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha <= 1 and self.hold >= 1 and 0 <= self.margin <= 1):
            raise InputError(
                f"can't smooth by {self}", todo="give alpha above 0, up to 1; hold 1 or more; margin 0 to 1"
            )

    @property
    def name(self) -> str:
        """``raw``, ``average``, ``hold``, ``margin``, or several of them."""
        parts = {"average": self.alpha < 1, "hold": self.hold > 1, "margin": self.margin > 0}
        return " and ".join(part for part, used in parts.items() if used) or "raw"


SMOOTHINGS: tuple[Smoothing, ...] = (
    Smoothing(),
    *(Smoothing(alpha=alpha) for alpha in (0.5, 0.3, 0.2, 0.1, 0.05)),
    *(Smoothing(hold=hold) for hold in (2, 3, 5, 10, 20)),
    *(Smoothing(margin=margin) for margin in (0.1, 0.2)),
    Smoothing(alpha=0.3, hold=3),
)
"""What an audit of a video compares: nothing first."""


class State(NamedTuple):
    """Where one machine, or several side by side, stand."""

    average: Float[np.ndarray, "series class"]
    answer: Int[np.ndarray, "series"]
    challenger: Int[np.ndarray, "series"]
    """Who led in the last frame, if it was not the answer."""
    led: Int[np.ndarray, "series"]
    """For how many frames in succession the challenger has led."""


def smooth(smoothing: Smoothing, state: State | None, p: Float[np.ndarray, "series class"]) -> State:
    """One frame further. Of equal probabilities the lowest class leads.

    Args:
        smoothing: How.
        state: After the frame before; None at the first, whose leading class is the first answer.
        p: The frame's probabilities.
    """
    if state is None:
        first = p.argmax(axis=1)
        return State(p, first, first, np.zeros(len(p), np.int64))
    average = p if smoothing.alpha == 1 else state.average + smoothing.alpha * (p - state.average)
    lead, rows = average.argmax(axis=1), np.arange(len(p))
    other = lead != state.answer
    if smoothing.margin:
        other &= average[rows, lead] - average[rows, state.answer] >= smoothing.margin
    led = np.where(other, np.where(lead == state.challenger, state.led, 0) + 1, 0)
    switched = led >= smoothing.hold
    answer = np.where(switched, lead, state.answer)
    return State(average, answer, np.where(other, lead, answer), np.where(switched, 0, led))


def delays(
    smoothing: Smoothing, before: Float[np.ndarray, "pair class"], after: Float[np.ndarray, "pair class"]
) -> list[int | None]:
    """How many frames late the answer changes when what is seen changes for good: the machine's step response.

    Each pair of frames is a scene that stood until the machine was steady, and one that stands from then on. 0 is at
    once, as the raw model does; None is not within ``LONGEST`` frames.

    Args:
        smoothing: How.
        before: The probabilities of the first frames.
        after: Those of the second, with other leading classes.
    """
    state = smooth(smoothing, None, before)  # steady at once: an average of one constant is that constant
    wanted, late = after.argmax(axis=1), np.full(len(before), -1)
    for frame in range(LONGEST + 1):
        state = smooth(smoothing, state, after)
        late[(late < 0) & (state.answer == wanted)] = frame
        if (late >= 0).all():
            break
    return [None if frames < 0 else int(frames) for frames in late]


@dataclass
class Watch:
    """All smoothings side by side along one video: told every frame once, in order.

    Args:
        smoothings: Which.
        seed: Of the frames that are kept to measure delays.

    The other attributes are what it knows so far: the machines' states, and of each the frames at which its answer
    changed and to what.
    """

    smoothings: Sequence[Smoothing]
    seed: int | Sequence[int] = 0
    frames: int = 0
    states: list[State | None] = field(default_factory=list)
    changes: list[list[tuple[int, int]]] = field(default_factory=list)
    kept: list[Float[np.ndarray, "_"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = [None] * len(self.smoothings)
        self.changes = [[] for _ in self.smoothings]
        self._rng = np.random.default_rng(self.seed)

    def see(self, p: Float[np.ndarray, "class"]) -> None:
        """The next frame's probabilities."""
        row = p[None]
        for number, smoothing in enumerate(self.smoothings):
            state = smooth(smoothing, self.states[number], row)
            answer, before = int(state.answer[0]), self.states[number]
            if before is None or answer != before.answer[0]:
                self.changes[number].append((self.frames, answer))
            self.states[number] = state
        # Vitter's reservoir: every frame so far is among the kept with the same chance
        place = len(self.kept) if self.frames < KEPT else int(self._rng.integers(self.frames + 1))
        if place < KEPT:
            self.kept[place : place + 1] = [p.copy()]
        self.frames += 1

    def to_json(self) -> dict[str, Any]:
        """What is needed later: changes of each machine's answer, and its delays."""
        return {
            "frames": self.frames,
            "changes": [list(map(list, changes)) for changes in self.changes],
            "delays": [delays(smoothing, *self._pairs()) for smoothing in self.smoothings],
        }

    def _pairs(self) -> tuple[Float[np.ndarray, "pair class"], Float[np.ndarray, "pair class"]]:
        """As many pairs of kept frames with different leading classes as frames were kept, or fewer."""
        kept = np.stack(self.kept)
        lead = kept.argmax(axis=1)
        pairs = [pair for pair in combinations(range(len(kept)), 2) if lead[pair[0]] != lead[pair[1]]]
        chosen = self._rng.permutation(len(pairs))[:KEPT]
        turned = self._rng.integers(0, 2, len(chosen))
        order = np.array([pairs[at] for at in chosen], np.int64).reshape(-1, 2)
        first, second = order[np.arange(len(order)), turned], order[np.arange(len(order)), 1 - turned]
        return kept[first], kept[second]


def answers(changes: Sequence[Sequence[int]], frames: int) -> Int[np.ndarray, "frame"]:
    """The answer at every frame, from the frames at which it changed.

    Example:
        >>> answers([(0, 7), (3, 2)], 5)
        array([7, 7, 7, 2, 2])
    """
    at = np.array([frame for frame, _ in changes] + [frames])
    return np.repeat(np.array([answer for _, answer in changes], np.int64), np.diff(at))


def flips(answered: Int[np.ndarray, "frame"]) -> Bool[np.ndarray, "pair"]:
    """At which pairs of successive frames the answer changes."""
    return np.asarray(answered[1:] != answered[:-1])


def setting_words(smoothing: Smoothing) -> Mapping[str, float | int]:
    """What is set: without what is left alone."""
    knobs = {"alpha": smoothing.alpha, "hold_frames": smoothing.hold, "margin": smoothing.margin}
    nothing = {"alpha": 1.0, "hold_frames": 1, "margin": 0.0}
    return {name: value for name, value in knobs.items() if value != nothing[name]}
