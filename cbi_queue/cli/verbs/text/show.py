"""`cbi-queue text show`: the headlines of a data set, the model that scores them, and whether they are scored."""

from __future__ import annotations

from typing import Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.datasets.place import of_dataset


@click.command(epilog=examples("text show --dataset zl", "text show --dataset zl --json"))
@dataset_option
@json_option
def show(dataset: str, as_json: bool) -> None:
    """Show the choices about a data set's headlines, and whether its features can be built."""
    from cbi_queue.datasets.description import read_description
    from cbi_queue.datasets.headlines import COLUMNS, is_scored
    from cbi_queue.text_model import fault_in

    settings, folder = existing(dataset)
    chosen = read_description(folder).headlines
    body: dict[str, Any] = {"dataset": dataset, "headlines": chosen.model_dump(mode="json") if chosen else None}
    if chosen is not None:
        body |= {
            "model_fault": fault_in(chosen.model),
            "scored": is_scored(of_dataset(settings.processed_dir, dataset), chosen),
            "columns": list(COLUMNS),
        }
    if as_json:
        print_json(body)
        return
    if chosen is None:
        click.echo(f"The data set {dataset} has no headlines; `cbi-queue text import FILE` brings them in.")
        return
    click.echo(printable(f"Headlines of {dataset}, {chosen.sha256[:8]}"))
    click.echo(f"close         {chosen.close} {chosen.close_zone}")
    click.echo(f"sentiment     stands for {chosen.max_age_days} days, half its weight after {chosen.half_life_days:g}")
    click.echo(printable(f"model         {chosen.model or 'none chosen: `cbi-queue text use FOLDER`'}"))
    if body["model_fault"]:
        click.secho(printable(f"wrong         {body['model_fault']}"), fg="red")
    click.echo(f"scored        {'every one' if body['scored'] else 'not all: a finbert job scores them'}")
    click.echo(f"features      {', '.join(COLUMNS)}")
