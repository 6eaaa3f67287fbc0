"""`jobs.families.bars`: what the three bars say, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.families.bars import forecast

PRICE = np.exp(np.array([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0]))


def test_naive_says_no_change() -> None:
    assert forecast({"model": "naive"}, PRICE, 5).tolist() == [0.0] * 7


def test_drift_lets_the_mean_daily_return_go_on_for_h_days() -> None:
    assert forecast({"model": "drift", "mean_daily_log_return": 0.01}, PRICE, 21) == pytest.approx([0.21] * 7)


def test_seasonal_naive_takes_the_latest_known_day_of_the_season() -> None:
    """With h = 3 and a season of 5, day t + 3 is like day t - 2."""
    f = forecast({"model": "seasonal_naive", "season_rows": 5}, PRICE, 3)

    assert np.isnan(f[:2]).all()
    assert f[2:] == pytest.approx([0 - 3, 1 - 6, 3 - 10, 6 - 15, 10 - 21])


def test_seasonal_naive_is_naive_when_the_season_divides_the_horizon() -> None:
    """One week ahead with a weekly season: the latest known such day is today."""
    assert forecast({"model": "seasonal_naive", "season_rows": 5}, PRICE, 5).tolist() == [0.0] * 7
