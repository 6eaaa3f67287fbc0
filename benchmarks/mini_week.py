"""The mini week: a table of what it took, and what the queue adds to the same fits made one after another.

    python -m benchmarks mini-week                 through the queue, and by a plain script
    python -m benchmarks.mini_week STATE_DIR       the table of a week that has run: what `make week` ends with

The plain script (`benchmarks/plain_fit.py`) starts a process a job, as a shell script would, and makes the same fits with the same
trainers: no ledger, no daemon, no governor, no reports. Both sides are measured in processor time, which neighbours disturb
less than the wall clock, and with the peak memory of the largest process. Packages, backtests and forecasts are left out: only the queue knows
a board.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, ratios, seconds
from cbi_queue.hardware.detection import AUTO, profile_for
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, REPORTING
from cbi_queue.plan import execution_order, read_plans
from cbi_queue.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.installation import Installation
    from cbi_queue.spec import DayPlan, JobSpec

WEEK = Path(__file__).parents[1] / "schedules" / "mini-week"
PLAIN_FIT = Path(__file__).with_name("plain_fit.py")
ONLY: frozenset[str] | None = None
"""Names of the jobs that are run; None: all of them."""
MOST = 1.03
"""Processor time through the queue, over that of the plain script."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds, each in new folders."""
    queued, plain, walls, peaks = [], [], [], []
    for _ in range(rounds):
        with installation() as home:
            build_sample(home)
            walls.append(seconds(lambda: queued.append(_processor_s(lambda: through_queue(home, ONLY)))))
            peaks.append(_peak_mib(home))
        with installation() as home:
            build_sample(home)
            walls.append(seconds(lambda: plain.append(_processor_s(lambda: _one_by_one(home)))))
    ours, theirs = walls[::2], walls[1::2]
    note = f"{len(_jobs())} jobs; processor time {_in_s(queued)}, plain {_in_s(plain)}; wall {_in_s(ours)}, plain {_in_s(theirs)}"
    return [
        Line("the mini week through the queue / a plain script", "x", ratios(queued, plain), Target(MOST), note),
        Line("largest trainer of the mini week", "MiB", tuple(peaks)),
    ]


def build_sample(home: Installation) -> None:
    """Build the sample exports from real daily series."""
    settings = home.settings
    settings.make_layout()
    raw, exports = str(settings.training_data / "raw"), str(settings.exports_dir)
    home.python("-m", "jobs.sample_data", "--raw", raw, "--exports", exports)


def _plans(only: frozenset[str] | None) -> list[DayPlan]:
    """Return the days of the mini week, without exports, and without what is not in *only*."""
    days = sorted(WEEK.glob("day*.yaml"))
    plans = read_plans(days, profile=profile_for(AUTO).profile)

    def kept(jobs: Iterable[JobSpec]) -> tuple[JobSpec, ...]:
        return tuple(job for job in jobs if job.family not in REPORTING and (only is None or job.name in only))

    return [plan.model_copy(update={"jobs": kept(plan.jobs)}) for plan in plans]


def _jobs() -> list[JobSpec]:
    return execution_order([job for plan in _plans(ONLY) for job in plan.jobs])


def through_queue(home: Installation, only: frozenset[str] | None) -> None:
    """Work the mini week off, without exports, backtests and forecasts; *only* those jobs, if not None.

    Raises:
        RuntimeError: when a job failed.
    """
    with Ledger.open(home.settings.ledger_path) as ledger:
        enqueue(ledger, _plans(only))
    home.work_off()
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        for row in ledger.conn.execute("SELECT name, state FROM jobs WHERE state NOT IN ('succeeded', 'vetoed')"):
            msg = f"{row['name']} is {row['state']}"
            raise RuntimeError(msg)


