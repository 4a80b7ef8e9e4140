"""Risk: the curve is found again, checked on images it never saw, and reads back the same from its file."""

import json
from math import isnan

import numpy as np
import pytest
from scipy import stats

from shiftable.errors import InputError
from shiftable.explaining.calibration import _auc, check_risks
from shiftable.explaining.risk import CONSTANT, FORMS, LEAST_IMAGES, _regress, fit_risk, read_risk, views_at_risk


def world(
    seed: int, images: int = 300, views: int = 12, intercept: float = 0.5, slope: float = -2.0, form: str = "margin"
) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and flips with known risks."""
    rng = np.random.default_rng(seed)
    margins = rng.exponential(1, (images, 1)) * rng.uniform(0.5, 1.5, (images, views))
    odds = intercept + slope * FORMS[form](margins)
    return margins, rng.random(margins.shape) < 1 / (1 + np.exp(-odds))


def write(path, risk):
    path.write_text(json.dumps(risk.to_json(), allow_nan=False))
    return path


def test_a_view_is_at_risk_if_a_neighbour_is_answered_otherwise():
    tops = [0, 0, 1, 1, 1, 0]
    scores = np.array([[[2.0, 0.0] if top == 0 else [0.0, 1.0] for top in tops]])
    margins, flips = views_at_risk(scores)
    assert margins.tolist() == [[2, 1, 1, 1]]
    assert flips.tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("form", FORMS)
def test_the_curve_is_found_again(form):
    margins, flips = world(0, images=4000, form=form)
    assert _regress(FORMS[form](margins), flips) == pytest.approx((0.5, -2), abs=0.1)


def test_the_form_that_made_the_flips_is_chosen():
    for form in FORMS:
        risk = fit_risk(*world(1, images=1500, slope=-4, form=form))
        assert risk.form == form == min(risk.log_loss, key=risk.log_loss.__getitem__)


def test_the_mean_of_the_fitted_risks_is_the_rate():
    margins, flips = world(2)
    intercept, slope = _regress(margins, flips)
    assert (1 / (1 + np.exp(-(intercept + slope * margins)))).mean() == pytest.approx(flips.mean(), rel=1e-4)


def test_a_right_curve_passes_the_check():
    risk = fit_risk(*world(3, images=600))
    check = risk.check
    assert check is not None
    assert check.observed.low <= check.mean_risk <= check.observed.high
    assert sum(each.observed.low <= each.risk <= each.observed.high for each in check.bins) >= 8
    assert check.calibration_error.value < 3 * check.by_chance
    assert check.skill.low > 0
    assert check.auc.low > 0.7


def test_a_curve_of_another_world_does_not():
    margins, flips = world(4, intercept=-2)
    wrong = fit_risk(*world(4, intercept=2))
    check = check_risks(wrong(margins), flips, wrong.rate.value)
    assert check.mean_risk > check.observed.high
    assert check.calibration_error.low > 5 * check.by_chance
    assert check.skill.high < 0


def test_the_numbers_of_the_check_are_those_of_naive_loops():
    margins, flips = world(5, images=40)
    given = fit_risk(margins, flips)(margins)
    check = check_risks(given, flips, 0.3)
    pairs = [(risk, bool(flip)) for risk, flip in zip(given.ravel(), flips.ravel(), strict=True)]
    assert check.brier.value == pytest.approx(np.mean([(risk - flip) ** 2 for risk, flip in pairs]))
    assert check.skill.value == pytest.approx(1 - check.brier.value / np.mean([(0.3 - flip) ** 2 for _, flip in pairs]))
    wins = [(hit > miss) + (hit == miss) / 2 for hit, yes in pairs if yes for miss, no in pairs if not no]
    assert check.auc.value == pytest.approx(np.mean(wins))
    assert sum(each.observed.pairs for each in check.bins) == given.size
    error = sum(abs(each.risk - each.observed.value) * each.observed.pairs for each in check.bins) / given.size
    assert check.calibration_error.value == pytest.approx(error)


def test_auc_counts_equal_risks_half():
    assert _auc(np.full((3, 2), 0.2), np.array([[True, False]] * 3)) == 0.5
    assert isnan(_auc(np.ones((1, 2)), np.zeros((1, 2), bool)))
    given, flips = np.arange(6.0)[None], np.array([[False, True, False, False, True, True]])
    expected = stats.mannwhitneyu(given[flips], given[~flips]).statistic / 9
    assert _auc(given, flips) == pytest.approx(expected)


def test_the_file_gives_the_same_risk_and_says_how_to_compute_it(tmp_path):
    risk = fit_risk(*world(6, images=60))
    again = read_risk(write(tmp_path / "risk.json", risk))
    assert again == risk
    margins = np.linspace(0, 9, 19)
    np.testing.assert_array_equal(again(margins), risk(margins))
    text = risk.to_json()["formula"].removeprefix("risk = ")
    by_hand = [eval(text, {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "margin": margin}) for margin in margins]
    np.testing.assert_allclose(by_hand, risk(margins), rtol=1e-4)


def test_risks_fall_with_the_margin_and_are_never_out_of_bounds():
    risk = fit_risk(*world(7))
    risks = risk(np.array([0, 0.1, 1, 10, 1e3, 1e6]))
    assert (np.diff(risks) <= 0).all()
    assert 0 <= risks.min() < risks.max() <= 1
    assert risk(0.5).shape == ()
    with pytest.raises(InputError, match="can't be -1"):
        risk(-1.0)


@pytest.mark.parametrize("flip", [False, True])
def test_without_a_flip_or_with_nothing_else_the_risk_is_the_bound(flip, tmp_path):
    margins, _ = world(8, images=30)
    risk = fit_risk(margins, np.full(margins.shape, flip))
    assert risk.form == CONSTANT
    assert risk(2.0) == pytest.approx(1 if flip else 1 - 0.025 ** (1 / 15))
    assert "upper end" in risk.remarks[0]
    assert risk.check is not None
    assert isnan(risk.check.skill.value)
    assert isnan(risk.check.auc.value)
    assert str(read_risk(write(tmp_path / "risk.json", risk)).to_json()) == str(risk.to_json())


def test_margins_that_part_the_flips_give_a_finite_curve():
    margins = np.tile(np.linspace(0, 4, 20), (40, 1))
    risk = fit_risk(margins, margins < 1)
    assert np.isfinite(risk.coefficients).all()
    assert risk(0.0) > 0.95
    assert risk(4.0) < 0.01


def test_margins_that_say_nothing_give_the_rate():
    _, flips = world(9, images=100)
    risk = fit_risk(np.ones(flips.shape), flips)
    assert risk(1.0) == pytest.approx(risk.rate.value, abs=1e-4)


@pytest.mark.parametrize("images", [1, 2, LEAST_IMAGES - 1, LEAST_IMAGES])
def test_few_images_are_fitted_and_not_checked(images):
    risk = fit_risk(*world(10, images=images))
    assert (risk.check is None) == (images < LEAST_IMAGES)
    assert risk.images == (images if images < LEAST_IMAGES else images // 2)
    if risk.check is None:
        assert "checked on none" in risk.remarks[-1]
    json.dumps(risk.to_json(), allow_nan=False)


def test_the_images_order_and_a_seed_choose_the_halves():
    margins, flips = world(11)
    assert fit_risk(margins, flips, seed=3) == fit_risk(margins, flips, seed=3)
    assert fit_risk(margins, flips, seed=3).coefficients != fit_risk(margins, flips, seed=4).coefficients


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(InputError, match="not negative"):
        fit_risk(-np.ones((9, 2)), np.zeros((9, 2), bool))
    with pytest.raises(InputError, match="no view between"):
        views_at_risk(np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match="can't be read"):
        read_risk(tmp_path / "none.json")
    for text in ("{", "[]", '{"form": "margin"}'):
        path = tmp_path / "other.json"
        path.write_text(text)
        with pytest.raises(InputError, match="holds no risk"):
            read_risk(path)
