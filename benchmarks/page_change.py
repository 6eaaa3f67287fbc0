"""How long a change of the queue takes until an open page shows it: a client that does what the page's script does, and a
real Chromium where there is one. Holds are placed and lifted at odd moments while a job reports twice a second.
"""

from __future__ import annotations

import http.client
import random
import shutil
import statistics
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.idle_page import answers, free_port
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger, claims
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.installation import Installation

CHANGES = 60
REPORT_EVERY_S = 0.5
MOST_S = 0.3
PATIENT_S = 30.0
STREAM, PAGE = "/api/v1/events/stream", "/status?format=html"
_WATCH = """() => {
    window.shownAt = {};
    const look = () => {
        for (const found of document.body.textContent.matchAll(/mark-\\d+/g)) window.shownAt[found[0]] ??= Date.now() / 1000;
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def lines(rounds: int) -> list[Line]:
    """Serve a week *rounds* times, and change it."""
    with installation() as home:
        home.enqueue(*week_of_jobs())
        with Ledger.open(home.settings.ledger_path) as ledger:
            job = claims.peek(ledger)
            assert job is not None
            claims.claim(ledger, job.id)
        fetched = [_p95(home, _by_script) for _ in range(rounds)]
        found = [Line("p95 from a change until the page is fetched anew", "s", tuple(fetched), Target(MOST_S))]
        if _chromium() is not None:
            shown = [_p95(home, _by_browser) for _ in range(rounds)]
            found.append(Line("p95 from a change until Chromium shows it", "s", tuple(shown), Target(MOST_S)))
    return found


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _p95(home: Installation, measure: Callable[[Installation, int], list[float]]) -> float:
    port = free_port()
    stop = threading.Event()
    reporting = threading.Thread(target=_report, args=(home, stop))
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)):
        until(lambda: answers(port), "the server to answer")
        reporting.start()
        try:
            return statistics.quantiles(measure(home, port), n=20, method="inclusive")[18]
        finally:
            stop.set()
            reporting.join()


def _report(home: Installation, stop: threading.Event) -> None:
    telemetry = Telemetry(home.settings.telemetry_path)
    number = 0
    while not stop.wait(REPORT_EVERY_S):
        number += 1
        report = EpochReport(number, 10**6, 0.5, samples=1000, train_loss=0.5, validation_loss=0.5)
        telemetry.record(1, 1, "epoch", report)
        telemetry.commit()
    telemetry.close()


def _changes(home: Installation) -> Iterator[tuple[str, float]]:
    """Place or lift a hold for each; yield the words that the page then shows, and the instant before the change."""
    moments = random.Random(7)
    with Ledger.open(home.settings.ledger_path) as ledger:
        for number in range(CHANGES):
            time.sleep(moments.uniform(0.4, 0.8))
            words, at = f"mark-{number}", time.time()
            place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, words)
            yield words, at
        lift_hold(ledger, HoldReason.USER, "the end")


def _by_script(home: Installation, port: int) -> list[float]:
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENT_S)
    page = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENT_S)
    stream.request("GET", STREAM)
    told = stream.getresponse()
    took = []
    for words, at in _changes(home):
        while True:
            line = told.readline()
            if line.startswith(b"data: ") and b"holds" in line:
                page.request("GET", PAGE)
                if words.encode() in page.getresponse().read():
                    break
        took.append(time.time() - at)
    stream.close()
    page.close()
    return took


def _by_browser(home: Installation, port: int) -> list[float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{port}/status")
        page.evaluate(_WATCH)
        page.wait_for_timeout(1000)
        took = []
        for words, at in _changes(home):
            patient_until = time.monotonic() + PATIENT_S
            while (shown_at := page.evaluate(f"window.shownAt['{words}']")) is None:
                if time.monotonic() > patient_until:
                    raise TimeoutError(f"the page does not show {words!r} within {PATIENT_S:.0f} s")
                page.wait_for_timeout(50)
            took.append(shown_at - at)
        chromium.close()
    return took
