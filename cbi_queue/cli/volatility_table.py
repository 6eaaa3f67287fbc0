"""The boards of volatility models as tables: narrow and wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.cli.board_table import (
    WIDE_COLUMNS,
    drawn,
    in_set,
    marked_name,
    number,
    print_ranked,
    short,
    told_apart_words,
)
from cbi_queue.views.board_words import half_width, interval_plot
from cbi_queue.views.boards import SCHEME_WORDS
from cbi_queue.views.job_words import signed
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.views.volatility_board import VolatilityRow

NARROW = (">#", "name", ">valid.", ">skill", ">±", "?-   0   +", ">QLIKE", "?>said %", "?>came %", "told apart")
WIDE = (
    ">#", "name", "model", "scheme", ">valid. skill", ">skill", ">low", ">high", ">n", ">p", ">DM p", "told apart",
    "in 90 % set", ">QLIKE", ">skill rolling", ">said %", ">came %", ">pinball %", ">EWMA's", ">in 50 %", ">in 90 %",
    ">rows", ">fit s", "verdicts",
)  # fmt: skip


def print_volatility_board(title: str, rows: Sequence[VolatilityRow], said: Sequence[str], *, wide: bool) -> None:
    """Print one board and what may be said about it; said and came are volatilities, annualised."""
    columns, cells = (WIDE, _wide) if wide else (NARROW, _narrow)
    print_ranked(title, rows, said, columns, cells, width=WIDE_COLUMNS if wide else None)


def _narrow(row: VolatilityRow, upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), short(signed(row.validation_skill)), short(signed(row.skill)),
        short(number(half_width(row), ".3f")), drawn(interval_plot(row, upto)), number(row.qlike, ".3f"),
        number(row.volatility_pct, ".1f"), number(row.realised_pct, ".1f"), told_apart_words(row),
    )  # fmt: skip


def _wide(row: VolatilityRow, _upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), row.model, SCHEME_WORDS.get(row.scheme, row.scheme),
        signed(row.validation_skill), signed(row.skill), signed(row.skill_low), signed(row.skill_high),
        number(row.independent, ".0f"), number(row.p_value, ".3f"), number(row.dm_p_value, ".3f"),
        told_apart_words(row), in_set(row), number(row.qlike, ".4f"), signed(row.skill_rolling),
        number(row.volatility_pct, ".1f"), number(row.realised_pct, ".1f"), number(row.pinball_pct, ".3f"),
        number(row.pinball_ewma_pct, ".3f"),
        number(row.coverage_50, ".0%"), number(row.coverage_90, ".0%"), number(row.rows, "d"),
        number(row.fit_s, ".1f"), "; ".join(line.name for line in row.verdicts),
    )  # fmt: skip
