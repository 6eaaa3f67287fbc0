"""`cbi-queue data show`: columns, coverage, spacing, snapshot, choices, and the jobs that use a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, print_table, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing, jobs_of
from cbi_queue.wording import UNKNOWN, counted

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.settings import Settings


@click.command(epilog=examples("data show", "data show --dataset zl --json"))
@dataset_option
@json_option
def show(dataset: str, as_json: bool) -> None:
    """Show a data set: columns, coverage, spacing, snapshots, choices, and which jobs use it."""
    settings, folder = existing(dataset)
    body = _body(settings, folder, dataset)
    if as_json:
        print_json(body)
    else:
        _print(body)


def _body(settings: Settings, folder: Path, dataset: str) -> dict[str, Any]:
    from cbi_queue.datasets.description import read_description
    from cbi_queue.views.data_sets import looked_into

    jobs = jobs_of(settings, dataset)
    return {
        "dataset": dataset,
        "folder": str(folder),
        "choices": read_description(folder).model_dump(mode="json"),
        **looked_into(settings, dataset),
        "jobs": [{"id": job.id, "name": job.name, "state": job.state, "snapshot": job.snapshot} for job in jobs],
    }


def _print(body: dict[str, Any]) -> None:
    from cbi_queue.views.data_sets import built_words

    click.secho(f"Data set {body['dataset']}", bold=True)
    click.echo(printable(f"in {body['folder']}"))
    choices = body["choices"]
    click.echo(
        f"label: {choices['label']}; days without a price: {choices['missing_price']}; cost of a turnover "
        f"{choices['cost_per_turnover']:g}; most features {choices['max_features'] or 'as many as fit'}"
    )
    for export in body["exports"]:
        click.echo()
        _print_export(export, choices["columns"])
    click.echo()
    rows = [
        (horizon, _short(snapshot), built_words(snapshot, body["features_of"][horizon]))
        for horizon, snapshot in body["snapshots"].items()
    ]
    print_table("Snapshots", ("horizon", "export", "features"), rows)
    states: dict[str, int] = {}
    for job in body["jobs"]:
        states[job["state"]] = states.get(job["state"], 0) + 1
    used = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    click.echo(f"Used by {counted(len(body['jobs']), 'job')}{f' ({used})' if used else ''}.")


def _print_export(export: dict[str, Any], chosen: dict[str, Any]) -> None:
    name = export["path"].rpartition("/")[2]
    if export.get("rows") is None:
        click.echo(f"{name}: was not opened; `cbi-queue data check` says why")
        return
    spacing = export.get("spacing", {})
    per_year = f", {spacing['name'].replace('_', ' ')}, {spacing['periods_per_year']:g} a year" if spacing else ""
    click.echo(f"{name}: {export['rows']:,} rows, {export['first_day']} to {export['last_day']}{per_year}")
    if export["faults"]:
        click.secho(f"  {counted(len(export['faults']), 'fault')}: `cbi-queue data check` names them", fg="red")
    rows = []
    for column in export.get("columns", ()):
        choice = chosen.get(column["in_the_file"]) or chosen.get(column["name"]) or {}
        lag = f"{choice['lag_days']} d" if choice.get("lag_days") else ""
        age = f"{choice['max_age_days']} d" if choice.get("max_age_days") else ""
        rows.append((column["name"], column["role"], f"{column['coverage']:.1%}", lag, age))
    if rows:
        print_table("Columns beside date and price", ("name", "role", ">coverage", "?>lag", "?>filled for"), rows)


def _short(snapshot: str | None) -> str:
    return snapshot[:8] if snapshot else UNKNOWN
