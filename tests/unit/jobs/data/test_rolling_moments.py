"""`jobs.data.rolling_moments`: the window's rows decide, nothing before them, and rounding does not pile up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.data.rolling_moments import Moments, rolling_extremes
from jobs.data.rolling_moments import rolling_moments as yielded

WINDOWS = (1, 2, 3, 5, 7, 8, 21, 63, 126)


def rolling_moments(values: np.ndarray, with_first: int, windows) -> dict[int, Moments]:
    return {found.n: found for found in yielded(values, with_first, windows)}


def directly(x: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of x and C_xy of each full window, the long way."""
    mean, co = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for t in range(n - 1, len(x)):
        a, b = x[t - n + 1 : t + 1], y[t - n + 1 : t + 1]
        mean[t], co[t] = a.mean(), ((a - a.mean()) * (b - b.mean())).sum()
    return mean, co


def test_every_window_length_agrees_with_the_definition():
    values = np.random.default_rng(1).normal(size=(2, 300))
    found = rolling_moments(values, 1, WINDOWS)
    for n in WINDOWS:
        mean, variance = directly(values[0], values[0], n)
        np.testing.assert_allclose(found[n].mean[0], mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[n].co[0], variance, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(found[n].co[2], directly(values[0], values[1], n)[1], rtol=1e-10, atol=1e-13)


def test_a_large_level_costs_no_accuracy():
    """Sums of squares would lose every digit here: the spread is 1e-9 of the level."""
    values = 1e9 + np.random.default_rng(2).normal(size=(1, 200))
    found = rolling_moments(values, 0, [63])[63]
    np.testing.assert_allclose(found.co[0], directly(values[0], values[0], 63)[1], rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 1 / 3, 1e9, -7.7])
def test_a_window_of_equal_values_has_no_spread_at_all(level):
    """Not even a tiny one: a z-score would divide by it. The history before must not leak in either."""
    values = np.concatenate([np.random.default_rng(3).normal(size=50) * 1e6, np.full(130, level)])[None]
    found = rolling_moments(values, 0, WINDOWS)
    for n in WINDOWS:
        assert (found[n].co[0, 50 + n - 1 :] == 0).all()
        assert (found[n].mean[0, 50 + n - 1 :] == level).all()


def test_equal_rows_give_equal_bits_wherever_they_stand():
    values = np.random.default_rng(4).normal(size=(1, 400))
    whole = rolling_moments(values, 0, [126])[126]
    part = rolling_moments(values[:, 137:], 0, [126])[126]
    assert (whole.co[0, 137 + 125 :] == part.co[0, 125:]).all()
    assert (whole.mean[0, 137 + 125 :] == part.mean[0, 125:]).all()


def test_a_gap_empties_the_windows_that_hold_it_and_no_other():
    values = np.random.default_rng(5).normal(size=(1, 60))
    values[0, 20] = np.nan
    found = rolling_moments(values, 0, [5])[5]
    empty = np.flatnonzero(np.isnan(found.mean[0]))
    assert empty.tolist() == [0, 1, 2, 3, 20, 21, 22, 23, 24]
    assert np.isnan(found.co[0, empty]).all()


@given(rows=st.integers(1, 30), windows=st.sets(st.integers(1, 64), min_size=1))
def test_windows_longer_than_the_history_are_empty(rows, windows):
    found = rolling_moments(np.ones((1, rows)), 0, sorted(windows))
    for n in windows:
        assert found[n].mean.shape == found[n].co.shape == (1, rows)
        assert np.isnan(found[n].mean[0]).sum() == min(rows, n - 1)


def test_no_windows_ask_for_nothing():
    assert rolling_moments(np.ones((1, 5)), 0, []) == {}


def test_extremes_are_those_of_the_window_and_a_gap_empties_it():
    values = np.random.default_rng(6).normal(size=(2, 300))
    values[1, 150] = np.nan
    for n, (least, most) in zip(WINDOWS, rolling_extremes(values, WINDOWS), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(values, n, axis=1)
        np.testing.assert_array_equal(least[:, n - 1 :], windows.min(axis=2))
        np.testing.assert_array_equal(most[:, n - 1 :], windows.max(axis=2))
        assert np.isnan(least[:, : n - 1]).all()
        assert np.isnan(most[:, : n - 1]).all()


def test_extremes_of_windows_longer_than_the_history_are_empty():
    assert all(np.isnan(found).all() for pair in rolling_extremes(np.ones((1, 5)), (6, 7, 126)) for found in pair)
