"""The members' forecasts, aligned with the rows of the ensemble: only those that were made out of sample.

A member's file says of each row in which block it was forecast. A row counts only where the member had it in the same block
as the ensemble has it: never a row that it was trained on. A member that lacks such rows is left out, in words, so that the
ensemble is scored on the very rows that every member was scored on.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import open_manifest
from cbi_queue.regular_files import LARGE, read_whole
from jobs.results.run_folder import PREDICTIONS, block_names
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

BLOCKS = ("validation", "backtest", "final", "future")
"""Blocks whose rows a member has forecast without having been trained on them."""


@dataclass(frozen=True, slots=True)
class Members:
    """What is combined."""

    names: tuple[str, ...]
    runs: tuple[str, ...]
    """`JOB.ATTEMPT` of each."""
    f: np.ndarray
    """(rows of the frame, members) float64, each member's f[t]; NaN outside `BLOCKS`."""
    left_out: tuple[str, ...]
    """`NAME: why`."""


def read_members(task: Task, frame: ForecastFrame, split: Split) -> Members:
    """Read the forecasts of the runs that the task's assignment names.

    Raises:
        BrokenSpec: when none of them is left, with the reasons.
    """
    names, runs, columns, left_out = [], [], [], list(task.assignment.left_out)
    blocks = block_names(frame, split)
    for member in task.assignment.members:
        try:
            columns.append(_forecasts(member, frame, blocks))
        except _Unusable as exc:
            left_out.append(f"{member['name']}: {exc}")
            continue
        names.append(str(member["name"]))
        runs.append(str(member["run"]))
    if not names:
        why = f" Left out: {'; '.join(left_out)}." if left_out else " No model of this horizon has been trained yet."
        raise BrokenSpec(
            f"{task.spec.name} has no run to combine.{why} Train at least one model of the same data, horizon and "
            f"`evaluation`, then `cbi-queue retry {task.spec.name}`"
        )
    return Members(tuple(names), tuple(runs), np.column_stack(columns), tuple(left_out))


class _Unusable(Exception):
    """Why a run cannot be combined."""


def _forecasts(member: dict[str, Any], frame: ForecastFrame, blocks: np.ndarray) -> np.ndarray:
    """Return (rows,) the member's f[t] on rows that it has in the same block as *blocks* says; NaN elsewhere."""
    import polars as pl

    table = _table(member)
    if absent := {"date", "block", "predicted_return"} - set(table.columns):
        raise _Unusable(f"its {PREDICTIONS} has no column {', '.join(sorted(absent))}")
    table = table.filter(pl.col("block").is_in(BLOCKS))
    dates = table["date"].to_numpy().astype("datetime64[D]")
    at = np.searchsorted(frame.dates, dates)
    there = at < frame.rows
    there[there] = frame.dates[at[there]] == dates[there]
    same = there.copy()
    same[there] = blocks[at[there]] == table["block"].to_numpy().astype(str)[there]
    f = np.full(frame.rows, np.nan)
    f[at[same]] = table["predicted_return"].cast(pl.Float64).to_numpy()[same]
    for block in BLOCKS:
        rows = np.flatnonzero(blocks == block)
        lacking = int((~np.isfinite(f[rows])).sum())
        if lacking:
            raise _Unusable(
                f"it has no out-of-sample forecast for {lacking} of {len(rows)} {block} rows"
                + ("" if same.all() else "; give both the same `evaluation`")
            )
    return f


def _table(member: dict[str, Any]) -> Any:
    """Read the file of a member's forecasts, if its run is still the one that was chosen."""
    import polars as pl

    run_dir = Path(member["run_dir"])
    manifest, fault = open_manifest(run_dir)
    if manifest is None:
        raise _Unusable(f"its run folder cannot be used: {fault}")
    if str(manifest.job_id) != str(member["run"]).partition(".")[0]:
        raise _Unusable(f"its run folder is now that of job {manifest.job_id}")
    try:
        content = read_whole(run_dir / PREDICTIONS, LARGE)
    except OSError as exc:
        raise _Unusable(f"its {PREDICTIONS} cannot be read ({exc.strerror or exc})") from exc
    if hashlib.sha256(content).hexdigest() != manifest.files.get(PREDICTIONS, {}).get("sha256"):
        raise _Unusable(f"its {PREDICTIONS} is not as it was written")
    try:
        return pl.read_parquet(io.BytesIO(content))
    except Exception as exc:
        raise _Unusable(f"its {PREDICTIONS} is no Parquet file that can be read") from exc
