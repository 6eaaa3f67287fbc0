"""Sleep is where the boot clock goes on and the monotonic clock stands still."""

from __future__ import annotations

import importlib
import time

import pytest
from support.fakes import FakeClock

from cbi_queue import clock
from workers.sensors.sleep import Sleep


def test_a_jump_between_the_clocks_is_sleep_and_names_the_waking():
    boot, monotonic = FakeClock(5000.0), FakeClock(100.0)
    sensor = Sleep(boot, monotonic)

    def look(awake_s: float, asleep_s: float = 0.0):
        boot.advance(awake_s + asleep_s)
        monotonic.advance(awake_s)
        return sensor.read(boot())

    assert look(0.0).woke_at_s is None
    assert look(600.0).slept_s == 0.0, "time alone is no sleep"
    after = look(1.0, asleep_s=3600.0)
    assert (after.slept_s, after.woke_at_s) == (3600.0, boot())
    later = look(10.0)
    assert (later.slept_s, later.woke_at_s) == (3600.0, after.woke_at_s)
    assert look(1.0, asleep_s=60.0).slept_s == 3660.0


def test_what_lies_between_two_calls_is_no_sleep():
    boot, monotonic = FakeClock(10.0), FakeClock(10.0)
    sensor = Sleep(boot, monotonic)
    sensor.read(10.0)
    boot.advance(1.9)
    assert sensor.read(11.9).woke_at_s is None


def test_short_sleeps_add_up_until_they_count():
    """A Mac naps for a second at a time: after three of them it has slept."""
    boot, monotonic = FakeClock(10.0), FakeClock(10.0)
    sensor = Sleep(boot, monotonic)
    sensor.read(10.0)
    for _ in range(3):
        boot.advance(1.0)
        last = sensor.read(boot())
    assert last.slept_s == 2.0


def test_working_time_is_the_clock_that_stops_in_sleep_by_its_definition(monkeypatch):
    """On a Mac `time.monotonic` may be changed to run in sleep (cpython#86273); CLOCK_UPTIME_RAW never does."""
    monkeypatch.setattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_PROCESS_CPUTIME_ID, raising=False)
    try:
        importlib.reload(clock)
        assert clock.monotonic_s() == pytest.approx(time.process_time(), abs=1.0)
        assert clock.monotonic_s() <= time.process_time()
    finally:
        monkeypatch.undo()
        importlib.reload(clock)
