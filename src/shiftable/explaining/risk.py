"""The risk of one answer: how likely a view one pixel away is answered otherwise, told from the view's margin alone.

Half of the images give the curve, a logistic regression of "some neighbour has another top class" on the margin; the
other half say whether to believe it. The curve is a closed formula, so a deployment needs one forward and one line::

    risk = read_risk("risk.json")
    first, second = np.sort(logits)[::-1][:2]
    if risk(first - second) > 0.2: ...

Of the forms in ``FORMS`` the one is taken that best foretells images it was not fitted on, by cross-validation within
the fitted half: the other half is looked at once (`calibration`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, nan
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from shiftable.auditing.intervals import Estimate, rate
from shiftable.errors import InputError
from shiftable.explaining.calibration import Check, check_risks, rich
from shiftable.explaining.diagnosis import plain
from shiftable.explaining.margins import Scores, adjacent_pairs

LEAST_IMAGES = 8
"""Fewer are not parted in two: all are fitted, and nothing is checked."""

FORMS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "margin": lambda margin: margin,
    "sqrt(margin)": np.sqrt,
    "log(1 + margin)": np.log1p,
}
"""What the logarithm of the odds is linear in."""

CONSTANT = "constant"
FOLDS = 5
RIDGE = 0.01  # a slope of 10 per standard deviation costs half a nat: finite even where a margin parts the views

Margin = Float[np.ndarray, "image view"]
Flip = Bool[np.ndarray, "image view"]


@dataclass(frozen=True)
class Risk:
    """P(some view one pixel away has another top class), from a view's margin. Call it on margins.

    Risks far below one in as many as there were images are the curve's word alone: nothing that rare was seen.

    Args:
        form: One of ``FORMS``, or ``"constant"`` where no flip, or nothing but flips, was seen.
        coefficients: Intercept and slope of the logarithm of the odds; of a constant, the risk itself.
        neighbours: Which views one pixel away are meant.
        margins_seen: The least and the greatest margin it was fitted to, in logits. Beyond, it extrapolates.
        images: How many it was fitted to.
        rate: The share of their views with a neighbour that is answered otherwise.
        log_loss: Of every form that was tried, on images it was not fitted to, in nats per view.
        check: What the other images say; None where there are too few.
        remarks: What a user must know, a sentence each.
    """

    form: str
    coefficients: tuple[float, ...]
    neighbours: str
    margins_seen: tuple[float, float]
    images: int
    rate: Estimate
    log_loss: Mapping[str, float]
    check: Check | None
    remarks: tuple[str, ...] = ()

    def __call__(self, margins: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
        """The risk, 0 to 1, of views with these margins.

        Args:
            margins: Top-1 minus top-2, in logits, as the net gives them: not divided by a temperature.

        Raises:
            InputError: If a margin is negative.
        """
        margin = np.asarray(margins, dtype=np.float64)
        if (margin < 0).any():
            raise InputError(f"a margin can't be {margin.min():g}", todo="give the top logit minus the second")
        if self.form == CONSTANT:
            return np.full(margin.shape, self.coefficients[0])
        return _logistic(self.coefficients, np.asarray(FORMS[self.form](margin)))

    @property
    def formula(self) -> str:
        """The same, as text."""
        if self.form == CONSTANT:
            return f"risk = {self.coefficients[0]:.6g}"
        intercept, slope = self.coefficients
        return f"risk = 1 / (1 + exp(-({intercept:.6g} {'-' if slope < 0 else '+'} {abs(slope):.6g} * {self.form})))"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and text: all that a deployment needs, without this package."""
        fields = {key: plain(value) for key, value in vars(self).items()}
        return {
            "formula": self.formula,
            "margin": "the greatest score minus the second, of one view",
            "unit": "logits",
            "note": "logits as the net gives them, at temperature 1; of probabilities, log(first / second)",
            **fields,
            "log_loss": dict(self.log_loss),
            "check": None if self.check is None else self.check.to_json(),
        }


