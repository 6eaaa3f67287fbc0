"""The status for people, printed once or refreshed in place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cbi_queue import clock
from cbi_queue.cli.output import STATE_COLOURS, ago, console, finish_words, fitted_table, local_time, printable
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.queries import job_numbered, last_events
from cbi_queue.lifecycle import event_title
from cbi_queue.views.job_words import JobWords, blocked_lines
from cbi_queue.views.snapshot import take_status
from cbi_queue.wording import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.ledger import EventRow
    from cbi_queue.settings import Settings
    from cbi_queue.views.governor import DecisionLine
    from cbi_queue.views.progress import Progress
    from cbi_queue.views.snapshot import EventLine, HoldLine, JobLine, QueueStatus

REFRESH_S = 0.5
QUEUE_ROWS = 12
ENDED_ROWS = 6
EVENT_ROWS = 5
QUIET_EVENTS = frozenset({"enqueue", "satisfy", "backup"})
"""Events that are not printed while a run is followed."""
SHOWN_ELSEWHERE = frozenset({"claim", "finish", "fail", "veto"})
"""Events that the slot and the ended jobs show already."""
NO_STEP = "othing is done"
"""In the words of a notice of the governor about which nobody needs to do anything; `governor why` has all of them."""


def print_status(status: QueueStatus) -> None:
    """Print the status once."""
    screen = console()
    screen.print(render_status(status, screen.width))


def watch_status(settings: Settings) -> None:
    """Show the status in place until Ctrl-C."""
    show_until(settings, lambda _status: False)


def show_until(settings: Settings, is_over: Callable[[QueueStatus], bool]) -> None:
    """Show the status in place until *is_over* returns True; the last one stays on the screen."""
    screen = console()
    status = take_status(settings)
    with Live(render_status(status, screen.width), console=screen, auto_refresh=False) as live:
        while not is_over(status):
            time.sleep(REFRESH_S)
            status = take_status(settings)
            live.update(render_status(status, screen.width), refresh=True)
        live.update(render_status(take_status(settings), screen.width), refresh=True)


def follow_in_lines(settings: Settings, is_over: Callable[[QueueStatus], bool], *, since: float = 0.0) -> None:
    """Print one line per event from the instant *since* until *is_over* returns True: for logs, pipes and CI."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        last_id, over = 0, False
        while not over:
            over = is_over(take_status(settings))
            for event in reversed(last_events(ledger, 1000)):
                if event.id > last_id and event.at >= since and _is_worth_saying(event):
                    print(printable(_line_of(ledger, event)), flush=True)
                last_id = max(last_id, event.id)
            if not over:
                time.sleep(REFRESH_S)


def _is_worth_saying(event: EventRow | EventLine) -> bool:
    is_notice = event.event == "governor" and NO_STEP in (event.words or "")
    return event.event not in QUIET_EVENTS and not is_notice


def _line_of(ledger: Ledger, event: EventRow) -> str:
    job = job_numbered(ledger, event.job_id) if event.job_id else None
    words = JobWords(ledger, [job], {}).ended_words(job) if job and event.event == "finish" else None
    name = job.name if job else ""
    return f"{local_time(event.at)}  {event.event:<10} {name:<28} {words or event.words or ''}".rstrip()


def render_status(status: QueueStatus, width: int) -> RenderableType:
    """Return the whole status, at most *width* characters wide."""
    parts: list[RenderableType] = [_head(status), _slot(status), *_governor(status), _budget(status), *_finish(status)]
    parts += [_hold(hold) for hold in status.holds]
    parts += [Text(printable(line), style="red") for line in blocked_lines(status.blocked)]
    if status.tracking_failure:
        parts.append(Text(f"MLflow: {printable(status.tracking_failure)}", style="yellow"))
    parts += [Text(printable(f"{line}; `cbi-queue forecast`"), style="yellow") for line in status.retrain]
    if status.queue:
        parts += ["", _queue(status.queue, width)]
    if status.ended:
        parts += ["", _ended(status.ended[:ENDED_ROWS], width)]
    if not (status.queue or status.ended or status.slot.job):
        parts.append(
            Text("Nothing has been enqueued yet. Try: cbi-queue enqueue schedules/quickstart.yaml", style="dim")
        )
    events = [event for event in status.events if _is_worth_saying(event) and event.event not in SHOWN_ELSEWHERE]
    if events:
        parts += ["", _events(events[:EVENT_ROWS], width)]
    return Group(*parts)


