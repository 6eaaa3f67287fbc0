"""What happened to a job, in sentences with times and figures: `cbi-queue governor why`. Pure: rows in, lines out.

The ledger's events come in their own words. Between them are the stretches of work in the telemetry (how many epochs,
at what cost per sample) and the slow-downs with their evidence. Nothing is guessed: a figure that was not recorded is
omitted. A run that was slow from beginning to end although the machine was not slow ends with a hint: the cold
baseline that it was compared with may be out of date.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.attribution import NOT_THE_MACHINE
from cbi_queue.governor.values import Cause
from cbi_queue.ledger.learned import what_was_learned
from cbi_queue.ledger.queries import attempts_of, events_of, find_job
from cbi_queue.lifecycle import CLAIM, IN_SLOT_STATES, event_title
from cbi_queue.views.governor import slowdown_words
from cbi_queue.views.progress import epochs_a_report
from cbi_queue.wording import counted, duration, per_sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.ledger import AttemptRow, EventRow, JobRow, Ledger
    from cbi_queue.ledger.learned import BaselineRow
    from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow

LEAST_QUIET_EPOCHS = 3
"""Fewest epochs of the first stretch for the others to be compared with it."""
SET_BACK_S = 2.0
"""Seconds by which a clock goes back to count as set; less is two processes that write at once."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the story."""

    at: float
    """Instant, seconds since 1970 UTC."""
    kind: str
    """event | decision | slowdown | work | end | hint."""
    words: str
    evidence: tuple[str, ...] = ()
    """What points to it, each a sentence."""


@dataclass(frozen=True, slots=True)
class JobHistory:
    """All rows of one job, from the ledger and the telemetry."""

    job: JobRow
    attempts: Sequence[AttemptRow]
    events: Sequence[EventRow]
    epochs: Sequence[EpochRow]
    slowdowns: Sequence[SlowdownRow]
    decisions: Sequence[DecisionRow]
    baselines: Sequence[BaselineRow] = ()
    """The current cold baselines of this model and horizon."""


def story_of(history: JobHistory) -> list[Line]:
    """Return the story of a job, oldest line first, then a summary, then a hint where there is one."""
    marks = [*_events(history), *_slowdowns(history)]
    if any(_was_set_back([row.at for row in rows]) for rows in (history.events, history.epochs)):
        lines = list(_by_number(history))
    else:
        lines = sorted([*marks, *_stretches(history, sorted(mark.at for mark in marks))], key=lambda line: line.at)
    at = lines[-1].at if lines else history.job.enqueued_at
    return [*lines, _summary(history, at), *_hint(history, at)]


def _was_set_back(instants: Sequence[float]) -> bool:
    """Return True if the clock was set back between two instants, which are in the order of their rows."""
    return any(later < at - SET_BACK_S for at, later in pairwise(instants))


def _by_number(history: JobHistory) -> Iterable[Line]:
    """Yield the events in the order of their numbers, and the work of each attempt before the event that ended it."""
    attempt, is_open = 0, False
    for event, line in zip(history.events, _events(history), strict=True):
        if event.event == CLAIM.name:
            attempt, is_open = attempt + 1, True
        elif is_open and event.target and event.target not in IN_SLOT_STATES:
            is_open = False
            yield from _work_of(history, attempt)
        yield line
    if is_open:
        yield from _work_of(history, attempt)


def _work_of(history: JobHistory, attempt: int) -> Iterable[Line]:
    part = replace(
        history,
        epochs=[row for row in history.epochs if row.attempt == attempt],
        slowdowns=[row for row in history.slowdowns if row.attempt == attempt],
    )
    return [*_stretches(part, ()), *_slowdowns(part)]


def _events(history: JobHistory) -> Iterable[Line]:
    for event in history.events:
        kind = "decision" if event.event == "governor" else "event"
        yield Line(event.at, kind, _event_words(event))


def _event_words(event: EventRow) -> str:
    if event.event == "governor":
        return event.words or event.reason.replace("_", " ")
    name = event_title(event.event).replace("_", " ")
    return f"{name}: {event.words}" if event.words else name


def _slowdowns(history: JobHistory) -> Iterable[Line]:
    by_epoch = {(row.attempt, row.epoch): row.at for row in history.epochs}
    for slow in history.slowdowns:
        note = f" (noticed at epoch {slow.detected_epoch}, {slow.confidence:.0%} sure)"
        words = slowdown_words(slow.factor, slow.since_epoch, slow.cause, note)
        yield Line(slow.at, "slowdown", words, slow.evidence)
        if slow.ended_epoch is not None:
            at = by_epoch.get((slow.attempt, slow.ended_epoch), slow.at)
            yield Line(max(at, slow.at), "slowdown", f"at full speed again after epoch {slow.ended_epoch}")


def _stretches(history: JobHistory, marks: Sequence[float]) -> Iterable[Line]:
    """Yield one sentence for each stretch of reports without a mark in between, at the instant of its end."""
    cold: float | None = None
    attempts = groupby(history.epochs, key=lambda row: row.attempt)
    a_report = {attempt: epochs_a_report(list(rows)) for attempt, rows in attempts}
    for stretch in _cut(history.epochs, marks):
        costs = [cost for row in stretch if (cost := row.sample_s) is not None]
        typical = median(costs) if costs else None
        yield Line(stretch[-1].at, "work", _stretch_words(stretch, a_report[stretch[-1].attempt], typical, cold))
        if cold is None and typical is not None and len(costs) >= LEAST_QUIET_EPOCHS:
            cold = typical


