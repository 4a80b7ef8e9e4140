"""Which site makes the answer jump: blur one, and see end to end whether it still does.

A spectrum says what a site could let through; only the answer says what it does. So each site is blurred (see
`surgery.blurring`), the same views are shown again, and what becomes of the answers is paired, image by image, with
what they were. The net itself is not touched, and not trained: the layers after a blurred site never saw such maps,
which costs agreement that a fine-tune would bring back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from shiftable.auditing.intervals import Estimate, difference, magnitude, rate, rate_difference
from shiftable.auditing.scoring import Kind, leading, probabilities_and_evidence
from shiftable.errors import InputError, unknown
from shiftable.explaining.diagnosis import Interaction, Intervention
from shiftable.explaining.views import Swept

PerImage = Float[np.ndarray, "image"]
TIMED_VIEWS = 8
"""How many views the batch has that is timed."""


def intervene(
    model: Any,
    sweeps: Sequence[Swept],
    sites: Sequence[str] | None = None,
    *,
    filter: str = "binomial",
    taps: int | None = None,
    padding: str = "reflect",
    match_moments: bool = True,
    pairs_of: int = 0,
    rounds: int = 5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Intervention, ...], tuple[Interaction, ...]]:
    """What blurring does to the answers: each site by itself, all of them together, the best ones two by two.

    Args:
        model: A PyTorch model as `open_model` returns it. Its net is as found afterwards.
        sweeps: The images, as they move: each intervention shows the model all of them.
        sites: Names of sites; None takes all.
        filter: One of ``layers.low_pass.FILTERS``, or ``"ideal"``.
        taps: Its length at stride 2; None takes the usual one, 1 changes nothing.
        padding: One of ``layers.low_pass.PADDINGS``.
        match_moments: Whether each channel that a blurred site gives gets back the mean and the standard deviation that
            the net as it is gives it, over the unmoved views.
        pairs_of: Of how many sites, those whose blurring removes most flips, every two are blurred together as well.
        rounds: How many times a forward pass is timed, in turn with one of the net as it is; 0 leaves times NaN.
        seed: Of the resampling of images.
        progress: Told (images shown, images in all): each once for every intervention, and once before.

    Returns:
        Each site by itself, in the order of the net; all together, where there are several; the pairs. And what comes
        of blurring two rather than one, for every pair. Empty of a net without sites.

    Raises:
        InputError: If the model has no classes or is no PyTorch net, there are no sweeps of two steps or more, or a
            site does not exist.
    """
    from shiftable.layers.low_pass import LowPass
    from shiftable.surgery.blurring import as_is, matched, moments
    from shiftable.surgery.blurring import blurred as blurred_by
    from shiftable.surgery.sites import find_sites

    asked = _Asked.of(model, sweeps)
    low_pass = LowPass(filter, taps, padding)
    found = find_sites(asked.net, asked.inputs(sweeps[0].views[:1]))
    chosen = _chosen([site.name for site in found], sites)
    if not chosen:
        return (), ()
    batches = list(asked.home_batches()) if match_moments else []
    originals = moments(asked.net, batches, {}, found) if match_moments else {}
    singles = [(name,) for name in chosen]
    several = [tuple(chosen)] if len(chosen) > 1 else []
    count = min(pairs_of, len(chosen))
    more = 0 if len(chosen) == 2 else comb(count, 2)
    in_all = (1 + len(singles) + len(several) + more) * len(sweeps)
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, in_all)

    plain = dict.fromkeys(found, as_is)
    before = asked.answers(plain, told)
    results: dict[tuple[str, ...], Intervention] = {}
    answers: dict[tuple[str, ...], _Answers] = {}

    def blur(names: tuple[str, ...]) -> None:
        here = [site for site in found if site.name in names]
        if match_moments:
            handlers = matched(asked.net, batches, here, low_pass, originals)
        else:
            handlers = {site: blurred_by(low_pass) for site in here}
        answers[names] = asked.answers(plain | handlers, told)
        ratio = asked.time_ratio(plain | handlers, plain, rounds)
        results[names] = _intervention(names, before, answers[names], ratio, seed)

    for names in (*singles, *several):
        blur(names)
    best = sorted(chosen, key=lambda name: -results[name,].flips_removed.value)[:count]
    pairs = list(combinations([name for name in chosen if name in best], 2))
    for pair in pairs:
        if pair not in answers:
            blur(pair)
    return tuple(results.values()), tuple(_interaction(pair, before, answers) for pair in pairs)


def _chosen(there: Sequence[str], sites: Sequence[str] | None) -> list[str]:
    for name in sites or ():
        if name not in there:
            raise unknown("site", name, there)
    return [name for name in there if sites is None or name in sites]


@dataclass(frozen=True, eq=False)
class _Answers:
    """What was answered: counts per image, and the leading class of every view.

    Args:
        flips: One-px steps at which the leading class changes.
        change: The sum of the changes of the leading class's probability.
        right: Views whose leading class is the label; NaN where that is not known.
        top1: Of every view, image by image.
    """

    flips: PerImage
    change: PerImage
    right: PerImage
    top1: tuple[Int[np.ndarray, "step"], ...]


@dataclass(frozen=True, eq=False)
class _Asked:
    """A model and what it is shown again and again."""

    model: Any
    sweeps: Sequence[Swept]

    @classmethod
    def of(cls, model: Any, sweeps: Sequence[Swept]) -> "_Asked":
        spec = getattr(model, "spec", type(model).__name__)
        model = getattr(model, "exact", None) or model  # in 32 bits, uncompiled
        if not callable(getattr(getattr(model, "net", None), "named_modules", None)):
            raise InputError("sites can be blurred in a PyTorch net only", where=spec, todo="open the net it came from")
        if model.task != "classify":
            raise InputError(
                "flips are of leading classes, and this model has none", where=spec, todo="give a classifier"
            )
        if not sweeps or min(len(each.views) for each in sweeps) < 2:
            raise InputError("no image that moves", todo="give one or more, of two steps or more")
        return cls(model, sweeps)

    @property
    def net(self) -> Any:
        return self.model.net

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Any:
        return self.model.inputs(views)

    def home_batches(self) -> Iterator[Any]:
        """The unmoved views, as the net takes them."""
        size = self.model.batch_size
        for start in range(0, len(self.sweeps), size):
            yield self.inputs(np.stack([each.views[each.home] for each in self.sweeps[start : start + size]]))

    def scores(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float[np.ndarray, "view class"]:
        import torch

        from shiftable.models.torch_model import as_scores

        size, rows = self.model.batch_size, []
        with torch.no_grad():
            for start in range(0, len(views), size):
                rows.append(as_scores(self.net(self.inputs(views[start : start + size]))).float().cpu().numpy())
        return np.concatenate(rows)[:, self.model.class_offset or 0 :]

    def answers(self, handlers: Mapping[Any, Any], told: Callable[[], None]) -> _Answers:
        """Of every image, its sites carried out by handlers; one image in memory at a time."""
        from shiftable.surgery.sites import intercepted

        counts, top1 = [], []
        with intercepted(self.net, handlers):
            for each in self.sweeps:
                found, *numbers = _read(self.scores(each.views), self.model.scores, each.sample.label)
                top1.append(found)
                counts.append(numbers)
                told()
        flips, change, right = np.array(counts, dtype=np.float64).T
        return _Answers(flips, change, right, tuple(top1))

    def time_ratio(self, handlers: Mapping[Any, Any], plain: Mapping[Any, Any], rounds: int) -> float:
        """Time of one batch with these handlers over that with plain ones, taken in turn; the median of the ratios."""
        from shiftable.surgery.sites import intercepted

        views = self.sweeps[0].views[:TIMED_VIEWS]

        def seconds(handlers: Mapping[Any, Any]) -> float:
            with intercepted(self.net, handlers):
                start = perf_counter()
                self.scores(views)
                return perf_counter() - start

        if rounds < 1:
            return float("nan")
        seconds(handlers), seconds(plain)  # the first time, memory is found and kernels are chosen
        return median(seconds(handlers) / seconds(plain) for _ in range(rounds))


def _read(
    scores: Float[np.ndarray, "step class"], kind: Kind, label: int | None
) -> tuple[Int[np.ndarray, "step"], int, float, float]:
    """(leading classes, flips, summed change of the leading class's probability, views that are right)."""
    top1, at = leading(scores, 1)[:, 0], np.arange(len(scores) - 1)
    p = probabilities_and_evidence(scores, kind)[0]
    change = np.abs(p[at, top1[:-1]] - p[at + 1, top1[:-1]]).sum()
    right = np.nan if label is None else (top1 == label).sum()
    return top1, int((top1[1:] != top1[:-1]).sum()), float(change), float(right)


def _intervention(
    names: tuple[str, ...], before: _Answers, after: _Answers, time_ratio: float, seed: int
) -> Intervention:
    views = np.array([len(each) for each in before.top1], float)
    pairs = views - 1
    same = np.array([(a == b).sum() for a, b in zip(before.top1, after.top1, strict=True)], float)
    known = ~np.isnan(before.right)
    right = None
    if known.any():
        right = rate_difference(before.right[known], views[known], after.right[known], views[known])
    return Intervention(
        sites=names,
        flips=rate(after.flips, pairs),
        flips_before=rate(before.flips, pairs),
        flips_removed=rate_difference(after.flips, pairs, before.flips, pairs),
        mac=magnitude(after.change, pairs, seed=seed),
        mac_removed=difference(after.change, pairs, before.change, pairs, seed=seed),
        agreement=rate(same, views),
        accuracy_change=right,
        time_ratio=time_ratio,
    )


def _interaction(pair: tuple[str, str], before: _Answers, answers: Mapping[tuple[str, ...], _Answers]) -> Interaction:
    """What two together remove beyond the sum: of flips F, F(a) + F(b) − F(a, b) − F(), as twice the difference of the
    means of two rates."""
    first, second, both = answers[pair[:1]], answers[pair[1:]], answers[pair]
    counts = np.array([2.0 * (len(each) - 1) for each in before.top1])
    half = rate_difference(both.flips + before.flips, counts, first.flips + second.flips, counts)
    beyond = replace(half, value=2 * half.value, low=2 * half.low, high=2 * half.high)
    return Interaction(pair, _removed(first, before), _removed(second, before), _removed(both, before), beyond)


def _removed(after: _Answers, before: _Answers) -> Estimate:
    pairs = np.array([len(each) - 1.0 for each in before.top1])
    return rate_difference(after.flips, pairs, before.flips, pairs)
