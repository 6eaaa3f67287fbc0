"""The day that a forecast is for: a row of the data where there is one, else reckoned by how far apart the rows are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.data.series import ForecastFrame, label
from jobs.results.run_folder import target_dates


def frame_of_days(dates: np.ndarray, horizon_days: int, periods_per_year: float) -> ForecastFrame:
    price = np.linspace(10, 11, len(dates))
    x, y = np.zeros((len(dates), 1), np.float32), label(price, horizon_days)
    frame = ForecastFrame(dates, price, x, y, ("zero",), horizon_days, "0" * 64)
    return replace(frame, periods_per_year=periods_per_year)


@pytest.mark.parametrize(
    ("last", "step", "periods", "ahead"),
    [
        ("2019-01-03", 1, 252.0, ["2019-01-04", "2019-01-07", "2019-01-08", "2019-01-09", "2019-01-10"]),
        ("2019-01-05", 1, 252.0, ["2019-01-07", "2019-01-08", "2019-01-09", "2019-01-10", "2019-01-11"]),
        ("2019-01-03", 1, 365.0, ["2019-01-04", "2019-01-05", "2019-01-06", "2019-01-07", "2019-01-08"]),
        ("2019-01-04", 7, 52.0, ["2019-01-11", "2019-01-18", "2019-01-25", "2019-02-01", "2019-02-08"]),
        ("2019-01-01", 30, 12.0, ["2019-01-31", "2019-03-03", "2019-04-02", "2019-05-03", "2019-06-02"]),
    ],
    ids=["trading days", "a row on a Saturday", "calendar days", "weeks", "months"],
)
def test_days_after_the_last_row_follow_the_spacing(last, step, periods, ahead):
    dates = np.datetime64(last) - np.arange(9, -1, -1) * step

    found = target_dates(frame_of_days(dates, 5, periods))

    assert found[:5].tolist() == dates[5:].tolist()
    assert [str(day) for day in found[5:]] == ahead
