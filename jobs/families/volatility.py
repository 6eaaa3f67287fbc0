"""GARCH, GJR-GARCH and EGARCH on daily log returns, walked forward with refits (`jobs.rolling`).

Forecast at row t: the variance of the log return of the next h trading days, the sum of the expected variances of these
days. arch estimates the parameters; the variances of the days are run through the recursion here, so that no forecast
sees a later return, and the expectations are exact and not simulated. Returns are in percent, as arch likes them.

GARCH and GJR have Student's t innovations. EGARCH has those of the generalised error distribution, as in Nelson (1991):
with Student's t the expected variance of any day after tomorrow is infinite.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from arch import __version__ as arch_version
from arch import arch_model

from jobs.results.volatility_folder import record_volatility
from jobs.rolling.walk import Fit, RollingFit
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame

PERCENT = 100.0
YEAR_DAYS = 252
USUAL_SHAPE = {"t": 8.0, "ged": 1.5}
"""Shape of each distribution of innovations, where the optimiser begins again."""
MOST_TIMES = 1000.0
"""A variance so many times the mean squared return, or so much smaller, is the parameters' fault."""
MEAN_ABS_NORMAL = math.sqrt(2.0 / math.pi)
"""E|z| of a normal z, which arch's EGARCH subtracts whatever the distribution."""


class _VolatilityFit(RollingFit):
    """A model of the arch library with one lag of each kind and no mean."""

    library = f"arch {arch_version}"
    depends_on_threads = True  # the optimiser's path does, in its last digits
    record = staticmethod(record_volatility)
    model: ClassVar[dict[str, Any]]
    """Arguments for arch."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Estimate the parameters by maximum likelihood.

        Where arch's optimiser strays to variances that explode or vanish (EGARCH: in 1 fit of 50), it begins again from
        usual values, one set after another, at last with normal innovations.

        Raises:
            BrokenSpec: when the prices do not move, or neither gives usable parameters.
        """
        returns = PERCENT * np.diff(log_price)
        what = f"a volatility model cannot be fitted on the last {len(log_price)} prices"
        if not np.ptp(returns) > 0:
            raise BrokenSpec(
                f"{what}: column 'price' does not move there; choose a longer history_rows, or look at the export's price"
            )
        starts, planned = self.starts(float(np.mean(returns**2))), self.model["dist"]
        again = [(planned, [*start, USUAL_SHAPE[planned]]) for start in starts]
        for innovations, begin in [(planned, None), *again, ("normal", starts[0])]:
            model = arch_model(returns, mean="Zero", p=1, q=1, rescale=False, **{**self.model, "dist": innovations})
            with np.errstate(all="ignore"):  # the optimiser tries parameters beyond a float's range
                fitted = model.fit(disp="off", show_warning=False, starting_values=begin)
            fit = {
                "par": {name: float(value) for name, value in fitted.params.items()},
                "first_variance": float(fitted.conditional_volatility[0]) ** 2,
                "converged": fitted.convergence_flag == 0,
                "innovations": innovations,
            }
            if self._is_usable(fit, returns):
                return fit
        raise BrokenSpec(f"{what}: the variances of arch's parameters explode or vanish; choose a longer history_rows")

    def _is_usable(self, fit: Fit, returns: np.ndarray) -> bool:
        """Return True if no variance on these days, or expected in the year after any of them, is beyond belief."""
        usual = float(np.mean(returns**2))
        try:
            with np.errstate(all="ignore"):
                after = self.filtered(fit, returns)
                year = self.summed(fit["par"], after, YEAR_DAYS) / YEAR_DAYS
        except (ArithmeticError, ValueError):
            return False
        return all(usual / MOST_TIMES < ours < usual * MOST_TIMES for ours in (*after.tolist(), *year.tolist()))

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return the variance of the next h days' log return from each of *rows*: (rows,) float64."""
        first = fit["first_row"]
        returns = PERCENT * np.diff(
            np.log(frame.price[first : rows[-1] + 1])
        )  # returns[i] is that of row first + 1 + i
        tomorrow = self.filtered(fit, returns)[rows - first - 1]
        return self.summed(fit["par"], tomorrow, frame.horizon_days) / PERCENT**2

    def details(self) -> dict[str, Any]:
        """Count the fits that arch gave up on before they converged, and those with other innovations than planned."""
        fits = self.done.fits
        return {
            "fits_not_converged": sum(not fit["converged"] for fit in fits),
            "fits_with_normal_innovations": sum(fit["innovations"] == "normal" for fit in fits),
        }

    def filtered(self, fit: Fit, returns: np.ndarray) -> np.ndarray:
        """Return the variance of the day after each of *returns*, given those up to it: (days,) percent squared."""
        variance, after = fit["first_variance"], np.empty(len(returns))
        for day, value in enumerate(returns.tolist()):
            after[day] = variance = self.following(fit["par"], variance, value)
        return after

    @staticmethod
    @abstractmethod
    def starts(variance: float) -> list[list[float]]:
        """Return usual parameters of returns with that *variance*, in arch's order, without the innovations' shape."""

    @staticmethod
    @abstractmethod
    def following(par: dict[str, float], variance: float, value: float) -> float:
        """Return the variance of the day after one with *variance* and return *value*."""

    @staticmethod
    @abstractmethod
    def summed(par: dict[str, float], tomorrow: np.ndarray, days: int) -> np.ndarray:
        """Return the expected variances of the next *days* days, added up, from the variance of *tomorrow*: (rows,)."""