def _cut(epochs: Sequence[EpochRow], marks: Sequence[float]) -> Iterable[list[EpochRow]]:
    stretch: list[EpochRow] = []
    ahead = list(marks)
    for row in epochs:
        crossed = False
        while ahead and ahead[0] <= row.at:
            ahead.pop(0)
            crossed = True
        if stretch and (crossed or row.attempt != stretch[-1].attempt):
            yield stretch
            stretch = []
        stretch.append(row)
    if stretch:
        yield stretch


def _stretch_words(stretch: Sequence[EpochRow], a_report: float, typical: float | None, cold: float | None) -> str:
    first, last = stretch[0], stretch[-1]
    which = f"{last.unit} {last.epoch}" if first is last else f"{last.unit}s {first.epoch} to {last.epoch}"
    of = f" of {last.total_epochs}" if last.total_epochs else ""
    each_s = median(row.wall_s for row in stretch) / a_report
    words = f"{which}{of}: {each_s:.2f} s each"
    if typical is not None:
        words += f", {per_sample(typical)} a sample"
    if typical is not None and cold is not None:
        words += f" ({typical / cold:.2f} times the first stretch)"
    if last.micro_batch is not None:
        words += f", micro-batch {last.micro_batch}"
    return words


def _summary(history: JobHistory, at: float) -> Line:
    trained_s = sum(row.wall_s for row in history.epochs)
    paused_s = _paused_s(history.events)
    steps = sum(row.is_step for row in history.decisions)
    in_slot = [at - each.started_at if each.ended_at is None else each.slot_s for each in history.attempts]
    known = [seconds for seconds in in_slot if seconds is not None and seconds >= 0]
    time = duration(sum(known)) if len(known) == len(in_slot) else "an unknown time"
    job, attempts = history.job, len(history.attempts)
    if not attempts:
        return Line(
            at,
            "end",
            f"{job.state}: it was never in the slot" if job.state.is_final else f"{job.state}: not started yet",
        )
    parts = [counted(attempts, "attempt"), f"{time} in the slot"]
    if history.epochs:
        parts.append(f"{duration(trained_s)} of it training")
    if paused_s:
        parts.append(f"{duration(paused_s)} of it paused")
    acted = f"the governor took {counted(steps, 'step')}" if steps else "the governor took no step"
    so_far = "" if job.state.is_final else " so far"
    return Line(at, "end", f"{job.state}{so_far}: {', '.join(parts)}; {acted}")


def _hint(history: JobHistory, at: float) -> Iterable[Line]:
    """Yield how to relearn, after a run that was slow from beginning to end although the machine was not slow.

    Only while there is a baseline from before the run: later ones, learned at this speed, need no hint.
    """
    attempt = history.attempts[-1] if history.attempts else None
    if attempt is None or attempt.ended_at is None:
        return
    began_at = attempt.started_at
    slow = next((row for row in history.slowdowns if row.attempt == attempt.number), None)
    if slow is None or not (_was_always_slow(history, slow) and _is_not_the_machine(slow)):
        return
    if any(row.learned_at < began_at for row in history.baselines):
        named = f"{history.job.model} {history.job.horizon}"
        words = (
            f"if this is how fast {named} is now, `cbi-queue governor relearn '{named}'` forgets the cold baseline "
            "that it was compared with; the next run learns a new one"
        )
        yield Line(at, "hint", words)


def _was_always_slow(history: JobHistory, slow: SlowdownRow) -> bool:
    """Return True if *slow* lasted from the first report of its attempt that counts to the last."""
    epochs = [row for row in history.epochs if row.attempt == slow.attempt]
    counted = [row.epoch for row in epochs[1:] if not row.resumed]
    return slow.ended_epoch is None and bool(counted) and slow.since_epoch <= counted[0]


def _is_not_the_machine(slow: SlowdownRow) -> bool:
    return slow.cause == Cause.UNKNOWN and any(words.startswith(NOT_THE_MACHINE) for words in slow.evidence)


def _paused_s(events: Sequence[EventRow]) -> float:
    total, since = 0.0, None
    for event in events:
        if event.target == "paused":
            since = event.at
        elif since is not None and event.source == "paused":
            total, since = total + max(0.0, event.at - since), None
    return total


def history_of(ledger: Ledger, telemetry: TelemetryReader, name: str) -> JobHistory:
    """Read all rows of one job.

    Args:
        ledger: read-only is enough.
        telemetry: without its rows a story has events only.
        name: number or name of the job.

    Raises:
        UnknownJob: when there is no such job.
    """
    job = find_job(ledger, name)
    return JobHistory(
        job,
        attempts=attempts_of(ledger, job.id),
        events=events_of(ledger, job.id),
        epochs=telemetry.epochs(job.id),
        slowdowns=telemetry.slowdowns(job.id),
        decisions=telemetry.decisions(job.id),
        baselines=[row for row in what_was_learned(ledger).baselines if row.is_called(f"{job.model} {job.horizon}")],
    )
