"""`cbi-queue drift`: whether the newest rows still look like those that the chosen models were trained on."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option
from cbi_queue.forecasts import make_forecasts
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.settings import load_settings


@click.command(
    epilog=examples(
        "drift",
        "drift --horizon 1m --all",
        more="Exit codes: 0 done, 1 some horizons could not be compared, 2 refused. Drift is no failure.",
    )
)
@click.option("--horizon", "horizons", multiple=True, type=click.Choice(HORIZONS), help="Only this one.")
@dataset_option
@click.option("--all", "every", is_flag=True, help="Show every feature, not only the ten that moved most.")
@json_option
def command(horizons: tuple[str, ...], dataset: str, *, every: bool, as_json: bool) -> None:
    """Compare the rows since the training of each chosen model with those that it was trained on, feature by feature.

    PSI above 0.25 counts only where it is also 3 times what is expected of as many rows without drift: with few rows every
    PSI is large. Writes nothing; how old the data are does not matter here.
    """
    settings = load_settings()
    with readonly_ledger() as ledger:
        said = make_forecasts(settings, ledger, dataset, horizons, old_data=True, writes=False, only_prices=True)
    jobs = {told["horizon"]: told["job"] for told in said["forecasts"]}
    if as_json:
        print_json({"dataset": dataset, "jobs": jobs, "drift": said["drift"], "refused": said["refused"]})
    else:
        from cbi_queue.cli.forecast_table import print_drift

        print_drift({horizon: said["drift"][horizon] for horizon in jobs}, jobs, every=every)
        for each in said["refused"]:
            click.secho(printable(f"{each['horizon']}: not compared: {each['why']}"), fg="yellow")
    if said["refused"]:
        raise SystemExit(1)
