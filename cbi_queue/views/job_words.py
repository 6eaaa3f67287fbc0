"""Why a job is as it is, in the words that every list shows: its result, its error, or what it waits for. Read-only."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger import endings
from cbi_queue.ledger.waits import why_it_waits
from cbi_queue.lifecycle import REASON_WORDS, JobState, Reason
from cbi_queue.models.kinds import Family
from cbi_queue.views.stored_values import number_of
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger import JobRow, Ledger

NEED_FIGURES = frozenset({Reason.MEMORY_SHORT, Reason.MEMORY_NEVER, Reason.GPU_TAKEN, Reason.MACHINE_STRAINED})
"""Reasons of a queued job whose figures are in its last event."""
TURN_COMES = frozenset({Reason.ENQUEUED, Reason.NEEDS_MET, Reason.USER})
"""Reasons of a queued job that waits for nothing but its turn."""
BLOCKED_SHOWN = 3
"""Reasons that keep jobs waiting of which a list has a line each."""
IN_A_LIST = 240
"""Most letters of an error in a list; `show` has all of it."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Jobs that ended without success for one reason, and the jobs that wait for them."""

    names: tuple[str, ...]
    """Of the jobs that ended, oldest first."""
    state: str
    """failed | vetoed | cancelled."""
    waiting: int
    """Jobs that need one of them, at any distance, and so wait."""
    why: str

    @property
    def words(self) -> str:
        """Say it in one line: `2 failed, 8 wait for them: 26 days without a price`."""
        them = "it" if len(self.names) == 1 else "them"
        wait = f", {self.waiting} {'waits' if self.waiting == 1 else 'wait'} for {them}"
        return f"{len(self.names)} {self.state}{wait}: {self.why}"


class JobWords:
    """The words of the jobs of one ledger, as of one instant."""

    def __init__(self, ledger: Ledger, jobs: Sequence[JobRow], needs: Mapping[int, list[int]]) -> None:
        """Read what the words need.

        Args:
            ledger: open, with a snapshot in force.
            jobs: those that are shown and, where their needs are asked for, the jobs that they need.
            needs: job number -> numbers of the jobs it needs.
        """
        self._ledger = ledger
        self._jobs = {job.id: job for job in jobs}
        self._needs = needs
        self._errors = endings.errors_of_failed(ledger, self._jobs)
        self._results = endings.results_of(ledger, self._jobs)

    def why(self, job: JobRow, *, is_next: bool = False) -> str:
        """Return why *job* is as it is; empty when it is queued and waits for nothing but its turn."""
        if job.damage is not None:
            return f"its run is damaged: {job.damage}"
        if job.state is JobState.QUEUED:
            return self._why_queued(job, is_next=is_next)
        if job.state is JobState.WAITING and (open_needs := self.open_needs(job)):
            return "waits for " + ", ".join(f"{need.name} ({need.state})" for need in open_needs)
        return self.ended_words(job) or REASON_WORDS[job.reason]

    def ended_words(self, job: JobRow) -> str | None:
        """Return the result, the error or the verdict of an ended job; None where there is none."""
        if job.state is JobState.FAILED:
            error = self._errors.get(job.id)
            return None if error is None else error if len(error) <= IN_A_LIST else f"{error[:IN_A_LIST]} …"
        if job.state is JobState.VETOED:
            return job.veto
        if job.state is JobState.SUCCEEDED and job.id in self._results:
            result = result_words(*self._results[job.id])
            return f"{result}, accepted by the user" if result and job.veto else result
        return None

    def open_needs(self, job: JobRow) -> list[JobRow]:
        """Return the jobs that *job* needs and that have not succeeded."""
        needed = [self._jobs[number] for number in self._needs.get(job.id, []) if number in self._jobs]
        return [need for need in needed if need.state is not JobState.SUCCEEDED]

    def blocked(self) -> tuple[Blocked, ...]:
        """Return what waits for jobs that ended without success, by the reason of those, most waiting first."""
        waiting_of: dict[int, list[int]] = {}
        for number, needed in self._needs.items():
            if (job := self._jobs.get(number)) is not None and job.state is JobState.WAITING:
                for need in needed:
                    waiting_of.setdefault(need, []).append(number)
        groups: dict[tuple[str, str], list[JobRow]] = {}
        for job in self._jobs.values():
            if job.id in waiting_of and job.state in {JobState.FAILED, JobState.VETOED, JobState.CANCELLED}:
                groups.setdefault((job.state, self.why(job)), []).append(job)
        found = [
            Blocked(tuple(job.name for job in jobs), state, len(_reached(waiting_of, jobs)), why)
            for (state, why), jobs in groups.items()
        ]
        return tuple(sorted(found, key=lambda group: -group.waiting))

    def _why_queued(self, job: JobRow, *, is_next: bool) -> str:
        if job.reason in NEED_FIGURES:
            return why_it_waits(self._ledger, job.id)
        if job.reason in TURN_COMES:
            return "next" if is_next else ""
        return REASON_WORDS[job.reason]


