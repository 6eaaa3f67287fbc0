"""Thousands of jobs: what is listed, what is left out and said so, and that the work for each job stays small."""

from __future__ import annotations

import io
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.api_installation import ApiInstallation
from support.call_counting import calls_of
from support.ledger_rows import plan, spec

from cbi_queue.cli import cli, output
from cbi_queue.cli.verbs import list as list_verb
from cbi_queue.errors import Refused
from cbi_queue.ledger.enqueue import VALUES_A_QUERY, enqueue
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import Ledger

JOBS = 2 * VALUES_A_QUERY + 100


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiInstallation:
    """A queue of many jobs, which the command line sees."""
    made = ApiInstallation(tmp_path)
    monkeypatch.setattr(os, "environ", made.environ)
    made.enqueue(*({"name": f"net-{number}", "params": {"seed": number}} for number in range(JOBS)))
    return made


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_verb, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))


def listed(*arguments: str) -> list[str]:
    done = CliRunner().invoke(cli, ["list", *arguments])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_a_terminal_gets_the_first_hundred_and_a_line_on_the_rest(
    queue: ApiInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    lines = listed()
    assert [line.split()[1] for line in lines[1:101]] == [f"net-{number}" for number in range(100)]
    assert lines[101:] == [
        "",
        f"{JOBS - 100} more are not shown: `cbi-queue list --state queued` lists all of a state, `--all` every job",
    ]
    assert len(listed("--all")) == len(listed("--state", "queued")) == JOBS + 1


def test_a_pipe_gets_every_job(queue: ApiInstallation) -> None:
    assert [line.split()[1] for line in listed()[1:]] == [f"net-{number}" for number in range(JOBS)]


def test_json_lists_every_job_one_after_the_other(queue: ApiInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    seen = json.loads("\n".join(listed("--json")))
    assert [job["name"] for job in seen] == [f"net-{number}" for number in range(JOBS)]
    assert (seen[0]["state"], seen[0]["damage"]) == ("queued", None)
    assert json.loads("\n".join(listed("--json", "--state", "failed"))) == []
    assert json.loads("\n".join(listed("--json", "--family", "statistical", "--all"))) == []


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_long_table_is_laid_out_as_a_short_one(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = (">job", "name", "?model", "state", "?>priority", "why")
    words = ("its turn", "a job that it needs has not succeeded yet, and several more words that do not fit", "")
    rows = [(str(n), f"net-{n}", "lstm", "queued", "0", words[n % 3]) for n in range(30)]
    short = io.StringIO()
    Console(file=short, width=width).print(output.fitted_table("Jobs", columns, rows, width))
    monkeypatch.setattr(output, "LONG_TABLE", 10)
    monkeypatch.setenv("COLUMNS", str(width))

    output.print_table("Jobs", columns, rows)

    told = capsys.readouterr().out
    assert [line.rstrip() for line in told.splitlines()] == [line.rstrip() for line in short.getvalue().splitlines()]


def test_a_row_of_a_long_table_takes_little_work(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(str(n), f"net-{n}", "queued") for n in range(2 * output.LONG_TABLE)]
    assert calls_of(lambda: output.print_table("", (">job", "name", "why"), rows)) < 300 * len(rows)


def test_the_page_shows_the_first_jobs_and_how_many_more(queue: ApiInstallation) -> None:
    from starlette.testclient import TestClient

    from cbi_queue.api.app import create_app

    with TestClient(create_app(queue.settings), base_url=queue.url) as client:
        page = client.get("/status?format=html").text
        body = client.get("/status?format=json").json()
    assert ("net-199" in page, "net-200" in page) == (True, False)
    assert f"{JOBS - 200} more are not shown" in page
    assert len(body["queue"]) == JOBS


def test_a_job_of_the_snapshot_takes_little_work(queue: ApiInstallation) -> None:
    assert calls_of(lambda: take_status(queue.settings).as_json()) < 120 * JOBS, "of these, 24 for the finish time"


def test_enqueuing_many_jobs_again_asks_the_ledger_a_few_questions(ledger: Ledger) -> None:
    jobs = [spec(f"net-{number}") for number in range(JOBS)]
    enqueue(ledger, [plan(*jobs)])
    asked: list[str] = []
    ledger.conn.set_trace_callback(asked.append)

    again = enqueue(ledger, [plan(*jobs)])

    assert len(again.already_there) == JOBS
    assert len(asked) < 10


def test_a_clash_is_found_wherever_it_is_among_many(ledger: Ledger) -> None:
    enqueue(ledger, [plan(spec(f"net-{JOBS - 1}", priority=7))])
    with pytest.raises(Refused, match=f"net-{JOBS - 1}: job 1 is queued with other content"):
        enqueue(ledger, [plan(*(spec(f"net-{number}") for number in range(JOBS)))])


def test_many_clashes_are_counted_not_listed(ledger: Ledger) -> None:
    jobs = [spec(f"net-{number}") for number in range(50)]
    enqueue(ledger, [plan(*jobs)])
    with pytest.raises(Refused) as refused:
        enqueue(ledger, [plan(*(spec(f"net-{number}", priority=7) for number in range(50)))])
    assert refused.value.message.endswith("and 42 more")
    assert len(refused.value.message.splitlines()) == 10
