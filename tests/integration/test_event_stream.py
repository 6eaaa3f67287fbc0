"""The stream of changes of a real server: what is told, to whom, and what it costs when many or slow ones listen."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from support.raw_client import request, send
from support.waiting import until

from cbi_queue.api.changes import KINDS, MOST_STREAMS
from cbi_queue.ledger import verbs
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api_installation import ApiInstallation

pytestmark = pytest.mark.process
STREAM = "GET /api/v1/events/stream HTTP/1.1"


class Stream:
    """One open stream, and what has come of it."""

    def __init__(self, site: ApiInstallation, *headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", site.port), timeout=10)
        self.socket.sendall(request(site.port, STREAM, *headers))
        self.text = ""

    def until(self, pattern: str) -> str:
        """Read until *pattern* has come."""
        while not re.search(pattern, self.text):
            piece = self.socket.recv(65_536).decode()
            assert piece, f"the stream ended after {self.text!r}"
            self.text += piece
        return self.text

    def messages(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Id, kind and data of every message that has come whole."""
        found = re.findall(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", self.text)
        return [(int(number), kind, json.loads(data)) for number, kind, data in found]

    def told(self) -> set[str]:
        """What all messages were about."""
        return {each for _, _, data in self.messages() for each in data["what"]}

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


@pytest.fixture
def listen(site: ApiInstallation) -> Iterator[Any]:
    """Open streams of a site; each is closed at the end."""
    opened: list[Stream] = []

    def open_stream(*headers: str) -> Stream:
        opened.append(Stream(site, *headers))
        return opened[-1]

    yield open_stream
    for one in opened:
        one.close()


def test_each_change_is_told_to_every_page_with_what_it_is_about(site, listen):
    site.enqueue({"name": "a"}, {"name": "b"})
    with site.server() as process:
        pages = [listen(), listen()]
        for page in pages:
            page.until("event: hello")
        assert "text/event-stream" in pages[0].text
        assert "cache-control: no-store" in pages[0].text.lower()
        changes = {
            "holds": lambda ledger: place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "warm"),
            "queue": lambda ledger: verbs.set_priority(ledger, ["b"], 3),
        }
        for what, change in changes.items():
            for page in pages:
                page.text = ""
            with site.ledger() as ledger:
                change(ledger)
                newest = ledger.conn.execute("SELECT MAX(id) FROM events").fetchone()[0]
            for page in pages:
                page.until(f'id: {newest}\nevent: change\ndata: {{"event": {newest}, "what": \\["{what}"\\]}}\n\n')
        with site.ledger() as ledger:
            lift_hold(ledger, HoldReason.USER, "cooler")
        site.start_next()
        until(lambda: pages[0].until("event: change") and "slot" in _more(pages[0]).told(), "the slot is told")
        site.report("b", [0.9, 0.7])
        until(lambda: "progress" in _more(pages[0]).told(), "the progress is told")
        site.stand(2)
        until(lambda: "governor" in _more(pages[0]).told(), "the governor is told")
        site.fail("b", "broken")
        until(lambda: "board" in _more(pages[0]).told(), "the board is told")

        # another ledger in its place, as after `cbi-queue restore`
        pages[1].text = ""
        aside = site.settings.ledger_path.with_name("aside.db")
        aside.write_bytes(site.settings.ledger_path.read_bytes())
        for name in ("ledger.db-wal", "ledger.db-shm"):
            site.settings.ledger_path.with_name(name).unlink(missing_ok=True)
        aside.replace(site.settings.ledger_path)
        until(lambda: set(KINDS) <= _more(pages[1]).told(), "everything may be another")

        looking = psutil.Process(process.pid).num_threads()
        for page in pages:
            page.close()
        until(lambda: psutil.Process(process.pid).num_threads() < looking, "nobody looks any more")


def _more(page: Stream) -> Stream:
    page.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        page.text += page.socket.recv(65_536).decode()
    return page


def test_a_page_that_comes_back_is_told_only_when_it_missed_something(site, listen):
    site.enqueue({"name": "a"}, {"name": "b"})
    with site.ledger() as ledger:
        newest = ledger.conn.execute("SELECT MAX(id) FROM events").fetchone()[0]
    with site.server():
        for known, kind in (
            (str(newest), "hello"),
            (str(newest - 1), "change"),
            ("99999", "change"),
            ("x1", "change"),
        ):
            page = listen(f"Last-Event-ID: {known}")
            page.until("event: ")
            page.until("}\n\n")
            [(number, seen, _)] = page.messages()
            assert (number, seen) == (newest, kind), known


def test_past_the_limit_a_page_is_told_to_poll_and_everyone_else_is_served(site):
    with site.server(), contextlib.ExitStack() as stack:
        streams = [stack.enter_context(contextlib.closing(Stream(site))) for _ in range(MOST_STREAMS)]
        for stream in streams:
            stream.until("event: hello")
        for _ in range(150):  # ten thousand would only take longer: each is answered and closed
            refused = send(site.port, request(site.port, STREAM))
            assert (refused.status, refused.is_closed) == (503, True)
        assert "retry-after: 30" in refused.text.lower()
        silent = [socket.create_connection(("127.0.0.1", site.port), timeout=5) for _ in range(100)]
        answered = send(site.port, request(site.port, "GET /healthz HTTP/1.1", "Connection: close"))
        assert (answered.status, answered.after_s < 5.0) == (200, True)
        for client in silent:
            client.close()

        with site.ledger() as ledger:
            place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "warm")
        for stream in streams:
            stream.until("event: change")
        streams[0].close()
        until(lambda: "200 OK" in _first(site), "its place is free again")


def _first(site: ApiInstallation) -> str:
    with contextlib.closing(Stream(site)) as stream:
        return stream.until("\r\n\r\n")


def test_a_slow_reader_is_dropped_and_a_quick_one_stays(site):
    """Comments of a kilobyte, a thousand times a second, stand for a week of changes."""
    hasty = (
        "import cbi_queue.api.connections as c, cbi_queue.api.changes as g\n"
        "c.STREAM_CHECK_S = 0.5\n"
        "async def lines(self, listener):\n"
        "    import asyncio\n"
        "    await asyncio.sleep(0.001)\n"
        "    return None if self.is_closed else ':' + 'x' * 1000 + '\\n\\n'\n"
        "g.Changes.next_lines = lines\n"
    )
    with site.server(hasty) as process, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", site.port))
        slow.sendall(request(site.port, STREAM))
        quick = Stream(site)
        place = slow.getsockname()[1]

        def is_gone() -> bool:
            quick.text = ""
            quick.until("x{500}")
            there = psutil.Process(process.pid).net_connections("tcp")
            return not [each for each in there if each.raddr and each.raddr.port == place]

        until(is_gone, "the slow one is dropped", 20.0)
        quick.until("x{900}")
        quick.close()


def test_streams_end_when_the_server_stops(site):
    with site.server() as process:
        stream = Stream(site)
        stream.until("event: hello")
        began = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert time.monotonic() - began < 2.5, "it does not wait for them until its patience ends"
        stream.socket.settimeout(5)
        assert stream.socket.recv(100) in {b"", b"0\r\n\r\n"}
        stream.close()


def test_a_head_request_does_not_hang_and_unknown_parameters_are_refused(site):
    with site.server():
        assert (
            send(site.port, request(site.port, "HEAD /api/v1/events/stream HTTP/1.1", "Connection: close")).status
            == 405
        )
        asked = request(site.port, "GET /api/v1/events/stream?x=1 HTTP/1.1", "Connection: close")
        assert send(site.port, asked).status == 422
