"""The volatility net as a job: what it learns, what it leaves behind, and data on which it cannot be trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.fakes import ScriptedChannel, make_task

from cbi_queue.artifacts import reopen_folder, sha256_of
from cbi_queue.models.catalogue import MODELS
from jobs.data.feature_store import cache_files
from jobs.registry import trainer_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import Finished

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]
PARAMS = {"epochs": 12, "patience": 12, "hidden": [16], "validation_rows": 300, "backtest_rows": 400, "embargo_rows": 5}


def trained(folder: Path, price: np.ndarray, model: str = "quantile_net", **params: Any) -> Finished:
    """Train on a cache that holds *price* and one column that says nothing."""
    processed, run_dir = folder / "processed", folder / model
    processed.mkdir(exist_ok=True)
    files = cache_files(processed, "1w")
    dates = np.datetime64("2000-01-03") + np.arange(len(price))
    table = pl.DataFrame({"date": dates, "price": price, "nothing": np.zeros(len(price), np.float32)})
    table.write_parquet(files.parquet)
    files.write_manifest({"output_sha256": sha256_of(files.parquet), "source_sha256": "0" * 64})
    spec = {"family": MODELS[model].family, "model": model, "horizon": "1w", "params": params}
    task = make_task(run_dir, spec, processed, processed, ScriptedChannel())
    reopen_folder(run_dir)
    trainer = trainer_of(task.spec)
    trainer.prepare(task)
    return trainer.train(task)


def storms(rows: int = 2500) -> np.ndarray:
    """A price whose daily volatility is 0.5 % or 2 %, and returns to 1 % soon: EWMA believes each storm for too long."""
    rng = np.random.default_rng(3)
    variance, returns = 1e-4, np.empty(rows)
    for day in range(rows):
        returns[day] = np.sqrt(variance) * rng.standard_normal()
        variance = 1e-5 + 0.3 * returns[day] ** 2 + 0.6 * variance
    return 50 * np.exp(np.cumsum(returns))


def test_it_learns_that_storms_pass_sooner_than_ewma_believes(tmp_path: Path) -> None:
    """A GARCH process of persistence 0.9, as a net must find it in 1,700 days; its quantiles hold what they say."""
    finished = trained(tmp_path, storms(), **PARAMS)
    backtest = finished.metrics["volatility"]["backtest"]

    assert backtest["model"]["skill"] > 0.05
    assert backtest["model"]["pinball_pct"] < backtest["model"]["pinball_ewma_pct"]
    assert backtest["model"]["coverage_90"] == pytest.approx(0.9, abs=0.06)
    assert backtest["model"]["coverage_50"] == pytest.approx(0.5, abs=0.10)


def test_it_is_scored_on_the_same_rows_as_garch(tmp_path: Path) -> None:
    blocks = {name: value for name, value in PARAMS.items() if name.endswith("rows")}
    net = trained(tmp_path, storms(), **PARAMS).metrics["volatility"]["backtest"]
    garch = trained(tmp_path, storms(), "garch", **blocks).metrics["volatility"]["backtest"]

    assert net["ewma"] == garch["ewma"]
    assert net["rolling"] == garch["rolling"]
    both = [pl.read_parquet(tmp_path / model / "predictions.parquet") for model in ("quantile_net", "garch")]
    shared = ("date", "ewma_variance", "rolling_variance", "realised_variance")
    judged = [table.filter(pl.col("block") == "backtest").select(shared) for table in both]
    assert judged[0].equals(judged[1])


def test_its_predictions_hold_the_quantiles_of_the_return(tmp_path: Path) -> None:
    trained(tmp_path, storms(), **PARAMS)
    table = pl.read_parquet(tmp_path / "quantile_net" / "predictions.parquet")
    names = [f"quantile_{percent}" for percent in (5, 25, 50, 75, 95)]

    assert (np.diff(table.select(names).to_numpy(), axis=1) > 0).all()
    assert table.filter(pl.col("block") == "future")["actual_return"].null_count() == 5
    assert json.loads((tmp_path / "quantile_net" / "preproc.json").read_bytes())["quantiles"][0] == 0.05


@pytest.mark.parametrize("model", ["quantile_net", "garch"])
def test_a_price_that_does_not_move_is_refused_with_what_to_do(tmp_path: Path, model: str) -> None:
    blocks = {name: value for name, value in PARAMS.items() if name.endswith("rows")}
    still = np.full(2500, 50.0)
    still[-200:] += np.arange(200)  # it moves only after the training block

    with pytest.raises(BrokenSpec, match=r"does not move.*export's price") as caught:
        trained(tmp_path, still, model, **blocks)
    assert "\n" not in str(caught.value)


def test_a_window_longer_than_the_training_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenSpec, match="shorten sequence_length"):
        trained(tmp_path, storms(1000), **{**PARAMS, "sequence_length": 200})


SHORT_BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
PRICE_MODELS = ("arima", "auto_arima", "ets", "theta", "prophet")


@pytest.mark.parametrize("model", PRICE_MODELS)
def test_a_constant_price_is_forecast_and_the_verdict_says_so(tmp_path: Path, model: str) -> None:
    if model == "prophet":
        pytest.importorskip("prophet")

    finished = trained(tmp_path, np.full(600, 50.0), model, history_rows=200, **SHORT_BLOCKS)

    assert [verdict["name"] for verdict in finished.metrics["verdicts"]] == ["constant forecast"]


@pytest.mark.parametrize("model", [*PRICE_MODELS, "garch", "quantile_net"])
@pytest.mark.parametrize(
    ("price", "words"),
    [
        (
            np.where(np.arange(800) % 10 == 0, 50.0, np.nan),
            "720 prices have no logarithm, the first is nan on 2000-01-04",
        ),
        (50.0 + np.arange(150.0), "150 rows leave 5 to train on, 100 are needed: .*shorten validation_rows"),
    ],
    ids=["90 % missing", "too few rows"],
)
def test_missing_prices_and_too_few_rows_are_refused(tmp_path: Path, model: str, price: np.ndarray, words: str) -> None:
    if model == "prophet":
        pytest.importorskip("prophet")
    with pytest.raises(BrokenSpec, match=words):
        trained(tmp_path, price, model, **SHORT_BLOCKS)
