"""`jobs.families.volatility`: arch's own forecasts, no look-ahead, and what cannot be fitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from arch import arch_model
from support.fakes import ScriptedChannel, make_task

from cbi_queue.protocol import CheckpointSaved, Note, Restored
from jobs.data.series import load_frame
from jobs.families.volatility import Egarch, Garch, GjrGarch
from jobs.process.channel import StopRequested
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.trainer import Task

SMALL = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "history_rows": 500, "refit_every_rows": 30}
FAMILIES: dict[str, Any] = {"garch": Garch, "gjr_garch": GjrGarch, "egarch": Egarch}
DAYS = 21
every_family = pytest.mark.parametrize("model", FAMILIES)


def task_of(run_dir: Path, features: Path, channel: ScriptedChannel, model: str = "garch", **params: Any) -> Task:
    spec: dict[str, Any] = {"family": "volatility", "model": model, "horizon": "1w", "params": SMALL | params}
    return make_task(run_dir, spec, features, features, channel)


@pytest.fixture(scope="module")
def log_price(feature_dir: Path) -> np.ndarray:
    """1,000 real log prices."""
    return np.log(load_frame(feature_dir, "1w").price[2000:3000])


@every_family
def test_the_variances_of_the_days_are_arch_s(log_price: np.ndarray, model: str) -> None:
    family = FAMILIES[model]()
    returns = 100 * np.diff(log_price)
    fit = family.fit(log_price)

    theirs = arch_model(returns, mean="Zero", p=1, q=1, rescale=False, **family.model).fit(disp="off")

    assert family.filtered(fit, returns)[:-1] == pytest.approx(theirs.conditional_volatility[1:] ** 2, rel=1e-9)
    assert fit["converged"]


@pytest.mark.parametrize("model", ["garch", "gjr_garch"])
def test_the_variance_of_many_days_is_arch_s_analytic_one(log_price: np.ndarray, model: str) -> None:
    family = FAMILIES[model]()
    returns = 100 * np.diff(log_price)
    fit = family.fit(log_price)
    fitted = arch_model(returns, mean="Zero", p=1, q=1, rescale=False, **family.model).fit(disp="off")

    theirs = fitted.forecast(horizon=DAYS, reindex=False).variance.to_numpy().sum()

    assert family.summed(fit["par"], family.filtered(fit, returns)[-1:], DAYS) == pytest.approx([theirs], rel=1e-9)


def test_the_variance_of_many_days_of_egarch_is_what_simulations_average_to(log_price: np.ndarray) -> None:
    """The library simulates it; 40,000 paths leave a standard error of about 0.2 %."""
    egarch, returns = Egarch(), 100 * np.diff(log_price)
    fit = egarch.fit(log_price)
    fitted = arch_model(returns, mean="Zero", p=1, q=1, rescale=False, **egarch.model).fit(disp="off")

    draw = fitted.model.distribution.simulate([fit["par"]["nu"]])
    fitted.model.distribution._generator = np.random.default_rng(0)
    paths = fitted.forecast(horizon=DAYS, reindex=False, method="simulation", simulations=40_000, rng=draw)

    told = egarch.summed(fit["par"], egarch.filtered(fit, returns)[-1:], DAYS)
    assert told == pytest.approx([paths.variance.to_numpy().sum()], rel=0.02)


@every_family
def test_a_forecast_does_not_change_when_later_prices_do(feature_dir: Path, model: str) -> None:
    frame, family = load_frame(feature_dir, "1w"), FAMILIES[model]()
    price = frame.price.copy()
    price[4001:] *= 3.0
    fit = {"first_row": 3000, **family.fit(np.log(frame.price[3000:3994]))}

    told = [family.forecast_rows(fit, seen, np.arange(3994, 4001)) for seen in (frame, replace(frame, price=price))]

    assert told[0].tolist() == told[1].tolist()


def test_a_fall_raises_the_forecast_of_gjr_more_than_a_rise_and_that_of_garch_as_much() -> None:
    par = {"omega": 0.1, "alpha[1]": 0.05, "beta[1]": 0.9}
    assert Garch.following(par, 4.0, -3.0) == Garch.following(par, 4.0, 3.0)
    assert GjrGarch.following({**par, "gamma[1]": 0.1}, 4.0, -3.0) > GjrGarch.following(
        {**par, "gamma[1]": 0.1}, 4.0, 3.0
    )


@every_family
def test_prices_that_do_not_move_are_refused_with_the_remedy(model: str) -> None:
    with pytest.raises(
        BrokenSpec, match=r"last 300 prices: column 'price' does not move there; choose a longer history_rows"
    ):
        FAMILIES[model]().fit(np.full(300, 4.0))


def test_where_the_optimiser_strays_it_begins_again(log_price: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """As arch's did on 1,000 days of the sample: alpha -39, gamma -98, and an infinite variance."""
    strayed = {"omega": -3.8, "alpha[1]": -39.1, "gamma[1]": -98.3, "beta[1]": 0.48, "nu": 1.01}
    plain, begun = arch_model, []

    def straying(*args: Any, **kwargs: Any) -> Any:
        model = plain(*args, **kwargs)
        fit = model.fit

        def fit_or_stray(*, starting_values: Any, **how: Any) -> Any:
            begun.append(starting_values)
            found = fit(starting_values=starting_values, **how)
            if len(begun) < 3:
                found.params[:] = list(strayed.values())
            return found

        monkeypatch.setattr(model, "fit", fit_or_stray, raising=False)
        return model

    monkeypatch.setattr("jobs.families.volatility.arch_model", straying)

    fit = Egarch().fit(log_price)

    assert [start and round(start[3], 2) for start in begun] == [None, 0.95, 0.99]
    assert fit["innovations"] == "ged"
    assert fit["par"]["beta[1]"] > 0.8


