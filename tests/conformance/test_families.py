"""Every model of the catalogue, through one contract: what the slot may rely on, whatever the library beneath.

A model whose code or library is not here is skipped with the reason, and fails where `CI` is set. The sample data is
real; the parameters are small. The channel is the real one: only what the slot would send is scripted.
"""

from __future__ import annotations

import json
import math
import threading
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from bench import HORIZON, Bench, Run, last_days
from native_reload import RELOADED
from support.headlines import give_headlines
from support.slot_end import Slot

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import PREPARING, REPORTING, Family
from cbi_queue.protocol import (
    EpochReport,
    Message,
    Note,
    Pause,
    Paused,
    Restored,
    Resume,
    Resumed,
    Started,
)
from jobs.data.series import load_frame
from jobs.process.channel import StopRequested
from jobs.results.run_folder import PROMISED_FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.process.channel import Channel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]


@pytest.fixture(scope="module")
def bench(sample_exports: Path, feature_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    headlines = tmp_path_factory.mktemp("headlines")
    give_headlines(headlines, tmp_path_factory.mktemp("tiny"), days=30)
    features = last_days(feature_dir, tmp_path_factory.mktemp("features"), DAYS)
    return Bench(sample_exports, features, tmp_path_factory.mktemp("runs"), headlines)


DAYS = 1200
"""Of the real series, the last: the contract is the same on all of them, and a model learns in a quarter of the time."""
TRAINED = {m: e for m, e in MODELS.items() if e.family not in REPORTING and e.family != Family.SCRIPT}
"""An export job trains nothing: it runs a verb on a ledger, see `tests/integration/test_export.py`; nor does a script."""
EXPLAINED = (Family.TREES, Family.SIMPLE_NEURAL, Family.ADVANCED_NEURAL)
every_model = pytest.mark.parametrize("model", TRAINED)
VOLATILITY = tuple(m for m, e in MODELS.items() if e.family == Family.VOLATILITY)
OF_REGIMES = ("regime_lightgbm", "regime_lstm", "regime_gru")
"""Forecast what their mixture needs, and are on no board of prices."""
every_forecaster = pytest.mark.parametrize("model", [m for m, e in TRAINED.items() if e.family not in PREPARING])


@every_model
def test_preparation_says_what_will_happen(bench: Bench, model: str) -> None:
    slot = bench.undisturbed(model).slot
    (started,) = slot.of_type(Started)

    assert started.total_epochs >= 1
    assert started.unit in {"epoch", "round", "fit", "chunk", "batch"}
    assert started.fingerprint.startswith(f"{model} {HORIZON} "), "`governor relearn` takes its leading words"
    assert slot.reports.index(started) < slot.reports.index(slot.of_type(EpochReport)[0])


LIBRARIES = {
    "feature_cache": "numpy",
    "lightgbm_dart": "lightgbm",
    "xgboost_dart": "xgboost",
    **dict.fromkeys(("arima", "auto_arima", "ets", "theta"), "statsforecast"),
    "prophet": "prophet",
    **dict.fromkeys(("garch", "gjr_garch", "egarch"), "arch"),
    **dict.fromkeys(("mean_ensemble", "median_ensemble", "greedy_ensemble"), "numpy"),
    "lightgbm_stacker": "lightgbm",
    "regime_lightgbm": "lightgbm",
    **{model: "torch" for model, entry in MODELS.items() if entry.default_backend == "torch"},
}
"""Libraries that do a model's work; the baselines do theirs themselves."""


@pytest.mark.parametrize(("model", "library"), LIBRARIES.items())
def test_a_fingerprint_names_the_library_with_its_version(bench: Bench, model: str, library: str) -> None:
    """An update changes what a sample costs: what the older one cost is no baseline for it."""
    (started,) = bench.undisturbed(model).slot.of_type(Started)

    assert library in started.fingerprint
    assert import_module(library).__version__ in started.fingerprint


@every_model
def test_every_epoch_is_reported_in_order_and_finite(bench: Bench, model: str) -> None:
    slot = bench.undisturbed(model).slot
    (started,) = slot.of_type(Started)
    reports = slot.of_type(EpochReport)
    epochs = [report.epoch for report in reports]

    assert epochs == sorted(set(epochs))
    assert epochs[-1] == started.total_epochs
    if started.unit not in {"round", "batch"}:  # these come in blocks
        assert epochs == list(range(1, started.total_epochs + 1))
    for report in reports:
        assert report.total_epochs == started.total_epochs
        assert report.wall_s >= 0
        for loss in (report.train_loss, report.validation_loss):
            assert loss is None or math.isfinite(loss)


@every_model
def test_a_pause_is_obeyed_at_the_next_safe_point_and_costs_nothing(bench: Bench, model: str) -> None:
    """Asked after the first report: it is paused before the second, resumes, and ends with the same numbers and files.

    So are two fresh runs, one of which is paused.
    """

    def pause_then_resume(channel: Channel, message: Message) -> None:
        if isinstance(message, EpochReport) and not asked:
            asked.append(message)
            channel._obey(Pause())
        elif isinstance(message, Paused):
            resuming.append(threading.Timer(0.1, channel._obey, (Resume(),)))
            resuming[0].start()

    asked: list[Message] = []
    resuming: list[threading.Timer] = []
    slot = Slot(pause_then_resume)

    run = bench.run(model, slot)
    resuming[0].join()

    kinds = [type(report) for report in slot.reports if isinstance(report, (EpochReport, Paused, Resumed))]
    assert kinds[:3] == [EpochReport, Paused, Resumed]
    assert slot.channel.paused_s >= 0.09
    later = slot.of_type(EpochReport)[1:]
    assert not later or later[0].resumed
    first = bench.undisturbed(model)
    assert run.outcome().equals(first.outcome())
    for name in model_files(first):
        assert (run.run_dir / name).read_bytes() == (first.run_dir / name).read_bytes(), name


@every_model
def test_a_stop_is_obeyed_at_the_next_safe_point_and_a_rerun_ends_the_same(bench: Bench, model: str) -> None:
    """Bit for bit on the CPU, whether the second attempt continues from a checkpoint or starts over, as the catalogue says."""
    run_dir = bench.folder(model)
    slot = Slot(lambda channel, message: channel.stop() if isinstance(message, EpochReport) else None)

    with pytest.raises(StopRequested):
        bench.run(model, slot, run_dir)
    again = bench.run(model, run_dir=run_dir, attempt=2)

    assert len(slot.of_type(EpochReport)) == 1
    assert slot.channel.has_checkpoint == (MODELS[model].resumes_from == "checkpoint")
    assert again.outcome().equals(bench.undisturbed(model).outcome())
    assert not list(run_dir.rglob("*.part"))


@pytest.mark.parametrize("model", [m for m, e in MODELS.items() if e.family in EXPLAINED])
def test_a_model_with_features_says_what_its_forecasts_depend_on(bench: Bench, model: str) -> None:
    """Or why that was not measured: so short a training is not worth it."""
    found = json.loads((bench.undisturbed(model).run_dir / "why.json").read_text())
    assert found["importance"] or "a twentieth of the training" in found["no_importance"]
    if MODELS[model].family == Family.TREES:
        assert {each["column"] for each in found["importance"]} == {"price", "sp500", "nasdaq", "vix", "calendar"}
        assert found["contributions"]["columns"]


@every_model
def test_the_promised_files_are_there(bench: Bench, model: str) -> None:
    run = bench.undisturbed(model)
    prepared = {Family.FEATURES: ("metrics.json", "feature_schema.json"), Family.SENTIMENT: ("metrics.json",)}
    promised = prepared.get(MODELS[model].family, PROMISED_FILES)

    assert [name for name in promised if not (run.run_dir / name).is_file()] == []
    assert model_files(run) or MODELS[model].family in PREPARING
    json.dumps(run.finished.metrics, allow_nan=False)


@pytest.mark.parametrize("model", VOLATILITY)
def test_a_volatility_board_finds_what_it_shows_and_the_price_board_nothing(bench: Bench, model: str) -> None:
    metrics = bench.undisturbed(model).finished.metrics

    assert not {"validation", "backtest", "naive"} & set(metrics), "it has no place among forecasts of the price"
    for block in ("validation", "backtest"):
        told = metrics["volatility"][block]
        assert told["model"]["rows"] == told["ewma"]["rows"] == told["rolling"]["rows"] == 60
        assert told["model"]["skill"] == pytest.approx(1 - told["model"]["qlike"] / told["ewma"]["qlike"])
    assert bench.undisturbed(model).finished.veto is None


NO_PRICE = {*VOLATILITY, *OF_REGIMES}


@pytest.mark.parametrize("model", [m for m, e in TRAINED.items() if e.family not in PREPARING and m not in NO_PRICE])
def test_a_leaderboard_finds_what_it_shows(bench: Bench, model: str) -> None:
    metrics = bench.undisturbed(model).finished.metrics

    assert {"validation", "backtest", "naive", "fit_s", "predict_s", "rows"} <= set(metrics)
    for block in ("validation", "backtest"):
        assert metrics[block]["rows"] == metrics["naive"][block]["rows"] == 60
        assert metrics["rows"][block] == 60
        assert math.isfinite(metrics[block]["skill_mae"])
        assert metrics[block]["mape_pct"] > 0
    newest = bench.undisturbed(model).outcome().tail(1).to_dicts()[0]
    told = metrics["forecast"]
    assert newest["block"] == "future"
    assert told == {key: newest[key] if isinstance(newest[key], float) else str(newest[key]) for key in told}
    assert bench.undisturbed(model).finished.veto is None


@every_forecaster
def test_the_record_says_what_the_numbers_depend_on(bench: Bench, model: str) -> None:
    run = bench.undisturbed(model)
    metrics = json.loads((run.run_dir / "metrics.json").read_bytes())
    schema = json.loads((run.run_dir / "feature_schema.json").read_bytes())
    frame = load_frame(run.processed, HORIZON)

    assert metrics["split"]["blocks"]["backtest"]["labels_until"] == str(frame.dates[-1])
    assert metrics["seed"] == 0
    assert "numpy" in metrics["libraries"]
    assert [column["name"] for column in schema["features"]] == list(frame.feature_names)
    assert frame.source_sha256 in (run.run_dir / "training_hash.txt").read_text()


@every_forecaster
def test_predictions_name_their_block_and_leave_the_future_open(bench: Bench, model: str) -> None:
    outcome = bench.undisturbed(model).outcome()
    future = outcome.filter(pl.col("block") == "future")

    assert outcome.filter(pl.col("block") == "backtest").height == 60
    assert future.height == 5
    outcomes = {**dict.fromkeys(VOLATILITY, "realised_variance"), "regime_lightgbm": "actual_regime"}
    assert future[outcomes.get(model, "actual_price")].null_count() == 5
    assert outcome[forecast_column(model)].is_finite().all()


@every_forecaster
def test_the_files_alone_give_the_predictions_again(bench: Bench, model: str) -> None:
    """A model that cannot be loaded is not one: read with the native library, no state of ours."""
    run = bench.undisturbed(model)
    frame = load_frame(run.processed, HORIZON)
    told = run.outcome().filter(pl.col("block") == "backtest")
    rows = np.searchsorted(frame.dates, told["date"].to_numpy().astype("datetime64[D]"))

    predicted = RELOADED[model](run.run_dir, frame, rows)

    assert predicted == pytest.approx(told[forecast_column(model)].to_numpy(), rel=1e-5, abs=1e-7)


def forecast_column(model: str) -> str:
    """The column of the predictions that holds what the model forecasts."""
    columns = {**dict.fromkeys(VOLATILITY, "predicted_variance"), "regime_lightgbm": "p_bull"}
    return columns.get(model, "predicted_return")


def model_files(run: Run) -> list[str]:
    """The files beside those that every forecasting run has."""
    return sorted(path.name for path in run.run_dir.glob("model*"))


WALK = {"scheme": "walk_forward", "backtest_rows": 120, "refit_every_rows": 40, "final_block_rows": 60}
WALKED = (
    "drift", "lightgbm_dart", "xgboost_dart", "auto_arima", "feed_forward", "greedy_ensemble", "lightgbm_stacker",
    "regime_lightgbm", "regime_gru", "quantile_net",
)  # fmt: skip
"""One of each kind: what walks forward does not depend on the net."""


@pytest.fixture(scope="module")
def walked(bench: Bench) -> Callable[[str], Run]:
    done: dict[str, Run] = {}

    def run(model: str) -> Run:
        return done.setdefault(model, done.get(model) or bench.run(model, **WALK))

    return run


@pytest.mark.parametrize("model", WALKED)
def test_a_walk_forward_run_forecasts_every_judged_row_and_none_that_it_learned_from(walked, model: str) -> None:
    run = walked(model)
    table = run.outcome()

    counted = dict(table["block"].value_counts().iter_rows())
    assert counted == {"validation": 60, "backtest": 120, "final": 60, "future": 5}
    metrics = json.loads((run.run_dir / "metrics.json").read_text())
    assert metrics["scheme"] == "walk_forward"
    assert "final" not in metrics, "it stays closed"
    if model != "regime_gru":  # has no scores
        final = json.loads((run.run_dir / "final_block.json").read_text())["final"]
        assert final.get("model", final)["rows"] == 60
    reports = run.slot.of_type(EpochReport)
    epochs = [report.epoch for report in reports]
    assert epochs == sorted(set(epochs)), "counted over all fits"
    assert reports[-1].epoch == reports[-1].total_epochs


@pytest.mark.parametrize("model", WALKED)
@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_walk_forward_run_that_is_stopped_goes_on_with_the_fit_it_was_at(
    bench: Bench, walked, model: str, stop_after: int
) -> None:
    whole = walked(model)
    reports = whole.slot.of_type(EpochReport)
    stop_at = reports[min(len(reports) - 2, len(reports) * stop_after // 5)].epoch
    run_dir = bench.folder(model)
    slot = Slot(
        lambda channel, message: (
            channel.stop() if isinstance(message, EpochReport) and message.epoch >= stop_at else None
        )
    )
    with pytest.raises(StopRequested):
        bench.run(model, slot, run_dir, **WALK)
    stored = (run_dir / "checkpoints" / "refits.json").is_file()

    again = bench.run(model, run_dir=run_dir, attempt=2, **WALK)

    assert again.outcome().equals(whole.outcome())
    if stored:
        assert again.slot.of_type(Restored), "what was done is not done again"
        assert again.slot.of_type(EpochReport)[0].epoch > 1
    starts = [note.text for note in again.slot.of_type(Note) if "from round 1" in note.text]
    assert len(starts) == (model in {"lightgbm_dart", "regime_lightgbm"}), (
        "of the fit that was cut short, not of every later one"
    )
    assert all("starts from round 1 of fit " in text for text in starts)


@pytest.mark.parametrize("model", ["lightgbm_dart", "feed_forward"])
def test_a_refit_learns_from_what_came_after_the_training_block(bench: Bench, walked, model: str) -> None:
    """Judged by a fit of four years ago, the last window is forecast otherwise than by one of last quarter."""
    table = walked(model).outcome().filter(pl.col("block") == "backtest")
    one_fit = bench.run(model, **WALK | {"refit_every_rows": 120}).outcome()
    both = table.join(one_fit, on="date")

    first = both.head(40)
    assert first["predicted_return"].to_list() == first["predicted_return_right"].to_list(), "the same first refit"
    assert both.tail(40)["predicted_return"].to_list() != both.tail(40)["predicted_return_right"].to_list()
