"""`jobs.data.features`: the values, where they are empty, and that no feature knows the future."""

from __future__ import annotations

from datetime import date, timedelta
from math import log, sqrt

import numpy as np
import polars as pl
import pytest

from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.feature_names import Series, feature_names, look_back_rows, series_features
from jobs.data.features import _features
from tests.support.features import engineer

PRICE, OTHER = Series("price", is_log=True), Series("other", is_log=True)
LN2 = log(2)


def frame(**columns) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(rows)]  # the first is a Monday
    return pl.DataFrame({"date": days, **{n: pl.Series(v, dtype=pl.Float64) for n, v in columns.items()}})


def params(**changes) -> FeatureParams:
    return FeatureParams.model_validate({"lags": (1, 2), "windows": (2, 3), **changes})


def walk(rows: int, seed: int) -> np.ndarray:
    return 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(scale=0.02, size=rows)))


def expect(found: pl.Series, wanted: list) -> None:
    assert found.dtype == pl.Float32
    assert found.to_list() == [None if w is None else pytest.approx(w, rel=1e-6, abs=1e-7) for w in wanted]


def test_returns_are_todays_and_those_of_the_lagged_days():
    found = engineer(frame(price=[1, 2, 4, 4, 2]), [PRICE], params())
    expect(found["price_ret_0"], [None, LN2, LN2, 0, -LN2])
    expect(found["price_ret_1"], [None, None, LN2, LN2, 0])
    expect(found["price_ret_2"], [None, None, None, LN2, LN2])


def test_rolling_statistics_by_hand():
    """Returns -, ln 2, ln 2, 0, -ln 2; the windows are the last two returns."""
    found = engineer(frame(price=[1, 2, 4, 4, 2]), [PRICE], params())
    half = LN2 / 2
    expect(found["price_mean_2"], [None, None, LN2, half, -half])
    expect(found["price_std_2"], [None, None, 0, LN2 / sqrt(2), LN2 / sqrt(2)])
    expect(found["price_min_2"], [None, None, LN2, 0, -LN2])
    expect(found["price_max_2"], [None, None, LN2, LN2, 0])
    # momentum sum(r) / (std sqrt(w)): ln 2 / (ln 2 / sqrt 2 * sqrt 2) = 1; without spread it has no value
    expect(found["price_mom_2"], [None, None, None, 1, -1])
    # z of the log level over two rows: half the step over (step / sqrt 2) = 1 / sqrt 2; no step, no value
    expect(found["price_z_2"], [None, 1 / sqrt(2), 1 / sqrt(2), None, -1 / sqrt(2)])


def test_the_price_against_a_series_that_moves_half_as_much():
    """With q = sqrt(p), r_q = r_p / 2, so corr = 1, beta of p on q = 2, spread = half the window's return."""
    p = np.array([1.0, 2, 8, 8, 4])
    found = engineer(frame(price=p, other=np.sqrt(p)), [PRICE, OTHER], params())
    expect(found["other_corr_3"], [None, None, None, 1, 1])
    expect(found["other_beta_3"], [None, None, None, 2, 2])
    expect(found["other_spread_3"], [None, None, None, 1.5 * LN2, 0.5 * LN2])


def test_a_correlation_stays_within_one():
    p = walk(400, 1)
    found = engineer(frame(price=p, other=1 / p), [PRICE, OTHER], params(windows=(5, 21)))
    assert found["other_corr_21"].min() >= -1
    assert found["other_corr_21"].max() == pytest.approx(-1)