def blocked_lines(blocked: Sequence[Blocked]) -> list[str]:
    """Return a line for each reason that keeps jobs waiting, the largest first, and one for the rest."""
    lines = [group.words for group in blocked[:BLOCKED_SHOWN]]
    if rest := blocked[BLOCKED_SHOWN:]:
        lines.append(f"{sum(len(group.names) for group in rest)} more ended for other reasons and keep jobs waiting")
    return lines


def result_words(
    skill: Any, low: Any = None, high: Any = None, rows: Any = None, features: Any = None, *others: Any
) -> str | None:
    """Write a result in a few words; None without one.

    `skill +0.003 (-0.005 to +0.010)`, `5031 rows, 203 features`, `551 texts scored`, `exported as cbi-zl-1m-v01`,
    `traded ets-1m, Sharpe +0.12`.

    Args:
        skill: of the backtest, with *low* and *high*, the ends of its interval.
        low: see there.
        high: see there.
        rows: of a feature cache, with its *features*.
        features: see there.
        others: the texts that were scored; the name of a package; what a backtest traded first, and its Sharpe ratio;
            the day of forecasts.
    """
    texts, package, traded, sharpe, forecast_day = (*others, None, None, None, None, None)[:5]
    if _is_number(skill):
        if _is_number(low) and _is_number(high):
            return f"skill {signed(skill)} ({signed(low)} to {signed(high)})"
        return f"skill {signed(skill)}"
    if _is_number(rows) and _is_number(features):
        return f"{rows} rows, {features} features"
    if _is_number(texts):
        return f"{texts} texts scored"
    if isinstance(traded, str):
        return f"traded {traded}, Sharpe {sharpe:+.2f}" if _is_number(sharpe) else f"traded {traded}, no position"
    named = (("exported as", package), ("forecasts from", forecast_day))
    return next((f"{words} {name}" for words, name in named if isinstance(name, str)), None)


def signed(skill: float | None) -> str:
    """Write a skill to three digits with its sign; only zero itself is `0`."""
    return UNKNOWN if skill is None else "0" if skill == 0 else f"{skill:+.3f}"


def _is_number(value: Any) -> bool:
    return number_of(value) is not None


def _reached(waiting_of: Mapping[int, list[int]], jobs: Iterable[JobRow]) -> set[int]:
    """Return the waiting jobs that can be reached from *jobs* by needs."""
    found: set[int] = set()
    ahead = [job.id for job in jobs]
    while ahead:
        for number in waiting_of.get(ahead.pop(), []):
            if number not in found:
                found.add(number)
                ahead.append(number)
    return found


def params_shown(job: JobRow) -> dict[str, str]:
    """Return the parameters as one writes them in a plan; of a script its command as typed, and no key that is empty."""
    given = job.spec.get("params", {})
    if job.family == Family.SCRIPT:
        given = {key: value for key, value in given.items() if value} | {"command": shlex.join(given["command"])}
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in given.items()
    }
