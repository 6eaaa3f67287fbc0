"""The files of a forecasting run: model, metrics, schema, predictions, preprocessing, training hash.

Every file is written whole or not at all; data is stored as data (JSON, Parquet, the library's own format), never
pickled. The session completes the folder with the manifest afterwards.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import MAY_DIFFER, atomic_file, write_atomic, write_json
from cbi_queue.datasets.description import DataSet, read_description
from cbi_queue.errors import Refused
from cbi_queue.models.kinds import BARS
from cbi_queue.protocol import Finished, Note
from jobs.data.spacing import DAYS_OF_YEAR, TRADING_DAYS
from jobs.evaluation.conformal import COVERAGES, half_widths, measured_coverage
from jobs.evaluation.guardrails import Verdict, verdicts, veto_words
from jobs.evaluation.scoring import MASE_SEASON_ROWS, finite_or_none, score
from jobs.evaluation.significance import shrinkage_of
from jobs.evaluation.splits import describe
from jobs.evaluation.walk_forward import Recorded
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

METRICS, SCHEMA, PREDICTIONS = "metrics.json", "feature_schema.json", "predictions.parquet"
PREPROC, TRAINING_HASH = "preproc.json", "training_hash.txt"
WHY = "why.json"
"""What the forecasts depend on, of a model with features: see `jobs.results.why`."""
FINAL_BLOCK = "final_block.json"
"""Scores of the block that stays closed: they are in no table until somebody opens it."""
PROMISED_FILES = (METRICS, SCHEMA, PREDICTIONS, PREPROC, TRAINING_HASH)
"""The files of every forecasting run, in addition to the model's own."""

_LIBRARIES = ("numpy", "polars", "lightgbm", "xgboost", "statsforecast", "torch", "tensorflow", "keras", "safetensors")
"""Libraries whose version matters to a result, when the run loaded them."""


def record_run(
    task: Task,
    frame: ForecastFrame,
    split: Split,
    predicted: np.ndarray,
    *,
    fit_s: float,
    predict_s: float,
    model_files: Mapping[str, bytes | Callable[[Path], object]],
    preproc: dict[str, Any],
    details: dict[str, Any] | None = None,
    more_verdicts: Sequence[Verdict] = (),
    fill: Callable[..., Finished] | None = None,
    explain: Callable[[], dict[str, Any]] | None = None,
) -> Finished:
    """Score the run, fill its folder and return the metrics for the leaderboard; a refit is only handed in.

    Args:
        task: whose folder is filled.
        frame: the rows that were trained on.
        split: the blocks.
        predicted: (rows,) float64, f[t], NaN where nothing was forecast; with *fill* whatever that takes.
        fit_s: working seconds of the fit, pauses excluded.
        predict_s: working seconds of forecasting all rows.
        model_files: file name -> content, or a function that writes to a (temporary) path.
        preproc: what was done to the features, as JSON values, enough to do it again.
        details: further metrics of this family (best round, refits), finite or None.
        more_verdicts: what the family itself found.
        fill: scores and fills the folder of a run that forecasts no price; takes what `record_run` takes.
        explain: returns what goes into `why.json`; None for a model without features.
    """
    if (quarantine := getattr(task.spec.typed_params, "quarantine_psi", None)) is not None:
        preproc = {**preproc, "quarantine_psi": quarantine, "quarantined": list(frame.quarantined)}
        details = {**(details or {}), "quarantined": len(frame.quarantined)}
    if task.refit:
        if split is not task.refit.split:
            raise BrokenSpec(f"{task.spec.model} does not take its split from split_of, so it cannot be walked forward")
        said = explain() if explain and not fill else None
        recorded = Recorded(predicted, fit_s, predict_s, model_files, preproc, details=details or {}, why=said)
        task.refit.recorded.append(recorded)
        return Finished()
    if fill:
        times = {"fit_s": round(fit_s, 3), "predict_s": round(predict_s, 4)}
        return fill(
            task,
            frame,
            split,
            predicted,
            model_files=model_files,
            preproc=preproc,
            details={**times, **(details or {})},
        )
    factor = (
        shrinkage_of(frame, split.validation, predicted) if getattr(task.spec.typed_params, "shrink", False) else 1.0
    )
    predicted = factor * predicted + 0.0  # no negative zeros
    widths, covered = _intervals(frame, split, predicted)
    cost = _cost_per_turnover(task)
    scores = score(frame, split, predicted, cost_per_turnover=cost)
    found = [*verdicts(frame, split, predicted, scores, is_baseline=task.spec.model in BARS), *more_verdicts]
    final = {"final": scores.pop("final", None), "naive": scores["naive"].pop("final", None)}
    write_predictions(task.run_dir / PREDICTIONS, frame, split, predicted, widths)
    if explain is not None:
        write_json(task.run_dir / WHY, {**explain(), "forecast_factor": factor})
    return fill_folder(
        task,
        frame,
        split,
        {
            **scores,
            "coverage": covered,
            "cost_per_turnover": cost,
            "shrinkage": factor,
            **_label_of(frame, split),
            "forecast": _latest_forecast(frame, predicted, widths),
            "fit_s": round(fit_s, 3),
            "predict_s": round(predict_s, 4),
            **(details or {}),
        },
        found=found,
        final=final if final["final"] else None,
        model_files=model_files,
        schema=feature_schema(frame),
        preproc={**preproc, "forecast_factor": factor, **_label_of(frame)},
    )