def test_a_stopped_walk_goes_on_where_it_was(tmp_path: Path, feature_dir: Path) -> None:
    whole = Garch()
    whole.prepare(task_of(tmp_path / "whole", feature_dir, ScriptedChannel()))
    whole.train(task_of(tmp_path / "whole", feature_dir, ScriptedChannel()))
    first, second = ScriptedChannel(stop_at=4), ScriptedChannel()
    stopped = Garch()
    stopped.prepare(task_of(tmp_path / "run", feature_dir, first))
    with pytest.raises(StopRequested):
        stopped.train(task_of(tmp_path / "run", feature_dir, first))

    again = Garch()
    again.prepare(task_of(tmp_path / "run", feature_dir, second))
    again.train(task_of(tmp_path / "run", feature_dir, second))

    assert [saved.epoch for saved in first.of_type(CheckpointSaved)] == [2]
    assert [restored.epoch for restored in second.of_type(Restored)] == [2]
    told = [pl.read_parquet(tmp_path / name / "predictions.parquet") for name in ("run", "whole")]
    assert told[0].equals(told[1])


def test_fits_made_with_other_threads_are_not_gone_on_from(tmp_path: Path, feature_dir: Path) -> None:
    """They change the last digits of the optimiser's path, and now and then where it ends."""
    channel = ScriptedChannel(stop_at=4)
    task = task_of(tmp_path / "run", feature_dir, channel)
    stopped = Garch()
    stopped.prepare(task)
    with pytest.raises(StopRequested):
        stopped.train(task)
    channel = ScriptedChannel()
    task = task_of(tmp_path / "run", feature_dir, channel)

    Garch().prepare(replace(task, assignment=replace(task.assignment, threads=task.assignment.threads + 1)))

    assert not channel.of_type(Restored)
    (note,) = channel.of_type(Note)
    assert "threads, this is arch" in note.text


def test_a_final_block_is_scored_and_stays_closed(tmp_path: Path, feature_dir: Path) -> None:
    task = task_of(tmp_path / "run", feature_dir, ScriptedChannel(), scheme="walk_forward", final_block_rows=60)
    garch = Garch()
    garch.prepare(task)
    finished = garch.train(task)

    assert set(finished.metrics["volatility"]) == {"validation", "backtest"}
    assert '"final"' in (tmp_path / "run" / "final_block.json").read_text()
