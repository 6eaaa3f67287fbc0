"""`jobs.families.baselines`: what the three baselines forecast, computed by hand."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from support.fakes import make_task

from cbi_queue.artifacts import sha256_of
from jobs.families.baselines import SeasonalNaive, forecast
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_baselines_of_differences_take_any_price() -> None:
    price = np.array([3.0, 1.0, -2.0, 0.0, 5.0, -4.0, 2.0])
    seasonal = {"model": "seasonal_naive", "season_rows": 5, "label": "difference"}

    assert forecast(
        {"model": "drift", "mean_daily_difference": -0.5, "label": "difference"}, price, 21
    ) == pytest.approx([-10.5] * 7)
    assert forecast(seasonal, price, 3)[2:] == pytest.approx([3 + 2, 1 - 0, -2 - 5, 0 + 4, 5 - 2])


def test_seasonal_naive_is_naive_when_the_season_divides_the_horizon() -> None:
    """One week ahead with a weekly season: the latest known such day is today."""
    assert forecast({"model": "seasonal_naive", "season_rows": 5}, PRICE, 5).tolist() == [0.0] * 7


def season_of(folder: Path, rows: int, season_rows: int) -> SeasonalNaive:
    """A seasonal naive baseline, prepared on *rows* days, one week ahead."""
    parquet = folder / "1w_features.parquet"
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(rows)]
    pl.DataFrame({"date": days, "price": np.linspace(10.0, 20.0, rows)}).write_parquet(parquet)
    manifest = {"source_sha256": "ab" * 32, "output_sha256": sha256_of(parquet)}
    (folder / "1w_features.manifest.json").write_text(json.dumps(manifest))
    params = {"validation_rows": 30, "backtest_rows": 30, "embargo_rows": 0, "season_rows": season_rows}
    spec = {"family": "statistical", "model": "seasonal_naive", "horizon": "1w", "params": params}
    baseline = SeasonalNaive()
    baseline.prepare(make_task(folder / "run", spec, folder, folder))
    return baseline


@pytest.mark.parametrize("season_rows", [335, 504])
def test_a_season_that_is_longer_than_the_history_is_a_broken_spec(tmp_path: Path, season_rows: int) -> None:
    """With h = 5 and a season of 335, the day before which nothing is known is the last one."""
    wanted = rf"season_rows is {season_rows}: .* needs the price {season_rows - 5} rows earlier, .* have 330 rows"
    with pytest.raises(BrokenSpec, match=wanted):
        season_of(tmp_path, 330, season_rows)


def test_the_longest_season_that_fits_forecasts_the_last_day(tmp_path: Path) -> None:
    baseline = season_of(tmp_path, 330, 334)
    known = np.isfinite(forecast(baseline.fit(), baseline.frame.price, baseline.frame.horizon_days))
    assert np.flatnonzero(known).tolist() == [329]
