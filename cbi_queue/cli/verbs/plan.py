"""`cbi-queue plan new|check|show|schema`: write, check and show day plans before anything is enqueued; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import VerbGroup, copy_of_option, examples, json_option, plan_files_argument
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.cli.verbs.data.options import dataset_option, existing, horizons_of
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cbi_queue.spec import DayPlan, JobSpec

_NO_DATA = click.option("--no-data", is_flag=True, help="Do not look at exports and feature caches.")


@click.group(cls=VerbGroup, epilog=examples("plan check schedules", "plan show schedules/quickstart.yaml"))
def command() -> None:
    """Write, check or show day plans; changes nothing."""


@command.command(
    epilog=examples(
        "plan new --dataset zl --horizons 1w,1m > zl.yaml",
        more="The plan has comments: change it as you like, then `cbi-queue plan check zl.yaml`.",
    )
)
@dataset_option
@click.option("--horizons", metavar="LIST", default="1w,1m", show_default=True, help="Of " + ", ".join(HORIZONS) + ".")
def new(dataset: str, horizons: str) -> None:
    """Print a plan for a data set: naive, drift, ETS, trees and a small net, walked forward."""
    from cbi_queue.plan.template import plan_text

    existing(dataset)
    click.echo(plan_text(dataset, horizons_of(horizons)), nl=False)


@command.command(
    epilog=examples(
        "plan check schedules/day1.yaml",
        "plan check --no-data --json schedules",
        more="Exit codes: 0 no complaints, 2 complaints.",
    )
)
@plan_files_argument()
@_NO_DATA
@copy_of_option
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], no_data: bool, copy_of: str | None, as_json: bool) -> None:
    """Check plans: print every complaint, or a summary."""
    from cbi_queue.errors import PlanError

    try:
        notes: list[str] = []
        plans = _read(files, no_data=no_data, notes=notes, copy_of=copy_of)
    except PlanError as exc:
        if not as_json:
            raise
        print_json({"ok": False, "complaints": list(exc.complaints)})
        ctx.exit(exc.exit_code)
    summary = _summary(plans)
    if not no_data:
        summary["notes"] += _without_runtime(plans) + _stale_or_dirty(plans) + notes
    if as_json:
        print_json({**summary, "finish": _finish_words([job for plan in plans for job in plan.jobs])})
    else:
        _print_summary(plans, summary)


@command.command(
    epilog=examples(
        "plan show schedules/day1.yaml",
        "plan show --json schedules",
        "plan show --splits schedules/quickstart.yaml",
        more="Exit codes: 0 shown, 2 a plan has complaints or a job cannot be split.",
    )
)
@plan_files_argument()
@_NO_DATA
@click.option(
    "--splits",
    is_flag=True,
    help="Show instead which rows train, select and judge each model, with dates, and every fit of a walk-forward run.",
)
@json_option
@click.pass_context
def show(ctx: click.Context, files: tuple[Path, ...], no_data: bool, splits: bool, as_json: bool) -> None:
    """Show the jobs of plans, expanded, in the order in which they run."""
    from cbi_queue.plan import execution_order

    if splits and no_data:
        raise click.UsageError("--splits reads the dates of the exports; leave out --no-data")
    plans = _read(files, no_data=no_data)
    jobs = execution_order([job for plan in plans for job in plan.jobs])
    if splits:
        ctx.exit(_show_splits(jobs, as_json=as_json))
    if as_json:
        print_json([job.model_dump(mode="json") for job in jobs])
    else:
        _print_jobs(jobs)
        click.echo(f"\nFinish: {_finish_words(jobs)}")


def _finish_words(jobs: Sequence[JobSpec]) -> str:
    """Return when the jobs will be done, as `cbi-queue eta` says it with the queue of this installation."""
    from cbi_queue.cli.output import finish_words, printable
    from cbi_queue.settings import load_settings
    from cbi_queue.views.forecast_plan import plan_finish, plan_forecast
    from cbi_queue.views.snapshot import open_forecast

    settings = load_settings()
    if not settings.ledger_path.exists():
        return "unknown: nothing has run here"
    with open_forecast(settings) as (forecast, holds, daemon_works):
        plan = plan_forecast(forecast, jobs)
        return printable(finish_words(plan_finish(plan, holds, daemon_works=daemon_works)))


def _show_splits(jobs: Sequence[JobSpec], *, as_json: bool) -> int:
    from cbi_queue.settings import load_settings
    from cbi_queue.views.split_plan import split_plans

    plans = split_plans(load_settings(), jobs)
    if as_json:
        print_json([plan.as_json() for plan in plans])
    else:
        from cbi_queue.cli.split_view import print_splits

        print_splits(plans)
    return 2 if any("error" in plan.body for plan in plans) else 0


@command.command(
    epilog=examples(
        "plan schema > day-plan.schema.json",
        more="Then make this the first line of a plan: # yaml-language-server: $schema=day-plan.schema.json",
    )
)
@json_option
def schema(as_json: bool) -> None:  # noqa: ARG001 # a schema is JSON either way
    """Print the JSON Schema of a plan, for editors."""
    from cbi_queue.plan.schema import plan_schema

    print_json(plan_schema())


def _read(
    files: Sequence[Path], *, no_data: bool, notes: list[str] | None = None, copy_of: str | None = None
) -> list[DayPlan]:
    from cbi_queue.cli.ledger_access import existing_ledger
    from cbi_queue.cli.verbs.enqueue import checked_plans
    from cbi_queue.settings import load_settings

    settings = load_settings()
    with existing_ledger(settings) as ledger:
        return checked_plans(settings, ledger, files, no_data=no_data, notes=notes, copy_of=copy_of)


def _without_runtime(plans: Sequence[DayPlan]) -> list[str]:
    """Return what `enqueue` would refuse on this machine although the plan is correct."""
    from cbi_queue.cli.verbs.enqueue import without_runtime
    from cbi_queue.settings import load_settings

    return without_runtime(load_settings(), plans)


def _stale_or_dirty(plans: Sequence[DayPlan]) -> list[str]:
    """Return where features are those of an earlier export, and where the code of scripts is in no commit."""
    from cbi_queue.cli.verbs.enqueue import dirty_words, snapshots_of
    from cbi_queue.datasets.place import DEFAULT
    from cbi_queue.settings import load_settings

    found = snapshots_of(load_settings(), plans)
    words = [dirty_words(folder) for folder in found.dirty]
    for dataset, horizon in found.stale():
        of = horizon if dataset == DEFAULT else f"{horizon} of the data set {dataset}"
        words.append(
            f"the export of {of} changed since its features were built; `run` or `enqueue` of a plan with its features "
            "job builds them again, `cbi-queue refresh` trains every model of the plan on them"
        )
    return words


def _summary(plans: Sequence[DayPlan]) -> dict[str, Any]:
    """Return what `check` prints: jobs by family and horizon, order, budget, notes."""
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
    """Return what is worth knowing but not a complaint."""
    from cbi_queue import budget
    from cbi_queue.models import catalogue

    days = {plan.day for plan in plans}
    notes = []
    if any(budget.is_in_week(day) for day in days) and not budget.is_whole_week(days):
        short = ", ".join(f"{row.words} {count} of {row.minimum}" for row, count in budget.shortfalls(families))
        absent = sorted(budget.WEEK_DAYS - days)
        missing = f"day {absent[0]} is" if len(absent) == 1 else f"days {', '.join(map(str, absent))} are"
        if short:
            notes.append(f"below the week's minimum: {short}; not a complaint, because {missing} not among the files")
    if outside := [plan.source for plan in plans if not budget.is_in_week(plan.day)]:
        notes.append(f"not counted in the week's budget: {', '.join(outside)}")
    return [*notes, *map(str, catalogue.outside().faults)]


def _print_summary(plans: Sequence[DayPlan], summary: dict[str, Any]) -> None:
    for plan in plans:
        click.echo(f"{plan.source}: day {plan.day}, {counted(len(plan.jobs), 'job')}. {plan.title}")
    click.echo()
    _print_counts(summary["jobs"])
    click.echo()
    _print_budget(plans, summary["budget"])
    click.echo()
    for note in summary["notes"]:
        click.echo(f"note: {note}")
    click.echo(f"OK: {counted(len(summary['order']), 'job')}, every `needs` resolves, no cycle{_days_words(plans)}")


def _days_words(plans: Sequence[DayPlan]) -> str:
    """Return that the days are in order, where there are several."""
    from cbi_queue import budget

    days = {plan.day for plan in plans if budget.is_in_week(plan.day)}
    return ", no day waits for a later one" if len(days) > 1 else ""


def _print_counts(counts: dict[str, dict[str, int]]) -> None:
    rows = []
    for family, row in counts.items():
        cells = [row.get(horizon, 0) for horizon in HORIZONS]
        rows.append((family, *(str(count or "") for count in cells), str(sum(row.values()))))
    print_table("Jobs", ("family", *(f">{horizon}" for horizon in HORIZONS), ">all"), rows)


def _print_budget(plans: Sequence[DayPlan], progress: dict[str, Any]) -> None:
    """Print each row of the budget with what these plans hold, and on which days; then what does not count."""
    from collections import Counter

    from cbi_queue import budget

    counted_jobs = [
        (plan.day, job.family)
        for plan in plans
        if budget.is_in_week(plan.day)
        for job in plan.jobs
        if budget.counts_as_model(job.family, job.model)
    ]
    where = Counter(counted_jobs)
    rows = [
        (
            row["words"],
            str(row["counts"]["queued"]),
            str(row["planned"]),
            budget.range_words(row["minimum"], row["maximum"]),
            ", ".join(
                f"day {day}: {count}" for (day, family), count in sorted(where.items()) if family == row["family"]
            ),
        )
        for row in (*progress["rows"], progress["total"])
    ]
    print_table("Models of these plans, and the budget of a week", _BUDGET_COLUMNS, rows)
    others = sum(len(plan.jobs) for plan in plans) - len(counted_jobs)
    week = budget.range_words(budget.TOTAL.minimum, budget.TOTAL.maximum, " to ")
    click.echo(f"A week is to hold {week} models. Feature caches, baselines, plain ensembles, mixtures,")
    click.echo(f"sentiment, exports, backtests and forecasts do not count: {others} of these jobs.")


_BUDGET_COLUMNS = ("kind", ">here", ">planned", ">allowed", "where")
_JOB_COLUMNS = (
    ">#", "name", "??family", "??model", "horizon", "?needs", "??>priority", "??>retries", "??>timeout", "parameters",
)  # fmt: skip


def _print_jobs(jobs: Sequence[JobSpec]) -> None:
    rows = [(str(number), *_job_cells(job)) for number, job in enumerate(jobs, 1)]
    print_table(f"{counted(len(jobs), 'job')} in execution order", _JOB_COLUMNS, rows)


def _job_cells(job: JobSpec) -> tuple[str, ...]:
    timeout = "" if job.timeout_s is None else duration(job.timeout_s)
    limits = (str(job.priority), str(job.retries), timeout)
    return (job.name, job.family, job.model, job.horizon, ", ".join(job.waits_for), *limits, _changed_params(job))


def _changed_params(job: JobSpec) -> str:
    """Return the parameters that differ from the model's defaults."""
    defaults = job.entry.params().model_dump(mode="json")
    return ", ".join(f"{key}={value}" for key, value in job.params.items() if value != defaults[key])
