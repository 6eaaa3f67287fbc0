"""What there is to tell since the last look: read from the ledger, the disks and the latest forecasts. Changes nothing.

Events of the ledger are told once, by their number. A condition (a hold, a full disk, a stuck week, drift) is told when it
begins, and again only after it was over.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import VolumeMissing
from cbi_queue.ledger import endings, queries
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.lifecycle import FINAL_STATES, HOLDS_OF_THE_GOVERNOR, HoldMode, Reason
from cbi_queue.models.kinds import Family
from cbi_queue.views.forecast import all_flags
from cbi_queue.wording import counted, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cbi_queue.ledger import EventRow, Ledger
    from cbi_queue.settings import Settings

MOST_EVENTS = 5_000
"""Events that one look takes; the next look takes the next."""
LOW_SPACE_GIB = 5.0
MOST_WORDS = 600
"""Characters of one happening: an error may be as long as a program likes."""
_EVICTS = f"({HoldMode.EVICT})"
_ENDED = frozenset(state.value for state in FINAL_STATES)


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell."""

    event: str
    """A key of `EVENTS`."""
    key: str
    """The same for the same happening, however often it is found."""
    at: float
    words: str
    """What happened, with the real error."""
    advice: str
    """What to do."""
    job: str | None = None
    since_s: float = 0.0
    """Of a hold: how long it has been in force."""


def happenings_of_events(ledger: Ledger, after: int) -> tuple[list[Happening], int]:
    """Return what the events after number *after* have to tell, oldest first, and the number of the last one read."""
    events = queries.events_after(ledger, after, MOST_EVENTS)
    failed = endings.errors_of_failed(ledger, {e.job_id for e in events if e.event == "fail" and e.job_id is not None})
    told = [each for event in events for each in _of_event(ledger, event, failed)]
    return [*told, *_plans_done(ledger, events)], events[-1].id if events else after


def conditions(settings: Settings, ledger: Ledger) -> list[Happening]:
    """Return what is the case now and worth telling."""
    return [*_stuck(ledger), *_held(ledger), *_disks(settings), *_drift(settings)]


def _of_event(ledger: Ledger, event: EventRow, failed: dict[int, str]) -> Iterator[Happening]:
    key = f"event-{event.id}"
    if event.event == "hold_placed":
        if event.reason in HOLDS_OF_THE_GOVERNOR and (event.words or "").endswith(_EVICTS):
            words = f"the governor evicted the job in the slot: {event.words}"
            advice = "It continues by itself from its checkpoint. `cbi-queue governor status` shows the readings."
            yield Happening("evicted", key, event.at, _short(words), advice)
        return
    if event.event == "daemon_back":
        advice = "Nothing is to be done; `cbi-queue doctor` checks this machine."
        yield Happening("daemon_back", key, event.at, _short(event.words or "the daemon is back"), advice)
        return
    if event.job_id is None or event.event not in {"fail", "finish", "requeue", "hold"}:
        return
    job = queries.job_numbered(ledger, event.job_id)
    if event.event == "fail":
        error = failed.get(job.id) or event.words or "no error was recorded"
        advice = f"`cbi-queue logs {job.name}` shows its last words; `cbi-queue retry {job.name}` queues it again."
        yield Happening("job_failed", key, event.at, _short(f"{job.name} failed: {error}"), advice, job.name)
    elif event.event == "finish" and job.family == Family.FORECAST:
        advice = "`cbi-queue forecast` shows it."
        yield Happening("forecast", key, event.at, f"{job.name} wrote a forecast", advice, job.name)
    elif event.reason in {Reason.DAEMON_DIED, Reason.TAKES_DAEMON_DOWN}:
        advice = f"`cbi-queue show {job.name}` tells what became of it; `cbi-queue doctor` checks this machine."
        words = f"the daemon crashed while {job.name} was in the slot, and is back"
        yield Happening("daemon_back", key, event.at, words, advice, job.name)


