"""`cbi-queue plan check|show|schema`: look at day plans before anything is enqueued; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import plan_files_argument
from cbi_queue.cli.output import json_option, print_json, print_table
from cbi_queue.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cbi_queue.settings import Settings
    from cbi_queue.spec import DayPlan, JobSpec

_NO_DATA = click.option("--no-data", is_flag=True, help="Do not ask whether exports and feature caches exist.")


@click.group(
    epilog="Examples:\n\n\b\n  cbi-queue plan check schedules/day*.yaml\n  cbi-queue plan show schedules/quickstart.yaml"
)
def command() -> None:
    """Check, show or describe day plans; changes nothing."""


@command.command(
    epilog="Examples:\n\n\b\n  cbi-queue plan check schedules/day1.yaml\n"
    "  cbi-queue plan check --no-data --json schedules/day*.yaml\n\nExit codes: 0 fine, 2 there are complaints."
)
@plan_files_argument
@_NO_DATA
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], no_data: bool, as_json: bool) -> None:
    """Check plans together: every complaint, or what they hold."""
    from cbi_queue.errors import PlanError

    try:
        plans = _read(files, no_data=no_data)
    except PlanError as exc:
        if not as_json:
            raise
        print_json({"ok": False, "complaints": list(exc.complaints)})
        ctx.exit(exc.exit_code)
    summary = _summary(plans)
    if not no_data:
        summary["notes"] += _without_runtime(plans)
    if as_json:
        print_json(summary)
    else:
        _print_summary(plans, summary)


@command.command(
    epilog="Examples:\n\n\b\n  cbi-queue plan show schedules/day1.yaml\n  cbi-queue plan show --json schedules/day*.yaml"
)
@plan_files_argument
@_NO_DATA
@json_option
def show(files: tuple[Path, ...], no_data: bool, as_json: bool) -> None:
    """Show the expanded jobs in the order in which they run."""
    from cbi_queue.plan import execution_order

    plans = _read(files, no_data=no_data)
    jobs = execution_order([job for plan in plans for job in plan.jobs])
    if as_json:
        print_json([job.model_dump(mode="json") for job in jobs])
    else:
        _print_jobs(jobs)


@command.command(
    epilog="Examples:\n\n\b\n  cbi-queue plan schema > day-plan.schema.json\n\n"
    "First line of a plan: # yaml-language-server: $schema=day-plan.schema.json"
)
@json_option
def schema(as_json: bool) -> None:  # noqa: ARG001 # a schema is JSON either way
    """Print the JSON Schema of a plan, for editors."""
    from cbi_queue.plan.schema import plan_schema

    print_json(plan_schema())


def _read(files: Sequence[Path], *, no_data: bool) -> list[DayPlan]:
    from cbi_queue.hardware.detection import profile_for
    from cbi_queue.plan import read_plans
    from cbi_queue.settings import load_settings

    settings = load_settings()
    return read_plans(
        files,
        profile=profile_for(settings.profile, settings.profiles_dir).profile,
        exports_dir=None if no_data else settings.exports_dir,
        processed_dir=None if no_data else settings.processed_dir,
        **_of_the_ledger(settings),
    )


def _of_the_ledger(settings: Settings) -> dict[str, Any]:
    """Return the jobs in the ledger, which satisfy `needs`, and what runs took; looking creates no ledger."""
    if not settings.ledger_path.exists():
        return {}
    from cbi_queue.cli.verbs.enqueue import jobs_in
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.peaks import peaks_by_backend

    with Ledger.open_readonly(settings.ledger_path) as ledger:
        return {"known_jobs": jobs_in(ledger), "peaks": peaks_by_backend(ledger)}


def _without_runtime(plans: Sequence[DayPlan]) -> list[str]:
    """Say what `enqueue` would refuse on this machine; the plan itself may be fine."""
    from cbi_queue.cli.verbs.enqueue import without_runtime
    from cbi_queue.settings import load_settings

    return without_runtime(load_settings(), plans)


def _summary(plans: Sequence[DayPlan]) -> dict[str, Any]:
    """Gather what `check` prints: jobs by family and horizon, order, budget, notes."""
    from dataclasses import asdict

    from cbi_queue import budget
    from cbi_queue.lifecycle import JobState
    from cbi_queue.plan import execution_order

    jobs = [job for plan in plans for job in plan.jobs]
    planned = budget.tally((job.day, job.family, job.model, job.horizon, JobState.QUEUED) for job in jobs)
    counts: dict[str, dict[str, int]] = {}
    for job in jobs:
        row = counts.setdefault(job.family, {})
        row[job.horizon] = row.get(job.horizon, 0) + 1
    return {
        "ok": True,
        "plans": [
            {"source": plan.source, "day": plan.day, "title": plan.title, "jobs": len(plan.jobs)} for plan in plans
        ],
        "jobs": counts,
        "order": [job.name for job in execution_order(jobs)],
        "budget": asdict(budget.progress(planned)),
        "notes": _notes(plans, (family for family, _, _ in planned.elements())),
    }


def _notes(plans: Sequence[DayPlan], families: Iterable[str]) -> list[str]:
    """Say what is worth knowing and no complaint."""
    from cbi_queue import budget

    days = {plan.day for plan in plans}
    notes = []
    if any(budget.is_in_week(day) for day in days) and not budget.is_whole_week(days):
        short = ", ".join(f"{row.words} {count} of {row.minimum}" for row, count in budget.shortfalls(families))
        absent = ", ".join(str(day) for day in sorted(budget.WEEK_DAYS - days))
        if short:
            notes.append(f"below the week's minimum: {short}; no complaint, because day {absent} is not given")
    if outside := [plan.source for plan in plans if not budget.is_in_week(plan.day)]:
        notes.append(f"outside the week and its budget: {', '.join(outside)}")
    return notes


def _print_summary(plans: Sequence[DayPlan], summary: dict[str, Any]) -> None:
    for plan in plans:
        click.echo(f"{plan.source}: day {plan.day}, {counted(len(plan.jobs), 'job')}. {plan.title}")
    click.echo()
    _print_counts(summary["jobs"])
    click.echo()
    _print_budget(summary["budget"])
    click.echo()
    for note in summary["notes"]:
        click.echo(f"note: {note}")
    click.echo(f"fine: {counted(len(summary['order']), 'job')}, every need met, no circle; nothing was enqueued")


def _print_counts(counts: dict[str, dict[str, int]]) -> None:
    from cbi_queue.models.kinds import HORIZONS

    rows = []
    for family, row in counts.items():
        cells = [row.get(horizon, 0) for horizon in HORIZONS]
        rows.append((family, *(str(count or "") for count in cells), str(sum(cells))))
    print_table("Jobs", ("family", *(f">{horizon}" for horizon in HORIZONS), ">all"), rows)


def _print_budget(progress: dict[str, Any]) -> None:
    rows = [
        (row["words"], *(str(number) for number in (row["counts"]["queued"], *(row[key] for key in _LIMITS))))
        for row in (*progress["rows"], progress["total"])
    ]
    print_table(
        "Models of these plans against the week's budget", ("row", ">models", *map(">{}".format, _LIMITS)), rows
    )


_LIMITS = ("minimum", "planned", "maximum")


def _print_jobs(jobs: Sequence[JobSpec]) -> None:
    columns = (">#", "name", "family", "model", "horizon", "needs", ">priority", ">retries", ">timeout", "parameters")
    rows = [(str(number), *_job_cells(job)) for number, job in enumerate(jobs, 1)]
    print_table(f"{counted(len(jobs), 'job')} in execution order", columns, rows)


def _job_cells(job: JobSpec) -> tuple[str, ...]:
    timeout = "" if job.timeout_s is None else duration(job.timeout_s)
    limits = (str(job.priority), str(job.retries), timeout)
    return (job.name, job.family, job.model, job.horizon, ", ".join(job.needs), *limits, _changed_params(job))


def _changed_params(job: JobSpec) -> str:
    """Write the parameters that differ from the model's defaults."""
    defaults = job.entry.params().model_dump(mode="json")
    return ", ".join(f"{key}={value}" for key, value in job.params.items() if value != defaults[key])
