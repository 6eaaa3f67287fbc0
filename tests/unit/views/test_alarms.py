"""What the alarm strip says needs the user, from a real ledger: each failure once, held jobs, a daemon that is gone."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from support.api_installation import ApiInstallation

from cbi_queue import clock
from cbi_queue.api import page_view
from cbi_queue.ledger import verbs
from cbi_queue.ledger.write_watch import LASTING_S
from cbi_queue.lifecycle import Reason
from cbi_queue.views.alarms import FAILED_SHOWN, JOBS_NAMED, alarms
from cbi_queue.views.snapshot import open_snapshot, status_of, take_status


@pytest.fixture
def site(tmp_path):
    return ApiInstallation(tmp_path)


def told(site):
    with open_snapshot(site.settings) as (ledger, telemetry):
        return alarms(site.settings, ledger, status_of(site.settings, ledger, telemetry))


def _only_reads(path, flags, *rest, open_=os.open, **options):
    if flags & (os.O_WRONLY | os.O_RDWR):
        raise OSError(errno.EROFS, "Read-only file system", path)
    return open_(path, flags, *rest, **options)


def fail_all(site, *errors):
    site.enqueue(*({"name": f"net-{n}"} for n in range(len(errors))))
    for error in errors:
        site.fail(site.start_next(), error)


def test_a_queue_that_was_never_used_has_no_alarm_and_one_with_work_misses_its_daemon(site):
    assert told(site) == ()
    site.enqueue({"name": "now"})
    (alarm,) = told(site)
    assert (alarm.kind, alarm.mood, alarm.hint) == ("daemon", "bad", "cbi-queue worker")
    site.start_next()
    assert told(site)[0].words == "now resumes from its last checkpoint when one starts."
    with site.daemon():
        assert told(site) == ()


def test_a_lock_that_stays_and_a_disk_that_is_read_only_are_told_and_a_short_write_is_not(site, monkeypatch):
    site.enqueue({"name": "now"})
    at_s = clock.monotonic_s()
    monkeypatch.setattr(clock, "monotonic_s", lambda: at_s)
    with site.daemon(), closing(sqlite3.connect(site.settings.ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert told(site) == ()
        at_s += LASTING_S
        (alarm,) = told(site)
        assert (alarm.kind, alarm.mood, alarm.title) == ("ledger", "bad", "The ledger takes no writes")
        assert "another program keeps the ledger" in alarm.words
        other.execute("ROLLBACK")
        at_s += LASTING_S
        assert told(site) == ()
        other.execute("BEGIN IMMEDIATE")  # after a look that found it free, it is a short one again
        at_s += LASTING_S
        assert told(site) == ()
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
    monkeypatch.setattr(os, "open", _only_reads)
    assert told(site)[1].words.endswith("is read-only")


def test_jobs_that_failed_for_one_reason_are_one_line_with_those_that_wait_for_them(site):
    site.enqueue({"name": "a"}, {"name": "b"}, {"name": "later", "needs": ["a", "b"]})
    site.fail(site.start_next(), "no price on 26 days")
    site.fail(site.start_next(), "no price on 26 days")
    with site.daemon():
        (alarm,) = told(site)
        assert page_view._headline(take_status(site.settings)) == (
            "bad",
            "The slot is free; no job can run, 2 failed.",
        )
    assert (alarm.kind, alarm.mood, alarm.jobs, alarm.words) == ("failed", "bad", ("a", "b"), "no price on 26 days")
    assert alarm.title == "2 jobs failed, 1 waits for them"


def test_many_failures_are_a_few_lines_and_a_count(site):
    shared = ["one reason"] * (JOBS_NAMED + 2)
    fail_all(site, *shared, *(f"reason {n}" for n in range(FAILED_SHOWN + 1)))
    with site.daemon():
        found = told(site)
    assert len(found) == FAILED_SHOWN + 1
    assert (len(found[0].jobs), found[0].named) == (len(shared), found[0].jobs[:JOBS_NAMED])
    assert found[-1].title == "2 more failed"


def test_a_job_that_is_held_is_told_until_it_is_released_and_a_failed_one_until_it_is_tried_again(site):
    site.enqueue({"name": "kept"}, {"name": "kept-too"}, {"name": "other"})
    with site.ledger() as ledger:
        verbs.hold(ledger, ["kept", "kept-too"])
    site.fail(site.start_next(), "broken")
    with site.daemon():
        failed, held = told(site)
        assert (failed.jobs, held.kind, held.mood, held.title) == (("other",), "held", "warn", "2 jobs are held")
        assert held.jobs == ("kept", "kept-too")
        with site.ledger() as ledger:
            verbs.cancel(ledger, held.jobs)
            words = "The slot is free; every job has ended, 1 failed."
            assert page_view._headline(take_status(site.settings)) == ("bad", words)
            verbs.retry(ledger, held.jobs)
            verbs.retry(ledger, ["other"])
        assert told(site) == ()


def test_a_job_that_the_daemon_holds_after_crashes_is_red(site):
    site.enqueue({"name": "fatal"})
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET state = 'held', reason = ?", (Reason.KILLED_REPEATEDLY,))
    with site.daemon():
        (alarm,) = told(site)
    assert (alarm.mood, alarm.title) == ("bad", "fatal is held")
    assert "killed repeatedly" in alarm.words
