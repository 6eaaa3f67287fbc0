"""The columns of the board page: every figure that `leaderboard --json` has, in the order of what is asked first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.api.formats import number, percent, share
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.views.ensembles import AgainstBest
    from cbi_queue.views.leaderboard import VerdictLine


def text(value: object) -> str:
    """Write a value as it is."""
    return UNKNOWN if value is None else str(value)


def p_value(value: float | None) -> str:
    """Write a p-value: three decimals, `< 0.001` below."""
    return UNKNOWN if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def percents(value: float | None) -> str:
    """Write a number that is in percent already."""
    return UNKNOWN if value is None else f"{value:.2f} %"


def seconds(value: float | None) -> str:
    """Write seconds."""
    return UNKNOWN if value is None else f"{value:,.1f} s"


def verdict_words(found: tuple[VerdictLine, ...]) -> str:
    """Write what the guardrails found."""
    return "; ".join(f"{each.name} ({each.level}): {each.evidence}" for each in found) or "none"


def against_words(found: AgainstBest | None) -> str:
    """Write how an ensemble compares with its best member."""
    if found is None:
        return UNKNOWN
    return f"the same forecasts as {found.name}" if found.same else f"{found.figures} against {found.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the field of a row that it shows, its heading, what it means, and how it is written."""

    key: str
    title: str
    words: str
    form: Callable[[Any], str] = number
    is_figure: bool = True


_FIRST = (
    Column("validation_skill", "Valid.", "skill on the validation block, which ranks", percent),
    Column("skill", "Skill", "skill on the backtest, which judges", percent),
)
_INTERVAL = (
    Column("skill_low", "Low", "lower end of the 95 % interval of the skill", percent),
    Column("skill_high", "High", "upper end of the 95 % interval of the skill", percent),
)
_TESTED = (
    Column("independent", "Independent", "rows that share no day with each other"),
    Column("p_value", "p", "two-sided p-value of a skill of zero", p_value),
    Column("dm_p_value", "p (DM)", "the same by the Diebold-Mariano test", p_value),
    Column(
        "set_p_value", "p (set)", "of the model confidence set; 0.10 or more: not told apart from the best", p_value
    ),
)
_LAST = (
    Column("rows", "Rows", "rows of the backtest that were scored", text),
    Column("fit_s", "Fit", "working seconds of the fits", seconds),
)
_VERDICTS = Column("verdicts", "Verdicts", "what the guardrails found", verdict_words, is_figure=False)
PRICE = (
    *_FIRST, *_INTERVAL, *_TESTED,
    Column("skill_rmse", "Skill (RMSE)", "1 - RMSE / naive's RMSE on the same rows", percent),
    Column("mase", "MASE", "mean absolute error by that of naive's in-sample forecasts"),
    Column("rmse", "RMSE", "root mean squared error in units of the price"),
    Column("mape_pct", "MAPE", "mean absolute error as a share of the price", percents),
    Column("directional_accuracy", "Direction", "share of moves whose direction was forecast correctly", share),
    Column("sharpe", "Sharpe", "annualised, after the costs of the data set"),
    Column("deflated_sharpe", "Deflated", "probability that the Sharpe ratio beats the luckiest of so many", share),
    Column("coverage_80", "In 80 %", "share of prices inside the 80 % intervals", share),
    Column("coverage_95", "In 95 %", "share of prices inside the 95 % intervals", share),
    Column("shrinkage", "Shrinkage", "factor towards naive's forecast: 1 not at all, 0 to naive's"),
    Column("best_round", "Best round", "of a boosted model: rounds that the validation block selected", text),
    *_LAST,
    Column("against_best", "Best member", "an ensemble against its best member", against_words, is_figure=False),
    _VERDICTS,
)  # fmt: skip
VOLATILITY = (
    *_FIRST, *_INTERVAL, *_TESTED,
    Column("skill_rolling", "Skill (63 days)", "1 - QLIKE / that of the last 63 days", percent),
    Column("qlike", "QLIKE", "loss of the variance that was forecast"),
    Column("volatility_pct", "Said", "volatility that was forecast, annualised", percents),
    Column("realised_pct", "Came", "volatility that came, annualised", percents),
    Column("pinball_pct", "Pinball", "mean pinball loss of the quantiles, percent", percents),
    Column("pinball_ewma_pct", "Pinball (EWMA)", "that of a normal distribution with EWMA's variance", percents),
    Column("coverage_50", "In 50 %", "share of returns inside the 50 % intervals", share),
    Column("coverage_90", "In 90 %", "share of returns inside the 90 % intervals", share),
    *_LAST, _VERDICTS,
)  # fmt: skip
REGIME = (
    *_FIRST, *_INTERVAL, *_TESTED[:3],
    Column("log_loss", "Log loss", "mean -log of the probability of the regime that came"),
    Column("brier", "Brier", "mean squared distance to certainty, 0 to 2"),
    Column("accuracy", "Accuracy", "share of days whose likeliest regime came", share),
    Column("share", "Share", "of the classifier in its probabilities; the rest is persistence", share),
    *_LAST, _VERDICTS,
)  # fmt: skip
COLUMNS = {"price": PRICE, "volatility": VOLATILITY, "regime": REGIME}
FIXED = ("place", "name", "family", "model", "told_apart")
"""Columns that stand first on every board."""
SORTABLE = tuple(dict.fromkeys([
    *FIXED, *(column.key for columns in COLUMNS.values() for column in columns if column.is_figure)
]))  # fmt: skip
IN_THE_HEADING = ("horizon", "dataset", "snapshot", "scheme", "label", "periods_per_year")
"""Fields that are the same for every row of a board; the line below its title tells them."""
BESIDE_THE_NAME = ("job_id", "is_bar", "damage", "veto", "may_differ", "skill_mase")
"""Fields that the column of the name tells; `skill_mase` is the skill of a price board."""