def fill_folder(
    task: Task,
    frame: ForecastFrame,
    split: Split,
    metrics: dict[str, Any],
    *,
    found: list[Verdict],
    final: dict[str, Any] | None,
    model_files: Mapping[str, bytes | Callable[[Path], object]],
    schema: dict[str, Any],
    preproc: dict[str, Any],
) -> Finished:
    """Write every file of a run but its predictions, and return its metrics with the verdicts on it.

    Args:
        task: whose folder is filled.
        frame: the rows that were trained on.
        split: the blocks.
        metrics: those of the kind of run; what every run has is added.
        found: verdicts.
        final: scores of the final block, which go into a file of their own; None without such a block.
        model_files: as for `record_run`.
        schema: names and types of inputs and target.
        preproc: as for `record_run`.
    """
    metrics = {
        **metrics,
        "verdicts": [asdict(verdict) for verdict in found],
        "scheme": getattr(task.spec.typed_params, "scheme", "holdout"),
        "rows": {name: len(rows) for name, rows in split.blocks().items()},
        **({MAY_DIFFER: task.may_differ} if task.may_differ else {}),
    }
    for name, content in model_files.items():
        _write_model(task.run_dir / name, content)
    write_json(task.run_dir / METRICS, {**metrics, **_circumstances(task, frame, split)})
    if final:
        write_json(task.run_dir / FINAL_BLOCK, final)
    write_json(task.run_dir / SCHEMA, schema)
    write_json(task.run_dir / PREPROC, preproc)
    write_atomic(task.run_dir / TRAINING_HASH, _training_hash(task, frame).encode())
    return Finished(metrics=metrics, veto=veto_words(found))


def _label_of(frame: ForecastFrame, split: Split | None = None) -> dict[str, Any]:
    """Return what is recorded of a label that was chosen, and the value of a position in it; nothing of the default."""
    if frame.label.is_relative:
        return {}
    value = {} if split is None else {"notional": finite_or_none(frame.label.notional(frame.price[split.train]))}
    return {"label": str(frame.label), **value}


def _cost_per_turnover(task: Task) -> float:
    """Return what the data set's description says now; its default where it cannot be read, which is no reason to fail."""
    try:
        return read_description(task.exports_dir).cost_per_turnover
    except Refused as exc:
        default = DataSet().cost_per_turnover
        task.channel.report(
            Note(f"the Sharpe ratio is after the default cost of {default:g} per turnover: {exc.message}")
        )
        return default


def feature_schema(frame: ForecastFrame) -> dict[str, Any]:
    """Return names, dtypes and order of the model's inputs."""
    return {
        "features": [
            {"position": at, "name": name, "dtype": str(frame.x.dtype)} for at, name in enumerate(frame.feature_names)
        ],
        "missing": "NaN",
        "target": {"name": f"{frame.label}_{frame.horizon_days}d", "dtype": str(frame.y.dtype)},
    }


