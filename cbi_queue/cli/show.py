"""`cbi-queue show NAME`: one job in full."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.naming import job_name_argument
from cbi_queue.cli.opening import ledger_for_looking
from cbi_queue.cli.output import duration, json_option, print_json, print_table, utc
from cbi_queue.ledger.queries import attempts_of, events_of, find_job
from cbi_queue.lifecycle import REASON_WORDS

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow, EventRow, JobRow


@click.command(epilog="Examples:\n\n\b\n  cbi-queue show lightgbm-1m\n  cbi-queue show 12 --json")
@job_name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Show one job: its spec, attempts and events."""
    with ledger_for_looking() as ledger:
        job = find_job(ledger, name)
        attempts, events = attempts_of(ledger, job.id), events_of(ledger, job.id)
    if as_json:
        print_json({**asdict(job), "attempt_list": _plain(attempts), "events": _plain(events)})
    else:
        _print(job, attempts, events)


def _plain(rows: list[Any]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


def _print(job: JobRow, attempts: list[AttemptRow], events: list[EventRow]) -> None:
    click.secho(f"Job {job.id} {job.name}", bold=True)
    click.echo(f"{job.model} ({job.family}), horizon {job.horizon}, day {job.day}, priority {job.priority}")
    click.echo(f"{job.state}: {job.veto or REASON_WORDS[job.reason]}")
    params = ", ".join(f"{key}={value}" for key, value in job.spec.get("params", {}).items())
    click.echo(f"Parameters: {params or 'none'}")
    if job.micro_batch:
        click.echo(f"Micro-batch lowered to {job.micro_batch} after running out of memory")
    if job.run_dir:
        click.echo(f"Run folder: {job.run_dir}")
    if attempts:
        print_table(
            "\nAttempts", (">no", "started", "took", "outcome", "peak memory", "error"), map(_attempt, attempts)
        )
    told = ((utc(e.at), e.event, f"{e.source or ''} → {e.target}" if e.target else "", e.words or "") for e in events)
    print_table("\nEvents", ("when", "event", "state", "words"), told)


def _attempt(attempt: AttemptRow) -> tuple[str, ...]:
    took = duration(attempt.ended_at - attempt.started_at) if attempt.ended_at else "runs now"
    memory = f"{attempt.peak_rss_mib:.0f} MiB" if attempt.peak_rss_mib else ""
    return (str(attempt.number), utc(attempt.started_at), took, attempt.outcome or "", memory, attempt.error or "")
