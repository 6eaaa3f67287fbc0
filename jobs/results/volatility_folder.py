"""The files of a run that forecasts variance: those of every run, with a scoring of its own.

Its scores stand under `volatility` in the metrics: it forecasts no price, so it has no place among those that do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import atomic_file
from jobs.evaluation.guardrails import Verdict
from jobs.evaluation.volatility import QUANTILES, baselines, realised_variance, score_volatility
from jobs.results.run_folder import PREDICTIONS, block_names, feature_schema, fill_folder, record_run, target_dates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cbi_queue.protocol import Finished
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task


def record_volatility(
    task: Task,
    frame: ForecastFrame,
    split: Split,
    predicted: np.ndarray,
    *,
    fit_s: float,
    predict_s: float,
    model_files: Mapping[str, bytes | Callable[[Path], object]],
    preproc: dict[str, Any],
    details: dict[str, Any],
    explain: Callable[[], object] | None = None,  # noqa: ARG001
) -> Finished:
    """Score the run, fill its folder and return the metrics for the board.

    Args:
        task: whose folder is filled.
        frame: the rows.
        split: the blocks.
        predicted: (rows,) float64, variance of the log return of the next h days, or (rows, 1 + k): then its k
            `QUANTILES` as well; NaN where nothing was forecast.
        fit_s: working seconds of the fits, pauses excluded.
        predict_s: working seconds of forecasting all rows.
        model_files: file name -> content, or a function that writes to a (temporary) path.
        preproc: what was done to the prices, as JSON values.
        details: further metrics of this family.
        explain: not used: nets hand it over, and a volatility model reads no features that could explain it.
    """
    if task.refit:
        return record_run(
            task,
            frame,
            split,
            predicted,
            fit_s=fit_s,
            predict_s=predict_s,
            model_files=model_files,
            preproc=preproc,
            details=details,
        )
    variance, quantiles = (predicted[:, 0], predicted[:, 1:]) if predicted.ndim == 2 else (predicted, None)
    scores = score_volatility(frame, split, variance, quantiles)
    final = scores.pop("final", None)
    target = {"name": f"variance_of_log_return_{frame.horizon_days}d", "dtype": "float64"}
    _write_predictions(task.run_dir / PREDICTIONS, frame, split, variance, quantiles)
    return fill_folder(
        task,
        frame,
        split,
        {"volatility": scores, "fit_s": round(fit_s, 3), "predict_s": round(predict_s, 4), **details},
        found=_verdicts(split, variance, scores["backtest"]["model"]),
        final={"final": final} if final else None,
        model_files=model_files,
        schema={**feature_schema(frame), "target": target},
        preproc=preproc,
    )


def _verdicts(split: Split, predicted: np.ndarray, backtest: Mapping[str, Any]) -> list[Verdict]:
    found, rows = [], split.backtest
    missing = int((~(np.isfinite(predicted[rows]) & (predicted[rows] > 0))).sum())
    if missing:
        words = f"{missing} of {len(rows)} backtest rows have no finite forecast above zero"
        found.append(Verdict("missing forecasts", "veto", words))
    low, high = backtest["skill_low"], backtest["skill_high"]
    if isinstance(high, float) and high < 0:
        words = f"its skill lies between {low:+.3f} and {high:+.3f}: EWMA is better"
        found.append(Verdict("worse than EWMA", "warn", words))
    return found


def _write_predictions(
    path: Path, frame: ForecastFrame, split: Split, predicted: np.ndarray, quantiles: np.ndarray | None
) -> None:
    """Write one row a forecast: variances of the log return of the next h days, and the predicted one annualised.

    Then the return itself and its quantiles, where the model forecasts them. Null: not known.
    """
    import polars as pl

    kept = np.flatnonzero(np.isfinite(predicted))
    others = baselines(frame.price, frame.horizon_days)
    annual = frame.periods_per_year / frame.horizon_days
    named = {} if quantiles is None else dict(zip(QUANTILES, quantiles[kept].T, strict=True))
    table = pl.DataFrame(
        {
            "date": frame.dates[kept],
            "target_date": target_dates(frame)[kept],
            "price": frame.price[kept],
            "block": block_names(frame, split)[kept].tolist(),
            "predicted_variance": predicted[kept],
            "predicted_volatility_pct": 100.0 * np.sqrt(predicted[kept] * annual),
            **{f"{name}_variance": forecast[kept] for name, forecast in others.items()},
            "realised_variance": realised_variance(frame.price, frame.horizon_days)[kept],
            **({"actual_return": frame.y[kept]} if named else {}),
            **{f"quantile_{level:.0%}".removesuffix("%"): values for level, values in named.items()},
        }
    ).with_columns(pl.selectors.float().fill_nan(None))
    with atomic_file(path) as part:
        table.write_parquet(part)
