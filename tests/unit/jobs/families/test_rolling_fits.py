"""`jobs.families.rolling_fits`: no forecast sees a later price, and the fits so far are an exact checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import statsforecast
from statsforecast import StatsForecast
from statsforecast.models import AutoARIMA as PeerARIMA
from statsforecast.models import AutoETS
from support.fakes import FakeClock, ScriptedChannel, make_task

from cbi_queue.protocol import CheckpointSaved, EpochReport, Note, Restored
from jobs.data.label import Label
from jobs.data.series import ForecastFrame, label, load_frame
from jobs.evaluation.splits import holdout_split
from jobs.families.rolling_fits import ARIMA, ETS, AutoARIMA, Theta
from jobs.process.channel import StopRequested
from jobs.rolling import walk
from jobs.rolling.walk import refit_chunks
from jobs.training.stored_fits import read_fits, write_fits
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import Message
    from jobs.trainer import Task

SMALL = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "history_rows": 100, "refit_every_rows": 30}


def task_of(run_dir: Path, features: Path, channel: ScriptedChannel, model: str = "ets") -> Task:
    spec: dict[str, Any] = {"family": "statistical", "model": model, "horizon": "1w", "params": SMALL}
    return make_task(run_dir, spec, features, features, channel)


@pytest.mark.parametrize(
    ("model", "family"), [("ets", ETS), ("auto_arima", AutoARIMA), ("arima", ARIMA), ("theta", Theta)]
)
def test_a_forecast_does_not_change_when_later_prices_do(
    tmp_path: Path, feature_dir: Path, model: str, family: type[ETS | AutoARIMA | ARIMA | Theta]
) -> None:
    """The leak that a rolling model can have: fitting, or filtering, past the row it speaks of."""
    frame = load_frame(feature_dir, "1w")
    row = 4000
    price = frame.price.copy()
    price[row + 1 :] *= 3.0
    changed = replace(frame, price=price)

    told = []
    for seen in (frame, changed):
        trainer = family()
        trainer.prepare(task_of(tmp_path / "run", feature_dir, ScriptedChannel(), model))
        trainer.frame = seen
        fit = trainer.fit_before(row - 7)
        told.append(trainer.forecast_rows(fit, seen, np.array([row]))[0])

    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("model", "family"), [("ets", ETS), ("auto_arima", AutoARIMA), ("arima", ARIMA), ("theta", Theta)]
)
@pytest.mark.parametrize("season_rows", [1, 5])
def test_a_forecast_of_a_difference_does_not_depend_on_the_level_of_the_price(
    tmp_path: Path, feature_dir: Path, model: str, family: type[ETS | AutoARIMA | ARIMA | Theta], season_rows: int
) -> None:
    """A model that multiplies would: near 0 it says something else, and below 0 nothing. WTI, and WTI less 85."""
    frame = replace(load_frame(feature_dir, "1w"), label=Label.DIFFERENCE)
    rows, told = np.arange(4000, 4003), []

    for shift in (0.0, 85.0):
        trainer = family()
        trainer.prepare(task_of(tmp_path / "run", feature_dir, ScriptedChannel(), model))
        if model != "arima":
            trainer.params = trainer.params.model_copy(update={"season_rows": season_rows})
        trainer.frame = shifted = replace(frame, price=frame.price - shift)
        trainer.label = Label.DIFFERENCE
        told.append(trainer.forecast_rows(trainer.fit_before(3990), shifted, rows))

    assert (frame.price[3891:4003] < 85).any()
    assert told[0] == pytest.approx(told[1], abs=0.1 * np.abs(np.diff(frame.price)).mean())


def test_a_stopped_walk_goes_on_where_it_was(tmp_path: Path, feature_dir: Path) -> None:
    """A stop that comes while the second fit is made keeps that fit."""
    first, second = ScriptedChannel(stop_at=4), ScriptedChannel()
    stopped = ETS()
    stopped.prepare(task_of(tmp_path / "run", feature_dir, first))
    with pytest.raises(StopRequested):
        stopped.train(task_of(tmp_path / "run", feature_dir, first))

    again = ETS()
    again.prepare(task_of(tmp_path / "run", feature_dir, second))
    again.train(task_of(tmp_path / "run", feature_dir, second))

    assert [saved.epoch for saved in first.of_type(CheckpointSaved)] == [2]
    assert [report.epoch for report in first.of_type(EpochReport)] == [1, 2]
    assert [(restored.epoch, restored.exact) for restored in second.of_type(Restored)] == [(2, True)]
    assert second.of_type(EpochReport)[0].epoch == 3


def test_a_fit_that_the_kernel_held_up_is_told_without_that_time(tmp_path: Path, feature_dir: Path) -> None:
    """A pause within a fit is the kernel's; its length is known only once the trainer has heard that it may go on."""
    clock = FakeClock()
    channel = ScriptedChannel()
    channel.at[2] = lambda: setattr(channel, "paused_s", 3600.0)
    ets = ETS()
    ets.prepare(task_of(tmp_path / "run", feature_dir, channel))
    ets._clock, fit = WorkClock(channel, clock), ets.fit

    def held_up(log_price: np.ndarray) -> dict[str, Any]:
        clock.advance(3.0 if channel.of_type(EpochReport) else 3603.0)
        return fit(log_price)

    ets.fit = held_up
    finished = ets.train(task_of(tmp_path / "run", feature_dir, channel))

    reports = channel.of_type(EpochReport)
    assert [report.wall_s for report in reports] == [3.0] * len(reports)
    assert finished.metrics["fit_s"] == 3.0 * len(reports)


