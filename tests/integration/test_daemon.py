"""The daemon at its daily work: real daemons, real trainers, real data."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
from support.installation import NAIVE, NET
from support.waiting import until

from cbi_queue.errors import LedgerBusy
from cbi_queue.ledger.claims import claim
from cbi_queue.lifecycle import JobState, Outcome
from workers.__main__ import main
from workers.daemon import Daemon

if TYPE_CHECKING:
    import pytest
    from support.installation import Installation


def test_jobs_run_one_after_the_other_and_leave_their_whole_story(installation: Installation) -> None:
    """Given two jobs of which one needs the other, the story of each is complete and in order."""
    installation.enqueue({**NAIVE, "name": "second", "needs": ["first"]}, {**NAIVE, "name": "first"})

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0

    assert [e.event for e in installation.events("first")] == ["enqueue", "claim", "finish"]
    assert [e.event for e in installation.events("second")] == ["enqueue", "satisfy", "claim", "finish"]
    first, second = installation.attempts("first")[0], installation.attempts("second")[0]
    assert first.outcome is second.outcome is Outcome.SUCCESS
    assert first.ended_at <= second.started_at
    assert installation.job("second").metrics["backtest"]


def test_higher_priority_runs_first(installation: Installation) -> None:
    """Priority comes before plan order."""
    installation.enqueue({**NAIVE, "name": "low"}, {**NAIVE, "name": "high", "priority": 5})

    installation.start_daemon("--until-empty", wait=False).wait(60)

    assert installation.attempts("high")[0].started_at < installation.attempts("low")[0].started_at


def test_a_pause_stands_still_and_a_resume_goes_on_to_the_same_result(installation: Installation) -> None:
    """A paused run must not differ from an undisturbed one."""
    installation.enqueue({**NET, "name": "paused"}, {**NET, "name": "plain", "priority": -1})
    installation.hold("paused", after=3)
    installation.start_daemon()
    installation.until_epoch("paused", 3)

    said = installation.cli("pause", "--reason", "too hot")
    assert "is paused" in said
    assert installation.job("paused").state is JobState.PAUSED
    installation.let_end("paused")
    written = installation.log_of("paused").read_text()
    installation.cli("status", "--json")
    assert installation.log_of("paused").read_text() == written, "an epoch takes a tenth of what this command does"

    installation.cli("resume")
    installation.until_state("plain", "succeeded", within_s=240)
    assert installation.job("paused").metrics["backtest"] == installation.job("plain").metrics["backtest"]
    assert [e.event for e in installation.events("paused")] == ["enqueue", "claim", "pause", "resume", "finish"]


def test_a_pause_without_a_safe_point_near_is_made_by_the_kernel(installation: Installation) -> None:
    """While a trainer still imports its library it cannot obey; the pause takes effect all the same."""
    installation.enqueue({**NET, "name": "importing"})
    installation.hold("importing", after=0)
    installation.start_daemon()
    trainer = installation.trainer("importing")

    installation.cli("pause")

    paused = installation.until_state("importing", "paused")
    if "kernel" in (installation.events(paused.id)[-1].words or ""):
        assert psutil.Process(trainer.pid).status() == psutil.STATUS_STOPPED
    installation.let_end("importing")
    installation.cli("resume")
    installation.until_state("importing", "succeeded")


def test_a_pause_with_a_time_lifts_itself(installation: Installation) -> None:
    """`pause --for` must not need anybody to come back."""
    installation.enqueue({**NAIVE, "name": "later"})
    installation.cli("pause", "--for", "2s")
    installation.start_daemon()

    installation.until_state("later", "succeeded")

    started = installation.attempts("later")[0].started_at
    with installation.ledger() as ledger:
        events = ledger.conn.execute("SELECT event, at FROM events WHERE job_id IS NULL ORDER BY id").fetchall()
    at = {row["event"]: row["at"] for row in events}
    assert at["hold_placed"] + 2 <= at["hold_expired"] <= started


def test_a_drain_lets_the_job_end_and_starts_nothing_new(installation: Installation) -> None:
    """Draining loses no work of the current job."""
    installation.enqueue(installation.lasting("current"), {**NAIVE, "name": "next"})
    installation.start_daemon()
    installation.until_epoch("current", 1)

    installation.cli("pause", "--drain")
    installation.let_end("current")

    installation.until_state("current", "succeeded")
    assert installation.job("next").state is JobState.QUEUED
    assert installation.job("next").attempts == 0
    installation.cli("resume")
    installation.until_state("next", "succeeded")


def test_an_evicted_job_frees_its_memory_and_goes_on_from_its_checkpoint(installation: Installation) -> None:
    """Evicting costs no epoch and no retry, and changes no digit."""
    installation.enqueue({**NET, "name": "evicted"}, {**NET, "name": "plain", "priority": -1})
    installation.hold("evicted", after=3)
    installation.start_daemon()
    installation.until_epoch("evicted", 3)
    trainer = installation.trainer("evicted")

    installation.cli("pause", "--evict", "--reason", "memory wanted")

    assert installation.job("evicted").state is JobState.QUEUED
    assert not trainer.is_alive()
    installation.let_end("evicted")
    installation.cli("resume")
    installation.until_state("plain", "succeeded", within_s=240)
    log = installation.cli("logs", "evicted", "--attempt", "1")
    assert "3/40 in " in log
    assert "validation loss" in log
    assert "checkpoint written" in log
    assert [a.outcome for a in installation.attempts("evicted")] == [Outcome.EVICTED, Outcome.SUCCESS]
    assert "restored" in [e.event for e in installation.events("evicted")]
    assert installation.job("evicted").metrics["backtest"] == installation.job("plain").metrics["backtest"]


def test_a_cancelled_trainer_is_gone_and_retry_goes_on_from_its_checkpoint(installation: Installation) -> None:
    """Cancel ends the process; what was learned stays for a retry."""
    installation.enqueue({**NET, "name": "off"})
    installation.hold("off", after=3)
    installation.start_daemon()
    installation.until_epoch("off", 3)
    trainer = installation.trainer("off")

    installation.cli("cancel", "off")

    assert installation.job("off").state is JobState.CANCELLED
    assert not trainer.is_alive()
    installation.cli("retry", "off")
    until(lambda: "restored" in [e.event for e in installation.events("off")], "the retry goes on from the checkpoint")


def test_a_job_over_its_timeout_fails_and_the_next_one_runs(installation: Installation) -> None:
    """A hanging job must not cost a night."""
    installation.enqueue({**installation.lasting("endless"), "timeout_s": 1.0}, {**NAIVE, "name": "next"})

    assert installation.start_daemon("--until-empty", wait=False).wait(90) == 1

    assert installation.job("endless").state is JobState.FAILED
    assert installation.attempts("endless")[0].outcome is Outcome.TIMED_OUT
    assert installation.job("next").state is JobState.SUCCEEDED


def test_a_broken_spec_is_not_retried_and_what_needs_it_stays_waiting(installation: Installation) -> None:
    """Retrying cannot mend a plan; a later retry by hand can, and nothing is lost."""
    installation.enqueue(
        {**NAIVE, "name": "impossible", "retries": 3, "params": {"validation_rows": 4000, "backtest_rows": 4000}},
        {**NAIVE, "name": "dependent", "needs": ["impossible"]},
    )

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 1

    assert len(installation.attempts("impossible")) == 1
    assert installation.events("impossible")[-1].reason == "broken_spec"
    assert installation.job("dependent").state is JobState.WAITING


def test_an_error_is_retried_with_a_growing_wait_until_no_retry_is_left(installation: Installation) -> None:
    """An interpreter that cannot import the trainer is an error like any other."""
    config = installation.root / "config.toml"
    config.write_text('[runtimes]\nnative = "/bin/false"\n')
    installation.enqueue({**NAIVE, "name": "unlucky", "retries": 2})

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 1

    events = installation.events("unlucky")
    assert [a.outcome for a in installation.attempts("unlucky")] == [Outcome.ERROR] * 3
    assert [e.event for e in events] == ["enqueue", "claim", "requeue", "claim", "requeue", "claim", "fail"]
    starts = [a.started_at for a in installation.attempts("unlucky")]
    ends = [a.ended_at for a in installation.attempts("unlucky")]
    assert starts[1] - ends[0] >= 0.2
    assert starts[2] - ends[1] >= 0.4


def test_a_missing_interpreter_fails_the_job_and_not_the_daemon(installation: Installation) -> None:
    """What cannot even be started is settled too."""
    (installation.root / "config.toml").write_text('[runtimes]\nnative = "/no/such/python"\n')
    installation.enqueue({**NAIVE, "name": "homeless", "retries": 0}, {**NET, "name": "fine", "params": {"epochs": 1}})

    installation.start_daemon("--until-empty", wait=False).wait(60)

    assert installation.job("homeless").state is JobState.FAILED
    assert "/no/such/python" in (installation.attempts("homeless")[0].error or "")
    assert installation.job("fine").state is JobState.SUCCEEDED


def test_the_second_daemon_says_who_holds_the_slot(installation: Installation) -> None:
    """Two daemons can never train at once."""
    first = installation.start_daemon()

    second = installation.start_daemon(wait=False)

    assert second.wait(60) == 75
    assert str(first.pid) in second.stderr.read().decode()
    assert first.poll() is None


def test_a_slot_that_a_trainer_does_not_let_go_of_is_tried_again_by_the_service(installation: Installation) -> None:
    """Exit 75 means that another daemon trains, and systemd then starts none any more: nobody would ever train again."""
    installation.overrides["CBI_GRACE_S"] = "0.1"
    installation.settings.make_state_dir()
    orphan = os.open(installation.settings.lock_path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(orphan, fcntl.LOCK_EX)
    try:
        daemon = installation.start_daemon(wait=False)
        assert daemon.wait(60) == 1
        said = daemon.stderr.read().decode()
        assert f"a process that no row names still holds {installation.settings.lock_path}" in said
        assert "starts the daemon again by itself" in said
    finally:
        os.close(orphan)


def test_a_ledger_that_stays_locked_at_the_start_is_no_reason_to_stay_down(
    monkeypatch: pytest.MonkeyPatch, installation: Installation
) -> None:
    """A verb says 75 then; of a daemon that would mean that another one trains."""

    def refuse(_self: Daemon) -> int:
        raise LedgerBusy("locked")

    monkeypatch.setattr(Daemon, "run", refuse)
    monkeypatch.setattr("workers.__main__.load_settings", lambda: installation.settings)
    monkeypatch.setattr("workers.__main__.set_up_logging", lambda *_args, **_keys: None)
    monkeypatch.setattr("workers.__main__.install_signals", lambda _daemon: None)
    assert main([]) == 1


def test_sigterm_is_heard_while_another_program_keeps_the_ledger_locked_at_the_start(
    installation: Installation,
) -> None:
    """With a row to settle, the daemon waits for the lock; it must not be deaf for as long."""
    (number,) = installation.enqueue({**NAIVE, "name": "left"})
    with installation.ledger() as ledger:
        claim(ledger, number)
    with closing(sqlite3.connect(installation.settings.ledger_path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        daemon = installation.start_daemon()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    assert installation.job("left").state is JobState.RUNNING

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert installation.job("left").state is JobState.SUCCEEDED


def test_sigterm_checkpoints_and_exits_in_good_order(installation: Installation) -> None:
    """Launchd's SIGTERM costs no epoch."""
    installation.enqueue({**NET, "name": "stopped"})
    installation.hold("stopped", after=3)
    daemon = installation.start_daemon()
    installation.until_epoch("stopped", 3)
    trainer = installation.trainer("stopped")

    daemon.send_signal(signal.SIGTERM)

    assert daemon.wait(60) == 0
    assert not trainer.is_alive()
    assert installation.job("stopped").state is JobState.QUEUED
    assert installation.events("stopped")[-1].reason == "daemon_stopped"
    installation.let_end("stopped")
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert "restored" in [e.event for e in installation.events("stopped")]


