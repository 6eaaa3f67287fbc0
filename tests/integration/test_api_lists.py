"""Lists of the API come in pages that SQLite cuts, unchanged answers are 304, and the figures are Prometheus's."""

from __future__ import annotations

import errno
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from support.api_installation import scores

from cbi_queue import clock
from cbi_queue.api import routes_health
from cbi_queue.api.app import create_app
from cbi_queue.api.middleware import ANSWER_HEADERS
from cbi_queue.ledger import listing, queries
from cbi_queue.ledger.holds import place_hold
from cbi_queue.ledger.listing import Wanted
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState
from cbi_queue.views import snapshot

JOBS = 400


def paged(client, address: str, what: str, last: str) -> list[dict]:
    """Everything that pages of two hold, one after the other."""
    found, after, more = [], 0, True
    while more:
        page = client.get(f"{address}{'&' if '?' in address else '?'}limit=2&after={after}").json()
        found, after, more = found + page[what], page[last], page["more"]
        assert len(page[what]) <= 2
    return found


def test_pages_put_together_are_the_whole_list(site, client):
    site.enqueue(
        *({"name": f"net-{n}", "params": {"seed": n}} for n in range(5)),
        {"name": "naive", "family": "statistical", "model": "naive", "horizon": "1m"},
        {"name": "later", "needs": ["net-0"]},
    )
    site.start_next()
    site.fail("net-0", "broken")

    def names(query: str) -> list[str]:
        return [job["name"] for job in paged(client, f"/api/v1/jobs?{query}", "jobs", "last_id")]

    nets = [f"net-{n}" for n in range(5)]
    assert names("") == [*nets, "naive", "later"]
    assert names("name=net-") == nets
    assert names("name=n&horizon=1m&dataset=default") == ["naive"]
    assert names("dataset=other") == []
    assert names("state=failed&state=waiting&state=queued&family=trees") == [*nets, "later"]
    later = client.get("/api/v1/jobs?name=later").json()["jobs"][0]
    assert later["needs"] == ["net-0"], "needs are told although the needed job is on another page"
    assert client.get("/api/v1/jobs?name=net-1").json()["jobs"][0]["why"] == "next"
    events = paged(client, "/api/v1/events?job=net-0", "events", "last_id")
    assert [event["event"] for event in events] == ["enqueue", "claim", "fail"]
    assert [each["number"] for each in paged(client, "/api/v1/jobs/net-0/attempts", "attempts", "last_number")] == [1]


def test_a_page_of_one_reads_one_job_of_many(site, monkeypatch):
    site.enqueue(*({"name": f"net-{n}", "params": {"seed": n}} for n in range(JOBS)))
    read: list[int] = []
    row_of = queries.JobRow.of
    monkeypatch.setattr(queries.JobRow, "of", lambda row: read.append(1) or row_of(row))
    with site.ledger() as ledger:
        for wanted in (Wanted(), Wanted(states=("queued", "failed")), Wanted(name="net-1"), Wanted(family="trees")):
            assert len(listing.jobs_after(ledger, 3, 1, wanted)) == 1
            sql = "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = ? AND id > ? ORDER BY id LIMIT 1"
            plan = ledger.conn.execute(sql, ("queued", 3))
            assert "TEMP B-TREE" not in " ".join(row["detail"] for row in plan)
    assert len(read) == 4


def test_the_snapshot_reads_nothing_that_has_ended_but_the_newest(site, monkeypatch):
    """A week later, and a year later, the status costs the same."""
    site.enqueue(*({"name": f"net-{n}", "params": {"seed": n}} for n in range(JOBS)))
    with site.ledger() as ledger, ledger.write() as conn:
        conn.execute("UPDATE jobs SET state = 'cancelled', ended_at = id WHERE id <= ?", (JOBS - 5,))
    read: list[int] = []
    row_of = queries.JobRow.of
    monkeypatch.setattr(queries.JobRow, "of", lambda row: read.append(1) or row_of(row))

    status = snapshot.take_status(site.settings)

    assert len(read) == 5 + snapshot.ENDED_SHOWN
    assert [line.id for line in status.ended] == list(range(JOBS - 5, JOBS - 15, -1))
    assert (len(status.queue), status.counts["cancelled"]) == (5, JOBS - 5)


