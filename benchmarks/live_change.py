"""How long a change takes to an open page: from the commit in the ledger to the new page in a client's hands.

The client is as a tab of a browser is: it listens to the stream of changes and, on one, asks for the page. The changes come
from another process's connection, as the command line makes them, while reports of a job in the slot are written as a
daemon commits them, and other tabs listen as well.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.idle_page import answers, free_port
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target, in_ms
from benchmarks.page_speed import STANDING
from cbi_queue.ledger import Ledger, claims, queries
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.telemetry.governor_log import record_standing
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.installation import Installation

CHANGES = 40
"""Changes of a round."""
OTHER_TABS = 4
REPORT_EVERY_S = 0.5
PAUSE_S = 0.23
"""Between two changes; no multiple of the watch's rhythm."""
STREAM = "/api/v1/events/stream"


def lines(rounds: int) -> list[Line]:
    """Make the changes of *rounds* rounds, one server each; a round's value is the p95 of its changes."""
    found, first = [], []
    with installation() as home:
        home.enqueue(*week_of_jobs())
        with Ledger.open(home.settings.ledger_path) as ledger:
            job = claims.peek(ledger)
            assert job is not None
            claims.claim(ledger, job.id)
        for _ in range(rounds):
            told, shown = _round(home, job.id)
            first.append(_p95(told))
            found.append(_p95(shown))
    note = f"{in_ms(tuple(first))} until the event, of p95; {CHANGES} changes a round, {OTHER_TABS} other tabs"
    return [Line("a change in the ledger until the open page has it, p95", "s", tuple(found), Target(0.3), note)]


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def _round(home: Installation, job_id: int) -> tuple[list[float], list[float]]:
    port, told, shown = free_port(), [], []
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)), contextlib.ExitStack() as stack:
        until(lambda: answers(port), "the server to answer")
        stack.enter_context(_reports(home, job_id))
        for _ in range(OTHER_TABS):
            stack.enter_context(contextlib.closing(_listen(port)))
        mine = stack.enter_context(contextlib.closing(_listen(port)))
        page = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        ledger = stack.enter_context(Ledger.open(home.settings.ledger_path))
        for number in range(CHANGES):
            time.sleep(PAUSE_S)
            place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, f"benchmark {number}.")
            began, newest = time.monotonic(), queries.last_event_id(ledger)
            _await(mine, newest)
            told.append(time.monotonic() - began)
            page.request("GET", "/status", headers={"Accept": "text/html"})
            if f"benchmark {number}." not in page.getresponse().read().decode():
                msg = f"the page does not show change {number}"
                raise RuntimeError(msg)
            shown.append(time.monotonic() - began)
    return told, shown


def _listen(port: int) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", STREAM)
    answer = client.getresponse()
    if answer.status != http.HTTPStatus.OK:
        msg = f"GET {STREAM} answers {answer.status}"
        raise RuntimeError(msg)
    return answer


def _await(stream: http.client.HTTPResponse, event: int) -> None:
    """Read on until the stream knows *event*."""
    while True:
        line = stream.readline()
        if not line:
            msg = "the stream has ended"
            raise RuntimeError(msg)
        if line.startswith(b"data: ") and json.loads(line[6:])["event"] >= event:
            return


@contextlib.contextmanager
def _reports(home: Installation, job_id: int) -> Iterator[None]:
    """Write down what a daemon does, twice a second."""
    over = threading.Event()

    def write() -> None:
        telemetry = Telemetry(home.settings.telemetry_path)
        while not over.wait(REPORT_EVERY_S):
            record_standing(telemetry, {**STANDING, "job_id": job_id})
            telemetry.commit()
        telemetry.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
