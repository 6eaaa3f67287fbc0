"""Prophet, volatility models and the mixture over regimes on rows that their runs forecast as well: the same, by what was stored.

The last forecasts of a finished run are taken away, so that the stored model has to make them again. That the forecast
of the day goes through a process of its own, and is the same after a restart, is `test_daily_forecast`.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.forgetful_runs import forgetting

from benchmarks.false_discoveries import FEATURES
from benchmarks.pipeline import Pipeline
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import CLASSIFIER
from jobs.data.series import load_frame
from jobs.forecasting.beside_price import BESIDE
from jobs.forecasting.stored import stored_run
from jobs.results.regime_folder import PROBABILITIES
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import Finished

pytestmark = pytest.mark.process
ROWS, FORGOTTEN = 900, 30
BLOCKS = {"validation_rows": 100, "backtest_rows": 100, "embargo_rows": 5}
NET = BLOCKS | {"epochs": 1, "sequence_length": 4, "batch_size": 64, "hidden_size": 4}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, sample_exports: Path) -> Pipeline:
    """The last years of the sample, a week ahead."""
    made = Pipeline(tmp_path_factory.mktemp("live"), "1w")
    table = pl.read_parquet(sample_exports / "production_training_data_1w.parquet")
    made.build(table.select("date", "price", "sp500").tail(ROWS), **FEATURES)
    return made


def asked(pipeline: Pipeline, name: str, params: dict[str, Any], model: str | None = None) -> dict[str, Any]:
    """The run of the job *name* as the ledger would know it."""
    kind = model or name
    told = MODELS[kind].params.model_validate(params).model_dump(mode="json")
    return {"job": name, "model": kind, "backend": "native", "run_dir": str(pipeline.run_dir(name)), "params": told}


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("garch", {"history_rows": 500, "refit_every_rows": 63}),
        ("quantile_net", {"epochs": 1, "hidden": [4], "sequence_length": 4}),
    ],
)
def test_a_volatility_model_goes_on_with_what_its_run_stored(
    pipeline: Pipeline, tmp_path: Path, model: str, params: dict[str, Any]
) -> None:
    """GARCH's fits after L are taken away as well, so that it is fitted again where the walk did."""
    pipeline.train(model, BLOCKS | params)
    frame, run = load_frame(pipeline.processed, "1w"), tmp_path / "run"
    forgetting(pipeline.run_dir(model), run, 2 * FORGOTTEN, column="predicted_variance")
    recorded = pl.read_parquet(pipeline.run_dir(model) / "predictions.parquet").row(-1, named=True)
    last = frame.rows - 1 - 2 * FORGOTTEN
    if model == "garch":
        told = json.loads((run / "model.json").read_bytes())
        kept = [fit for fit in told["fits"] if fit["fit_row"] <= last]
        assert len(kept) == len(told["fits"]) - 1
        (run / "model.json").write_text(json.dumps({**told, "fits": kept}))
    job = {**asked(pipeline, model, BLOCKS | params), "run_dir": str(run)}

    said = BESIDE["volatility"](job, frame, same_data=True, known=frame)

    assert (said.last, said.remarks) == (last, ())
    assert said.values["volatility_pct"] == pytest.approx(recorded["predicted_volatility_pct"], rel=1e-5)
    quantiles = [name for name in recorded if name.startswith("quantile_")]
    assert [said.values[name] for name in quantiles] == pytest.approx([recorded[name] for name in quantiles], abs=1e-6)
    assert bool(quantiles) == (model == "quantile_net")
    assert said.backtest["qlike"] > 0
    assert said.values["ewma_pct"] != pytest.approx(said.values["volatility_pct"], rel=1e-3)

    forgetting(pipeline.run_dir(model), tmp_path / "other", 1, column="predicted_variance")
    table = pl.read_parquet(tmp_path / "other" / "predictions.parquet")
    table.with_columns(pl.col("predicted_variance") * 1.01).write_parquet(tmp_path / "other" / "predictions.parquet")
    with pytest.raises(BrokenSpec, match=r"does not forecast .* as the run did"):
        BESIDE["volatility"]({**job, "run_dir": str(tmp_path / "other")}, frame, same_data=False, known=frame)


