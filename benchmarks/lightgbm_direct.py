"""LightGBM through the queue against `lightgbm.train` in a plain process: same rows, parameters, threads, rounds.

What is compared is the boosting loop alone: the trainer's own `fit_s` against the time from the direct call's first
round to its last, with the validation block scored after every round in both. The trainer's loop also looks for
directives, reports, and keeps the best model of DART, which the direct call does not. Beside it stands the whole job,
claim to settled row, against the whole plain process, in seconds: the job also forecasts, scores every block and
writes its artifacts durably.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, alternate, ratios, seconds
from cbi_queue.ledger import Ledger, queries
from cbi_queue.spec import JobSpec
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.installation import Installation

JOB: dict[str, Any] = {
    "family": "trees",
    "model": "lightgbm_dart",
    "horizon": "1w",
    "params": {"early_stopping_rounds": None},
}
TREES = 600
"""Boosting rounds."""
PLAIN = str(Path(__file__).with_name("lightgbm_plain.py"))


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    whole_jobs: list[float] = []
    whole_processes: list[float] = []
    with installation() as home:
        home.furnish()
        names = (f"lightgbm-{number}" for number in itertools.count())
        queued, direct = alternate(
            lambda: _through_queue(home, next(names), whole_jobs), lambda: _direct(home, whole_processes), rounds
        )
    added = tuple(job - process for job, process in zip(whole_jobs[1:], whole_processes[1:], strict=True))
    return [
        Line(
            f"LightGBM through the queue / direct call, {TREES} rounds",
            "x",
            ratios(queued, direct),
            Target(1.05),
            f"queue {_in_s(queued)}, direct {_in_s(direct)}",
        ),
        Line(
            "the same, whole job above whole plain process",
            "s",
            added,
            note=f"job {_in_s(whole_jobs[1:])}, process {_in_s(whole_processes[1:])}",
        ),
    ]


def _through_queue(home: Installation, name: str, whole: list[float]) -> float:
    """Train one job with a real daemon; return its loop's seconds and note those from claim to settled row."""
    home.enqueue({**_job(), "name": name})
    home.work_off()
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        job = queries.find_job(ledger, name)
        attempt = queries.attempts_of(ledger, job.id)[-1]
    if job.metrics is None or attempt.ended_at is None:
        msg = f"{name} was not trained: it is {job.state}"
        raise RuntimeError(msg)
    whole.append(attempt.ended_at - attempt.started_at)
    return float(job.metrics["fit_s"])


def _direct(home: Installation, whole: list[float]) -> float:
    """Train in a plain process with a trainer's thread counts; return its loop's seconds and note the process's."""
    settings = home.settings
    spec = JobSpec.model_validate({"day": 1, "name": "direct", **_job()}).model_dump_json()
    command = [sys.executable, "-P", PLAIN, str(settings.processed_dir), spec, str(settings.threads)]
    environ = {**home.environ, **_threads(settings.threads)}
    printed: list[str] = []
    whole.append(
        seconds(
            lambda: printed.append(
                subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
            )
        )
    )
    return float(printed[0])


def _job() -> dict[str, Any]:
    return {**JOB, "params": {**JOB["params"], "n_estimators": TREES}}


def _threads(threads: int) -> dict[str, str]:
    """Return what a trainer's environment says about threads."""
    return {name: value for name, value in trainer_environment(threads).items() if "_THREADS" in name or "OMP" in name}


def _in_s(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f}..{max(values):.2f})"
