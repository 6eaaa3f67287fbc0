"""`cbi-queue enqueue FILE...`: add the jobs of day plans to the queue, all of them or none."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option, plan_files_argument
from cbi_queue.cli.output import print_json
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cbi_queue.datasets.inspection import Inspection, Request
    from cbi_queue.datasets.snapshots import Snapshots
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.enqueue import Enqueued, EnqueuedJob
    from cbi_queue.settings import Settings
    from cbi_queue.spec import DayPlan, JobSpec

NAMES_SHOWN = 4
RETRIED = frozenset({"failed", "cancelled", "vetoed"})
"""States from which `retry` queues any job again; of those that succeeded only damaged ones and feature builds."""


@click.command(epilog=examples("enqueue schedules/day1.yaml", "enqueue schedules --json"))
@plan_files_argument()
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Add the jobs of day plans to the queue.

    All plans are checked first; if there is one complaint, nothing is enqueued. A job that is in the queue already is
    left alone, whatever its state, so enqueuing the same plan twice changes nothing. When an export has changed, its
    features are built again and jobs that have not started follow; what was trained stays (`cbi-queue refresh` trains
    it again). Exit codes: 0 done, 2 refused.
    """
    from cbi_queue.settings import load_settings

    done = enqueue_files(load_settings(), files)
    if as_json:
        print_json(as_plain(done))
        return
    print_enqueued(done)


def enqueue_files(settings: Settings, files: Sequence[Path], *, refresh: bool = False) -> Enqueued:
    """Read, check and enqueue *files* in one transaction; *refresh*: what was trained on other data as well.

    Raises:
        PlanError: with every complaint.
        Refused: when a job of the same name with other content has not ended.
    """
    from cbi_queue.errors import PlanError
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.enqueue import enqueue

    settings.make_state_dir()
    with _uncollected(), Ledger.open(settings.ledger_path) as ledger:
        try:
            plans = checked_plans(settings, ledger, files)
            if complaints := without_runtime(settings, plans):
                raise PlanError(complaints)
        except PlanError as exc:
            raise PlanError(exc.complaints, "; nothing was enqueued") from exc
        return enqueue(ledger, plans, snapshots_of(settings, plans), refresh=refresh)


def snapshots_of(settings: Settings, plans: Sequence[DayPlan]) -> Snapshots:
    """Look at the exports and caches that the jobs of *plans* read."""
    from dataclasses import replace

    from cbi_queue.datasets.code_state import code_of
    from cbi_queue.datasets.snapshots import look
    from cbi_queue.models.kinds import Family

    jobs = [job for plan in plans for job in plan.jobs]
    keys = [(job.dataset, job.horizon) for job in jobs if job.family != Family.SCRIPT]
    found = look(settings.exports_dir, settings.processed_dir, keys, settings.hashes_path)
    code, dirty = code_of({job.name: job.params for job in jobs if job.family == Family.SCRIPT})
    return replace(found, code=code, dirty=dirty)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave the garbage collector out: a plan's thousands of jobs live to the end, and looking at them takes a tenth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def checked_plans(
    settings: Settings,
    ledger: Ledger | None,
    files: Sequence[Path],
    *,
    no_data: bool = False,
    notes: list[str] | None = None,
) -> list[DayPlan]:
    """Read *files* and check them against the machine, the data (unless *no_data*) and the jobs in the ledger; *notes* takes what is
    worth knowing of the data.
    """
    from cbi_queue.datasets.importing import finish_interrupted
    from cbi_queue.hardware.detection import profile_for
    from cbi_queue.ledger.peaks import peaks_by_backend
    from cbi_queue.plan import read_plans

    if not no_data:
        finish_interrupted(settings)
    return read_plans(
        files,
        profile=profile_for(settings.profile, settings.profiles_dir).profile,
        exports_dir=None if no_data else settings.exports_dir,
        processed_dir=None if no_data else settings.processed_dir,
        known_jobs=JobsInLedger(ledger) if ledger else None,
        peaks=peaks_by_backend(ledger) if ledger else None,
        inspect=None if no_data else inspector(settings),
        notes=notes,
    )


def inspector(settings: Settings) -> Callable[[Sequence[Request]], list[Inspection] | None]:
    """Return what opens exports with these settings, each content once."""
    from cbi_queue.datasets.inspection import inspect_exports

    interpreter = settings.interpreter_for("native")
    return partial(inspect_exports, interpreter, memory=settings.checks_path, hashes=settings.hashes_path)


