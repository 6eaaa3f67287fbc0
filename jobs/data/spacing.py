"""How far apart the rows of a series are, and so what a horizon of so many rows means. Pure.

A horizon is counted in rows: 5 rows of a daily series are a week, 5 rows of a weekly one are 5 weeks. Ratios that are
given per year (Sharpe) use the periods that a year of this series has.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS_OF_YEAR = 365.25
TRADING_DAYS = 252.0
LONG_GAP_DAYS = 10
"""Calendar days between two rows of a daily series that no holiday explains."""
_KINDS = (
    ("trading_days", 1, 4, TRADING_DAYS, "trading day"),
    ("weekly", 5, 10, 52.0, "week"),
    ("monthly", 26, 35, 12.0, "month"),
    ("quarterly", 80, 100, 4.0, "quarter"),
    ("yearly", 350, 380, 1.0, "year"),
)
"""Name, smallest and largest median gap in days, periods of a year, and what one row is."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """What was found."""

    name: str
    """trading_days, calendar_days, weekly, monthly, quarterly, yearly or irregular."""
    periods_per_year: float
    period: str
    """What one row is, for people."""
    median_gap_days: float
    weekend_rows: int
    repeated_weekend_prices: int
    """Rows of a Saturday or Sunday with the price of the row before."""
    long_gaps: int
    longest_gap_days: int
    longest_gap_after: str | None
    """Day before the longest gap."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def notes(self) -> Iterator[str]:
        """Yield what is not as in a daily series of trading days."""
        if self.name == "calendar_days":
            yield (
                f"every calendar day has a row, {self.weekend_rows} of them on weekends: a horizon of 1w is 5 calendar "
                f"days, and a year has {self.periods_per_year:g} rows"
            )
            if self.repeated_weekend_prices > self.weekend_rows // 2:
                yield (
                    f"{self.repeated_weekend_prices} of {self.weekend_rows} weekend rows repeat the price of the day "
                    "before: moves look smaller than they are; export trading days only"
                )
        elif self.name != "trading_days":
            of = f"{self.period}s" if self.name != "irregular" else f"rows, {self.median_gap_days:g} days apart mostly"
            yield (
                f"the rows are {self.name.replace('_', ' ')}: a horizon of 1w is 5 {of}, 12m is 252, and a year has "
                f"{self.periods_per_year:.3g} rows"
            )
        elif self.weekend_rows:
            yield f"{counted(self.weekend_rows, 'row')} on a Saturday or Sunday"
        if self.long_gaps:
            yield (
                f"{counted(self.long_gaps, 'gap')} of more than {LONG_GAP_DAYS} days, the longest {self.longest_gap_days} "
                f"days after {self.longest_gap_after}: a horizon counts rows, and so jumps over them"
            )


_ASSUMED = Spacing(
    name="trading_days",
    periods_per_year=TRADING_DAYS,
    period="trading day",
    median_gap_days=1.0,
    weekend_rows=0,
    repeated_weekend_prices=0,
    long_gaps=0,
    longest_gap_days=0,
    longest_gap_after=None,
)
"""Of fewer than two rows."""


def spacing_of(days: np.ndarray, price: np.ndarray) -> Spacing:
    """Describe rows in time order.

    Args:
        days: (rows,) int, days since 1970, rising.
        price: (rows,) float64, NaN where there is none.
    """
    gaps = np.diff(days)
    if not len(gaps):
        return _ASSUMED
    median = median_of(gaps)
    weekend = (days + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    repeated = weekend[1:] & (price[1:] == price[:-1])
    name, per_year, period = _kind(median, weekend, days)
    is_daily = name in {"trading_days", "calendar_days"}
    long = np.flatnonzero(gaps > LONG_GAP_DAYS) if is_daily else np.array([], dtype=np.int64)
    at = int(gaps.argmax())
    return Spacing(
        name=name,
        periods_per_year=per_year,
        period=period,
        median_gap_days=median,
        weekend_rows=int(weekend.sum()),
        repeated_weekend_prices=int(repeated.sum()),
        long_gaps=len(long),
        longest_gap_days=int(gaps[at]),
        longest_gap_after=str(np.datetime64(int(days[at]), "D")),
    )


def median_of(values: np.ndarray) -> float:
    """Return the median of (n,) numbers, n > 0. NumPy's own loads `numpy.ma` to look at its answer: 10 ms, 1 MB."""
    below, above = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(values, (below, above))
    return (float(ordered[below]) + float(ordered[above])) / 2


def _kind(median: float, weekend: np.ndarray, days: np.ndarray) -> tuple[str, float, str]:
    if median <= 1.0 and weekend.mean() > 0.2:
        return "calendar_days", 365.0, "calendar day"
    for name, low, high, per_year, period in _KINDS:
        if low <= median <= high:
            return name, per_year, period
    years = max((int(days[-1]) - int(days[0])) / DAYS_OF_YEAR, 1e-9)
    return "irregular", round((len(days) - 1) / years, 2), "row"
