"""`cbi-queue forecast` and `drift`, and the job of the day: stored models on rows that came after their training.

One installation for the whole file, trained by a real daemon on the sample without its last 80 days; each test then
brings the export that it needs.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.command_hook import CommandHook
from support.installation import Installation
from support.waiting import until

from cbi_queue.ledger import Ledger, queries
from cbi_queue.models.kinds import HORIZONS, REGIMES
from cbi_queue.notifications.notifier import notify
from cbi_queue.retraining import train_again
from cbi_queue.views.forecast import all_flags, what_is_forecast
from jobs.exporting.package.forecast import Package
from jobs.forecasting.present import present_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # eleven jobs of a daemon are its setup
LATER_ROWS = 80
OLD = {"horizon": "1w", "params": {"old_data": True}}
BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
WALK = {**BLOCKS, "scheme": "walk_forward", "refit_every_rows": 60, "final_block_rows": 0}
NET = {**BLOCKS, "epochs": 2, "hidden": [8], "sequence_length": 4, "shrink": False}
MODELS = [
    ("tree", "trees", "lightgbm_dart", "1w", {**WALK, "n_estimators": 20, "early_stopping_rounds": None}),
    ("net", "simple_neural", "feed_forward", "1m", NET),
    ("walk", "statistical", "arima", "3m", {**BLOCKS, "history_rows": 120}),
    ("boosted", "trees", "xgboost_dart", "6m", {**BLOCKS, "n_estimators": 10, "early_stopping_rounds": None}),
    ("turmoil", "volatility", "garch", "3m", {**BLOCKS, "history_rows": 500}),
    ("state", "regime_classifier", "regime_lightgbm", "1w", {**BLOCKS, "n_estimators": 5, "shrink": False}),
    ("both", "meta", "mean_ensemble", "6m", BLOCKS),
]  # fmt: skip


def plan() -> dict[str, Any]:
    """The features, and the models above; the ensemble has one member, so that it may rank first or second."""
    features = [{"name": f"features-{h}", "family": "features", "horizon": h} for h in ("1w", "1m", "3m", "6m")]
    jobs: list[dict[str, Any]] = [
        {"name": n, "family": f, "model": m, "horizon": h, "needs": [f"features-{h}"], "params": p}
        for n, f, m, h, p in MODELS
    ]
    jobs[-1]["after"] = ["boosted"]
    return {"day": 0, "jobs": [*features, *jobs]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sample_exports: Path, new_ledger: Path) -> Iterator[Installation]:
    """An installation whose plan has run to its end on the shortened sample."""
    installation = Installation(tmp_path_factory.mktemp("forecasting"))
    installation.settings.make_layout()
    (installation.settings.ledger_path).write_bytes(new_ledger.read_bytes())
    bring(installation, whole(sample_exports).head(-LATER_ROWS))
    (installation.root / "plan.yaml").write_text(json.dumps(plan()))
    installation.cli("run", "plan.yaml", within_s=600)
    yield installation
    installation.close()


@dataclass(frozen=True)
class NewestDay:
    """What two commands at once said of the newest day, of which the first has written, and a copy of what is there then."""

    said: dict[str, Any]
    changes: list[str]
    copy: Path


@pytest.fixture(scope="module")
def newest(trained: Installation, sample_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> NewestDay:
    bring(trained, whole(sample_exports))
    plant_an_earlier_day(trained, whole(sample_exports)["date"][-70])
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "forecast", "--old-data", "--json"]
    both = [
        subprocess.Popen(command, env=trained.environ, cwd=trained.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = [child.communicate(timeout=240) for child in both]
    assert [child.returncode for child in both] == [0, 0], printed
    told = sorted((json.loads(out) for out, _ in printed), key=lambda one: str(one["written"]["change"]))
    copy = shutil.copytree(folder(trained), tmp_path_factory.mktemp("newest") / "forecasts")
    return NewestDay(by_horizon(told[0]), [one["written"]["change"] for one in told], copy)


def plant_an_earlier_day(installation: Installation, day: date) -> None:
    """What the volatility model and the classifier are made to have said on *day*: their targets have come since."""
    told = {"volatility_pct": 30.0, "ewma_pct": 20.0, "rolling_pct": 25.0}
    told |= {f"{kind}_{name}": 0.25 for kind in ("p", "persistence") for name in REGIMES}
    told |= {"crisis_volatility": 1.0, "trend_limit": 0.1}
    whose = {
        f"{kind}_{name}": value
        for kind, job in (("volatility", "turmoil"), ("regimes", "state"))
        for name, value in {"job": job, "job_id": installation.job(job).id, "model": "m"}.items()
    }
    folder(installation).mkdir(parents=True)
    rows = [{"horizon": h, "date": day, **whose, **told} for h in ("1w", "3m")]
    pl.DataFrame(rows).write_parquet(folder(installation) / f"{day}.parquet")


def bring_back(installation: Installation, exports: Path, newest: NewestDay) -> None:
    """Bring the whole sample and the forecasts of its newest day."""
    bring(installation, whole(exports))
    shutil.copytree(newest.copy, folder(installation))


def whole(exports: Path) -> pl.DataFrame:
    return pl.read_parquet(exports / "production_training_data_1m.parquet")


def bring(installation: Installation, table: pl.DataFrame) -> None:
    """Put *table* in the place of every export, and forget the forecasts so far."""
    for horizon in HORIZONS:
        table.write_parquet(installation.settings.exports_dir / f"production_training_data_{horizon}.parquet")
    shutil.rmtree(folder(installation), ignore_errors=True)


def folder(installation: Installation) -> Path:
    return installation.settings.logs / "forecasts"


def forecast(installation: Installation, *arguments: str) -> dict[str, Any]:
    """The forecasts by horizon, and what else was said."""
    return by_horizon(json.loads(installation.cli("forecast", "--old-data", "--json", *arguments)))


def by_horizon(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "by": {told["horizon"]: told for told in said["forecasts"]}}


def is_there(installation: Installation, name: str) -> bool:
    with Ledger.open_readonly(installation.settings.ledger_path) as ledger:
        return queries.newest_named(ledger, name) is not None


def files(installation: Installation) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder(installation).iterdir())}


def test_on_the_data_of_the_training_the_forecast_is_the_runs_own_to_the_bit(
    trained: Installation, sample_exports: Path
) -> None:
    """Each stored model also forecasts that day again, and is refused when it differs by 1e-5 deviations."""
    bring(trained, whole(sample_exports).head(-LATER_ROWS))
    said = forecast(trained)
    assert sorted(said["by"]) == ["1m", "1w", "3m", "6m"]
    assert said["refused"] == []
    for told in said["by"].values():
        recorded = trained.job(told["job"]).metrics["forecast"]
        assert {name: told[name] for name in recorded} == recorded
        assert told["live"]
    [regimes], [turmoil] = said["regimes"], said["volatility"]
    recorded = trained.job("state").metrics["regime_forecast"]
    assert {name: regimes[name] for name in recorded} == recorded
    own = pl.read_parquet(Path(trained.job("turmoil").run_dir) / "predictions.parquet").row(-1, named=True)
    assert (turmoil["date"], turmoil["volatility_pct"]) == (str(own["date"]), own["predicted_volatility_pct"])
    assert turmoil["ewma_pct"] == pytest.approx(100 * np.sqrt(own["ewma_variance"] * 4))


def test_new_rows_are_forecast_without_training_and_as_the_exported_model_does(
    trained: Installation, newest: NewestDay, sample_exports: Path, tmp_path: Path
) -> None:
    assert {trained.job(name).attempts for name, *_ in MODELS} == {1}, "no forecast has trained one again"
    bring(trained, whole(sample_exports).head(-LATER_ROWS))
    packages = {
        name: json.loads(trained.cli("export", h, "--job", name, "--json", "--to", str(tmp_path / name), within_s=240))
        for name, h in (("tree", "1w"), ("net", "1m"))
    }
    bring(trained, whole(sample_exports))
    said = newest.said

    assert {told["date"] for told in said["by"].values()} == {str(whole(sample_exports)["date"][-1])}
    for name, h in (("tree", "1w"), ("net", "1m")):
        frame, _ = present_frame(trained.settings.exports_dir, trained.settings.processed_dir, h)
        package = Package(tmp_path / name / packages[name]["folder"].rsplit("/", 1)[1])
        window = frame.x[None, -package.window_rows :]
        alone = package.forecast(window, [float(frame.price[-1])])[0]
        assert said["by"][h]["predicted_price"] == pytest.approx(alone["predicted_price"], rel=1e-6)
        assert said["by"][h]["lower_80"] < said["by"][h]["predicted_price"] < said["by"][h]["upper_80"]
    assert said["drift"]["1w"]["compared_rows"] == LATER_ROWS
    assert {told["date"] for kind in ("volatility", "regimes") for told in said[kind]} == {said["by"]["1w"]["date"]}
    assert said["regimes"][0]["trained_until"] < said["regimes"][0]["date"]
    for kind, h, measure in (("volatility", "3m", "qlike"), ("regimes", "1w", "log_loss")):
        log = pl.read_parquet(newest.copy / f"realised_{kind}.parquet").filter(pl.col("horizon") == h)
        monitor = said[kind][0]["monitor"]
        assert log["date"].to_list() == [whole(sample_exports)["date"][-70]]
        assert (monitor["measure"], monitor["realised"], monitor["retrain"]) == (measure, h == "3m", None)
    row = pl.read_parquet(newest.copy / f"{said['written']['day']}.parquet").row(2, named=True)
    assert {name: row[name] for name in ("horizon", "volatility_job", "volatility_pct", "ewma_pct", "p_bear")} == {
        "horizon": "3m", "volatility_job": "turmoil", "p_bear": None,
        **{name: said["volatility"][0][name] for name in ("volatility_pct", "ewma_pct")},
    }  # fmt: skip


def test_the_walk_goes_on_as_if_it_had_been_trained_on_the_longer_series(
    trained: Installation, newest: NewestDay, sample_exports: Path
) -> None:
    """ARIMA's state takes in each new price: the newest price moves the forecast, and it is near that price."""
    bring(trained, whole(sample_exports).head(-1))
    before = forecast(trained)["by"]["3m"]
    after = newest.said["by"]["3m"]
    assert before["predicted_price"] != after["predicted_price"]
    assert abs(np.log(after["predicted_price"] / after["price"])) < 0.5
    assert after["trained_until"] < before["date"] < after["date"]


