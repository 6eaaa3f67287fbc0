"""`cbi-queue backtest HORIZON`: what the best models of a horizon would have made, against always long and drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cbi_queue.artifacts import write_atomic, write_json
from cbi_queue.cli.arguments import Whole, examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, print_table, printable
from cbi_queue.cli.verbs.data.options import dataset_option
from cbi_queue.errors import Refused
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.orderly_end import ended_in_order
from cbi_queue.regular_files import check_folder, plain_words
from cbi_queue.settings import load_settings
from cbi_queue.views.backtest import backtest
from cbi_queue.views.equity_plot import draw
from cbi_queue.views.results_query import query
from cbi_queue.wording import UNKNOWN

COLUMNS = ("book", ">Sharpe", "?>95 % interval", "?>deflated", ">gain", "?>drawdown", "??>turnover", "??>days")


@click.command(
    epilog=examples(
        "backtest 1m",
        "backtest 1w --best 3 --to backtests/1w",
        "backtest 1w --json",
        more="Exit codes: 0 done, 1 it failed, 2 refused.",
    )
)
@click.argument("horizon", type=click.Choice(HORIZONS))
@click.option("--best", type=Whole(1, 6), default=1, show_default=True, help="Models that are traded, the first ones.")
@dataset_option
@click.option(
    "--to", "to", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Existing folder for equity.svg, equity.parquet, runs.parquet and backtest.json.",
)  # fmt: skip
@json_option
@ended_in_order()
def command(horizon: str, best: int, dataset: str, to: Path | None, as_json: bool) -> None:
    """Trade the models of HORIZON that rank first, on the block that judged them, after costs.

    The forecasts are those that the runs left; each day's direction is held for the horizon with an equal part of the
    money, as for the Sharpe ratio of the leaderboard. Beside them: a position that is always long, and drift, when the
    board has it. "deflated" is the probability that the ratio is above what the best of so many worthless models would
    show. Gains are added up, not reinvested. The final block stays closed.

    Without --to nothing is written. runs.parquet has the results of all runs, as `cbi-queue results` has them.
    """
    settings = load_settings()
    if to is not None:
        _check(to)
    with readonly_ledger() as ledger:
        found = backtest(settings, ledger, horizon, dataset=dataset, best=best, to=to)
        if to is not None:
            runs = query(settings, ledger, "SELECT * FROM runs", "parquet").body
            title = f"{found['board']}: gain on the backtest block, after costs"
            try:
                write_atomic(to / "runs.parquet", runs)
                write_atomic(to / "equity.svg", draw(title, found["dates"], found["curves"]).encode())
                write_json(to / "backtest.json", _told(found))
            except OSError as exc:
                raise Refused(f"cannot write {plain_words(exc, to)}") from exc
    if as_json:
        print_json(_told(found))
    else:
        _print(found, to)


def _check(to: Path) -> None:
    try:
        check_folder(to)
    except OSError as exc:
        raise Refused(f"cannot write into {plain_words(exc, to)}") from exc
    if not to.is_dir():
        raise Refused(f"cannot write into {to}: there is no such folder", hint=f"mkdir -p {to}")


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Return it without the curves, which equity.parquet has."""
    first_last = {"first": found["dates"][0], "last": found["dates"][-1]} if found["dates"] else {}
    return {name: value for name, value in found.items() if name not in {"dates", "curves"}} | first_last


def _print(found: dict[str, Any], to: Path | None) -> None:
    period = f"{found['dates'][0]} to {found['dates'][-1]}" if found["dates"] else "no common days"
    title = f"Backtest {found['board']}, {period}, {found['trials']} tried"
    print_table(title, COLUMNS, map(_row, found["rows"]))
    for line in found["words"]:
        click.echo(printable(line))
    if to is not None:
        click.echo(f"Wrote equity.svg, equity.parquet, runs.parquet and backtest.json into {printable(str(to))}")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["sharpe_low"], row["sharpe_high"]
    return (
        row["name"], _figure(row["sharpe"], "+.2f"), UNKNOWN if low is None else f"{low:+.2f} to {high:+.2f}",
        _figure(row["deflated_sharpe"], ".2f"), _figure(row["gain"], "+.1%"), _figure(row["worst_drawdown"], ".1%"),
        _figure(row["turnover"], ".1f"), str(row["days"]),
    )  # fmt: skip


def _figure(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