def test_a_trainer_stopped_from_outside_goes_on(installation: Installation) -> None:
    """Systemd sends SIGTERM to the whole group; that is not a failure of the job."""
    installation.enqueue({**NET, "name": "touched", "retries": 0})
    installation.hold("touched", after=2)
    installation.start_daemon("--until-empty")
    installation.until_epoch("touched", 2)

    os.kill(installation.trainer("touched").pid, signal.SIGTERM)
    installation.let_end("touched")

    installation.until_state("touched", "succeeded")
    assert [a.outcome for a in installation.attempts("touched")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]


def test_a_killed_trainer_continues_unchanged(installation: Installation) -> None:
    """Memory was never short here: whoever killed it, the model must not change."""
    installation.enqueue({**NET, "name": "killed", "retries": 0})
    installation.hold("killed", after=2)
    installation.start_daemon("--until-empty")
    installation.until_epoch("killed", 2)

    os.kill(installation.trainer("killed").pid, signal.SIGKILL)
    installation.let_end("killed")

    job = installation.until_state("killed", "succeeded")
    assert [a.outcome for a in installation.attempts("killed")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert (job.micro_batch, job.ooms, job.errors) == (None, 0, 0)


def test_an_idle_daemon_takes_up_a_new_job_by_itself(installation: Installation) -> None:
    """How soon, is the benchmark `pick-up`."""
    installation.start_daemon()

    (number,) = installation.enqueue({**NAIVE, "name": "new"})

    installation.until_state(number, "succeeded")
    assert [event.event for event in installation.events(number)] == ["enqueue", "claim", "finish"]


def test_the_ledger_is_backed_up_once_a_day(installation: Installation) -> None:
    """A restart within the same day makes no second backup."""
    for _ in range(2):
        daemon = installation.start_daemon()
        until(lambda: list(installation.settings.backup_dir.glob("ledger-*.db")), "a backup")
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)

    assert len(list(installation.settings.backup_dir.glob("ledger-*.db"))) == 1
