"""`cbi-queue show NAME --why`: what a run's forecasts depend on, as bars in 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import print_table, printable
from cbi_queue.views.explanation import (
    contribution_rows,
    contribution_words,
    explanation_of,
    importance_rows,
    importance_words,
    luck_words,
    noise_words,
)
from cbi_queue.views.stored_values import number_of

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import JobRow

COLUMNS = 79


def print_explanation(job: JobRow, models: Path) -> None:
    """Print what *job* says of its forecasts, below what may be believed of it."""
    click.secho(printable(f"Job {job.id} {job.name}: why it forecasts what it does"), bold=True)
    told = explanation_of(job, models)
    if told.missing:
        _say(f"{told.missing}.")
        return
    _say(luck_words(job))
    if rows := importance_rows(told.found):
        click.echo()
        print_table("What its forecasts depend on", ("column", "", ">importance", "?95 % interval", "told apart"), rows)
    _say(noise_words(told.found) or "")
    _say(importance_words(told.found))
    forecast = (job.metrics or {}).get("forecast")
    price = number_of(forecast.get("price")) if isinstance(forecast, dict) else None
    click.echo()
    if rows_of_forecast := contribution_rows(told.found, price):
        print_table("What moves the newest forecast", ("column", "", ">adds", ">in price"), rows_of_forecast)
    _say(contribution_words(told.found))


def _say(words: str) -> None:
    for line in textwrap.wrap(printable(words), COLUMNS, break_long_words=False):
        click.echo(line)
