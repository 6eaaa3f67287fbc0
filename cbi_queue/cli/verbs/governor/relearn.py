"""`cbi-queue governor relearn`: delete cold baselines that are out of date, so that they are learned again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option, model_names_argument
from cbi_queue.cli.ledger_access import readonly_ledger, writable_ledger
from cbi_queue.cli.output import local_time, print_json, printable
from cbi_queue.ledger.learned import Learned, relearn
from cbi_queue.ledger.queries import job_in_slot
from cbi_queue.wording import per_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.ledger import JobRow


@click.command(
    epilog=examples(
        "governor relearn lstm             it became slower for good",
        "governor relearn 'lstm 1w'        one horizon only",
        "governor relearn --all --probes   after a system update",
        "governor relearn --all --dry-run",
        more="Exit codes: 0 deleted (or nothing to delete), 2 no baseline has that name and nothing was changed.",
    )
)
@model_names_argument
@click.option("--all", "every", is_flag=True, help="All cold baselines.")
@click.option("--probes", is_flag=True, help="Also the cold times of the calibration probes.")
@click.option("--dry-run", is_flag=True, help="Print what would be deleted; change nothing.")
@json_option
def command(names: tuple[str, ...], every: bool, probes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete cold baselines, so that the next runs learn them again. Does not ask for confirmation.

    MODEL is a model, a fingerprint or its first words ('lstm 1w'); `governor baselines` lists them. A running job keeps
    its baseline until its next attempt. Start the next run of each model on a cool machine: later slow-downs are
    measured against what it costs there.
    """
    if (names and every) or not (names or every or probes):
        raise click.UsageError("name models or fingerprints, or use --all; --probes deletes the calibration probes")
    with readonly_ledger() if dry_run else writable_ledger() as ledger:
        found = relearn(ledger, names, every=every, probes=probes, dry_run=dry_run)
        in_slot = _concerned(job_in_slot(ledger), found)
    if as_json:
        print_json({**asdict(found), "dry_run": dry_run, "goes_on": None if in_slot is None else in_slot.name})
        return
    for words in _words(found, "Would delete" if dry_run else "Deleted"):
        click.echo(printable(words))
    if found == Learned():
        asked = [*["cold baseline"] * every, *["time of a calibration probe"] * probes]
        click.echo(f"There was nothing to delete: no {' and no '.join(asked)} has been learned.")
    if in_slot is not None:
        name = printable(in_slot.name)
        click.echo(f"{name} (job {in_slot.id}) keeps its baseline for now; this applies from its next attempt.")


def _concerned(job: JobRow | None, found: Learned) -> JobRow | None:
    """Return the job in the slot if a deleted baseline is one of its own."""
    return job if job is not None and (found.probes or job.model in found.models) else None


def _words(found: Learned, verb: str) -> Iterator[str]:
    for row in found.baselines:
        batch = "" if row.micro_batch is None else f", micro-batch {row.micro_batch}"
        cost, since = per_sample(row.seconds_per_sample), local_time(row.learned_at)
        yield f"{verb} {row.fingerprint}{batch}: {cost} a sample, learned {since}"
    for probe in found.probes:
        yield f"{verb} the calibration probe {probe.workload} on {probe.device}: {probe.wall_s * 1e3:.1f} ms"
