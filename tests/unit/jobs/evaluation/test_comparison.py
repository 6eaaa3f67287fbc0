"""`jobs.comparison`: the confidence set is arch's, equal forecasts are one, and naive is always among the compared."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import MCS

from jobs.comparison import compare

if TYPE_CHECKING:
    from pathlib import Path

H, ROWS = 5, 300


def run(folder: Path, name: str, forecast: np.ndarray, price: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    days = np.datetime64("2020-01-01") + np.arange(len(price))
    table = pl.DataFrame(
        {
            "date": days,
            "price": price,
            "block": ["backtest"] * len(price),
            "predicted_price": forecast,
            "actual_price": actual,
        }
    )
    table.write_parquet(folder / f"{name}.parquet")
    figures = {"sharpe": 0.5, "sharpe_days": 300, "sharpe_skew": 0.0, "sharpe_kurtosis": 3.0, "trials": 1}
    return {"name": name, "predictions": str(folder / f"{name}.parquet"), **figures}


@pytest.fixture
def series() -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(0)
    walk = 100 + rng.standard_normal(ROWS + H).cumsum()
    return walk[:-H], walk[H:], rng


def test_a_good_model_stays_alone_and_a_bad_one_is_out(tmp_path: Path, series) -> None:
    price, actual, rng = series
    good = actual + 0.3 * rng.standard_normal(ROWS)
    bad = actual + 6 * rng.standard_normal(ROWS)

    said = compare(
        {
            "horizon_days": H,
            "runs": [run(tmp_path, "good", good, price, actual), run(tmp_path, "bad", bad, price, actual)],
        }
    )

    assert said["set"]["good"] == 1.0
    assert said["set"]["bad"] < 0.1
    assert said["superior_p"] < 0.01
    losses = np.column_stack([abs(price - actual), abs(good - actual), abs(bad - actual)])
    peer = MCS(losses, size=0.1, reps=1000, block_size=2 * H, method="R", seed=0)
    peer.compute()
    assert said["set"]["bad"] == pytest.approx(float(peer.pvalues["Pvalue"][2]), abs=0.05)


def test_noise_is_not_told_apart_from_naive(tmp_path: Path, series) -> None:
    price, actual, rng = series
    runs = [run(tmp_path, f"n{i}", price + 0.2 * rng.standard_normal(ROWS), price, actual) for i in range(5)]
    assert compare({"horizon_days": H, "runs": runs})["superior_p"] > 0.1


def test_a_model_that_forecasts_as_naive_does_shares_its_place(tmp_path: Path, series) -> None:
    price, actual, rng = series
    runs = [
        run(tmp_path, "same", price, price, actual),
        run(tmp_path, "other", price + rng.standard_normal(ROWS), price, actual),
    ]
    said = compare({"horizon_days": H, "runs": runs})
    assert said["set"]["same"] == 1.0


def test_too_few_rows_say_nothing(tmp_path: Path, series) -> None:
    price, actual, _ = series
    said = compare({"horizon_days": 126, "runs": [run(tmp_path, "a", price + 1, price, actual)]})
    assert said["set"] == {"a": None}
    assert said["superior_p"] is None


def test_the_deflated_ratio_takes_the_series_own_year(tmp_path: Path, series) -> None:
    """The same yearly ratio over as many rows is more certain when the rows are weeks: they are more years."""
    price, actual, _ = series
    runs = [run(tmp_path, name, price + 1, price, actual) for name in ("daily", "weekly")]
    said = [
        compare({"horizon_days": H, "runs": [{**each, "periods_per_year": periods}]})["deflated"][each["name"]]
        for each, periods in zip(runs, (252.0, 52.0), strict=True)
    ]
    assert said == pytest.approx([0.707, 0.884], abs=0.005)


def test_one_group_that_cannot_be_read_does_not_cost_the_others(tmp_path: Path, series) -> None:
    price, actual, _ = series
    groups = {
        "gone": {"horizon_days": H, "runs": [{"name": "x", "predictions": str(tmp_path / "none.parquet")}]},
        "here": {"horizon_days": H, "runs": [run(tmp_path, "a", price + 1, price, actual)]},
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs.comparison"], input=json.dumps(groups), capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert "none.parquet" in said["gone"]["error"]
    assert said["here"]["rows"] == ROWS


def variance_run(folder: Path, name: str, forecast: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    days = np.datetime64("2020-01-01") + np.arange(len(forecast))
    table = pl.DataFrame({"date": days, "block": ["backtest"] * len(days), "predicted_variance": forecast, **others})
    table.write_parquet(folder / f"{name}.parquet")
    return {"name": name, "predictions": str(folder / f"{name}.parquet")}


def test_forecasts_of_variance_are_compared_by_qlike_with_both_baselines_in_the_set(tmp_path: Path) -> None:
    """The best model may not be told apart from EWMA: then EWMA is in the set, and the board must show it."""
    rng = np.random.default_rng(1)
    true = np.exp(rng.standard_normal(ROWS))
    realised = true * rng.chisquare(H, ROWS) / H
    realised[7] = 0.0  # the price stood still: no QLIKE
    ewma, rolling = true * np.exp(0.5 * rng.standard_normal(ROWS)), np.full(ROWS, true.mean())
    others = {"ewma_variance": ewma, "rolling_variance": rolling, "realised_variance": realised}
    group = {
        "of": "volatility",
        "horizon_days": H,
        "runs": [variance_run(tmp_path, "knows", true, others), variance_run(tmp_path, "same", ewma, others)],
    }

    said = compare(group)

    assert said["rows"] == ROWS - 1
    assert set(said["set"]) == {"knows", "same", "ewma", "rolling"}
    assert said["set"]["knows"] == 1.0
    assert said["set"]["rolling"] < 0.1
    assert said["set"]["same"] == said["set"]["ewma"], "equal forecasts are one"
    assert said["superior_p"] < 0.01
