"""`jobs.evaluation.regimes`: regimes that no later day changes, baselines that know only the past, scores of probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.parameters.common import EvaluationParams
from jobs.data.series import ForecastFrame, label
from jobs.evaluation.regimes import (
    BEAR,
    BULL,
    CRISIS,
    LEAST_PERSISTENCE,
    NORMAL,
    TREND_ROWS,
    changes,
    fit_rule,
    frequencies,
    later,
    log_losses,
    mixed,
    persistence,
    regimes,
    regimes_of,
    score_regimes,
    share_of,
)
from jobs.trainer import BrokenSpec

H = 5


def walk(rows: int, seed: int = 0) -> np.ndarray:
    """A random walk of the logarithm with calm and wild stretches."""
    dice = np.random.default_rng(seed)
    spread = np.where((np.arange(rows) // 60) % 5 == 4, 0.04, 0.01)
    return 100.0 * np.exp(np.cumsum(dice.normal(0.0, spread)))


def frame_of_prices(price: np.ndarray) -> ForecastFrame:
    dates = np.arange("2000-01-01", len(price), dtype="datetime64[D]")
    return ForecastFrame(dates, price, np.zeros((len(price), 1), np.float32), label(price, H), ("x",), H, "sha")


@given(seed=st.integers(0, 50), cut=st.integers(500, 899))
@settings(max_examples=40, deadline=None)
def test_a_regime_never_changes_when_later_days_arrive(seed: int, cut: int) -> None:
    price = walk(900, seed)
    rule = fit_rule(changes(price), np.arange(400))

    whole, early = regimes(changes(price), rule), regimes(changes(price[:cut]), rule)

    assert early.tolist() == whole[:cut].tolist()


@given(seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_the_rule_sees_the_training_block_alone(seed: int) -> None:
    price, other = walk(1000, seed), walk(1000, seed)
    params = EvaluationParams(validation_rows=100, backtest_rows=100, embargo_rows=5)
    other[900:] *= np.linspace(1, 50, 100)  # what comes later is another world

    (regime, rule), (_, same) = (regimes_of(frame_of_prices(each), params) for each in (price, other))

    assert rule == same
    assert set(np.unique(regime)) <= {-1, CRISIS, BULL, BEAR, NORMAL}
    assert (regime[:TREND_ROWS] == -1).all()
    assert (regime[TREND_ROWS:] >= 0).all()


def test_each_regime_is_what_its_name_says() -> None:
    """A calm rise, a calm fall, a standstill and a wild one, each of 200 days; the wild one is what only crises are."""
    dice = np.random.default_rng(1)
    drift, spread = np.repeat([0.004, -0.004, 0.0, 0.0], 200), np.repeat([0.01, 0.01, 0.002, 0.05], 200)
    price = 100.0 * np.exp(np.cumsum(dice.normal(drift, spread)))
    rule = fit_rule(changes(price), np.arange(610))

    found = regimes(changes(price), rule)

    assert [np.bincount(found[at : at + 50], minlength=4).argmax() for at in (150, 350, 550, 750)] == [
        BULL, BEAR, NORMAL, CRISIS,
    ]  # fmt: skip


@pytest.mark.parametrize("price", [np.full(500, 3.0), np.exp(0.01 * np.arange(500))])
def test_a_price_that_does_not_move_or_always_as_much_is_refused_with_the_column(price: np.ndarray) -> None:
    with pytest.raises(BrokenSpec, match=r"column 'price' does not move there, or always as much"):
        fit_rule(changes(price), np.arange(400))


def test_a_price_that_stands_still_nearly_always_is_refused_and_not_called_a_crisis() -> None:
    """The volatility of most rows is 0, and so was the limit from which every row is a crisis."""
    price = np.concatenate([np.full(490, 3.0), np.linspace(3.0, 4.0, 10) ** 2])
    with pytest.raises(BrokenSpec, match=r"column 'price' does not move in 95 % of them"):
        fit_rule(changes(price), np.arange(500))


def test_too_short_a_block_is_refused() -> None:
    with pytest.raises(BrokenSpec, match="120 training rows, more than 126 are needed"):
        fit_rule(changes(walk(500)), np.arange(120))


def test_the_baselines_know_only_what_was_known_then() -> None:
    """Whatever comes after a row changes nothing of what they say there; and they learn."""
    price = walk(900)
    regime = regimes(changes(price), fit_rule(changes(price), np.arange(400)))
    other = regime.copy()
    other[701:] = (other[701:] + 1) % 4

    for told, changed in (
        (persistence(regime, H), persistence(other, H)),
        (frequencies(regime), frequencies(other)),
    ):
        assert told[:701].tolist() == changed[:701].tolist()
        assert told[701:].tolist() != changed[701:].tolist()
        assert told.sum(axis=1) == pytest.approx(np.ones(900))
        assert (told > 0).all()
    followed = [int(b) for a, b in zip(regime[:-H], regime[H:], strict=True) if a == regime[-1] and b >= 0]
    expected = (1 + np.bincount(followed, minlength=4)) / (4 + len(followed))
    assert persistence(regime, H)[-1] == pytest.approx(expected)


def test_later_is_the_regime_after_the_horizon() -> None:
    assert later(np.array([0, 1, 2, 3, -1], dtype=np.int8), 2).tolist() == [2, 3, -1, -1, -1]


def test_scores_are_those_of_the_formulas() -> None:
    told = np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.0, 0.5, 0.5, 0.0], [np.nan] * 4])
    even = np.full((4, 4), 0.25)
    scores = score_regimes({"model": told, "persistence": even}, np.array([0, 1, 3, 2]), np.arange(2), H)

    assert scores["model"]["rows"] == 2
    assert scores["model"]["log_loss"] == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2)
    assert scores["model"]["brier"] == pytest.approx((0.3**2 + 3 * 0.1**2 + 0.75**2 + 3 * 0.25**2) / 2)
    assert scores["model"]["skill"] == pytest.approx(1 - scores["model"]["log_loss"] / math.log(4))
    assert log_losses(told, np.array([0, 1, 3, 2]))[2] == math.inf


def test_a_probability_of_zero_costs_a_finite_loss_once_persistence_is_mixed_in() -> None:
    sure, even = np.eye(4)[[0]], np.full((1, 4), 0.25)
    assert mixed(sure, even, 1.0)[0, 1] == pytest.approx(LEAST_PERSISTENCE / 4)
    assert mixed(sure, even, 0.0).tolist() == even.tolist()


@pytest.mark.parametrize(("right", "share"), [(0.97, 1.0), (0.0, 0.0)])
def test_only_probabilities_that_had_skill_on_validation_are_kept(right: float, share: float) -> None:
    dice, rows = np.random.default_rng(2), np.arange(504)
    came = dice.integers(0, len(REGIMES), 504)
    said = np.where(dice.random(504) < right, came, dice.integers(0, 4, 504))
    told, even = 0.9 * np.eye(4)[said] + 0.025, np.full((504, 4), 0.25)

    assert share_of(told, even, came, rows, H) == share


def test_a_random_walk_gives_no_skill_over_persistence() -> None:
    """Probabilities of one walk said of another: kept for one in twenty at most, by the test's own level."""
    kept = []
    for seed in range(40):
        one, other = (walk(1500, seed * 2 + k) for k in (0, 1))
        a, b = (regimes(changes(p), fit_rule(changes(p), np.arange(700))) for p in (one, other))
        kept.append(share_of(persistence(a, H), persistence(b, H), later(b, H), np.arange(700, 1400), H) > 0)
    assert sum(kept) <= 4
