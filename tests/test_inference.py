"""The statistics of the verdict against scipy's own tests and against counting."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from skipway.report.verdict.inference import (
    Estimate,
    Sample,
    contrast,
    difference,
    log_odds,
    odds_rounding,
    odds_variance,
    pooled,
    rejected,
    share,
    step,
    trend,
)

ONE, OTHER = (0.31, 0.28, 0.35, 0.30), (0.41, 0.29, 0.52)
ONE_OF_EACH = ((0.1, 0.1, 0.1), (0.0, 1.0, 2.0))


def test_a_difference_is_welchs():
    own = difference(Sample(ONE), Sample(OTHER))
    welch = stats.ttest_ind(ONE, OTHER, equal_var=False)
    assert own.p_apart() == pytest.approx(welch.pvalue)
    assert own.freedom == pytest.approx(welch.df)
    assert own.p_above() == pytest.approx(stats.ttest_ind(ONE, OTHER, equal_var=False, alternative="greater").pvalue)
    assert own.p_below() == pytest.approx(1 - own.p_above())
    interval = welch.confidence_interval(0.99)
    assert own.interval(0.01) == pytest.approx((interval.low, interval.high))


def test_a_trend_is_the_slope_of_least_squares():
    places, groups = (1.0, 2.0, 4.0), (ONE, OTHER, (0.7, 0.6))
    own = trend([Sample(values) for values in groups], places)
    means = [sum(values) / len(values) for values in groups]
    assert own.value == pytest.approx(stats.linregress(places, means).slope)


def test_a_step_is_the_last_group_against_the_mean_of_those_before():
    groups = [Sample(values) for values in (ONE, OTHER, (0.7, 0.6))]
    own = step(groups)
    assert own.value == pytest.approx(0.65 - (stats.tmean(ONE) + stats.tmean(OTHER)) / 2)
    errors = [stats.tvar(group.values) / len(group.values) for group in groups]
    assert own.error == pytest.approx(math.sqrt(errors[0] / 4 + errors[1] / 4 + errors[2]))
    assert step(groups[:1]) is None


def test_the_variance_of_all_groups_is_that_of_an_analysis_of_variance():
    groups = (ONE, OTHER, (0.7, 0.6))
    within = sum(stats.tvar(values) * (len(values) - 1) for values in groups) / sum(len(v) - 1 for v in groups)
    assert pooled([*map(Sample, groups), Sample((0.5,))]) == pytest.approx(within)
    assert pooled([Sample((0.5,))]) == 0


def test_seeds_that_agree_count_as_scattering_by_the_least_and_others_as_they_do():
    alike, apart = (difference(Sample(values, least=0.04), Sample((0.0,) * 3, least=0.04)) for values in ONE_OF_EACH)
    assert alike.error == pytest.approx(math.sqrt(0.04 / 3 + 0.04 / 3))
    assert alike.freedom == pytest.approx(4)
    assert apart.error == pytest.approx(math.sqrt(1 / 3 + 0.04 / 3))


def test_what_is_known_adds_to_the_error_and_to_the_freedom():
    bare, more = (difference(Sample(ONE, known), Sample(OTHER, known)) for known in (0.0, 0.01))
    assert more.error == pytest.approx(math.hypot(bare.error, math.sqrt(0.02)))
    assert more.freedom > bare.freedom
    assert more.value == bare.value


def test_a_single_seed_shows_no_spread_and_two_have_one_degree_of_freedom():
    assert contrast([Sample((0.1,)), Sample(ONE)], [1, -1]) is None
    assert trend([Sample(ONE)], [1.0]) is None
    assert difference(Sample((0.1, 0.2)), Sample(ONE)).freedom == 1


def test_without_any_scatter_a_difference_is_certain_and_none_is_none():
    same, apart = difference(Sample((0.0,) * 3), Sample((0.0,) * 3)), difference(Sample((0.1,) * 3), Sample((0.0,) * 3))
    assert same.p_apart() == 1.0
    assert apart.p_apart() < 1e-20
    assert apart.p_above() < 1e-20


def test_holms_rule_steps_down_and_stops():
    ps = {"a": 0.012, "b": 0.02, "c": 0.021, "d": 0.9}
    assert rejected(ps) == {"a"}, "b is above 0.05 / 3, and what comes after it is not asked"
    assert rejected({"a": 0.012, "b": 0.016, "c": 0.024, "d": 0.9}) == {"a", "b", "c"}
    assert rejected({}) == set()


@pytest.mark.parametrize("error", [0.0, 0.01, 0.3, 0.9])
def test_the_spread_of_an_error_on_so_many_images_is_the_binomials(error):
    draw, images = random.Random(1), 400
    chance = (error * images + 0.5) / (images + 1)
    counts = [sum(draw.random() < chance for _ in range(images)) / images for _ in range(400)]
    odds = [log_odds(count, images) for count in counts]
    if error:  # the log odds of none or one wrong are far from normal, and their spread is less than the formula's
        assert odds_variance(error, images) == pytest.approx(stats.tvar(odds), rel=0.35)
    assert odds_variance(error, images) >= 0.7 * stats.tvar(odds)


@pytest.mark.parametrize("images", [20, 400])
def test_log_odds_lead_back_to_their_share_and_never_out_of_0_and_1(images):
    for wrong in range(images + 1):
        assert share(log_odds(wrong / images, images), images) == pytest.approx(wrong / images, abs=1e-12)
    assert share(-50, images) == share(-800, images) == 0
    assert share(50, images) == share(800, images) == 1


def test_counting_whole_images_leaves_a_twelfth_of_one_squared():
    """The variance of what rounding takes away, by drawing shares that no number of images can show."""
    draw, images = random.Random(2), 200
    exact = [0.3 + draw.uniform(-0.02, 0.02) for _ in range(4000)]
    lost = [log_odds(round(value * images) / images, images) - log_odds(value, images) for value in exact]
    assert odds_rounding(0.3, images) == pytest.approx(stats.tvar(lost), rel=0.1)


def test_intervals_hold_what_they_promise_with_three_seeds():
    draw = random.Random(0)
    missed = 0
    for _ in range(2000):
        one, other = ([draw.gauss(0.3, std) for _ in range(3)] for std in (0.02, 0.01))
        low, high = difference(Sample(one), Sample(other)).interval()
        missed += not low <= 0 <= high
    assert missed / 2000 < 0.065
    assert isinstance(difference(Sample(one), Sample(other)), Estimate)
