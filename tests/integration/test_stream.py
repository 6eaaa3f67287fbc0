"""The stream of changes: what it sends, to whom, and how it ends; over real sockets to a real process."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import threading
from typing import TYPE_CHECKING

import psutil
import pytest
from support.raw_client import request, send
from support.waiting import until

from cbi_queue.api import change_watch
from cbi_queue.api.change_watch import MOST_LISTENERS, MOST_TOLD, PARTS, ChangeWatch
from cbi_queue.api.connections import STREAM_PATH
from cbi_queue.ledger import verbs
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.api_installation import ApiInstallation


pytestmark = pytest.mark.process

ENDS_LATE = "import cbi_queue.api.__main__ as m; m.STOPS_WITHIN_S = 3600"
"""For a server that would not end before its open streams do."""
ASK = f"GET {STREAM_PATH} HTTP/1.1"


class Stream:
    """A client of the stream, as a browser is one."""

    def __init__(self, port: int, **headers: str) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._client.request("GET", STREAM_PATH, headers=headers)
        self.answer = self._client.getresponse()

    def next(self) -> tuple[str, int, dict[str, object]]:
        """Return kind, number and body of the next event, and read on over comments."""
        fields: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            if line == "\n" and "data" in fields:
                return fields["event"], int(fields["id"]), json.loads(fields["data"])
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value

    def changed(self) -> list[str]:
        """Return the parts of the next event."""
        return self.next()[2]["changed"]

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self._client.close()


@pytest.fixture
def listen(site: ApiInstallation) -> Iterator[Callable[..., Stream]]:
    """Open streams; each is closed at the end."""
    opened: list[Stream] = []

    def open_stream(**headers: str) -> Stream:
        opened.append(Stream(site.port, **headers))
        return opened[-1]

    yield open_stream
    for stream in opened:
        stream.close()


def connections(pid: int) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(pid).net_connections("tcp"))


def test_a_stream_says_what_changed_resumes_where_it_was_and_ends_with_the_server(site, listen):
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()
    with site.server(f"{ENDS_LATE}; import cbi_queue.api.routes_stream as r; r.HEARTBEAT_S = 1.5"):
        stream = listen()
        kind, known, body = stream.next()
        assert (kind, known, body["changed"]) == ("hello", 3, [])
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        with site.ledger() as ledger:
            place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "too hot")
        assert stream.next() == ("change", 4, {"changed": ["slot", "holds"], "event": 4, "told": []})
        site.report("a", [0.5])
        assert stream.changed() == ["progress"]
        site.stand(1)
        assert stream.changed() == ["governor"]
        with site.ledger() as ledger:
            verbs.set_priority(ledger, ["b"], 7)
        assert stream.changed() == ["queue"]
        site.fail("a", "boom <b>")
        _, newest, body = stream.next()
        [told] = body["told"]
        assert body["changed"] == ["queue", "slot"]
        assert (told["event"], told["job"], told["words"]) == ("job_failed", "a", "a failed: boom <b>")
        with site.daemon():
            assert stream.changed() == ["slot"]
        assert stream.changed() == ["slot"], "a daemon that is gone has written nothing"
        until(lambda: stream.answer.readline() == b": still here\n", "a sign of life")

        back = listen(**{"Last-Event-ID": str(known)})
        kind, number, body = back.next()
        assert (kind, number, body["changed"], body["told"]) == ("change", newest, list(PARTS), [told])
        for same in (str(newest), "-1", "9" * 400, "x"):
            assert listen(**{"Last-Event-ID": same}).next()[0] == "hello"
        assert send(site.port, request(site.port, f"HEAD {STREAM_PATH} HTTP/1.1")).status == 200
    with contextlib.suppress(ConnectionError, http.client.IncompleteRead):
        assert stream.answer.read() is not None


def test_one_stream_too_many_is_refused_and_the_page_is_still_answered(site, listen):
    with site.server() as process:
        streams = [listen() for _ in range(MOST_LISTENERS)]
        assert {stream.next()[0] for stream in streams} == {"hello"}
        refused = send(site.port, request(site.port, ASK))
        page = send(site.port, request(site.port, "GET /status?format=html HTTP/1.1"))

        assert (refused.status, refused.is_closed, page.status) == (503, True, 200)
        assert "application/problem+json" in refused.text
        assert "retry-after: 30" in refused.text.lower()
        assert f"{MOST_LISTENERS} streams of events are open" in refused.text
        streams.pop().close()
        until(lambda: connections(process.pid) == MOST_LISTENERS - 1, "its place is free")
        assert listen().answer.status == 200


def test_a_client_that_does_not_read_is_dropped_and_one_that_reads_stays(site, listen):
    hasty = "import cbi_queue.api.connections as c; c.UNREAD_WITHIN_S = c.ANSWER_WITHIN_S = 1.0\n"
    chatty = "import cbi_queue.api.routes_stream as r; r.HEARTBEAT_S = 0.0002"
    with site.server(hasty + chatty) as process, socket.socket() as lazy:
        reader = listen()
        heard = [0]

        def read() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException, AttributeError, ValueError):
                while reader.answer.readline():
                    heard[0] += 1

        threading.Thread(target=read, daemon=True).start()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", site.port))
        lazy.sendall(request(site.port, ASK))
        until(lambda: connections(process.pid) == 2, "both are connected")
        until(lambda: connections(process.pid) == 1, "the one that does not read is gone")
        before = heard[0]
        until(lambda: heard[0] > before + 10, "the other one still hears")


# --- the watch itself


async def _listen(watch: ChangeWatch, site: ApiInstallation) -> None:
    listener = watch.join()
    assert listener is not None

    async def change() -> tuple[list[str], int, int]:
        await asyncio.wait_for(listener.woken.wait(), 60)
        taken = listener.take()
        return sorted(taken.parts), taken.event, len(taken.told)

    await asyncio.to_thread(watch.missed, None)  # the thread has seen what there is already
    site.enqueue(*({"name": f"job-{number}"} for number in range(20)))
    for number in range(20):
        site.start_next()
        site.fail(f"job-{number}", "boom")
    await asyncio.to_thread(until, lambda: listener.event == 60, "it has heard of all")
    parts, event, told = await change()
    assert (parts, event, told) == (["queue", "slot"], 60, MOST_TOLD), "what waits does not grow"

    copy = site.settings.ledger_path.with_name("copy.db")
    shutil.copy(site.settings.ledger_path, copy)
    copy.replace(site.settings.ledger_path)
    assert (await change())[0] == sorted(PARTS), "another file is in its place"
    site.enqueue({"name": "later"})
    assert (await change())[:2] == (["queue"], 61), "and that one is watched now"
    site.settings.telemetry_path.unlink(missing_ok=True)
    site.report("job-1", [0.5])
    assert (await change())[0] == ["progress"]
    watch.leave(listener)


def test_a_busy_listener_gets_one_change_and_a_replaced_ledger_is_noticed(site):
    asyncio.run(_listen(ChangeWatch(site.settings), site))

    until(
        lambda: not any(each.name == "change-watch" for each in threading.enumerate()), "nobody listens, nobody watches"
    )


def test_no_change_is_lost_between_the_hello_and_the_first_look(site, monkeypatch):
    """What was read for the hello is the past only once the watch looks: else the page would show it as the present."""
    may_look = threading.Event()

    class Late(change_watch._Eyes):
        def __init__(self, *given: object) -> None:
            may_look.wait(60)
            super().__init__(*given)

    monkeypatch.setattr(change_watch, "_Eyes", Late)

    async def listen() -> None:
        watch = ChangeWatch(site.settings)
        listener = watch.join()
        assert listener is not None
        hello = asyncio.create_task(asyncio.to_thread(watch.missed, None))
        early, _ = await asyncio.wait({hello}, timeout=0.1)
        may_look.set()
        assert not early
        assert (await hello).event == 0
        site.enqueue({"name": "a"})
        await asyncio.wait_for(listener.woken.wait(), 60)
        watch.leave(listener)

    asyncio.run(listen())


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_what_was_missed_is_everything_when_the_ledger_cannot_be_read(site, damage):
    site.settings.ledger_path.write_bytes(damage)

    assert ChangeWatch(site.settings).missed(5).parts == set(PARTS)
