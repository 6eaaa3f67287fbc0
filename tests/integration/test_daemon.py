"""The daemon at its daily work: real daemons, real trainers, real data."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
from house import NAIVE, NET
from waiting import until

from cbi_queue.errors import LedgerBusy
from cbi_queue.ledger.claims import claim
from cbi_queue.lifecycle import JobState, Outcome
from workers.__main__ import main
from workers.daemon import Daemon

if TYPE_CHECKING:
    import pytest
    from house import House


def test_jobs_run_one_after_the_other_and_leave_their_whole_story(house: House) -> None:
    """Given two jobs of which one needs the other, the story of each is complete and in order."""
    house.enqueue({**NAIVE, "name": "second", "needs": ["first"]}, {**NAIVE, "name": "first"})

    assert house.start_daemon("--until-empty", wait=False).wait(60) == 0

    assert [e.event for e in house.events("first")] == ["enqueue", "claim", "finish"]
    assert [e.event for e in house.events("second")] == ["enqueue", "satisfy", "claim", "finish"]
    first, second = house.attempts("first")[0], house.attempts("second")[0]
    assert first.outcome is second.outcome is Outcome.SUCCESS
    assert first.ended_at <= second.started_at
    assert house.job("second").metrics["backtest"]


def test_higher_priority_runs_first(house: House) -> None:
    """Priority comes before plan order."""
    house.enqueue({**NAIVE, "name": "low"}, {**NAIVE, "name": "high", "priority": 5})

    house.start_daemon("--until-empty", wait=False).wait(60)

    assert house.attempts("high")[0].started_at < house.attempts("low")[0].started_at


def test_a_pause_stands_still_and_a_resume_goes_on_to_the_same_result(house: House) -> None:
    """A paused run must not differ from an undisturbed one."""
    house.enqueue({**NET, "name": "paused"}, {**NET, "name": "plain", "priority": -1})
    house.start_daemon()
    house.until_epoch("paused", 3)

    said = house.cli("pause", "--reason", "too hot")
    assert "stands still" in said
    assert house.job("paused").state is JobState.PAUSED
    written = house.log_of("paused").read_text()
    house.cli("status", "--json")
    assert house.log_of("paused").read_text() == written, "an epoch takes a tenth of what this command does"

    house.cli("resume")
    house.until_state("plain", "succeeded", within_s=120)
    assert house.job("paused").metrics["backtest"] == house.job("plain").metrics["backtest"]
    assert [e.event for e in house.events("paused")] == ["enqueue", "claim", "pause", "resume", "finish"]


def test_a_pause_without_a_safe_point_near_is_made_by_the_kernel(house: House) -> None:
    """While a trainer still imports its library it cannot obey; the pause takes effect all the same."""
    house.enqueue({**NET, "name": "importing"})
    house.start_daemon()
    trainer = house.trainer("importing")

    house.cli("pause")

    paused = house.until_state("importing", "paused", within_s=5)
    if "kernel" in (house.events(paused.id)[-1].words or ""):
        assert psutil.Process(trainer.pid).status() == psutil.STATUS_STOPPED
    house.cli("resume")
    house.until_state("importing", "succeeded")


def test_a_pause_with_a_time_lifts_itself(house: House) -> None:
    """`pause --for` must not need anybody to come back."""
    house.enqueue({**NAIVE, "name": "later"})
    house.cli("pause", "--for", "2s")
    house.start_daemon()

    house.until_state("later", "succeeded")

    started = house.attempts("later")[0].started_at
    with house.ledger() as ledger:
        events = ledger.conn.execute("SELECT event, at FROM events WHERE job_id IS NULL ORDER BY id").fetchall()
    at = {row["event"]: row["at"] for row in events}
    assert at["hold_placed"] + 2 <= at["hold_expired"] <= started


def test_a_drain_lets_the_job_end_and_starts_nothing_new(house: House) -> None:
    """Draining loses no work of the current job."""
    house.enqueue({**NET, "name": "current"}, {**NAIVE, "name": "next"})
    house.start_daemon()
    house.until_epoch("current", 1)

    house.cli("pause", "--drain")

    house.until_state("current", "succeeded")
    assert house.job("next").state is JobState.QUEUED
    assert house.job("next").attempts == 0
    house.cli("resume")
    house.until_state("next", "succeeded")


def test_an_evicted_job_frees_its_memory_and_goes_on_from_its_checkpoint(house: House) -> None:
    """Evicting costs no epoch and no retry, and changes no digit."""
    house.enqueue({**NET, "name": "evicted"}, {**NET, "name": "plain", "priority": -1})
    house.start_daemon()
    house.until_epoch("evicted", 3)
    trainer = house.trainer("evicted")

    house.cli("pause", "--evict", "--reason", "memory wanted")

    assert house.job("evicted").state is JobState.QUEUED
    assert not trainer.is_alive()
    house.cli("resume")
    house.until_state("plain", "succeeded", within_s=120)
    log = house.cli("logs", "evicted", "--attempt", "1")
    assert "3/40 in " in log
    assert "validation loss" in log
    assert "checkpoint left" in log
    assert [a.outcome for a in house.attempts("evicted")] == [Outcome.EVICTED, Outcome.SUCCESS]
    assert "restored" in [e.event for e in house.events("evicted")]
    assert house.job("evicted").metrics["backtest"] == house.job("plain").metrics["backtest"]


def test_a_cancelled_trainer_is_gone_and_retry_goes_on_from_its_checkpoint(house: House) -> None:
    """Cancel ends the process; what was learned stays for a retry."""
    house.enqueue({**NET, "name": "off", "params": {**NET["params"], "epochs": 400, "patience": 400}})
    house.start_daemon()
    house.until_epoch("off", 60)
    trainer = house.trainer("off")

    house.cli("cancel", "off")

    assert house.job("off").state is JobState.CANCELLED
    assert not trainer.is_alive()
    house.cli("retry", "off")
    until(lambda: "restored" in [e.event for e in house.events("off")], "the retry goes on from the checkpoint")


def test_a_job_over_its_timeout_fails_and_the_next_one_runs(house: House) -> None:
    """A hanging job must not cost a night."""
    long = {**NET["params"], "epochs": 10000, "patience": 10000}
    house.enqueue({**NET, "name": "endless", "timeout_s": 3.0, "params": long}, {**NAIVE, "name": "next"})

    assert house.start_daemon("--until-empty", wait=False).wait(90) == 1

    assert house.job("endless").state is JobState.FAILED
    assert house.attempts("endless")[0].outcome is Outcome.TIMED_OUT
    assert house.job("next").state is JobState.SUCCEEDED


def test_a_broken_spec_is_not_retried_and_what_needs_it_stays_waiting(house: House) -> None:
    """Retrying cannot mend a plan; a later retry by hand can, and nothing is lost."""
    house.enqueue(
        {**NAIVE, "name": "impossible", "retries": 3, "params": {"validation_rows": 4000, "backtest_rows": 4000}},
        {**NAIVE, "name": "dependent", "needs": ["impossible"]},
    )

    assert house.start_daemon("--until-empty", wait=False).wait(60) == 1

    assert len(house.attempts("impossible")) == 1
    assert house.events("impossible")[-1].reason == "broken_spec"
    assert house.job("dependent").state is JobState.WAITING


def test_an_error_is_retried_with_a_growing_wait_until_no_retry_is_left(house: House) -> None:
    """An interpreter that cannot import the trainer is an error like any other."""
    config = house.root / "config.toml"
    config.write_text('[runtimes]\nnative = "/bin/false"\n')
    house.enqueue({**NAIVE, "name": "unlucky", "retries": 2})

    assert house.start_daemon("--until-empty", wait=False).wait(60) == 1

    events = house.events("unlucky")
    assert [a.outcome for a in house.attempts("unlucky")] == [Outcome.ERROR] * 3
    assert [e.event for e in events] == ["enqueue", "claim", "requeue", "claim", "requeue", "claim", "fail"]
    starts = [a.started_at for a in house.attempts("unlucky")]
    ends = [a.ended_at for a in house.attempts("unlucky")]
    assert starts[1] - ends[0] >= 0.2
    assert starts[2] - ends[1] >= 0.4


def test_a_missing_interpreter_fails_the_job_and_not_the_daemon(house: House) -> None:
    """What cannot even be started is settled too."""
    (house.root / "config.toml").write_text('[runtimes]\nnative = "/no/such/python"\n')
    house.enqueue({**NAIVE, "name": "homeless", "retries": 0}, {**NET, "name": "fine", "params": {"epochs": 1}})

    house.start_daemon("--until-empty", wait=False).wait(60)

    assert house.job("homeless").state is JobState.FAILED
    assert "/no/such/python" in (house.attempts("homeless")[0].error or "")
    assert house.job("fine").state is JobState.SUCCEEDED


def test_the_second_daemon_says_who_holds_the_slot(house: House) -> None:
    """Two daemons can never train at once."""
    first = house.start_daemon()

    second = house.start_daemon(wait=False)

    assert second.wait(30) == 75
    assert str(first.pid) in second.stderr.read().decode()
    assert first.poll() is None


def test_a_slot_that_a_trainer_does_not_let_go_of_is_tried_again_by_the_service(house: House) -> None:
    """Exit 75 means that another daemon trains, and systemd then starts none any more: nobody would ever train again."""
    house.overrides["CBI_GRACE_S"] = "0.1"
    house.settings.make_state_dir()
    orphan = os.open(house.settings.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(orphan, fcntl.LOCK_EX)
    try:
        daemon = house.start_daemon(wait=False)
        assert daemon.wait(60) == 1
        said = daemon.stderr.read().decode()
        assert f"a process that no row names still holds {house.settings.lock_path}" in said
        assert "starts the daemon again by itself" in said
    finally:
        os.close(orphan)


def test_a_ledger_that_stays_locked_at_the_start_is_no_reason_to_stay_down(
    monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    """A verb says 75 then; of a daemon that would mean that another one trains."""

    def refuse(_self: Daemon) -> int:
        raise LedgerBusy("locked")

    monkeypatch.setattr(Daemon, "run", refuse)
    monkeypatch.setattr("workers.__main__.load_settings", lambda: house.settings)
    monkeypatch.setattr("workers.__main__.set_up_logging", lambda *_args, **_keys: None)
    monkeypatch.setattr("workers.__main__.install_signals", lambda _daemon: None)
    assert main([]) == 1


def test_sigterm_is_heard_while_another_program_keeps_the_ledger_locked_at_the_start(house: House) -> None:
    """With a row to settle, the daemon waits for the lock; it must not be deaf for as long."""
    (number,) = house.enqueue({**NAIVE, "name": "left"})
    with house.ledger() as ledger:
        claim(ledger, number)
    with closing(sqlite3.connect(house.settings.ledger_path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        daemon = house.start_daemon()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    assert house.job("left").state is JobState.RUNNING

    assert house.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert house.job("left").state is JobState.SUCCEEDED


def test_sigterm_checkpoints_and_exits_in_good_order(house: House) -> None:
    """Launchd's SIGTERM costs no epoch."""
    house.enqueue({**NET, "name": "stopped"})
    daemon = house.start_daemon()
    house.until_epoch("stopped", 3)
    trainer = house.trainer("stopped")

    daemon.send_signal(signal.SIGTERM)

    assert daemon.wait(10) == 0
    assert not trainer.is_alive()
    assert house.job("stopped").state is JobState.QUEUED
    assert house.events("stopped")[-1].reason == "daemon_stopped"
    assert house.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert "restored" in [e.event for e in house.events("stopped")]


