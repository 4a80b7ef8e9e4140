"""A model that answers with the mean over several windows of a view: less of what its grid makes of a place is left.

Borders aside, a net that pools globally answers with a function of the offset modulo its total stride s (DESIGN section
7, "Dense response"). The mean over k equally spaced phases, k a divisor of s, removes every harmonic of that function
that is no multiple of k; all s of them leave a constant. Nothing is trained, and any backend will do: the windows are
views like any other. It takes as many times the model's time.

What enters and leaves at the border stays: a chosen crop (`with_stable_crop`) removes that, and phases as well, for
nothing. Averaging is for where crops can't be chosen, or for what is left.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, isfinite
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from shiftable.auditing.feeding.variants import fed
from shiftable.auditing.scoring import probabilities_and_evidence
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model, Preprocessing
from shiftable.models.preprocessing import CropSelection, Size
from shiftable.models.protocol import Scores, Task
from shiftable.repairing.crop_selection import enough
from shiftable.repairing.strides import both, total_stride

Offset: TypeAlias = tuple[int, int]
"""How far a window lies (down, right) of the plain view, in px."""

Around: TypeAlias = Literal["picture", "circle"]

HOME: Offset = (0, 0)

CARRIED = ("class_offset", "size", "at_once", "as_pixels", "checks", "client", "model_args")
"""What a model may also have, and what windows change nothing about."""


@dataclass(frozen=True)
class PhaseAveraged:
    """Answers a view with the mean of a model's answers to windows of it. Made by `with_phase_average`.

    The mean is that of the scores as the model gives them: of logits where it gives logits (so the geometric mean of
    probabilities), else of probabilities or sigmoids; of an embedder, of the embeddings.

    It is a model like any other. Its view is the larger one, in whose middle lies what the plain model is shown; it is
    audited, compared and asked as the plain one is, and its windows are shown to that in the plain one's own batches.

    Args:
        model: Who is asked about the windows, of any backend.
        preprocessing: How a photograph becomes the larger view. Numbers (mean, colour order, …) are the model's.
        offsets_px: Where the windows lie. With ``only_below``, (0, 0) is among them.
        room_px: (down, across) how much larger the view is than the model's.
        around: ``"picture"``: windows of the larger view. ``"circle"``: the view itself, rolled; what leaves on one
            side comes in on the other.
        only_below: The margin, in logits (of probabilities, in log-odds), from which on the answer to the plain view is
            given as it is.
        remarks: What a reader of its audit must know: the model's, and what is averaged.
    """

    model: Model
    preprocessing: Preprocessing
    offsets_px: tuple[Offset, ...]
    room_px: Size = (0, 0)
    around: Around = "picture"
    only_below: float = inf
    remarks: tuple[str, ...] = ()
    asked: list[tuple[int, int]] = field(init=False, default_factory=list, repr=False, compare=False)
    """(views, windows) of every call so far. A list, for audits may call from several threads."""

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view score"]:
        """One row of scores per view."""
        if self.only_below == inf:
            self.asked.append((len(views), len(views) * len(self.offsets_px)))
            return np.asarray(self.answers(views).mean(axis=1, dtype=np.float64), np.float32)
        plain = self.answers(views, [HOME])[:, 0]
        close = self._margins(plain) < self.only_below
        others = [offset for offset in self.offsets_px if offset != HOME]
        self.asked.append((len(views), len(views) + int(close.sum()) * len(others)))
        if not close.any() or not others:
            return plain
        # of one size however many are close: a backend's last bits can depend on it
        batch_size = min(self.batch_size, len(views) * len(others))
        more = self.answers(views[close], others, batch_size).sum(axis=1, dtype=np.float64)
        plain[close] = (plain[close] + more) / len(self.offsets_px)
        return plain

    def answers(
        self,
        views: UInt8[np.ndarray, "view height width 3"],
        offsets_px: Sequence[Offset] | None = None,
        batch_size: int | None = None,
    ) -> Float32[np.ndarray, "view window score"]:
        """The model's answers to the windows, one by one.

        Args:
            views: Larger views.
            offsets_px: Where the windows lie; None takes the model's.
            batch_size: Windows at once; None takes the model's, or as many as there are.
        """
        offsets_px = self.offsets_px if offsets_px is None else offsets_px

        def windows() -> Iterator[tuple[None, list[np.ndarray]]]:
            for view in views:
                yield None, [self._window(view, offset) for offset in offsets_px]

        batch_size = batch_size or min(self.batch_size, len(views) * len(offsets_px))
        return np.stack([answers for _, answers in in_batches(windows(), self._fed, batch_size)])

    def _window(
        self, view: UInt8[np.ndarray, "height width 3"], offset: Offset
    ) -> UInt8[np.ndarray, "window_height window_width 3"]:
        if self.around == "circle":
            return np.roll(view, (-offset[0], -offset[1]), axis=(0, 1))
        top, left = (room // 2 + along for room, along in zip(self.room_px, offset, strict=True))
        height, width = self.model.view_size
        return view[top : top + height, left : left + width]

    def _margins(self, scores: Float32[np.ndarray, "view score"]) -> Float[np.ndarray, "view"]:
        _, evidence = probabilities_and_evidence(scores, self.scores, getattr(self.model, "score_step", None))
        second, first = np.partition(evidence, (-2, -1), axis=1)[:, -2:].T
        return np.asarray(first - second)

    @property
    def _fed(self) -> Model:
        """The model, with another's numbers where this was fed otherwise (`fed`)."""
        own, ours = self.model.preprocessing, self.preprocessing
        alike = replace(own, resize_px=ours.resize_px, crop=ours.crop) == ours
        return self.model if alike else fed(self.model, ours)

    @property
    def windows_per_view(self) -> float | None:
        """How many windows the model was asked about for a view, in the mean over all calls so far; None before."""
        views, windows = np.sum(self.asked or [(0, 0)], axis=0).tolist()
        return windows / views if views else None

    @property
    def view_size(self) -> Size:
        height, width = self.model.view_size
        return height + self.room_px[0], width + self.room_px[1]

    @property
    def spec(self) -> str:
        return self.model.spec

    @property
    def weights_sha256(self) -> str | None:
        return self.model.weights_sha256

    @property
    def task(self) -> Task:
        return self.model.task

    @property
    def scores(self) -> Scores:
        return self.model.scores

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.model.class_names

    @property
    def batch_size(self) -> int:
        return self.model.batch_size

    @property
    def settings(self) -> dict[str, object]:
        """The model's, and the windows: an audit does not go on with others than it was begun with."""
        phases = {
            "offsets_px": [list(offset) for offset in self.offsets_px],
            "around": self.around,
            "only_below": self.only_below if isfinite(self.only_below) else None,
        }
        return {**self.model.settings, "phase_average": phases}

    @property
    def score_step(self) -> float | None:
        """Means of n answers lie n times closer together."""
        step: float | None = getattr(self.model, "score_step", None)
        return None if step is None else step / len(self.offsets_px)

    @property
    def exact(self) -> "PhaseAveraged | None":
        """The same mean of the more exact model's answers, where the model is a faster likeness of one."""
        exact: Model | None = getattr(self.model, "exact", None)
        return None if exact is None else replace(self, model=exact)

    def __getattr__(self, name: str) -> Any:
        if name in CARRIED:
            return getattr(self.model, name)
        raise AttributeError(f"a PhaseAveraged has no {name}", name=name, obj=self)


