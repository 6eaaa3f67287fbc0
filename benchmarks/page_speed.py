"""How long the status page and the API take at 50 requests a second while a job trains: on the ledger of a week, and on
one of 100,000 jobs with 5 million rows of telemetry.

A client on one connection asks on a clock, so a slow answer does not slow the asking; the p99 of the answers is the value.
The job in the slot is written down, not trained: its reports come every half second, as a daemon commits them. A name
that nobody has is asked for on a queue of 2,000 jobs.
"""

from __future__ import annotations

import http.client
import sqlite3
import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

from benchmarks.idle_page import answers, free_port
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger, claims
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry.governor_log import record_standing
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.installation import Installation

PAST_JOBS, TELEMETRY_ROWS = 100_000, 5_000_000
NAMED_JOBS = 2_000
RATE, ASKED_S = 50, 20.0
"""Requests a second, and for how long."""
REPORT_EVERY_S = 0.5
API, PAGE, UNKNOWN = "/api/v1/status", "/status?format=html", "/api/v1/jobs/no-such-net"
MOST_S = {API: 0.010, PAGE: 0.050, UNKNOWN: 0.050}
STANDING = {
    "mode": "on", "profile": "benchmark", "readings": {}, "cost_share": 0.01, "rung": "full speed", "duty": 1.0,
    "micro_batch": 32, "factor": None, "since_epoch": None, "confidence": None, "cause": None, "evidence": [],
}  # fmt: skip
_COUNT = "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?)"


def lines(rounds: int) -> list[Line]:
    """Ask *rounds* servers of each ledger, one after the other."""
    with installation() as week, installation() as years:
        _fill(week, 0, 0)
        _fill(years, PAST_JOBS, TELEMETRY_ROWS)
        found = [line for path in (API, PAGE) for line in _pair(path, week, years, rounds)]
    with installation() as many:
        many.enqueue(*({**week_of_jobs()[0], "name": f"net-{number}"} for number in range(NAMED_JOBS)))
        asked = [_p99(many, UNKNOWN) for _ in range(rounds)]
    return [*found, Line(f"p99 of `GET {UNKNOWN}`, {NAMED_JOBS} jobs", "s", tuple(asked), Target(MOST_S[UNKNOWN]))]


def _pair(path: str, week: Installation, years: Installation, rounds: int) -> Iterator[Line]:
    small, large = [], []
    for _ in range(rounds):
        small.append(_p99(week, path))
        large.append(_p99(years, path))
    yield Line(f"p99 of `GET {path}` at {RATE} a second, a week", "s", tuple(small), Target(MOST_S[path]))
    grown = tuple(slow / fast for slow, fast in zip(large, small, strict=True))
    note = f"{1000 * statistics.median(large):.1f} ms with {PAST_JOBS} past jobs and {TELEMETRY_ROWS} rows of telemetry"
    yield Line(f"the same on a long history of `GET {path}`", "x", grown, Target(2.0), note)


def _fill(home: Installation, jobs: int, rows: int) -> None:
    """Enqueue a week, write down a history before it, and put a job into the slot."""
    home.enqueue(*week_of_jobs())
    with Ledger.open(home.settings.ledger_path) as ledger:
        if jobs:
            _add_history(ledger.conn, jobs)
        job = claims.peek(ledger)
        assert job is not None
        claims.claim(ledger, job.id)
    telemetry = Telemetry(home.settings.telemetry_path)
    record_standing(telemetry, {**STANDING, "job_id": job.id})
    telemetry.close()
    if rows:
        _add_telemetry(home, rows)


def _add_history(conn: sqlite3.Connection, jobs: int) -> None:
    """Copy the first job *jobs* times under other names, each ended with one attempt and four events."""
    columns = [row["name"] for row in conn.execute("PRAGMA table_info(jobs)") if row["name"] != "id"]
    other = {
        "name": "'past-' || n", "state": "'cancelled'", "changed_at": "1.7e9 + n", "ended_at": "1.7e9 + n",
        "attempts": "1",
    }  # fmt: skip
    values = ", ".join(other.get(column, column) for column in columns)
    conn.execute("BEGIN")
    conn.execute(
        f"{_COUNT} INSERT INTO jobs ({', '.join(columns)}) SELECT {values} FROM jobs, count "
        "WHERE id = (SELECT MIN(id) FROM jobs)",
        (jobs,),
    )
    conn.execute(
        "INSERT INTO attempts (job_id, number, outcome, started_at, ended_at) "
        "SELECT id, 1, 'cancelled', ended_at - 60, ended_at FROM jobs WHERE ended_at IS NOT NULL"
    )
    conn.execute("UPDATE jobs SET state = 'failed' WHERE ended_at IS NOT NULL AND id % 10 = 0")
    for event in ("enqueue", "claim", "pause", "cancel"):
        conn.execute(
            "INSERT INTO events (at, job_id, event, reason) SELECT ended_at, id, ?, 'user' FROM jobs "
            "WHERE ended_at IS NOT NULL",
            (event,),
        )
    conn.execute("COMMIT")


def _add_telemetry(home: Installation, rows: int) -> None:
    body = '{"thermal": {"level": "nominal"}, "memory": {"available_mib": 9000}}'
    with closing(sqlite3.connect(home.settings.telemetry_path)) as conn:
        conn.execute(f"{_COUNT} INSERT INTO samples SELECT 1.6e9 + 2.0 * n, n / 1000, ? FROM count", (rows // 2, body))
        conn.execute(
            f"{_COUNT} INSERT INTO epochs "
            "SELECT 1000 + n / 50, 1, n % 50, 50, 'epoch', 1.6e9 + n, 1.0, 1000, 0.5, 0.5, 32, 0 FROM count",
            (rows - rows // 2,),
        )
        conn.commit()


def _p99(home: Installation, path: str) -> float:
    """Ask for *path* at the rate while reports come in; return the 99th percentile in seconds."""
    port = free_port()
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)):
        until(lambda: answers(port), "the server to answer")
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        telemetry = Telemetry(home.settings.telemetry_path)
        try:
            _ask(client, path)
            return statistics.quantiles(_paced(client, path, telemetry), n=100)[98]
        finally:
            telemetry.close()
            client.close()


def _paced(client: http.client.HTTPConnection, path: str, telemetry: Telemetry) -> list[float]:
    took, begun = [], time.perf_counter()
    every = max(1, round(RATE * REPORT_EVERY_S))
    for number in range(max(2, round(RATE * ASKED_S))):
        time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        if number % every == 0:
            report = EpochReport(1 + number // every, 10**6, 0.5, samples=1000, train_loss=0.5, validation_loss=0.5)
            telemetry.record(1, 1, "epoch", report)
            telemetry.commit()
        asked = time.perf_counter()
        _ask(client, path)
        took.append(time.perf_counter() - asked)
    return took


def _ask(client: http.client.HTTPConnection, path: str) -> None:
    client.request("GET", path)
    client.getresponse().read()
