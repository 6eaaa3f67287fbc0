"""Help, completions, tables and what is printed, through the real `cbi-queue` as people, scripts and shells use it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.command_installation import EXECUTABLE
from support.ledger_rows import add, dump
from support.light_libraries import light_libraries

import jobs
from cbi_queue.cli import VERBS, cli

EVIL = "naive-\x1b[31mred\x07\r"


# --- help


def every_command() -> list[list[str]]:
    """Every verb, and the verbs of the verbs."""
    context = click.Context(cli)
    found = []
    for verb in VERBS:
        command = cli.get_command(context, verb)
        inner = list(command.commands) if isinstance(command, click.Group) else []
        found += [[verb], *([verb, name] for name in inner)]
    return found


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_every_verb_helps_with_examples(command, tmp_path, monkeypatch):
    """The same help that the executable prints; read in this process, because there are so many."""
    monkeypatch.setenv("CBI_STATE_DIR", str(tmp_path / "state"))

    said = CliRunner().invoke(cli, [*command, "--help"], prog_name="cbi-queue")

    assert said.exit_code == 0
    assert f"cbi-queue {' '.join(command)}" in said.output.partition("Examples:")[2]
    assert "..." not in said.output.partition("Commands:")[2], "no sentence is cut"
    assert not (tmp_path / "state").exists(), "help makes nothing"


def test_the_first_help_names_every_verb_and_the_exit_codes(home):
    said = home.run("--help")

    assert all(f"  {verb} " in said for verb in VERBS)
    assert "Exit codes:" in said
    assert "version" in home.run("--version")
    assert "cbi-queue show lightgbm-1m" in home.run("show", "-h")


PYDANTIC = {"pydantic", "pydantic_core", "importlib.metadata"}
HEAVY = PYDANTIC | {"rich", "yaml", "huey", "sqlite_utils", "pandas", "numpy", "fastapi", "sqlite3", "psutil", "torch"}
LEDGER = HEAVY - {"sqlite3"} - ({"psutil"} if sys.platform == "darwin" else set())
"""What a verb that opens the ledger does without; macOS tells its file systems through psutil."""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        (["enqueue", "--help"], HEAVY),
        (["status", "--json"], LEDGER - {"psutil"}),
        (["list", "--json"], LEDGER),
        (["pause", "--json"], LEDGER),
        (["resume", "--json"], LEDGER),
        (["add", "--timeout", "2h", "--project", "p", "--", "true"], LEDGER),
        (["hold", "net-1w"], LEDGER),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_everyday_verbs_import_nothing_heavy(home, arguments, forbidden):
    """They are typed often, and answer in a fraction of a second. What is registered for the end still happens."""
    code = f"""
import atexit, sys
sys.argv = ["cbi-queue", *{arguments!r}]
atexit.register(lambda: print(*sorted({forbidden!r} & set(sys.modules)), file=sys.stderr))
from cbi_queue.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=home.environ, cwd=home.root, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr.split()) == (0, [])


# --- looking


LOOKING = {
    "status": dict, "list": list, "list --all": list, "show net-1w": dict, "budget": dict, "doctor": list,
    "leaderboard": object,
}  # fmt: skip


@pytest.mark.parametrize("line", LOOKING)
def test_what_is_looked_at_can_be_read_by_programs_and_changes_nothing(home, line):
    before = dump(home.settings.ledger_path)

    assert isinstance(home.json(*line.split(), **light_libraries()), LOOKING[line])
    assert dump(home.settings.ledger_path) == before


def test_the_status_tells_the_slot_the_queue_and_what_ended(home):
    said = home.run("status")

    assert "daemon not running" in said
    assert "Slot idle: nothing is training" in said
    assert "waits for net-1w (queued)" in said
    seen = home.json("status")
    assert [line["name"] for line in seen["queue"]] == ["net-1w", "naive-next-1w", "naive-held-1w"]
    assert seen["counts"] == {
        "cancelled": 1, "failed": 1, "held": 1, "queued": 1, "succeeded": 1, "vetoed": 1, "waiting": 1,
    }  # fmt: skip
    assert seen["slot"]["state"] == "idle"
    assert not seen["daemon"]["is_running"]


def test_a_queued_job_that_must_wait_comes_after_those_that_need_not(home):
    with home.ledger() as ledger:
        add(ledger, "naive-urgent-1w", priority=100)
        ledger.conn.execute("UPDATE jobs SET not_before = ? WHERE name = 'naive-urgent-1w'", (time.time() + 3600,))

    assert [line["name"] for line in home.json("status")["queue"]][:2] == ["net-1w", "naive-urgent-1w"]
    assert " from 20" in home.run("status")


def test_lists_are_filtered_by_state_family_and_horizon(home):
    def names(*options):
        return [entry["name"] for entry in home.json("list", *options)]

    assert names() == ["net-1w", "naive-next-1w", "naive-held-1w"]
    assert len(names("--all")) == 7
    assert names("--state", "failed", "--state", "vetoed") == ["naive-vetoed-1w", "naive-failed-1w"]
    assert names("--family", "simple_neural") == ["net-1w"]
    assert names("--horizon", "1m", "--all") == []
    assert home.run("list", "--horizon", "1m") == "Nothing is left to do. `--all` lists the ended jobs too.\n"


