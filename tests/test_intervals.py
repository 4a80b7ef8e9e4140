"""Intervals: exact where exact answers exist, equal to SciPy's and to naive loops, and they hold the truth."""

import json
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shiftable.auditing.intervals import (
    Estimate,
    _acceleration,
    block_interval,
    difference,
    magnitude,
    rate,
    rate_difference,
)
from shiftable.errors import InputError

STEPS = 32.0
weightings = pytest.mark.parametrize("weighting", ["images", "pairs"])
measures = pytest.mark.parametrize("measure", [rate, magnitude])
differences = pytest.mark.parametrize("measure", [rate_difference, difference])


def flips(seed: int, images: int, share: float = 0.1, correlation: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Beta-binomial hits of 1 to 32 pairs an image."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 33, images)
    chance = rng.beta(share / correlation - share, (1 - share) / correlation - (1 - share), images)
    return rng.binomial(counts, chance).astype(float), counts.astype(float)


def ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


# Exact answers


@weightings
@pytest.mark.parametrize("images", [1, 2, 50, 1000])
def test_no_flip_in_n_images_gives_the_rule_of_three(images, weighting):
    counts = np.arange(1.0, images + 1)
    none, every = rate(0 * counts, counts, weighting=weighting), rate(counts, counts, weighting=weighting)
    bound = 0.025 ** (1 / images)
    assert ends(none) == pytest.approx((0, 1 - bound), rel=1e-12)
    assert ends(every) == pytest.approx((bound, 1), rel=1e-12)
    assert (none.value, every.value, none.low, every.high) == (0, 1, 0, 1)
    assert none.images == images
    assert none.pairs == counts.sum()


@weightings
@given(trials=st.integers(2, 400), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(deadline=None, max_examples=60)
def test_one_trial_per_image_is_clopper_pearson(weighting, trials, share, confidence):
    successes = round(share * trials)
    estimate = rate(np.repeat([1.0, 0.0], [successes, trials - successes]), np.ones(trials), weighting=weighting,
                    confidence=confidence)  # fmt: skip
    exact = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert ends(estimate) == pytest.approx((exact.low, exact.high), abs=1e-9)


@weightings
@pytest.mark.parametrize("copies", [2, 32, 1000])
def test_steps_that_all_agree_say_no_more_than_one(weighting, copies):
    hits = np.repeat([1.0, 0.0], [7, 93])
    one, many = (rate(hits * c, np.full(100, 1.0 * c), weighting=weighting) for c in (1, copies))
    assert ends(many) == pytest.approx(ends(one), rel=1e-9)


def test_independent_steps_say_almost_as_much_as_images_would():
    rng = np.random.default_rng(0)
    clustered = rate(rng.binomial(32, 0.3, 500).astype(float), np.full(500, STEPS))
    flat = stats.binomtest(round(clustered.value * 16000), 16000).proportion_ci(method="exact")
    width = (clustered.high - clustered.low) / (flat.high - flat.low)
    assert 1.0 <= width < 1.1


def test_steps_that_avoid_each_other_count_as_independent_at_most():
    even = rate(np.full(100, 16.0), np.full(100, STEPS))
    exact = stats.binomtest(1600, 3200).proportion_ci(method="exact")
    assert even.high - even.low >= exact.high - exact.low


@given(seed=st.integers(0, 10**6), images=st.integers(2, 300), share=st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=60)
def test_rate_is_within_0_and_1_around_its_value_and_mirrors(seed, images, share):
    hits, counts = flips(seed, images, share)
    for weighting in ("images", "pairs"):
        estimate, mirror = (rate(h, counts, weighting=weighting) for h in (hits, counts - hits))
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert (1 - mirror.high, 1 - mirror.low) == pytest.approx(ends(estimate), abs=1e-8)


# Agreement with SciPy and with naive loops


def expanded(images: int) -> float:
    """The level at which plain BCa is ours: Student's quantile, widened by √(n / (n − 1))."""
    return float(2 * stats.norm.cdf(np.sqrt(images / (images - 1)) * stats.t.ppf(0.975, images - 1)) - 1)


def ratio_difference(before, before_counts, after, after_counts, axis=-1):
    return after.sum(axis) / after_counts.sum(axis) - before.sum(axis) / before_counts.sum(axis)


CASES = {
    "magnitude, images": (magnitude, "images", lambda h, c, axis=-1: (h / c).mean(axis)),
    "magnitude, pairs": (magnitude, "pairs", lambda h, c, axis=-1: h.sum(axis) / c.sum(axis)),
    "difference, images": (difference, "images", lambda h, c, g, d, axis=-1: (g / d - h / c).mean(axis)),
    "difference, pairs": (difference, "pairs", ratio_difference),
}


@pytest.mark.parametrize(("measure", "weighting", "statistic"), CASES.values(), ids=CASES)
def test_bca_agrees_with_scipy(measure, weighting, statistic):
    images = 20
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 33, images).astype(float)
    columns = [counts * rng.exponential(1.0, images), counts]
    if measure is difference:
        columns += [columns[0] * rng.uniform(0.5, 1.2, images), rng.integers(1, 33, images).astype(float)]
    ours = measure(*columns, weighting=weighting, resamples=50000)
    theirs = stats.bootstrap(
        columns, statistic, paired=True, n_resamples=50000, method="BCa", vectorized=True, batch=2000,
        confidence_level=expanded(images), rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert ours.value == pytest.approx(statistic(*columns), rel=1e-12)
    assert ends(ours) == pytest.approx((theirs.low, theirs.high), abs=0.025 * (theirs.high - theirs.low))


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_closed_form_jackknife_is_the_loop(columns):
    table = np.random.default_rng(3).gamma(0.5, size=(40, columns)) + 0.1

    def statistic(rows):
        sums = rows.mean(axis=0)
        return {1: lambda: sums[0], 2: lambda: sums[0] / sums[1], 4: lambda: sums[2] / sums[3] - sums[0] / sums[1]}[
            columns
        ]()

    left = np.array([statistic(np.delete(table, row, axis=0)) for row in range(40)])
    pull = left.mean() - left
    assert _acceleration(table, 40) == pytest.approx((pull**3).sum() / (6 * (pull**2).sum() ** 1.5), rel=1e-8)


@weightings
def test_a_magnitude_scales_and_moves_with_its_unit(weighting):
    totals, counts = flips(4, 80)
    one, other = (magnitude(t, counts, weighting=weighting) for t in (totals, -3 * totals + 2 * counts))
    assert -3 * np.array(ends(one))[::-1] + 2 == pytest.approx(np.array(ends(other)), abs=0.02)


# Invariances


@measures
@weightings
def test_the_order_of_the_images_changes_nothing(measure, weighting):
    hits, counts = flips(5, 200)
    order = np.random.default_rng(6).permutation(200)
    assert measure(hits[order], counts[order], weighting=weighting) == measure(hits, counts, weighting=weighting)


@differences
@weightings
def test_the_order_of_paired_images_changes_nothing(measure, weighting):
    columns = [*flips(5, 200), *flips(7, 200)]
    order = np.random.default_rng(6).permutation(200)
    shuffled = [column[order] for column in columns]
    assert measure(*shuffled, weighting=weighting) == measure(*columns, weighting=weighting)


@measures
@weightings
def test_images_without_pairs_carry_no_information(measure, weighting):
    hits, counts = flips(8, 50)
    padded = (np.append(hits, [0.0, 0.0]), np.append(counts, [0.0, 0.0]))
    assert measure(*padded, weighting=weighting) == measure(hits, counts, weighting=weighting)


@differences
@weightings
def test_a_difference_turns_its_sign_with_its_direction(measure, weighting):
    before, after = flips(9, 100), flips(10, 100, share=0.3)
    there, back = measure(*before, *after, weighting=weighting), measure(*after, *before, weighting=weighting)
    assert back.value == pytest.approx(-there.value, rel=1e-12)
    assert (-back.high, -back.low) == pytest.approx(ends(there), abs=0.01)
    assert there.low > 0


@differences
@weightings
def test_pairing_cancels_what_the_images_share(measure, weighting):
    hits, counts = flips(11, 300, share=0.3)
    slightly = np.maximum(hits - (np.arange(300) % 5 == 0), 0)
    paired = measure(hits, counts, slightly, counts, weighting=weighting)
    alone = rate(hits, counts, weighting=weighting)
    assert paired.high < 0
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_equal_weightings_when_counts_are_equal():
    hits, _ = flips(12, 100)
    counts = np.full(100, STEPS)
    assert ends(rate(hits, counts)) == pytest.approx(ends(rate(hits, counts, weighting="pairs")), rel=1e-9)
    pair = hits[::-1].copy()
    by_image, by_pair = (rate_difference(hits, counts, pair, counts, weighting=w) for w in ("images", "pairs"))
    assert ends(by_image) == pytest.approx(ends(by_pair), abs=1e-12)


# Degenerate input


@weightings
def test_audits_that_do_not_differ_are_not_proof_that_models_do_not(weighting):
    hits, counts = flips(13, 40)
    same = rate_difference(hits, counts, hits, counts, weighting=weighting)
    assert same.value == 0
    assert ends(same) == pytest.approx((0.025 ** (1 / 40) - 1, 1 - 0.025 ** (1 / 40)), rel=1e-12)
    assert same.pairs == 2 * counts.sum()


def test_one_image_says_what_it_can():
    one = np.ones(1)
    estimate = magnitude(0.3 * one, one)
    assert isnan(estimate.low)
    assert isnan(estimate.high)
    assert (estimate.value, estimate.images) == (0.3, 1)
    assert ends(rate_difference(0 * one, one, one, one)) == (-1, 1)
    some = rate(8 * one, 32 * one)
    assert some.low < 0.01
    assert some.high > 0.975


@weightings
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3])
def test_equal_images_give_no_width(weighting, value):
    counts = np.full(1000, 3.0)
    estimate = magnitude(value * counts, counts, weighting=weighting)
    assert ends(estimate) == (estimate.value, estimate.value)
    assert estimate.value == pytest.approx(value)


