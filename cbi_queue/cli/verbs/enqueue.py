"""`cbi-queue enqueue FILE...`: the jobs of day plans become rows, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import plan_files_argument
from cbi_queue.cli.output import json_option, print_json
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.enqueue import Enqueued, EnqueuedJob
    from cbi_queue.settings import Settings
    from cbi_queue.spec import DayPlan, JobSpec


@click.command(
    epilog="Examples:\n\n\b\n  cbi-queue enqueue schedules/day1.yaml\n  cbi-queue enqueue schedules/day*.yaml --json"
)
@plan_files_argument
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Put the jobs of day plans into the queue.

    The plans are checked as a whole first; with one complaint nothing is enqueued. A job that is already there, whatever
    became of it, is left alone: the same plan twice changes nothing.
    """
    from cbi_queue.settings import load_settings

    done = enqueue_files(load_settings(), files)
    if as_json:
        print_json({"new": _plain(done.new), "already_there": _plain(done.already_there)})
        return
    tell_enqueued(done)


def enqueue_files(settings: Settings, files: Sequence[Path]) -> Enqueued:
    """Read, check and enqueue *files* in one transaction.

    Raises:
        PlanError: with every complaint.
        Refused: when the queue has a live job of the same name and another content.
    """
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.enqueue import enqueue

    settings.make_state_dir()
    with Ledger.open(settings.ledger_path) as ledger:
        return enqueue(ledger, checked_plans(settings, ledger, files))


def checked_plans(settings: Settings, ledger: Ledger, files: Sequence[Path]) -> list[DayPlan]:
    """Read and check *files* against the machine, the data and the jobs that are there."""
    from cbi_queue.hardware.detection import profile_for
    from cbi_queue.ledger.peaks import peaks_by_backend
    from cbi_queue.plan import read_plans

    plans = read_plans(
        files,
        profile=profile_for(settings.profile, settings.profiles_dir).profile,
        exports_dir=settings.exports_dir,
        processed_dir=settings.processed_dir,
        known_jobs=jobs_in(ledger),
        peaks=peaks_by_backend(ledger),
    )
    refuse_without_runtime(settings, plans)
    return plans


def refuse_without_runtime(settings: Settings, plans: Sequence[DayPlan]) -> None:
    """Raise PlanError for jobs whose backend has no Python here: on ours they could only fail."""
    from cbi_queue.errors import PlanError

    if complaints := without_runtime(settings, plans):
        raise PlanError(complaints)


def without_runtime(settings: Settings, plans: Sequence[DayPlan]) -> list[str]:
    """Say in words which jobs have no Python to train on, a line for each plan and backend."""
    from cbi_queue.runtimes import absent

    words = []
    for plan in plans:
        for backend in absent(settings, (job.backend for job in plan.jobs)):
            names = [job.name for job in plan.jobs if job.backend == backend]
            first = f"{names[0]} needs" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more need"
            words.append(
                f"{plan.source}: {first} the {backend} runtime, which is not installed; make it with "
                f"`cbi-queue runtime install {backend}`, or write `backend: torch`"
            )
    return words


def jobs_in(ledger: Ledger) -> dict[str, JobSpec]:
    """Return the newest job of every name in the ledger, as a spec that `needs` may point to."""
    from cbi_queue.ledger.queries import all_jobs
    from cbi_queue.spec import JobSpec

    return {job.name: JobSpec.model_construct(**job.spec) for job in all_jobs(ledger)}


def tell_enqueued(done: Enqueued) -> None:
    """Say in words what enqueuing did."""
    if done.new:
        waiting = sum(1 for standing in done.new if standing.state == "waiting")
        tail = f", {waiting} of them waiting for jobs they need" if waiting else ""
        click.echo(f"Enqueued {counted(len(done.new), 'job')}{tail}.")
    if done.already_there:
        states: dict[str, int] = {}
        for standing in done.already_there:
            states[standing.state] = states.get(standing.state, 0) + 1
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        click.echo(f"{counted(len(done.already_there), 'job')} already there and left alone ({told}).")
    if not done.new:
        click.echo("Nothing changed. `cbi-queue retry NAME` queues an ended job again.")


def _plain(standings: tuple[EnqueuedJob, ...]) -> list[dict[str, object]]:
    return [{"id": s.job_id, "name": s.name, "state": s.state} for s in standings]
