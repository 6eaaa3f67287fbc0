"""What can be told apart on each board: computed in a process of its own, kept in a file, read by everyone.

The computation (`python -m jobs.comparison`) takes seconds and libraries that the daemon and the page do not load. Its
answers are kept by the exact runs that were compared, so a stored answer is never of other runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_json
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.regular_files import LARGE, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cbi_queue.ledger import JobRow

FILE_NAME = "comparison.json"
TIMEOUT_S = 120.0
KEPT_BOARDS = 200
_FIGURES = ("sharpe", "sharpe_days", "sharpe_skew", "sharpe_kurtosis", "periods_per_year")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was computed for one board; empty where there was too little to say, or it has not been computed."""

    in_set: dict[str, float] = field(default_factory=dict)
    """Name -> p-value of the model confidence set; 0.10 or more: cannot be told apart from the best."""
    superior_p: float | None = None
    """How likely the best model's lead over naive is by chance, given how many were tried."""
    deflated: dict[str, float] = field(default_factory=dict)
    """Name -> deflated Sharpe ratio, 0 to 1."""


def read_comparisons(path: Path, boards: Mapping[str, list[JobRow]]) -> dict[str, Comparison]:
    """Return what is stored about *boards*: title -> scored jobs; titles about which nothing is stored are left out."""
    stored = _stored(path)
    return {title: _read(stored[key]) for title, jobs in boards.items() if (key := _key(jobs)) in stored}


def compute_comparisons(path: Path, boards: Mapping[str, list[JobRow]], interpreter: str) -> str | None:
    """Compute and store what is not stored yet about *boards*.

    Args:
        path: of the file that keeps the answers.
        boards: title -> scored jobs.
        interpreter: Python that has the trainers' libraries.

    Returns:
        Why something could not be computed, in words; None when all is there.
    """
    stored = _stored(path)
    wanted = {key: _group(jobs) for jobs in boards.values() if len(jobs) and (key := _key(jobs)) not in stored}
    if not wanted:
        return None
    try:
        done = subprocess.run(
            [interpreter, "-P", "-m", "jobs.comparison"],
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        answers: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as exc:
        return f"models could not be compared: {(exc.stderr.strip().splitlines() or ['no word of why'])[-1]}"
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        return f"models could not be compared: {exc}"
    good = {key: answer for key, answer in answers.items() if "error" not in answer}
    kept = dict(list({**stored, **good}.items())[-KEPT_BOARDS:])
    write_json(path, kept)
    faults = [answer["error"] for answer in answers.values() if "error" in answer]
    return f"models could not be compared: {faults[0]}" if faults else None


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(read_whole(path, LARGE))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _key(jobs: Iterable[JobRow]) -> str:
    runs = sorted((job.id, job.attempts, job.run_dir or "") for job in jobs)
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()


def _group(jobs: list[JobRow]) -> dict[str, Any]:
    return {"horizon_days": HORIZON_DAYS[jobs[0].horizon], "runs": [_run(job) for job in jobs]}


def _run(job: JobRow) -> dict[str, Any]:
    metrics = job.metrics or {}
    figures = {name: metrics["backtest"].get(name) for name in _FIGURES}
    predictions = str(Path(job.run_dir or "") / "predictions.parquet")
    return {"name": job.name, "predictions": predictions, "trials": metrics.get("trials", 1), **figures}


def _read(answer: Any) -> Comparison:
    try:
        return Comparison(_numbers(answer["set"]), _number(answer["superior_p"]), _numbers(answer["deflated"]))
    except (KeyError, TypeError, AttributeError):
        return Comparison()


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): number for name, value in values.items() if (number := _number(value)) is not None}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
