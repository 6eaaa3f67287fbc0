"""ARIMA, exponential smoothing and Theta on levels, walked forward with refits (`jobs.rolling`).

The level of a price is its logarithm; where the label is a difference it is the price itself, and the models are then
additive throughout, because such a level may pass 0. f[t] = (level forecast h days ahead) - level[t]. A fit is parameters
alone: for each forecast the prices up to that day are run through the library's own recursion with them.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from statsforecast import __version__ as statsforecast_version
from statsforecast import arima, models
from statsforecast.arima import forecast_arima, forward_arima
from statsforecast.ets import forecast_ets, forward_ets
from statsforecast.theta import auto_theta, forecast_theta

from jobs.rolling.walk import Fit, RollingFit
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.statistical import ARIMAParams, AutoARIMAParams, SeasonalFitParams, ThetaParams
    from jobs.data.series import ForecastFrame


LEAST_ROOT = 1.01
"""Smallest modulus of a root of a model that the automatic search may choose, as in R's `auto.arima`."""

MOST_EXACT, LONGEST_EXACT = 150, 12
"""Longest series, and season, for which the search compares exact likelihoods, as in R; beyond, conditional sums of squares."""


def _repeatable(likelihood: Callable[..., Any]) -> Callable[..., Any]:
    """Return the *likelihood* of an ARIMA as a function of its coefficients alone, which it is not in statsforecast 2.1.1.

    There each call starts from the variances that the one before left behind, so that the search for the maximum ends
    where it began: at the conditional sum of squares. R, from which it was ported, gives each call a copy of them.
    """

    def from_a_copy(*given: Any) -> Any:
        *model, variance, next_variance, up, keeps_state = given
        if keeps_state:  # the last call, from whose state the forecasts start
            return likelihood(*given)
        return likelihood(*model, variance.copy(), next_variance.copy(), up, keeps_state)

    return from_a_copy


