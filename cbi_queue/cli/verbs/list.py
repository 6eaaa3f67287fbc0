"""`cbi-queue list`: one line per job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import ago, print_json_list, print_table, printable
from cbi_queue.ledger.queries import brief_jobs
from cbi_queue.lifecycle import FINAL_STATES, JobState
from cbi_queue.models.kinds import HORIZONS, Family
from cbi_queue.views.job_words import blocked_lines
from cbi_queue.views.snapshot import lines_and_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.snapshot import JobLine

ON_A_TERMINAL = 100
"""Jobs that are listed on a terminal unless all are asked for: what one scrolls through."""
KEYS = ("id", "name", "day", "family", "model", "horizon", "state", "reason", "priority", "attempts", "damage")


@click.command(epilog=examples("list", "list --state failed", "list --all --json"))
@click.option("--all", "show_all", is_flag=True, help="Include the jobs that have ended.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in JobState]),
    multiple=True,
    help="Only jobs in this state. May be given several times.",
)
@click.option("--family", type=click.Choice([family.value for family in Family]), help="Only this family.")
@click.option("--horizon", type=click.Choice(HORIZONS), help="Only this horizon.")
@json_option
def command(show_all: bool, state: tuple[str, ...], family: str | None, horizon: str | None, as_json: bool) -> None:
    """List the jobs that have not ended, or all jobs with --all.

    On a terminal, the first 100; with --all, --state or --json, and in a pipe or a file, every one.
    """
    wanted = _wanted(show_all, state, family, horizon)
    with readonly_ledger() as ledger:
        lines, blocked = lines_and_blocked(ledger)
        jobs = [job for job in brief_jobs(ledger) if wanted(job)] if as_json else []
    listed = [line for line in lines if wanted(line)]
    if as_json:
        why = {line.id: line.why for line in listed}
        print_json_list({key: getattr(job, key) for key in KEYS} | {"why": why.get(job.id, "")} for job in jobs)
        return
    if listed:
        is_cut = sys.stdout.isatty() and not (show_all or state) and len(listed) > ON_A_TERMINAL
        _print(listed[:ON_A_TERMINAL] if is_cut else listed)
        if is_cut:
            click.echo(
                f"\n{len(listed) - ON_A_TERMINAL} more are not shown: `cbi-queue list --state queued` lists all of a state, "
                "`--all` every job"
            )
    else:
        click.echo(
            "No job matches." if show_all or state else "Nothing is left to do. `--all` lists the ended jobs too."
        )
    for words in blocked_lines(blocked):
        click.secho(printable(words), fg="red")


def _wanted(
    show_all: bool, states: Sequence[str], family: str | None, horizon: str | None
) -> Callable[[JobRow | JobLine], bool]:
    """Return the test that the options mean."""
    kept = set(states or ([] if show_all else [state.value for state in JobState if state not in FINAL_STATES]))

    def is_wanted(job: JobRow | JobLine) -> bool:
        return (not kept or job.state in kept) and family in {None, job.family} and horizon in {None, job.horizon}

    return is_wanted


def _print(lines: Sequence[JobLine]) -> None:
    horizon = "?horizon" if any(j.horizon != "-" for j in lines) else "?"  # scripts have none
    rows = (
        (
            str(j.id), j.name, j.model, j.horizon if horizon != "?" else "", j.state, str(j.priority),
            ago(j.changed_at), j.why,
        )
        for j in lines
    )  # fmt: skip
    print_table("", (">job", "name", "?model", horizon, "state", "?>priority", "?changed", "why"), rows)
