"""`cbi-queue wait [NAME...]`."""

from __future__ import annotations

import sys
import time

import click

from cbi_queue import clock
from cbi_queue.cli.arguments import DurationType, examples, job_names_argument
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import printable
from cbi_queue.ledger import Ledger, queries
from cbi_queue.lifecycle import JobState

POLL_S = 0.2


@click.command(epilog=examples("wait", "wait lightgbm-1m --timeout 2h && echo trained"))
@job_names_argument(required=False)
@click.option("--timeout", "timeout_s", type=DurationType(), help="Give up after this time: 30m, 2h, …")
def command(names: tuple[str, ...], timeout_s: float | None) -> None:
    """Wait until the named jobs have ended; without names, until nothing is left to train.

    It also ends when the named jobs cannot start without you: they are held, or need a job that ended without success.
    Exit codes: 0 all succeeded, 1 one did not (without names: a job failed while waiting), 75 the timeout passed.
    """
    deadline = clock.monotonic_s() + (timeout_s or float("inf"))
    with readonly_ledger() as ledger:
        began_after_event = queries.last_event_id(ledger)
        numbers = [queries.find_job(ledger, name).id for name in names]
        while not _over(ledger, numbers):
            if clock.monotonic_s() > deadline:
                click.echo("Gave up waiting: the timeout passed.", err=True)
                sys.exit(75)
            time.sleep(POLL_S)
        _print_unsuccessful(ledger, numbers)
        sys.exit(0 if _all_well(ledger, numbers, began_after_event) else 1)


def _over(ledger: Ledger, numbers: list[int]) -> bool:
    with ledger.snapshot():
        ended = [queries.job_numbered(ledger, number).state.is_final for number in numbers]
        return (bool(ended) and all(ended)) or queries.workload(ledger).is_empty


def _print_unsuccessful(ledger: Ledger, numbers: list[int]) -> None:
    for job in (queries.job_numbered(ledger, number) for number in numbers):
        if job.state is not JobState.SUCCEEDED:
            how = "ended without success" if job.state.is_final else "cannot start without you"
            why = f"`cbi-queue show {job.id}` shows why"
            click.echo(f"{printable(job.name)} (job {job.id}) is {job.state}: it {how}; {why}.", err=True)


def _all_well(ledger: Ledger, numbers: list[int], began_after_event: int) -> bool:
    if not numbers:
        return not queries.failed_since(ledger, began_after_event)
    return all(queries.job_numbered(ledger, number).state is JobState.SUCCEEDED for number in numbers)
