"""`cbi-queue data edit KEY=VALUE...`: choose how a data set is read."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.cli.verbs.data.options import dataset_option, existing


@click.command(
    epilog=examples(
        "data edit missing_price=drop",
        "data edit --dataset zl columns.rsi.role=as_is columns.wasde.lag_days=1 columns.wasde.max_age_days=40",
        "data edit --dataset spread label=difference",
        "data edit max_features=2000",
    )
)
@click.argument("choices", nargs=-1, required=True, metavar="KEY=VALUE...")
@dataset_option
@json_option
def edit(choices: tuple[str, ...], dataset: str, as_json: bool) -> None:
    """Choose what is forecast, what happens to days without a price, what is made of a column, how many features there are.

    Keys: label (log_return; difference, for prices that can be 0 or below), missing_price (refuse, drop), max_features,
    cost_per_turnover, and for a column columns.NAME.role (series, as_is, ignore), columns.NAME.lag_days,
    columns.NAME.max_age_days. `null` takes a choice back. A choice that changes what is read makes another snapshot:
    `cbi-queue run PLAN` builds the features again.
    """
    from cbi_queue.datasets.choices import with_choices
    from cbi_queue.datasets.description import read_description, write_description

    _, folder = existing(dataset)
    description = with_choices(read_description(folder), choices)
    write_description(folder, description)
    if as_json:
        print_json({"dataset": dataset, **description.model_dump(mode="json")})
    else:
        click.echo(f"Data set {dataset}: {', '.join(choices)}. `cbi-queue data check` opens its exports as chosen.")
