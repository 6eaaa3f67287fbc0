"""The newest forecast in words, and silence where there is none to tell."""

from __future__ import annotations

import pytest

from cbi_queue.views.forecast import figure, forecast_lines

TOLD = {
    "date": "2019-01-03",
    "target_date": "2019-02-01",
    "price": 46.92,
    "predicted_price": 47.0,
    "lower_80": 41.25,
    "upper_80": 53.56,
    "lower_95": 37.69,
    "upper_95": 58.63,
}


def test_a_forecast_has_its_day_its_change_and_its_intervals():
    assert list(forecast_lines({"forecast": TOLD})) == [
        "Forecast for 2019-02-01: 47.00 (+0.2 % from 46.92 on 2019-01-03)",
        "  80 % interval: 41.25 to 53.56",
        "  95 % interval: 37.69 to 58.63",
    ]


def test_an_interval_that_is_not_known_is_left_out():
    assert len(list(forecast_lines({"forecast": TOLD | {"lower_95": None, "upper_95": None}}))) == 2


@pytest.mark.parametrize(
    "metrics",
    [None, {}, {"forecast": None}, {"forecast": 3}, {"forecast": {}}, {"forecast": TOLD | {"predicted_price": None}},
     {"forecast": TOLD | {"date": 3}}],
)  # fmt: skip
def test_a_run_without_a_forecast_tells_none(metrics):
    assert list(forecast_lines(metrics)) == []


@pytest.mark.parametrize(
    ("price", "words"), [(0.012345, "0.01235"), (1.5, "1.50"), (1234.5, "1,234.50"), (45678.9, "45,679")]
)
def test_a_price_is_written_to_the_digits_that_it_has(price, words):
    assert figure(price) == words
