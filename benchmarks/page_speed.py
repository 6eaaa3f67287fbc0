"""How long the status page and the API take at 50 requests a second while a model trains beside them: on the ledger of
a week, and on one of 100,000 jobs with 5 million rows of telemetry.

A client on one connection asks on a clock, so a slow answer does not slow the asking; the p99 of the answers is the value.
What trains is LightGBM on a real daily series, one thread, in a process of its own. The reports come every half second, as a
daemon commits them. A name that nobody has is asked for on a queue of 2,000 jobs. What the asking costs the training is
measured by the neighbour `page_training`.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil

from benchmarks.idle_page import answers, free_port
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger, claims
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry.governor_log import record_standing
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from benchmarks.installation import Installation

PAST_JOBS, TELEMETRY_ROWS = 100_000, 5_000_000
NAMED_JOBS = 2_000
RATE, ASKED_S = 50, 4.0
"""Requests a second, and for how long at a stretch."""
REPORT_EVERY_S = 0.5
API, PAGE, UNKNOWN = "/api/v1/status", "/status?format=html", "/api/v1/jobs/no-such-net"
MOST_S = {API: 0.010, PAGE: 0.050, UNKNOWN: 0.050}
MOST_GROWTH, MOST_FIRST_PAINT_MB = 2.0, 0.3
STANDING = {
    "mode": "on", "profile": "benchmark", "readings": {}, "cost_share": 0.01, "rung": "full speed", "duty": 1.0,
    "micro_batch": 32, "factor": None, "since_epoch": None, "confidence": None, "cause": None, "evidence": [],
}  # fmt: skip
TRAINER = """
import sys, time, lightgbm, numpy
from arch.data import sp500
price = numpy.log(sp500.load()["Adj Close"].to_numpy())
moves = numpy.lib.stride_tricks.sliding_window_view(numpy.diff(price), 21)
x, y = moves[:, :-1], moves[:, -1]
while True:
    begun, used = time.monotonic(), time.process_time()
    lightgbm.train({"num_threads": 1, "verbosity": -1}, lightgbm.Dataset(x, y), 5)
    print(begun, time.monotonic(), time.process_time() - used, flush=True)
"""
"""Fits for ever; prints when each began and ended, by the clock that all processes share, and its processor time."""
_LINKED = re.compile(r'(?:href|src)="(/static/[^"]+)"')
_COUNT = "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?)"


def lines(rounds: int) -> list[Line]:
    """Ask a server of each ledger, turn by turn, *rounds* times."""
    with contextlib.ExitStack() as stack:
        week, years, many = (stack.enter_context(installation()) for _ in range(3))
        fill(week, 0, 0)
        fill(years, PAST_JOBS, TELEMETRY_ROWS)
        many.enqueue(*({**week_of_jobs()[0], "name": f"net-{number}"} for number in range(NAMED_JOBS)))
        servers = {home: stack.enter_context(served(home)) for home in (week, years, many)}
        stack.enter_context(training(week))
        asked: dict[tuple[str, str], list[_Asked]] = {}
        first = servers[years].first_paint_mb()
        for _ in range(rounds):
            for path in (API, PAGE):
                for name, home in (("week", week), ("years", years)):
                    asked.setdefault((path, name), []).append(servers[home].stretch(path))
            asked.setdefault((UNKNOWN, "many"), []).append(servers[many].stretch(UNKNOWN))
    return [
        *(line for path in (API, PAGE) for line in _pair(path, asked[path, "week"], asked[path, "years"])),
        _line(f"p99 of `GET {UNKNOWN}`, {NAMED_JOBS} jobs", UNKNOWN, asked[UNKNOWN, "many"]),
        Line("first paint: the page and all that it links", "MB", (first,), Target(MOST_FIRST_PAINT_MB)),
    ]


def _line(what: str, path: str, asked: list[_Asked]) -> Line:
    cpu = statistics.median(each.cpu_s for each in asked)
    note = f"{1000 * cpu:.2f} ms of the server's processor time a request"
    return Line(what, "s", tuple(each.p99_s for each in asked), Target(MOST_S[path]), note)


def _pair(path: str, week: list[_Asked], years: list[_Asked]) -> Iterator[Line]:
    yield _line(f"p99 of `GET {path}` at {RATE} a second, a week", path, week)
    yield _line(f"the same with {PAST_JOBS} past jobs and {TELEMETRY_ROWS} rows of telemetry", path, years)
    grown = tuple(slow.cpu_s / max(fast.cpu_s, 1e-6) for slow, fast in zip(years, week, strict=True))
    wall = tuple(slow.p99_s / fast.p99_s for slow, fast in zip(years, week, strict=True))
    note = f"{statistics.median(wall):.2f} x of the p99"
    yield Line("the long history against the week, processor time", "x", grown, Target(MOST_GROWTH), note)


def fill(home: Installation, jobs: int, rows: int) -> None:
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a stretch of requests has shown."""

    p99_s: float
    cpu_s: float
    """Processor time of the server, a request."""


