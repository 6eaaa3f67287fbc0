"""`cbi-queue data check`: open every export of a data set and say what is wrong with it."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.errors import Refused


@click.command(epilog=examples("data check", "data check --dataset zl --json"))
@dataset_option
@json_option
def check(dataset: str, as_json: bool) -> None:
    """Open every export of a data set: every fault at once, with counts, days, and what to type.

    Exit codes: 0 no faults, 2 faults.
    """
    from cbi_queue.cli.verbs.enqueue import inspector
    from cbi_queue.datasets.choices import for_dataset
    from cbi_queue.datasets.inspection import Request
    from cbi_queue.datasets.place import exports_in

    settings, folder = existing(dataset)
    paths = exports_in(folder)
    if not paths:
        raise Refused(f"the data set {dataset} has no export: {folder} is empty")
    found = inspector(settings)([Request(path) for path in paths])
    if found is None:
        raise Refused(
            "the exports were not opened: the trainers' Python lacks its libraries",
            hint="`cbi-queue doctor` names them",
        )
    if as_json:
        print_json([{**inspection.body, **_plain(asdict(inspection))} for inspection in found])
    else:
        for path, inspection in zip(paths, found, strict=True):
            days = f"{inspection.body.get('first_day')} to {inspection.body.get('last_day')}"
            span = f"{inspection.rows:,} rows, {days}" if inspection.rows else "not read to its end"
            click.echo(f"{path.name}: {span}")
            for fault in inspection.faults:
                click.secho(printable(f"  wrong: {for_dataset(fault, dataset)}"), fg="red")
            for note in inspection.body.get("notes", ()):
                click.echo(printable(f"  note: {for_dataset(note, dataset)}"))
            if not inspection.faults:
                click.echo("  nothing is wrong")
    sys.exit(2 if any(inspection.faults for inspection in found) else 0)


def _plain(body: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in body.items() if key != "body"}
