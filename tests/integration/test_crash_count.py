"""A job that takes the daemon or the machine down is held in the end, unchanged; a crash never changes its parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.scripted_slot import ScriptedSlot

from cbi_queue import clock
from cbi_queue.artifacts import CHECKPOINT_FOLDER
from cbi_queue.ledger import queries, verbs
from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.settlement import requeue, requeue_after_kill
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.protocol import EpochReport
from workers.recovery.recovery import settle_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.ledger import JobRow, Ledger

LONG_S, SHORT_S = 12, 3
"""Seconds in which a trainer reports work, and in which it is still importing its libraries."""


class Machine(ScriptedSlot):
    """A slot whose daemon crashes repeatedly while one net is running."""

    number = 0

    def attempt(self, lives_s: int, *, checkpoint: bool = False) -> None:
        """Train for *lives_s* seconds, and leave a checkpoint if told so."""
        if not self.number:
            attempt_governor = self.attempt_governor()
            self.number = attempt_governor._job.id
        else:
            self.now_s += 3600.0  # any wait is over
            attempt_governor = self.attempt_governor(again=self.number)
        run_dir = Path(self.settings.state_dir) / "run"
        (run_dir / CHECKPOINT_FOLDER).mkdir(parents=True, exist_ok=True)
        record_trainer(
            self.ledger,
            attempt_governor._attempt.id,
            pid=2**22 + 1,
            started=1.0,
            log_path="",
            run_dir=str(run_dir),
            settings={},
        )
        self.check(attempt_governor, lives_s)
        if lives_s >= LONG_S:
            self.telemetry.record(self.number, attempt_governor._attempt.number, "epoch", EpochReport(1, 1000, 1.0))
        if checkpoint:
            stored = run_dir / CHECKPOINT_FOLDER / f"epoch-{attempt_governor._attempt.number}"
            stored.write_text("")
            os.utime(stored, (clock.epoch_s(), clock.epoch_s()))
        self.telemetry.commit()

    def crash(self, lives_s: int, *, checkpoint: bool = False) -> JobRow:
        """Crash the daemon during an attempt, and settle what it left as the next daemon does; return the job."""
        self.attempt(lives_s, checkpoint=checkpoint)
        return self.settle()

    def settle(self) -> JobRow:
        """Let the next daemon settle what the last one left."""
        self.now_s += 5.0
        assert settle_leftovers(self.settings, self.ledger) == self.number
        return queries.find_job(self.ledger, str(self.number))

    def words(self) -> str:
        """Words of what happened last."""
        return self.events()[0][2]


@pytest.fixture
def machine(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, ledger, monkeypatch)
    yield made
    made.close()


def test_a_job_that_crashes_the_daemon_repeatedly_is_retried_unchanged_and_then_held(machine: Machine) -> None:
    """Otherwise it would never end, and no job behind it would ever run."""
    first = machine.crash(LONG_S)
    assert (first.state, first.micro_batch, first.not_before) == (JobState.QUEUED, None, None)

    second = machine.crash(LONG_S)
    assert (second.state, second.micro_batch, second.ooms, second.errors) == (JobState.QUEUED, None, 0, 0)
    assert second.not_before == second.changed_at + machine.settings.backoff_s
    assert machine.words() == (
        "the daemon crashed 2 times in a row while the job was running, without a new checkpoint; continues unchanged "
        "in 30 s"
    )

    third = machine.crash(LONG_S)
    assert (third.state, third.reason) == (JobState.HELD, Reason.TAKES_DAEMON_DOWN)
    assert [row.id for row in queries.failed_since(machine.ledger, queries.last_event_id(machine.ledger))] == [third.id]
    assert machine.words() == (
        "the daemon crashed 3 times in a row while the job was running, without a new checkpoint: the job is held, "
        "unchanged. `cbi-queue release net` tries it once more; `cbi-queue edit net params.…` changes it first"
    )
    assert {row.outcome for row in queries.attempts_of(machine.ledger, first.id)} == {Outcome.INTERRUPTED}

    verbs.release(machine.ledger, ["net"])
    assert machine.crash(LONG_S).state is JobState.HELD, "once more was once"


def test_a_new_checkpoint_ends_the_row(machine: Machine) -> None:
    """What gets further each time ends some day, whatever kills its daemons."""
    for checkpoint in (False, True, False, True, False):
        job = machine.crash(LONG_S, checkpoint=checkpoint)
        assert (job.state, job.micro_batch, job.not_before) == (JobState.QUEUED, None, None)


def test_progress_in_an_attempt_that_was_stopped_in_good_order_ends_the_row_too(machine: Machine) -> None:
    machine.crash(LONG_S)
    machine.attempt(LONG_S, checkpoint=True)
    requeue(machine.ledger, machine.number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED)
    assert machine.crash(LONG_S).not_before is None


def test_a_stop_in_between_without_progress_does_not_end_the_row(machine: Machine) -> None:
    """Somebody restarts the daemon because the machine crawls; the job is as before."""
    machine.crash(LONG_S)
    machine.attempt(SHORT_S)
    requeue(machine.ledger, machine.number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED)
    assert machine.crash(LONG_S).not_before is not None


def test_daemons_killed_within_seconds_say_nothing_of_the_job(machine: Machine) -> None:
    """A loop of kills or restarts must not hold what never had the time to train."""
    for _ in range(10):
        job = machine.crash(SHORT_S)
        assert (job.state, job.micro_batch, job.not_before) == (JobState.QUEUED, None, None)


def test_a_machine_that_went_down_before_any_work_says_nothing_of_the_job(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow import beside a panic is no fault of the job."""
    for _ in range(5):
        machine.attempt(SHORT_S)
        machine.now_s += 60.0
        monkeypatch.setattr(clock, "boot_s", lambda: 20.0)
        assert machine.settle().state is JobState.QUEUED
        monkeypatch.setattr(clock, "boot_s", lambda: machine.now_s)


