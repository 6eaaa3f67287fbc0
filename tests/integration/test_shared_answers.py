"""Answers that all requests share: who waits for whom, and what makes them out of date."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

from support.waiting import until

from cbi_queue.api import routes_read, shared_answers
from cbi_queue.errors import LedgerError


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
