"""`cbi-queue governor relearn`: forget cold baselines that are no longer true."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import model_names_argument
from cbi_queue.cli.ledger_access import ledger_for_looking, ledger_for_writing
from cbi_queue.cli.output import json_option, local_time, print_json, printable
from cbi_queue.ledger.learned import Learned, relearn
from cbi_queue.ledger.queries import job_in_slot
from cbi_queue.wording import per_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.ledger import JobRow


@click.command(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue governor relearn lstm               after a change that made it slower for good\n"
    "  cbi-queue governor relearn 'lstm 1w'          one horizon only\n"
    "  cbi-queue governor relearn --all --probes     after an update of the system, or on another machine\n"
    "  cbi-queue governor relearn --all --dry-run\n\n"
    "Exit codes: 0 forgotten (or nothing was there), 2 a name calls no baseline and nothing was changed."
)
@model_names_argument
@click.option("--all", "every", is_flag=True, help="Every cold baseline.")
@click.option("--probes", is_flag=True, help="The cold times of the calibration probes, too.")
@click.option("--dry-run", is_flag=True, help="Print what would be forgotten; change nothing.")
@json_option
def command(names: tuple[str, ...], every: bool, probes: bool, dry_run: bool, as_json: bool) -> None:
    """Forget what work costs on the cold machine, so that the next runs learn it anew. Asks nothing.

    MODEL is a model, a fingerprint or its leading words ('lstm 1w'); `governor baselines` lists them. A job that trains
    goes on with what it began with, and its next attempt learns anew. Let the next run of each begin on a cool machine:
    what it costs there is what slow-downs are then measured against.
    """
    if (names and every) or not (names or every or probes):
        raise click.UsageError("name models or fingerprints, or say --all; --probes forgets the calibration probes")
    with ledger_for_looking() if dry_run else ledger_for_writing() as ledger:
        found = relearn(ledger, names, every=every, probes=probes, dry_run=dry_run)
        in_slot = _goes_on(job_in_slot(ledger), found)
    if as_json:
        print_json({**asdict(found), "dry_run": dry_run, "goes_on": None if in_slot is None else in_slot.name})
        return
    for words in _words(found, "Would forget" if dry_run else "Forgot"):
        click.echo(printable(words))
    if in_slot is not None:
        name = printable(in_slot.name)
        click.echo(f"{name} (job {in_slot.id}) goes on with what it began with; this applies from its next attempt.")


def _goes_on(job: JobRow | None, found: Learned) -> JobRow | None:
    """Return the job in the slot if what was forgotten concerns it."""
    concerned = job is not None and (found.probes or job.model in found.models)
    return job if concerned else None


def _words(found: Learned, verb: str) -> Iterator[str]:
    for row in found.baselines:
        batch = "" if row.micro_batch is None else f", micro-batch {row.micro_batch}"
        cost, since = per_sample(row.seconds_per_sample), local_time(row.learned_at)
        yield f"{verb} {row.fingerprint}{batch}: {cost} a sample, learned {since}"
    for probe in found.probes:
        yield f"{verb} the calibration probe {probe.workload} on {probe.device}: {probe.wall_s * 1e3:.1f} ms"
    if found == Learned():
        yield "Nothing of that was learned yet; there is nothing to forget."
