"""What a model forecasts of a price, and how a forecast becomes a price again: the one place that knows it. Pure.

::

    log_return   y[t] = log p[t+h] - log p[t]    P^[t+h] = p[t] exp(f[t])
    difference   y[t] = p[t+h] - p[t]            P^[t+h] = p[t] + f[t]

A log return needs prices above 0 and speaks of shares of the price. A difference takes any finite price. It is the choice
for a price that can be 0 or below, or whose level is arbitrary (a spread, a back-adjusted contract): a share of such a
price says nothing, so nothing is said in percent. Letters as in `jobs.data.series`.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np


class Label(StrEnum):
    """The two labels that a data set can choose, by their names in `dataset.json`."""

    LOG_RETURN = "log_return"
    DIFFERENCE = "difference"

    @property
    def is_relative(self) -> bool:
        """True where a share of the price has a meaning: log returns, percentages, volatility."""
        return self is Label.LOG_RETURN

    def is_allowed(self, price: np.ndarray) -> np.ndarray:
        """Return where *price* has this label: (rows,) -> (rows,) bool."""
        finite: np.ndarray = np.isfinite(price)
        return finite & (price > 0) if self.is_relative else finite

    def level(self, price: np.ndarray) -> np.ndarray:
        """Return the scale on which labels add up, log p or p: (rows,) -> (rows,) float64."""
        return np.asarray(np.log(price) if self.is_relative else price, dtype=np.float64)

    def of(self, price: np.ndarray, horizon_days: int) -> np.ndarray:
        """Return y[t], NaN in the last h rows. *price*: (rows,) -> (rows,) float64."""
        level = self.level(price)
        y = np.full(len(price), np.nan)
        y[:-horizon_days] = level[horizon_days:] - level[:-horizon_days]
        return y

    def change(self, now: np.ndarray, later: np.ndarray) -> np.ndarray:
        """Return the label of a move from price *now* to price *later*, (rows,) each: log(later / now) or later - now."""
        return np.asarray(np.log(later / now) if self.is_relative else later - now, dtype=np.float64)

    def price_from(self, price: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """Return the price that *forecast* implies from *price* now, (rows,) each; infinite beyond a float's range."""
        with np.errstate(over="ignore"):
            return np.asarray(price * np.exp(forecast) if self.is_relative else price + forecast, dtype=np.float64)

    def notional(self, train_price: np.ndarray) -> float:
        """Return what a change is divided by to be a return on the value of a position.

        A log return is one already: 1. A difference is the gain of one unit that is held, and its value is taken to be
        the mean of abs(p) over the training block, a constant: the present price can be 0. NaN where that is 0.
        """
        if self.is_relative:
            return 1.0
        value = float(np.abs(train_price).mean())
        return value if value > 0 else float("nan")
