"""What the daemon's main thread does again and again must not end it, whatever goes wrong in it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from cbi_queue import clock
from cbi_queue.errors import LedgerError, VolumeMissing
from cbi_queue.regular_files import plain_words
from workers.daemon import _is_empty, _PeriodicCheck

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger


class Act:
    """Something to do, that goes wrong as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.times = 0

    def __call__(self) -> None:
        """Do it."""
        self.times += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [LedgerError("full"), VolumeMissing("gone"), sqlite3.OperationalError("disk I/O error"), OSError(5, "I/O error")],
    ids=lambda error: type(error).__name__,
)
def test_a_check_that_fails_is_logged_and_repeated(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk or a vanished volume is what the daemon is there to outlive."""
    act = Act(error)
    check = _PeriodicCheck("volume", 0.0, act)

    check.run_when_due()
    act.error = None
    check.run_when_due()

    assert act.times == 2
    assert [record.message for record in caplog.records] == [
        f"event=look.failed name=volume why={plain_words(error)!r}"
    ]


def test_a_check_waits_for_its_time_also_after_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a broken disk would be asked ten times a second."""
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    act = Act(OSError("no"))
    check = _PeriodicCheck("volume", 5.0, act)

    for now[0] in (100.0, 102.0, 104.9):
        check.run_when_due()
    assert act.times == 1

    now[0] = 105.0
    check.run_when_due()
    assert act.times == 2


def test_a_fault_of_our_own_is_not_hidden() -> None:
    """A guard against the world's troubles must not swallow a bug."""
    with pytest.raises(ZeroDivisionError):
        _PeriodicCheck("volume", 0.0, Act(ZeroDivisionError())).run_when_due()


def test_a_queue_that_cannot_be_read_is_not_taken_for_an_empty_one(ledger: Ledger) -> None:
    """Or `--until-empty` would leave jobs behind and say that all is done."""
    assert _is_empty(ledger)

    ledger.close()

    assert not _is_empty(ledger)
