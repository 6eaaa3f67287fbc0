"""ARIMA, exponential smoothing and Theta on log prices, walked forward with refits (`jobs.rolling`).

f[t] = (log price forecast h days ahead) - log p[t]. A fit is parameters alone: for each forecast the prices up to that day
are run through the library's own recursion with them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, cast

import numpy as np
from statsforecast import __version__ as statsforecast_version
from statsforecast import models
from statsforecast.arima import forecast_arima, forward_arima
from statsforecast.ets import forecast_ets, forward_ets
from statsforecast.theta import auto_theta, forecast_theta, forward_theta

from jobs.rolling.walk import Fit, RollingFit
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.statistical import ARIMAParams, AutoARIMAParams, SeasonalFitParams, ThetaParams
    from jobs.data.series import ForecastFrame


class _PriceFit(RollingFit):
    """A statsforecast model of the log price."""

    library = f"statsforecast {statsforecast_version}"

    def shape(self) -> str:
        """Name the season."""
        return f"season{cast('SeasonalFitParams', self.params).season_rows} "

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return f of each of *rows*: (rows,) float64."""
        log_price = np.log(frame.price)
        first, h = fit["first_row"], frame.horizon_days
        ahead = [self.path(fit, log_price[first : row + 1], h)[-1] for row in rows]
        f: np.ndarray = np.asarray(ahead) - log_price[rows]
        return f

    @abstractmethod
    def path(self, fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
        """Return the log prices forecast for the *days* after the end of *log_price*, with the fit's parameters."""


class AutoARIMA(_PriceFit):
    """Trains `auto_arima`: orders by AICc, stepwise; forecasts by the Kalman filter with fixed coefficients."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Search the orders and estimate the coefficients."""
        p = cast("AutoARIMAParams", self.params)
        return _arima_fit(models.AutoARIMA(max_p=p.max_p, max_q=p.max_q, season_length=p.season_rows), log_price)

    def path(self, fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
        """Filter *log_price* with the fit's coefficients and forecast."""
        return _arima_path(fit, log_price, days)


class ARIMA(_PriceFit):
    """Trains `arima`: given orders, coefficients by maximum likelihood."""

    def shape(self) -> str:
        """Name the orders."""
        p = cast("ARIMAParams", self.params)
        return f"order{p.p},{p.d},{p.q} "

    def fit(self, log_price: np.ndarray) -> Fit:
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
                return _arima_fit(model, log_price)
            except (ValueError, np.linalg.LinAlgError) as exc:
                why = exc
        raise BrokenSpec(
            f"ARIMA({p.p},{p.d},{p.q}) cannot be estimated on {len(log_price)} log prices ({why}): choose a lower p or q, "
            "or d 1"
        )

    def path(self, fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
        """Filter *log_price* with the fit's coefficients and forecast."""
        return _arima_path(fit, log_price, days)


class ETS(_PriceFit):
    """Trains `ets`: error, trend and season chosen by AICc; the initial state belongs to the fit's first day."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Choose the components and estimate the smoothing parameters."""
        p = cast("SeasonalFitParams", self.params)
        model = models.AutoETS(season_length=p.season_rows).fit(log_price).model_
        return {
            "components": str(model["components"]),
            "season_rows": int(model["m"]),
            "par": [None if np.isnan(value) else float(value) for value in model["par"]],
            "n_params": int(model["n_params"]),
        }

    def path(self, fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
        """Run *log_price* through the fitted states and forecast."""
        revived = {
            "components": fit["components"],
            "m": fit["season_rows"],
            "par": np.array([np.nan if value is None else value for value in fit["par"]]),
            "n_params": fit["n_params"],
            "fit": None,
        }
        return np.asarray(forecast_ets(forward_ets(revived, y=log_price), h=days)["mean"])


class Theta(_PriceFit):
    """Trains `theta`: exponential smoothing of a series bent by theta, with half of its trend (Fiorucci et al. 2016)."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Estimate the first level, alpha and, in the optimised variants, theta."""
        p = cast("ThetaParams", self.params)
        model = auto_theta(log_price, m=p.season_rows, model=None if p.variant == "auto" else p.variant)
        return {
            "variant": str(model["modeltype"]),
            "season_rows": int(model["m"]),
            "par": {name: float(value) for name, value in model["par"].items()},
        }

    def path(self, fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
        """Run *log_price* through the fitted recursion and forecast."""
        revived = {"modeltype": fit["variant"], "m": fit["season_rows"], "par": fit["par"]}
        return np.asarray(forecast_theta(forward_theta(revived, log_price), days)["mean"])


def _arima_fit(model: models.ARIMA | models.AutoARIMA, log_price: np.ndarray) -> Fit:
    fitted = model.fit(log_price).model_
    return {
        "arma": [int(order) for order in fitted["arma"]],
        "coef": {name: float(value) for name, value in fitted["coef"].items()},
        "sigma2": float(fitted["sigma2"]),
        "days": len(log_price),
    }


def _arima_path(fit: Fit, log_price: np.ndarray, days: int) -> np.ndarray:
    elapsed = np.arange(1.0, fit["days"] + 1).reshape(-1, 1)  # (days, 1), the regressor of a drift
    revived = {
        "arma": tuple(fit["arma"]),
        "coef": dict(fit["coef"]),
        "sigma2": fit["sigma2"],
        "xreg": elapsed if "drift" in fit["coef"] else None,
        "x": log_price[: fit["days"]],
        "lambda": None,
    }
    applied = forward_arima(revived, y=log_price, method=None)
    return np.asarray(forecast_arima(applied, days)["mean"])