def read_risk(path: str | Path) -> Risk:
    """A risk whose `Risk.to_json` was written to a file.

    Raises:
        InputError: If the file can't be read, or holds something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        fields = {key: rich(found[key]) for key in Risk.__dataclass_fields__ if key != "check"}
        risk = Risk(**fields, check=None if found["check"] is None else Check.from_json(found["check"]))
        risk(np.ones(1))
    except OSError as error:
        raise InputError("can't be read", where=path, todo="give the risk.json that shiftable explain wrote") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("holds no risk", where=path, todo="give the risk.json that shiftable explain wrote") from error
    return risk


def views_at_risk(scores: Scores) -> tuple[Margin, Flip]:
    """The margins of the views along walks, and whether the view before or after has another top class.

    The first and the last view of a walk have one neighbour only and are left out.

    Args:
        scores: As for `measure_margins`: adjacent views, one pixel apart, in logits.

    Raises:
        InputError: As `measure_margins`, and if there are fewer than three steps.
    """
    margin, _, flip = adjacent_pairs(scores)
    if flip.shape[1] < 2:
        raise InputError(
            f"walks of {scores.shape[1]} steps have no view between two others", todo="take 3 steps or more"
        )
    return margin[:, 1:], flip[:, :-1] | flip[:, 1:]


def fit_risk(
    margins: Margin, flips: Flip, *, neighbours: str = "one pixel either way along one axis", seed: int = 0
) -> Risk:
    """Fit the risk on half of the images, and check it on the others.

    Args:
        margins: Of every view, in logits, 0 or more; as `views_at_risk` gives them.
        flips: Whether a view one pixel away is answered otherwise.
        neighbours: Which views these are, in words.
        seed: Of parting the images, and of the resampling.

    Raises:
        InputError: If there is no view, or a margin is negative or not finite.
    """
    images = len(margins)
    if not margins.size or not np.isfinite(margins).all() or (margins < 0).any():
        raise InputError("margins must be there, finite and not negative", todo="give top-1 minus top-2, in logits")
    order = np.random.default_rng(seed).permutation(images)
    enough = images >= LEAST_IMAGES
    fitted, checked = np.split(order, [ceil(images / 2) if enough else images])
    risk = _fitted(margins[fitted], flips[fitted], neighbours)
    if not enough:
        remark = f"fitted on all {images} images and checked on none: give {LEAST_IMAGES} or more"
        return replace(risk, remarks=(*risk.remarks, remark))
    return replace(risk, check=check_risks(risk(margins[checked]), flips[checked], risk.rate.value, seed=seed))


def _fitted(margins: Margin, flips: Flip, neighbours: str) -> Risk:
    images, each = margins.shape
    share = rate(flips.sum(axis=1).astype(float), np.full(images, float(each)))
    seen = (float(margins.min()), float(margins.max()))
    if not 0 < share.value < 1:
        what = "no view" if share.value == 0 else "every view"
        remark = f"{what} of the {images} images flips, so every margin is given the upper end of the rate's interval"
        return Risk(CONSTANT, (share.high,), neighbours, seen, images, share, {}, None, (remark,))
    losses = {form: _foretold(transform(margins), flips) for form, transform in FORMS.items()}
    losses = {form: loss for form, loss in losses.items() if np.isfinite(loss)}
    form = min(losses, key=losses.__getitem__, default="margin")
    flipping = int(flips.any(axis=1).sum())
    remarks = () if flipping >= LEAST_IMAGES else (f"only {flipping} of the {images} images it was fitted to flip",)
    coefficients = _regress(FORMS[form](margins), flips)
    return Risk(form, coefficients, neighbours, seen, images, share, losses, None, remarks)


def _regress(x: Margin, flips: Flip) -> tuple[float, float]:
    """(intercept, slope) of the most likely logistic curve, each image counting the same."""
    from scipy.optimize import minimize

    mean, spread = float(x.mean()), float(x.std()) or 1.0
    z, images = (x - mean) / spread, len(x)

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        odds = line[0] + line[1] * z
        off = _logistic(line, z) - flips
        value = (np.logaddexp(0, odds) - flips * odds).mean() + RIDGE / images * line[1] ** 2 / 2
        return float(value), np.array([off.mean(), (off * z).mean() + RIDGE / images * line[1]])

    share = float(flips.mean())
    intercept, slope = minimize(loss, [np.log(share / (1 - share)), 0.0], jac=True, method="BFGS").x
    return float(intercept - slope * mean / spread), float(slope / spread)


def _logistic(line: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -(line[0] + line[1] * x))))


def _foretold(x: Margin, flips: Flip) -> float:
    """The mean log loss of images by the curve of others; NaN where no part of the images can give one."""
    folds = min(FOLDS, len(x))
    losses = []
    for fold in range(folds):  # the images come in random order
        left_out = np.arange(len(x)) % folds == fold
        if not 0 < flips[~left_out].sum() < flips[~left_out].size:
            continue
        intercept, slope = _regress(x[~left_out], flips[~left_out])
        odds = intercept + slope * x[left_out]
        losses.append((np.logaddexp(0, odds) - flips[left_out] * odds).mean())
    return float(np.mean(losses)) if losses else nan