def test_a_job_is_shown_with_its_attempts_and_its_story(home):
    said = home.run("show", "net-1w")

    for words in ("feed_forward (simple_neural), horizon 1w", "Run folder: /run", "epochs=100", "evicted", "claim"):
        assert words in said
    seen = home.json("show", "net-1w")
    assert [attempt["outcome"] for attempt in seen["attempt_list"]] == ["evicted"]
    assert [event["event"] for event in seen["events"]] == ["enqueue", "claim", "requeue"]
    assert home.run("show", str(seen["id"])) == said


# --- tables


@pytest.mark.parametrize("line", ["status", "list --all", "budget", "show net-1w"])
def test_tables_fit_eighty_columns_and_keep_names_whole(home, line):
    """A name that is folded letter by letter can be neither read nor copied."""
    said = home.run(*line.split(), COLUMNS="80")

    table = [text for text in said.splitlines() if not text.startswith(("Parameters:", "Run folder:"))]
    assert max(map(len, table)) <= 80
    if line != "budget":
        assert "net-1w" in said
        assert "evicted" in said
    if line in {"status", "list --all"}:
        assert "naive-cancelled-1w" in said
        assert "naive-succeeded-1w" in said
    else:
        assert "…" not in said


@pytest.mark.parametrize(("line", "whole"), [("plan show --no-data", "quick-features-1m"), ("estimate", " fits ")])
def test_tables_of_plans_drop_columns_rather_than_squeeze_them(home, line, whole):
    """At 80 columns a verdict of two letters a line, or half a name, is of no use."""
    said = home.run(*line.split(), "schedules/quickstart.yaml", COLUMNS="80")

    table = said.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert "…" not in said
    assert whole in said


@pytest.mark.parametrize("line", ["status", "list --all", "budget"])
def test_a_piped_table_has_one_line_for_each_row(home, line):
    said = home.run(*line.split())

    assert max(map(len, said.splitlines())) <= 200
    if line == "list --all":
        assert len(said.splitlines()) == 8
        assert all(len(row.split()) >= 8 for row in said.splitlines())
    if line == "budget":
        assert any(row.startswith("regime classifier") for row in said.splitlines())


@pytest.mark.parametrize("line", ["status", "list --all", "show 5", "wait 5"])
def test_names_and_words_cannot_move_the_cursor(home, line):
    """A library's error text may hold anything, and lands in events and tables."""
    with home.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET name = ? WHERE id = 5", (EVIL,))
        ledger.conn.execute("UPDATE jobs SET veto = ?, state = 'held' WHERE id = 5", (EVIL,))
        ledger.add_event("note", "note", job_id=5, words=EVIL)
        ledger.conn.execute("INSERT INTO holds VALUES ('thermal', 'drain', ?, 1, NULL)", (EVIL,))

    child = home.start(*line.split(), COLUMNS="200")
    said = b"".join(child.communicate(timeout=60)).decode()

    assert "\\x1b[31mred\\x07\\r" in said
    assert not set(said) & {"\x1b", "\x07", "\r"}


def test_words_of_a_hold_are_cleaned_when_they_are_written(home):
    home.run("pause", "--reason", "too\x1b[31m hot\n")

    assert home.json("status")["holds"][0]["words"] == "too [31m hot"
    home.run("pause", "--reason", "\n", code=2)
    home.run("pause", "--reason", "x" * 201, code=2)


# --- completions


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_printed_for_each_shell(home, shell):
    said = home.run("completions", shell)

    assert "_CBI_QUEUE_COMPLETE" in said
    assert f"{shell}_complete" in said
    assert 'string split ","' not in said, "of the help of a verb only the words before its first comma were shown"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["show", "naive-h"], ["naive-held-1w"]),
        (["cancel", "net-1w", "naive-f"], ["naive-failed-1w"]),
        (["rel"], ["release"]),
        (["list", "--st"], ["--state"]),
        (["list", "--state", "fa"], ["failed"]),
        (["show", "no-such"], []),
        (["leaderboard", "--dataset", "def"], ["default"]),
    ],
    ids=" ".join,
)
def test_bash_really_completes(home, typed, offered):
    words = ["cbi-queue", *typed]
    script = f"""
set -e
eval "$(cbi-queue completions bash)"
complete -p cbi-queue >/dev/null
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=()
_cbi_queue_completion cbi-queue
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{EXECUTABLE.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**home.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == offered


def test_a_ledger_that_cannot_be_used_completes_to_nothing(home):
    home.settings.ledger_path.write_bytes(b"no database\n" * 1000)

    said = home.run(code=0, _CBI_QUEUE_COMPLETE="bash_complete", COMP_WORDS="cbi-queue show n", COMP_CWORD="2")

    assert not said.strip()


def test_looking_at_a_ledger_that_another_program_writes_to_does_not_wait(home):
    with closing(sqlite3.connect(home.settings.ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM events")

        assert len(home.json("list", "--all")) == 7
        assert home.json("status")["counts"]["queued"] == 1


@pytest.mark.process
def test_doctor_names_a_runtime_whose_trainer_code_is_not_ours(home, tmp_path):
    """A copy made before an upgrade trains with the code that it was made from."""
    site = tmp_path / "site"
    shutil.copytree(Path(jobs.__file__).parent, site / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (home.root / "config.toml").write_text(f'[runtimes]\nnative = "{python}"\n')

    def finding():
        return next(one for one in home.json("doctor", **light_libraries()) if one["subject"] == "runtime native")

    assert finding()["verdict"] == "ok"
    (site / "jobs" / "registry.py").write_text("# an older one\n")
    found = finding()
    assert found["verdict"] == "note"
    assert "other trainer code" in found["seen"]
