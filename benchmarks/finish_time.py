"""Whether the finish time is right: recorded queues are asked again at every job's start and middle, knowing no more.

    python -m benchmarks eta                                    simulated weeks in heat, and the time that `eta` takes
    python -m benchmarks.finish_time STATE_DIR [STATE_DIR ...]    queues that really ran: the ledgers of finished plans

Of each queue: how often the 80 % band holds the real end, and how far the median is from it, as a share of the time
that is left, from a third of the jobs on. What was enqueued after a question, and ran before the end, is taken off that
end: nobody could know of it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.first_costs import attempts_of, first_costs
from benchmarks.installation import installation, week_of_jobs
from benchmarks.large_queue import command_cost
from benchmarks.measuring import Line, Target
from benchmarks.report import as_text
from benchmarks.simulated_week.scenarios import GRID
from benchmarks.simulated_week.simulation import Week
from benchmarks.simulated_week.strategies import Governed
from benchmarks.simulated_week.week_plan import week
from cbi_queue.eta import Pending, Running, claim_order, finish
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.durations import EndedAttempt, Works, ended_attempts, learn
from cbi_queue.lifecycle import Outcome
from cbi_queue.run_times import Work
from cbi_queue.telemetry.reader import TelemetryReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.simulated_week.simulation import Scenario
    from benchmarks.simulated_week.strategies import Strategy
    from cbi_queue.telemetry.telemetry import EpochRow

LEAST_HELD, MOST_ERROR = 70.0, 15.0
"""Per cent."""
MOST_CPU_S = 0.3
SCENARIOS = (GRID[0], GRID[2])
WEEKS = 3
"""Simulated one after the other, each with what the ones before taught."""
JOB_SCATTER = 0.25
"""Of the length of jobs of one model in a simulated week, in logarithms: as real ones differ, by early stopping."""
LAST_REPORTS = 5


@dataclass(frozen=True, slots=True)
class Queued:
    """A job as it was enqueued."""

    id: int
    plan: int
    enqueued_at: float
    priority: int
    retries: int
    needs: tuple[int, ...]
    is_open: bool = False
    """True while it has not ended: its queue is not over, and says nothing."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A queue that was worked off."""

    jobs: Mapping[int, Queued]
    attempts: Sequence[EndedAttempt]
    """Oldest first."""
    reports: Mapping[int, Sequence[EpochRow]]
    """Number of a job -> what it reported."""

    def asked(self) -> list[list[Answer]]:
        """Ask at the start and in the middle of every attempt; one list for each time that the queue was filled."""
        return [[answer for at in moments if (answer := self._ask(at, jobs))] for jobs, moments in self._episodes()]

    def _episodes(self) -> list[tuple[set[int], list[float]]]:
        """Return the jobs that were in the queue together, and when to ask about them."""
        ended = {attempt.job_id: attempt.ended_at for attempt in self.attempts}
        found: list[tuple[set[int], list[float]]] = []
        until = -math.inf
        open_plans = {job.plan for job in self.jobs.values() if job.is_open}
        for job in sorted(self.jobs.values(), key=lambda job: job.enqueued_at):
            if job.id not in ended or job.plan in open_plans:
                continue
            if job.enqueued_at > until:
                found.append((set(), []))
            found[-1][0].add(job.id)
            until = max(until, ended[job.id])
        for jobs, moments in found:
            for attempt in self.attempts:
                if attempt.job_id in jobs:
                    length_s = attempt.ended_at - attempt.started_at
                    moments += [attempt.started_at + 0.01 * length_s, attempt.started_at + 0.5 * length_s]

        return found

    def _ask(self, at: float, jobs: set[int]) -> Answer | None:
        durations = learn([attempt for attempt in self.attempts if attempt.ended_at <= at])
        last = {attempt.job_id: attempt for attempt in self.attempts if attempt.job_id in jobs}
        left = {number for number in jobs if last[number].ended_at > at and self.jobs[number].enqueued_at <= at}
        current = next((a for a in self.attempts if a.started_at <= at < a.ended_at), None)
        pending = [
            Pending(
                number,
                last[number].work,
                self.jobs[number].priority,
                self.jobs[number].retries,
                self.jobs[number].needs,
            )
            for number in left
            if current is None or number != current.job_id
        ]
        typical = {job.id: guess.median_s for job in pending if (guess := durations.soon(job.work))}
        order, idle_s = claim_order(pending, typical)
        found = finish(durations, order, None if current is None else self._running(current, at), idle_s=idle_s)
        real_s = max(last[number].ended_at for number in left) - at
        real_s -= self._came_later_s(at, at + real_s)
        begun_at = min(attempt.started_at for attempt in self.attempts if attempt.job_id in jobs)
        share = 1.0 - len(left) / len(jobs)
        if found is None or found.unknown:
            return Answer(share, real_s, at - begun_at + real_s, None)
        return Answer(share, real_s, at - begun_at + real_s, (found.low_s, found.median_s, found.high_s))

    def _came_later_s(self, at: float, end: float) -> float:
        """Return the seconds before *end* that went to jobs which nobody could know of: enqueued after *at*."""
        return sum(
            min(end, attempt.ended_at) - attempt.started_at
            for attempt in self.attempts
            if attempt.started_at < end and attempt.job_id in self.jobs and self.jobs[attempt.job_id].enqueued_at > at
        )

    def _running(self, attempt: EndedAttempt, at: float) -> Running:
        rows = [row for row in self.reports.get(attempt.job_id, ()) if attempt.started_at < row.at <= at]
        if not rows or not rows[-1].total_epochs:
            return Running(attempt.work, at - attempt.started_at)
        last = rows[-LAST_REPORTS:]
        before = rows[-LAST_REPORTS - 1].epoch if len(rows) > LAST_REPORTS else 0
        epoch_s = sum(row.wall_s for row in last) / max(1, last[-1].epoch - before)
        left_s = epoch_s * max(0, last[-1].total_epochs - last[-1].epoch)
        return Running(attempt.work, at - attempt.started_at, last[-1].epoch / last[-1].total_epochs, left_s)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said at one moment, and what came; seconds."""

    share: float
    """Of the jobs that had ended."""
    real_s: float
    whole_s: float
    """From the first claim to the end."""
    said: tuple[float, float, float] | None
    """Low, median and high; None for unknown."""

    @property
    def held(self) -> bool:
        """True when the band held the end."""
        return self.said is not None and self.said[0] <= self.real_s <= self.said[2]

    @property
    def error(self) -> float:
        """Distance of the median from the end, as a share of the time that was left."""
        return abs(self.said[1] / self.real_s - 1.0) if self.said else float("nan")


def recorded(state_dir: Path, works: Works | None = None) -> Recording:
    """Read the ledger and the telemetry of an installation, whose queue has been worked off."""
    works = Works() if works is None else works
    with Ledger.open_readonly(state_dir / "ledger.db") as ledger, ledger.snapshot():
        needs = queries.needs_of(ledger)
        attempts = ended_attempts(ledger, works)
        jobs = {
            job.id: Queued(
                job.id,
                job.plan_id,
                job.enqueued_at,
                job.priority,
                job.retries,
                needs=tuple(needs.get(job.id, ())),
                is_open=job.ended_at is None,
            )
            for job in queries.brief_jobs(ledger)
        }
    with TelemetryReader(state_dir / "telemetry.db") as telemetry:
        reports = {number: telemetry.epochs(number) for number in jobs}
    return Recording(jobs, attempts, reports)


def simulated(strategy: Strategy, scenario: Scenario, *, weeks: int) -> Recording:
    """Let weeks of 65 jobs pass in simulated time and heat, one after the other, the jobs as different as real ones."""
    chance = random.Random(13)
    jobs: dict[int, Queued] = {}
    attempts: list[EndedAttempt] = []
    now = 0.0
    for plan in range(weeks):
        drafts = [replace(job, cold_s=job.cold_s * chance.lognormvariate(0.0, JOB_SCATTER)) for job in week()]
        passing = Week(scenario, strategy, drafts)
        passing.run()
        at = now
        for draft, ended_s in zip(drafts, passing.ended_s, strict=True):
            number = len(jobs) + 1
            jobs[number] = Queued(number, plan, now, 0, 1, ())
            work = Work(_FAMILY.get(draft.fingerprint, draft.fingerprint), draft.fingerprint, "", "1w")
            ended_at = now + ended_s
            attempts.append(
                EndedAttempt(
                    number, Outcome.SUCCESS, at, ended_at, ended_at - at, work=work, fit_s=ended_at - at, used=1.0
                )
            )
            at = ended_at
        now = at + 3600.0
    return Recording(jobs, attempts, {})


_FAMILY = {
    "lightgbm": "trees", "xgboost": "trees", "lightgbm_q": "trees", "arima": "statistical", "garch": "statistical",
    "feed_forward": "simple_neural", "lstm": "simple_neural", "gru": "simple_neural", "tft": "advanced_neural",
    "inception": "advanced_neural", "attention": "advanced_neural", "patch": "advanced_neural",
}  # fmt: skip


def judged(name: str, answers: Sequence[Answer]) -> list[Line]:
    """Return how often the band held and how far the median was off, of one queue."""
    known = [answer for answer in answers if answer.said]
    later = [answer for answer in known if answer.share >= 1 / 3]
    unknown = f"; {len(answers) - len(known)} of {len(answers)} moments unknown" if len(known) < len(answers) else ""
    if not known or not later:
        return [Line(f"{name}: finish time", "%", (), note="nothing was known from a third of the jobs on")]
    held = 100 * statistics.fmean(answer.held for answer in known)
    held_later = 100 * statistics.fmean(answer.held for answer in later)
    error = 100 * statistics.median(answer.error for answer in later)
    of_whole = 100 * statistics.median(answer.error * answer.real_s / answer.whole_s for answer in later)
    width = statistics.median((a.said[2] - a.said[0]) / a.real_s for a in later if a.said)
    return [
        Line(
            f"{name}: moments whose 80 % band holds the end", "%", (held,), Target(LEAST_HELD, at_most=False),
            f"{len(known)} moments{unknown}; {held_later:.0f} % from a third of the jobs on",
        ),
        Line(
            f"{name}: median error from a third of the jobs on, of the time left", "%", (error,), Target(MOST_ERROR),
            f"{len(later)} moments; {of_whole:.1f} % of the whole time; the band is {width:.0%} of the time left wide",
        ),
    ]  # fmt: skip


def lines(rounds: int) -> list[Line]:
    """Judge simulated weeks, the first and the second of each; then measure the verb on 70 jobs."""
    found: list[Line] = []
    for scenario in SCENARIOS:
        for number, answers in enumerate(simulated(Governed(), scenario, weeks=WEEKS).asked(), 1):
            found += judged(f"simulated week {number} at {scenario.name}", answers)
    with installation() as home:
        home.enqueue(*week_of_jobs())
        costs = [command_cost(home, "eta") for _ in range(rounds)]
    return [
        *found,
        Line("`eta`, 70 jobs", "s", tuple(cpu_s for cpu_s, _ in costs), Target(MOST_CPU_S), "processor time"),
    ]


def main() -> int:
    """Judge the queues of the state folders named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finish_time", description=__doc__)
    parser.add_argument("state_dirs", nargs="+", type=Path, metavar="STATE_DIR", help="folder with a ledger")
    parser.add_argument("--least", type=int, default=10, help="smallest queue that counts, in jobs")
    parser.add_argument(
        "--leave-one-out",
        action="store_true",
        help="judge each folder by the first costs that the others give, not by those that ship",
    )
    options = parser.parse_args()
    if options.leave_one_out and len(options.state_dirs) < 2:
        parser.error("--leave-one-out needs two folders at least")
    found: list[Line] = []
    for folder in options.state_dirs:
        others = [attempts_of(other) for other in options.state_dirs if other != folder]
        works = Works(first_costs(others)) if options.leave_one_out else Works()
        for number, answers in enumerate(recorded(folder, works).asked(), 1):
            if len(answers) >= 2 * options.least:
                found += judged(f"{folder.name}, queue {number}", answers)
    print(as_text(found))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
