"""`cbi-queue forecast`: what the chosen models forecast from the newest rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger, writable_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option
from cbi_queue.errors import CbiError
from cbi_queue.forecasts import make_forecasts
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.settings import load_settings
from cbi_queue.views.forecast import what_is_forecast

if TYPE_CHECKING:
    from cbi_queue.ledger.enqueue import Enqueued
    from cbi_queue.settings import Settings


@click.command(
    epilog=examples(
        "forecast",
        "forecast --horizon 1m --horizon 3m",
        "forecast --old-data --json | jq '.forecasts[].predicted_price'",
        more="Exit codes: 0 every horizon with a ranked model was forecast, 1 some were not or it failed, 2 refused.",
    )
)
@click.option(
    "--horizon", "horizons", multiple=True, type=click.Choice(HORIZONS), help="Only this one; nothing is written."
)
@dataset_option
@click.option("--old-data", is_flag=True, help="Forecast although the data end long before today: from their last day.")
@click.option(
    "--retrain", is_flag=True, help="Queue the models again that should be trained again, on the present data."
)
@click.option("--queue", "queued", is_flag=True, help="Queue it as a job of the slot instead, for every data set.")
@json_option
def command(
    horizons: tuple[str, ...], dataset: str, *, old_data: bool, retrain: bool, queued: bool, as_json: bool
) -> None:
    """Forecast the price with the model of each horizon that ranks first, from the newest rows of the data.

    Where volatility models and regime classifiers were trained, the best of each tells the volatility and the regimes.

    No model is trained: the stored one forecasts the rows that came since, with 80 and 95 % intervals from how far it
    missed so far. Whether it is told apart from naive is said. A new export is read as it is; `refresh` is not needed.

    The forecasts of a day are written to Logs/forecasts/DATE.parquet and latest.json, DATE being the newest day of the
    data. Again on the same data nothing changes; with other data or another model the former file is kept as
    DATE.1.parquet. When a target day has come, the error goes into realised.parquet.
    """
    settings = load_settings()
    if queued:
        _queue(settings, old_data=old_data, as_json=as_json)
        return
    with readonly_ledger() as ledger:
        said = make_forecasts(settings, ledger, dataset, horizons, old_data=old_data, writes=not horizons)
    queues = retrain or (settings.retrain == "enqueue" and not horizons)  # one horizon is a look, which changes nothing
    done = _retrained(settings, dataset, said) if queues else None
    if as_json:
        again = [] if done is None else [job.name for job in done.new]
        print_json({**said, "dataset": dataset, "retraining": again, "words": _refusals(said)})
    else:
        _print(said, dataset, done)
    if said["refused"]:
        raise SystemExit(1)


def _refusals(said: dict[str, Any]) -> list[str]:
    return [f"no forecast of {what_is_forecast(each)}: {each['why']}" for each in said["refused"]]


def _print(said: dict[str, Any], dataset: str, done: Enqueued | None) -> None:
    from cbi_queue.cli.forecast_table import print_forecasts

    print_forecasts(said, dataset)
    if written := said.get("written"):
        click.echo(printable(_written(written)))
    if done is not None:
        names = ", ".join(job.name for job in done.new)
        click.echo(f"Queued to be trained again: {names}." if names else "No model is to be trained again.")


def _written(written: dict[str, Any]) -> str:
    change, path = written["change"], written["path"]
    if change == "unchanged":
        return f"{path} holds the same already; nothing changed."
    if written["kept"] is None:
        return f"Written to {path}."
    return f"Written to {path}: {change} since the same day was forecast; the former file is now {written['kept']}."


def _retrained(settings: Settings, dataset: str, said: dict[str, Any]) -> Enqueued | None:
    """Queue the flagged models again."""
    from cbi_queue.retraining import train_again
    from cbi_queue.views.forecast import flags_of

    numbers = list(dict.fromkeys(flag.job_id for flag in flags_of(said, dataset)))
    if not numbers:
        return None
    with writable_ledger() as ledger:
        return train_again(ledger, settings, numbers)


def _queue(settings: Settings, *, old_data: bool, as_json: bool) -> None:
    from cbi_queue.cli.verbs.enqueue import as_plain, print_enqueued
    from cbi_queue.retraining import queue_forecasts

    with writable_ledger() as ledger:
        done = queue_forecasts(ledger, settings, old_data=old_data)
    if done is None:
        raise CbiError(
            "no data set has a ranked model, so no forecast was queued",
            hint="train one first: `cbi-queue enqueue PLAN`",
        )
    if as_json:
        print_json(as_plain(done))
    else:
        print_enqueued(done)
