"""The forms of the pages: each does what the command of its name does, and nothing that it sends is ignored."""

from __future__ import annotations

import pytest
from support.api_installation import BROWSER

from cbi_queue.api.routes_forms import own_path
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason


@pytest.fixture
def post(client, bearer):
    """Send a form as a browser does, or as the page's script when *script* is true."""

    def send(path: str, script: bool = False, **fields: str):
        headers = {**bearer, "Accept": "application/json" if script else BROWSER["Accept"]}
        return client.post(path, data=fields, headers=headers)

    return send


def job(site, name):
    with site.ledger() as ledger:
        return queries.find_job(ledger, name)


def test_pause_and_resume_return_to_where_they_came_from(site, post):
    paused = post("/pause", mode="drain", **{"for": "30m"}, reason="warm <b>room</b>", next="/jobs/a")
    with site.ledger() as ledger:
        [hold] = holds_in_force(ledger)
        place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "hot")
    resumed = post("/resume", next="//evil.example/")
    told = post("/resume", script=True, all="yes").json()

    assert (paused.status_code, paused.headers["location"]) == (303, "/jobs/a")
    assert (hold.mode, hold.words, hold.expires_at - hold.since) == ("drain", "warm <b>room</b>", pytest.approx(1800))
    assert (resumed.status_code, resumed.headers["location"]) == (303, "/status")
    assert told == {"words": "Resumed."}
    assert post("/resume", script=True).json() == {"words": "There was no hold to lift."}


def test_every_verb_of_a_job_does_what_its_command_does(site, post):
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()
    assert post("/jobs/b/hold", script=True).json() == {"words": "b is held now."}
    assert post("/jobs/2/release", next="/jobs/b").headers["location"] == "/jobs/b"
    assert post("/jobs/b/priority", script=True, priority="-7").json() == {"words": "b has priority -7 now."}
    assert post("/jobs/b/cancel", script=True).json() == {"words": "b is cancelled now."}
    assert post("/jobs/b/retry", script=True).json() == {"words": "b is queued now."}
    assert "its trainer ends first" in post("/jobs/a/cancel", script=True).json()["words"]
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET state = 'vetoed', ended_at = 1.0 WHERE id = 1")
    assert post("/jobs/a/accept", script=True, reason="checked").json() == {"words": "a is succeeded now."}
    assert (job(site, "b").priority, job(site, "b").state, job(site, "a").state) == (-7, "queued", "succeeded")


BAD = [
    ("/pause", {"mode": "stop"}, "mode: 'stop' is not allowed; allowed: one of drain, pause, evict"),
    ("/pause", {"for": "soon"}, "for: 'soon' is not allowed; allowed: a time such as 90s, 30m, 2h or 1d"),
    ("/pause", {"for": "-5"}, "for: -5.0 is not allowed"),
    ("/pause", {"for": "0"}, "for: 0.0 is not allowed"),
    ("/pause", {"for": "9999d"}, "for: "),
    ("/pause", {"reason": "x" * 201}, "reason: "),
    ("/pause", {"why": "x"}, "unknown field 'why'"),
    ("/resume", {"all": "maybe"}, "all: 'maybe' is not allowed; allowed: yes, or nothing"),
    ("/jobs/a/priority", {"priority": "many"}, "priority: 'many' is not allowed"),
    ("/jobs/a/priority", {"priority": "1001"}, "from -1000 to 1000"),
    ("/jobs/a/priority", {}, "priority"),
    ("/jobs/a/accept", {"reason": " "}, "reason: "),
    ("/jobs/a/hold", {"reason": "x"}, "unknown field 'reason'"),
]


@pytest.mark.parametrize(("path", "fields", "words"), BAD)
def test_a_bad_value_is_refused_with_what_is_allowed_and_changes_nothing(site, post, path, fields, words):
    site.enqueue({"name": "a"})
    shown, told = post(path, **fields), post(path, script=True, **fields)

    assert (shown.status_code, told.status_code) == (422, 422)
    assert words in told.json()["detail"]
    assert "pydantic" not in told.text
    assert f'<a href="{"/jobs/a" if "jobs" in path else "/status"}">Back</a>' in shown.text
    assert "This page refreshes itself" not in shown.text
    with site.ledger() as ledger:
        assert [event.event for event in queries.last_events(ledger, 5)] == ["enqueue"]


def test_other_requests_to_a_form_are_refused_in_words(site, client, bearer, post):
    site.enqueue({"name": "a"})
    seen = client.get("/pause", headers=BROWSER)
    assert (seen.status_code, seen.headers["allow"]) == (405, "POST")
    assert "only by POST; nothing was changed" in seen.text
    assert client.get("/jobs/a/retry").status_code == 405
    assert client.put("/pause", headers=bearer).headers["allow"] == "POST"
    assert client.get("/jobs/a/explode").status_code == 404
    assert post("/jobs/a/retry").status_code == 409, "it is queued: the page says why"
    assert post("/jobs/nobody/cancel").status_code == 404
    assert client.post("/pause?mode=evict", headers=bearer).status_code == 422
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        sent = client.post("/pause", content=b'{"mode": "evict"}', headers={**bearer, "Content-Type": kind})
        assert sent.status_code == 415, kind
    form = {**bearer, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        b"mode=pause&mode=evict",
        b"reason=%ff%fe",
        "reason=ö".encode(),
        b"&".join(b"a%d=1" % n for n in range(30)),
    ):
        assert client.post("/pause", content=body, headers=form).status_code == 422, body
    with site.ledger() as ledger:
        assert holds_in_force(ledger) == []


@pytest.mark.parametrize(
    "written",
    ["", "//evil.example", "/\\evil.example", "http://evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "/a\\b", "/ö"],
)  # fmt: skip
def test_a_form_sends_nobody_elsewhere(written):
    assert own_path(written) == "/status"
    assert own_path("/jobs/a%20b?x=1") == "/jobs/a%20b?x=1"
