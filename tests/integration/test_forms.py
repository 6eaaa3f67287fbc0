"""The forms of the pages: the same changes as of the API, for a browser that runs no script."""

from __future__ import annotations

import pytest
from support.api_installation import BROWSER

from cbi_queue.api.routes_forms import VERBS, is_own_path
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason


@pytest.fixture
def post(client, bearer):
    """Send a form as a browser does."""

    def send(path: str, *, accept: dict[str, str] = BROWSER, **fields: str):
        return client.post(path, data=fields, headers={**bearer, **accept})

    return send


def job(site, name):
    with site.ledger() as ledger:
        return queries.find_job(ledger, name)


def test_every_form_changes_what_its_verb_changes_and_leads_back(site, post, client, bearer):
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()

    paused = post("/pause", mode="drain", reason="too hot", next="/jobs/a", **{"for": "2h"})
    with site.ledger() as ledger:
        [hold] = holds_in_force(ledger)
    assert (paused.status_code, paused.headers["location"]) == (303, "/jobs/a")
    assert (hold.mode, hold.words, hold.expires_at - hold.since) == ("drain", "too hot", pytest.approx(7200))
    assert post("/pause", mode="pause", reason=" ", **{"for": ""}).headers["location"] == "/status"
    with site.ledger() as ledger:
        assert [(hold.mode, hold.words) for hold in holds_in_force(ledger)] == [("pause", "paused by the user")]
    with site.ledger() as ledger:
        place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "97 °C")
    page = client.get("/status", headers={**BROWSER, **bearer}).text
    assert page.count('<input type="hidden" name="all" value="true">') == 1, "the governor's hold has a button, too"
    assert post("/resume", all="true").status_code == 303
    with site.ledger() as ledger:
        assert holds_in_force(ledger) == []

    here = f"/jobs/{job(site, 'b').id}"
    for verb, fields, state in (("hold", {}, "held"), ("release", {}, "queued"), ("priority", {"priority": "7"}, "queued"),
                                ("cancel", {}, "cancelled"), ("retry", {}, "queued")):  # fmt: skip
        answer = post(f"{here}/{verb}", next=here, **fields)
        assert (answer.status_code, answer.headers["location"], job(site, "b").state) == (303, here, state), verb
    assert job(site, "b").priority == 7
    plain = {"Accept": "application/json"}
    assert post("/jobs/a/cancel", accept=plain).json() == {"words": "a is being cancelled; its trainer ends."}
    assert post("/jobs/b/hold", accept=plain).json() == {"words": "b is held."}
    assert post("/resume", accept=plain).json() == {"words": "There was no hold to lift."}


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("/pause", {"mode": "stop"}, 422, "mode: 'stop' is not allowed; allowed: one of"),
        ("/pause", {"for": "2x"}, 422, "for: '2x' is not a length of time; write 90s, 30m, 2h or 1d"),
        ("/pause", {"for": "367d"}, 422, "at most 366d"),
        ("/pause", {"mode": "drain", "next": "//evil.example"}, 422, "a path of this server"),
        ("/pause", {"mod": "drain"}, 422, "unknown field 'mod' (did you mean 'mode'?)"),
        ("/pause", {"mode": ["drain", "evict"]}, 422, "the field 'mode' is given 2 times"),
        ("/resume", {"all": "perhaps"}, 422, "allowed: true or false"),
        ("/jobs/a/priority", {"priority": "1e9"}, 422, "a whole number from -1000 to 1000"),
        ("/jobs/a/priority", {}, 422, "'priority' is missing"),
        ("/jobs/a/accept", {"reason": " "}, 422, "text of 1 to 200 characters, not only spaces"),
        ("/jobs/a/retry", {}, 409, "cannot retry job 1 a: it is queued"),
        ("/jobs/no-such/cancel", {}, 404, "no job is called 'no-such'"),
        ("/jobs/a/cancel", {"reason": "x"}, 422, "unknown field 'reason'"),
    ],
)
def test_a_refused_form_says_why_on_a_page_and_changes_nothing(site, client, bearer, path, fields, status, words):
    site.enqueue({"name": "a"})
    answers = [client.post(path, data=fields, headers={**bearer, **kind}) for kind in (BROWSER, {"Accept": "*/*"})]

    assert [answer.status_code for answer in answers] == [status, status]
    assert words.replace("'", "&#39;") in answers[0].text
    assert "refresh" not in answers[0].text, "the words stay until they are read"
    assert words in answers[1].json()["detail"]
    with site.ledger() as ledger:
        assert [event.event for event in queries.last_events(ledger, 5)] == ["enqueue"]


def test_a_link_or_a_stranger_changes_nothing(site, client, bearer):
    site.enqueue({"name": "a"})
    for path in ("/pause", "/resume", *(f"/jobs/a/{verb}" for verb in VERBS)):
        linked = client.get(path, headers={**bearer, **BROWSER})
        assert (linked.status_code, linked.headers["allow"]) == (405, "POST"), path
        assert "sent by a button" in linked.text
        assert client.post(path).status_code == 401, path
        foreign = client.post(path, headers={**bearer, "Origin": "http://evil.example"})
        assert foreign.status_code == 403, path
        other = client.post(path, content=b"{}", headers={**bearer, "Content-Type": "application/json"})
        assert other.status_code == 415, path
    assert client.post("/pause", content=b"a=%ff", headers=bearer).status_code == 422
    with site.ledger() as ledger:
        assert [event.event for event in queries.last_events(ledger, 5)] == ["enqueue"]


@pytest.mark.parametrize(
    "path", ["", "status", "//x", "/\\x", "https://x", "/a\nb", "/ä", "/a\x00", "javascript:alert(1)"]
)
def test_the_way_back_stays_on_this_server(path):
    assert not is_own_path(path)
    assert is_own_path("/jobs/a%20b?tab=1#log")
