"""Huey over a real ledger: what it is handed, what stays untouched, and that it keeps nothing of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.ledger_rows import add, add_in, job, story

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.huey_queue import LedgerHuey
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome


class Trainer:
    """What the worker runs: notes what it is handed."""

    def __init__(self):
        self.handed = []

    def train(self, _ledger, job_id, attempt_id):
        """Note it."""
        self.handed.append((job_id, attempt_id))


@pytest.fixture
def trainer():
    return Trainer()


@pytest.fixture
def huey(ledger_path, trainer):
    made = LedgerHuey(ledger_path, admit=lambda _ledger, _job: True, train=trainer.train)
    yield made
    made.ledger().close()


def work_off_one(huey):
    task = huey.dequeue()
    if task is not None:
        huey.execute(task)
    return task


def test_the_worker_is_handed_the_best_job_with_its_open_attempt(ledger, huey, trainer):
    add(ledger, "later")
    urgent = add(ledger, "urgent", priority=5)

    work_off_one(huey)

    assert trainer.handed == [(urgent, queries.open_attempt(ledger, urgent).id)]
    assert (job(ledger, "urgent").state, job(ledger, "later").state) == ("running", "queued")


def test_an_empty_queue_hands_out_nothing(huey, trainer):
    assert work_off_one(huey) is None
    assert trainer.handed == []


def test_a_job_that_is_not_admitted_is_not_touched(ledger, ledger_path):
    """A refusal undoes nothing, because nothing was done."""
    number = add(ledger)
    asked = []
    huey = LedgerHuey(ledger_path, admit=lambda _ledger, row: asked.append(row), train=Trainer().train)

    assert huey.dequeue() is None

    assert [row.id for row in asked] == [number]
    assert story(ledger, number) == ["enqueue"]
    huey.ledger().close()


def test_a_job_in_the_slot_that_nothing_trains_is_given_back(ledger, huey, trainer):
    """The only worker asks for work, so it trains nothing."""
    stray = add_in(ledger, JobState.RUNNING, "stray")

    assert work_off_one(huey) is None
    assert job(ledger, stray).state == "queued"
    assert queries.attempts_of(ledger, stray)[0].outcome == Outcome.INTERRUPTED

    work_off_one(huey)
    assert [handed[0] for handed in trainer.handed] == [stray]


def expired_hold(ledger):
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=3600)
    ledger.conn.execute("UPDATE holds SET expires_at = ?", (clock.epoch_s() - 1,))


def holds_left(ledger):
    return ledger.conn.execute("SELECT COUNT(*) FROM holds").fetchone()[0]


def test_a_hold_whose_time_is_over_is_told_of_before_the_claim_that_it_let_through(ledger, huey, trainer):
    """Or the story would read as if a job had started behind a closed gate."""
    add(ledger)
    expired_hold(ledger)

    work_off_one(huey)

    assert len(trainer.handed) == 1
    assert [event.event for event in reversed(queries.last_events(ledger, 2))] == ["hold_expired", "claim"]
    assert holds_left(ledger) == 0


def test_a_hold_whose_time_is_over_goes_although_there_is_nothing_to_claim(ledger, huey):
    expired_hold(ledger)

    assert work_off_one(huey) is None

    assert holds_left(ledger) == 0
    assert holds_in_force(ledger) == []
    assert queries.last_events(ledger, 1)[0].event == "hold_expired"


def test_huey_keeps_no_table_of_its_own(ledger, ledger_path, huey):
    """What it kept could be unpickled, and would be a second list beside the ledger."""
    add(ledger)
    with closing(sqlite3.connect(ledger_path)) as conn:
        before = conn.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    work_off_one(huey)

    with closing(sqlite3.connect(ledger_path)) as conn:
        assert conn.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == before


def test_what_huey_would_store_is_refused(huey, trainer):
    """Silence would look as if a revocation or a lock had worked."""
    task = huey.task(name="another")(trainer.train)

    for asked in (
        lambda: task(1, 1),
        lambda: task.schedule((1, 1), delay=60),
        task.revoke,
        huey.lock_task("x").__enter__,
    ):
        with pytest.raises(CbiError, match="in the ledger"):
            asked()


def test_a_ledger_that_cannot_be_used_is_left_alone_for_a_while(ledger, ledger_path, huey, trainer, caplog):
    """A full disk must not end the worker, nor be asked twenty times a second."""
    add(ledger)
    opened = huey.ledger()
    opened.close()

    assert huey.dequeue() is None
    assert huey.dequeue() is None

    assert [record.message for record in caplog.records if "ledger.unusable" in record.message] != []
    assert len(caplog.records) == 1
    assert trainer.handed == []
