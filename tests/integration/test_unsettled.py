"""An end that the ledger cannot take is no error of the job: its folder is believed as soon as there is room again."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.installation import NAIVE

from cbi_queue import huey_queue
from cbi_queue.huey_queue import LedgerHuey
from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.slot_lock import SlotLock
from cbi_queue.telemetry.telemetry import Telemetry
from workers.governor.slot_governor import SlotGovernor
from workers.slot import slot as slot_module
from workers.slot.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from support.installation import Installation

    from cbi_queue.ledger import Ledger


@contextmanager
def full(ledger: Ledger) -> Iterator[None]:
    """Let the disk have no room for another page."""
    pages = ledger.conn.execute("PRAGMA page_count").fetchone()[0]
    most = ledger.conn.execute("PRAGMA max_page_count").fetchone()[0]
    ledger.conn.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        ledger.conn.execute(f"PRAGMA max_page_count = {most}")


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """Let another program edit."""
    path = ledger.conn.execute("PRAGMA database_list").fetchone()["file"]
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def worker(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerHuey]:
    """The queue of a daemon with its slot; the test is its worker."""
    monkeypatch.setattr(huey_queue, "DAEMON_PATIENCE_S", 0.01)
    settings = installation.settings
    lock, telemetry, slot_governor = (
        SlotLock(settings.lock_path),
        Telemetry(settings.telemetry_path),
        SlotGovernor(settings),
    )
    assert lock.try_acquire()
    slot = Slot(settings, telemetry, lock.descriptor, slot_governor)
    huey = LedgerHuey(settings.ledger_path, admit=lambda _ledger, _job: True, train=slot.train)
    yield huey
    huey.ledger().close()
    slot_governor.stop()
    telemetry.close()
    lock.release()


def work_off_one(worker: LedgerHuey) -> bool:
    """Do what the worker does in one turn; tell whether it trained."""
    task = worker.dequeue()
    if task is not None:
        worker.execute(task)
    return task is not None


@pytest.mark.parametrize("cannot", [full, locked])
def test_a_finished_job_whose_end_the_ledger_cannot_take_is_not_failed_and_not_trained_again(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    cannot: Callable[[Ledger], AbstractContextManager[None]],
) -> None:
    """Twice in a row, and with not one retry; the trainer's work is on the disk, whole and signed."""
    installation.enqueue({**NAIVE, "name": "done", "retries": 0})
    worker = request.getfixturevalue("worker")
    settle, left = slot_module.settle, [2]

    def settle_when_there_is_room(ledger: Ledger, *values: Any, **keys: Any) -> None:
        if not left[0]:
            settle(ledger, *values, **keys)
            return
        left[0] -= 1
        with cannot(ledger):
            settle(ledger, *values, **keys)

    monkeypatch.setattr(slot_module, "settle", settle_when_there_is_room)
    assert work_off_one(worker)
    manifest = Path(installation.job("done").run_dir or "") / "manifest.json"
    before = manifest.read_bytes()
    assert installation.job("done").state is JobState.RUNNING
    assert caplog.text.count("event=job.unsettled") == 1

    assert [work_off_one(worker) for _ in range(4)] == [False, True, False, True]

    job = installation.job("done")
    assert (job.state, job.reason, job.errors) == (JobState.SUCCEEDED, "found_finished", 0)
    assert [row.outcome for row in installation.attempts("done")] == [Outcome.INTERRUPTED] * 2 + [Outcome.SUCCESS]
    assert manifest.read_bytes() == before
    assert job.metrics["backtest"]
