"""What came of earlier forecasts of volatility and of regimes, by hand-made numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.views.forecast import flags_of, monitor_words
from jobs.data.label import Label
from jobs.data.series import ForecastFrame
from jobs.evaluation.regimes import Rule, changes, regimes
from jobs.forecasting.realised import told_by_day, write_realised
from jobs.forecasting.realised_beside import (
    FILES,
    realised_regimes,
    realised_volatility,
    regime_monitor,
    volatility_monitor,
)

if TYPE_CHECKING:
    from pathlib import Path

H, ROWS = 2, 300
MOVE = 0.01
RULE = Rule(crisis_volatility=0.5, trend_limit=0.2)
"""No crisis; 126 changes that sum to more than 0.2 are a bull market."""


@pytest.fixture(scope="module")
def frame() -> ForecastFrame:
    """A price that moves by one percent a day: up and down in turn for 150 rows, then up every day."""
    days = np.busday_offset(np.datetime64("2026-01-05"), np.arange(ROWS), roll="forward")
    signs = np.where(np.arange(ROWS) < 150, np.where(np.arange(ROWS) % 2, 1, -1), 1)
    price = 100.0 * np.exp(np.cumsum(MOVE * signs))
    return ForecastFrame(days, price, np.zeros((ROWS, 1), np.float32), Label.LOG_RETURN.of(price, H), ("a",), H, "0")


def write(folder: Path, rows: ForecastFrame, row: int, **values: Any) -> None:
    """The day's file of *row*: EWMA is right, what is forecast is in *values*."""
    annual = 100 * math.sqrt(MOVE**2 * rows.periods_per_year)
    told = {
        "volatility_pct": annual, "ewma_pct": annual, "rolling_pct": 2 * annual, "quantile_5": -0.03,
        "quantile_25": -0.01, "quantile_50": 0.0, "quantile_75": 0.01, "quantile_95": 0.03,
        "p_crisis": 0.0, "p_bull": 0.1, "p_bear": 0.2, "p_normal": 0.7, "persistence_crisis": 0.0,
        "persistence_bull": 0.5, "persistence_bear": 0.0, "persistence_normal": 0.5,
        "crisis_volatility": RULE.crisis_volatility, "trend_limit": RULE.trend_limit,
    } | values  # fmt: skip
    whose = {
        f"{kind}_{name}": value for kind in FILES for name, value in {"job": kind, "job_id": 7, "model": "m"}.items()
    }
    table = pl.DataFrame([{"horizon": "1w", "date": rows.dates[row].astype(object), **whose, **told}])
    table.write_parquet(folder / f"{rows.dates[row]}.parquet")


TOLD = {"horizon": "1w", "job": "volatility", "job_id": 7}


def test_a_variance_is_held_against_the_squares_that_came_and_a_quantile_against_the_return(
    tmp_path: Path, frame: ForecastFrame
) -> None:
    annual = 100 * math.sqrt(MOVE**2 * frame.periods_per_year)
    write(tmp_path, frame, 200, volatility_pct=annual * math.sqrt(2))
    write(tmp_path, frame, ROWS - H, volatility_pct=1.0)  # its target has not come

    (row,) = realised_volatility(told_by_day(tmp_path), {"1w": frame})

    assert row["target_date"] == frame.dates[202].astype(object)
    assert row["realised_pct"] == pytest.approx(annual)
    assert row["qlike"] == pytest.approx(0.5 - math.log(0.5) - 1)
    assert (row["ewma_qlike"], row["rolling_qlike"]) == (
        pytest.approx(0, abs=1e-12),
        pytest.approx(0.25 - math.log(0.25) - 1),
    )
    assert (row["actual_return"], row["in_50"], row["in_90"]) == (pytest.approx(2 * MOVE), False, True)
    flat = replace(frame, price=np.full(ROWS, 100.0))
    assert realised_volatility(told_by_day(tmp_path), {"1w": flat}) == [], "a price that stood still has no QLIKE"
    write_realised(tmp_path, [row], FILES["volatility"])
    assert pl.read_parquet(tmp_path / "realised_volatility.parquet").to_dicts() == [row]
    assert len(told_by_day(tmp_path)) == 2, "the log is no day"


