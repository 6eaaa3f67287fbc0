"""`jobs.process.idle_time`: time that is not work is counted once, whatever stopped the trainer."""

from __future__ import annotations

import pytest
from support.fakes import FakeClock

from jobs.process.idle_time import IdleTime


@pytest.fixture
def clock() -> FakeClock:
    """Seconds that pass only when told to."""
    return FakeClock(100.0)


@pytest.fixture
def idle(clock: FakeClock) -> IdleTime:
    """Nothing has waited yet."""
    return IdleTime(clock)


def wait(idle: IdleTime, clock: FakeClock, seconds: float) -> None:
    with idle.waiting():
        clock.advance(seconds)


def test_a_wait_counts_once_it_is_over(idle: IdleTime, clock: FakeClock) -> None:
    with idle.waiting():
        clock.advance(5.0)
        assert idle.total_s == 0.0

    assert idle.total_s == 5.0


def test_a_wait_that_an_error_ends_counts_too(idle: IdleTime, clock: FakeClock) -> None:
    def breaks() -> None:
        with idle.waiting():
            clock.advance(5.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()

    assert idle.total_s == 5.0


def test_the_kernels_stop_counts_when_it_fell_into_work(idle: IdleTime, clock: FakeClock) -> None:
    wait(idle, clock, 5.0)
    clock.advance(7200.0)
    idle.was_suspended(7000.0)

    assert idle.total_s == 7005.0


def test_the_kernels_stop_of_a_trainer_that_waited_already_is_not_counted_twice(
    idle: IdleTime, clock: FakeClock
) -> None:
    """The report that it is paused may be on its way when the slot stops it; the epoch must not get shorter."""
    with idle.waiting():
        clock.advance(7200.0)
        idle.was_suspended(7199.0)
        clock.advance(1.0)

    assert idle.total_s == 7201.0


def test_a_stop_that_began_in_work_and_a_rest_that_followed_are_both_counted(idle: IdleTime, clock: FakeClock) -> None:
    clock.advance(600.0)
    wait(idle, clock, 2.0)
    idle.was_suspended(602.0)

    assert idle.total_s == 602.0


def test_a_rest_that_the_kernel_made_long_is_counted_once_though_the_report_comes_after_it(
    idle: IdleTime, clock: FakeClock
) -> None:
    wait(idle, clock, 600.0)
    clock.advance(0.01)
    idle.was_suspended(599.0)

    assert idle.total_s == pytest.approx(600.0, abs=0.02)


def test_work_is_what_passed_since_it_began_less_the_kernels_stop(idle: IdleTime, clock: FakeClock) -> None:
    idle.work_begins()
    clock.advance(3600.0)
    idle.was_suspended(3590.0)

    assert idle.worked_s(clock()) == 10.0
    idle.work_begins()
    assert idle.worked_s(clock()) == 0.0


def test_before_the_first_safe_point_no_work_is_known(idle: IdleTime, clock: FakeClock) -> None:
    clock.advance(60.0)

    assert idle.worked_s(clock()) == 0.0