def test_an_estimate_survives_strict_json():
    for estimate in (Estimate(0.1, nan, nan, 1, 32), rate(*flips(14, 20))):
        fields = json.loads(json.dumps(estimate.to_json(), allow_nan=False))
        assert Estimate.from_json(fields).to_json() == estimate.to_json()
    assert fields["low"] == estimate.low


def test_ratios_survive_resamples_without_pairs():
    before, counts = np.array([1.0, 0.0, 2.0]), np.array([4.0, 0.0, 0.0]) + np.array([0.0, 0.0, 4.0])
    after, after_counts = np.array([0.0, 3.0, 1.0]), np.array([0.0, 4.0, 4.0])
    estimate = difference(before, counts, after, after_counts, weighting="pairs")
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize(
    ("hits", "counts"),
    [([0.0], [0.0]), ([], []), ([2.0], [1.0]), ([-1.0], [1.0]), ([nan], [1.0]), ([0.0], [-1.0])],
)
def test_unusable_tables_are_refused(hits, counts):
    with pytest.raises(InputError):
        rate(np.array(hits, dtype=float), np.array(counts, dtype=float))


@differences
def test_audits_without_common_pairs_are_refused(measure):
    none, some = np.array([0.0, 0.0]), np.array([0.0, 3.0])
    with pytest.raises(InputError, match="same images"):
        measure(none, some, none, some[::-1].copy())
    with pytest.raises(InputError, match="same images"):
        measure(none, some, none, none, weighting="pairs")


