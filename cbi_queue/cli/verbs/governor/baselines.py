"""`cbi-queue governor baselines`: the cost of work on the cold machine, learned from earlier runs."""

from __future__ import annotations

from dataclasses import asdict

import click

from cbi_queue.cli.arguments import examples, json_option, model_names_argument
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import local_time, print_json, print_table
from cbi_queue.ledger.learned import BaselineRow, what_was_learned
from cbi_queue.wording import per_sample


@click.command(
    epilog=examples(
        "governor baselines",
        "governor baselines lstm 'gru 1w' --json",
        more="Exit codes: 0 listed, 2 no baseline has that name.",
    )
)
@model_names_argument
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the cold baselines and calibration probes.

    Slow-downs are measured against the cold baselines; `governor relearn` deletes them. MODEL is a model, a fingerprint
    or its first words ('lstm 1w'). Default: all. A fingerprint with 'by processor time' counts processor milliseconds
    instead of samples.
    """
    with readonly_ledger() as ledger:
        found = what_was_learned(ledger, names)
    if as_json:
        print_json(asdict(found))
        return
    if found.baselines:
        columns = (">a sample", "?>spread", "?>micro-batch", "?>reports", "learned", "fingerprint")
        print_table("Cold baselines", columns, map(_cells, found.baselines))
    else:
        click.echo("No cold baseline has been learned yet.")
    if found.probes:
        click.echo()
        rows = [
            (f"{one.wall_s * 1e3:.1f} ms", local_time(one.learned_at), one.device, one.workload) for one in found.probes
        ]
        print_table("Calibration probes", (">cold", "learned", "device", "workload"), rows)


def _cells(row: BaselineRow) -> tuple[str, ...]:
    micro_batch = "" if row.micro_batch is None else str(row.micro_batch)
    cost, spread = per_sample(row.seconds_per_sample), f"{row.spread:.1%}"
    return (cost, spread, micro_batch, str(row.reports), local_time(row.learned_at), row.fingerprint)
