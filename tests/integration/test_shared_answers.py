"""Answers that all requests share: who waits for whom, and what makes them out of date."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from support.waiting import until

from cbi_queue.api import routes_page, routes_read, shared_answers
from cbi_queue.api.board_view import Comparer
from cbi_queue.api.change_watch import ChangeWatch
from cbi_queue.api.sent_again import SentAgain
from cbi_queue.api.shared_answers import SharedAnswers
from cbi_queue.errors import LedgerError

if TYPE_CHECKING:
    from httpx import Response


def test_all_who_ask_share_an_answer_until_something_changes(site, client, monkeypatch):
    """At 50 requests a second, each one read and wrote the whole page."""
    made: list[float] = []
    real = routes_read.status_of

    def counted(*given):
        made.append(time.monotonic())
        time.sleep(0.2)  # so that those who ask at once meet while it is being made
        return real(*given)

    def ask(_number: int = 0) -> dict:
        return client.get("/api/v1/status").json()

    monkeypatch.setattr(routes_read, "status_of", counted)
    monkeypatch.setattr(shared_answers, "MOST_AGE_S", 3600.0)
    monkeypatch.setattr(shared_answers, "RENEWED_S", 3600.0)
    site.enqueue({"name": "a"})
    os.utime(site.settings.ledger_path, (0, 0))  # long ago, and its log is gone: no change of this tick can hide
    with ThreadPoolExecutor(8) as threads:
        answers = [*threads.map(ask, range(8)), ask()]
    assert len(made) == 1
    assert len({json.dumps(answer) for answer in answers}) == 1
    site.start_next()
    assert ask()["slot"]["job"]["name"] == "a"
    site.report("a", [0.5])
    client.app.state.changes.seen += 1  # as when the watch sees that, or that a daemon died, which writes nothing
    last = ask()
    assert last["slot"]["progress"]["epoch"] == 1
    assert len(made) == 3
    monkeypatch.setattr(shared_answers, "RENEWED_S", 0.0)
    assert ask() == last, "given while the next one is made"
    monkeypatch.setattr(shared_answers, "RENEWED_S", 3600.0)
    until(lambda: ask()["at"] > last["at"], "the next one is given")
    assert len(made) == 4
    monkeypatch.setattr(shared_answers, "MOST_AGE_S", 0.0)
    time.sleep(0.05)
    client.app.state.answers._made.clear()
    ask(), ask()
    assert len(made) == 6, "an answer of long ago is made again"


def test_an_answer_that_cannot_be_made_is_not_kept(site, client, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(routes_read, "status_of", lambda *_given: (_ for _ in ()).throw(LedgerError("it is gone")))
        assert client.get("/api/v1/status").status_code == 503
    assert client.get("/api/v1/status").status_code == 200


def test_what_was_sent_is_sent_again_to_who_asks_the_same_and_to_nobody_else(site, client, bearer, monkeypatch):
    """What the framework does for a request took several times as long as to send the answer."""
    routed: list[str] = []
    wants = routes_page.wants_html

    def counted(request):
        routed.append(request.headers["accept"])
        return wants(request)

    def ask(path: str = "/status", **headers: str) -> Response:
        return client.get(path, headers=headers)

    monkeypatch.setattr(routes_page, "wants_html", counted)
    monkeypatch.setattr(shared_answers, "MOST_AGE_S", 3600.0)
    monkeypatch.setattr(shared_answers, "RENEWED_S", 3600.0)
    site.enqueue({"name": "a"})
    os.utime(site.settings.ledger_path, (0, 0))
    page, data = ask(accept="text/html"), ask(accept="application/json")
    told = {"accept": "text/html", **bearer}
    allowed = ask(**told)
    assert routed == ["text/html", "application/json", "text/html"]
    assert data.json()["queue"][0]["name"] == "a"
    assert [" disabled>Pause the slot" in each.text for each in (page, allowed)] == [True, False]
    for first, again in (
        (page, ask(accept="text/html")),
        (data, ask(accept="application/json")),
        (allowed, ask(**told)),
    ):
        assert (again.content, again.headers) == (first.content, first.headers)
        assert "Content-Security-Policy" in again.headers
    assert len(routed) == 3
    assert client.head("/status", headers={"accept": "text/html"}).content == b""
    assert ask("/status?horizon=1m", accept="text/html").status_code == 200
    assert ask("/status?horizont=1m", accept="text/html").status_code == 422
    assert len(routed) == 4, "another address is another request"
    fresh = ask("/api/v1/status")
    for _ in range(2):
        assert ask("/api/v1/status", **{"if-none-match": fresh.headers["etag"]}).status_code == 304
        assert ask("/api/v1/status").json() == fresh.json()
    assert client.get("/status", headers=[("accept", "text/html"), ("host", "elsewhere.example")]).status_code == 400
    site.start_next()
    assert ask(accept="application/json").json()["slot"]["job"]["name"] == "a"


def test_what_is_not_shared_is_never_sent_again_also_after_a_shared_answer_on_the_same_connection(site, monkeypatch):
    """A request that is sent before the answer to the last is answered in the context of that one."""
    for name, seconds in (("SETTLED_S", 0.0), ("MOST_AGE_S", 3600.0), ("RENEWED_S", 3600.0)):
        monkeypatch.setattr(shared_answers, name, seconds)
    answers, asked = SharedAnswers(site.settings, ChangeWatch(site.settings), Comparer(site.settings)), []

    async def app(scope, _receive, send):
        asked.append(scope["raw_path"])
        if scope["raw_path"] == b"/shared":
            await answers.get("it", dict)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(_message):
        pass

    async def ask() -> None:
        again = SentAgain(app, answers)
        for path in (b"/shared", b"/own", b"/shared", b"/own"):
            await again(
                {"type": "http", "method": "GET", "raw_path": path, "query_string": b"", "headers": []}, None, send
            )

    asyncio.run(ask())
    assert asked == [b"/shared", b"/own", b"/own"]