@dataclass(slots=True)
class Server:
    """A server, and one connection to it."""

    home: Installation
    pid: int
    port: int
    client: http.client.HTTPConnection
    telemetry: Telemetry
    reported: int = 0

    def ask(self, path: str) -> bytes:
        """Return the answer to a GET of *path*."""
        self.client.request("GET", path)
        return self.client.getresponse().read()

    def stretch(self, path: str) -> _Asked:
        """Ask for *path* at the rate while reports come in."""
        took: list[float] = []
        self.client.close()  # the server has: nobody asked for a while; the next request opens it again
        self.ask(path)
        process, every = psutil.Process(self.pid), max(1, round(RATE * REPORT_EVERY_S))
        before, begun = process.cpu_times(), time.perf_counter()
        for number in range(max(2, round(RATE * ASKED_S))):
            time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
            if number % every == 0:
                self.report()
            asked = time.perf_counter()
            self.ask(path)
            took.append(time.perf_counter() - asked)
            if asked - begun > ASKED_S and len(took) > 1:
                break  # slower than asked for: the p99 is that of fewer, and the measurement ends
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return _Asked(statistics.quantiles(took, n=100)[98], used / len(took))

    def first_paint_mb(self) -> float:
        """Return the bytes of the page and of everything that it links."""
        page = self.ask(PAGE)
        linked = set(_LINKED.findall(page.decode()))
        return (len(page) + sum(len(urlopen(f"http://127.0.0.1:{self.port}{path}").read()) for path in linked)) / 1e6

    def report(self) -> None:
        """Commit a report of the trainer, as a daemon does."""
        self.reported += 1
        report = EpochReport(self.reported, 10**6, 0.5, samples=1000, train_loss=0.5, validation_loss=0.5)
        self.telemetry.record(1, 1, "epoch", report)
        self.telemetry.commit()


@contextlib.contextmanager
def served(home: Installation) -> Iterator[Server]:
    """Serve the page of *home* for the body."""
    port = free_port()
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)) as child:
        until(lambda: answers(port), "the server to answer")
        telemetry = Telemetry(home.settings.telemetry_path)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            yield Server(home, child.pid, port, client, telemetry)
        finally:
            client.close()
            telemetry.close()


@contextlib.contextmanager
def training(home: Installation) -> Iterator[tuple[int, IO[str]]]:
    """Train for the body; yield the process's number, and the file that it writes its fits to."""
    path = home.root / "fits"
    with path.open("w") as written, path.open() as fits:
        child = subprocess.Popen([sys.executable, "-c", TRAINER], stdout=written, env=home.environ)
        try:
            until(lambda: path.stat().st_size, "the first fit", within_s=60.0)
            yield child.pid, fits
        finally:
            child.kill()
            child.wait()