@pytest.mark.parametrize(("series", "block"), [([], 3), ([0.0], 0), ([2.0], 1), ([nan], 1)])
def test_unusable_series_are_refused(series, block):
    with pytest.raises(InputError):
        block_interval(np.array(series, dtype=float), block)


# One video


def test_blocks_of_one_pair_are_independent_trials():
    series = np.repeat([1.0, 0.0], [12, 188])
    exact = stats.binomtest(12, 200).proportion_ci(method="exact")
    assert ends(block_interval(series, 1)) == pytest.approx((exact.low, exact.high), rel=1e-9)


def test_blocks_see_the_dependence_that_single_pairs_hide():
    states = np.random.default_rng(15).random(60) < 0.3
    series = np.repeat(states, 30).astype(float)
    for kind in ("rate", "magnitude"):
        narrow, wide = (block_interval(series, block, kind=kind) for block in (1, 30))
        assert narrow.value == wide.value == pytest.approx(states.mean())
        assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_still_video_is_not_proof_of_stillness():
    assert ends(block_interval(np.zeros(95), 30)) == pytest.approx((0, 1 - 0.025 ** (1 / 3)))
    assert isnan(block_interval(np.array([0.1, 0.2]), 30, kind="magnitude").low)
    assert block_interval(np.array([0.0, 1.0]), 30).high > 0.98


