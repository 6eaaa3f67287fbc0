"""`jobs.process.standstill`: time that is not work is counted once, whoever made the trainer stand still."""

from __future__ import annotations

import pytest
from support.fakes import FakeClock

from jobs.process.standstill import Standstill


@pytest.fixture
def clock() -> FakeClock:
    """Seconds that pass only when told to."""
    return FakeClock(100.0)


@pytest.fixture
def standstill(clock: FakeClock) -> Standstill:
    """Nothing has stood still yet."""
    return Standstill(clock)


def stand(standstill: Standstill, clock: FakeClock, seconds: float) -> None:
    with standstill.stretch():
        clock.advance(seconds)


def test_a_stretch_counts_once_it_is_over(standstill: Standstill, clock: FakeClock) -> None:
    with standstill.stretch():
        clock.advance(5.0)
        assert standstill.total_s == 0.0

    assert standstill.total_s == 5.0


def test_a_stretch_that_an_error_ends_counts_too(standstill: Standstill, clock: FakeClock) -> None:
    def breaks() -> None:
        with standstill.stretch():
            clock.advance(5.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()

    assert standstill.total_s == 5.0


def test_the_kernels_stop_counts_when_it_fell_into_work(standstill: Standstill, clock: FakeClock) -> None:
    stand(standstill, clock, 5.0)
    clock.advance(7200.0)
    standstill.was_suspended(7000.0)

    assert standstill.total_s == 7005.0


def test_the_kernels_stop_of_a_trainer_that_stood_still_already_is_not_counted_twice(
    standstill: Standstill, clock: FakeClock
) -> None:
    """The word that it stands still may be on its way when the slot loses patience; the epoch must not get shorter."""
    with standstill.stretch():
        clock.advance(7200.0)
        standstill.was_suspended(7199.0)
        clock.advance(1.0)

    assert standstill.total_s == 7201.0


def test_a_stop_that_began_in_work_and_a_rest_that_followed_are_told_apart(
    standstill: Standstill, clock: FakeClock
) -> None:
    clock.advance(600.0)
    stand(standstill, clock, 2.0)
    standstill.was_suspended(602.0)

    assert standstill.total_s == 602.0


def test_a_rest_that_the_kernel_made_long_is_counted_once_though_the_word_comes_after_it(
    standstill: Standstill, clock: FakeClock
) -> None:
    stand(standstill, clock, 600.0)
    clock.advance(0.01)
    standstill.was_suspended(599.0)

    assert standstill.total_s == pytest.approx(600.0, abs=0.02)


def test_work_is_what_passed_since_it_went_on_less_what_the_kernel_took(
    standstill: Standstill, clock: FakeClock
) -> None:
    standstill.work_goes_on()
    clock.advance(3600.0)
    standstill.was_suspended(3590.0)

    assert standstill.worked_s(clock()) == 10.0
    standstill.work_goes_on()
    assert standstill.worked_s(clock()) == 0.0


def test_before_the_first_safe_point_no_work_is_known(standstill: Standstill, clock: FakeClock) -> None:
    clock.advance(60.0)

    assert standstill.worked_s(clock()) == 0.0
