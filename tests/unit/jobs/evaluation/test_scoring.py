"""`jobs.evaluation.scoring`: every measure against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from jobs.data.label import Label
from jobs.data.series import ForecastFrame, label
from jobs.evaluation.scoring import (
    changes,
    directional_accuracy,
    mase_scale,
    price_errors,
    score,
    sharpe,
    skills,
    staggered_pnl,
    staggered_positions,
)
from jobs.evaluation.splits import holdout_split


def frame_with(price: np.ndarray, horizon_days: int) -> ForecastFrame:
    dates = np.datetime64("2000-01-03") + np.arange(len(price))
    x = np.zeros((len(price), 1), dtype=np.float32)
    return ForecastFrame(dates, price, x, label(price, horizon_days), ("zero",), horizon_days, "0" * 64)


def random_walk(rows: int, seed: int = 0) -> np.ndarray:
    return 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, rows)))


def test_price_errors_are_the_textbook_ones() -> None:
    """Misses of 10, 20 and 0 on prices of 100, 200 and 400."""
    errors = price_errors(np.array([110.0, 180.0, 400.0]), np.array([100.0, 200.0, 400.0]), scale=4.0)

    assert errors["mape_pct"] == pytest.approx(100 * (0.1 + 0.1 + 0.0) / 3)
    assert errors["mae"] == pytest.approx(10.0)
    assert errors["rmse"] == pytest.approx(math.sqrt((100 + 400 + 0) / 3))
    assert errors["mase"] == pytest.approx(2.5)


def test_mase_is_scaled_by_the_weekly_naive_error_of_the_training_prices() -> None:
    """|p[5]-p[0]| = 5 and |p[6]-p[1]| = 9: the mean is 7."""
    assert mase_scale(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 11.0])) == pytest.approx(7.0)


def test_direction_counts_only_rows_where_forecast_and_price_both_move() -> None:
    f = np.array([0.1, -0.1, 0.1, 0.0, 0.1])
    y = np.array([0.2, 0.1, 0.3, 0.5, 0.0])

    assert directional_accuracy(f, y) == pytest.approx(2 / 3)
    assert directional_accuracy(np.zeros(3), np.ones(3)) is None


def test_positions_are_the_mean_of_the_last_h_signs() -> None:
    """With h = 3, signs + + - + give w = 1/3 and 1/3, times the returns of the days that follow rows 2 and 3."""
    f = np.array([0.5, 0.1, -2.0, 0.3])
    next_return = np.array([9.0, 9.0, 0.03, -0.06])  # the first two days have no full window

    assert staggered_pnl(staggered_positions(f, 3), next_return) == pytest.approx([0.01, -0.02])


def test_sharpe_of_a_known_signal_is_the_one_worked_out_by_hand() -> None:
    """With h = 2, signs + + - -: w = 1, 0, -1; P&L = 0.02, 0, 0.01: mean 0.01, sd 0.01, so the ratio is sqrt(252)."""
    held = staggered_positions(np.array([1.0, 1.0, -1.0, -1.0]), 2)
    pnl = staggered_pnl(held, np.array([9.0, 0.02, 0.5, -0.01]))

    assert pnl == pytest.approx([0.02, 0.0, 0.01])
    assert sharpe(pnl) == pytest.approx(math.sqrt(252))


def test_turnover_is_charged_on_every_change_of_position_and_on_the_first_purchase() -> None:
    """Positions 1, 0, -1 from 0 turns over 1, 1 and 1."""
    held = staggered_positions(np.array([1.0, 1.0, -1.0, -1.0]), 2)

    assert staggered_pnl(held, np.zeros(4), cost_per_turnover=0.001) == pytest.approx([-0.001] * 3)


def test_a_position_after_a_gap_is_bought_again_and_loses_no_day() -> None:
    """Otherwise the ratio after costs would be of fewer days than the one before them."""
    held = np.array([1.0, np.nan, -0.5, -0.5])

    assert changes(held) == pytest.approx([1.0, np.nan, 0.5, 0.0], nan_ok=True)
    assert staggered_pnl(held, np.zeros(4), 0.01) == pytest.approx([-0.01, -0.005, 0.0])


def test_a_score_tells_the_ratio_before_and_after_costs_and_what_was_turned_over() -> None:
    """At a horizon of a day the sign alternates: the position changes by 2 a day, after a first purchase of 1."""
    frame = frame_with(random_walk(1000), 1)
    split = holdout_split(frame, 100, 100, 5)
    predicted = np.where(np.arange(1000) % 2, 0.01, -0.01)

    block = score(frame, split, predicted, cost_per_turnover=0.002)["backtest"]

    rows = split.backtest
    daily = np.sign(predicted[rows]) * frame.y[rows]
    paid = daily - 0.002 * np.array([1.0] + [2.0] * 99)
    assert block["turnover"] == pytest.approx(252 * 1.99)
    assert block["sharpe_gross"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))
    assert block["sharpe"] == pytest.approx(paid.mean() / paid.std(ddof=1) * math.sqrt(252))


def test_ratios_are_those_of_the_series_own_year() -> None:
    """A weekly series has 52 rows a year: as daily, its ratio would read 2.2 times too high."""
    daily = frame_with(random_walk(1000), 5)
    weekly = replace(daily, periods_per_year=52.0)
    split = holdout_split(daily, 100, 100, 5)
    f = np.random.default_rng(3).normal(0, 0.04, 1000)

    a, b = (score(frame, split, f)["backtest"] for frame in (daily, weekly))

    assert b["sharpe"] == pytest.approx(a["sharpe"] * math.sqrt(52 / 252))
    assert b["turnover"] == pytest.approx(a["turnover"] * 52 / 252)


def test_a_block_shorter_than_the_horizon_has_no_sharpe() -> None:
    assert sharpe(staggered_pnl(staggered_positions(np.ones(4), 5), np.ones(4))) is None


def test_a_strategy_that_never_trades_has_no_sharpe() -> None:
    assert sharpe(staggered_pnl(staggered_positions(np.zeros(50), 5), np.ones(50))) is None


def test_staggered_positions_do_not_inflate_the_ratio_with_the_horizon() -> None:
    """Always long on the same days reads the same at every horizon; overlapping h-day returns would read sqrt(h)."""
    returns = np.random.default_rng(1).normal(0.0005, 0.01, 5000)
    daily = sharpe(staggered_pnl(np.ones(5000), returns))

    for horizon_days in (5, 21, 63):
        held = staggered_positions(np.ones(5000), horizon_days)
        assert sharpe(staggered_pnl(held, returns)) == pytest.approx(daily, abs=0.1)


def test_skill_is_zero_beside_itself_and_positive_for_half_the_error() -> None:
    naive = {"mae": 2.0, "rmse": 4.0, "mape_pct": 1.0}

    assert skills(naive, naive) == {"skill_mae": 0.0, "skill_rmse": 0.0, "skill_mape": 0.0}
    assert skills({"mae": 1.0, "rmse": 2.0, "mape_pct": 0.5}, naive)["skill_mae"] == pytest.approx(0.5)
    assert skills({"mae": None, "rmse": 2.0, "mape_pct": 0.5}, naive)["skill_mae"] is None


def test_a_perfect_forecast_has_no_error_and_full_skill() -> None:
    frame = frame_with(random_walk(1000), 5)
    split = holdout_split(frame, 100, 100, 5)

    scores = score(frame, split, frame.y)

    assert scores["backtest"]["mae"] == pytest.approx(0.0, abs=1e-9)
    assert scores["backtest"]["directional_accuracy"] == 1.0
    assert scores["backtest"]["skill_rmse"] == pytest.approx(1.0)
    assert scores["naive"]["backtest"]["mae"] > 0


def test_naive_is_scored_on_the_rows_that_the_model_forecast_and_on_no_other() -> None:
    """A model that skips hard rows must not look good beside a naive forecast that had to take them."""
    frame = frame_with(random_walk(1000), 5)
    split = holdout_split(frame, 100, 100, 5)
    predicted = np.where(np.arange(1000) % 2, 0.0, np.nan)

    scores = score(frame, split, predicted)

    assert scores["validation"]["rows"] == scores["naive"]["validation"]["rows"] == 50
    assert scores["validation"]["skill_mae"] == 0.0


@pytest.mark.parametrize("value", [np.nan, 0.0, 800.0, -800.0])
def test_every_score_can_be_written_as_json(value: float) -> None:
    """No forecast, no change, and forecasts beyond what a float can hold: never NaN, never infinity."""
    frame = frame_with(random_walk(600), 5)
    split = holdout_split(frame, 60, 60, 5)

    json.dumps(score(frame, split, np.full(600, value)), allow_nan=False)


def test_a_random_guess_has_no_skill_on_a_random_walk() -> None:
    """The floor that the scores stand on: noise must not look like knowledge."""
    frame = frame_with(random_walk(6000), 5)
    split = holdout_split(frame, 2000, 2000, 5)
    guess = np.random.default_rng(7).normal(0, 0.04, 6000)

    block = score(frame, split, guess)["backtest"]

    assert block["skill_mae"] < 0
    assert block["directional_accuracy"] == pytest.approx(0.5, abs=0.04)
    assert abs(block["sharpe"]) < 1.0


def of_differences(price: np.ndarray, horizon_days: int) -> ForecastFrame:
    usual = frame_with(np.ones(len(price)), horizon_days)
    return replace(usual, price=price, y=Label.DIFFERENCE.of(price, horizon_days), label=Label.DIFFERENCE)


def test_differences_are_scored_in_the_unit_of_the_price_and_never_in_percent() -> None:
    """A random walk around 0, which has no logarithm; every figure worked out again."""
    rng, h = np.random.default_rng(4), 5
    price, f = rng.normal(0, 1, 1000).cumsum(), rng.normal(0, 2, 1000)
    frame = of_differences(price, h)
    split = holdout_split(frame, 200, 200, 5)

    block = score(frame, split, f, cost_per_turnover=0.01)["backtest"]

    rows = split.backtest
    miss, naive = np.abs(price[rows] + f[rows] - price[rows + h]), np.abs(price[rows] - price[rows + h])
    assert block["mae"] == pytest.approx(miss.mean())
    assert block["mase"] == pytest.approx(miss.mean() / mase_scale(price[split.train]))
    assert block["skill_mae"] == pytest.approx(1 - miss.sum() / naive.sum())
    assert (block["mape_pct"], block["skill_mape"]) == (None, None)
    assert block["directional_accuracy"] == pytest.approx(np.mean((f[rows] > 0) == (price[rows + h] > price[rows])))
    held = np.array([np.sign(f[t - h + 1 : t + 1]).mean() for t in rows[h - 1 :]])
    gain = held * (price[rows[h - 1 :] + 1] - price[rows[h - 1 :]])
    paid = gain - 0.01 * np.abs(price[split.train]).mean() * np.abs(np.diff(held, prepend=0.0))
    assert block["sharpe_gross"] == pytest.approx(gain.mean() / gain.std(ddof=1) * math.sqrt(252))
    assert block["sharpe"] == pytest.approx(paid.mean() / paid.std(ddof=1) * math.sqrt(252))


def test_what_is_said_of_differences_does_not_depend_on_the_level_of_the_price() -> None:
    """A back-adjusted price is the same series at another level; only the costs know a value of the position."""
    rng = np.random.default_rng(5)
    price, f = 100 + rng.normal(0, 1, 1000).cumsum(), rng.normal(0, 2, 1000)
    frames = [of_differences(price, 5), of_differences(price - 97.0, 5)]

    a, b = (score(frame, holdout_split(frame, 200, 200, 5), f)["backtest"] for frame in frames)

    assert [name for name, value in a.items() if value is None] == ["mape_pct", "skill_mape"]
    for name, value in a.items():
        assert value == (None if value is None else pytest.approx(b[name], rel=1e-9)), name


def test_a_position_without_a_value_has_no_sharpe() -> None:
    price = np.concatenate([np.zeros(700), np.random.default_rng(6).normal(0, 1, 300).cumsum()])
    frame = of_differences(price, 5)

    block = score(frame, holdout_split(frame, 150, 150, 5), np.ones(1000))["backtest"]

    assert (block["sharpe"], block["sharpe_gross"], block["mase"]) == (None, None, None)
    assert block["mae"] > 0
