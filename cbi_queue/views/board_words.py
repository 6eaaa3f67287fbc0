"""What a board says in words, and a skill's interval as a small plot of characters. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.mixtures import FALLS_BACK, NO_BETTER
from cbi_queue.views.boards import HOLDOUT
from cbi_queue.views.ensembles import LEAST_INDEPENDENT, best_single_words
from cbi_queue.views.leaderboard import BETTER, DIFFERENCE, NAIVE, NO, TOO_FEW, WORSE
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.views.comparison import Comparison
    from cbi_queue.views.leaderboard import LeaderboardRow, ScoredRow
    from cbi_queue.views.regime_board import RegimeRow
    from cbi_queue.views.volatility_board import VolatilityRow

    AnyRow = LeaderboardRow | VolatilityRow | RegimeRow

_TRADING_DAYS = 252.0
_PERIODS = {
    "1w": ("week", "weeks"), "1m": ("month", "months"), "3m": ("quarter", "quarters"),
    "6m": ("half-year", "half-years"), "12m": ("year", "years"),
}  # fmt: skip
"""What one horizon is called in a series of trading days, alone and in numbers."""
_ROWS = {365.0: "calendar days", 52.0: "weeks", 12.0: "months", 4.0: "quarters", 1.0: "years"}
"""What the rows of other series are, by the rows that a year has."""
VARIANCE_BAR, REGIME_BAR = "EWMA", "persistence"
"""What volatility models and classifiers are held against."""
TOLD_APART_WORDS = {BETTER: "yes (better)", WORSE: "yes (worse)", NO: "no", TOO_FEW: "too few"}
NO_PERCENT = "Label difference: MAPE is not known, because a share of a price that may be 0 or below says nothing."
PLOT_COLUMNS = 9
"""Characters of a plot: odd, so that zero has one of its own."""
TALLEST = 3.0
"""A plot reaches at most this many times as far as the middle one of its board: one bad model must not flatten all."""


def heading(title: str, rows: Sequence[AnyRow], *, final: bool = False) -> str:
    """Return the line above a board."""
    judged = "skill of the final block" if final else "skill of the backtest"
    scheme = " (holdout)" if rows[0].scheme == HOLDOUT else ""
    return f"Horizon {title}{scheme}: ranked by validation, {judged}"


def sentences(rows: Sequence[LeaderboardRow], comparison: Comparison | None = None) -> list[str]:
    """Say what may be believed of a board: what is told apart from naive, what only looks good, what is not ranked."""
    tried = sum(row.place is not None and row.job_id is not None and row.model != NAIVE for row in rows)
    compared = [(row.name, row.against_best) for row in rows if row.place is not None and row.against_best is not None]
    said = [_told_apart(rows, NAIVE), *best_single_words(compared), *_lookalikes(rows)]
    said += _superior(tried, NAIVE, comparison)
    if rows[0].label == DIFFERENCE:
        said.append(NO_PERCENT)
    return said


def volatility_sentences(rows: Sequence[VolatilityRow], comparison: Comparison | None = None) -> list[str]:
    """Say the same of a board of volatility models, which EWMA is held against."""
    tried = sum(row.place is not None and row.job_id is not None for row in rows)
    return [_told_apart(rows, VARIANCE_BAR), *_superior(tried, VARIANCE_BAR, comparison)]


def regime_sentences(rows: Sequence[RegimeRow]) -> list[str]:
    """Say the same of a board of regime classifiers, which persistence is held against."""
    same = [row.name for row in rows if row.share == 0 and row.place is not None]
    words = [f"Says what persistence says (no skill on validation): {', '.join(same)}."] if same else []
    return [_told_apart(rows, REGIME_BAR), *words]


def _superior(tried: int, bar: str, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return []
    fault = [comparison.fault] if comparison.fault is not None else []
    if comparison.superior_p is None:
        return fault
    lead = f"Luck alone gives the best of {counted(tried, 'model')} such a lead over {bar} in"
    return [*fault, f"{lead} {_percent(comparison.superior_p)} of cases (test for superior predictive ability)."]


def half_width(row: AnyRow) -> float | None:
    """Return half the width of the interval around the skill."""
    return None if row.skill_low is None or row.skill_high is None else (row.skill_high - row.skill_low) / 2


def unranked(rows: Iterable[AnyRow]) -> list[str]:
    """Say which runs are not ranked, why, and what to do."""
    said = []
    for row in rows:
        if row.veto is not None:
            said.append(
                f"Vetoed, not ranked: {row.name} (job {row.job_id}): {row.veto}. "
                f"`cbi-queue accept {row.name} --reason TEXT` ranks it all the same."
            )
        elif row.damage is not None:
            said.append(f"Not ranked, its run is damaged: {row.name} (job {row.job_id}): {row.damage}")
    return said


def independent_words(row: ScoredRow) -> str:
    """Write how much evidence a board has: `n = 24 independent months`."""
    if row.independent is None:
        return "n not known"
    count = round(row.independent)
    each = round(row.rows / row.independent) if row.rows and row.independent else 0
    if each > HORIZON_DAYS.get(row.horizon, each):  # regimes outlast a short horizon
        return f"n = {count} independent {'stretch' if count == 1 else 'stretches'} of {each} rows"
    return f"n = {count} independent {periods(count, row.horizon, row.periods_per_year)}"


def periods(count: int, horizon: str, per_year: float | None) -> str:
    """Name *count* stretches of one horizon each, by the spacing of the data.

    A horizon is counted in rows: 21 rows are a month of trading days, and 21 weeks of a weekly series.

    Args:
        count: how many.
        horizon: one of the catalogue's names.
        per_year: rows of a year; None: not recorded, trading days.
    """
    if per_year in {None, _TRADING_DAYS} and horizon in _PERIODS:
        return _PERIODS[horizon][count != 1]
    plural = "period" if count == 1 else "periods"
    days = HORIZON_DAYS.get(horizon)
    return plural if days is None else f"{plural} of {days} {_ROWS.get(per_year or _TRADING_DAYS, 'rows')}"


def _told_apart(rows: Sequence[AnyRow], bar: str) -> str:
    models = [row for row in rows if not row.is_bar and row.place is not None]
    tested = [row for row in models if row.told_apart is not None]
    if not models:
        return "No model of this board is ranked yet."
    if not tested:
        return f"Whether a model is told apart from {bar} is not known: these runs were scored without an interval."
    evidence = independent_words(max(tested, key=lambda row: row.independent or 0.0))
    if all(row.told_apart == TOO_FEW for row in tested):
        return f"Too little to tell any model apart from {bar}: {evidence}, {LEAST_INDEPENDENT:.0f} are needed."
    better = [row.name for row in tested if row.told_apart == BETTER]
    worse = [row.name for row in tested if row.told_apart == WORSE]
    also_worse = f" Worse than {bar}, beyond luck: {', '.join(worse)}." if worse else ""
    if better:
        said = f"{len(better)} of {counted(len(models), 'model')} {'beats' if len(better) == 1 else 'beat'} {bar}"
        return f"{said} beyond luck ({evidence}): {', '.join(better)}.{also_worse}"
    if worse:
        return f"No model beats {bar} ({evidence}).{also_worse}"
    return f"No model is told apart from {bar} ({evidence})."


def _lookalikes(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Say which models say less than their name promises."""
    models = [row for row in rows if not row.is_bar and row.place is not None]
    found = {
        "Equals drift (always the same direction)": [row for row in models if _has(row, "equals drift")],
        "The same forecast every day": [row for row in models if _has(row, "constant forecast") and row.shrinkage != 0],
        "Best round 1 (no later round was better on validation)": [row for row in models if row.best_round == 1],
        "Shrunk to naive's forecast (no skill on validation)": [row for row in models if row.shrinkage == 0],
        "Too few rows of a regime: its net learned from all rows": [row for row in models if _has(row, FALLS_BACK)],
        "Regimes do not help: not better than the same model without them": [
            row for row in models if _has(row, NO_BETTER)
        ],
    }
    return [f"{words}: {', '.join(row.name for row in named)}." for words, named in found.items() if named]


