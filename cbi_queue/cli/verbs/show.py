"""`cbi-queue show NAME`: everything about one job."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, job_name_argument, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import local_time, print_json, print_table, printable
from cbi_queue.ledger.micro_batch import lowered_micro_batch
from cbi_queue.ledger.peaks import expected_mib, peaks_of_jobs
from cbi_queue.ledger.queries import attempts_of, events_of, find_job
from cbi_queue.lifecycle import REASON_WORDS, JobState, event_title
from cbi_queue.models.kinds import Family
from cbi_queue.settings import load_settings
from cbi_queue.views.forecast import forecast_lines
from cbi_queue.views.job_words import params_shown
from cbi_queue.views.leaderboard import may_differ
from cbi_queue.views.project_board import project_of
from cbi_queue.views.result_table import SCORE_COLUMNS, result_lines, run_files, score_rows, size_words
from cbi_queue.wording import OTHER_NUMBERS, duration

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import AttemptRow, EventRow, JobRow
    from cbi_queue.ledger.peaks import PeakRow


@click.command(epilog=examples("show lightgbm-1m", "show lightgbm-1m --why", "show 12 --json"))
@job_name_argument
@click.option("--why", is_flag=True, help="Show what its forecasts depend on, and what moves the newest one.")
@json_option
def command(name: str, why: bool, as_json: bool) -> None:
    """Show one job: its spec, scores with their intervals, verdicts, files, attempts and events."""
    with readonly_ledger() as ledger:
        job = find_job(ledger, name)
        attempts, events = attempts_of(ledger, job.id), events_of(ledger, job.id)
        peak = peaks_of_jobs(ledger, [job.id]).get(job.id)
        expected = expected_mib(ledger, peak) if peak else None
        lowered = lowered_micro_batch(ledger, job)
    if why:
        _print_why(job, load_settings().models, as_json=as_json)
    elif as_json:
        memory = {**asdict(peak), "expected_mib": expected} if peak else None
        told = {"memory": memory, "files": run_files(job), "attempt_list": _plain(attempts), "events": _plain(events)}
        print_json({**asdict(job), **told})
    else:
        _print(job, attempts, events, peak, expected, lowered)


def _print_why(job: JobRow, models: Path, *, as_json: bool) -> None:
    from cbi_queue.cli.explanation_view import print_explanation
    from cbi_queue.views.explanation import explanation_of, luck_words

    if not as_json:
        print_explanation(job, models)
        return
    told = explanation_of(job, models)
    print_json({"id": job.id, "name": job.name, "luck": luck_words(job), "missing": told.missing, **told.found})


def _plain(rows: list[Any]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


def _print(
    job: JobRow,
    attempts: list[AttemptRow],
    events: list[EventRow],
    peak: PeakRow | None,
    expected: float | None,
    lowered: int | None,
) -> None:
    params = ", ".join(f"{key}={value}" for key, value in params_shown(job).items())
    lines = [
        f"{job.model} ({job.family}), {_horizon(job)}day {job.day}, priority {job.priority}",
        f"{_reads(job)} {job.snapshot[:8] if job.snapshot else 'not recorded'}",
        f"{job.state}: {_state_words(job)}",
        f"Parameters: {params or 'none'}",
    ]
    if job.state is JobState.SUCCEEDED and not job.damage:
        lines += forecast_lines(job.metrics)
    if job.damage:
        lines.append(f"DAMAGED run, not ranked: {job.damage}; `cbi-queue retry {job.name}` trains it again")
    if job.micro_batch:
        lines.append(f"Micro-batch at most {job.micro_batch}: {OTHER_NUMBERS}. The events below show why")
    if lowered and not job.state.is_final:
        lines.append(
            f"Micro-batch lowered to {lowered} by the governor: {OTHER_NUMBERS}; it is raised again when memory "
            "pressure stays low"
        )
    lines += [f"May differ from an undisturbed run: {reason}" for reason in may_differ(job)]
    if peak:
        batch = f" with micro-batch {peak.micro_batch}" if peak.micro_batch else ""
        estimate = f"the estimate was {expected:.0f} MiB (formula {peak.formula_mib:.1f})"
        lines.append(f"Memory: {peak.measured_mib:.0f} MiB at its peak{batch} on {peak.device}; {estimate}")
    lines += result_lines(job)
    if job.run_dir:
        files = ", ".join(f"{name} ({size_words(size)})" for name, size in run_files(job).items())
        lines.append(f"Run folder: {job.run_dir}" + (f": {files}" if files else ""))
    click.secho(printable(f"Job {job.id} {job.name}"), bold=True)
    click.echo("\n".join(map(printable, lines)))
    if scored := score_rows(job):
        click.echo()
        print_table("Scores", SCORE_COLUMNS, scored)
    if attempts:
        columns = (">no", "started", "?took", "outcome", "?>peak memory", "error")
        click.echo()
        print_table("Attempts", columns, map(_attempt, attempts))
    click.echo()
    print_table("Events", ("when", "event", "?state", "words"), map(_event, events))


def _horizon(job: JobRow) -> str:
    return "" if job.family == Family.SCRIPT else f"horizon {job.horizon}, "


def _reads(job: JobRow) -> str:
    """Say what the characters that follow are of."""
    if job.family == Family.SCRIPT:
        return f"Project {project_of(job)}, state of its code and inputs"
    return f"Data set {job.dataset}, snapshot"


def _state_words(job: JobRow) -> str:
    if job.veto and job.state is JobState.SUCCEEDED:
        return f"accepted by the user, although {job.veto}"
    return job.veto or REASON_WORDS[job.reason]


def _attempt(attempt: AttemptRow) -> tuple[str, ...]:
    took = duration(attempt.slot_s) if attempt.ended_at else "running"
    memory = f"{attempt.peak_rss_mib:.0f} MiB" if attempt.peak_rss_mib else ""
    started = local_time(attempt.started_at)
    return (str(attempt.number), started, took, attempt.outcome or "", memory, attempt.error or "")


def _event(event: EventRow) -> tuple[str, ...]:
    change = f"{event.source or ''} → {event.target}".strip() if event.target else ""
    return (local_time(event.at), event_title(event.event), change, event.words or "")