def test_two_at_once_write_one_whole_file_and_other_data_keep_the_former_one(
    trained: Installation, newest: NewestDay, sample_exports: Path
) -> None:
    """The second finds the forecasts of the first, as the same command would on the same day again."""
    assert newest.changes == ["new", "unchanged"]
    table = whole(sample_exports)
    bring_back(trained, sample_exports, newest)
    first = files(trained)
    assert not [name for name in first if name.startswith(".") or ".1." in name]

    revised = table.with_columns(
        pl.when(pl.int_range(pl.len()) == 4_000).then(pl.col("price") + 1.0).otherwise(pl.col("price")).alias("price")
    )
    for horizon in HORIZONS:
        revised.write_parquet(trained.settings.exports_dir / f"production_training_data_{horizon}.parquet")
    said = forecast(trained)

    day = str(table["date"][-1])
    assert said["written"]["change"] == "other data"
    assert files(trained)[f"{day}.1.parquet"] == first[f"{day}.parquet"]
    words = " ".join(said["by"]["1w"]["remarks"])
    assert "1 past price was revised" in words
    assert str(table["date"][4_000]) in words
    assert json.loads((folder(trained) / "latest.json").read_bytes())["day"] == day


def test_a_shortened_export_is_refused_by_name_and_nothing_is_written(
    trained: Installation, newest: NewestDay, sample_exports: Path
) -> None:
    bring(trained, whole(sample_exports).head(-LATER_ROWS - 30))
    words = trained.cli("forecast", "--old-data", code=2)
    assert "it was shortened" in words
    assert not folder(trained).exists() or files(trained) == {}

    bring_back(trained, sample_exports, newest)
    before = files(trained)
    for horizon in HORIZONS:
        table = whole(sample_exports).head(-5)
        table.write_parquet(trained.settings.exports_dir / f"production_training_data_{horizon}.parquet")
    assert "an older one put back" in trained.cli("forecast", "--old-data", code=2)
    assert files(trained) == before


