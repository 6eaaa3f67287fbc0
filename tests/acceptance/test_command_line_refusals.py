"""Enqueuing through the real `cbi-queue`, and everything that it must refuse: exit code, place, nothing changed."""

from __future__ import annotations

import os

import pytest
from support.command_installation import Home
from support.ledger_rows import add, dump, story
from support.light_libraries import light_libraries

from cbi_queue.slot_lock import SlotLock

GOOD = """\
day: 1
jobs:
  - {name: naive-new-1w, family: statistical, model: naive, horizon: 1w}
  - {name: drift-new-1w, family: statistical, model: drift, horizon: 1w, needs: [naive-new-1w]}
"""
JOB = "  - {name: a-1w, family: statistical, model: naive, horizon: 1w"
MANY = """\
day: 1
jobs:
  - name: s-{seed}-{season_rows}
    family: statistical
    model: seasonal_naive
    horizon: 1w
    matrix:
      params.seed: [NUMBERS]
      params.season_rows: [SEASONS]
"""
NUMBERS = ", ".join(map(str, range(100)))
SEASONS = ", ".join(map(str, range(1, 102)))
BAD = {
    "broken": (f"day: 1\njobs:\n{JOB}\n", "plan.yaml:4:"),
    "a bomb": ("day: 1\na: &a [x, x]\nb: &b [*a, *a, *a]\njobs: *b\n", "plan.yaml:2:"),
    "nested too deeply": ("day: 1\njobs: " + "[" * 5000, "plan.yaml:2:"),
    "a python tag": ('day: 1\njobs: !!python/object/apply:os.system ["touch owned"]\n', "plan.yaml:2:"),
    "not UTF-8": (b"day: 1\ntitle: \xff\xfe\njobs: []\n", "plan.yaml:2:"),
    "not a number": (f"day: 1\njobs:\n{JOB}, params: {{seed: .nan}}}}\n", "plan.yaml:3: jobs[0].params.seed"),
    "too many": (MANY.replace("NUMBERS", NUMBERS).replace("SEASONS", SEASONS), "plan.yaml:7:"),
    "control characters": (
        'day: 1\njobs:\n  - {name: "a\\x1b[31m", family: statistical, model: naive, horizon: 1w}\n', "plan.yaml:3:",
    ),
    "a climbing path": (
        "day: 1\njobs:\n  - {name: ../../etc/passwd, family: statistical, model: naive, horizon: 1w}\n", "plan.yaml:3:",
    ),
    "an unknown key": (f"day: 1\njobs:\n{JOB}, priorty: 5}}\n", "plan.yaml:3: jobs[0].priorty"),
    "an unknown need": (f"day: 1\njobs:\n{JOB}, needs: [ghost]}}\n", "plan.yaml:3: jobs[0].needs[0]"),
    "twice the same name": (f"day: 1\njobs:\n{JOB}}}\n{JOB}, retries: 2}}\n", "plan.yaml:4: jobs[1].name"),
    "empty": ("", "plan.yaml:1:"),
    "a list": ("- 1\n- 2\n", "plan.yaml:1:"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plan_is_refused_with_file_and_line_and_changes_nothing(home, kind):
    """Also what came with it in good order is not enqueued."""
    content, place = BAD[kind]
    (home.root / "good.yaml").write_text(GOOD)
    (home.root / "plan.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = dump(home.settings.ledger_path)

    child = home.start("enqueue", "good.yaml", "plan.yaml")
    out, err = child.communicate(timeout=60)

    assert (child.returncode, out) == (2, b"")
    assert f"\n{place}" in err.decode()
    assert "nothing was enqueued" in err.decode()
    assert b"\x1b" not in err
    assert dump(home.settings.ledger_path) == before
    assert not (home.root / "owned").exists()


def test_a_good_plan_is_enqueued_once(home):
    (home.root / "good.yaml").write_text(GOOD)

    assert home.run("enqueue", "good.yaml") == "Enqueued 2 jobs, 1 of them waiting for jobs they need.\n"
    before = dump(home.settings.ledger_path)
    assert "2 jobs already there and left alone (1 queued, 1 waiting)" in home.run("enqueue", "good.yaml")
    assert dump(home.settings.ledger_path) == before
    assert [entry["name"] for entry in home.json("enqueue", "good.yaml")["already_there"]] == [
        "naive-new-1w",
        "drift-new-1w",
    ]
    with home.ledger() as ledger:
        assert story(ledger, "drift-new-1w") == ["enqueue"]


def test_a_changed_plan_of_a_live_job_is_refused(home):
    (home.root / "good.yaml").write_text(GOOD)
    home.run("enqueue", "good.yaml")
    (home.root / "good.yaml").write_text(GOOD.replace("model: drift", "model: drift, retries: 9"))
    before = dump(home.settings.ledger_path)

    assert "drift-new-1w: job 9 is waiting with other content" in home.run("enqueue", "good.yaml", code=2)
    assert dump(home.settings.ledger_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["enque"], "did you mean 'enqueue'?"),
        (["kill"], "did you mean 'cancel'?"),
        (["frobnicate"], "no command 'frobnicate'"),
        (["add", "--", "python t.py"], "write the program and its arguments apart (python t.py)"),
        (["list", "--frob"], "No such option"),
        (["list", "--state", "tired"], "'tired' is not one of"),
        (["enqueue"], "Missing argument"),
        (["enqueue", "absent.yaml"], "absent.yaml: cannot be read: no such file"),
        (["show", "net-1m"], "no job is called 'net-1m'; similar names: net-1w"),
        (["show", "99999999999999999999"], "no job is called"),
        (["cancel", "net-1m", "net-1w"], "no job is called 'net-1m'"),
        (["show", "a\x1b[31m"], "no job is called 'a\\x1b[31m'"),
        (["completions", "tcsh"], "'tcsh' is not one of"),
    ],
    ids=lambda value: repr(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_ends_with_two_and_a_hint(home, arguments, words):
    before = dump(home.settings.ledger_path)

    said = home.run(*arguments, code=2)

    assert words in said
    assert "\x1b" not in said
    assert dump(home.settings.ledger_path) == before


def test_settings_that_cannot_be_used_end_with_two(home):
    assert "CBI_THREADS: threads is 'many'" in home.run("status", code=2, CBI_THREADS="many")
    (home.root / "file").touch()
    assert "cannot create the state folder" in home.run("status", code=2, CBI_STATE_DIR=str(home.root / "file" / "x"))


def test_a_ledger_that_cannot_be_used_ends_with_one_and_says_how_to_restore(home):
    home.settings.ledger_path.write_bytes(b"no database\n" * 1000)

    for arguments in (["status"], ["list"], ["resume"], ["status", "--json"]):
        said = home.run(*arguments, code=1)
        assert "cannot read the ledger" in said
        assert "cbi-queue restore newest" in said
    assert any(
        f["subject"] == "ledger" and f["verdict"] == "bad" for f in home.json("doctor", code=1, **light_libraries())
    )


def test_a_damaged_ledger_is_told_and_the_doctor_finds_it(home):
    with home.ledger() as ledger:
        for number in range(50):
            add(ledger, f"naive-filler-{number}")
        ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = home.settings.ledger_path
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))

    assert "cannot use the ledger" in home.run("list", code=1)
    [finding] = [entry for entry in home.json("doctor", code=1, **light_libraries()) if entry["subject"] == "ledger"]
    assert finding["verdict"] == "bad"
    assert "damaged" in finding["seen"]


def test_a_second_daemon_ends_with_seventy_five_and_names_the_first(home):
    lock = SlotLock(home.settings.lock_path)
    assert lock.try_acquire()

    said = home.run("worker", code=75)

    lock.release()
    assert f"the daemon with pid {os.getpid()} holds" in said


def test_a_missing_volume_is_told_by_the_doctor_and_made_by_nobody(home):
    volume = home.root / "Satechi Hub"

    said = home.run("doctor", code=1, EXTERNAL_DRIVE=str(volume), **light_libraries())
    home.run("status", EXTERNAL_DRIVE=str(volume))
    home.run("list", EXTERNAL_DRIVE=str(volume))

    assert "is absent; nothing was created there" in said
    assert not volume.exists()


def test_the_first_look_at_an_empty_home_says_what_to_do(tmp_path):
    home = Home(tmp_path)
    (tmp_path / "config.toml").touch()

    assert "cbi-queue enqueue schedules/quickstart.yaml" in home.run("status")
    assert home.run("list").startswith("Nothing is left to do")
    assert home.run("wait") == ""
