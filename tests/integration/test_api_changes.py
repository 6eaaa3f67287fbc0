"""What the API changes, and which requests it refuses."""

from __future__ import annotations

import stat

import pytest

from cbi_queue.api.middleware import MAX_BODY_BYTES, AllowedHosts
from cbi_queue.api.token import ensure_token
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason


def test_changes_need_the_token_and_the_refusal_names_its_path(site, client, bearer):
    site.enqueue({"name": "a"})
    routes = ["pause", "resume", *(f"jobs/a/{verb}" for verb in ("cancel", "hold", "release", "retry", "priority"))]
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer ö".encode()}):
        for route in routes:
            answer = client.post(f"/api/v1/{route}", json={"priority": 1}, headers=wrong)
            assert answer.status_code == 401, route
            assert str(site.settings.token_path) in answer.json()["hint"]

    with site.ledger() as ledger:
        assert [event.event for event in queries.last_events(ledger, 10)] == ["enqueue"]
    assert client.post("/api/v1/jobs/a/hold", headers=bearer).status_code == 200


def test_the_token_is_for_its_owner_only_and_is_replaced_when_others_could_read_it(site):
    first = ensure_token(site.settings)
    assert ensure_token(site.settings) == first
    assert stat.S_IMODE(site.settings.token_path.stat().st_mode) == 0o600

    site.settings.token_path.chmod(0o644)
    second = ensure_token(site.settings)

    assert second != first
    assert stat.S_IMODE(site.settings.token_path.stat().st_mode) == 0o600


def test_pause_and_resume_place_and_lift_the_users_hold(site, client, bearer):
    paused = client.post("/api/v1/pause", json={"mode": "evict", "reason": "too hot", "for_s": 60}, headers=bearer)
    with site.ledger() as ledger:
        [hold] = holds_in_force(ledger)
    resumed = client.post("/api/v1/resume", headers=bearer)
    again = client.post("/api/v1/resume", headers=bearer)

    assert paused.json()["holds"][0]["words"] == "too hot"
    assert (hold.reason, hold.mode, hold.expires_at - hold.since) == ("user", "evict", pytest.approx(60))
    assert resumed.json() == {"lifted": True, "holds": []}
    assert again.json() == {"lifted": False, "holds": []}


def close_for(site, *reasons: HoldReason) -> None:
    with site.ledger() as ledger:
        for reason in reasons:
            place_hold(ledger, reason, HoldMode.PAUSE, f"held for {reason}")


@pytest.mark.parametrize("body", [None, {}, {"all": False}])
def test_resume_leaves_the_governors_holds_in_force_by_default(site, client, bearer, body):
    close_for(site, HoldReason.USER, HoldReason.THERMAL, HoldReason.MEMORY)

    answer = client.post("/api/v1/resume", json=body, headers=bearer).json()

    assert answer["lifted"] is True
    assert [hold["reason"] for hold in answer["holds"]] == ["thermal", "memory"]


def test_resume_with_all_lifts_the_governors_holds_too_and_no_other(site, client, bearer):
    """As `cbi-queue resume --all` does; the hold of a missing disk is lifted by no command."""
    close_for(site, HoldReason.USER, HoldReason.THERMAL, HoldReason.MEMORY, HoldReason.VOLUME)

    answer = client.post("/api/v1/resume", json={"all": True}, headers=bearer).json()
    again = client.post("/api/v1/resume", json={"all": True}, headers=bearer).json()

    assert (answer["lifted"], [hold["reason"] for hold in answer["holds"]]) == (True, ["volume"])
    assert (again["lifted"], again["holds"]) == (False, answer["holds"])
    with site.ledger() as ledger:
        lifted = {(event.event, event.reason) for event in queries.last_events(ledger, 3)}
    assert lifted == {("hold_lifted", "user"), ("hold_lifted", "thermal"), ("hold_lifted", "memory")}


@pytest.mark.parametrize("body", [{"all": "yes please"}, {"everything": True}, [True]])
def test_an_invalid_resume_is_refused_and_lifts_nothing(site, client, bearer, body):
    close_for(site, HoldReason.USER, HoldReason.THERMAL)

    answer = client.post("/api/v1/resume", json=body, headers=bearer)

    assert answer.status_code == 422
    with site.ledger() as ledger:
        assert len(holds_in_force(ledger)) == 2