def test_prophet_goes_on_with_its_last_fit(pipeline: Pipeline, tmp_path: Path) -> None:
    pytest.importorskip("prophet")
    params = BLOCKS | {"history_rows": 250, "refit_every_rows": 252}
    pipeline.train("prophet", params)
    frame = load_frame(pipeline.processed, "1w")
    recorded = forgetting(pipeline.run_dir("prophet"), tmp_path / "run", FORGOTTEN)

    stored = stored_run({**asked(pipeline, "prophet", params), "run_dir": str(tmp_path / "run")}, frame, same_data=True)

    assert stored.is_live
    assert stored.last == frame.rows - 1 - FORGOTTEN
    assert stored.f[-FORGOTTEN:] == pytest.approx(recorded, abs=1e-12)
    assert np.ptp(recorded) > 0.01


@pytest.fixture(scope="module")
def mixed(pipeline: Pipeline) -> tuple[Finished, list[dict[str, Any]]]:
    """The mixture and its parts; the classifier counts, so that its trees are asked as well as persistence."""
    classes = BLOCKS | {"n_estimators": 10, "shrink": False}
    pipeline.train(CLASSIFIER, classes)
    parts = [asked(pipeline, CLASSIFIER, classes)]
    for regime in REGIMES:
        params = NET | {"regime": regime}
        pipeline.train("regime_gru", params, name=regime)
        parts.append(asked(pipeline, regime, params, "regime_gru"))
    finished = pipeline.train("regime_mixture", BLOCKS | {"shrink": False}, needs=(CLASSIFIER, *REGIMES))
    return finished, parts


def test_a_classifier_tells_the_regimes_of_rows_after_its_training(
    pipeline: Pipeline, mixed: tuple[Finished, list[dict[str, Any]]], tmp_path: Path
) -> None:
    frame, (classifier, *_) = load_frame(pipeline.processed, "1w"), mixed[1]
    forgetting(pipeline.run_dir(CLASSIFIER), tmp_path / "run", FORGOTTEN, column="p_bear")
    recorded = pl.read_parquet(pipeline.run_dir(CLASSIFIER) / "predictions.parquet").row(-1, named=True)

    said = BESIDE["regimes"]({**classifier, "run_dir": str(tmp_path / "run")}, frame, same_data=True, known=frame)

    assert said.last == frame.rows - 1 - FORGOTTEN
    for name in ("regime", *PROBABILITIES):
        assert said.values[name] == (recorded[name] if name == "regime" else pytest.approx(recorded[name], abs=1e-12))
    assert sum(said.values[f"persistence_{name}"] for name in REGIMES) == pytest.approx(1)


def test_a_mixture_asks_the_runs_that_it_mixed(
    pipeline: Pipeline, mixed: tuple[Finished, list[dict[str, Any]]], tmp_path: Path
) -> None:
    finished, parts = mixed
    frame = load_frame(pipeline.processed, "1w")
    recorded = forgetting(pipeline.run_dir("regime_mixture"), tmp_path / "run", FORGOTTEN)
    run = {**asked(pipeline, "regime_mixture", BLOCKS | {"shrink": False}), "run_dir": str(tmp_path / "run")}

    stored = stored_run({**run, "members": parts}, frame, same_data=True)

    assert finished.metrics["part_runs"] == [{"name": part["job"], "run": "1.1"} for part in parts]
    assert stored.is_live
    assert stored.f[-FORGOTTEN:] == pytest.approx(recorded, abs=1e-6 * stored.run.label_sd)
    assert np.ptp(recorded) > 0

    alone = stored_run({**run, "members": parts[1:]}, frame, same_data=True)
    assert not alone.is_live, "a part was trained again, or is gone"
    assert "cannot forecast rows that came after its training" in " ".join(alone.remarks)


def test_a_part_that_was_changed_is_noticed(
    pipeline: Pipeline, mixed: tuple[Finished, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Row L is forecast again, and compared with what the mixture recorded."""
    _, parts = mixed
    frame = load_frame(pipeline.processed, "1w")
    swapped = [dict(part) for part in parts]
    swapped[1]["run_dir"], swapped[2]["run_dir"] = parts[2]["run_dir"], parts[1]["run_dir"]
    shutil.copytree(pipeline.run_dir("regime_mixture"), tmp_path / "run")
    run = {**asked(pipeline, "regime_mixture", BLOCKS), "run_dir": str(tmp_path / "run"), "members": swapped}

    with pytest.raises(BrokenSpec, match=r"does not forecast .* as the run did"):
        stored_run(run, frame, same_data=True)