def test_a_trainer_stopped_from_outside_goes_on(house: House) -> None:
    """Systemd sends SIGTERM to the whole group; that is not a failure of the job."""
    house.enqueue({**NET, "name": "touched", "retries": 0})
    house.start_daemon("--until-empty")
    house.until_epoch("touched", 2)

    os.kill(house.trainer("touched").pid, signal.SIGTERM)

    house.until_state("touched", "succeeded")
    assert [a.outcome for a in house.attempts("touched")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]


def test_a_killed_trainer_counts_as_out_of_memory_and_comes_back_smaller(house: House) -> None:
    """On macOS the kernel kills the process with the most memory and says nothing."""
    house.enqueue({**NET, "name": "killed", "retries": 0})
    house.start_daemon("--until-empty")
    house.until_epoch("killed", 2)

    os.kill(house.trainer("killed").pid, signal.SIGKILL)

    job = house.until_state("killed", "succeeded")
    assert [a.outcome for a in house.attempts("killed")] == [Outcome.OOM, Outcome.SUCCESS]
    assert job.micro_batch == 32
    assert job.errors == 0


def test_an_idle_daemon_takes_up_a_new_job_by_itself(house: House) -> None:
    """How soon, is the benchmark `pick-up`."""
    house.start_daemon()

    (number,) = house.enqueue({**NAIVE, "name": "new"})

    house.until_state(number, "succeeded")
    assert [event.event for event in house.events(number)] == ["enqueue", "claim", "finish"]


def test_the_ledger_is_backed_up_once_a_day(house: House) -> None:
    """A restart within the same day makes no second backup."""
    for _ in range(2):
        daemon = house.start_daemon()
        until(lambda: list(house.settings.backup_dir.glob("ledger-*.db")), "a backup")
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)

    assert len(list(house.settings.backup_dir.glob("ledger-*.db"))) == 1
