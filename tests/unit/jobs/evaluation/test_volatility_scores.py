"""`jobs.evaluation.volatility`: realised variance, both baselines and QLIKE, by hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.data.series import ForecastFrame, label
from jobs.evaluation.splits import holdout_split
from jobs.evaluation.volatility import baselines, qlike, realised_variance, score_volatility

H = 5


def frame_of(price: np.ndarray) -> ForecastFrame:
    dates = np.datetime64("2000-01-03") + np.arange(len(price))
    return ForecastFrame(dates, price, np.zeros((len(price), 1), np.float32), label(price, H), ("zero",), H, "0" * 64)


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    """A random walk whose daily volatility is 1 % in calm and 3 % in stormy years."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(1500) // 250 % 2, 0.03, 0.01)
    return 50 * np.exp(np.cumsum(spread * rng.standard_normal(1500)))


def test_realised_variance_adds_the_squares_of_the_days_to_come() -> None:
    price = np.exp(np.array([0.0, 0.1, 0.0, 0.2, 0.2]))

    assert realised_variance(price, 2)[:3] == pytest.approx([0.02, 0.05, 0.04])
    assert np.isnan(realised_variance(price, 2)[3:]).all()


def test_qlike_is_nothing_for_the_truth_and_dearer_for_too_little_than_for_too_much() -> None:
    exact, low, high = qlike(np.full(3, 4.0), np.array([4.0, 2.0, 8.0]))

    assert exact == 0.0
    assert low == pytest.approx(2 - np.log(2) - 1)
    assert low > high > 0


def test_the_baselines_know_only_the_days_up_to_theirs(walk: np.ndarray) -> None:
    changed = walk.copy()
    changed[1001:] *= 2.0

    for name, forecast in baselines(walk, H).items():
        assert forecast[:1001].tolist() == pytest.approx(baselines(changed, H)[name][:1001].tolist(), nan_ok=True)
        assert np.isfinite(forecast[64:]).all()
    squares = np.diff(np.log(walk)) ** 2
    assert baselines(walk, H)["rolling"][700] == pytest.approx(H * squares[700 - 63 : 700].mean())
    ewma = baselines(walk, H)["ewma"] / H
    assert ewma[701] == pytest.approx(0.94 * ewma[700] + 0.06 * squares[700])


def test_who_knows_the_storms_beats_both_baselines_and_who_ignores_them_loses(walk: np.ndarray) -> None:
    frame = frame_of(walk)
    split = holdout_split(frame, 300, 500, 5)
    known = H * np.where(np.arange(1500) // 250 % 2, 0.03, 0.01) ** 2
    flat = np.full(1500, H * 0.02**2)

    knowing = score_volatility(frame, split, known)["backtest"]
    ignorant = score_volatility(frame, split, flat)["backtest"]

    assert knowing["model"]["skill"] > 0 > ignorant["model"]["skill"]
    assert knowing["model"]["skill_rolling"] > 0
    assert knowing["model"]["skill_low"] < knowing["model"]["skill"] < knowing["model"]["skill_high"]
    assert knowing["ewma"] == ignorant["ewma"]
    assert knowing["model"]["rows"] == 500
    assert 16 < knowing["model"]["realised_pct"] < 48, "annualised: 1 % a day is 16 %"


def test_days_on_which_the_price_stood_still_are_left_out_of_all(walk: np.ndarray) -> None:
    price = walk.copy()
    price[1400:1420] = price[1400]
    frame = frame_of(price)
    split = holdout_split(frame, 300, 300, 5)
    predicted = np.full(1500, 0.001)
    predicted[1450] = np.nan

    scores = score_volatility(frame, split, predicted)["backtest"]

    assert {scores[who]["rows"] for who in ("model", "ewma", "rolling")} == {300 - 15 - 1}