@pytest.fixture(params=["away", "unreadable"])
def unseen(machine: Machine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """At each boot the disk with the run folder is not there yet, or answers with an error."""
    is_dir, before = Path.is_dir, machine.settle

    def cannot_see(path: Path) -> bool:
        if not path.is_relative_to(machine.settings.state_dir / "run"):
            return is_dir(path)
        if request.param == "away":
            return False
        raise OSError(5, "Input/output error", str(path))

    def settle() -> JobRow:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "is_dir", cannot_see)
            return before()

    machine.settle = settle  # type: ignore[method-assign]


@pytest.mark.usefixtures("unseen")
def test_crashes_count_although_the_folder_cannot_be_read_at_boot(machine: Machine) -> None:
    """An external disk is mounted after the daemon has started; the job must not take the machine down without end."""
    assert [machine.crash(LONG_S).state for _ in range(3)] == [JobState.QUEUED, JobState.QUEUED, JobState.HELD]


@pytest.mark.usefixtures("unseen")
def test_what_begins_further_on_each_time_is_not_held_though_its_folder_cannot_be_seen(machine: Machine) -> None:
    for epoch in (1, 20, 40, 60, 80):
        machine.attempt(SHORT_S)
        number = len(queries.attempts_of(machine.ledger, machine.number))
        for reported in (epoch, epoch + 1):
            machine.telemetry.record(machine.number, number, "epoch", EpochReport(reported, 1000, 1.0))
        machine.telemetry.commit()
        job = machine.settle()
        assert (job.state, job.micro_batch) == (JobState.QUEUED, None)


def test_an_attempt_without_a_trainer_counts_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever took the machine down, it was not the training."""
    machine.crash(LONG_S)
    machine.crash(SHORT_S)
    assert claim(machine.ledger, machine.number) is not None
    machine.now_s += 60.0
    monkeypatch.setattr(clock, "boot_s", lambda: 20.0)
    assert machine.settle().micro_batch is None


def killed(machine: Machine, *, left_checkpoint: bool = False, exit_code: int = -9) -> JobRow:
    """End an attempt as a signal from outside does; return the job."""
    machine.attempt(SHORT_S)
    requeue_after_kill(
        machine.ledger, machine.number, "killed", exit_code=exit_code, left_checkpoint=left_checkpoint, backoff_s=0.0
    )
    return queries.find_job(machine.ledger, str(machine.number))


def test_a_trainer_that_is_killed_three_times_in_a_row_is_held_unchanged(machine: Machine) -> None:
    """It would only be killed again; what it trains does not change."""
    for state in (JobState.QUEUED, JobState.QUEUED, JobState.HELD):
        job = killed(machine)
        assert (job.state, job.micro_batch, job.ooms, job.errors) == (state, None, 0, 0)
    assert job.reason == Reason.KILLED_REPEATEDLY
    assert machine.words().startswith("the trainer was killed 3 times in a row, not by cbi-queue")


def test_stops_and_progress_are_no_kills_in_a_row(machine: Machine) -> None:
    """Two orderly stops of the daemon and one kill are one kill."""
    for _ in range(2):
        machine.attempt(SHORT_S)
        requeue(machine.ledger, machine.number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED, exit_code=75)
    assert killed(machine).state is JobState.QUEUED
    assert killed(machine, exit_code=-15).state is JobState.QUEUED
    assert [killed(machine, left_checkpoint=True).state for _ in range(4)] == [JobState.QUEUED] * 4