def test_a_series_that_is_not_positive_is_differenced_and_has_no_spread():
    other = Series("other", is_log=False)
    found = engineer(frame(price=[1, 2, 4, 4, 2], other=[-1, 2, 0, 0.5, 3]), [PRICE, other], params())
    expect(found["other_ret_0"], [None, 3, -2, 0.5, 2.5])
    assert "other_corr_2" in found.columns
    assert not any("spread" in name for name in found.columns)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_value_without_a_logarithm_empties_what_needs_it_and_nothing_else(value):
    levels, p = walk(60, 2), walk(60, 1)
    whole = engineer(frame(price=p, other=levels), [PRICE, OTHER], params(windows=(5,)))
    levels[40] = value
    found = engineer(frame(price=p, other=levels), [PRICE, OTHER], params(windows=(5,)))
    assert found.head(40).equals(whole.head(40))
    assert found.slice(46).equals(whole.slice(46)), "the return of the day after is the last one that needs it"
    for kind in ("mean", "std", "min", "max", "mom", "z", "corr", "beta", "spread"):
        assert found[f"other_{kind}_5"].slice(40, 5).null_count() == 5, kind


def test_calendar():
    found = engineer(frame(price=[1] * 40), [PRICE], params())
    expect(found["month"].head(1), [1])
    assert found["month"][-1] == 2
    expect(found["day_of_week"].head(8), [1, 2, 3, 4, 5, 6, 7, 1])


def test_a_series_that_starts_late_is_empty_until_its_windows_are_full():
    other = [None] * 20 + walk(40, 2).tolist()
    found = engineer(frame(price=walk(60, 1), other=other), [PRICE, OTHER], params(windows=(5,)))
    assert found["other_ret_0"].null_count() == 21
    assert found["other_ret_2"].null_count() == 23
    for name in ("other_mean_5", "other_std_5", "other_min_5", "other_max_5", "other_mom_5", "other_corr_5"):
        assert found[name].null_count() == 25, name
        assert found[name][24] is None, name
    assert found["other_z_5"].null_count() == 24
    assert found["price_z_5"].null_count() == 4


def test_a_gap_is_never_bridged():
    p = walk(30, 1).tolist()
    p[10] = None
    found = engineer(frame(price=walk(30, 2), other=p), [PRICE, OTHER], params(windows=(5,)))
    empty = [i for i, v in enumerate(found["other_mean_5"]) if v is None]
    assert empty == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15]


def test_no_spread_gives_no_value_rather_than_nan_or_infinity():
    found = engineer(frame(price=[7.7] * 30, other=walk(30, 1)), [PRICE, OTHER], params(windows=(5, 21)))
    for name in ("price_mom_5", "price_z_5", "other_corr_5"):
        assert found[name].null_count() == 30, name
    assert set(found["price_std_21"].drop_nulls()) == {0.0}
    assert found["other_beta_5"][-1] == 0.0
    assert all(found[name].drop_nulls().is_finite().all() for name in found.columns[2:])


def test_names_announce_the_columns_in_their_order_and_repeats_are_one():
    series, wanted = [PRICE, OTHER], params(lags=(2, 1, 2), windows=(3, 2, 3))
    found = engineer(frame(price=walk(9, 1), other=walk(9, 2)), series, wanted)
    assert found.columns == ["date", "price", *feature_names(series, wanted)]
    assert found.schema["price"] == pl.Float64


def test_interactions_can_be_left_out():
    names = feature_names([PRICE, OTHER], params(interactions=False))
    assert not [n for n in names if any(word in n for word in ("corr", "beta", "spread"))]


def test_lags_alone_are_enough():
    found = engineer(frame(price=walk(9, 1)), [PRICE], params(windows=()))
    assert found.columns == ["date", "price", "price_ret_0", "price_ret_1", "price_ret_2", "month", "day_of_week"]


DEFAULTS = FeatureParams()


@pytest.mark.parametrize("cut", [1, 2, 64, 126, 127, 200, 299])
def test_the_future_moves_no_past_feature(cut):
    """Bit for bit: rows from *cut* on are changed in every column, in several ways, and no row before notices."""
    p, q = walk(300, 1), walk(300, 2)
    series = [PRICE, OTHER]
    before = engineer(frame(price=p, other=q), series, DEFAULTS)
    for changed in (3.0, 1e-6, 1e12, None):
        p2, q2 = p.tolist(), q.tolist()
        for t in range(cut, 300):
            p2[t] = p2[t] * (changed or 1.5)
            q2[t] = q2[t] * changed if changed else None
        after = engineer(frame(price=p2, other=q2), series, DEFAULTS)
        assert after.head(cut).equals(before.head(cut), null_equal=True)
        moved = [
            n for n in before.columns[2:-2] if not after[n].slice(cut).equals(before[n].slice(cut), null_equal=True)
        ]
        assert {"price_ret_0", "other_ret_0"} <= set(moved)