def test_the_regime_that_came_is_told_by_the_limits_of_the_run_that_forecast_it(
    tmp_path: Path, frame: ForecastFrame
) -> None:
    """A later training moves the limits of the present, and no old figure."""
    there = regimes(changes(frame.price), RULE)
    turn = int(np.flatnonzero(there == 1)[0])  # the first bull row
    write(tmp_path, frame, turn - H - 1)
    write(tmp_path, frame, turn - H)
    write(tmp_path, frame, turn - H + 1, trend_limit=5.0)

    rows = realised_regimes(told_by_day(tmp_path), {"1w": frame})

    assert [(row["likeliest"], row["actual_regime"], row["right"]) for row in rows] == [
        ("normal", "normal", True), ("normal", "bull", False), ("normal", "normal", True),
    ]  # fmt: skip
    assert [row["log_loss"] for row in rows] == [pytest.approx(-math.log(p)) for p in (0.7, 0.1, 0.7)]
    then = replace(frame, dates=frame.dates[: turn + 2], price=frame.price[: turn + 2], x=frame.x[: turn + 2])
    found = regime_monitor(rows, then, TOLD, {"log_loss": 0.5})
    assert (found["realised"], found["right"], found["retrain"]) == (3, pytest.approx(2 / 3), None)
    assert monitor_words(found).startswith(
        "the likeliest regime came in 67 % of 3 forecasts of the last 30 rows of data (0.0 independent), persistence's in 33 %"
    )
    assert regime_monitor(rows, frame, {**TOLD, "job_id": 8}, {})["rolling"] is None


@pytest.mark.parametrize(
    ("factor", "ewma", "days", "retrain", "words"),
    [
        (2.0, 1.0, 30, True, "EWMA's 2.22e-16 on the same days, 0.1 in the backtest, above 1.5 times that"),
        (2.0, 4.0, 30, False, "EWMA's 0.636 on the same days, 0.1 in the backtest: above 1.5 times that, but no worse than EWMA"),
        (1.1, 1.0, 30, False, "0.1 in the backtest, within 1.5 times that"),
        (2.0, 1.0, 20, None, "; once they span 30 rows it is judged"),
    ],
)  # fmt: skip
def test_a_wild_month_that_ewma_missed_as_well_asks_for_no_training(
    tmp_path: Path, frame: ForecastFrame, factor: float, ewma: float, days: int, retrain: bool | None, words: str
) -> None:
    annual = 100 * math.sqrt(MOVE**2 * frame.periods_per_year)
    for row in range(ROWS - H - days, ROWS - H):
        own, bar = annual * math.sqrt(factor), annual * math.sqrt(ewma)
        write(tmp_path, frame, row, volatility_pct=own, ewma_pct=bar)
    rows = realised_volatility(told_by_day(tmp_path), {"1w": frame})

    found = volatility_monitor(rows, frame, TOLD, {"qlike": 0.1})

    assert found["retrain"] is retrain
    assert words.replace("2.22e-16", f"{found['simple']:.3g}") in monitor_words(found)
    latest = {"volatility": [{**TOLD, "monitor": found}]}
    assert [flag.words[:55] for flag in flags_of(latest, DEFAULT)] == (
        ["volatility (1w volatility) should be trained again: QLIK"[:55]] if retrain else []
    )
    odd = {
        "forecasts": [{"horizon": "1w"}],
        "monitor": 3,
        "volatility": [{"horizon": "1w", "job_id": "x", "monitor": 3}],
    }
    assert flags_of(odd, DEFAULT) == [], "a file that others may write"
    assert volatility_monitor(rows, frame, TOLD, {})["retrain"] is None, "without a backtest nothing is known"
