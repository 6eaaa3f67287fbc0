"""Signals that end a command: what their exceptions undo, and that no finalizer swallows them."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from cbi_queue.orderly_end import ended_in_order, repeat_lost_interruptions


class SignalledWhileFinalized:
    """A signal comes while Python takes it apart."""

    def __init__(self, signum: signal.Signals) -> None:
        self.signum = signum

    def __del__(self) -> None:
        signal.raise_signal(self.signum)


@pytest.mark.parametrize(
    ("signum", "end"),
    [(signal.SIGTERM, SystemExit(143)), (signal.SIGHUP, SystemExit(129)), (signal.SIGINT, KeyboardInterrupt())],
)
def test_a_signal_in_the_middle_of_a_finalizer_ends_the_body_all_the_same(monkeypatch, signum, end):
    """Python drops what its handler raises there; a service manager would wait, and kill what should clean up."""
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    repeat_lost_interruptions()

    def body() -> None:
        with ended_in_order():
            SignalledWhileFinalized(signum)
            threading.Event().wait(60.0)

    with pytest.raises(type(end)) as ended:
        body()

    assert ended.value.args == end.args
    assert told == []


def test_other_faults_of_finalizers_are_told_and_signals_are_given_back(monkeypatch):
    class Faulty:
        def __del__(self) -> None:
            raise ValueError("told")

    told: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    repeat_lost_interruptions()
    ignoring = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        usual = signal.getsignal(signal.SIGTERM)
        with ended_in_order():
            Faulty()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, "as nohup wants it"
            assert signal.getsignal(signal.SIGTERM) is not usual
        assert signal.getsignal(signal.SIGTERM) is usual
    finally:
        signal.signal(signal.SIGHUP, ignoring)
    assert [str(each.exc_value) for each in told] == ["told"]
