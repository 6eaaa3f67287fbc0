"""Headlines become columns of trading days, and no value knows a headline that came after its close."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbi_queue.datasets.headlines import COUNT, DECAYED, SENTIMENT, Headlines
from jobs.data.news import DAY_US, News, closes, daily, rows_of

CHOSEN = Headlines(sha256="0" * 64, close="13:20", close_zone="America/Chicago", max_age_days=7, half_life_days=3)
START = (
    datetime(2018, 3, 5, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
).days  # a Monday; the clocks change on the 11th
WEEKDAYS = np.array([START + 7 * week + day for week in range(6) for day in range(5)], dtype=np.int64)
CLOSE = closes(WEEKDAYS, CHOSEN)
SECOND_US = 1_000_000


def news(*rows: tuple[int, int, float], chosen: Headlines = CHOSEN) -> News:
    """Headlines as (microseconds, number of the text, sentiment)."""
    rows = tuple(sorted(rows))
    columns = list(zip(*rows, strict=True))
    return News(
        np.array(columns[0], dtype=np.int64),
        np.array(columns[1], dtype=np.int64),
        np.array(columns[2], dtype=np.float32),
        chosen,
    )


def test_the_close_is_that_of_its_zone_on_both_sides_of_the_change_of_clocks() -> None:
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(close)) for close in CLOSE]

    assert (moments[4].hour, moments[4].minute) == (19, 20)  # Friday 9 March, CST
    assert (moments[5].hour, moments[5].minute) == (18, 20)  # Monday 12 March, CDT


def test_a_headline_at_the_close_is_of_the_day_and_one_a_second_later_of_the_next() -> None:
    assert rows_of(np.array([CLOSE[3], CLOSE[3] + SECOND_US]), CLOSE).tolist() == [3, 4]
    assert rows_of(np.array([CLOSE[4] + SECOND_US]), CLOSE).tolist() == [5], "Friday evening is Monday's"
    assert rows_of(np.array([CLOSE[-1] + SECOND_US]), CLOSE).tolist() == [len(CLOSE)]


def test_moving_a_headline_past_the_close_moves_it_to_the_next_day_alone() -> None:
    others = [(int(CLOSE[at]) - 3600 * SECOND_US, at, 0.1 * at) for at in range(8)]
    before = daily(news(*others, (int(CLOSE[3]), 99, -1.0)), WEEKDAYS)
    after = daily(news(*others, (int(CLOSE[3]) + SECOND_US, 99, -1.0)), WEEKDAYS)
    without = daily(news(*others), WEEKDAYS)

    assert np.flatnonzero(before[COUNT] != after[COUNT])[:2].tolist() == [3, 4]
    for name in (SENTIMENT, COUNT):
        assert after[name][3] == without[name][3], "the day that it missed does not know it"
        changed = np.flatnonzero(~np.isclose(after[name], without[name], equal_nan=True))
        assert changed.tolist() == [4], "a mean and a count of one day are of that day alone"


headlines = st.lists(
    st.tuples(
        st.integers(int(CLOSE[0]) - 3 * DAY_US, int(CLOSE[-1]) + 3 * DAY_US),
        st.integers(0, 5),
        st.floats(-1, 1, width=32),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(known=headlines, later=headlines, row=st.integers(0, len(WEEKDAYS) - 2))
def test_no_value_knows_a_headline_from_after_its_close(known, later, row) -> None:
    """Whatever comes after the close of a row, or none of it: the rows up to it are the same."""
    past = [one for one in known if one[0] <= CLOSE[row]] or [(int(CLOSE[row]), 0, 0.5)]
    future = [one for one in later if one[0] > CLOSE[row]]

    alone, together = daily(news(*past), WEEKDAYS), daily(news(*past, *future), WEEKDAYS)
    cut = daily(news(*past), WEEKDAYS[: row + 1])

    for name, column in alone.items():
        np.testing.assert_allclose(together[name][: row + 1], column[: row + 1], atol=1e-12)
        np.testing.assert_allclose(cut[name], column[: row + 1], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(known=headlines)
def test_values_are_in_range_and_missing_together(known) -> None:
    found = daily(news(*known), WEEKDAYS)

    is_known = np.isfinite(found[SENTIMENT])
    for column in found.values():
        assert (np.isfinite(column) == is_known).all()
    assert (np.abs(found[SENTIMENT][is_known]) <= 1 + 1e-6).all()
    assert (np.abs(found[DECAYED][is_known]) <= 1 + 1e-6).all()
    assert (found[COUNT][is_known] >= 0).all()


def test_a_day_without_headlines_counts_none_and_keeps_the_last_sentiment_for_a_while() -> None:
    found = daily(news((int(CLOSE[2]), 0, 0.5)), WEEKDAYS)

    assert np.isnan(found[SENTIMENT][:2]).all(), (
        "before the first headline nothing is known, not even that there were none"
    )
    assert found[COUNT][2:7].tolist() == [1, 0, 0, 0, 0]
    assert found[SENTIMENT][2:8].tolist() == pytest.approx([0.5] * 6)
    assert np.isnan(found[SENTIMENT][8:]).all(), "older than 7 days"
    assert np.isnan(found[COUNT][8:]).all(), "long silence is no news, or no source"


def test_one_text_counts_once_a_day_and_again_on_another() -> None:
    rows = [(int(CLOSE[2]) - n * SECOND_US, 7, 0.4) for n in range(3)] + [
        (int(CLOSE[3]), 7, 0.4),
        (int(CLOSE[3]), 8, -0.4),
    ]

    found = daily(news(*rows), WEEKDAYS)

    assert found[COUNT][2:4].tolist() == [1, 2]
    assert found[SENTIMENT][2:4].tolist() == pytest.approx([0.4, 0.0])


def test_the_decayed_mean_halves_a_weight_in_its_half_life() -> None:
    tuesday, friday = 1, 4  # three days apart, and no change of clocks between
    found = daily(news((int(CLOSE[tuesday]), 0, 1.0), (int(CLOSE[friday]), 1, -1.0)), WEEKDAYS)

    assert found[DECAYED][friday] == pytest.approx((0.5 - 1.0) / 1.5)
