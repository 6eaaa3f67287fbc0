"""The status for people: the same renderable printed once, or refreshed in place."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cbi_queue.cli.output import STATE_COLOURS, ago, duration, utc
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.queries import find_job, last_events
from cbi_queue.status import take_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.settings import Settings
    from cbi_queue.status import HoldLine, JobLine, Progress, QueueStatus

REFRESH_S = 0.5
QUEUE_ROWS = 12
ENDED_ROWS = 6
EVENT_ROWS = 5
QUIET_EVENTS = frozenset({"enqueue", "satisfy", "backup"})
"""Events that are no news to somebody who watches a run."""


def print_status(status: QueueStatus) -> None:
    """Print the status once."""
    Console().print(render_status(status))


def watch_status(settings: Settings) -> None:
    """Show the status in place until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        show_until(settings, lambda _status: False)


def show_until(settings: Settings, is_over: Callable[[QueueStatus], bool]) -> None:
    """Show the status in place until *is_over* says so; the last picture stays on the screen."""
    status = take_status(settings)
    with Live(render_status(status), console=Console(), auto_refresh=False) as live:
        while not is_over(status):
            time.sleep(REFRESH_S)
            status = take_status(settings)
            live.update(render_status(status), refresh=True)
        live.update(render_status(take_status(settings)), refresh=True)


def follow_in_lines(settings: Settings, is_over: Callable[[QueueStatus], bool]) -> None:
    """Print one line per event until *is_over* says so: for logs, pipes and CI."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        last_id = 0
        over = False
        while not over:
            over = is_over(take_status(settings))
            for event in reversed(last_events(ledger, 1000)):
                if event.id > last_id and event.event not in QUIET_EVENTS:
                    name = find_job(ledger, str(event.job_id)).name if event.job_id else ""
                    print(f"{utc(event.at)}  {event.event:<10} {name:<28} {event.words or ''}".rstrip(), flush=True)
                last_id = max(last_id, event.id)
            if not over:
                time.sleep(REFRESH_S)


def render_status(status: QueueStatus) -> RenderableType:
    """Make the whole picture."""
    parts: list[RenderableType] = [_head(status), _slot(status)]
    parts += [_hold(hold) for hold in status.holds]
    if status.queue:
        parts.append(_jobs("Queue", status.queue[:QUEUE_ROWS], len(status.queue)))
    if status.ended:
        parts.append(_ended(status.ended[:ENDED_ROWS]))
    if not (status.queue or status.ended or status.slot.job):
        parts.append(Text("Nothing has been enqueued yet: cbi-queue enqueue schedules/quickstart.yaml", style="dim"))
    parts.append(_events(status))
    return Group(*parts)


def _head(status: QueueStatus) -> Text:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(status.counts.items())) or "no jobs"
    line = Text("cbi-queue ", style="bold")
    line.append(f"daemon {status.daemon.words}", style="green" if status.daemon.is_running else "yellow")
    line.append(f"  {counts}", style="dim")
    return line


def _slot(status: QueueStatus) -> RenderableType:
    slot = status.slot
    if slot.job is None:
        return Text(f"Slot {slot.state}: {slot.words}", style="yellow" if slot.state == "closed" else "")
    line = Text("Slot ")
    line.append(slot.state, style=STATE_COLOURS["paused" if slot.state == "paused" else "running"])
    line.append(f": {slot.job.name} ({slot.job.model}, {slot.job.horizon}, attempt {slot.attempt})")
    return Group(line, _bar(slot.progress)) if slot.progress else line


def _bar(progress: Progress) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    words = f"{progress.unit} {progress.epoch}/{progress.total_epochs}"
    if progress.validation_loss is not None:
        words += f"  validation loss {progress.validation_loss:.5g}"
    if progress.remaining_s is not None:
        words += f"  about {duration(progress.remaining_s)} left"
    grid.add_row(ProgressBar(total=max(1, progress.total_epochs), completed=progress.epoch, width=30), words)
    return grid


def _hold(hold: HoldLine) -> Text:
    until = f", until {utc(hold.expires_at)}" if hold.expires_at else ""
    return Text(f"Hold [{hold.reason}, {hold.mode}]: {hold.words} (since {ago(hold.since)}{until})", style="yellow")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column == "job" else "left", no_wrap=column != "why")
    return table


def _jobs(title: str, jobs: tuple[JobLine, ...], total: int) -> Table:
    more = f" (first {len(jobs)} of {total})" if total > len(jobs) else ""
    table = _table(f"{title}{more}", "job", "name", "model", "horizon", "state", "why")
    for job in jobs:
        state = Text(job.state, style=STATE_COLOURS.get(job.state, ""))
        wait = f", from {utc(job.not_before)}" if job.not_before else ""
        table.add_row(str(job.id), job.name, job.model, job.horizon, state, job.why + wait)
    return table


def _ended(jobs: tuple[JobLine, ...]) -> Table:
    table = _table("Ended", "job", "name", "model", "horizon", "state", "when", "why")
    for job in jobs:
        state = Text(job.state, style=STATE_COLOURS.get(job.state, ""))
        table.add_row(str(job.id), job.name, job.model, job.horizon, state, ago(job.ended_at), job.why)
    return table


def _events(status: QueueStatus) -> Table:
    table = _table("Events", "when", "job", "event", "words")
    for event in status.events[:EVENT_ROWS]:
        table.add_row(ago(event.at), event.job or "", event.event, event.words)
    return table
