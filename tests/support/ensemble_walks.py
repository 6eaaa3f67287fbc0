"""Ensembles walked forward over members made by hand, without files and processes; and folders of member runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cbi_queue.artifacts import Manifest, complete_folder
from jobs.data.series import ForecastFrame, label
from jobs.ensembles.members import Members
from jobs.evaluation.splits import holdout_split
from jobs.registry import trainer_for
from jobs.results.run_folder import PREDICTIONS, block_names
from jobs.rolling.walk import _Fits, refit_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.evaluation.splits import Split

H = 5
SMALL = {"refit_every_rows": 20, "history_rows": 2000, "least_independent": 6.0}


def random_walk(seed: int, rows: int = 1400, horizon_days: int = H) -> ForecastFrame:
    """Return a price that nobody can forecast."""
    price = 50.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(seed).normal(size=rows)))
    dates = np.busday_offset(np.datetime64("2010-01-01"), np.arange(rows), roll="forward")
    x = np.zeros((rows, 1), dtype=np.float32)
    y = label(price, horizon_days)
    return ForecastFrame(dates, price, x, y, ("none",), horizon_days=horizon_days, source_sha256="walk")


def split_in_three(frame: ForecastFrame, *, final_rows: int = 100) -> Split:
    """Return 504 rows of validation and 400 of backtest."""
    return holdout_split(frame, 504, 400, 5, final_rows=final_rows)


def walked(model: str, frame: ForecastFrame, split: Split, f: np.ndarray, **params: Any) -> tuple[Any, np.ndarray]:
    """Walk *model* over members that forecast *f*, (rows, members); return the trainer and its forecasts, (rows,)."""
    trainer: Any = trainer_for(model, "native")
    names = tuple(f"m{number}" for number in range(f.shape[1]))
    known = {key: value for key, value in SMALL.items() if model not in {"mean_ensemble", "median_ensemble"}}
    trainer.params = _class_of(model).model_validate({**known, **params})
    trainer.frame, trainer.split = frame, split
    trainer.members = Members(names, tuple(f"{n}.1" for n in names), f, ())
    trainer.chunks = list(refit_chunks(frame, split, trainer.params.refit_every_rows))
    trainer.done = _Fits("identity", "source", "library")
    trainer.predicted = np.full(frame.rows, np.nan)
    for chunk in trainer.chunks:
        fit = trainer.fit_before(int(chunk[0]))
        trainer.done.fits.append(fit)
        trainer.predicted[chunk] = trainer.forecast_rows(fit, frame, chunk)
    return trainer, trainer.predicted


def _class_of(model: str) -> Any:
    from cbi_queue.models.catalogue import MODELS

    return MODELS[model].params


def member_run(folder: Path, frame: ForecastFrame, split: Split, f: np.ndarray, job_id: int = 7) -> dict[str, Any]:
    """Write the run folder of a member that forecasts *f*, (rows,); return it as an assignment names it."""
    folder.mkdir(parents=True)
    table = {"date": frame.dates, "block": block_names(frame, split).tolist(), "predicted_return": f}
    pl.DataFrame(table).write_parquet(folder / PREDICTIONS)
    return as_member("drift", folder, job_id)


def as_member(model: str, folder: Path, job_id: int = 7) -> dict[str, Any]:
    """Complete the run folder and return it as an assignment names it."""
    complete_folder(folder, Manifest("ledger", job_id, 1, "identity"))
    return {"name": folder.name, "model": model, "run": f"{job_id}.1", "run_dir": str(folder)}
