"""`cbi-queue list`: one line per job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import ago, print_json_list, print_table
from cbi_queue.ledger.queries import brief_jobs
from cbi_queue.lifecycle import FINAL_STATES, REASON_WORDS, JobState
from cbi_queue.models.kinds import HORIZONS, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import JobRow

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
    conditions, values = _conditions(show_all, state, family, horizon)
    with readonly_ledger() as ledger:
        jobs = brief_jobs(ledger, conditions, *values)
    if as_json:
        print_json_list({key: getattr(job, key) for key in KEYS} for job in jobs)
    elif not jobs:
        click.echo(
            "No job matches." if show_all or state else "Nothing is left to do. `--all` lists the ended jobs too."
        )
    else:
        is_cut = sys.stdout.isatty() and not (show_all or state) and len(jobs) > ON_A_TERMINAL
        _print(jobs[:ON_A_TERMINAL] if is_cut else jobs)
        if is_cut:
            click.echo(
                f"\n{len(jobs) - ON_A_TERMINAL} more are not shown: `cbi-queue list --state queued` lists all of a state, "
                "`--all` every job"
            )


def _conditions(
    show_all: bool, states: Sequence[str], family: str | None, horizon: str | None
) -> tuple[str, list[str]]:
    """Return the SQL condition that the options mean, and the values in it."""
    wanted = states or ([] if show_all else [state.value for state in JobState if state not in FINAL_STATES])
    parts = [f"state IN ({', '.join('?' * len(wanted))})"] if wanted else []
    parts += [f"{column} = ?" for column, value in (("family", family), ("horizon", horizon)) if value]
    return " AND ".join(parts) or "1", [*wanted, *filter(None, (family, horizon))]


def _print(jobs: Sequence[JobRow]) -> None:
    rows = (
        (
            str(j.id), j.name, j.model, j.horizon, j.state, str(j.priority), ago(j.changed_at),
            f"damaged: {j.damage}" if j.damage else REASON_WORDS[j.reason],
        )
        for j in jobs
    )  # fmt: skip
    print_table("", (">job", "name", "?model", "?horizon", "state", "?>priority", "?changed", "why"), rows)