def _head(status: QueueStatus) -> Text:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(status.counts.items())) or "no jobs"
    line = Text("cbi-queue ", style="bold")
    line.append(f"daemon {status.daemon.words}", style="green" if status.daemon.is_well else "yellow")
    line.append(f"  {counts}", style="dim")
    return line


def _slot(status: QueueStatus) -> RenderableType:
    slot = status.slot
    if slot.job is None:
        return Text(f"Slot {slot.state}: {printable(slot.words)}", style="yellow" if slot.state == "closed" else "")
    if slot.state == "left":
        return Text(f"Slot: {printable(slot.words)}", style="yellow")
    line = Text("Slot ")
    line.append(slot.state, style=STATE_COLOURS["running" if slot.state == "training" else "paused"])
    horizon = "" if slot.job.horizon == "-" else f"{slot.job.horizon}, "
    line.append(f": {printable(slot.job.name)} ({slot.job.model}, {horizon}attempt {slot.attempt})")
    return Group(line, _bar(slot.progress, slot.state)) if slot.progress else line


def _bar(progress: Progress, state: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    words = f"{progress.unit} {progress.epoch}{f'/{progress.total_epochs}' if progress.total_epochs else ''}"
    if progress.validation_loss is not None:
        words += f"  validation loss {progress.validation_loss:.5g}"
    if state == "paused":
        words += "  paused"
    elif progress.remaining_s is not None:
        words += f"  about {duration(progress.remaining_s)} left"
    cells: list[RenderableType] = [Text(printable(words))]
    if progress.total_epochs is not None:
        cells.insert(0, ProgressBar(total=progress.total_epochs, completed=progress.epoch, width=30))
    grid.add_row(*cells)
    return grid


def _governor(status: QueueStatus) -> list[Text]:
    """Return a line on what the governor does now, and one on its last decision about the present job or the slot."""
    governor, job = status.governor, status.slot.job
    is_calm = not governor.is_stale and governor.slowdown_words is None
    lines = [Text(f"Governor: {printable(governor.words)}", style="" if is_calm else "yellow")]
    told = (line for line in governor.decisions if line.job in {None, job.name if job else None})
    return lines + [_decision(line) for line in told if NO_STEP not in line.words][:1]


def _decision(line: DecisionLine) -> Text:
    only = "" if line.acted else ", not carried out"
    about = f"{line.job}, " if line.job else ""
    return Text(
        printable(f"  last decision {ago(line.at)} ({about}{line.cause.replace('_', ' ')}{only}): {line.words}")
    )


def _budget(status: QueueStatus) -> Text:
    total = status.budget.total
    words = f"Budget of the week: {total.counts.done} of {total.planned} planned models are done"
    failed = f", {total.counts.failed} failed" if total.counts.failed else ""
    return Text(f"{words}{failed}; the target is {total.minimum} to {total.maximum}", style="dim")


def _finish(status: QueueStatus) -> list[Text]:
    finish = status.finish
    return [] if finish.state == "empty" else [Text(f"Finish: {finish_words(finish)}")]


def _hold(hold: HoldLine) -> Text:
    until = f", until {local_time(hold.expires_at)}" if hold.expires_at else ""
    words = f"Hold [{hold.reason}, {hold.mode}]: {printable(hold.words)} (placed {ago(hold.since)}{until})"
    return Text(words, style="yellow")


def _queue(jobs: tuple[JobLine, ...], width: int) -> Table:
    shown = jobs[:QUEUE_ROWS]
    title = "Queue" if len(shown) == len(jobs) else f"Queue (first {len(shown)} of {len(jobs)})"
    rows = ((str(job.id), job.name, job.model, job.horizon, job.state, _why(job)) for job in shown)
    return fitted_table(title, (">job", "name", "?model", "?horizon", "state", "why"), rows, width)


def _why(job: JobLine) -> str:
    is_later = job.not_before is not None and job.not_before > clock.epoch_s()
    from_when = f"from {local_time(job.not_before)}" if is_later else ""
    return ", ".join(filter(None, (job.why, from_when)))


def _ended(jobs: tuple[JobLine, ...], width: int) -> Table:
    rows = ((str(job.id), job.name, job.state, ago(job.ended_at), job.why) for job in jobs)
    return fitted_table("Ended", (">job", "name", "state", "?when", "result"), rows, width)


def _events(events: Sequence[EventLine], width: int) -> Table:
    rows = ((ago(event.at), event.job or "", event_title(event.event), event.words) for event in events)
    return fitted_table("Events", (">when", "job", "event", "words"), rows, width)
