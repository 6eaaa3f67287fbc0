"""What a verb says when it does nothing: what the thing is, and what to do instead; only true words."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.ledger_rows import add_in

from cbi_queue import doctor
from cbi_queue.errors import Refused
from cbi_queue.ledger import claims, queries, verbs
from cbi_queue.ledger.settlement import requeue, requeue_after_crash
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.wording import UNKNOWN
from workers.chores import _backup

if TYPE_CHECKING:
    from pathlib import Path

    from support.api_installation import ApiInstallation

    from cbi_queue.ledger import Ledger


@pytest.mark.parametrize(
    ("verb", "state", "message", "hint"),
    [
        (verbs.hold, "succeeded", "cannot hold job 1 the-job: it has succeeded; nothing was changed", None),
        (
            verbs.hold,
            "running",
            "cannot hold job {id} the-job: it is running; nothing was changed",
            "`cbi-queue pause`",
        ),
        (verbs.hold, "held", "it is held; nothing was changed", "`cbi-queue release the-job` lets it run"),
        (verbs.release, "waiting", "it is waiting for a job that it needs", "it needs no release"),
        (verbs.release, "paused", "it is paused in the slot", "`cbi-queue resume` lifts the hold"),
        (verbs.retry, "succeeded", "cannot retry job 1 the-job: it has succeeded", "enqueue it with another name"),
        (verbs.retry, "running", "it is running", "or `cbi-queue cancel the-job` first"),
        (verbs.cancel, "failed", "cannot cancel job 1 the-job: it has failed; nothing was changed", None),
        (verbs.cancel, "vetoed", "it was vetoed by a guardrail", None),
    ],
)
def test_a_verb_that_does_not_fit_says_what_the_job_is_and_what_to_do(ledger: Ledger, verb, state, message, hint):
    number = add_in(ledger, JobState(state))
    with pytest.raises(Refused) as refused:
        verb(ledger, ["the-job"])
    assert message.format(id=number) in refused.value.message
    assert "allowed from" not in refused.value.message
    assert (refused.value.hint is None) if hint is None else (hint in refused.value.hint)


def test_an_attempt_that_does_not_exist_is_told_with_those_that_do(site: ApiInstallation, on_the_line) -> None:
    site.enqueue({"name": "a"}, {"name": "b"})
    assert on_the_line("logs", "a")[1].startswith("there is no log of job 1 a: it has not started yet")
    assert on_the_line("logs", "a", "--attempt", "9")[1].startswith("there is no log of job 1 a: it has not started")
    with site.ledger() as ledger:
        claims.claim(ledger, 1)
        assert on_the_line("logs", "a", "--attempt", "9")[1].startswith(
            "job 1 a has no attempt 9; it has only attempt 1"
        )
        assert "attempt 1 of job 1 a ended before it had a log" in on_the_line("logs", "a", "--attempt", "1")[1]
        requeue(ledger, 1, Outcome.EVICTED, Reason.EVICTED)
        claims.claim(ledger, 1)
    code, said = on_the_line("logs", "a", "--attempt", "9")
    assert (code, said.startswith("job 1 a has no attempt 9; it has attempts 1 to 2 without --attempt")) == (2, True)


def test_an_attempt_that_a_crash_of_the_daemon_ended_says_so(ledger: Ledger) -> None:
    number = add_in(ledger, JobState.RUNNING)
    requeue_after_crash(ledger, number, 0, backoff_s=0.0)
    claims.claim(ledger, number)
    requeue(ledger, number, Outcome.EVICTED, Reason.EVICTED)
    assert [attempt.error for attempt in queries.attempts_of(ledger, number)] == [
        "the daemon crashed while the job was in the slot",
        "evicted by a hold: it checkpointed and left the slot",
    ]


def test_nothing_to_relearn_is_told_of_what_was_asked(on_the_line) -> None:
    said = {
        flags: on_the_line("governor", "relearn", *flags.split())[1]
        for flags in ("--all", "--probes", "--all --probes")
    }
    assert said == {
        "--all": "There was nothing to delete: no cold baseline has been learned.\n",
        "--probes": "There was nothing to delete: no time of a calibration probe has been learned.\n",
        "--all --probes": "There was nothing to delete: no cold baseline and no time of a calibration probe has been learned.\n",
    }


def test_a_backend_without_its_library_has_no_python(on_the_line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = on_the_line("runtime", "list")[1]
    row = next(line for line in said.splitlines() if line.startswith("tensorflow"))
    assert row.split(maxsplit=1)[1].split() == ["not", "installed", UNKNOWN]
    assert "Jobs with `backend: tensorflow` need `cbi-queue runtime install tensorflow`." in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert "cbi-queue's own Python" in on_the_line("runtime", "list")[1].split("tensorflow")[1]


def test_a_check_never_speaks_of_enqueuing_and_enqueue_does(tmp_path: Path, on_the_line) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("day: 1\njobs: []\n")
    for verb, told in (("plan check", False), ("plan show", False), ("estimate", False), ("enqueue", True)):
        code, said = on_the_line(*verb.split(), str(path))
        assert (code, said.startswith("1 complaint"), "nothing was enqueued" in said) == (2, True, told), said


def daily_backup(site: ApiInstallation):
    (found,) = [finding for finding in doctor._ledger(site.settings) if finding.subject == "daily backup"]
    return found


def test_doctor_shows_a_daily_backup_that_failed(site: ApiInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert daily_backup(site).verdict == "ok", "none is due before a daemon ran"
    site.settings.backup_dir.write_text("in the way")
    with site.ledger() as ledger:
        _backup(ledger, site.settings)
    site.settings.backup_dir.unlink()
    found = daily_backup(site)
    assert (found.verdict, f"into {site.settings.backup_dir} failed: " in found.seen) == ("bad", True)
    assert "Errno" not in found.seen
    with site.ledger() as ledger:
        _backup(ledger, site.settings)
    found = daily_backup(site)
    assert (found.verdict, found.seen.startswith("1 backup in ")) == ("ok", True)
    for days, when in ((3, "3 d ago"), (-700, "an unknown time ago")):
        monkeypatch.setattr("cbi_queue.clock.epoch_s", partial(float, time.time() + days * 86_400))
        found = daily_backup(site)
        assert (found.verdict, found.advice, found.seen.endswith(when)) == ("note", "start the daemon", True)


@pytest.mark.process
def test_doctor_and_the_daemon_name_every_variable_that_is_no_setting(
    site: ApiInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verb warns of slips only; these two also of names that may be another program's."""
    for name in ("CBI_ERP_USER_OF_THE_OFFICE", "CBI_STATEDIR"):
        monkeypatch.setenv(name, "x")
        site.environ[name] = "x"
    seen = [finding.seen for finding in doctor._settings(site.settings) if finding.subject == "environment"]
    assert seen == [
        "the environment variable CBI_ERP_USER_OF_THE_OFFICE is not a setting and is ignored",
        "the environment variable CBI_STATEDIR is not a setting and is ignored (did you mean 'CBI_STATE_DIR'?)",
    ]
    command = [sys.executable, "-P", "-m", "workers", "--until-empty"]
    done = subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert [words for words in seen if words.split(" (")[0] not in done.stderr] == []


