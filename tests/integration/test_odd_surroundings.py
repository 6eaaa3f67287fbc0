"""Clocks gone wild, full disks, odd terminals, requests that ask for too much: true words, and nothing silent."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cbi_queue import clock
from cbi_queue.cli import cli
from cbi_queue.cli.output import console, print_table
from cbi_queue.datasets.snapshots import Remembered
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.values.words import words_for

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient
    from support.api_installation import ApiInstallation


@pytest.fixture
def on_the_line(site: ApiInstallation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", site.environ)
    return lambda *words: CliRunner().invoke(cli, list(words))


# --- requests


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/api/v1/events?after=9223372036854775808", "a whole number from 0 to 9223372036854775807"),
        ("/api/v1/jobs/a/log?tail=0", "a whole number from 1 to 100000"),
    ],
)
def test_a_number_that_no_ledger_holds_is_refused_with_the_range(site, client: TestClient, address, words) -> None:
    """It was a 500: the database takes 64 bits."""
    site.enqueue({"name": "a"})
    answer = client.get(address)
    assert (answer.status_code, answer.json()["detail"].partition("; allowed: ")[2]) == (422, words)
    assert client.get("/api/v1/events?after=9223372036854775807").json()["events"] == []


def test_a_body_that_would_be_ignored_is_refused(site, client: TestClient, bearer) -> None:
    site.enqueue({"name": "a"})
    for verb in ("cancel", "hold", "release", "retry"):
        answer = client.post(f"/api/v1/jobs/a/{verb}", json={"force": True}, headers=bearer)
        assert (answer.status_code, answer.json()["hint"]) == (422, "leave the body out")
    assert client.post("/api/v1/jobs/a/hold", content=b"{}", headers=bearer).status_code == 200
    assert client.post("/api/v1/jobs/a/release", headers=bearer).status_code == 200


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        (
            "text/plain",
            b'{"for_s": 60}',
            "the body is not sent as JSON; send the header Content-Type: application/json with it",
        ),
        ("application/json", b"[" * 30_000, "the body is nested too deeply; no request needs more than one level"),
    ],
)
def test_a_body_that_cannot_be_read_says_why(client: TestClient, bearer, kind, content, words) -> None:
    answer = client.post("/api/v1/pause", content=content, headers={**bearer, "Content-Type": kind})
    assert (answer.status_code, answer.json()["detail"]) in {(422, words), (400, words)}


def test_a_name_of_thousands_of_letters_is_not_repeated_whole(site, client: TestClient) -> None:
    assert len(client.get(f"/api/v1/jobs/{'a' * 5000}").json()["detail"]) < 120


def test_a_large_limit_is_written_in_full() -> None:
    assert words_for({"type": "number", "exclusiveMinimum": 0, "maximum": 31_622_400}).endswith("at most 31,622,400")


# --- clocks and terminals


@pytest.mark.parametrize("now_s", [-1e11, 0.0, 253_402_300_799.0, 1e13])
def test_a_clock_gone_wild_breaks_no_verb_later(site, on_the_line, client: TestClient, monkeypatch, now_s) -> None:
    """A hold whose end lies beyond the calendar ended every `status` in a traceback."""
    site.enqueue({"name": "a"})
    with monkeypatch.context() as wild, site.ledger() as ledger:
        wild.setattr(clock, "epoch_s", lambda: now_s)
        place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "x", for_s=86_400.0)
        assert on_the_line("status").exit_code == 0
    for words in (["status"], ["status", "--json"], ["list"], ["show", "a"], ["resume"]):
        assert (done := on_the_line(*words)).exit_code == 0, (words, done.output, done.exception)
    assert client.get("/status?format=html").status_code == 200


def test_a_zone_of_more_than_a_day_is_read_as_utc(site, on_the_line, monkeypatch) -> None:
    """`TZ=UTC+25` ended every verb that shows an instant in a traceback; Python knows no such zone."""
    site.enqueue({"name": "a"})
    try:
        with monkeypatch.context() as far:
            far.setenv("TZ", "UTC+25")
            time.tzset()
            assert "Paused until 20" in on_the_line("pause", "--for", "1h").output
            assert on_the_line("show", "a").exit_code == 0
    finally:
        time.tzset()


@pytest.mark.parametrize("columns", ["0", "00"])
def test_a_terminal_of_no_columns_still_gets_its_table(capsys, monkeypatch, columns) -> None:
    """`COLUMNS=0 LINES=0`, as some pseudo-terminals have it, printed nothing, with exit code 0."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", "0")
    print_table("Jobs", ("name",), [("a-job",)])
    assert "a-job" in capsys.readouterr().out
    assert console().width > 0


# --- full disks


def test_what_is_remembered_may_fail_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` on a full disk ended with words about its output."""
    monkeypatch.setattr("cbi_queue.datasets.snapshots.SMALL_BYTES", 0)
    export, memory = tmp_path / "production_training_data.parquet", tmp_path / "in-the-way"
    export.write_bytes(b"no parquet")
    (memory / "full").mkdir(parents=True)
    remembered = Remembered(memory)
    assert remembered.sha256_of(export) is not None
    remembered.save()


def test_an_export_at_which_the_library_ends_is_a_fault_in_words(site, on_the_line, monkeypatch) -> None:
    """`data check` ended in a traceback: it wrote the number of rows, which nobody knew."""
    (site.settings.exports_dir / "production_training_data_1m.parquet").write_bytes(b"PAR1")
    body = {"path": "x", "faults": ["the data library ended on it"]}
    monkeypatch.setattr("cbi_queue.datasets.inspection._ask", lambda _interpreter, todo: [body for _ in todo])
    done = on_the_line("data", "check")
    assert (done.exit_code, done.output.splitlines()) == (
        2,
        ["production_training_data_1m.parquet: not read to its end", "  wrong: the data library ended on it"],
    )


@pytest.mark.process
def test_a_file_that_cannot_be_written_is_not_called_the_output(site) -> None:
    code = (
        "import os\nfrom cbi_queue.standard_streams import guarded_output\n"
        "with guarded_output():\n    print('fine')\n    os.write(os.open('big', os.O_WRONLY | os.O_CREAT), b'x' * 4096)\n"
        "    raise OSError(28, 'No space left on device')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=site.settings.state_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "fine\n")
    assert done.stderr == "Error: cannot write a file: No space left on device\n"


@pytest.mark.process
def test_a_plan_that_does_not_fit_on_the_disk_leaves_the_queue_as_it_was(site, tmp_path: Path) -> None:
    """Neither half a plan nor a damaged ledger; the words name the disk."""
    site.enqueue({"name": "a"})
    plan = tmp_path / "plan.yaml"
    seeds = ", ".join(map(str, range(1000)))
    job = "name: 'n-{seed}', family: statistical, model: naive, horizon: 1w"
    (site.settings.processed_dir / "1w_features.parquet").touch()
    plan.write_text(f"day: 0\njobs:\n  - {{{job}, matrix: {{params.seed: [{seeds}]}}}}\n")
    size = site.settings.ledger_path.stat().st_size + 65_536
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cbi_queue.cli", "enqueue", str(plan)],
        env=site.environ, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    assert done.returncode == 1, done
    assert done.stderr.startswith("Error: cannot ")
    assert "Traceback" not in done.stderr
    assert "free up space" in done.stderr
    with site.ledger() as ledger:
        assert [row["name"] for row in ledger.conn.execute("SELECT name FROM jobs")] == ["a"]
        assert ledger.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