def _has(row: LeaderboardRow, verdict: str) -> bool:
    return any(line.name == verdict for line in row.verdicts)


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


@dataclass(frozen=True, slots=True)
class Plot:
    """An interval around zero: where it begins and ends, and where the skill lies, as shares of the reach, -1 to 1."""

    low: float
    high: float
    skill: float


def reach(rows: Iterable[AnyRow]) -> float:
    """Return how far from zero the plots of a board reach; 0 when nothing is known."""
    ends = sorted(
        max(abs(value) for value in (row.skill, row.skill_low, row.skill_high) if value is not None)
        for row in rows
        if row.skill is not None
    )
    ends = [end for end in ends if end > 0]
    return min(ends[-1], TALLEST * ends[len(ends) // 2]) if ends else 0.0


def plot_of(row: AnyRow, upto: float) -> Plot | None:
    """Return the plot of a row on an axis from -*upto* to *upto*; None without a skill."""
    if row.skill is None:
        return None
    low = row.skill if row.skill_low is None else row.skill_low
    high = row.skill if row.skill_high is None else row.skill_high
    shares = [max(-1.0, min(1.0, value / upto)) if upto else 0.0 for value in (low, high, row.skill)]
    return Plot(*shares)


def interval_plot(row: AnyRow, upto: float) -> str:
    """Draw the interval of a row: the line in the middle is the baseline's skill of 0, `●` the row's."""
    plot = plot_of(row, upto)
    if plot is None:
        return ""
    middle = PLOT_COLUMNS // 2

    def column(share: float) -> int:
        return middle + round(share * middle)

    first, last = column(plot.low), column(plot.high)
    cells = ["─" if first <= place <= last and first != last else " " for place in range(PLOT_COLUMNS)]
    cells[middle] = "┼" if cells[middle] == "─" else "│"
    cells[column(plot.skill)] = "●"
    return "".join(cells)