def _refusing_unit_roots(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Return *fit*, with which the automatic search tries orders, with R's rule for every polynomial: no root within 1.01.

    statsforecast 2.1.1 counts from 0 where R counts from 1, and leaves polynomials of one coefficient out: the search
    then chooses models such as a first-order moving average of -1 with a drift, which R never does.
    """

    def checked(*given: Any, **named: Any) -> Any:
        found = fit(*given, **named)
        model = found.get("model", {"phi": (), "theta": ()})  # none where the fit failed
        for coefficients in (model["phi"], model["theta"]):
            if any(coefficients[:1]) and abs(coefficients[0]) > 1 / LEAST_ROOT and not any(coefficients[1:]):
                found["ic"] = math.inf
        return found

    return checked


arima.arima_like, arima.myarima = _repeatable(arima.arima_like), _refusing_unit_roots(arima.myarima)


class _PriceFit(RollingFit):
    """A statsforecast model of the level."""

    library = f"statsforecast {statsforecast_version}"

    def shape(self) -> str:
        """Name the season."""
        return f"season{cast('SeasonalFitParams', self.params).season_rows} "

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return f of each of *rows*: (rows,) float64."""
        level = frame.label.level(frame.price)
        first, h = fit["first_row"], frame.horizon_days
        ahead = [self.path(fit, level[first : row + 1], h)[-1] for row in rows]
        f: np.ndarray = np.asarray(ahead) - level[rows]
        return f

    @abstractmethod
    def path(self, fit: Fit, level: np.ndarray, days: int) -> np.ndarray:
        """Return the levels forecast for the *days* after the end of *level*, with the fit's parameters."""


class _ArimaFit(_PriceFit):
    """Forecasts by the Kalman filter with fixed coefficients."""

    library = f"{_PriceFit.library}, its ARIMA mended"

    def path(self, fit: Fit, level: np.ndarray, days: int) -> np.ndarray:
        """Filter *level* with the fit's coefficients and forecast."""
        elapsed = np.arange(1.0, fit["days"] + 1).reshape(-1, 1)  # (days, 1), the regressor of a drift
        revived = {
            "arma": tuple(fit["arma"]),
            "coef": dict(fit["coef"]),
            "sigma2": fit["sigma2"],
            "xreg": elapsed if "drift" in fit["coef"] else None,
            "x": level[: fit["days"]],
            "lambda": None,
        }
        applied = forward_arima(revived, y=level, method=None)
        return np.asarray(forecast_arima(applied, days)["mean"])

    def fitted(self, model: models.ARIMA | models.AutoARIMA, level: np.ndarray) -> Fit:
        """Fit *model* on *level*; return its orders and coefficients."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="possible convergence problem")  # of orders that are only tried
            found = model.fit(level).model_
        return {
            "arma": [int(order) for order in found["arma"]],
            "coef": {name: float(value) for name, value in found["coef"].items()},
            "sigma2": float(found["sigma2"]),
            "days": len(level),
        }


class AutoARIMA(_ArimaFit):
    """Trains `auto_arima`: orders by AICc, stepwise, coefficients by maximum likelihood."""

    def fit(self, level: np.ndarray) -> Fit:
        """Search the orders and estimate the coefficients."""
        p = cast("AutoARIMAParams", self.params)
        quick = len(level) > MOST_EXACT or p.season_rows > LONGEST_EXACT
        search = models.AutoARIMA(max_p=p.max_p, max_q=p.max_q, season_length=p.season_rows, approximation=quick)
        return self.fitted(search, level)


class ARIMA(_ArimaFit):
    """Trains `arima`: given orders, coefficients by maximum likelihood."""

    def shape(self) -> str:
        """Name the orders."""
        p = cast("ARIMAParams", self.params)
        return f"order{p.p},{p.d},{p.q} "

    def fit(self, level: np.ndarray) -> Fit:
        """Estimate the coefficients: from conditional sums of squares, where that is not stationary from zero.

        Raises:
            BrokenSpec: when the orders cannot be estimated on these prices.
        """
        p = cast("ARIMAParams", self.params)
        for method in ("CSS-ML", "ML"):
            model = models.ARIMA(
                order=(p.p, p.d, p.q), include_mean=p.d == 0, include_drift=p.drift and p.d == 1, method=method
            )
            try:
                return self.fitted(model, level)
            except (ValueError, np.linalg.LinAlgError) as exc:
                why = exc
        kind = "log prices" if self.label.is_relative else "prices"
        raise BrokenSpec(
            f"ARIMA({p.p},{p.d},{p.q}) cannot be estimated on {len(level)} {kind} ({why}): choose a lower p or q, "
            "or d 1"
        )


class ETS(_PriceFit):
    """Trains `ets`: error, trend and season chosen by AICc; the initial state belongs to the fit's first day."""

    def fit(self, level: np.ndarray) -> Fit:
        """Choose the components and estimate the smoothing parameters."""
        p = cast("SeasonalFitParams", self.params)
        components = "ZZZ" if self.label.is_relative else "AZZ"  # with additive errors, no season is multiplicative
        model = models.AutoETS(season_length=p.season_rows, model=components).fit(level).model_
        return {
            "components": str(model["components"]),
            "season_rows": int(model["m"]),
            "par": [None if np.isnan(value) else float(value) for value in model["par"]],
            "n_params": int(model["n_params"]),
        }

    def path(self, fit: Fit, level: np.ndarray, days: int) -> np.ndarray:
        """Run *level* through the fitted states and forecast."""
        revived = {
            "components": fit["components"],
            "m": fit["season_rows"],
            "par": np.array([np.nan if value is None else value for value in fit["par"]]),
            "n_params": fit["n_params"],
            "fit": None,
        }
        return np.asarray(forecast_ets(forward_ets(revived, y=level), h=days)["mean"])


class Theta(_PriceFit):
    """Trains `theta`: exponential smoothing of a series bent by theta, with half of its trend (Fiorucci et al. 2016)."""

    def fit(self, level: np.ndarray) -> Fit:
        """Estimate the first level, alpha and, in the optimised variants, theta."""
        p = cast("ThetaParams", self.params)
        season = {} if self.label.is_relative else {"decomposition_type": "additive"}
        model = auto_theta(level, m=p.season_rows, model=None if p.variant == "auto" else p.variant, **season)
        return {
            **season,
            "variant": str(model["modeltype"]),
            "season_rows": int(model["m"]),
            "par": {name: float(value) for name, value in model["par"].items()},
        }

    def path(self, fit: Fit, level: np.ndarray, days: int) -> np.ndarray:
        """Run *level* through the fitted recursion and forecast."""
        season = {key: fit[key] for key in ("decomposition_type",) if key in fit}
        applied = auto_theta(level, m=fit["season_rows"], model=fit["variant"], **fit["par"], **season)
        return np.asarray(forecast_theta(applied, days)["mean"])
