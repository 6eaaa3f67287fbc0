"""The one snapshot that command line, page and JSON show: true at one instant, and complete."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from support.ledger_rows import add, add_in, finished, job, python
from support.waiting import until

from cbi_queue import clock, doctor
from cbi_queue.api import page_view
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState
from cbi_queue.protocol import EpochReport
from cbi_queue.settings import load_settings
from cbi_queue.slot_lock import SlotLock
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.snapshot import daemon_status, take_status


@pytest.fixture
def settings(tmp_path, new_ledger):
    """Settings of a separate installation with an empty ledger."""
    (tmp_path / "config.toml").touch()
    seen = load_settings(
        {
            "CBI_STATE_DIR": str(tmp_path),
            "CBI_V14_REPO": str(tmp_path / "repo"),
            "CBI_CONFIG": str(tmp_path / "config.toml"),
        }
    )
    if not seen.ledger_path.exists():
        shutil.copy(new_ledger, seen.ledger_path)
    return seen


def test_an_idle_queue(settings, ledger):
    seen = take_status(settings)

    assert (seen.slot.state, seen.slot.words, seen.slot.job) == ("idle", "nothing is training", None)
    assert not seen.daemon.is_running
    assert (seen.queue, seen.ended, seen.counts, seen.holds) == ((), (), {}, ())
    assert json.loads(json.dumps(seen.as_json(), allow_nan=False))["counts"] == {}


@pytest.mark.parametrize(("state", "shown"), [(JobState.RUNNING, "training"), (JobState.PAUSED, "paused")])
def test_the_job_in_the_slot_with_its_progress(settings, ledger, state, shown):
    number = add_in(ledger, state)
    telemetry = Telemetry(settings.telemetry_path)
    for epoch in range(1, 5):
        telemetry.record(number, 1, "epoch", EpochReport(epoch, 10, 2.0, validation_loss=0.5))
    telemetry.close()
    assert take_status(settings).slot.state == "left", "without a daemon it is not trained"
    lock = SlotLock(settings.lock_path)
    lock.try_acquire()

    slot = take_status(settings).slot

    lock.release()
    assert (slot.state, slot.job.name, slot.attempt) == (shown, "the-job", 1)
    assert (slot.progress.epoch, slot.progress.total_epochs, slot.progress.epoch_wall_s) == (4, 10, 2.0)


def test_progress_of_an_earlier_attempt_is_not_shown_as_that_of_this_one(settings, ledger):
    number = add_in(ledger, JobState.RUNNING)
    telemetry = Telemetry(settings.telemetry_path)
    telemetry.record(number, 7, "epoch", EpochReport(9, 10, 2.0))
    telemetry.close()

    assert take_status(settings).slot.progress is None


def test_a_closed_slot_shows_every_reason(settings, ledger):
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too loud")
    place_hold(ledger, HoldReason.VOLUME, HoldMode.EVICT, "the disk is gone", for_s=3600)

    seen = take_status(settings)

    assert (seen.slot.state, seen.slot.words) == ("closed", "too loud; the disk is gone")
    assert [(hold.reason, hold.mode) for hold in seen.holds] == [("user", "pause"), ("volume", "evict")]
    assert seen.holds[1].expires_at == pytest.approx(clock.epoch_s() + 3600, abs=60)


def test_the_queue_is_in_the_order_in_which_it_will_run(settings, ledger):
    add(ledger, "a")
    add(ledger, "b", needs=["a"], priority=50)
    add(ledger, "c", priority=5)
    add(ledger, "d", priority=9)
    ledger.conn.execute("UPDATE jobs SET not_before = ? WHERE name = 'd'", (clock.epoch_s() + 600,))

    seen = take_status(settings)

    assert [line.name for line in seen.queue] == ["c", "a", "d", "b"]
    assert seen.queue[-1].why == "waits for a (queued)"
    assert seen.queue[-1].needs == ("a",)


def test_a_daemon_that_runs_is_named_and_an_orphan_is_not_called_one(settings, tmp_path):
    assert daemon_status(settings).words == "not running"
    lock = SlotLock(settings.lock_path)
    lock.try_acquire()
    assert daemon_status(settings).is_running

    settings.lock_path.write_text("")
    seen = daemon_status(settings)
    lock.release()

    assert not seen.is_running
    assert "its last trainer has not left the slot yet" in seen.words


HOLDS = """
import sys
from pathlib import Path
from cbi_queue.slot_lock import SlotLock
assert SlotLock(Path(sys.argv[1])).try_acquire()
print("ready", flush=True)
sys.stdin.readline()
"""


def test_a_daemon_that_ctrl_z_stopped_is_not_called_well(settings):
    """It kept its lock and was called running, and `doctor` was content, while nothing was trained."""
    holder = python(HOLDS, settings.lock_path)
    assert holder.stdout.readline() == "ready\n"
    assert daemon_status(settings).is_well
    holder.send_signal(signal.SIGSTOP)
    until(lambda: daemon_status(settings).is_stopped, "the stop")

    seen = daemon_status(settings)
    (finding,) = doctor._daemon(settings)
    headline = page_view._headline(take_status(settings))
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=60)

    assert (seen.is_running, seen.pid) == (True, holder.pid)
    assert f"stopped as by Ctrl-Z: `fg` or `kill -CONT {holder.pid}`" in seen.words
    assert (finding.verdict, finding.seen) == ("bad", seen.words)
    assert headline == ("bad", f"The daemon is {seen.words}.")


BUSY = """
import sys
from pathlib import Path
from cbi_queue.ledger import Ledger
from support.ledger_rows import add
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True)
count = 0
while not Path(sys.argv[2]).exists():
    count += 1
    with ledger.write():
        add(ledger, f"need-{count}")
        add(ledger, f"job-{count}", needs=[f"need-{count}"])
print(count)
"""


def test_the_status_is_of_one_instant_while_jobs_come_in(settings, ledger, tmp_path):
    """A job that is enqueued between two queries has needs that the first query did not return."""
    writer = python(BUSY, settings.ledger_path, tmp_path / "stop")
    assert writer.stdout.readline() == "ready\n"

    for _ in range(60):
        seen = take_status(settings)
        assert seen.counts.get("queued", 0) == seen.counts.get("waiting", 0)
        assert sum(seen.counts.values()) == len(seen.queue)
    (tmp_path / "stop").touch()

    assert int(finished(writer)) > 1


def test_reading_the_status_changes_nothing(settings, ledger):
    number = add(ledger)
    claim(ledger, number)
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=0.0)
    before = list(ledger.conn.iterdump())

    take_status(settings)

    assert list(ledger.conn.iterdump()) == before
    assert job(ledger, number).state == "running"
