"""Columns that know the future: what no honest column shows, measured on the data itself. Pure arithmetic on arrays.

Three signs, each enough:

- `name`: a word of the name says that it is a label (`target`, `fwd`, `next_5d`, ...); futures prices, forward curves and
  the metal lead are none.
- `trailing gaps`: it is empty in exactly the last h rows, as everything computed from the price h days later is.
- `foresight`: its day-to-day changes are explained by later price moves (R^2 of up to 2h days ahead), they move with the
  one of exactly h days later, or its level moves with the label itself; each more than chance allows.

Ranks are compared and not values, so that a scaled, inverted or otherwise bent copy is found as well. The next day counts
for less than later ones: a market that closes earlier in the day honestly follows this one, with an R^2 of up to 0.25.
What is found and what is missed on real stocks is measured by `benchmarks/planted_columns.py`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.data.label import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_NEXT_DAY = 0.30
"""R^2 of a column's changes on the price's move of the next day above which it must have seen it."""
MOST_LATER = 0.06
"""The same for all moves after that one, up to 2h days later."""
MOST_AT_HORIZON = 0.05
"""Correlation of a column's changes with the price's move exactly h days later: a label changes by it."""
MOST_LABEL_CORRELATION = 0.30
"""Least correlation of a level with the label that is suspected, however many rows there are."""
SIGMAS = 5.0
"""Standard errors beyond which a correlation is no chance; n / h rows are independent."""
LEAST_ROWS = 60
"""Rows with a value below which nothing is measured."""
NEWEST_ROWS = 86_400
"""Foresight is measured on this many of the newest rows: more would lower none of the bounds above."""
_WORDS = re.compile(
    r"^y(?:_|\d+[dwm]?(?:_|$)|$)|(?:^|_)(?:labels?|fwd|lookahead|look_ahead|leak|tomorrow|targets?(?!_rate))(?:_|\d|$)"
    r"|(?:^|_)(?:future|forward|next)(?:_?\d|_[dwm]\d|_day|_week|_month|_year|_ret|_price|_close|_px|_move|_val)"
    r"|(?:^|_)(?:\d+[dwmy]?|day|week|month|year|rows?|h)s?_ahead(?:_|$)"
)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A column that seems to know the future."""

    column: str
    sign: str
    """name | trailing gaps | foresight."""
    evidence: str
    """A clause for people: 'its changes are explained to 97 % by price moves 1 to 10 rows later'."""