def test_the_time_of_writing_the_fits_down_is_no_fitting_time(
    tmp_path: Path, feature_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drive takes 100 s for each checkpoint here."""
    monkeypatch.setattr(walk, "CHECKPOINT_EVERY_S", 0.0)
    clock = FakeClock()

    class SlowDrive(ScriptedChannel):
        def report(self, message: Message) -> None:
            super().report(message)
            if isinstance(message, CheckpointSaved):
                clock.advance(100.0)

    channel = SlowDrive()
    task = task_of(tmp_path / "run", feature_dir, channel)
    ets = ETS()
    ets.prepare(task)
    ets._clock = WorkClock(channel, clock)

    finished = ets.train(task)

    assert len(channel.of_type(CheckpointSaved)) == len(ets.chunks)
    assert finished.metrics["fit_s"] == 0.0


def test_fits_of_another_version_of_the_library_are_not_gone_on_from(tmp_path: Path, feature_dir: Path) -> None:
    """A new one may choose other orders: half a walk of each would be no model's."""
    stopped, channel = ETS(), ScriptedChannel(stop_at=4)
    task = task_of(tmp_path / "run", feature_dir, channel)
    stopped.prepare(task)
    with pytest.raises(StopRequested):
        stopped.train(task)
    path = tmp_path / "run" / "checkpoints" / "fits.json"
    assert read_fits(path)["library"] == f"statsforecast {statsforecast.__version__}"
    write_fits(path, read_fits(path) | {"library": "statsforecast 1.0.0"})
    channel = ScriptedChannel()

    again = ETS()
    again.prepare(task_of(tmp_path / "run", feature_dir, channel))

    (note,) = channel.of_type(Note)
    assert "was made with statsforecast 1.0.0, this is statsforecast" in note.text
    assert (again.done.fits, channel.of_type(Restored)) == ([], [])


@pytest.mark.parametrize("left", ["{", "[]", json.dumps({"identity": "other", "source_sha256": "x"})])
def test_a_checkpoint_that_is_torn_or_not_ours_is_not_believed(tmp_path: Path, feature_dir: Path, left: str) -> None:
    channel = ScriptedChannel()
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "fits.json").write_text(left)

    trainer = ETS()
    trainer.prepare(task_of(tmp_path / "run", feature_dir, channel))

    assert trainer.done.fits == []
    assert len(channel.of_type(Note)) == 1


def test_refits_come_at_fixed_distances_and_cover_every_judged_row() -> None:
    price = np.linspace(10, 20, 1000)
    dates = np.datetime64("2000-01-03") + np.arange(1000)
    frame = ForecastFrame(dates, price, np.zeros((1000, 1), np.float32), label(price, 5), ("zero",), 5, "0" * 64)
    split = holdout_split(frame, 100, 100, 50)

    chunks = list(refit_chunks(frame, split, 21))

    covered = np.concatenate(chunks)
    assert covered.tolist() == [*split.validation, *split.backtest, *range(995, 1000)]
    assert all(chunk[-1] - chunk[0] < 21 for chunk in chunks)


def test_the_predictions_of_a_walk_are_for_judged_rows_only(tmp_path: Path, feature_dir: Path) -> None:
    task = task_of(tmp_path / "run", feature_dir, ScriptedChannel())
    trainer = ETS()
    trainer.prepare(task)
    trainer.train(task)

    blocks = pl.read_parquet(tmp_path / "run" / "predictions.parquet")["block"].unique().to_list()
    assert sorted(blocks) == ["backtest", "future", "validation"]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "family", "peer"), [("ets", ETS, AutoETS), ("auto_arima", AutoARIMA, PeerARIMA)])
def test_the_walk_is_the_cross_validation_of_statsforecast(
    feature_dir: Path, tmp_path: Path, model: str, family: type[ETS | AutoARIMA], peer: type[Any]
) -> None:
    """Thirty origins one day apart, a refit every tenth, the state filtered in between: on all prices up to each."""
    whole, h, every = load_frame(feature_dir, "1w"), 5, 10
    price = whole.price[2000:2260]
    frame = replace(whole, price=price, dates=whole.dates[2000:2260], y=label(price, h))
    params = SMALL | {"validation_rows": 30, "backtest_rows": 30, "embargo_rows": 0, "refit_every_rows": every}
    spec = {"family": "statistical", "model": model, "horizon": "1w", "params": params | {"history_rows": 1000}}
    trainer = family()
    trainer.prepare(make_task(tmp_path / "run", spec, feature_dir, feature_dir, ScriptedChannel()))
    chunks = list(refit_chunks(frame, holdout_split(frame, 30, 30, 0), every))[:3]
    trainer.frame = frame
    ours = np.concatenate([trainer.forecast_rows(trainer.fit_before(int(rows[0])), frame, rows) for rows in chunks])

    origins = np.concatenate(chunks)
    known = np.arange(origins[-1] + h + 1)
    table = pl.DataFrame({"unique_id": ["a"] * len(known), "ds": known, "y": np.log(price[known])})
    limits = {"max_p": trainer.params.max_p, "max_q": trainer.params.max_q} if family is AutoARIMA else {}
    forecaster = StatsForecast(models=[peer(season_length=1, alias="peer", **limits)], freq=1)
    told = forecaster.cross_validation(df=table, h=h, step_size=1, n_windows=len(origins), refit=every)
    last_day = told.filter(pl.col("ds") == pl.col("cutoff") + h)
    assert last_day["cutoff"].to_list() == origins.tolist()
    assert np.abs(ours).max() > 1e-5, "they say something"
    np.testing.assert_allclose(ours, last_day["peer"].to_numpy() - np.log(price[origins]), atol=1e-9)
