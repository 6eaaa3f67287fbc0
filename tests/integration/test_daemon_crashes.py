"""Whatever is killed, stopped, torn or filled: nothing is lost, nothing runs twice, and the story says what happened."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from support.command_hook import CommandHook
from support.installation import NAIVE, NET
from support.waiting import until

from cbi_queue.lifecycle import JobState, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.installation import Installation

needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root on Linux")


def predictions(installation: Installation, name: str) -> pl.DataFrame:
    """What a job predicted."""
    return pl.read_parquet(Path(installation.job(name).run_dir) / "predictions.parquet")


def weights(installation: Installation, name: str) -> bytes:
    """The stored weights of a net."""
    return (Path(installation.job(name).run_dir) / "model.safetensors").read_bytes()


@pytest.mark.timeout(900)
def test_a_killed_daemon_loses_nothing_and_a_torn_checkpoint_is_told(installation: Installation) -> None:
    """The orphan leaves the slot, the next daemon goes on from its checkpoint, and the one after that from the one before the
    newest, which a power loss has torn: to the same numbers. Each crash is told once.
    """
    hook = CommandHook(installation, events=("daemon_back",))
    installation.enqueue({**NET, "name": "orphaned"}, {**NET, "name": "plain", "priority": -1})
    installation.hold("orphaned", after=3)
    daemon = installation.start_daemon()
    installation.until_epoch("orphaned", 3)
    orphan = installation.trainer("orphaned")
    daemon.kill()
    daemon.wait()
    assert "was left in the slot by a daemon that died" in installation.cli("status")

    installation.hold("orphaned", after=1)
    daemon = installation.start_daemon(wait=False)
    until(lambda: len(installation.attempts("orphaned")) == 2, "its second attempt")
    assert not orphan.is_alive()
    installation.until_epoch("orphaned", 1)
    daemon.send_signal(signal.SIGTERM)  # it leaves a checkpoint, however fast the machine is
    assert daemon.wait(60) == 0
    _, newest = stored(Path(installation.job("orphaned").run_dir) / "checkpoints")
    os.truncate(newest, newest.stat().st_size // 2)
    installation.let_end("orphaned")
    assert installation.start_daemon("--until-empty", wait=False).wait(400) == 0

    outcomes = [a.outcome for a in installation.attempts("orphaned")]
    assert outcomes == [Outcome.INTERRUPTED, Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert "daemon_died" in [event.reason for event in installation.events("orphaned")]
    rejected = [event for event in installation.events("orphaned") if event.event == "checkpoint_rejected"]
    assert newest.name in (rejected[0].words or "")
    assert weights(installation, "orphaned") == weights(installation, "plain")
    assert all(entry["alone"] for entry in installation.overlaps())
    in_slot = ("daemon_back", "the daemon crashed while orphaned was in the slot, and is back")
    assert hook.told == [in_slot]

    daemon = installation.start_daemon()
    daemon.kill()
    daemon.wait()
    for _ in range(2):
        assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    empty = ("daemon_back", "the daemon crashed or was killed, interrupted no job, and is back")
    assert hook.told == [in_slot, empty]


def test_an_orphan_that_the_kernel_keeps_stopped_is_woken_and_leaves(installation: Installation) -> None:
    """A stopped process never sees that its daemon died; it must not hold the slot for ever."""
    installation.enqueue(installation.lasting("frozen"))
    daemon = installation.start_daemon()
    installation.until_epoch("frozen", 1)
    orphan = installation.trainer("frozen")
    orphan.signal_group(signal.SIGSTOP)

    daemon.kill()
    daemon.wait()

    daemon = installation.start_daemon("--until-empty", wait=False)
    until(lambda: "restored" in [e.event for e in installation.events("frozen")], "it checkpointed before it left")
    installation.let_end("frozen")
    assert daemon.wait(60) == 0
    assert installation.job("frozen").state is JobState.SUCCEEDED


def set_back(installation: Installation, name: str, state: str, outcome: str | None) -> None:
    """Write the rows of a job that succeeded as they were before its end."""
    number = installation.job(name).id
    with installation.ledger() as ledger, ledger.write() as conn:
        conn.execute("UPDATE jobs SET state = ?, ended_at = NULL, metrics = NULL WHERE id = ?", (state, number))
        conn.execute(
            "UPDATE attempts SET outcome = ?1, ended_at = iif(?1 IS NULL, NULL, ended_at) WHERE job_id = ?2",
            (outcome, number),
        )


def test_a_run_folder_is_believed_when_the_row_is_behind_unless_it_is_damaged(installation: Installation) -> None:
    """A manifest is the truth, and one whose files do not match means: train again.

    `hidden` went back to the queue, as its disk was away at boot; its next turn finds the result.
    """
    names = ("done", "damaged", "hidden")
    installation.enqueue(*({**NAIVE, "name": name} for name in names))
    assert installation.start_daemon("--until-empty", wait=False).wait(120) == 0
    done, damaged, hidden = (Path(installation.job(name).run_dir) for name in names)
    before = [(folder / "manifest.json").read_bytes() for folder in (done, hidden)]
    set_back(installation, "done", "running", None)
    set_back(installation, "hidden", "queued", "interrupted")
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    set_back(installation, "damaged", "running", None)
    (damaged / "metrics.json").write_text("{}")
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0

    assert {installation.job(name).state for name in names} == {JobState.SUCCEEDED}
    assert [installation.events(name)[-1].reason for name in ("done", "hidden")] == ["found_finished"] * 2
    assert installation.job("done").metrics["backtest"]
    assert len(installation.attempts("done")) == 1
    assert [(folder / "manifest.json").read_bytes() for folder in (done, hidden)] == before
    assert [a.outcome for a in installation.attempts("damaged")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]


def test_last_words_are_heard_by_a_daemon_that_was_late(installation: Installation) -> None:
    """A broken spec told while the daemon slept is still a broken spec, and is not retried."""
    installation.enqueue(
        {**NAIVE, "name": "told", "retries": 3, "params": {"validation_rows": 4000, "backtest_rows": 4000}}
    )
    daemon = installation.start_daemon("--until-empty")
    trainer = installation.trainer_at_work("told")

    daemon.send_signal(signal.SIGSTOP)
    until(lambda: not trainer.is_alive(), "the trainer ends")
    daemon.send_signal(signal.SIGCONT)

    assert daemon.wait(60) == 1
    assert installation.events("told")[-1].reason == "broken_spec"
    assert len(installation.attempts("told")) == 1


def test_a_cancellation_asked_for_while_no_daemon_lived_is_kept(installation: Installation) -> None:
    """Nobody was there to do it; the next daemon does."""
    installation.enqueue(installation.lasting("unwanted"))
    daemon = installation.start_daemon()
    installation.until_epoch("unwanted", 1)
    daemon.kill()
    daemon.wait()

    installation.cli("cancel", "unwanted")
    installation.start_daemon("--until-empty", wait=False).wait(60)

    assert installation.job("unwanted").state is JobState.CANCELLED
    assert len(installation.attempts("unwanted")) == 1


def test_a_stopped_daemon_wakes_up_to_a_finished_job(installation: Installation) -> None:
    """SIGSTOP of the daemon: the trainer goes on, and its reports wait in the pipe."""
    installation.enqueue({**NAIVE, "name": "meanwhile"}, {**NAIVE, "name": "afterwards"})
    daemon = installation.start_daemon("--until-empty")
    trainer = installation.trainer_at_work("meanwhile")

    daemon.send_signal(signal.SIGSTOP)
    until(lambda: not trainer.is_alive(), "the trainer ends without its daemon")
    assert installation.job("meanwhile").state is JobState.RUNNING
    daemon.send_signal(signal.SIGCONT)

    assert daemon.wait(60) == 0
    assert installation.job("meanwhile").state is installation.job("afterwards").state is JobState.SUCCEEDED


def test_a_foreign_write_transaction_of_8_seconds_fails_nothing(installation: Installation) -> None:
    """A database browser must not cost a job. SQLite gives up after 5 seconds; the grace time here is 6."""
    installation.overrides["CBI_GRACE_S"] = "6"
    installation.enqueue({**NAIVE, "name": "one"}, {**NAIVE, "name": "two"})
    daemon = installation.start_daemon("--until-empty")
    installation.until_state("one", "running", "succeeded")

    with closing(sqlite3.connect(installation.settings.ledger_path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        threading.Event().wait(8.0)  # the lock is held for real; nothing signals its end
        foreign.execute("ROLLBACK")

    assert daemon.wait(90) == 0
    assert [installation.job(name).state for name in ("one", "two")] == [JobState.SUCCEEDED] * 2
    assert [len(installation.attempts(name)) for name in ("one", "two")] == [1, 1]


def test_a_daemon_that_boots_beside_a_foreign_write_transaction_waits_for_it(installation: Installation) -> None:
    """Longer than SQLite's own timeout, with a row to recover: it neither fails nor forgets."""
    installation.enqueue(installation.lasting("waited"))
    daemon = installation.start_daemon()
    installation.until_epoch("waited", 1)
    daemon.kill()
    daemon.wait()

    with closing(sqlite3.connect(installation.settings.ledger_path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        daemon = installation.start_daemon("--until-empty")
        threading.Event().wait(6.0)  # nothing signals the end of somebody else's lock
        assert daemon.poll() is None
        foreign.execute("ROLLBACK")
    until(lambda: len(installation.attempts("waited")) == 2, "its second attempt")
    installation.let_end("waited")

    assert daemon.wait(90) == 0
    assert [a.outcome for a in installation.attempts("waited")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]


def stored(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(p for p in folder.glob("*") if not p.name.startswith(".")) if folder.is_dir() else []


def test_a_crash_that_left_a_checkpoint_goes_on_at_once_and_one_that_did_not_waits(installation: Installation) -> None:
    """Ten minutes' wait would cost a first crash ten minutes; a crash that comes back at the same place must not spin."""
    installation.overrides["CBI_BACKOFF_S"] = "600"
    endless = {**NET["params"], "epochs": 10000, "patience": 10000}
    installation.enqueue({**NET, "name": "crashing", "retries": 5, "params": endless})
    installation.start_daemon()
    folder = Path(until(lambda: installation.job("crashing").run_dir, "a run folder")) / "checkpoints"
    until(lambda: stored(folder), "a checkpoint")

    os.kill(installation.trainer("crashing").pid, signal.SIGSEGV)
    until(lambda: len(installation.attempts("crashing")) == 2, "its second attempt")
    os.kill(
        installation.trainer("crashing").pid, signal.SIGSEGV
    )  # while it still imports, long before a checkpoint is due

    job = installation.until_state("crashing", "queued")
    first, second = (e.words or "" for e in installation.events("crashing") if e.event == "requeue")
    assert first == "the trainer crashed with SIGSEGV and reported no error; attempt 2 of 6 at once"
    assert second == "the trainer crashed with SIGSEGV and reported no error; attempt 3 of 6 in 20 min"
    assert [a.outcome for a in installation.attempts("crashing")] == [Outcome.ERROR] * 2
    assert job.errors == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 6 MB."""
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(point)], check=True)
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


@needs_root
def test_a_full_disk_while_checkpointing_is_told_and_nothing_is_lost(
    installation: Installation, small_disk: Path
) -> None:
    """Training goes on without the checkpoint; when there is space again the job ends well."""
    installation.overrides["CBI_V14_MODELS"] = str(small_disk / "Models")
    filler = small_disk / "filler"
    installation.enqueue({**NET, "name": "cramped", "retries": 3})
    installation.settings.make_layout()
    filler.write_bytes(b"\0" * (6 * 2**20 - 150_000))
    installation.start_daemon("--until-empty")

    until(
        lambda: {"checkpoint_failed", "requeue"} & {e.event for e in installation.events("cramped")},
        "the full disk is told",
    )
    filler.unlink()

    job = installation.until_state("cramped", "succeeded", "failed")
    assert job.state is JobState.SUCCEEDED, installation.story("cramped")


@needs_root
def test_a_full_disk_of_the_ledger_costs_no_training(
    installation: Installation, small_disk: Path, sample_exports: Path
) -> None:
    """Events that cannot be written must not end a healthy trainer."""
    installation.overrides.update(CBI_STATE_DIR=str(small_disk / "state"), CBI_V14_MODELS=str(small_disk / "Models"))
    filler = small_disk / "filler"
    installation.enqueue({**NET, "name": "healthy", "params": {**NET["params"], "epochs": 80, "patience": 80}})
    installation.hold("healthy", after=2)
    installation.settings.make_layout()
    daemon = installation.start_daemon("--until-empty")
    trainer = installation.trainer("healthy")
    installation.until_epoch("healthy", 2)

    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"\0" * 4096)
    installation.let_end("healthy")
    log = installation.settings.training_log_dir / "healthy-1-attempt-1.log"
    until(lambda: b"checkpoint after" in log.read_bytes(), "a checkpoint failed")
    assert trainer.is_alive()
    filler.unlink()

    assert daemon.wait(120) == 0
    assert installation.job("healthy").state is JobState.SUCCEEDED
    assert len(installation.attempts("healthy")) == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A real external disk (a tmpfs) and the point where it is plugged in."""
    body, point = tmp_path / "disk-body", tmp_path / "Volume"
    body.mkdir()
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(body)], check=True)
    subprocess.run(["mount", "--bind", str(body), str(point)], check=True)
    yield body, point
    for path in (point, body):
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@needs_root
def test_a_volume_that_vanishes_holds_the_slot_until_it_returns(
    installation: Installation, disk: tuple[Path, Path], sample_exports: Path, feature_dir: Path
) -> None:
    """No phantom folder is made, the hold says why, and the job goes on by itself when the disk is back."""
    body, point = disk
    installation.overrides.update(
        EXTERNAL_DRIVE=str(point), CBI_V14_REPO=str(point / "Projects" / "CBI-V14"), CBI_VOLUME_CHECK_S="0.2"
    )
    installation.furnish(sample_exports, feature_dir)
    installation.enqueue({**NET, "name": "travelling"})
    installation.hold("travelling", after=3)
    installation.start_daemon("--until-empty")
    installation.until_epoch("travelling", 3)

    subprocess.run(["umount", "-l", str(point)], check=True)

    installation.until_state("travelling", "queued")
    status = installation.cli("status")
    assert "volume" in status
    assert list(point.iterdir()) == []
    installation.let_end("travelling")
    subprocess.run(["mount", "--bind", str(body), str(point)], check=True)
    installation.until_state("travelling", "succeeded", within_s=120)
    assert installation.job("travelling").errors == 0


def storm(installation: Installation, kills: int, seed: int) -> None:
    """Kill the daemon at *kills* random moments over a queue of real jobs; then let it finish."""
    dice = random.Random(seed)
    done = 0
    while done < kills:
        daemon = installation.start_daemon("--until-empty", wait=False)
        try:
            daemon.wait(dice.uniform(0.05, 3.0))
        except subprocess.TimeoutExpired:
            daemon.kill()
            done += 1
        daemon.wait()
        if installation.cli("list", "--json").strip() == "[]":
            installation.cli("retry", "--failed")
            refill(installation, done)
    assert installation.start_daemon("--until-empty", wait=False).wait(240) == 0


def refill(installation: Installation, number: int) -> None:
    """Enqueue four more short real jobs, one of which reports epochs."""
    short = {**NET["params"], "epochs": 25, "patience": 25}
    jobs = [{**NAIVE, "name": f"naive-{number}-{i}"} for i in range(3)]
    installation.enqueue({**NET, "name": f"net-{number}", "params": short}, *jobs)


def check_after_storm(installation: Installation) -> None:
    """Every job ended exactly once as succeeded, none ran beside another, and the nets are all the same."""
    with installation.ledger() as ledger:
        rows = ledger.conn.execute("SELECT id, name, state FROM jobs").fetchall()
        successes = ledger.conn.execute(
            "SELECT job_id, SUM(outcome = 'success') n FROM attempts GROUP BY job_id"
        ).fetchall()
        finishes = ledger.conn.execute("SELECT job_id, COUNT(*) n FROM events WHERE event = 'finish' GROUP BY job_id")
        assert {row["state"] for row in rows} == {"succeeded"}
        assert {row["n"] for row in successes} == {row["n"] for row in finishes} == {1}
        assert ledger.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert all(entry["alone"] for entry in installation.overlaps())
    nets = [row["name"] for row in rows if row["name"].startswith("net-")]
    assert len({weights(installation, name) for name in nets}) == 1


def test_12_kills_of_the_daemon_at_random_moments_lose_nothing(installation: Installation) -> None:
    """Exactly once, one at a time, and bit for bit the same as undisturbed: the promise of the project."""
    short = {**NET["params"], "epochs": 25, "patience": 25}
    installation.enqueue({**NET, "name": "net-undisturbed", "params": short})
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    refill(installation, 0)

    storm(installation, kills=12, seed=20261121)

    check_after_storm(installation)


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_a_daemon_stopped_for_a_minute_goes_on(installation: Installation) -> None:
    """The long version of the stopped daemon."""
    installation.enqueue({**NET, "name": "long"})
    daemon = installation.start_daemon("--until-empty")
    installation.until_epoch("long", 1)

    daemon.send_signal(signal.SIGSTOP)
    threading.Event().wait(60.0)
    daemon.send_signal(signal.SIGCONT)

    assert daemon.wait(60) == 0
    assert installation.job("long").state is JobState.SUCCEEDED
    assert len(installation.attempts("long")) == 1
