"""`jobs.evaluation.conformal`: an interval knows only what was known, and covers what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.evaluation.conformal import half_widths, measured_coverage


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("h", [1, 5, 21])
def test_the_coverage_is_what_was_asked_for_within_binomial_error(h: int, coverage: float) -> None:
    rng = np.random.default_rng(h)
    rows = 6000
    steps = rng.standard_normal(rows + h)
    y = np.convolve(steps, np.ones(h), "valid")[:rows]  # overlapping labels, as in the real thing

    widths = half_widths(y, np.zeros(rows), h, coverage)
    later = np.arange(rows) >= 500
    measured = measured_coverage(y[later], np.zeros(later.sum()), widths[later])

    independent = later.sum() / h
    assert measured == pytest.approx(coverage, abs=4 * math.sqrt(coverage * (1 - coverage) / independent))


def test_it_is_the_split_conformal_quantile_of_the_rows_known_by_then() -> None:
    rng = np.random.default_rng(0)
    y, predicted, h = rng.standard_normal(60), np.zeros(60), 5
    widths = half_widths(y, predicted, h, 0.8)

    t = 40
    known = np.sort(np.abs(y[: t - h + 1]))
    assert widths[t] == known[math.ceil((len(known) + 1) * 0.8) - 1]
    changed = y.copy()
    changed[t - h + 1 :] = 1e9
    assert half_widths(changed, predicted, h, 0.8)[t] == widths[t], "later labels change nothing"


def test_too_few_earlier_misses_make_no_interval() -> None:
    y = np.ones(30)
    widths = half_widths(y, np.zeros(30), 1, 0.95)
    assert np.isnan(widths[:19]).all(), "19 misses are the fewest that hold 95 %"
    assert np.isfinite(widths[19:]).all()
    assert measured_coverage(y[:5], np.zeros(5), widths[:5]) is None
