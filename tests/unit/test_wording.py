"""Lengths of time, counts, costs and sizes in words."""

from __future__ import annotations

import math

import pytest

from cbi_queue.wording import UNKNOWN, counted, duration, memory_size, per_sample, span

HOUR_S, DAY_S = 3_600, 86_400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, UNKNOWN),
        (math.inf, UNKNOWN),
        (math.nan, UNKNOWN),
        (-5.0, "0 s"),
        (0.0, "0 s"),
        (1.2e-05, "under 1 ms"),
        (0.416, "0.42 s"),
        (9.96, "10 s"),
        (41.2, "41 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (89.9, "1 min 30 s"),
        (3_599.0, "59 min 59 s"),
        (3_599.6, "1 h"),
        (7_800.0, "2 h 10 min"),
        (25 * HOUR_S, "1 d 1 h"),
        (8 * DAY_S, "8 d"),
    ],
)
def test_a_duration_has_up_to_two_units(seconds, words):
    """The larger unit is never 60 of the smaller one, and what is not a time is marked as unknown."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "an unknown time"),
        (math.inf, "an unknown time"),
        (-0.4, "0 s"),
        (-5.0, "0 s"),
        (-61.0, "an unknown time"),
        (0.0, "0 s"),
        (59.6, "60 s"),
        (89.9, "90 s"),
        (90.0, "2 min"),
        (3_599.0, "60 min"),
        (5_400.0, "2 h"),
        (25 * HOUR_S, "25 h"),
        (8 * DAY_S, "8 d"),
    ],
)
def test_a_span_has_one_unit(seconds, words):
    """A sentence wants the rough length, and must read well even when the length is not known."""
    assert span(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "no jobs"), (1, "1 job"), (2, "2 jobs")])
def test_a_count_takes_the_form_of_its_noun(count, words):
    assert counted(count, "job") == words
    assert counted(count, "process", "processes") == words.replace("jobs", "processes").replace("job", "process")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, UNKNOWN),
        (math.inf, UNKNOWN),
        (1.234, "1.23 s"),
        (0.00082, "0.82 ms"),
        (0.0001, "0.1 ms"),
        (0.0000123, "12.3 µs"),
        (0.0, "0 µs"),
    ],
)
def test_the_cost_of_a_sample_has_three_digits(seconds, words):
    assert per_sample(seconds) == words


@pytest.mark.parametrize(
    ("mib", "words"), [(0.0, "0 MiB"), (640.4, "640 MiB"), (1024.0, "1.0 GiB"), (5_734.0, "5.6 GiB")]
)
def test_memory_is_written_in_the_unit_that_fits(mib, words):
    assert memory_size(mib) == words
