"""What a black box shows of its sampling: answers that repeat every s pixels come from a net of total stride s.

Borders aside, a net that pools globally sums its last map over a grid of spacing s. Moved by s pixels, the picture
meets the same grid: the answer is a function of the offset modulo s, plus what enters and leaves at the border. So the
answers along a walk, which any model gives, tell the stride and how much of the change the grid makes.

The variance of the one-pixel changes is parted by frequency (of changes, not answers: a slow trend then weighs
nothing). What depends on the offset modulo m alone lies at the multiples of 1/m, where other things lie, too: of the
power at these lines, what the frequencies beside them have is taken off. The rest is the share that the offset modulo m
explains. It is nothing, or a little less, where answers change without a grid. It falls with the walk's length, as what
the grid does to a picture changes along the way: compare models on equal walks.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing.intervals import Estimate, magnitude
from shiftable.errors import InputError

MODULI = (2, 4, 8, 16, 32)
LEAST_SHARE = 0.001
"""What a modulus must add at least to count as seen: less may be rounding."""

STILL = 1e-6
"""Changes smaller than this share of the greatest answer are rounding."""

Answers = Float[np.ndarray, "image step class"]
Power = Float[np.ndarray, "image frequency"]


@dataclass(frozen=True)
class Modulus:
    """What the offset modulo some number of pixels says of the answers.

    Args:
        px: The number.
        explained: The share of the variance of one-pixel changes that depends on the offset modulo ``px``: 1 where
            nothing else matters, about 0 where it does not matter: it may come out below.
        added: By how much that is more than the next smaller modulus that divides it explains.
        shows: Whether what is added is certain, at 95 % for all moduli together.
    """

    px: int
    explained: Estimate
    added: Estimate
    shows: bool


@dataclass(frozen=True)
class Outside:
    """What answers along a walk reveal of a model's stride, with 95 % intervals over images.

    Args:
        images: How many there were.
        steps: Of each one's walk.
        moduli: What each modulus explains, smallest first; those that the walk is too short for are left out.
        untested: Those left out: m needs 2 m + 1 steps.
        stride_px: The largest modulus that still adds something; None where none does.
        lags_px: 1, 2, …
        difference: The root mean square change of the answers, over classes, between views that many pixels apart; mean
            over images and places. It dips at multiples of the stride, and is 0 there where nothing but the grid moves.
        dip: By what share it is smaller at the stride than beside it, 1 being all. None without a stride.
        by_phase: The same between neighbours, by the first one's place in the walk modulo the stride, or modulo the
            largest modulus tested: the steps at which the answer jumps.
        statement: What this amounts to, in a sentence or two.
    """

    images: int
    steps: int
    moduli: tuple[Modulus, ...]
    untested: tuple[int, ...]
    stride_px: int | None
    lags_px: tuple[int, ...]
    difference: tuple[float, ...]
    dip: Estimate | None
    by_phase: tuple[float, ...]
    statement: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and text."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        moduli = [
            {**vars(each), "explained": each.explained.to_json(), "added": each.added.to_json()} for each in self.moduli
        ]
        return plain | {"moduli": moduli, "dip": None if self.dip is None else self.dip.to_json()}


def reveal_stride(
    answers: Answers, *, moduli: tuple[int, ...] = MODULI, closed: bool = False, seed: int = 0
) -> Outside:
    """Tell a model's total stride from its answers alone.

    A stride found is what shows: the true one may be a multiple of it, whose finer part is hidden by borders and by
    what the picture itself does. Longer walks and more images show more; the surest is a full circle of ``roll``.

    Args:
        answers: Along a walk of one-pixel steps, all in one direction; probabilities, or anything else with a scale.
        moduli: The strides to be tried, in px, each a multiple of the ones before it.
        closed: Whether the last view is one pixel before the first: a full circle of ``roll``.
        seed: Of the intervals' resampling.

    Raises:
        InputError: If the walk is too short for any modulus, moduli do not divide one another, or answers are not
            finite.
    """
    images, steps, _ = answers.shape
    ordered = tuple(sorted(set(moduli)))
    if not ordered or ordered[0] < 2 or any(large % small for small, large in pairwise(ordered)):
        raise InputError(f"the moduli {moduli} do not divide one another", todo="give for example 2, 4, 8 or 7, 14")
    ahead = np.concatenate([answers, answers[:, :1]], axis=1) if closed else answers
    changes = np.diff(ahead.astype(np.float64), axis=1)
    tested = tuple(m for m in ordered if 2 * m <= changes.shape[1])
    if not images or not tested:
        raise InputError(
            f"{images} images with {steps} steps tell no stride", todo=f"give {2 * ordered[0] + 1} steps or more"
        )
    if not np.isfinite(answers).all():
        raise InputError("answers must be finite", todo="give probabilities")
    power = _power(changes[:, : changes.shape[1] // tested[-1] * tested[-1]])
    moved = (changes**2).sum(axis=2).max(axis=1) > (STILL * np.abs(answers).max(axis=(1, 2))) ** 2
    found = _shares(power[moved], tested, seed) if moved.any() else ()
    stride = max((each.px for each in found if each.shows), default=None)
    lags = range(1, min(steps - 1, tested[-1] + tested[-1] // 2) + 1)
    apart = np.stack([_rms(answers[:, lag:] - answers[:, :-lag]).mean(axis=1) for lag in lags], axis=1)
    return Outside(
        images,
        steps,
        found,
        tuple(m for m in ordered if m not in tested),
        stride,
        tuple(lags),
        tuple(apart.mean(axis=0).tolist()),
        _dip(apart, steps, stride, seed),
        _by_phase(_rms(changes), stride or tested[-1]),
        _statement(found, tested, stride, int(moved.sum())),
    )


def _power(changes: Float[np.ndarray, "image step class"]) -> Power:
    """Of the changes about their mean, over all frequencies, positive and negative, summed over classes."""
    power = np.zeros(changes.shape[:2])
    for image, each in enumerate(changes):
        power[image] = (np.abs(np.fft.fft(each, axis=0)) ** 2).sum(axis=1)
    power[:, 0] = 0
    return power


def _shares(power: Power, moduli: tuple[int, ...], seed: int) -> tuple[Modulus, ...]:
    images, frequencies = power.shape
    apart = frequencies // moduli[-1]  # how far the lines of the largest modulus lie apart
    near = [off for off in range(-(apart // 2), apart // 2 + 1) if off]
    excess = power - np.mean([np.roll(power, off, axis=1) for off in near], axis=0)
    excess = excess / power.sum(axis=1, keepdims=True)
    counts = np.full(images, float(frequencies))
    certain = 1 - 0.05 / len(moduli)
    found: list[Modulus] = []
    before = np.zeros(images)
    for modulus in moduli:
        explained = excess[:, frequencies // modulus :: frequencies // modulus].sum(axis=1)
        added = (explained - before) * frequencies
        low = magnitude(added, counts, confidence=certain, seed=seed).low
        whole = magnitude(explained * frequencies, counts, seed=seed)
        found.append(Modulus(modulus, whole, magnitude(added, counts, seed=seed), low > LEAST_SHARE))
        before = explained
    return tuple(found)


def _rms(change: Float[np.ndarray, "image step class"]) -> Float[np.ndarray, "image step"]:
    return np.asarray(np.sqrt((change.astype(np.float64) ** 2).mean(axis=2)))


def _dip(apart: Float[np.ndarray, "image lag"], steps: int, stride: int | None, seed: int) -> Estimate | None:
    if stride is None or stride + 1 > apart.shape[1]:
        return None
    beside = (apart[:, stride - 2] + apart[:, stride]) / 2
    if not beside.any():
        return None
    found = magnitude(beside - apart[:, stride - 1], beside, weighting="pairs", seed=seed)
    return replace(found, pairs=len(apart) * (steps - stride))


def _by_phase(change: Float[np.ndarray, "image step"], modulus: int) -> tuple[float, ...]:
    whole = change[:, : change.shape[1] // modulus * modulus]
    return tuple(whole.reshape(len(change), -1, modulus).mean(axis=(0, 1)).tolist())


def _statement(found: tuple[Modulus, ...], tested: tuple[int, ...], stride: int | None, moved: int) -> str:
    if not moved:
        return "The answers do not change with the offset at all: there is no stride to be seen."
    if moved < 2:
        return "One image allows no interval, so nothing is certain: give 8 or more."
    if stride is None:
        return (
            f"Nothing in the answers repeats every {_either(tested)} px: there is no such stride, or the border and "
            "what the picture itself does hide it."
        )
    share = next(each.explained for each in found if each.px == stride)
    larger = "were not tried" if stride == tested[-1] else "do not show, which is no proof"
    return (
        f"The answers repeat every {stride} px, the model's total stride or a part of it: the offset modulo {stride} "
        f"explains {share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of the variance of one-pixel changes. "
        f"Larger strides {larger}."
    )


def _either(numbers: tuple[int, ...]) -> str:
    return " or ".join(filter(None, [", ".join(map(str, numbers[:-1])), str(numbers[-1])]))