class Garch(_VolatilityFit):
    """Trains `garch`: v[t+1] = omega + alpha e[t]^2 + beta v[t]."""

    model: ClassVar[dict[str, Any]] = {"vol": "GARCH", "o": 0, "dist": "t"}

    @staticmethod
    def starts(variance: float) -> list[list[float]]:
        """Begin with a persistence of 0.95."""
        return [[0.05 * variance, 0.05, 0.9]]

    @staticmethod
    def following(par: dict[str, float], variance: float, value: float) -> float:
        """Apply the recursion once; gamma counts falls only."""
        shock = par["alpha[1]"] + (par.get("gamma[1]", 0.0) if value < 0 else 0.0)
        return par["omega"] + shock * value**2 + par["beta[1]"] * variance

    @staticmethod
    def summed(par: dict[str, float], tomorrow: np.ndarray, days: int) -> np.ndarray:
        """Half of the shocks are falls, and E e^2 = v: E v[t+k+1] = omega + (alpha + gamma/2 + beta) E v[t+k]."""
        persistence = par["alpha[1]"] + par.get("gamma[1]", 0.0) / 2.0 + par["beta[1]"]
        expected, total = tomorrow, np.zeros(len(tomorrow))
        for _ in range(days):
            total += expected
            expected = par["omega"] + persistence * expected
        return total


class GjrGarch(Garch):
    """Trains `gjr_garch`: a fall raises the variance more than a rise, by gamma e[t]^2."""

    model: ClassVar[dict[str, Any]] = {"vol": "GARCH", "o": 1, "dist": "t"}

    @staticmethod
    def starts(variance: float) -> list[list[float]]:
        """Begin with a persistence of 0.95, half of the shocks' weight on falls."""
        return [[0.05 * variance, 0.03, 0.04, 0.9]]


class Egarch(_VolatilityFit):
    """Trains `egarch`: log v[t+1] = omega + alpha (|z[t]| - sqrt(2/pi)) + gamma z[t] + beta log v[t]."""

    model: ClassVar[dict[str, Any]] = {"vol": "EGARCH", "o": 1, "dist": "ged"}

    @staticmethod
    def starts(variance: float) -> list[list[float]]:
        """Begin with a persistence of 0.95, 0.99 and 0.9."""
        level = math.log(variance)
        return [[0.05 * level, 0.1, 0.0, 0.95], [0.01 * level, 0.05, -0.03, 0.99], [0.1 * level, 0.2, -0.05, 0.9]]

    @staticmethod
    def following(par: dict[str, float], variance: float, value: float) -> float:
        """Apply the recursion once."""
        z = value / math.sqrt(variance)
        size = par["alpha[1]"] * (abs(z) - MEAN_ABS_NORMAL) + par["gamma[1]"] * z
        return math.exp(par["omega"] + size + par["beta[1]"] * math.log(variance))

    @staticmethod
    def summed(par: dict[str, float], tomorrow: np.ndarray, days: int) -> np.ndarray:
        """Shocks of different days are independent, so the expectation is a product of one-dimensional ones.

        E v[t+k] = v[t+1]^(beta^(k-1)) prod over j < k-1 of exp(omega beta^j) E exp(beta^j g(z)),
        g(z) = alpha (|z| - sqrt(2/pi)) + gamma z.
        """
        log_tomorrow, total, shift, power = np.log(tomorrow), np.zeros(len(tomorrow)), 0.0, 1.0
        z, weight = _error_density(par.get("nu", 2.0))
        size = par["alpha[1]"] * (np.abs(z) - MEAN_ABS_NORMAL) + par["gamma[1]"] * z
        for _ in range(days):
            total += np.exp(power * log_tomorrow + shift)
            shift += par["omega"] * power + math.log(float(weight @ np.exp(power * size)))
            power *= par["beta[1]"]
        return total


def _error_density(nu: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the generalised error distribution of variance 1 and shape *nu*, and their probabilities.

    Shape 2 is the normal distribution.
    """
    scale = math.exp(0.5 * (math.lgamma(1.0 / nu) - math.lgamma(3.0 / nu)))
    z = np.linspace(-40.0, 40.0, 8001)
    density = np.exp(-((np.abs(z) / scale) ** nu))
    return z, density / density.sum()
