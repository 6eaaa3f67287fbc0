"""The daemon is asked to stop by a signal handler, which may run anywhere in its main thread."""

from __future__ import annotations

import signal

import pytest

from workers.stop_flag import StopFlag


@pytest.mark.timeout(20)
def test_a_signal_in_the_middle_of_any_look_is_heard_and_blocks_nothing() -> None:
    """Set with a `threading.Event` this hung: the handler waited for the lock that the look it interrupted held."""
    flag, heard = StopFlag(), []

    def stop(*_: object) -> None:
        flag.set()
        heard.append(1)

    usual = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        while len(heard) < 2000:
            flag.wait(1e-5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert flag.is_set()
    assert flag.wait(60.0)