def test_a_verb_that_reads_opens_the_ledger_once(site: ApiInstallation, on_the_line, monkeypatch) -> None:
    site.enqueue({"name": "a"})
    opened: list[str] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda at, *args, **more: (opened.append(str(at)), connect(at, *args, **more))[1]
    )
    for verb in ("status", "list", "show a"):
        opened.clear()
        assert on_the_line(*verb.split())[0] == 0
        assert sum("ledger.db" in each for each in opened) == 1, verb


@pytest.mark.parametrize("value", ["1_0", "010", "0x1", "1.0", "\u0661", " 1", "9" * 5000])
@pytest.mark.parametrize("verb", ["priority a {}", "logs a --attempt {}", "logs a -n {}", "governor history --last {}"])
def test_a_number_of_an_option_is_written_as_in_a_plan(
    site: ApiInstallation, on_the_line, verb: str, value: str
) -> None:
    site.enqueue({"name": "a"})
    code, said = on_the_line(*(part.replace("{}", value) for part in verb.split()))
    assert (code, "is not a whole number such as 12" in said) == (2, True)


def test_the_end_of_a_story_is_a_sentence_whatever_happened(site: ApiInstallation, on_the_line) -> None:
    site.enqueue({"name": "a"}, {"name": "b"})
    assert on_the_line("governor", "why", "a")[1].rstrip().endswith("queued: not started yet")
    with site.ledger() as ledger:
        verbs.cancel(ledger, ["b"])
        claims.claim(ledger, 1)
    assert on_the_line("governor", "why", "b")[1].rstrip().endswith("cancelled: it was never in the slot")
    last = on_the_line("governor", "why", "a")[1].splitlines()[-1]
    assert re.search(r"running so far: 1 attempt, .* in the slot; the governor took no step$", last), last


def test_doctor_names_a_runtime_that_no_model_would_ever_use(
    site: ApiInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt backend was probed and called ok, while the nets trained on another Python."""
    monkeypatch.setattr(doctor, "probe_runtime", lambda *_asked: None)
    settings = replace(site.settings, runtimes={"pytorch": sys.executable})
    found = next(finding for finding in doctor._runtimes(settings) if finding.subject == "runtime pytorch")

    assert found.verdict == "bad"
    assert found.seen == (
        "unused: unknown backend 'pytorch' (did you mean 'torch'?); allowed: native, tensorflow, torch"
    )