def with_phase_average(
    model: Model,
    *,
    phases: int | tuple[int, int] = 2,
    stride_px: int | tuple[int, int] | None = None,
    offsets_px: Iterable[Offset] | None = None,
    around: Around = "picture",
    only_below: float = inf,
    room_px: int = 0,
) -> PhaseAveraged:
    """The same model, its answers averaged over phases of its sampling grid.

    The larger view has its middle where the model's view is. Where the model's resize leaves less than that, it is made
    larger, and objects with it. A model whose crop is chosen (`with_stable_crop`) keeps that: the crop becomes the
    larger view, so that all windows hold on to the same place; in which order the two are called does not matter.

    Args:
        model: A classifier or an embedder.
        phases: How many windows along (y, x), or along both, equally spaced over a stride: k × k windows take k² times
            the time.
        stride_px: The total stride along (y, x), or along both; None asks a PyTorch net. Of other models `find_stride`
            finds it from their answers.
        offsets_px: Where windows lie instead, (down, right) px from the plain view: see `choose_phases`.
        around: ``"picture"`` takes windows of a larger view; ``"circle"`` rolls the model's own view.
        only_below: Ask about the other windows only where the plain view's margin is smaller; see `margin_holding`.
            Infinity always asks.
        room_px: How much larger than the model's the view is at least, so that others can be shown the same views.

    Raises:
        InputError: If the model answers no rows, is letterboxed (a larger view would be another picture), has no stride
            to be seen; if phases do not divide it; if no window or one twice is asked for; or if an adaptive average
            has no plain view.

    Example:
        >>> from shiftable.models import open_model
        >>> averaged = with_phase_average(open_model("demo"), phases=2)
        >>> averaged.offsets_px, averaged.view_size
        (((-8, -8), (-8, 0), (0, -8), (0, 0)), (80, 80))
    """
    if model.task not in ("classify", "embed"):
        raise InputError(
            f"answers for the task {model.task!r} have no mean",
            where=model.spec,
            todo="give a classifier or an embedder",
        )
    if offsets_px is None:
        stride = total_stride(model) if stride_px is None else both(stride_px)
        offsets = phase_offsets(both(phases), stride, where=model.spec)
    else:
        offsets = tuple((int(down), int(right)) for down, right in offsets_px)
    _check_windows(offsets, model, only_below)
    fields = model.preprocessing
    remarks = (*getattr(model, "remarks", ()), _told(offsets, around, only_below))
    if around == "circle":
        return PhaseAveraged(model, fields, offsets, around=around, only_below=only_below, remarks=remarks)
    if not fields.cuts:
        raise InputError(
            "its images are letterboxed, so a larger view would show them larger",
            where=model.spec,
            todo='average over rolled views (around="circle"), or open it with another crop',
        )
    # twice an even number: so half a px of the crop's place is rounded as it was
    room = cast(
        Size, tuple(-(-max(2 * max(map(abs, along)), room_px) // 4) * 4 for along in zip(*offsets, strict=True))
    )
    averaged = PhaseAveraged(model, fields, offsets, room, around, only_below, remarks)
    seen = averaged.view_size
    resize_px = enough(fields.resize_px, fields.crop.larger(seen) if isinstance(fields.crop, CropSelection) else seen)
    if resize_px == fields.resize_px:
        return averaged
    larger = f"images are resized to {resize_px} px instead of {fields.resize_px} px, so objects are larger"
    return replace(averaged, preprocessing=replace(fields, resize_px=resize_px), remarks=(*remarks, larger))


def phase_offsets(phases: Size, stride_px: Size, where: object = "phases") -> tuple[Offset, ...]:
    """Windows equally spaced over a stride, the plain view among them.

    Args:
        phases: How many along (y, x).
        stride_px: The stride along (y, x).
        where: Named in errors.

    Raises:
        InputError: If the phases do not divide the stride.

    Example:
        >>> phase_offsets((1, 4), (32, 32))
        ((0, -16), (0, -8), (0, 0), (0, 8))
    """
    for count, stride in zip(phases, stride_px, strict=True):
        if count < 1 or stride % count:
            divisors = [str(each) for each in range(1, stride + 1) if not stride % each]
            raise InputError(
                f"{count} phases are not equally spaced over a stride of {stride} px",
                where=where,
                todo=f"give {', '.join(divisors)}",
            )
    lines = [
        [stride // count * (number - count // 2) for number in range(count)]
        for count, stride in zip(phases, stride_px, strict=True)
    ]
    return tuple(cast(list[Offset], list(product(*lines))))


def margin_holding(
    margins: Float[np.ndarray, "image view"], flips: Bool[np.ndarray, "image view"], share: float = 0.9
) -> float:
    """The margin below which a share of the views lie that a step of one pixel flips: for ``only_below``.

    Args:
        margins: Of the plain model's views, in logits, as `shiftable.explaining.risk.views_at_risk` gives them.
        flips: Whether a view one pixel away is answered otherwise.
        share: Of the views that flip, above 0 to 1.

    Returns:
        The margin, in logits; 0 where nothing flips.

    Raises:
        InputError: If the share is not above 0 to 1.

    Example:
        >>> margins, flips = np.array([[0.1, 0.5, 2.0, 4.0]]), np.array([[True, True, True, False]])
        >>> round(margin_holding(margins, flips, 0.6), 3)
        0.5
    """
    if not 0 < share <= 1:
        raise InputError(f"a share can't be {share}", todo="give a number above 0, 1 at most")
    if not flips.any():
        return 0.0
    # the next number up, for a margin must be below it
    return float(np.nextafter(np.quantile(margins[flips], share, method="inverted_cdf"), inf))


def _check_windows(offsets: Sequence[Offset], model: Model, only_below: float) -> None:
    if not offsets or len(set(offsets)) < len(offsets):
        what = "the same window twice" if offsets else "no window"
        raise InputError(f"{what} can't be averaged", where="offsets_px", todo="give every window once, one at least")
    if only_below == inf:
        return
    if only_below < 0 or np.isnan(only_below):
        raise InputError(f"a margin can't be {only_below}", where="only_below", todo="give logits, 0 or more")
    if model.task != "classify":
        raise InputError("an embedding has no margin", where=model.spec, todo="leave only_below out")
    if HOME not in offsets:
        raise InputError(
            "the plain view is not among the windows, so there is no first answer",
            where="offsets_px",
            todo="add (0, 0), or leave only_below out",
        )


def _told(offsets: Sequence[Offset], around: Around, only_below: float) -> str:
    """What is averaged, in a sentence."""
    rows, columns = (sorted(set(along)) for along in zip(*offsets, strict=True))
    grid = len(rows) * len(columns) == len(offsets)
    places = [list(rows), list(columns)] if grid else [list(each) for each in offsets]
    where = " × ".join(map(_listed, places)) if grid else ", ".join(map(_listed, places))
    windows = f"{len(offsets)} window{'s' if len(offsets) > 1 else ''}"
    cut = "of the view rolled by" if around == "circle" else "of a larger view, off its middle by"
    when = f", or of the plain one alone where its margin is {only_below:g} or more" if only_below < inf else ""
    return f"its answers are the mean over {windows} {cut} (down, right) {where} px{when}"


def _listed(numbers: Iterable[int]) -> str:
    return f"({', '.join(map(str, numbers))})"