def is_label_name(name: str) -> bool:
    """Return True if a word of *name* says that the column is a label.

    Words are split at underscores, other signs, and where a capital letter begins: `TargetPrice`, `ret-fwd.5`.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _WORDS.search(re.sub(r"[^a-z0-9]+", "_", words.lower())) is not None


def suspicions(
    price: np.ndarray,
    columns: Mapping[str, np.ndarray],
    horizons: Iterable[int],
    label: Label = Label.LOG_RETURN,
) -> list[Suspicion]:
    """Return what is suspicious about *columns*, at most one suspicion a column, in their order.

    Args:
        price: (rows,) float64 that *label* allows, in time order.
        columns: name -> (rows,) float, NaN where there is no value.
        horizons: h, trading days, of what will be forecast.
        label: what is forecast of the price.
    """
    if len(price) < LEAST_ROWS:
        return []
    measured = _Foresight(label.level(price[-NEWEST_ROWS:]), sorted(horizons))
    found = []
    for name, values in columns.items():
        for check in (_named, _gaps, _sees):
            if suspicion := check(name, values, measured):
                found.append(suspicion)
                break
    return found


class _Foresight:
    """The later price moves of one price, as ranks: made once for all columns."""

    def __init__(self, level: np.ndarray, horizons: list[int]) -> None:
        self.horizons = [h for h in horizons if len(level) >= 2 * h + LEAST_ROWS]
        self._furthest = 2 * max(self.horizons, default=0)
        self._length = 2 * len(level)  # no lag wraps around
        moves = _Ranked(np.concatenate([np.diff(level), [np.nan]]))  # r[t+1] at t
        self._moves = np.fft.rfft(moves.standard(), self._length)
        self._labels = {h: _Ranked(_shifted(level, h) - level) for h in self.horizons}

    def of_changes(self, values: np.ndarray) -> str | None:
        """Return in words how the changes of *values* follow later price moves more than chance allows; None if not."""
        positive = values[np.isfinite(values)] > 0
        level = np.log(values) if positive.all() else values
        change = np.concatenate([[np.nan], np.diff(level)])
        ranked = _Ranked(change)
        rows = len(ranked.order)
        if rows < LEAST_ROWS or not self.horizons:
            return None
        spectrum = np.fft.rfft(ranked.standard(), self._length)
        later = np.fft.irfft(np.conj(spectrum) * self._moves, self._length)
        correlation = later[: self._furthest] / rows  # with the move 1, 2, ... rows later
        gained = correlation**2 - 1.0 / rows  # each lag adds 1 / rows by chance alone
        if gained[0] > MOST_NEXT_DAY:
            return f"{gained[0]:.0%} of its changes are explained by the price's move of the next row"
        for h in self.horizons:
            explained = float(gained[1 : 2 * h].sum())
            if explained > MOST_LATER and explained > _by_chance(spectrum, rows, h):
                return f"{min(explained, 1.0):.0%} of its changes are explained by price moves 2 to {2 * h} rows later"
            if (at := abs(correlation[h - 1])) > max(MOST_AT_HORIZON, 1.1 * SIGMAS / math.sqrt(rows)) and h > 1:
                return f"its changes move with the price's move {h} rows later (correlation {at:.2f})"
        return None

    def of_level(self, values: np.ndarray) -> tuple[float, int, float]:
        """Return the rank correlation with the label that is furthest beyond chance, its h and what chance allows."""
        worst, own = (0.0, 0, math.inf), _Ranked(values)
        for h, label in self._labels.items():
            both = own.here & label.here
            rows = int(both.sum())
            if rows < LEAST_ROWS + h:
                continue
            correlation = (
                float((own.standard(both) * label.standard(both)).sum()) / rows
            )  # `@` wakes the threads of BLAS
            allowed = max(MOST_LABEL_CORRELATION, SIGMAS / math.sqrt(rows / h))
            if abs(correlation) - allowed > abs(worst[0]) - worst[2]:
                worst = (correlation, h, allowed)
        return worst


def _named(name: str, _values: np.ndarray, _measured: _Foresight) -> Suspicion | None:
    return Suspicion(name, "name", "its name says that it is a label") if is_label_name(name) else None


def _gaps(name: str, values: np.ndarray, measured: _Foresight) -> Suspicion | None:
    present = np.flatnonzero(np.isfinite(values))
    if not len(present):
        return None
    trailing = len(values) - 1 - int(present[-1])
    if trailing not in measured.horizons:
        return None
    return Suspicion(name, "trailing gaps", f"it is empty in exactly the last {trailing} rows, as a label is")


def _sees(name: str, values: np.ndarray, measured: _Foresight) -> Suspicion | None:
    values = values[-NEWEST_ROWS:]
    if words := measured.of_changes(values):
        return Suspicion(name, "foresight", words)
    correlation, h, allowed = measured.of_level(values)
    if abs(correlation) > allowed:
        words = f"it moves with the price change of the next {h} rows (correlation {correlation:+.2f}, chance allows {allowed:.2f})"
        return Suspicion(name, "foresight", words)
    return None


def _shifted(values: np.ndarray, rows: int) -> np.ndarray:
    """Return what *values* are *rows* rows later, NaN at the end."""
    return np.concatenate([values[rows:], np.full(min(rows, len(values)), np.nan)])


def _by_chance(spectrum: np.ndarray, rows: int, h: int) -> float:
    """Return what chance explains of changes with *spectrum* by 2 *h* lags, of which neighbours may tell the same."""
    repeats = 1.0 + 2.0 * float((_autocorrelation(spectrum, 2 * h) ** 2).sum())
    return SIGMAS * math.sqrt(4.0 * h * repeats) / rows


def _autocorrelation(spectrum: np.ndarray, lags: int) -> np.ndarray:
    """Return the correlation with itself 1 to *lags* rows later of what has *spectrum*: (lags,) float64."""
    covariance: np.ndarray = np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1]
    covariance = np.pad(covariance, (0, lags + 1 - len(covariance)))
    return covariance[1:] / covariance[0] if covariance[0] > 0 else np.zeros(lags)


class _Ranked:
    """Values and their order, found once for the ranks among all of them and among any of them."""

    def __init__(self, values: np.ndarray) -> None:
        self.here = np.isfinite(values)
        """(rows,) bool: there is a value."""
        rows = np.flatnonzero(self.here)
        self.order = rows[values[rows].argsort()]
        """(values,) int: the rows with a value, by rising value."""
        self._values = values
        self._of_all: np.ndarray | None = None

    def standard(self, of: np.ndarray | None = None) -> np.ndarray:
        """Return ranks with mean 0 and spread 1, ties by their mean rank; 0 where there is no value.

        Args:
            of: (rows,) bool, the values to rank, part of `here`; None for all.
        """
        order = self.order if of is None else self.order[of[self.order]]
        if len(order) < len(self.order):
            return self._standard(order)
        if self._of_all is None:
            self._of_all = self._standard(order)
        return self._of_all

    def _standard(self, order: np.ndarray) -> np.ndarray:
        rising, out = self._values[order], np.zeros(len(self._values))
        first = np.flatnonzero(np.concatenate([np.ones(min(len(rising), 1), dtype=bool), rising[1:] != rising[:-1]]))
        count = np.diff(first, append=len(rising))
        ranks = np.repeat(first + (count - 1) / 2.0, count)
        spread = float(ranks.std()) if len(ranks) else 0.0
        if spread > 0:
            out[order] = (ranks - ranks.mean()) / spread
        return out
