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
    from collections.abc import Iterable, Mapping
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


def told_by_day(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of every `DATE.parquet` in *folder*, the former ones of a day not among them."""
    told: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not _DAY.fullmatch(path.name):
            continue
        try:
            table = read_table(path)
            if {"horizon", "date"} <= {*table.columns}:
                told += table.to_dicts()
        except (OSError, pl.exceptions.PolarsError):
            continue  # not a file of ours, or of another version
    return told


def realised(told: list[dict[str, Any]], frames: Mapping[str, ForecastFrame]) -> list[dict[str, Any]]:
    """Return one row a forecast of a price whose target row is there, by target date.

    Args:
        told: from `told_by_day`.
        frames: horizon -> present rows.
    """
    return by_target(_row(each, frames[each["horizon"]]) for each in told if each["horizon"] in frames)


def by_target(rows: Iterable[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return the rows that are there, by horizon and target date."""
    there = [row for row in rows if row is not None]
    return sorted(there, key=lambda row: (row["horizon"], row["target_date"], row["date"]))


def target_of(told: dict[str, Any], frame: ForecastFrame) -> tuple[int, int] | None:
    """Return the row that *told* was forecast from, and the row of its target; None while one is not there."""
    day = np.datetime64(told["date"])
    at = int(np.searchsorted(frame.dates, day))
    target = at + frame.horizon_days
    return (at, target) if target < frame.rows and frame.dates[at] == day else None


def _row(told: dict[str, Any], frame: ForecastFrame) -> dict[str, Any] | None:
    places = target_of(told, frame)
    if places is None or any(name not in told for name in _COLUMNS) or told["predicted_price"] is None:
        return None
    at, target = places
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


def write_realised(folder: Path, rows: list[dict[str, Any]], name: str = REALISED) -> None:
    """Write a log of errors, unless it is there already."""
    if not rows:
        return
    table, path = pl.DataFrame(rows, infer_schema_length=None), folder / name
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
