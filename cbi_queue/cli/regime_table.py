"""The boards of regime classifiers as tables: narrow and wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.cli.board_table import WIDE_COLUMNS, drawn, marked_name, number, print_ranked, short, told_apart_words
from cbi_queue.views.board_words import half_width, interval_plot
from cbi_queue.views.boards import SCHEME_WORDS
from cbi_queue.views.job_words import signed
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.views.regime_board import RegimeRow

NARROW = (">#", "name", ">valid.", ">skill", ">±", "?-   0   +", ">log loss", ">right", "told apart")
WIDE = (
    ">#", "name", "model", "scheme", ">valid. skill", ">skill", ">low", ">high", ">n", ">p", ">DM p", "told apart",
    ">log loss", ">Brier", ">right", ">share", ">rows", ">fit s", "verdicts",
)  # fmt: skip


def print_regime_board(title: str, rows: Sequence[RegimeRow], said: Sequence[str], *, wide: bool) -> None:
    """Print one board and what may be said about it; right is how often the likeliest regime came."""
    columns, cells = (WIDE, _wide) if wide else (NARROW, _narrow)
    print_ranked(title, rows, said, columns, cells, width=WIDE_COLUMNS if wide else None)


def _narrow(row: RegimeRow, upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), short(signed(row.validation_skill)), short(signed(row.skill)),
        short(number(half_width(row), ".3f")), drawn(interval_plot(row, upto)), number(row.log_loss, ".3f"),
        number(row.accuracy, ".0%"), told_apart_words(row),
    )  # fmt: skip


def _wide(row: RegimeRow, _upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), row.model, SCHEME_WORDS.get(row.scheme, row.scheme),
        signed(row.validation_skill), signed(row.skill), signed(row.skill_low), signed(row.skill_high),
        number(row.independent, ".0f"), number(row.p_value, ".3f"), number(row.dm_p_value, ".3f"),
        told_apart_words(row), number(row.log_loss, ".4f"), number(row.brier, ".4f"), number(row.accuracy, ".0%"),
        number(row.share, ".2f"), number(row.rows, "d"), number(row.fit_s, ".1f"),
        "; ".join(line.name for line in row.verdicts),
    )  # fmt: skip