# Coverage. Seeds are fixed, so these can't flake; docs/coverage.md has the whole grid.


@pytest.mark.parametrize(
    ("images", "share", "correlation", "at_most"),
    [(50, 0.02, 0.3, 100), (50, 0.5, 0, 98.5), (200, 0.005, 0.8, 100), (200, 0.1, 0, 98.5), (1000, 0.02, 0.3, 98.5)],
)
@pytest.mark.parametrize("wholesale", [False, True])
def test_rates_hold_the_truth(images, share, correlation, at_most, wholesale):
    rng, shape = np.random.default_rng(16), (500, images)
    if wholesale:  # a share of the images flips at every step or at none
        whole = rng.random(shape) < correlation
        hits = np.where(whole, 32 * (rng.random(shape) < share), rng.binomial(32, share, shape))
    else:
        scale = 1 / max(correlation, 1e-6) - 1
        hits = rng.binomial(32, rng.beta(share * scale, (1 - share) * scale, shape))
    counts = np.full(images, STEPS)
    estimates = [rate(row, counts) for row in hits.astype(float)]
    held = 100 * np.mean([estimate.low <= share <= estimate.high for estimate in estimates])
    assert 93 <= held <= at_most


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_rate_differences_hold_the_truth(factor):
    rng, counts = np.random.default_rng(17), np.full(100, STEPS)
    scale = 1 / 0.3 - 1
    own = rng.beta(0.1 * scale, 0.9 * scale, (500, 100))
    before, after = rng.binomial(32, own).astype(float), rng.binomial(32, own * factor).astype(float)
    estimates = [rate_difference(b, counts, a, counts) for b, a in zip(before, after, strict=True)]
    held = 100 * np.mean([estimate.low <= 0.1 * (factor - 1) <= estimate.high for estimate in estimates])
    assert 93 <= held <= 99


def test_magnitudes_hold_the_truth():
    values, one = np.random.default_rng(18).exponential(0.05, (400, 100)), np.ones(100)
    estimates = [magnitude(row, one, resamples=500, seed=at) for at, row in enumerate(values)]
    held = 100 * np.mean([estimate.low <= 0.05 <= estimate.high for estimate in estimates])
    assert 92 <= held <= 97.5


def test_resampling_many_images_takes_bounded_memory():
    import tracemalloc

    totals, counts = np.random.default_rng(19).random(50000), np.ones(50000)
    tracemalloc.start()
    magnitude(totals, counts, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
