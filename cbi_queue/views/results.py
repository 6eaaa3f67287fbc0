"""The results of all runs as rows for SQL, each with whether it counts and why not. Read-only.

A run that was vetoed, found damaged, replaced by a newer job of its name, or trained on older data is among the others,
never silently: its `ranked` is false, and `why_not` says why.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import open_manifest
from cbi_queue.clock import from_epoch_s
from cbi_queue.ledger.damage import run_folder
from cbi_queue.ledger.queries import attempts_of
from cbi_queue.ledger.rows import FINISHED
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, Family
from cbi_queue.views.boards import scheme_of
from cbi_queue.views.leaderboard import label_of, rank, verdicts_of
from cbi_queue.views.project_board import project_of
from cbi_queue.views.regime_board import rank_regimes
from cbi_queue.views.volatility_board import rank_volatility

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cbi_queue.ledger import JobRow, Ledger

PREDICTIONS = "predictions.parquet"
MOST_COLUMNS = 400
"""Columns of `runs`; what no longer fits is in `metrics` only."""
Row = dict[str, Any]


def run_rows(jobs: Sequence[JobRow]) -> list[Row]:
    """Return a row for each job, in plan order: what it is, whether its result counts, every scalar of its metrics.

    Metrics are flattened: `backtest.mase` is the column `backtest_mase`. `params` and `metrics` are JSON as text.

    Args:
        jobs: all jobs of a ledger, with their specs.
    """
    places = _places(jobs)
    newest = _newest_snapshots(jobs)
    rows = [_row(job, places, newest) for job in jobs]
    fixed = dict.fromkeys(name for row in rows for name in row)
    for row, job in zip(rows, jobs, strict=True):
        for name, value in _flat(job.metrics or {}):
            if name in fixed or len(fixed) < MOST_COLUMNS:
                fixed.setdefault(name)
                row.setdefault(name, value)
    return rows


def _places(jobs: Sequence[JobRow]) -> dict[int, tuple[str, Any]]:
    """Return the number of each job on a board -> title of the board, and its row there."""
    boards: list[Mapping[str, Sequence[Any]]] = [rank(jobs), rank_volatility(jobs), rank_regimes(jobs)]
    return {
        row.job_id: (title, row)
        for board in boards
        for title, rows in board.items()
        for row in rows
        if row.job_id is not None
    }


def _newest_snapshots(jobs: Iterable[JobRow]) -> dict[tuple[str, str], str | None]:
    scored = (job for job in jobs if job.state in FINISHED and _is_scored(job))
    return {(job.dataset, job.horizon): job.snapshot for job in sorted(scored, key=lambda job: job.id)}


def _is_scored(job: JobRow) -> bool:
    return isinstance((job.metrics or {}).get("backtest"), dict)


def _row(job: JobRow, places: Mapping[int, tuple[str, Any]], newest: Mapping[tuple[str, str], str | None]) -> Row:
    board, row = places.get(job.id, (None, None))
    why_not = _why_not(job, row, newest)
    is_script = job.family == Family.SCRIPT
    return {
        "job": job.name,
        "job_id": job.id,
        "state": str(job.state),
        "ranked": why_not is None,
        "why_not": why_not,
        "board": board,
        "place": getattr(row, "place", None),
        "model": job.model,
        "family": job.family,
        "project": project_of(job),
        "is_baseline": job.model in BARS,
        "horizon": job.horizon,
        "dataset": None if is_script else job.dataset,
        "snapshot": job.snapshot,
        "scheme": scheme_of(job) if job.metrics and not is_script else None,
        "label": label_of(job) if job.metrics and not is_script else None,
        "backend": job.backend,
        "day": job.day,
        "attempts": job.attempts,
        "told_apart": getattr(row, "told_apart", None),
        "veto": job.veto,
        "damage": job.damage,
        "verdicts": "; ".join(f"{v.name} ({v.level}): {v.evidence}" for v in verdicts_of(job.metrics or {})) or None,
        "enqueued_at": _instant(job.enqueued_at),
        "ended_at": _instant(job.ended_at),
        "run_dir": job.run_dir,
        "params": json.dumps(job.spec.get("params", {}), sort_keys=True),
        "metrics": None if job.metrics is None else json.dumps(job.metrics, sort_keys=True),
    }


def _why_not(job: JobRow, row: Any, newest: Mapping[tuple[str, str], str | None]) -> str | None:
    """Return why the result of *job* does not count; None when it does."""
    if job.damage is not None:
        return f"damaged: {job.damage}"
    if job.state is JobState.VETOED:
        return f"vetoed: {job.veto or 'a guardrail rejected the result'}"
    if job.state is not JobState.SUCCEEDED:
        return f"no result: it is {job.state}"
    return _why_unplaced(job, row, newest)


def _why_unplaced(job: JobRow, row: Any, newest: Mapping[tuple[str, str], str | None]) -> str | None:
    if job.family == Family.SCRIPT:
        return "a script is on the board of its project"
    if not _is_scored(job):
        return "it forecasts nothing that is scored"
    if row is None:
        return "on no board: a newer job of that name took its place, or it is a part of another model"
    if newest.get((job.dataset, job.horizon)) != job.snapshot:
        return "stale: other runs were trained on newer data"
    return None if row.place is not None else "no skill on the validation block, which ranks"


def _flat(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        name = before + re.sub(r"\W+", "_", str(key).lower())
        if isinstance(value, dict):
            yield from _flat(value, f"{name}_")
        elif value is None or isinstance(value, bool | int | float | str):
            yield name, value


def _instant(at: float | None) -> str | None:
    return None if at is None else from_epoch_s(at).isoformat(sep=" ", timespec="seconds")


def forecast_files(ledger: Ledger, jobs: Iterable[JobRow], models: Path) -> tuple[list[Row], dict[int, str]]:
    """Return where the forecasts of each finished run are and their checksum; and job number -> why they cannot be read.

    Only forecasts that the manifest of the run names are read, and only if the manifest is the job's own.

    Args:
        ledger: open.
        jobs: any; those that left no forecasts are left out.
        models: where run folders are, if not where the ledger has them.
    """
    files: list[Row] = []
    faults: dict[int, str] = {}
    for job in jobs:
        if job.run_dir is None or job.state not in FINISHED or not _is_scored(job):
            continue
        folder = run_folder(job.run_dir, models)
        manifest, why = open_manifest(folder)
        if manifest is None:
            faults[job.id] = why
        elif (manifest.ledger_id, manifest.job_id, manifest.identity) != (ledger.ledger_id, job.id, job.identity):
            faults[job.id] = "its manifest is signed by another job or ledger"
        elif (entry := manifest.files.get(PREDICTIONS)) is None:
            faults[job.id] = f"its manifest names no {PREDICTIONS}"
        else:
            files.append({"job_id": job.id, "path": str(folder / PREDICTIONS), "sha256": entry["sha256"]})
    return files, faults


def attempt_rows(ledger: Ledger, jobs: Iterable[JobRow]) -> Iterator[Row]:
    """Yield a row for each attempt at each job."""
    for job in jobs:
        for attempt in attempts_of(ledger, job.id) if job.attempts else ():
            told = asdict(attempt)
            yield {
                "job": job.name, "job_id": job.id, "attempt": attempt.number, "outcome": told["outcome"],
                "started_at": _instant(attempt.started_at), "ended_at": _instant(attempt.ended_at),
                "seconds": attempt.slot_s,
                "exit_code": attempt.exit_code, "error": attempt.error, "peak_rss_mib": attempt.peak_rss_mib,
            }  # fmt: skip
