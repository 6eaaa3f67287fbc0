"""`jobs.data.label`: what is forecast of a price, back to a price, and what follows for features and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import polars as pl
import pytest
from arch.data import sp500

from cbi_queue.datasets.description import DataSet
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.spec import JobSpec
from jobs.data.feature_names import Series, feature_names
from jobs.data.feature_store import cache_files, check_returns
from jobs.data.label import Label
from jobs.data.leaks import suspicions
from jobs.data.series import frame_of
from jobs.trainer import BrokenSpec
from tests.support.features import engineer

if TYPE_CHECKING:
    from pathlib import Path

PRICE = np.array([20.0, 10.0, -37.63, 0.0, 10.0])
"""Beside its neighbours, the settlement of WTI on 2020-04-20."""


def test_a_data_set_chooses_between_the_labels_that_there_are() -> None:
    assert get_args(DataSet.model_fields["label"].annotation) == tuple(Label)
    assert DataSet().label == Label.LOG_RETURN


def test_the_default_changes_no_snapshot_and_the_choice_does() -> None:
    assert DataSet(label="log_return").reading() == {}
    assert DataSet(label="difference").reading() == {"label": "difference"}


def test_a_difference_is_the_later_price_less_the_present_one() -> None:
    y = Label.DIFFERENCE.of(PRICE, 2)

    assert y[:3] == pytest.approx([-57.63, -10.0, 47.63])
    assert np.isnan(y[3:]).all()


@pytest.mark.parametrize("label", Label)
def test_the_label_as_a_forecast_gives_the_later_price(label: Label) -> None:
    price = np.array([20.0, 10.0, 3.0, 40.0]) if label is Label.LOG_RETURN else PRICE
    y = label.of(price, 1)

    assert label.price_from(price[:-1], y[:-1]) == pytest.approx(price[1:])
    assert label.change(price[:-1], price[1:]) == pytest.approx(y[:-1])
    assert np.diff(label.level(price)) == pytest.approx(y[:-1])


def test_the_default_is_computed_as_it_always_was() -> None:
    """To the bit: results that are stored must come out again."""
    price, f = sp500.load()["Adj Close"].to_numpy(), np.linspace(-0.1, 0.1, 5031)
    label = Label.LOG_RETURN

    assert (label.of(price, 5)[:-5] == np.log(price)[5:] - np.log(price)[:-5]).all()
    assert (label.price_from(price, f) == price * np.exp(f)).all()
    assert (label.change(price[:-1], price[1:]) == np.log(price[1:] / price[:-1])).all()
    assert label.notional(price) == 1.0


def test_only_a_difference_takes_a_price_of_0_or_below_and_none_takes_what_is_no_number() -> None:
    odd = np.array([1.0, 0.0, -37.63, np.nan, np.inf])

    assert Label.LOG_RETURN.is_allowed(odd).tolist() == [True, False, False, False, False]
    assert Label.DIFFERENCE.is_allowed(odd).tolist() == [True, True, True, False, False]


def test_a_forecast_beyond_a_floats_range_is_infinite_and_says_no_more() -> None:
    assert np.isinf(Label.LOG_RETURN.price_from(np.array([20.0]), np.array([1e4]))).all()


def test_the_value_of_a_position_is_the_mean_absolute_price_and_unknown_where_that_is_0() -> None:
    assert Label.DIFFERENCE.notional(PRICE) == pytest.approx((20 + 10 + 37.63 + 0 + 10) / 5)
    assert np.isnan(Label.DIFFERENCE.notional(np.zeros(4)))


def test_a_frame_has_the_label_of_its_data_set_and_refuses_a_price_that_has_none() -> None:
    table = pl.DataFrame({"date": np.datetime64("2020-04-16") + np.arange(5), "price": PRICE, "x": np.zeros(5)})

    frame = frame_of(table, 1, "0" * 64, Label.DIFFERENCE)

    assert frame.label is Label.DIFFERENCE
    assert frame.y[:4] == pytest.approx(np.diff(PRICE))
    with pytest.raises(BrokenSpec, match=r"2 prices have no logarithm, the first is -37\.63 on 2020-04-18"):
        frame_of(table, 1, "0" * 64)
    with pytest.raises(
        BrokenSpec, match="1 prices have no value, the first is nan on 2020-04-18: prices must be finite"
    ):
        frame_of(table.with_columns(pl.col("price").replace(-37.63, np.nan)), 1, "0" * 64, Label.DIFFERENCE)


def test_features_of_such_a_price_are_of_its_differences_and_other_columns_stay_as_they_are() -> None:
    """No spread: the price's differences and the logarithms of a covariate have no common unit."""
    params = FeatureParams.model_validate({"lags": (1,), "windows": (2,)})
    days = pl.date_range(pl.date(2020, 4, 15), pl.date(2020, 4, 19), eager=True)
    other = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    table = pl.DataFrame({"date": days, "price": PRICE, "other": other})
    series = [Series("price", is_log=False), Series("other", is_log=True)]

    found = engineer(table, series, params)

    assert found["price_ret_0"].to_list()[1:] == pytest.approx(np.diff(PRICE).tolist(), rel=1e-6)
    assert found["other_ret_0"].to_list()[1:] == pytest.approx([np.log(2)] * 4, rel=1e-6)
    assert "other_corr_2" in found.columns
    logs = [Series("price", is_log=True), Series("other", is_log=True)]
    assert set(feature_names(logs, params)) - set(feature_names(series, params)) == {"other_spread_2"}


@pytest.mark.parametrize("h", [5, 21])
def test_a_column_that_knows_the_future_of_a_price_below_0_is_found_and_an_honest_one_is_not(h: int) -> None:
    price = sp500.load()["Adj Close"].to_numpy()
    price = price - price.mean()  # a real series around 0
    later, y = np.concatenate([price[h:], np.full(h, price[-1])]), Label.DIFFERENCE.of(price, h)
    known, rng = np.nan_to_num(y, nan=float(y[-h - 1])), np.random.default_rng(h)
    planted = {
        "later price": later,
        "in another unit": 7 - 2 * later,
        "label": known,
        "label with noise": known + 0.5 * known.std() * rng.standard_normal(len(y)),
        "sign of the label": np.sign(known),
        "empty at its end": np.concatenate([rng.standard_normal(len(y) - h), np.full(h, np.nan)]),
    }
    honest = {"itself": price, "yesterday": np.roll(price, 1), "walk": rng.standard_normal(len(y)).cumsum()}

    found = {suspicion.column for suspicion in suspicions(price, planted | honest, [h], Label.DIFFERENCE)}

    assert found == set(planted)


def test_a_model_of_log_returns_is_refused_on_features_that_have_none(tmp_path: Path) -> None:
    """The choice may have changed after the job was queued: `plan check` cannot know that."""
    files = cache_files(tmp_path, "1w")
    told = {"garch": "volatility", "ets": "statistical"}
    garch, ets = (JobSpec(day=1, name=m, family=f, model=m, horizon="1w", dataset="zl") for m, f in told.items())
    for label in ("log_return", None):
        files.write_manifest({"label": label} if label else {})
        check_returns(tmp_path, garch)
    files.write_manifest({"label": "difference"})

    check_returns(tmp_path, ets)
    with pytest.raises(BrokenSpec, match="garch is a model of log returns, and the data set zl has none"):
        check_returns(tmp_path, garch)
