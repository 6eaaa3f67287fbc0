"""`cbi-queue wait [NAME...]`."""

from __future__ import annotations

import sys
import time

import click

from cbi_queue import clock
from cbi_queue.cli.arguments import job_names_argument
from cbi_queue.cli.ledger_access import ledger_for_looking
from cbi_queue.cli.output import DurationType, printable
from cbi_queue.ledger import Ledger, queries
from cbi_queue.lifecycle import JobState

LOOK_S = 0.2


@click.command(epilog="Examples:\n\n\b\n  cbi-queue wait\n  cbi-queue wait lightgbm-1m --timeout 2h && echo trained")
@job_names_argument(required=False)
@click.option("--timeout", "timeout_s", type=DurationType(), help="Give up after 30m, 2h, …")
def command(names: tuple[str, ...], timeout_s: float | None) -> None:
    """Wait until the named jobs have ended, or, without names, until nothing is left to train.

    Also ends when the named jobs can no longer move by themselves: held, or stuck behind a job that ended without
    success. Exit codes: 0 all succeeded, 1 one did not (or, without names, a job failed meanwhile), 75 the timeout passed.
    """
    deadline = clock.monotonic_s() + (timeout_s or float("inf"))
    with ledger_for_looking() as ledger:
        began_after_event = queries.last_event_id(ledger)
        numbers = [queries.find_job(ledger, name).id for name in names]
        while not _over(ledger, numbers):
            if clock.monotonic_s() > deadline:
                click.echo("Gave up waiting.", err=True)
                sys.exit(75)
            time.sleep(LOOK_S)
        _tell_stuck(ledger, numbers)
        sys.exit(0 if _all_well(ledger, numbers, began_after_event) else 1)


def _over(ledger: Ledger, numbers: list[int]) -> bool:
    with ledger.snapshot():
        ended = [queries.find_job(ledger, str(number)).state.is_final for number in numbers]
        return (bool(ended) and all(ended)) or queries.workload(ledger).is_empty


def _tell_stuck(ledger: Ledger, numbers: list[int]) -> None:
    for job in (queries.find_job(ledger, str(number)) for number in numbers):
        if not job.state.is_final:
            click.echo(f"{printable(job.name)} (job {job.id}) is {job.state} and cannot move by itself.", err=True)


def _all_well(ledger: Ledger, numbers: list[int], began_after_event: int) -> bool:
    if not numbers:
        return not queries.failed_since(ledger, began_after_event)
    return all(queries.find_job(ledger, str(number)).state is JobState.SUCCEEDED for number in numbers)
