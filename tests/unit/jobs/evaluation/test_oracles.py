"""`jobs.evaluation` beside other libraries' own numbers: scores, purged folds, the model confidence set."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from skfolio.model_selection import CombinatorialPurgedCV
from utilsforecast import losses

from jobs.data.series import ForecastFrame, label
from jobs.evaluation.scoring import MASE_SEASON_ROWS, score
from jobs.evaluation.splits import holdout_split, purged_folds


@pytest.mark.parametrize("horizon_days", [5, 21])
def test_the_errors_are_those_of_utilsforecast(horizon_days: int) -> None:
    rng = np.random.default_rng(horizon_days)
    price = 50 * np.exp(np.cumsum(0.01 * rng.standard_normal(1200)))
    dates = np.datetime64("2000-01-03") + np.arange(len(price))
    x = np.zeros((len(price), 1), np.float32)
    frame = ForecastFrame(dates, price, x, label(price, horizon_days), ("zero",), horizon_days, "0" * 64)
    predicted = 0.01 * rng.standard_normal(len(price))
    split = holdout_split(frame, 252, 252, 21)

    ours = score(frame, split, predicted)["backtest"]

    at = split.backtest
    forecast = {"model": price[at] * np.exp(predicted[at]), "y": price[at + horizon_days]}
    told = pl.DataFrame({"ds": dates[at + horizon_days], **forecast}).with_columns(unique_id=pl.lit("a"))
    train = pl.DataFrame({"ds": dates[split.train], "y": price[split.train]}).with_columns(unique_id=pl.lit("a"))
    theirs = {
        "mae": losses.mae(told, ["model"]),
        "rmse": losses.rmse(told, ["model"]),
        "mape_pct": losses.mape(told, ["model"]),
        "mase": losses.mase(told, ["model"], MASE_SEASON_ROWS, train),
    }
    for name, table in theirs.items():
        scale = 100 if name == "mape_pct" else 1
        assert ours[name] == pytest.approx(scale * table["model"].item(), rel=1e-9), name


@pytest.mark.parametrize(("horizon_days", "embargo_rows"), [(1, 0), (5, 21), (21, 10), (63, 30)])
def test_the_purged_folds_are_those_of_skfolio(horizon_days: int, embargo_rows: int) -> None:
    """Two neighbouring test folds of six are one of our three test blocks."""
    rows = 1200
    peer = CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=horizon_days, embargo_size=embargo_rows)
    theirs = {}
    for train, tests in peer.split(np.zeros((rows, 1))):
        test = np.sort(np.concatenate(tests))
        theirs[test.tobytes()] = train.tolist()

    ours = list(purged_folds(rows, 3, horizon_days, embargo_rows))

    assert len(ours) == 3
    for train, test in ours:
        assert train.tolist() == theirs[test.astype(np.int64).tobytes()]
