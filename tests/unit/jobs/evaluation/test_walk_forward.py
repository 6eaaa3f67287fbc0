"""`jobs.evaluation.walk_forward`: no row is forecast by a fit that knew its label; the windows are skfolio's."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.model_selection import WalkForward as SkfolioWalkForward

from cbi_queue.models.parameters.trees import LightGBMDartParams
from jobs.data.series import ForecastFrame, label
from jobs.evaluation.splits import split_by
from jobs.evaluation.walk_forward import refits_of


def frame_with(rows: int, horizon_days: int) -> ForecastFrame:
    price = np.linspace(10, 20, rows)
    dates = np.datetime64("2000-01-03") + np.arange(rows)
    x = np.zeros((rows, 1), dtype=np.float32)
    return ForecastFrame(dates, price, x, label(price, horizon_days), ("zero",), horizon_days, "0" * 64)


@settings(max_examples=60, deadline=None)
@given(
    horizon_days=st.integers(1, 60),
    windows=st.integers(1, 10),
    every=st.integers(5, 80),
    final=st.integers(0, 150),
    embargo=st.integers(0, 30),
)
def test_every_judged_row_is_forecast_once_by_a_fit_that_could_not_know_it(
    horizon_days: int, windows: int, every: int, final: int, embargo: int
) -> None:
    frame = frame_with(2500, horizon_days)
    params = LightGBMDartParams(
        scheme="walk_forward",
        backtest_rows=max(30, windows * every),
        refit_every_rows=every,
        final_block_rows=final,
        validation_rows=100,
        embargo_rows=embargo,
    )
    split = split_by(frame, params)
    fits = refits_of(frame, split, every)

    forecast = np.concatenate([fit.split.backtest for fit in fits])
    assert len(forecast) == len(set(forecast)), "each row once"
    future = np.flatnonzero(~np.isfinite(frame.y))
    assert set(forecast) == {*split.validation, *split.backtest, *split.final, *future}
    for fit in fits[:-1]:
        assert len(fit.split.backtest) <= max(every, len(split.validation))
        assert fit.split.train[-1] + horizon_days + embargo < fit.split.backtest[0]
    assert fits[0].selects
    assert len(fits[0].split.validation) == 100
    assert all(not len(fit.split.validation) for fit in fits[1:]), "nothing is chosen after the first fit"
    known = int(np.isfinite(frame.y).sum())
    assert fits[-1].split.train.tolist() == list(range(known)), "the model that is kept has seen every known row"


def test_the_windows_are_those_of_skfolio() -> None:
    h, embargo, every = 21, 10, 63
    frame = frame_with(2000, h)
    params = LightGBMDartParams(
        scheme="walk_forward", backtest_rows=8 * every, refit_every_rows=every, final_block_rows=0, embargo_rows=embargo
    )
    split = split_by(frame, params)
    ours = [(fit.split.train, fit.split.backtest) for fit in refits_of(frame, split, every)[1:-1]]
    known = int(np.isfinite(frame.y).sum())
    first_train = len(ours[0][0])

    peer = SkfolioWalkForward(
        test_size=every, train_size=first_train, purged_size=h + embargo, expand_train=True, reduce_test=False
    )
    theirs = list(peer.split(np.zeros((known, 1))))

    assert len(theirs) == len(ours) == 8
    for (our_train, our_test), (their_train, their_test) in zip(ours, theirs, strict=True):
        assert our_test.tolist() == their_test.tolist()
        assert our_train.tolist() == their_train.tolist()


def test_a_hold_out_has_no_final_block() -> None:
    split = split_by(frame_with(2500, 5), LightGBMDartParams())
    assert list(split.blocks()) == ["train", "validation", "backtest"]
