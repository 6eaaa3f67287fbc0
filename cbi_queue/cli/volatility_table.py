"""The boards of volatility models as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import print_table
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.views.volatility_board import VolatilityRow

COLUMNS = (
    ">place", "name", "?model", ">skill", ">from", ">to", ">QLIKE", "?>forecast %", "?>came %", "?>rows", "?>fit s",
)  # fmt: skip
MARK = "*"
"""Behind the name of a model whose numbers may differ from those of an undisturbed run."""


def print_volatility(boards: Mapping[str, list[VolatilityRow]]) -> None:
    """Print a table a board: skill against EWMA with its 95 % interval, and the volatility forecast and come."""
    for title, rows in boards.items():
        print_table(f"Horizon {title}: skill of the backtest against EWMA", COLUMNS, map(_cells, rows))
        click.echo()


def _cells(row: VolatilityRow) -> tuple[str, ...]:
    mark = " (damaged)" if row.damage is not None else " (baseline)" if row.is_bar else ""
    return (
        str(row.place or UNKNOWN), f"{row.name}{mark}" + (f" {MARK}" if row.may_differ else ""), row.model,
        _number(row.skill, "+.3f"), _number(row.skill_low, "+.3f"), _number(row.skill_high, "+.3f"),
        _number(row.qlike, ".4f"), _number(row.volatility_pct, ".1f"), _number(row.realised_pct, ".1f"),
        _number(row.rows, "d"), _number(row.fit_s, ".1f"),
    )  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
