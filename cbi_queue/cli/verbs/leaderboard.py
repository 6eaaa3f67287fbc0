"""`cbi-queue leaderboard`: the trained models of each horizon against the baselines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, print_table, printable
from cbi_queue.ledger.queries import scored_jobs
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.views.leaderboard import MARK, MARK_WORDS, rank
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from cbi_queue.views.leaderboard import LeaderboardRow

COLUMNS = (
    ">place", "name", "?model", ">skill", "?>MAPE %", ">MASE", "?>RMSE", "?>direction", "?>Sharpe", "?>rows", "?>fit s",
)  # fmt: skip

MARGIN = 0.0005
"""Least skill that counts as beating naive: shown as +0.001; with less, the forecast is the same."""


@click.command(epilog=examples("leaderboard", "leaderboard --horizon 1m --json"))
@click.option("--horizon", type=click.Choice(HORIZONS), help="Only this horizon.")
@json_option
def command(horizon: str | None, as_json: bool) -> None:
    """Rank the trained models of each horizon against the baselines (naive, seasonal_naive, drift).

    Skill is 1 - MASE / naive's MASE on the same rows of the backtest, on which nothing was selected: above 0 is better
    than naive, below 0 worse. Models on different data sets, or snapshots of one, are never in one table; the newest
    come first. Direction is the share of moves whose sign was forecast correctly; Sharpe is the Sharpe
    ratio of following that sign, after the data set's `cost_per_turnover`. A run that `cbi-queue verify` found damaged is marked and not ranked. A star marks a
    model whose training was changed on the way, so that an undisturbed run may give other numbers.
    """
    with readonly_ledger() as ledger:
        boards = rank(scored_jobs(ledger))
    chosen = {name: rows for name, rows in boards.items() if horizon in (None, rows[0].horizon)}
    if as_json:
        print_json({name: [asdict(row) for row in rows] for name, rows in chosen.items()})
    elif not chosen:
        click.echo("No model has been trained and scored yet.")
    else:
        for name, rows in chosen.items():
            print_table(f"Horizon {name}, backtest", COLUMNS, map(_row, rows))
            click.echo(_verdict(rows))
            if any(row.may_differ for row in rows):
                click.echo(f"{MARK} {MARK_WORDS}.")
            for row in rows:
                if row.damage is not None:
                    click.echo(
                        printable(f"Not ranked, its run is damaged: {row.name} (job {row.job_id}): {row.damage}")
                    )
            click.echo()


def _row(row: LeaderboardRow) -> tuple[str, ...]:
    mark = " (damaged)" if row.damage is not None else " (baseline)" if row.is_bar else ""
    name = f"{row.name}{mark}" + (f" {MARK}" if row.may_differ else "")
    return (
        str(row.place or UNKNOWN), name, row.model, _number(row.skill_mase, "+.3f"), _number(row.mape_pct, ".2f"),
        _number(row.mase, ".3f"), _number(row.rmse, ".3f"), _number(row.directional_accuracy, ".2f"),
        _number(row.sharpe, "+.2f"), _number(row.rows, "d"), _number(row.fit_s, ".1f"),
    )  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _verdict(rows: list[LeaderboardRow]) -> str:
    """Return in words which models beat naive."""
    winners = [row.name for row in rows if not row.is_bar and row.skill_mase is not None and row.skill_mase >= MARGIN]
    if not winners:
        return "No model beats naive here."
    return f"{len(winners)} of {sum(not row.is_bar and row.damage is None for row in rows)} models beat naive here: {', '.join(winners)}."