def test_every_feature_sees_its_own_day():
    """Not needlessly late: the last row's value moves every feature of the last row that is not lagged."""
    p, q = walk(300, 1), walk(300, 2)
    before = engineer(frame(price=p, other=q), [PRICE, OTHER], DEFAULTS)
    p, q = p.copy(), q.copy()  # the frame may share their memory
    p[-1] *= 9
    q[-1] *= 0.1
    after = engineer(frame(price=p, other=q), [PRICE, OTHER], DEFAULTS)
    still = {n for n in before.columns if before[n][-1] == after[n][-1]}
    lagged = {f"{s}_ret_{k}" for s in ("price", "other") for k in DEFAULTS.lags}
    extremes = {n for n in before.columns if "_min_" in n or "_max_" in n}
    assert still <= lagged | extremes | {"date", "month", "day_of_week"}
    assert lagged <= still


@pytest.mark.parametrize(
    ("rows", "wanted", "step"),
    [(60, params(lags=(1, 5), windows=(4, 9)), 1), *((400, DEFAULTS, step) for step in (7, 126, 127, 250))],
)
def test_chunks_that_overlap_by_the_look_back_equal_the_whole(rows, wanted, step):
    """Row by row with a look-back of nine rows, and in longer steps with the default one of 126."""
    series, late = [PRICE, OTHER], rows // 8
    whole_frame = frame(price=walk(rows, 1), other=[None] * late + walk(rows - late, 2).tolist())
    whole = engineer(whole_frame, series, wanted)
    back = look_back_rows(wanted)
    for first in range(0, rows, step):
        start = max(0, first - back)
        part = engineer(whole_frame.slice(start, first - start + step), series, wanted).slice(first - start)
        assert part.equals(whole.slice(first, step), null_equal=True)


def test_a_long_file_is_the_same_as_its_parts():
    """Rows are worked on in tiles of 2,048: their borders, which another start shifts, leave no trace."""
    p, q = walk(5000, 1), walk(5000, 2)
    whole = engineer(frame(price=p, other=q), [PRICE, OTHER], DEFAULTS)
    for first, last in ((0, 4096), (777, 5000), (2047 - 126, 2050)):
        part = engineer(frame(price=p, other=q).slice(first, last - first), [PRICE, OTHER], DEFAULTS)
        back = look_back_rows(DEFAULTS) if first else 0
        wanted = whole.slice(first + back, last - first - back)
        assert part.slice(back).equals(wanted, null_equal=True)


def test_one_row_less_of_overlap_would_not_do():
    """The look-back is exact: the longest lag and the longest window both need all of it."""
    p = frame(price=walk(200, 1))
    for wanted in (params(lags=(63,), windows=(5,)), params(lags=(1,), windows=(64,))):
        back = look_back_rows(wanted)
        whole = engineer(p, [PRICE], wanted).tail(1)
        assert back == 64
        assert engineer(p.tail(back + 1), [PRICE], wanted).tail(1).equals(whole, null_equal=True)
        assert not engineer(p.tail(back), [PRICE], wanted).tail(1).equals(whole, null_equal=True)


@pytest.mark.parametrize("interactions", [True, False])
def test_every_name_has_a_formula_and_every_formula_a_name(interactions):
    """The names stand apart from the formulas, so that a check can count features without computing any."""
    series = [PRICE, OTHER, Series("spread", is_log=False)]
    some = params(lags=(3, 1, 3), windows=(5, 2), interactions=interactions)
    values = walk(54, 1).reshape(6, 9)
    made = [f"{s.name}_{feature}" for feature, of, _ in _features(values, series, some) for s in of]
    assert sorted(made) == sorted(series_features(series, some))
    assert len(set(feature_names(series, some, ["rsi"]))) == len(made) + 3
