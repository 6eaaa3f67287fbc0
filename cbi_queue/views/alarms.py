"""What needs the user now: a dead daemon, a locked ledger, a missing volume, failed and held jobs, a failing tracker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.errors import VolumeMissing
from cbi_queue.ledger import queries
from cbi_queue.ledger.write_watch import write_watch
from cbi_queue.lifecycle import REASON_WORDS, JobState, Reason
from cbi_queue.views.history import history_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings
    from cbi_queue.views.snapshot import QueueStatus

FAILED_SHOWN = 3
"""Failures of which the strip has a line each; the rest is a count."""
JOBS_NAMED = 8
"""Jobs of one line that have a button each; the rest is a count."""
HOLD_MODES = {
    "drain": "the current job may finish",
    "pause": "the current job is paused",
    "evict": "the current job is evicted",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One line of the strip."""

    kind: str
    """daemon | ledger | volume | failed | held | hold | tracking."""
    mood: str
    """bad | warn."""
    title: str
    words: str
    hint: str = ""
    """What to type, where no button helps."""
    jobs: tuple[str, ...] = ()
    """Names of the failed or held jobs."""
    since: float | None = None
    until: float | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """The jobs that have a button each."""
        return self.jobs[:JOBS_NAMED]


def alarms(settings: Settings, ledger: Ledger, status: QueueStatus) -> tuple[Alarm, ...]:
    """Return what needs the user, the gravest first; empty while all is well."""
    found = [
        *_daemon(status),
        *_writing(settings.ledger_path, status),
        *_volume(settings),
        *_failures(ledger, settings.ledger_path, status),
        *_held(ledger, status),
    ]
    for hold in status.holds:
        own = hold.reason == "user"
        hint = "cbi-queue resume" if own else "cbi-queue resume --all" if hold.reason in {"thermal", "memory"} else ""
        words = f"{hold.words}; {HOLD_MODES[hold.mode]}"
        found.append(
            Alarm("hold", "warn", f"Held: {hold.reason}", words, hint, since=hold.since, until=hold.expires_at)
        )
    if status.tracking_failure:
        found.append(Alarm("tracking", "warn", "Finished runs are missing in MLflow", status.tracking_failure))
    return tuple(found)


def _daemon(status: QueueStatus) -> list[Alarm]:
    if status.daemon.is_stopped:
        return [Alarm("daemon", "bad", "The daemon is stopped", status.daemon.words, f"kill -CONT {status.daemon.pid}")]
    if status.daemon.is_running or not status.counts:
        return []
    left = status.slot.job
    words = f"{left.name} resumes from its last checkpoint when one starts." if left else "Nothing is training."
    is_due = bool(left or status.queue)
    return [Alarm("daemon", "bad" if is_due else "warn", "No daemon is running", words, "cbi-queue worker")]


def _writing(path: Path, status: QueueStatus) -> list[Alarm]:
    fault = write_watch(path).fault(daemon_runs=status.daemon.is_well)
    return [Alarm("ledger", "bad", "The ledger takes no writes", fault)] if fault else []


def _volume(settings: Settings) -> list[Alarm]:
    try:
        settings.require_volume()
    except VolumeMissing as exc:
        return [Alarm("volume", "bad", "The data volume is missing", exc.message, exc.hint or "")]
    return []


def _failures(ledger: Ledger, path: Path, status: QueueStatus) -> list[Alarm]:
    """Return a line for each reason of failure, with how many jobs wait, and one for the rest."""
    groups = {error or "ended without a word": names for error, names in history_in(ledger, path).failures.items()}
    waiting = {name: group.waiting for group in status.blocked for name in group.names}
    counts = {error: max(waiting.get(name, 0) for name in names) if waiting else 0 for error, names in groups.items()}
    ordered = sorted(groups.items(), key=lambda group: -counts[group[0]])
    found = []
    for error, names in ordered[:FAILED_SHOWN]:
        count = counts[error]
        title = f"{names[0]} failed" if len(names) == 1 else f"{len(names)} jobs failed"
        if count:
            title += f", {count} {'waits' if count == 1 else 'wait'} for {'it' if len(names) == 1 else 'them'}"
        found.append(Alarm("failed", "bad", title, error, jobs=tuple(names)))
    if rest := sum(len(names) for _, names in ordered[FAILED_SHOWN:]):
        found.append(Alarm("failed", "bad", f"{rest} more failed", "for other reasons", "cbi-queue list --all"))
    return found


def _held(ledger: Ledger, status: QueueStatus) -> list[Alarm]:
    """Return a line for each reason why jobs are held: nothing but a release starts them."""
    if not status.counts.get(JobState.HELD):
        return []
    groups: dict[Reason, list[str]] = {}
    for job in queries.brief_jobs(ledger, "state = 'held'"):
        groups.setdefault(job.reason, []).append(job.name)
    return [
        Alarm(
            "held",
            "warn" if reason is Reason.USER else "bad",
            _held_title(names),
            REASON_WORDS[reason],
            jobs=tuple(names),
        )
        for reason, names in groups.items()
    ]


def _held_title(names: Sequence[str]) -> str:
    return f"{names[0]} is held" if len(names) == 1 else f"{len(names)} jobs are held"
