"""Help for tests of the ledger: small valid jobs, a job in any state, dumps, and child processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim, pause
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.settlement import cancel_in_slot, fail, finish
from cbi_queue.ledger.verbs import hold
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.spec import DayPlan, JobSpec

if TYPE_CHECKING:
    from cbi_queue.ledger import JobRow, Ledger

NET = {"family": "simple_neural", "model": "feed_forward", "horizon": "1w"}


def spec(name: str = "naive-1w", **keys: Any) -> JobSpec:
    """Return a valid job; *keys* set what matters to the test."""
    return JobSpec.model_validate(
        {"day": 1, "name": name, "family": "statistical", "model": "naive", "horizon": "1w", **keys}
    )


def plan(*jobs: JobSpec, source: str = "test") -> DayPlan:
    """Return a day plan of *jobs*."""
    return DayPlan(day=1, title="test", source=source, jobs=jobs)


def add(ledger: Ledger, name: str = "naive-1w", **keys: Any) -> int:
    """Enqueue one job; return its number."""
    return enqueue(ledger, [plan(spec(name, **keys))]).new[0].job_id


def add_in(ledger: Ledger, state: JobState, name: str = "the-job") -> int:
    """Enqueue a job and move it to *state* with the ledger's own operations; return its number."""
    if state is JobState.WAITING:
        add(ledger, f"{name}-need")
        return add(ledger, name, needs=[f"{name}-need"])
    number = add(ledger, name)
    if state is JobState.HELD:
        hold(ledger, [name])
    elif state is not JobState.QUEUED:
        assert claim(ledger, number) is not None
        _leave(ledger, number, state)
    return number


def _leave(ledger: Ledger, number: int, state: JobState) -> None:
    match state:
        case JobState.PAUSED:
            pause(ledger, number, "too hot")
        case JobState.SUCCEEDED:
            finish(ledger, number, metrics={})
        case JobState.VETOED:
            finish(ledger, number, metrics={}, veto="too good to be true")
        case JobState.FAILED:
            fail(ledger, number, Outcome.ERROR, Reason.RETRIES_SPENT, "it broke")
        case JobState.CANCELLED:
            cancel_in_slot(ledger, number)


def job(ledger: Ledger, name: object) -> JobRow:
    """Return the row of one job."""
    return queries.find_job(ledger, str(name))


def story(ledger: Ledger, name: object) -> list[str]:
    """Return the names of a job's events, oldest first."""
    return [event.event for event in queries.events_of(ledger, job(ledger, name).id)]


def dump(path: Path | str) -> list[str]:
    """Return the whole database as SQL."""
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def dump_of(ledger: Ledger) -> list[str]:
    """Return a whole open ledger as SQL."""
    return list(ledger.conn.iterdump())


def python(code: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
    """Start a Python process that runs *code*; it can import the product and the tests' helpers."""
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(child: subprocess.Popen[str], within_s: float = 60.0) -> str:
    """Wait for a process that must exit with 0; return what it printed."""
    out, err = child.communicate(timeout=within_s)
    assert child.returncode == 0, err
    return out
