"""What can be told apart on each board: computed in a process of its own, kept in a file, read by everyone.

The computation (`python -m jobs.comparison`) takes seconds and libraries that the daemon and the page do not load. Its
answers are kept by the exact runs that were compared, so a stored answer is never of other runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_json
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.regular_files import LARGE, plain_words, read_whole
from cbi_queue.views.stored_values import number_of, object_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cbi_queue.ledger import JobRow

FILE_NAME = "comparison.json"
TIMEOUT_S = 120.0
KEPT_BOARDS = 200
FAILED = "the models of a board could not be compared with each other"
_FIGURES = ("sharpe", "sharpe_days", "sharpe_skew", "sharpe_kurtosis", "periods_per_year")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was computed for one board; empty where there was too little to say, or it has not been computed."""

    in_set: dict[str, float] = field(default_factory=dict)
    """Name -> p-value of the model confidence set; 0.10 or more: cannot be told apart from the best."""
    superior_p: float | None = None
    """How likely the best model's lead over naive (volatility: EWMA) is by chance, given how many were tried."""
    deflated: dict[str, float] = field(default_factory=dict)
    """Name -> deflated Sharpe ratio, 0 to 1."""
    fault: str | None = None
    """Why it could not be computed, and whether it is tried again, in words."""


def read_comparisons(path: Path, boards: Mapping[str, list[JobRow]]) -> dict[str, Comparison]:
    """Return what is stored about *boards*: title -> scored jobs; titles about which nothing is stored are left out."""
    stored = _stored(path)
    answers = {title: _read(stored.get(key_of(jobs))) for title, jobs in boards.items()}
    return {title: answer for title, answer in answers.items() if answer is not None}


def stored_comparisons(path: Path) -> dict[str, Comparison]:
    """Return every answer that is kept, by its key (`key_of`)."""
    return {key: found for key, answer in _stored(path).items() if (found := _read(answer)) is not None}


def missing_groups(path: Path, boards: Mapping[str, list[JobRow]]) -> dict[str, dict[str, Any]]:
    """Return what is not stored yet about *boards*, as `jobs.comparison` reads it: key -> group.

    Boards of a run whose forecasts are not there are left out: nothing could be computed about them.
    """
    stored = _stored(path)
    keyed = {key_of(jobs): jobs for jobs in boards.values() if jobs}
    return {
        key: _group(jobs)
        for key, jobs in keyed.items()
        if _read(stored.get(key)) is None and jobs[0].horizon in HORIZON_DAYS and all(map(_has_forecasts, jobs))
    }


def start_comparison(interpreter: str) -> subprocess.Popen[str]:
    """Start a process that compares; `finish_comparison` gives it the groups and reads its answers.

    Args:
        interpreter: Python that has the trainers' libraries.

    Raises:
        OSError: when it cannot be started.
    """
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    return subprocess.Popen(
        [interpreter, "-P", "-m", "jobs.comparison"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, **one_thread},
    )


def finish_comparison(child: subprocess.Popen[str], groups: Mapping[str, dict[str, Any]], path: Path) -> str | None:
    """Give *groups* (from `missing_groups`) to *child*, wait for its answers and store them in *path*.

    Returns:
        Why something could not be computed, in words; None when all is there.
    """
    try:
        answer, complaint = child.communicate(json.dumps(groups), timeout=TIMEOUT_S)
        if child.returncode != 0:
            words = (complaint.strip().splitlines() or [f"it ended with {child.returncode} and no word of why"])[-1]
            return f"{FAILED}: {words}"
        answers: dict[str, Any] = json.loads(answer)
        good = {key: answer for key, answer in answers.items() if "error" not in answer}
        write_json(path, dict(list({**_stored(path), **good}.items())[-KEPT_BOARDS:]))
    except subprocess.TimeoutExpired:
        return f"{FAILED}: it took longer than {TIMEOUT_S:.0f} s"
    except (OSError, ValueError) as exc:
        return f"{FAILED}: {plain_words(exc)}"
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    faults = [answer["error"] for answer in answers.values() if "error" in answer]
    return f"{FAILED}: {faults[0]}" if faults else None


def compute_comparisons(path: Path, boards: Mapping[str, list[JobRow]], interpreter: str) -> str | None:
    """Compute and store what is not stored yet about *boards*.

    Args:
        path: of the file that keeps the answers.
        boards: title -> jobs whose scores count.
        interpreter: Python that has the trainers' libraries.

    Returns:
        Why something could not be computed, in words; None when all is there, or the forecasts of a run are gone.
    """
    groups = missing_groups(path, boards)
    if not groups:
        return None
    try:
        child = start_comparison(interpreter)
    except OSError as exc:
        return f"{FAILED}: {interpreter} cannot be started: {exc.strerror}"
    return finish_comparison(child, groups, path)


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(read_whole(path, LARGE))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def key_of(jobs: Iterable[JobRow]) -> str:
    """Return what a stored answer is kept by: the exact runs that were compared."""
    runs = sorted((job.id, job.attempts, job.run_dir or "") for job in jobs)
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()


def _has_forecasts(job: JobRow) -> bool:
    path = _forecasts(job)
    return path.is_file() and not path.is_symlink()


def _forecasts(job: JobRow) -> Path:
    return Path(job.run_dir or "") / "predictions.parquet"


def _group(jobs: list[JobRow]) -> dict[str, Any]:
    of = "volatility" if "volatility" in (jobs[0].metrics or {}) else "price"
    return {"of": of, "horizon_days": HORIZON_DAYS[jobs[0].horizon], "runs": [_run(job) for job in jobs]}


def _run(job: JobRow) -> dict[str, Any]:
    metrics = job.metrics or {}
    figures = {name: object_of(metrics.get("backtest")).get(name) for name in _FIGURES}
    return {"name": job.name, "predictions": str(_forecasts(job)), "trials": metrics.get("trials", 1), **figures}


def _read(answer: Any) -> Comparison | None:
    """Return a stored answer; None for what is none, so that it is computed again."""
    try:
        return Comparison(_numbers(answer["set"]), number_of(answer["superior_p"]), _numbers(answer["deflated"]))
    except (KeyError, TypeError, AttributeError):
        return None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): number for name, value in values.items() if (number := number_of(value)) is not None}
