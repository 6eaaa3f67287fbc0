"""`jobs.evaluation.splits`: no label window of a training row ever touches one of a test row, whatever the figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbi_queue.models.parameters.common import MIN_TRAIN_ROWS
from jobs.data.series import ForecastFrame, label
from jobs.evaluation.splits import describe, holdout_split, purged_folds
from jobs.trainer import BrokenSpec


def frame_with(rows: int, horizon_days: int) -> ForecastFrame:
    price = np.linspace(10, 20, rows)
    dates = np.datetime64("2000-01-03") + np.arange(rows)
    x = np.zeros((rows, 1), dtype=np.float32)
    return ForecastFrame(dates, price, x, label(price, horizon_days), ("zero",), horizon_days, "0" * 64)


def overlapping(left: np.ndarray, right: np.ndarray, horizon_days: int) -> bool:
    """Whether any [t, t+h] of *left* meets any [s, s+h] of *right*: |t - s| <= h for a pair."""
    return bool((np.abs(left[:, None] - right[None, :]) <= horizon_days).any())


@given(
    rows=st.integers(200, 3000),
    horizon_days=st.integers(1, 60),
    validation=st.integers(30, 400),
    backtest=st.integers(30, 400),
    embargo=st.integers(0, 60),
)
def test_no_label_reaches_from_one_block_into_another(
    rows: int, horizon_days: int, validation: int, backtest: int, embargo: int
) -> None:
    """The whole point: a leak here makes every number of every model a lie."""
    frame = frame_with(rows, horizon_days)
    try:
        split = holdout_split(frame, validation, backtest, embargo)
    except BrokenSpec:
        assert rows - validation - backtest - 3 * horizon_days - 2 * embargo < MIN_TRAIN_ROWS
        return

    assert len(split.validation) == validation
    assert len(split.backtest) == backtest
    assert len(split.train) >= MIN_TRAIN_ROWS
    for earlier, later in ((split.train, split.validation), (split.validation, split.backtest)):
        assert not overlapping(earlier, later, horizon_days)
        assert later[0] - earlier[-1] == horizon_days + 1 + embargo  # and not one row more is given away
    for block in split.blocks().values():
        assert np.isfinite(frame.y[block]).all()
    assert split.backtest[-1] + horizon_days == rows - 1  # the last known label is used


@given(
    rows=st.integers(2, 400),
    folds=st.integers(2, 10),
    horizon_days=st.integers(1, 60),
    embargo=st.integers(0, 40),
)
def test_every_fold_is_purged_on_both_sides_and_no_further(
    rows: int, folds: int, horizon_days: int, embargo: int
) -> None:
    """Before a test block h rows go; after it h rows and the embargo; all others stay."""
    try:
        found = list(purged_folds(rows, folds, horizon_days, embargo))
    except BrokenSpec:
        return

    assert np.concatenate([test for _, test in found]).tolist() == list(range(rows))
    for train, test in found:
        assert not overlapping(train, test, horizon_days)
        after = train[train > test[-1]]
        assert not len(after) or after[0] - test[-1] >= horizon_days + embargo + 1
        dropped = np.setdiff1d(np.arange(rows), np.concatenate([train, test]))
        assert all(test[0] - horizon_days <= t <= test[-1] + horizon_days + embargo for t in dropped)


def test_the_smallest_distances_are_h_plus_1_before_and_h_plus_embargo_plus_1_after() -> None:
    """The figures that skfolio's purged splitters give, checked with it once."""
    train, test = list(purged_folds(600, 3, 21, 10))[1]

    assert (test[0], test[-1]) == (200, 399)
    assert train[train < test[0]][-1] == 200 - 22
    assert train[train > test[-1]][0] == 399 + 32


def test_a_memory_of_neighbouring_labels_is_worthless_across_a_purge() -> None:
    """A forecast copied from the nearest training row: brilliant when rows are shuffled, nothing once purged."""
    h = 21
    steps = np.random.default_rng(3).normal(0, 1, 4000 + h)
    walk = np.cumsum(steps)
    y = walk[h:] - walk[:-h]  # (4000,)

    def skill(folds: list[tuple[np.ndarray, np.ndarray]]) -> float:
        copied = np.empty_like(y)
        for train, test in folds:
            copied[test] = y[train[np.abs(train[None, :] - test[:, None]).argmin(axis=1)]]
        return float(np.corrcoef(copied, y)[0, 1])

    order = np.random.default_rng(4).permutation(len(y))
    shuffled = [(np.setdiff1d(order, test), np.sort(test)) for test in np.array_split(order, 5)]

    assert skill(shuffled) > 0.9
    assert abs(skill(list(purged_folds(len(y), 5, h, 0)))) < 0.2


def test_too_short_a_series_is_refused_with_the_figures() -> None:
    with pytest.raises(BrokenSpec, match=r"500 rows leave 0 to train on, 100 are needed: backtest 200, validation 200"):
        holdout_split(frame_with(500, 21), 200, 200, 21)


@pytest.mark.parametrize("folds", [1, 11])
def test_a_number_of_folds_that_cannot_be_is_refused(folds: int) -> None:
    with pytest.raises(BrokenSpec, match="allowed are 2 to 10 folds"):
        list(purged_folds(10, folds, 1, 0))


def test_a_fold_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(BrokenSpec, match="leaves no training row"):
        list(purged_folds(20, 2, 30, 0))


def test_the_description_says_dates_and_gaps_in_json() -> None:
    frame = frame_with(1000, 21)
    said = describe(frame, holdout_split(frame, 100, 100, 10))

    assert said["gap_rows"] == {"train_to_validation": 31, "validation_to_backtest": 31}
    assert said["blocks"]["backtest"]["labels_until"] == str(frame.dates[-1])
    assert said["blocks"]["train"]["labels_until"] < said["blocks"]["validation"]["first"]
    json.dumps(said, allow_nan=False)
