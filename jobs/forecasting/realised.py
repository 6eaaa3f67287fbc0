"""What came of earlier forecasts, and whether a model misses by more than it did in its backtest.

Every `DATE.parquet` is read again each time, so a price that was revised revises the error too. Letters as in
`jobs.data.series`. The target of a forecast made on row t is row t + h of the present data, whatever day that is; the
target date of the forecast was reckoned when nobody knew the holidays.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cbi_queue.artifacts import atomic_file
from cbi_queue.regular_files import LARGE, read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jobs.data.series import ForecastFrame
    from jobs.exporting.finished_run import FinishedRun

REALISED = "realised.parquet"
WINDOW_ROWS = 30
"""Targets within the last so many rows count."""
LEAST_TARGETS = 10
RATIO = 1.5
"""Times the backtest's error from which training again is asked for."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.parquet")
_COLUMNS = (
    "horizon",
    "job",
    "job_id",
    "model",
    "date",
    "predicted_price",
    "lower_80",
    "upper_80",
    "lower_95",
    "upper_95",
)


def read_table(path: Path) -> pl.DataFrame:
    """Read a table of forecasts; a link is not followed, a pipe not waited for. Raises OSError or PolarsError."""
    return pl.read_parquet(io.BytesIO(read_whole(path, LARGE)))


def realised(folder: Path, frames: Mapping[str, ForecastFrame]) -> list[dict[str, Any]]:
    """Return one row a forecast whose target row is there, by target date.

    Args:
        folder: where the forecasts of each day are.
        frames: horizon -> present rows.
    """
    rows = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not _DAY.fullmatch(path.name):
            continue
        try:
            table = read_table(path).select(_COLUMNS)
        except (OSError, pl.exceptions.PolarsError):
            continue  # not a file of ours, or of another version
        rows += [row for told in table.to_dicts() if (row := _row(told, frames.get(told["horizon"]))) is not None]
    return sorted(rows, key=lambda row: (row["horizon"], row["target_date"], row["date"]))


def _row(told: dict[str, Any], frame: ForecastFrame | None) -> dict[str, Any] | None:
    if frame is None or told["predicted_price"] is None:
        return None
    at = int(np.searchsorted(frame.dates, np.datetime64(told["date"])))
    target = at + frame.horizon_days
    if target >= frame.rows or frame.dates[at] != np.datetime64(told["date"]):
        return None
    actual = float(frame.price[target])
    error = told["predicted_price"] - actual
    return {
        **{name: told[name] for name in ("horizon", "job", "job_id", "model", "date")},
        "target_date": frame.dates[target].astype(object),
        "predicted_price": told["predicted_price"],
        "actual_price": actual,
        "error": error,
        "error_pct": 100 * abs(error) / actual if frame.label.is_relative else None,
        **{f"in_{percent}": _inside(told, percent, actual) for percent in ("80", "95")},
        "naive_error": float(frame.price[at]) - actual,
    }


def _inside(told: dict[str, Any], percent: str, actual: float) -> bool | None:
    low, high = told[f"lower_{percent}"], told[f"upper_{percent}"]
    return None if low is None or high is None else low <= actual <= high


def write_realised(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the log of errors, unless it is there already."""
    if not rows:
        return
    table, path = pl.DataFrame(rows, infer_schema_length=None), folder / REALISED
    try:
        if read_table(path).equals(table):
            return
    except (OSError, pl.exceptions.PolarsError):
        pass
    with atomic_file(path) as part:
        table.write_parquet(part)


def monitor_of(rows: list[dict[str, Any]], run: FinishedRun, horizon: str, job_id: int) -> dict[str, Any]:
    """Compare the errors of one job's forecasts with its backtest; return JSON values.

    `measure` is mape_pct, or mae in units of the price where shares of the price say nothing; `retrain` is None while
    fewer than `LEAST_TARGETS` forecasts have come to their target.
    """
    frame = run.frame
    first = frame.dates[max(0, frame.rows - WINDOW_ROWS)].astype(object)
    mine = [row for row in rows if (row["horizon"], row["job_id"]) == (horizon, job_id) and row["target_date"] >= first]
    is_relative = frame.label.is_relative
    measure = "mape_pct" if is_relative else "mae"
    misses = [row["error_pct"] if is_relative else abs(row["error"]) for row in mine]
    now = float(np.mean(misses)) if misses else None
    target = run.metrics.get("backtest", {}).get(measure)
    limit = RATIO * target if isinstance(target, int | float) and math.isfinite(target) else None
    is_known = now is not None and limit is not None and len(misses) >= LEAST_TARGETS
    return {
        "measure": measure,
        "realised": len(misses),
        "least": LEAST_TARGETS,
        "independent": round(len(misses) / frame.horizon_days, 1),
        "rolling": now,
        "backtest": target,
        "limit": limit,
        "retrain": bool(now > limit) if is_known and now is not None and limit is not None else None,
    }