def _circumstances(task: Task, frame: ForecastFrame, split: Split) -> dict[str, Any]:
    """Return what the metrics depend on: the job, the split with its dates, the seed, the library versions."""
    return {
        "model": task.spec.model,
        "horizon": task.spec.horizon,
        "horizon_days": frame.horizon_days,
        "params": task.spec.params,
        "seed": task.spec.params.get("seed"),
        "threads": task.assignment.threads,
        "split": describe(frame, split),
        "mase_season_rows": MASE_SEASON_ROWS,
        "libraries": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the loaded libraries that matter to a result, by name."""
    loaded = {name: sys.modules[name].__version__ for name in _LIBRARIES if name in sys.modules}
    return {"python": sys.version.split()[0], **loaded}


def _write_model(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write one of the model's files, whole or not at all."""
    if isinstance(content, bytes):
        write_atomic(path, content)
        return
    with atomic_file(path) as part:
        content(part)


def write_predictions(
    path: Path, frame: ForecastFrame, split: Split, predicted: np.ndarray, widths: Mapping[str, np.ndarray]
) -> None:
    """Write one row a forecast: date, target_date, price, block, predicted return and price, intervals, actual_price.

    The return is f[t]: the forecast of a change of the price, in its unit, where the label is a difference.

    Null: not known. A target date after the last row counts weekdays, since nobody knows the holidays to come (or weeks,
    months and calendar days, where these are the rows).
    """
    import polars as pl

    kept = np.flatnonzero(np.isfinite(predicted))
    forecast = frame.label.price_from(frame.price[kept], predicted[kept])
    table = pl.DataFrame(
        {
            "date": frame.dates[kept],
            "target_date": target_dates(frame)[kept],
            "price": frame.price[kept],
            "block": block_names(frame, split)[kept].tolist(),
            "predicted_return": predicted[kept],
            "predicted_price": forecast,
            **_bounds(frame, forecast, kept, widths),
            "actual_price": frame.label.price_from(frame.price[kept], frame.y[kept]),
        }
    ).with_columns(pl.selectors.float().fill_nan(None))
    with atomic_file(path) as part:
        table.write_parquet(part)


def target_dates(frame: ForecastFrame) -> np.ndarray:
    """Return (rows,) datetime64[D]: the day h rows later; after the last row it is reckoned by the spacing of the data."""
    ahead = _reckoned(frame, frame.dates[-1], np.arange(1, frame.horizon_days + 1))
    return np.concatenate([frame.dates, ahead])[frame.horizon_days :]


def reckoned_dates(frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    """Return the target day of each of *rows* as it is reckoned on that day, when no later row is there: (n,) datetime64[D]."""
    return _reckoned(frame, frame.dates[rows], np.array(frame.horizon_days))


def _reckoned(frame: ForecastFrame, dates: np.ndarray, steps: np.ndarray) -> np.ndarray:
    if frame.periods_per_year == TRADING_DAYS:
        return np.asarray(np.busday_offset(dates, steps, roll="backward"))
    gap = DAYS_OF_YEAR / frame.periods_per_year
    return np.asarray(dates + np.rint(steps * (round(gap) if gap < 10 else gap)).astype("timedelta64[D]"))


def _latest_forecast(
    frame: ForecastFrame, predicted: np.ndarray, widths: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    """Return the newest row of the predictions as JSON values, None: not known; None as a whole if nothing is forecast."""
    kept = np.flatnonzero(np.isfinite(predicted))
    if not len(kept):
        return None
    newest = kept[-1:]
    forecast = frame.label.price_from(frame.price[newest], predicted[newest])
    figures = {"price": frame.price[newest], "predicted_price": forecast, **_bounds(frame, forecast, newest, widths)}
    return {
        "date": str(frame.dates[newest[0]]),
        "target_date": str(target_dates(frame)[newest[0]]),
        **{name: float(value[0]) if np.isfinite(value[0]) else None for name, value in figures.items()},
    }


def _bounds(
    frame: ForecastFrame, forecast: np.ndarray, kept: np.ndarray, widths: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    bounds: dict[str, np.ndarray] = {}
    for percent, width in widths.items():
        bounds[f"lower_{percent}"] = frame.label.price_from(forecast, -width[kept])
        bounds[f"upper_{percent}"] = frame.label.price_from(forecast, width[kept])
    return bounds


def _intervals(
    frame: ForecastFrame, split: Split, predicted: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the half-widths by percent, (rows,) each, and the measured coverage in each block after the training block.

    Only rows forecast out of sample teach how far the model misses.
    """
    honest = predicted.copy()
    honest[split.train] = np.nan
    widths: dict[str, np.ndarray] = {}
    covered: dict[str, Any] = {}
    for coverage in COVERAGES:
        percent = f"{coverage:.0%}".removesuffix("%")
        widths[percent] = half_widths(frame.y, honest, frame.horizon_days, coverage)
        covered[percent] = {
            name: measured_coverage(frame.y[rows], honest[rows], widths[percent][rows])
            for name, rows in split.blocks().items()
            if name in ("validation", "backtest")
        }
    return widths, covered


def block_names(frame: ForecastFrame, split: Split) -> np.ndarray:
    """Return (rows,) str: train, validation, backtest, gap (purged or under embargo) or future (no label yet)."""
    names = np.where(np.isfinite(frame.y), "gap", "future").astype("U10")
    for name, rows in split.blocks().items():
        names[rows] = name
    return names


def _training_hash(task: Task, frame: ForecastFrame) -> str:
    """Return what identifies a training: its code, data and spec, a line each."""
    return f"code {code_version()}\ndata sha256 {frame.source_sha256}\nspec sha256 {task.assignment.identity}\n"


def code_version() -> str:
    """Return the commit of the code (marked when the tree has changes), else the package's version."""
    tree = Path(__file__).parents[2]
    if (tree / ".git").exists():
        command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return f"commit {done.stdout.strip()}"
    return f"cbi-queue {version('cbi-queue')}"
