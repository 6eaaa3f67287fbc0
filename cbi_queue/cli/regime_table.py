"""The boards of regime classifiers as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import print_table
from cbi_queue.views.leaderboard import MARK
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.views.regime_board import RegimeRow

COLUMNS = (
    ">place", "name", "?model", ">skill", ">from", ">to", ">log loss", ">Brier", ">right", "?>share", "?>rows",
    "?>fit s",
)  # fmt: skip


def print_regimes(boards: Mapping[str, list[RegimeRow]]) -> None:
    """Print a table a board: skill against persistence with its 95 % interval, and what may be believed of it."""
    for title, rows in boards.items():
        print_table(f"Horizon {title}: skill of the backtest against persistence", COLUMNS, map(_cells, rows))
        click.echo(" ".join(_sentences(rows)))
        click.echo()


def _cells(row: RegimeRow) -> tuple[str, ...]:
    mark = " (damaged)" if row.damage is not None else " (baseline)" if row.is_bar else ""
    return (
        str(row.place or UNKNOWN), f"{row.name}{mark}" + (f" {MARK}" if row.may_differ else ""), row.model,
        _number(row.skill, "+.3f"), _number(row.skill_low, "+.3f"), _number(row.skill_high, "+.3f"),
        _number(row.log_loss, ".3f"), _number(row.brier, ".3f"), _number(row.accuracy, ".0%").replace("%", " %"),
        _number(row.share, ".2f"), _number(row.rows, "d"), _number(row.fit_s, ".1f"),
    )  # fmt: skip


def _sentences(rows: list[RegimeRow]) -> list[str]:
    models = [row for row in rows if not row.is_bar and row.place is not None]
    better = [row.name for row in models if (row.skill_low or 0.0) > 0]
    worse = [row.name for row in models if row.skill_high is not None and row.skill_high < 0]
    same = [row.name for row in models if row.share == 0]
    luck = "beyond luck, each taken alone" if len(models) > 1 else "beyond luck"  # their number is not corrected for
    said = [f"Better than persistence {luck}: {', '.join(better)}." if better else ""]
    said += [f"Worse than persistence {luck}: {', '.join(worse)}." if worse else ""]
    said += [f"Says what persistence says (no skill on validation): {', '.join(same)}." if same else ""]
    told = [words for words in said if words]
    return told or ["No classifier is told apart from persistence."]


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