def without_runtime(settings: Settings, plans: Sequence[DayPlan]) -> list[str]:
    """Return a complaint for each plan and what is not installed of it, a runtime or an option: its jobs could only fail."""
    from cbi_queue.models.catalogue import MODELS
    from cbi_queue.runtimes import absent, absent_extras

    python = settings.interpreter_for("native")
    words = []
    for plan in plans:
        needed = {job.name: job.backend for job in plan.jobs}
        words += [
            f"{plan.source}: {_who_needs(backend, needed)} the {backend} runtime, which is not installed; run "
            f"`cbi-queue runtime install {backend}`, or write `backend: torch` in the plan"
            for backend in absent(settings, needed.values())
        ]
        wanted = {job.name: extra for job in plan.jobs if (extra := MODELS[job.model].extra)}
        words += [
            f"{plan.source}: {_who_needs(extra, wanted)} the package {extra}, which is not installed; run "
            f"`{python} -m pip install 'cbi-queue[{extra}]'`, or leave the model out"
            for extra in absent_extras(python, wanted.values())
        ]
    return words


def _who_needs(what: str, needed: Mapping[str, str]) -> str:
    names = [name for name, need in needed.items() if need == what]
    return f"{names[0]} needs" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more need"


class JobsInLedger(Mapping[str, "JobSpec"]):
    """The newest job of each name in the ledger, as specs that `needs` may name; each is looked up when it is asked for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getitem__(self, name: str) -> JobSpec:
        """Return the newest job of this very name."""
        from cbi_queue.ledger.queries import newest_named
        from cbi_queue.spec import JobSpec

        job = newest_named(self._ledger, name)
        if job is None:
            raise KeyError(name)
        return JobSpec.model_construct(**job.spec)

    def __iter__(self) -> Iterator[str]:
        """Return every name."""
        from cbi_queue.ledger.queries import job_names

        return iter(job_names(self._ledger))

    def __len__(self) -> int:
        """Count the names."""
        return sum(1 for _ in self)


_CHANGED = {
    "changed": "The data changed: queued again on the new snapshot",
    "members_changed": "Their members were trained again: queued again to combine the new runs",
}
_LEFT = {
    "older": ("On an older snapshot of the data", "trains them on the present one"),
    "members": ("Made of earlier runs of their members", "combines the present ones"),
}


def print_enqueued(done: Enqueued) -> None:
    """Print what enqueuing did."""
    if done.new:
        waiting = sum(1 for job in done.new if job.state == "waiting")
        tail = f", {waiting} of them waiting for jobs they need" if waiting else ""
        click.echo(f"Enqueued {counted(len(done.new), 'job')}{tail}.")
    for data, words in _CHANGED.items():
        if changed := [job.name for job in done.new if job.data == data]:
            click.echo(f"{words}: {_some(changed)}.")
    if done.renewed:
        names = _some([job.name for job in done.renewed])
        click.echo(f"The data changed: not started yet, and now for the new snapshot: {names}.")
    _print_already_there(done.already_there)
    for folder in done.dirty:
        click.echo(dirty_words(folder), err=True)
    if not done.new and not done.renewed:
        click.echo("Nothing changed.")
        if any(job.state in RETRIED for job in done.already_there):
            click.echo("`cbi-queue retry NAME` queues a failed, cancelled or vetoed job again.")


def dirty_words(folder: str) -> str:
    """Say that the code in *folder* is in no commit."""
    return f"The code in {folder} has changes that are in no commit; they are part of what its jobs are."


def _print_already_there(jobs: Sequence[EnqueuedJob]) -> None:
    if jobs:
        states: dict[str, int] = {}
        for job in jobs:
            states[job.state] = states.get(job.state, 0) + 1
        by_state = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        click.echo(f"{counted(len(jobs), 'job')} already there and left alone ({by_state}).")
    for data, (words, hint) in _LEFT.items():
        if older := [job.name for job in jobs if job.data == data]:
            click.echo(f"{words}, and left as they are: {_some(older)}.")
            click.echo(f"`cbi-queue refresh FILE` {hint}.")


def _some(names: list[str]) -> str:
    return ", ".join(names if len(names) <= NAMES_SHOWN else [*names[: NAMES_SHOWN - 1], f"{len(names) - 3} more"])


def as_plain(done: Enqueued) -> dict[str, list[dict[str, object]]]:
    """Return what enqueuing did as plain JSON values."""
    return {"new": _plain(done.new), "already_there": _plain(done.already_there), "renewed": _plain(done.renewed)}


def _plain(jobs: tuple[EnqueuedJob, ...]) -> list[dict[str, object]]:
    return [{"id": job.job_id, "name": job.name, "state": job.state, "data": job.data} for job in jobs]
