"""Contributions of boosted trees: in DART, too, they must add up to the forecast, or none are written."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jobs.data.series import ForecastFrame
from jobs.evaluation.splits import Split
from jobs.results.why import Explainable, explain

NAMES = ("price_ret_0", "price_std_5", "vix_ret_0", "month")
ROWS, H = 600, 5


@pytest.fixture(scope="module")
def frame() -> ForecastFrame:
    """A random walk whose next step a feature tells in part."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    x[:50, 2] = np.nan
    y = 0.01 * (np.tanh(x[:, 0]) + x[:, 1] * x[:, 3] + 0.5 * rng.normal(size=ROWS))
    y[-H:] = np.nan
    dates = np.datetime64("2015-01-01") + np.arange(ROWS)
    price = 50 * np.exp(np.cumsum(0.01 * rng.normal(size=ROWS)))
    return ForecastFrame(dates, price, x, y, feature_names=NAMES, horizon_days=H, source_sha256="0" * 64)


SPLIT = Split(np.arange(300), np.arange(310, 450), np.arange(460, 590), 5, 0)


def lightgbm_dart(frame):
    import lightgbm as lgb

    from jobs.families.lightgbm_trees import _LightGBMTrees

    params = {
        "boosting": "dart",
        "drop_rate": 0.5,
        "num_leaves": 15,
        "learning_rate": 0.2,
        "verbosity": -1,
        "num_threads": 1,
    }
    booster = lgb.train(params, lgb.Dataset(frame.x[SPLIT.train], frame.y[SPLIT.train]), 40)
    return _LightGBMTrees(lgb.Booster(model_str=booster.model_to_string(num_iteration=-1)), 1)


def xgboost_dart(frame):
    import xgboost as xgb

    from jobs.families.xgboost_trees import _matrix, _XGBoostTrees

    params = {"booster": "dart", "rate_drop": 0.5, "max_depth": 4, "learning_rate": 0.2, "verbosity": 0, "nthread": 1}
    booster = xgb.train(params, _matrix(frame, SPLIT.train, 1), 40)
    return _XGBoostTrees(xgb.Booster({"nthread": 1}, model_file=bytearray(booster.save_raw("ubj"))), list(NAMES), 1)


@pytest.mark.parametrize("make", [lightgbm_dart, xgboost_dart])
@pytest.mark.filterwarnings("ignore")
def test_the_contributions_of_dart_trees_add_up_to_every_forecast(frame, make):
    """Half of the trees are dropped in each round, so a library that forgot their weights would be far off."""
    trees = make(frame)
    parts, forecast = trees.contributions(frame.x), trees.predict(frame.x)
    assert parts.shape == (ROWS, len(NAMES) + 1)
    assert np.std(forecast) > 0.002
    np.testing.assert_allclose(parts.sum(axis=1), forecast, rtol=0, atol=2e-7)


@pytest.mark.parametrize("make", [lightgbm_dart, xgboost_dart])
@pytest.mark.filterwarnings("ignore")
def test_a_contribution_is_zero_for_what_the_trees_never_ask(frame, make):
    blind = dataclasses.replace(frame, x=np.where(np.arange(4) == 2, np.float32(1), frame.x))
    assert (make(blind).contributions(blind.x)[:, 2] == 0).all()


def said(frame, split=SPLIT, refit=None, **changes):
    weights = np.array([0.01, 0.0, 0.0, 0.02])
    model = Explainable(
        NAMES,
        inputs=lambda rows: np.nan_to_num(frame.x[rows]),
        predict=lambda x: x @ weights,
        sample_cells=4,
        contributions=lambda row: np.append(np.nan_to_num(frame.x[row]) * weights, 0.0),
    )
    task = SimpleNamespace(refit=refit, spec=SimpleNamespace(params={"seed": 1}))
    return explain(task, frame, split, dataclasses.replace(model, **changes))


def test_features_are_grouped_and_sorted_in_both_parts(frame):
    found = said(frame)
    assert {each["column"]: each["features"] for each in found["importance"]} == {"price": 2, "vix": 1, "calendar": 1}
    newest = found["contributions"]
    assert newest["date"] == str(frame.dates[-1])
    assert sum(each["adds"] for each in newest["columns"]) + newest["before_any"] == pytest.approx(newest["forecast"])
    sizes = [abs(each["adds"]) for each in newest["columns"]]
    assert sizes == sorted(sizes, reverse=True)


def test_contributions_that_do_not_add_up_are_not_written(frame):
    found = said(frame, contributions=lambda _row: np.array([0.1, 0.0, 0.0, 0.0, 0.0]))
    assert found["contributions"] is None
    assert "add up to 0.1, not to the forecast" in found["no_contributions"]


def test_a_measurement_that_would_cost_too_much_of_the_training_is_not_made(frame):
    found = said(frame, most_forecasts=100)
    assert found["importance"] is None
    assert "a twentieth of the training" in found["no_importance"]
    assert said(frame, most_forecasts=16 * 70)["measured_on"]["every_rows"] == 2


def test_of_a_walk_forward_run_the_first_fit_is_measured_and_the_last_adds_up(frame):
    none = np.empty(0, dtype=np.int64)
    first = said(frame, refit=SimpleNamespace(selects=True))
    middle = said(frame, Split(np.arange(400), none, np.arange(410, 500), 5, 0), SimpleNamespace(selects=False))
    last = said(frame, Split(np.arange(590), none, np.arange(595, 600), 5, 0), SimpleNamespace(selects=False))
    assert first["importance"]
    assert "contributions" not in first
    assert middle == {}
    assert last["contributions"]
    assert "importance" not in last