@pytest.mark.parametrize(
    "path", ["/status", "/budget", "/leaderboard", "/jobs", "/jobs/a", "/events", "/jobs?state=queued&limit=1"]
)
def test_an_answer_that_is_known_already_is_304_until_something_changes(site, client, bearer, path, monkeypatch):
    now = clock.epoch_s()
    monkeypatch.setattr(clock, "epoch_s", lambda: now)
    site.enqueue({"name": "a"}, {"name": "b"})
    address = f"/api/v1{path}"
    first = client.get(address)
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get(address, headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get(address, headers={"If-None-Match": 'W/"other"'}).json() == first.json()

    client.post("/api/v1/jobs/a/priority", json={"priority": 7}, headers=bearer)

    assert client.get(address, headers=known).status_code == 200


def test_a_job_has_another_tag_after_each_report(site, client):
    site.enqueue({"name": "a"})
    site.start_next()
    known = {"If-None-Match": client.get("/api/v1/jobs/a").headers["etag"]}
    assert client.get("/api/v1/jobs/a", headers=known).status_code == 304
    site.report("a", [0.5])
    assert [row["epoch"] for row in client.get("/api/v1/jobs/a", headers=known).json()["epochs"]] == [1]


def test_the_boards_hold_regimes_and_come_in_parts(site, client):
    score = {
        "rows": 500,
        "log_loss": 0.5,
        "skill": 0.2,
        "skill_low": 0.1,
        "skill_high": 0.3,
        "brier": 0.3,
        "accuracy": 0.8,
    }
    block = {
        "model": score,
        "persistence": {**score, "log_loss": 0.625, "skill": 0.0},
        "frequencies": {**score, "log_loss": 0.9},
    }
    site.enqueue({"name": "a"}, {"name": "b", "params": {"seed": 2}}, {"name": "far", "horizon": "1m"})
    for name, metrics in (
        ("a", {"regimes": {"validation": block, "backtest": block}}),
        ("b", scores(0.2)),
        ("far", scores(0.1)),
    ):
        site.start_next()
        site.finish(name, metrics)

    boards = client.get("/api/v1/leaderboard").json()
    assert [row["name"] for row in boards["1w regimes"]] == ["a", "persistence", "frequencies"]
    assert set(boards) == {"1w", "1m", "1w regimes"}
    assert set(client.get("/api/v1/leaderboard?horizon=1m").json()) == {"1m"}
    rest = client.get("/api/v1/leaderboard?horizon=1w&after=1&limit=1").json()
    assert rest == {title: rows[1:2] for title, rows in boards.items() if title != "1m"}


def figures(client) -> dict[str, dict[tuple[str, ...], float]]:
    """Name -> values of its labels -> value, as Prometheus reads them."""
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert all(family.documentation and family.name.startswith("cbi_queue") for family in families)
    assert len({family.name for family in families}) == len(families)
    return {
        sample.name: {tuple(s.labels.values()): s.value for s in family.samples if s.name == sample.name}
        for family in families
        for sample in family.samples
    }


def test_prometheus_reads_what_is_known_and_nothing_else(site, client):
    site.enqueue({"name": "net"}, {"name": "next"})
    idle = figures(client)
    site.start_next()
    site.report("net", [0.5, 0.4])
    site.stand(1, duty=0.7, readings={"thermal": {"temp_c": 88.5}, "memory": {"unknown": "no such file"}})
    with site.daemon():
        training = figures(client)

    unknown = {"cbi_queue_temperature_celsius", "cbi_queue_governor_duty_ratio", "cbi_queue_slot_epoch"}
    assert not unknown & idle.keys()
    assert unknown < training.keys()
    assert "cbi_queue_memory_available_bytes" not in training
    assert (idle["cbi_queue_daemon_up"][()], training["cbi_queue_daemon_up"][()]) == (0, 1)
    assert training["cbi_queue_temperature_celsius"][()] == 88.5
    assert training["cbi_queue_jobs"].keys() == {(state.value,) for state in JobState}
    assert (training["cbi_queue_jobs"]["running",], training["cbi_queue_jobs"]["failed",]) == (1, 0)
    assert training["cbi_queue_events_total"][()] == 3
    assert training["cbi_queue_slot_validation_loss"][()] == 0.4
    assert list(training["cbi_queue_slot_job_info"]) == [("trees", "1w", "lightgbm_dart")]


def test_what_nobody_foresaw_is_a_problem_with_the_headers_of_every_answer(site, monkeypatch):
    faults: list[Exception] = []

    def fails(_settings):
        raise faults.pop()

    monkeypatch.setattr(routes_health, "registry_of", fails)
    client = TestClient(create_app(site.settings), base_url=site.url, raise_server_exceptions=False)
    for fault, words in (
        (OSError(errno.EINVAL, "It is no folder", "/x"), "cannot use /x: it is no folder"),
        (KeyError("secret"), "GET /metrics failed by a fault of cbi-queue: KeyError"),
    ):
        faults.append(fault)
        answer = client.get("/metrics")
        assert (answer.status_code, answer.json()["detail"]) == (500, words)
        assert answer.headers["content-type"] == "application/problem+json"
        assert {name: answer.headers[name] for name in ANSWER_HEADERS} == ANSWER_HEADERS


def test_readiness_lists_every_true_reason(site, client):
    site.enqueue({"name": "a"})
    site.start_next()
    site.finish("a", scores(0.1))
    with site.daemon():
        assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    with site.ledger() as ledger:
        place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too loud")
        with ledger.write() as conn:
            conn.execute("UPDATE jobs SET damage = 'model.txt is gone'")

    answer = client.get("/readyz")

    told = {reason["what"]: reason["words"] for reason in answer.json()["reasons"]}
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert told == {
        "daemon": "the daemon is not running",
        "hold": "the slot is closed: too loud",
        "damage": "1 finished run damaged: a",
    }
    site.settings.lock_path.unlink()
    site.settings.lock_path.mkdir()
    (first, *_) = client.get("/readyz").json()["reasons"]
    assert (first["what"], "slot.lock" in first["words"]) == ("daemon", True)
    assert client.get("/healthz").json()["error"] == first["words"]
    site.settings.lock_path.rmdir()
    site.settings.ledger_path.write_bytes(b"not a database" * 100)
    assert [reason["what"] for reason in client.get("/readyz").json()["reasons"]] == ["daemon", "ledger"]
    assert client.get("/metrics").status_code == 503


def test_whole_numbers_show_their_range(client):
    document = client.get("/openapi.json").json()
    shown = json.dumps(document)
    limits = {one["name"]: one["schema"] for one in document["paths"]["/api/v1/jobs"]["get"]["parameters"]}
    assert (limits["limit"]["minimum"], limits["limit"]["maximum"], limits["limit"]["default"]) == (1, 1000, 100)
    assert (limits["after"]["minimum"], limits["after"]["type"]) == (0, "integer")
    assert '"ge"' not in shown
    assert '"le"' not in shown