def _one_by_one(home: Installation) -> None:
    settings, runs = home.settings, home.root / "runs"
    folders = {"exports_dir": str(settings.exports_dir), "processed_dir": str(settings.processed_dir)}
    settings.processed_dir.mkdir(parents=True, exist_ok=True)
    for job in _jobs():
        before = [{"name": name, "run_dir": str(runs / name)} for name in job.waits_for]
        task = {"spec": job.model_dump(mode="json"), "run_dir": str(runs / job.name), "before": before, **folders}
        command = [sys.executable, "-P", str(PLAIN_FIT)]
        environ = {**home.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WEEK.parents[1])}
        subprocess.run(command, env=environ, input=json.dumps(task), text=True, check=True, stdout=subprocess.DEVNULL)


def _processor_s(work: Any) -> float:
    """Return the processor time of the processes that *work* starts, s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _peak_mib(home: Installation) -> float:
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        return float(ledger.conn.execute("SELECT max(peak_rss_mib) FROM attempts").fetchone()[0])


def _in_s(values: Sequence[float]) -> str:
    return "/".join(f"{value:.0f}" for value in values) + " s"


@dataclass(frozen=True, slots=True)
class Ended:
    """One job of a week, with all of its attempts."""

    kind: str
    state: JobState
    attempts: int
    slot_s: float
    fit_s: float
    peak_mib: float


_JOBS = """
    SELECT j.family, j.model, j.state, count(a.id) AS attempts, j.metrics ->> '$.fit_s' AS fit_s,
        total(coalesce(a.settings ->> '$.slot_s', a.ended_at - a.started_at)) AS slot_s, max(a.peak_rss_mib) AS peak_mib,
        (SELECT max(measured_mib) FROM memory_peaks WHERE job_id = j.id) AS seen_mib
    FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id GROUP BY j.id ORDER BY j.id
"""


def table_of(state_dir: Path) -> str:
    """Return the table of the queue below *state_dir*: what became of its jobs, and what they took."""
    with Ledger.open_readonly(state_dir / "ledger.db") as ledger:
        jobs = [_ended(row) for row in ledger.conn.execute(_JOBS)]
        begun, over = ledger.conn.execute("SELECT min(started_at), max(ended_at) FROM attempts").fetchone()
    kinds = list(dict.fromkeys(job.kind for job in jobs))
    rows = [_row(kind, [job for job in jobs if job.kind == kind]) for kind in kinds]
    cells = [("", "jobs", "done", "failed", "vetoed", "other", "in the slot", "fitting", "peak MiB"), *rows]
    cells.append(_row("all", jobs))
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    text = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    wall_s = (over or 0.0) - (begun or 0.0)
    again = sum(max(0, job.attempts - 1) for job in jobs)
    more = f"; {counted(again, 'attempt')} more than jobs" if again else ""
    return "\n".join([*text, f"From the first start to the last end: {duration(wall_s)}{more}."])


def _ended(row: Any) -> Ended:
    kind = "baselines" if row["model"] in BARS else str(row["family"])
    figures = (row["attempts"], row["slot_s"] or 0.0, row["fit_s"] or 0.0)
    peak_mib = max(row["peak_mib"] or 0.0, row["seen_mib"] or 0.0)  # the monitor also sees what a trainer starts
    return Ended(kind, JobState(row["state"]), *figures, peak_mib)


def _row(kind: str, jobs: Sequence[Ended]) -> tuple[str, ...]:
    states = Counter(job.state for job in jobs)
    known = (JobState.SUCCEEDED, JobState.FAILED, JobState.VETOED)
    counts = (
        len(jobs),
        *(states[state] for state in known),
        sum(n for state, n in states.items() if state not in known),
    )
    times = (sum(job.slot_s for job in jobs), sum(job.fit_s for job in jobs))
    peak = max((job.peak_mib for job in jobs), default=0.0)
    return (kind, *map(str, counts), *(f"{time_s:.0f} s" for time_s in times), f"{peak:.0f}")


if __name__ == "__main__":
    print(table_of(Path(sys.argv[1])))
