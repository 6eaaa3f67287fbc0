"""Prophet on log prices, walked forward with refits (`jobs.rolling`).

f[t] = yhat(target day) - log p[t], where yhat is a function of the date alone: a trend with changepoints, and the season
of the year. The target day is reckoned as on day t: no holiday to come is known, and no later row changes a forecast.
Prophet fits it; it is evaluated here from a fit's parameters, which are plain numbers. Between two refits nothing is
learned from prices. Prophet optimises in a process of its own (cmdstan) and needs no network.
"""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jobs.results.run_folder import reckoned_dates
from jobs.rolling.walk import Fit, RollingFit
from jobs.trainer import BrokenRuntime, BrokenSpec

for chatty in ("prophet", "prophet.plot", "cmdstanpy"):
    logging.getLogger(chatty).disabled = True  # not its level, which they set themselves
try:
    from prophet import Prophet
    from prophet import __version__ as prophet_version
except Exception as exc:
    error = " ".join(str(exc).split())[:240]
    msg = (
        f"{sys.executable} cannot import prophet: `{sys.executable} -m pip install 'cbi-queue[prophet]'`, then "
        f"`cbi-queue retry` the job ({type(exc).__name__}: {error})"
    )
    raise BrokenRuntime(msg) from exc

if TYPE_CHECKING:
    from cbi_queue.models.parameters.statistical import ProphetParams
    from jobs.data.series import ForecastFrame

DAY = np.timedelta64(1, "D")
YEAR_DAYS = 365.25


class ProphetPrice(RollingFit):
    """Trains `prophet`."""

    library = f"prophet {prophet_version}"

    def fit_before(self, row: int) -> Fit:
        """Return the fit that is made at *row*, from nothing that was known later."""
        self.dates = self.frame.dates[: row + 1]
        return super().fit_before(row)

    def fit(self, log_price: np.ndarray) -> Fit:
        """Fit on *log_price*, those of the last of `dates`.

        Raises:
            BrokenSpec: when Prophet finds no parameters for these prices.
        """
        import pandas as pd

        p, dates = cast("ProphetParams", self.params), self.dates[-len(log_price) :]
        model = Prophet(
            changepoint_prior_scale=p.changepoint_prior_scale,
            weekly_seasonality=False,
            daily_seasonality=False,
            uncertainty_samples=0,
        )
        try:
            model.fit(pd.DataFrame({"ds": dates, "y": log_price}), seed=p.seed)
        except (RuntimeError, ValueError) as exc:
            why = " ".join(str(exc).split())[:240]
            raise BrokenSpec(
                f"Prophet cannot be fitted on the {len(dates)} prices up to {dates[-1]} ({why}): choose a longer "
                "history_rows, or look at the export's price"
            ) from exc
        par = {name: np.asarray(model.params[name], dtype=np.float64)[0].tolist() for name in ("delta", "beta")}
        return {
            "start": str(np.datetime64(model.start, "D")),
            "days": float(model.t_scale / pd.Timedelta(days=1)),
            "scale": float(cast("float", model.y_scale)),
            "slope": float(model.params["k"][0, 0]),
            "level": float(model.params["m"][0, 0]),
            "changepoints": np.asarray(model.changepoints_t, dtype=np.float64).tolist(),
            "bends": par["delta"],
            "year": par["beta"] if "yearly" in model.seasonalities else [],
        }

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return f of each of *rows*: (rows,) float64."""
        f: np.ndarray = curve(fit, reckoned_dates(frame, rows)) - np.log(frame.price[rows])
        return f


def curve(fit: dict[str, Any], dates: np.ndarray) -> np.ndarray:
    """Return yhat of *dates*, (n,) datetime64[D] -> (n,) float64.

    s (level + slope t + sum of bend_j max(t - c_j, 0) + sum of a_i sin(2 pi i d / 365.25) + b_i cos(...)), with t the share of
    the history that has passed, c_j the changepoints, d the days since 1970, s the scale.
    """
    t = (dates - np.datetime64(fit["start"])) / DAY / fit["days"]  # (n,)
    trend = fit["level"] + fit["slope"] * t
    if fit["changepoints"]:
        trend = trend + np.maximum(t[:, None] - np.array(fit["changepoints"]), 0.0) @ np.array(fit["bends"])
    angle = (dates - np.datetime64("1970-01-01")) / DAY * (2.0 * math.pi / YEAR_DAYS)
    waves = np.array(fit["year"]).reshape(-1, 2)  # of sine and cosine
    for number, (sine, cosine) in enumerate(waves, start=1):
        trend = trend + sine * np.sin(number * angle) + cosine * np.cos(number * angle)
    scaled: np.ndarray = fit["scale"] * trend
    return scaled