def test_old_data_are_refused_with_their_day_and_the_remedy(trained: Installation, sample_exports: Path) -> None:
    bring(trained, whole(sample_exports))
    words = trained.cli("forecast", code=2)
    assert f"the data end on {whole(sample_exports)['date'][-1]}" in words
    assert "--old-data" in words
    assert not (folder(trained) / "latest.json").exists()


def test_a_damaged_run_and_one_of_another_version_cost_their_own_horizons_only(
    trained: Installation, sample_exports: Path
) -> None:
    bring(trained, whole(sample_exports))
    model = next((trained.settings.models / "local").rglob("*.safetensors"))
    folder = Path(trained.job("tree").run_dir)
    fits = Path(trained.job("turmoil").run_dir) / "model.json"
    kept = {path: path.read_bytes() for path in (model, fits, folder / "metrics.json", folder / "manifest.json")}
    try:
        fits.write_bytes(kept[fits].replace(b"beta", b"atom"))
        model.write_bytes(kept[model][:-8] + bytes(8))
        (folder / "metrics.json").write_text("{}")
        manifest = json.loads(kept[folder / "manifest.json"])
        manifest["files"]["metrics.json"] |= {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        said = json.loads(trained.cli("forecast", "--old-data", "--json", code=1))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    refused = {what_is_forecast(each): each["why"] for each in said["refused"]}
    assert refused.keys() == {"1w", "1m", "3m volatility"}
    assert "damaged" in refused["1m"]
    assert "damaged" in refused["3m volatility"]
    assert "damaged" not in refused["1w"]
    assert len(said["forecasts"]) == 2


def test_a_table_fits_eighty_columns_and_says_what_may_be_believed(trained: Installation, sample_exports: Path) -> None:
    bring(trained, whole(sample_exports))
    trained.overrides["COLUMNS"] = "80"
    try:
        text = trained.cli("forecast", "--old-data", "--horizon", "1w", "--horizon", "3m")
        drift = trained.cli("drift", "--horizon", "1w")
    finally:
        del trained.overrides["COLUMNS"]
    table = text.split("\n\n", maxsplit=4)
    assert max(len(line) for part in table[:4] for line in part.splitlines()) <= 80
    assert re.search(r"3m +\S+( +[\d.]+ %){3}$", table[2]), table
    assert re.search(r"1w +\S+ +(crisis|bull|bear|normal)( +\d+ %){4}$", table[3]), table
    assert "3m volatility: turmoil (garch) is the only model of its board." in text
    assert "tree (lightgbm_dart)" in text
    assert "naive" in text.lower()
    assert not folder(trained).exists(), "with --horizon nothing is written"
    assert f"The latest {LATER_ROWS} of {LATER_ROWS} rows since its training" in drift


def test_the_daemon_queues_the_day_once_and_a_restart_changes_nothing(
    trained: Installation, sample_exports: Path
) -> None:
    """As a job of the slot: before and after the restart of the daemon the same forecasts."""
    bring(trained, whole(sample_exports))
    name = f"forecast-{date.today().isoformat()}"  # noqa: DTZ011 - this machine's day, as the setting has it
    trained.overrides |= {"CBI_FORECAST_AT": "00:00", "CBI_FORECAST_MAX_AGE": "1000"}
    try:
        daemon = trained.start_daemon()
        until(lambda: is_there(trained, name), "the daemon queues the forecast of the day", 120)
        job = trained.until_state(name, "succeeded", "failed", within_s=120)
        daemon.terminate()
        daemon.wait(60)
        first = files(trained) if folder(trained).exists() else {}
        daemon = trained.start_daemon()
        again = json.loads(trained.cli("list", "--all", "--json"))
        daemon.terminate()
        daemon.wait(60)
    finally:
        del trained.overrides["CBI_FORECAST_AT"], trained.overrides["CBI_FORECAST_MAX_AGE"]
    assert job.state == "failed", "these data are years old, and the job does not say --old-data"
    assert "the data end on" in (trained.attempts(name)[-1].error or "")
    assert first == {}
    assert sum(each["name"] == name for each in again) == 1

    hook = CommandHook(trained, events=("forecast",))
    notify(trained.settings)  # what was before is not told
    trained.enqueue({"name": "by-hand", "family": "forecast", "model": "daily_forecast", **OLD})
    daemon = trained.start_daemon()
    job = trained.until_state("by-hand", "succeeded", "failed", within_s=120)
    assert job.state == "succeeded", trained.story("by-hand")
    daemon.terminate()
    daemon.wait(60)
    notify(trained.settings)
    assert hook.told == [("forecast", "by-hand wrote a forecast")]
    hook.remove()
    written = files(trained)
    trained.enqueue({"name": "by-hand-2", "family": "forecast", "model": "daily_forecast", **OLD})
    daemon = trained.start_daemon()
    assert trained.until_state("by-hand-2", "succeeded", within_s=120).metrics["change"] == "unchanged"
    daemon.terminate()
    daemon.wait(60)
    assert files(trained) == written
    assert "forecasts from" in trained.cli("list", "--all")
    assert "by-hand" not in trained.cli("leaderboard")


def test_a_flagged_model_is_trained_again_only_when_asked(
    trained: Installation, newest: NewestDay, sample_exports: Path
) -> None:
    """The flag stands in status and doctor; its job and features are queued, and nothing else."""
    bring_back(trained, sample_exports, newest)
    latest = folder(trained) / "latest.json"
    body = json.loads(latest.read_bytes())
    body["monitor"]["1w"] |= {"retrain": True, "rolling": 9.0, "backtest": 2.0, "limit": 3.0, "realised": 20}
    hook = CommandHook(trained, events=("drift",))
    notify(trained.settings)
    before = hook.told
    latest.write_text(json.dumps(body))
    for _ in range(2):
        notify(trained.settings)
    [(event, words)] = hook.told[len(before) :]
    assert event == "drift"
    assert words.startswith("tree (1w) should be trained again: MAPE 9 %")
    hook.remove()
    assert "tree (1w) should be trained again: MAPE 9 %" in trained.cli("status")
    assert all_flags(trained.settings.logs)[0].job == "tree"
    with Ledger.open(trained.settings.ledger_path) as ledger:
        done = train_again(ledger, trained.settings, [trained.job("tree").id])
    assert sorted(job.name for job in done.new) == ["features-1w", "tree"]
    trained.cli("cancel", "tree", "features-1w")
