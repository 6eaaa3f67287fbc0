"""How old data may be, and whether the newest rows look like those of the training."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.data.series import ForecastFrame, label
from jobs.forecasting.live_drift import LEAST_ROWS, drift_of
from jobs.forecasting.present import refuse_unless_fresh
from jobs.trainer import BrokenSpec

FRIDAY = np.datetime64("2026-11-27")


def frame(rows: int = 900, newest: np.datetime64 = FRIDAY, shift: float = 0.0, live: int = 0) -> ForecastFrame:
    """A random walk with one feature of noise, moved by *shift* in the last *live* rows."""
    draw = np.random.default_rng(5)
    days = np.busday_offset(newest, np.arange(rows) - rows + 1, roll="backward")
    price = np.exp(np.cumsum(draw.normal(0, 0.01, rows)))
    x = draw.normal(size=(rows, 1)).astype(np.float32)
    if live:
        x[-live:] += shift
    return ForecastFrame(days, price, x, label(price, 5), ("a",), 5, "0")


def run(rows: ForecastFrame) -> Any:
    return SimpleNamespace(frame=rows, metrics={"scheme": "walk_forward"}, preproc={"features": ["a"]})


@pytest.mark.parametrize(
    ("today", "most"), [("2026-11-27", 0), ("2026-11-30", 1), ("2026-12-04", 5), ("2026-11-26", 5)]
)
def test_a_weekend_a_holiday_and_a_day_ahead_are_fresh(today: str, most: int) -> None:
    assert refuse_unless_fresh(frame(), np.datetime64(today), most, allow_old=False) is None


def test_beyond_that_the_day_the_age_and_the_remedy_are_said() -> None:
    with pytest.raises(BrokenSpec, match=r"end on 2026-11-27, 6 trading days before 2026-12-07.*--old-data"):
        refuse_unless_fresh(frame(), np.datetime64("2026-12-07"), 5, allow_old=False)
    words = refuse_unless_fresh(frame(), np.datetime64("2026-12-07"), 5, allow_old=True)
    assert words is not None
    assert "forecasts of that day, not of today" in words


def test_a_clock_that_was_set_back_is_named() -> None:
    with pytest.raises(BrokenSpec, match=r"2026-11-27.*clock says 2026-10-01"):
        refuse_unless_fresh(frame(), np.datetime64("2026-10-01"), 5, allow_old=True)


def test_weekly_rows_are_as_old_as_the_weeks_that_are_missing() -> None:
    weekly = replace(frame(), periods_per_year=52.0)
    assert refuse_unless_fresh(weekly, np.datetime64("2026-12-29"), 5, allow_old=False) is None
    with pytest.raises(BrokenSpec, match="6 rows before"):
        refuse_unless_fresh(weekly, np.datetime64("2027-01-09"), 5, allow_old=False)


def test_few_rows_are_not_judged_by_the_limit_for_many() -> None:
    """At 63 rows PSI is above 0.1 without any drift more often than not."""
    rows = frame(live=LEAST_ROWS)
    (found,) = drift_of(run(rows), rows.rows - 1 - LEAST_ROWS)["features"]
    assert found["expected"] > 0.1
    assert not found["quarantined"]


def test_a_shift_of_two_deviations_goes_into_quarantine_and_comes_out_by_itself() -> None:
    rows = frame(live=LEAST_ROWS, shift=2.0)
    last = rows.rows - 1 - LEAST_ROWS
    assert drift_of(run(rows), last)["features"][0]["quarantined"]
    back = frame(live=LEAST_ROWS, shift=0.0)
    assert not drift_of(run(back), last)["features"][0]["quarantined"]


def test_too_few_rows_say_nothing() -> None:
    rows = frame(live=LEAST_ROWS - 1, shift=9.0)
    found = drift_of(run(rows), rows.rows - LEAST_ROWS)
    assert (found["live_rows"], found["compared_rows"], found["features"]) == (LEAST_ROWS - 1, 0, [])