def _plans_done(ledger: Ledger, events: Iterable[EventRow]) -> Iterator[Happening]:
    """Yield the plans of which a job ended in *events* and none is left to do."""
    last = {event.job_id: event for event in events if event.job_id is not None and event.target in _ENDED}
    plans: dict[int, EventRow] = {}
    for job_id, event in last.items():
        plan = ledger.conn.execute("SELECT plan_id FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if plan is not None and (plan[0] not in plans or plans[plan[0]].id < event.id):
            plans[plan[0]] = event
    for plan_id, event in sorted(plans.items()):
        rows = ledger.conn.execute("SELECT state, COUNT(*) FROM jobs WHERE plan_id = ? GROUP BY state", (plan_id,))
        counts = {row[0]: row[1] for row in rows}
        if not set(counts) <= _ENDED:
            continue
        title = ledger.conn.execute(
            "SELECT coalesce(nullif(title, ''), source) FROM plans WHERE id = ?", (plan_id,)
        ).fetchone()[0]
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        words = f"the plan {title!r} is done: {told}"
        advice = "`cbi-queue leaderboard` ranks what was trained."
        if set(counts) - {"succeeded"}:
            advice += " `cbi-queue list --all` shows the others with why."
        yield Happening("plan_done", f"plan-{plan_id}-{event.id}", event.at, _short(words), advice)


def _stuck(ledger: Ledger) -> Iterator[Happening]:
    work = queries.workload(ledger)
    counts = queries.state_counts(ledger)
    left = {state: counts[state] for state in ("waiting", "held", "queued") if counts.get(state)}
    if not work.is_empty or not left:
        return
    names = {"waiting": "waiting for a job that did not succeed", "held": "held", "queued": "never fit into memory"}
    told = ", ".join(f"{count} {names[state]}" for state, count in left.items())
    failed = counts.get("failed", 0)
    cause = f"; {counted(failed, 'job')} failed" if failed else ""
    advice = (
        "`cbi-queue list` says why each does not run; `cbi-queue retry --failed` and `cbi-queue release NAME` go on."
    )
    yield Happening(
        "week_stuck", "stuck", clock.epoch_s(), f"nothing can run although jobs remain: {told}{cause}", advice
    )


def _held(ledger: Ledger) -> Iterator[Happening]:
    now = clock.epoch_s()
    for hold in holds_in_force(ledger):
        age_s = max(0.0, now - hold.since)
        words = _short(f"the slot has been held for {span(age_s)}: {hold.words}")
        advice = "`cbi-queue resume` lifts a hold of yours; `cbi-queue status` shows what lifts another."
        yield Happening("held", f"hold-{hold.reason}-{hold.since:.0f}", now, words, advice, since_s=age_s)


def _disks(settings: Settings) -> Iterator[Happening]:
    for name, folder in (("state", settings.state_dir), ("data", settings.repo)):
        try:
            settings.require_volume()
            free_gib = shutil.disk_usage(folder).free / 2**30
        except (OSError, VolumeMissing):  # not there yet; a missing volume is told as a hold
            continue
        if free_gib < LOW_SPACE_GIB:
            words = f"only {free_gib:.1f} GiB are free on the disk of the {name} folder {folder}"
            advice = f"Free at least {LOW_SPACE_GIB:.0f} GiB: a job whose checkpoint cannot be written fails."
            yield Happening("disk_low", f"disk-{name}", clock.epoch_s(), words, advice)


def _drift(settings: Settings) -> Iterator[Happening]:
    for flag in all_flags(settings.logs):
        advice = "`cbi-queue forecast --retrain` queues it again on the present data."
        key = f"drift-{flag.kind}-{flag.dataset}-{flag.horizon}-{flag.job}"
        yield Happening("drift", key, clock.epoch_s(), _short(flag.words), advice, flag.job)


def _short(text: str) -> str:
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain if len(plain) <= MOST_WORDS else f"{plain[: MOST_WORDS - 1]}…"
