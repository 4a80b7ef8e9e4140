"""Margins: the change of the lead decides a flip; confidence and steadiness exchanged agree with a naive loop."""

import json
from math import isnan

import numpy as np
import pytest

from shiftable.errors import InputError
from shiftable.explaining.exchanging import exchange
from shiftable.explaining.margins import BINS, adjacent_pairs, measure_margins
from shiftable.explaining.resampling import over_images


def walks(seed: int, images: int = 40, steps: int = 9, spread: float = 2.0, noise: float = 0.5) -> np.ndarray:
    """Logits that stay near those of their image."""
    rng = np.random.default_rng(seed)
    return spread * rng.normal(size=(images, 1, 6)) + noise * rng.normal(size=(images, steps, 6))


def test_the_change_of_the_lead_decides_a_flip():
    scores = walks(0)
    margin, change, flip = adjacent_pairs(scores)
    for image in range(3):
        for step in range(8):
            first, second = scores[image, step], scores[image, step + 1]
            top = first.argmax()
            lead = second[top] - np.delete(second, top).max()
            assert margin[image, step] == pytest.approx(first[top] - np.delete(first, top).max())
            assert change[image, step] == pytest.approx(lead - margin[image, step])
    assert (margin >= 0).all()
    assert 0 < flip.mean() < 1
    np.testing.assert_array_equal(flip, margin + change < 0)


def test_of_equal_scores_the_lowest_class_wins():
    pairs = adjacent_pairs(np.array([[[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]]))
    assert pairs.flip.tolist() == [[False, True, True]]
    assert pairs.margin.tolist() == [[0, 0, 1]]


def test_scaling_the_logits_leaves_the_unsteadiness_and_the_flips():
    one, twice = (measure_margins(factor * walks(1)) for factor in (1.0, 2.0))
    assert twice.median_margin.value == pytest.approx(2 * one.median_margin.value)
    assert twice.rms_change.high == pytest.approx(2 * one.rms_change.high)
    assert twice.unsteadiness.value == pytest.approx(one.unsteadiness.value)
    assert twice.p_flip == one.p_flip
    assert twice.modelled == pytest.approx(one.modelled)


def test_adding_a_constant_to_a_views_logits_changes_nothing():
    scores = walks(2)
    shifted = scores + np.random.default_rng(0).integers(-4, 5, scores.shape[:2])[..., None]
    for one, other in zip(adjacent_pairs(scores), adjacent_pairs(shifted), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_tenths_hold_all_pairs_and_the_flips_are_at_low_margins():
    found = measure_margins(walks(3, images=100))
    assert len(found.tenths) == BINS
    assert sum(tenth.p_flip.pairs for tenth in found.tenths) == found.p_flip.pairs
    flips = sum(tenth.p_flip.value * tenth.p_flip.pairs for tenth in found.tenths)
    assert flips == pytest.approx(found.p_flip.value * found.p_flip.pairs)
    means = [tenth.mean_margin for tenth in found.tenths]
    assert means == sorted(means)
    assert found.tenths[0].p_flip.value > 5 * found.tenths[-1].p_flip.value
    assert all(low < middle < high for low, middle, high in (tenth.quantiles for tenth in found.tenths))
    assert all(tenth.margins[0] <= tenth.mean_margin <= tenth.margins[1] for tenth in found.tenths)


def test_independent_changes_are_modelled_well():
    found = measure_margins(walks(4, images=200))
    assert found.modelled == pytest.approx(found.p_flip.value, rel=0.1)


def test_the_exchange_agrees_with_a_naive_double_loop():
    own, other = measure_margins(walks(5, images=12)), measure_margins(walks(6, images=12, spread=4, noise=0.8))
    edges = [tenth.margins[1] for tenth in own.tenths[:-1]]
    inside = [sum(margin > edge for edge in edges) for margin in own.pairs.margin.ravel()]
    chances = []
    for margin in other.pairs.margin.ravel():
        here = sum(margin > edge for edge in edges)
        like = [change for change, at in zip(own.pairs.change.ravel(), inside, strict=True) if at == here]
        chances.append(np.mean([margin + change < 0 for change in like]))
    assert exchange(own, other).as_sure.value == pytest.approx(np.mean(chances))


@pytest.mark.parametrize("paired", [True, False])
def test_the_two_parts_add_up_and_change_sign_with_the_sides(paired):
    own, other = measure_margins(walks(7)), measure_margins(walks(8, spread=4, noise=0.8))
    there, back = exchange(own, other, paired=paired), exchange(other, own, paired=paired)
    total = there.other.value - there.own.value
    assert there.confidence.value + there.steadiness.value == pytest.approx(total)
    assert there.own.value == pytest.approx(own.modelled)
    for part in ("confidence", "steadiness"):
        one, two = getattr(there, part), getattr(back, part)
        assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low))
    assert there.as_sure.value == pytest.approx(back.as_steady.value)


def test_only_what_differs_has_a_part():
    rng = np.random.default_rng(9)
    steady = 0.3 * rng.normal(size=(60, 9, 6))
    base = rng.normal(size=(60, 1, 6))
    surer = exchange(measure_margins(2 * base + steady), measure_margins(6 * base + steady))
    assert surer.confidence.high < 0
    assert surer.steadiness.low < 0 < surer.steadiness.high
    same = exchange(measure_margins(base + steady), measure_margins(base + steady))
    assert same.confidence.value == pytest.approx(0, abs=1e-12)
    assert same.steadiness.low < 0 < same.steadiness.high


def test_intervals_hold_the_truth():
    """The share of modelled rates' intervals that hold the mean of many: 95 % are meant to."""
    found = [
        exchange(*(measure_margins(walks(seed + add, 30, spread=2 + add)) for add in (0, 1)), paired=False)
        for seed in range(0, 50, 2)
    ]
    for name in ("own", "as_sure", "as_steady", "confidence", "steadiness"):
        estimates = [getattr(each, name) for each in found]
        truth = np.mean([each.value for each in estimates])
        assert np.mean([each.low <= truth <= each.high for each in estimates]) >= 0.8


def test_a_net_that_never_flips_has_an_upper_bound():
    scores = np.tile([9.0, 1.0, 0.0], (20, 5, 1))
    found = measure_margins(scores)
    assert found.p_flip.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert found.rms_change.value == found.unsteadiness.value == 0
    assert found.modelled == 0
    both = exchange(found, found)
    assert both.as_sure.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert both.confidence.high > 0.1


def test_the_json_is_plain_where_nothing_is_defined():
    for scores in (np.zeros((3, 4, 2)), walks(1, images=1)):
        found = measure_margins(scores)
        plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert plain["p_flip"]["pairs"] == found.pairs.margin.size
        json.dumps(exchange(found, found).to_json(), allow_nan=False)
    assert isnan(measure_margins(np.zeros((3, 4, 2))).unsteadiness.value)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 1, 4), (2, 3, 1)])
def test_scores_without_pairs_are_refused(shape):
    with pytest.raises(InputError, match="have no pairs"):
        measure_margins(np.zeros(shape))


def test_infinite_scores_and_unequal_images_are_refused():
    with pytest.raises(InputError, match="finite"):
        measure_margins(np.full((2, 3, 2), -np.inf))
    with pytest.raises(InputError, match="can't be paired"):
        exchange(measure_margins(walks(0, images=3)), measure_margins(walks(0, images=4)))


def test_resampling_images_gives_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=200)
    low, high = over_images(lambda drawn: values[drawn].mean(), 200, resamples=4000)
    reach = 1.97 * values.std(ddof=1) / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.1 * reach)
