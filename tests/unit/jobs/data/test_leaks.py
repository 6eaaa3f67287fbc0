"""`jobs.data.leaks`: ways to look ahead are found at every horizon, honest columns never."""

from __future__ import annotations

import numpy as np
import pytest
from arch.data import nasdaq, sp500

from jobs.data import leaks
from jobs.data.leaks import is_label_name, suspicions

HORIZONS = (5, 21, 63)


@pytest.fixture(scope="module")
def price() -> np.ndarray:
    return sp500.load()["Adj Close"].to_numpy()  # 5,031 days


def later(values: np.ndarray, rows: int) -> np.ndarray:
    """What *values* are *rows* rows later; the last one repeats, so that no gap gives it away."""
    return np.concatenate([values[rows:], np.full(rows, values[-1])])


def ahead(price: np.ndarray, h: int) -> dict[str, np.ndarray]:
    """Ways to look h rows ahead, none of them with a gap at its end or a name that tells."""
    rng = np.random.default_rng(h)
    log_price = np.log(price)
    y = later(log_price, h) - log_price
    averaged = np.convolve(np.pad(price, h, mode="edge"), np.ones(2 * h + 1) / (2 * h + 1), "valid")
    return {
        "label": y,
        "label with noise": y + 0.5 * y.std() * rng.standard_normal(len(y)),
        "label as ranks": y.argsort().argsort().astype(float),
        "sign of the label": np.sign(y),
        "label, bent": np.exp(3 * y / y.std()),
        "price": later(price, h),
        "price in another unit": 7 - 2 * later(price, h),
        "price, inverted": 1 / later(price, h),
        "price with noise": later(price, h) * np.exp(0.01 * rng.standard_normal(len(y))),
        "price, mixed with an old one": 0.7 * np.roll(price, 3) + 0.3 * later(price, h),
        "highest price": np.array([price[t + 1 : t + 1 + h].max(initial=price[t]) for t in range(len(price))]),
        "price of tomorrow": later(price, 1),
        "label of twice the horizon": later(log_price, 2 * h) - log_price,
        "average around today": averaged,
    }


@pytest.mark.parametrize("h", HORIZONS)
def test_every_way_to_look_ahead_is_found(price: np.ndarray, h: int) -> None:
    planted = ahead(price, h)
    found = {suspicion.column: suspicion.sign for suspicion in suspicions(price, planted, [h])}
    missed = set(planted) - set(found)
    assert not missed
    assert set(found.values()) == {"foresight"} | ({"name"} & set(found.values()))


def test_of_a_long_history_the_newest_rows_are_measured(price: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, honest = later(price, 5), np.flip(price)
    old, new = (np.where(np.arange(len(price)) < 4000, *each) for each in ((planted, honest), (honest, planted)))
    monkeypatch.setattr(leaks, "NEWEST_ROWS", 1000)
    assert [found.column for found in suspicions(price, {"old": old, "new": new}, [5])] == ["new"]
    gap = np.where(np.arange(len(price)) < len(price) - 5, honest, np.nan)
    assert suspicions(price, {"gap": gap}, [5])[0].sign == "trailing gaps"


def test_honest_columns_are_never_suspected(price: np.ndarray) -> None:
    log_price, n = np.log(price), len(price)
    returns = np.diff(log_price, prepend=log_price[0])
    rng = np.random.default_rng(0)
    honest = {
        "nasdaq": nasdaq.load()["Adj Close"].to_numpy(),
        "volume": sp500.load()["Volume"].to_numpy().astype(float),
        "itself": price,
        "yesterday": np.roll(price, 1),
        "momentum": log_price - np.roll(log_price, 21),
        "average": np.convolve(price, np.ones(200) / 200)[:n],
        "volatility": np.array([returns[max(0, t - 20) : t + 1].std() for t in range(n)]),
        "rsi": np.convolve(np.sign(returns), np.ones(14) / 14)[:n],
        "day": np.arange(n) % 5 * 1.0,
        "time": np.arange(n) * 1.0,
        "walk": rng.standard_normal(n).cumsum(),
        "noise": rng.standard_normal(n),
        "constant": np.ones(n),
        "empty": np.full(n, np.nan),
    }
    assert suspicions(price, honest, (5, 21, 63, 126, 252)) == []


def test_a_column_that_ends_h_rows_early_is_suspected_and_one_that_ends_otherwise_is_not(price: np.ndarray) -> None:
    walk = np.random.default_rng(1).standard_normal(len(price)).cumsum()
    columns = {}
    for gap in (4, 5, 6, 21):
        columns[f"ends {gap} early"] = np.concatenate([walk[:-gap], np.full(gap, np.nan)])
    found = {suspicion.column: suspicion.sign for suspicion in suspicions(price, columns, HORIZONS)}
    assert found == {"ends 5 early": "trailing gaps", "ends 21 early": "trailing gaps"}


@pytest.mark.parametrize(
    "name",
    [
        "target",
        "Target",
        "zl_target_1w",
        "price_next_5d",
        "y",
        "y_1w",
        "y5",
        "label_1m",
        "fwd_ret",
        "retFwd",
        "ret-fwd.5",
        "future_price",
        "FutureReturn",
        "forward_return",
        "next_close",
        "tomorrow_open",
        "price_5d_ahead",
        "lookahead",
        "target1m",
        "NEXT5D",
        "my_labels",
    ],
)
def test_label_names(name: str) -> None:
    assert is_label_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "futures_price",
        "zl_futures_close",
        "forward_curve",
        "lead_price",
        "lead",
        "realized_vol",
        "us_10_y",
        "yield_10y",
        "next_contract",
        "yoy",
        "fed_funds_target_rate",
        "y2k_index",
        "money",
        "days_to_expiry",
        "week",
        "price_lag_5",
        "future_index",
        "crush_margin",
        "ahead",
    ],
)
def test_names_that_only_sound_alike(name: str) -> None:
    assert not is_label_name(name)


@pytest.mark.parametrize("rows", [0, 1, 59, 60, 70])
def test_short_histories_are_measured_or_left_alone_without_a_fault(price: np.ndarray, rows: int) -> None:
    assert suspicions(price[:rows], {"walk": np.linspace(1, 2, rows)}, HORIZONS) == []