def test_the_governors_holds_are_not_lifted_without_the_token(site, client):
    close_for(site, HoldReason.THERMAL)

    assert client.post("/api/v1/resume", json={"all": True}).status_code == 401
    with site.ledger() as ledger:
        assert len(holds_in_force(ledger)) == 1


@pytest.mark.parametrize(
    "body", [{"mode": "stop"}, {"reason": " \n"}, {"reason": "x" * 201}, {"for_s": 0}, {"for_s": -1}, {"until": 5}]
)
def test_an_invalid_pause_is_refused(site, client, bearer, body):
    answer = client.post("/api/v1/pause", json=body, headers=bearer)

    assert answer.status_code == 422
    assert next(iter(body)) in answer.json()["detail"]
    with site.ledger() as ledger:
        assert holds_in_force(ledger) == []


def test_the_verbs_do_to_a_job_what_the_command_line_does(site, client, bearer):
    site.enqueue({"name": "a"})

    def states(*verbs: str) -> list[str]:
        return [client.post(f"/api/v1/jobs/a/{verb}", headers=bearer).json()["state"] for verb in verbs]

    assert states("hold", "release", "cancel", "retry") == ["held", "queued", "cancelled", "queued"]
    changed = client.post("/api/v1/jobs/a/priority", json={"priority": 7}, headers=bearer).json()
    assert changed["priority"] == 7
    with site.ledger() as ledger:
        told = [(event.event, event.reason) for event in queries.events_of(ledger, 1)][1:]
    assert told == [(verb, "user") for verb in ("hold", "release", "cancel", "retry", "priority")]


def test_cancelling_the_job_in_the_slot_marks_it_and_leaves_the_rest_to_the_slot(site, client, bearer):
    site.enqueue({"name": "a"})
    site.start_next()

    answer = client.post("/api/v1/jobs/a/cancel", headers=bearer)

    assert (answer.status_code, answer.json()["state"]) == (200, "running")
    with site.ledger() as ledger:
        assert queries.find_job(ledger, "a").cancel_requested_at is not None


def test_a_change_that_the_state_does_not_allow_is_409_and_changes_nothing(site, client, bearer):
    site.enqueue({"name": "a"})

    answer = client.post("/api/v1/jobs/a/release", headers=bearer)

    assert answer.status_code == 409
    assert "queued" in answer.json()["detail"]
    assert client.post("/api/v1/jobs/b/cancel", headers=bearer).status_code == 404


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST:8000", True), ("[::1]:8000", True),
        ("localhost", False), ("localhost:8001", False), ("evil.example:8000", False), ("127.0.0.1:8000.evil", False),
        ("evil@127.0.0.1:8000", False), ("", False), ("192.168.1.7:8000", False), ("::1:8000", False),
    ],
)  # fmt: skip
def test_a_host_is_allowed_only_when_it_is_this_server(host, allowed):
    assert (host in AllowedHosts("127.0.0.1", 8000)) is allowed


def test_a_configured_host_is_allowed_and_a_wildcard_allows_addresses_but_no_foreign_names():
    """Behind a wildcard any address may be the machine's own; a name could be rebound, an address cannot."""
    assert "mac.local:8000" in AllowedHosts("mac.local", 8000)
    assert "localhost" in AllowedHosts("127.0.0.1", 80)
    wildcard = AllowedHosts("0.0.0.0", 8000)
    assert "192.168.1.7:8000" in wildcard
    assert "[fe80::1]:8000" in wildcard
    assert "192.168.1.7:8001" not in wildcard
    assert "evil.example:8000" not in wildcard


def test_requests_for_another_host_from_another_page_or_too_large_are_refused(site, client, bearer):
    foreign_host = client.get("/status", headers={"Host": f"evil.example:{site.port}"})
    foreign_page = client.post("/api/v1/resume", headers={**bearer, "Origin": "http://evil.example"})
    no_page = client.post("/api/v1/resume", headers={**bearer, "Origin": "null"})
    own_page = client.post("/api/v1/resume", headers={**bearer, "Origin": site.url})
    too_large = client.post("/api/v1/pause", content=b"x" * (MAX_BODY_BYTES + 1), headers=bearer)
    endless = client.post("/api/v1/pause", content=iter([b"{}"]), headers=bearer)

    answers = (foreign_host, foreign_page, no_page, own_page, too_large, endless)
    assert [answer.status_code for answer in answers] == [400, 403, 403, 200, 413, 411]
    assert foreign_host.json()["hint"] == f"open {site.url}/status"
    assert foreign_host.headers["x-frame-options"] == "DENY"
