"""`jobs.evaluation.guardrails`: each verdict on the smallest result that earns it, and none on an honest one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.data.label import Label
from jobs.data.series import ForecastFrame, label
from jobs.evaluation.guardrails import verdicts, veto_words
from jobs.evaluation.scoring import score
from jobs.evaluation.splits import holdout_split

H, ROWS = 5, 1800


@pytest.fixture
def frame() -> ForecastFrame:
    price = 50 * np.exp(np.cumsum(np.random.default_rng(4).standard_normal(ROWS) * 0.01))
    dates = np.datetime64("2000-01-03") + np.arange(ROWS)
    return ForecastFrame(dates, price, np.zeros((ROWS, 1), np.float32), label(price, H), ("zero",), H, "0" * 64)


def judged(frame: ForecastFrame, predicted: np.ndarray, *, is_baseline: bool = False) -> dict[str, str]:
    split = holdout_split(frame, 504, 504, 21)
    found = verdicts(frame, split, predicted, score(frame, split, predicted), is_baseline=is_baseline)
    assert (veto_words(found) is not None) == any(verdict.level == "veto" for verdict in found)
    return {verdict.name: verdict.level for verdict in found}


def test_honest_noise_draws_no_veto(frame: ForecastFrame) -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(ROWS) * 0.002
        assert "veto" not in {level for name, level in judged(frame, noise).items() if name != "overfitting"}


def test_a_forecast_that_knows_the_future_is_vetoed(frame: ForecastFrame) -> None:
    assert judged(frame, np.nan_to_num(frame.y))["too good to be true"] == "veto"


def test_a_small_skill_with_an_impossible_sharpe_is_vetoed_too(frame: ForecastFrame) -> None:
    assert judged(frame, 0.05 * np.nan_to_num(frame.y))["too good to be true"] == "veto"


def test_a_backtest_row_without_a_forecast_is_vetoed(frame: ForecastFrame) -> None:
    predicted = np.random.default_rng(0).standard_normal(ROWS) * 0.001
    predicted[-20] = np.nan
    assert judged(frame, predicted)["missing forecasts"] == "veto"


def test_a_constant_forecast_is_named_unless_it_is_a_baseline(frame: ForecastFrame) -> None:
    assert judged(frame, np.full(ROWS, 0.001))["constant forecast"] == "warn"
    assert "constant forecast" not in judged(frame, np.full(ROWS, 0.001), is_baseline=True)


def test_a_model_that_only_ever_says_up_is_called_drift(frame: ForecastFrame) -> None:
    up = 0.002 + 0.0001 * np.random.default_rng(0).standard_normal(ROWS)
    assert judged(frame, up)["equals drift"] == "warn"


def test_a_model_that_is_surely_worse_than_naive_is_called_so(frame: ForecastFrame) -> None:
    wild = np.random.default_rng(0).standard_normal(ROWS) * 0.05
    assert judged(frame, wild)["worse than naive"] == "warn"


def test_a_result_that_falls_apart_after_validation_trips(frame: ForecastFrame) -> None:
    split = holdout_split(frame, 504, 504, 21)
    learned = np.random.default_rng(0).standard_normal(ROWS) * 0.001
    learned[split.validation] = frame.y[split.validation] * 0.1
    learned[split.backtest] = -frame.y[split.backtest] * 0.05
    assert judged(frame, learned)["overfitting"] == "veto"
    assert "overfitting" not in judged(frame, learned, is_baseline=True), "it chose nothing on validation"


def test_the_checks_of_differences_are_in_the_unit_of_the_price() -> None:
    """A walk around 0, which has no logarithm: drift is its mean difference, and a constant forecast a change."""
    price = np.random.default_rng(8).normal(0.02, 1.0, ROWS).cumsum()
    dates, y = np.datetime64("2000-01-03") + np.arange(ROWS), Label.DIFFERENCE.of(price, H)
    frame = ForecastFrame(dates, price, np.zeros((ROWS, 1), np.float32), y, ("zero",), H, "0" * 64)
    frame = replace(frame, label=Label.DIFFERENCE)
    split = holdout_split(frame, 504, 504, 21)
    up = 2.5 + 0.1 * np.sin(np.arange(ROWS))

    def evidence_of(predicted: np.ndarray) -> dict[str, str]:
        scores = score(frame, split, predicted)
        return {v.name: v.evidence for v in verdicts(frame, split, predicted, scores, is_baseline=False)}

    drift = H * np.diff(price[split.train]).mean()
    assert evidence_of(up)["equals drift"] == f"it always forecasts up, by +2.5 on average (drift: {drift:+.4g})"
    constant = evidence_of(np.full(ROWS, -1.25))["constant forecast"]
    assert constant == "every backtest row is forecast a change of -1.25"
    assert "too good to be true" in evidence_of(np.nan_to_num(frame.y))
