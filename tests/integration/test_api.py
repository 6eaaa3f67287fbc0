"""The status API and page over a real ledger: what they show."""

from __future__ import annotations

import errno
import json
import re
import sqlite3
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter
from starlette.testclient import TestClient
from support.api_installation import BROWSER, scores

from cbi_queue.api import routes_health
from cbi_queue.api.app import create_app
from cbi_queue.api.middleware import ANSWER_HEADERS
from cbi_queue.api.token import read_token
from cbi_queue.cli.verbs.leaderboard import command as leaderboard_verb
from cbi_queue.cli.verbs.show import command as show_verb
from cbi_queue.governor.values import Action, Attribution, Cause, Decision, Slowdown
from cbi_queue.ledger.holds import place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.telemetry.governor_log import record_decision, record_slowdown
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.snapshot import QueueStatus, take_status

SLOW = {"factor": 1.42, "since_epoch": 3, "confidence": 0.93, "cause": "heat", "evidence": ["<b>97 °C</b>"]}


def govern(site, words: str) -> None:
    """Record that `net`, job 1, is slow since epoch 3 of 6 and is paced for it."""
    telemetry = Telemetry(site.settings.telemetry_path)
    why = Attribution(Cause.HEAT, 0.9, ("the level is heavy",))
    record_slowdown(telemetry, Slowdown(2, 3, 1.42, 0.93), why, job_id=1, attempt=1)
    decision = Decision(0.0, Action.PACE, Cause.HEAT, words, value=0.7)
    record_decision(telemetry, decision, job_id=1, attempt=1, epoch=4, acted=True)
    telemetry.close()


def test_status_is_a_page_for_a_browser_and_json_for_other_clients(site, client):
    site.enqueue({"name": "a"})

    assert client.get("/status", headers=BROWSER).headers["content-type"].startswith("text/html")
    assert client.get("/status?format=html").headers["content-type"].startswith("text/html")
    for answer in (
        client.get("/status"),
        client.get("/status", headers={"Accept": "application/json"}),
        client.get("/status", headers={"Accept": "text/html;q=0.2, application/json"}),
        client.get("/status?format=json", headers=BROWSER),
        client.get("/api/v1/status"),
    ):
        assert answer.headers["content-type"] == "application/json"
        assert [job["name"] for job in answer.json()["queue"]] == ["a"]
    redirect = client.get("/")
    assert (redirect.status_code, redirect.headers["location"]) == (302, "/status")


def test_the_json_is_the_snapshot_that_the_command_line_prints(site, client):
    """One shape: what is promised in the OpenAPI document, what `status --json` prints, and what is answered."""
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()
    site.report("a", [0.5, 0.4])

    answer = client.get("/status").json()

    expected = json.loads(json.dumps(take_status(site.settings).as_json()))
    assert {**answer, "at": 0} == {**expected, "at": 0}
    TypeAdapter(QueueStatus).validate_python(answer)
    assert {**client.get("/api/v1/status").json(), "at": 0} == {**expected, "at": 0}


@pytest.mark.parametrize("path", ["/status", "/api/v1/status", "/api/v1/jobs/net", "/api/v1/jobs/net/why"])
def test_an_answer_opens_the_telemetry_once_and_the_ledger_once(site, client, monkeypatch, path):
    """Every further connection costs time, and shows another instant beside the first."""
    site.enqueue({"name": "net"})
    site.start_next()
    site.report("net", [0.5, 0.4, 0.3, 0.2])
    site.stand(1, duty=0.7, **SLOW)
    govern(site, "paced to 70 %")
    opened: list[str] = []
    connect = sqlite3.connect

    def counted(target, *args, **options):
        opened.append(target.removesuffix("?mode=ro").rpartition("/")[2])
        return connect(target, *args, **options)

    monkeypatch.setattr(sqlite3, "connect", counted)

    with site.daemon():
        assert client.get(path, headers=BROWSER).status_code == 200

    assert opened.count("telemetry.db") == 1
    assert opened.count("ledger.db") == 1


def test_health_is_good_without_a_daemon_and_503_without_a_ledger(site, client):
    """It reports on the page and the ledger; a missing daemon is no reason to restart the page."""
    alive = client.get("/healthz")
    with site.daemon():
        assert client.get("/healthz").json()["daemon"]["is_running"] is True
    site.settings.ledger_path.write_bytes(b"not a database" * 100)
    broken = client.get("/healthz")

    assert (alive.status_code, alive.json()["ok"], alive.json()["daemon"]["is_running"]) == (200, True, False)
    assert (broken.status_code, broken.json()["ok"]) == (503, False)
    assert "ledger" in broken.json()["error"]
    assert "daemon" in broken.json()


def test_head_answers_as_get_does_without_the_body(site, client):
    """Monitoring sends HEAD, and must not take a refusal for a fault."""
    site.enqueue({"name": "a"})
    paths = [
        "/healthz",
        "/status",
        "/status?format=html",
        "/api/v1/jobs",
        "/api/v1/jobs/nobody",
        "/openapi.json",
        "/static/status.css",
    ]

    for path in paths:
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code != 405, path
        assert head.headers.keys() == got.headers.keys(), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        assert (head.content, bool(got.content)) == (b"", True), path
    assert client.head("/api/v1/pause").status_code == 405
    assert client.head("/healthz", headers={"Host": "elsewhere"}).status_code == 400


def test_a_broken_ledger_is_reported_in_the_form_that_was_requested(site, client):
    site.settings.ledger_path.write_bytes(b"not a database" * 100)

    as_json, page = client.get("/api/v1/jobs"), client.get("/status", headers=BROWSER)

    assert as_json.status_code == page.status_code == 503
    assert set(as_json.json()) == {"type", "title", "status", "detail", "hint"}
    assert "This cannot be shown or done now." in page.text


def test_what_nobody_foresaw_is_a_problem_with_the_headers_of_every_answer(site, monkeypatch):
    client = TestClient(create_app(site.settings), base_url=site.url, raise_server_exceptions=False)
    for fault, words in (
        (OSError(errno.EINVAL, "It is no folder", "/x"), "cannot use /x: it is no folder"),
        (KeyError("secret"), "GET /metrics failed by a fault of cbi-queue: KeyError"),
    ):
        monkeypatch.setattr(routes_health, "registry_of", Mock(side_effect=fault))
        answer = client.get("/metrics")
        assert (answer.status_code, answer.json()["detail"]) == (500, words)
        assert answer.headers["content-type"] == "application/problem+json"
        assert {name: answer.headers[name] for name in ANSWER_HEADERS} == ANSWER_HEADERS


def test_jobs_are_filtered_by_state_family_and_horizon(site, client):
    site.enqueue(
        {"name": "tree"},
        {"name": "naive", "family": "statistical", "model": "naive", "horizon": "1m"},
        {"name": "later", "needs": ["tree"]},
    )

    def names(query: str) -> list[str]:
        return [job["name"] for job in client.get(f"/api/v1/jobs?{query}").json()["jobs"]]

    assert names("") == ["tree", "naive", "later"]
    assert names("state=waiting") == ["later"]
    assert names("state=waiting&state=queued&family=trees") == ["tree", "later"]
    assert names("horizon=1m") == ["naive"]
    refused = client.get("/api/v1/jobs?horizon=9w")
    assert refused.status_code == 422
    assert "'9w'" in refused.json()["detail"]


def test_a_job_comes_with_its_attempts_events_and_epochs(site, client):
    site.enqueue({"name": "a", "params": {"num_leaves": 63}})
    site.start_next()
    site.report("a", [0.5, 0.4, 0.3])

    answer = client.get("/api/v1/jobs/a").json()

    assert answer["job"]["spec"]["params"]["num_leaves"] == 63
    assert [attempt["number"] for attempt in answer["attempts"]] == [1]
    assert [event["event"] for event in answer["events"]] == ["enqueue", "claim"]
    assert [(row["epoch"], row["validation_loss"]) for row in answer["epochs"]] == [(1, 0.5), (2, 0.4), (3, 0.3)]
    assert client.get(f"/api/v1/jobs/{answer['job']['id']}").json() == answer


def test_an_unknown_job_is_404_with_the_nearest_names(site, client):
    site.enqueue({"name": "lightgbm-1w"})

    answer = client.get("/api/v1/jobs/lightgbm-1x")

    assert answer.status_code == 404
    assert "lightgbm-1w" in answer.json()["detail"]
    assert client.get("/nowhere").json()["detail"] == "GET /nowhere: Not Found"


def test_a_log_is_cut_to_its_last_lines(site, client):
    site.enqueue({"name": "a"})
    site.start_next(log="one\ntwo\nthree\n")

    answer = client.get("/api/v1/jobs/a/log?tail=2")

    assert (answer.status_code, answer.text) == (200, "two\nthree\n")
    assert answer.headers["content-type"].startswith("text/plain")
    assert client.get("/api/v1/jobs/a/log?attempt=2").status_code == 404


def test_a_log_outside_the_folder_of_logs_is_not_served(site, client, tmp_path):
    """The ledger names the file; a row that names another file, also through a link, must not open it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("sesame")
    link = site.settings.training_log_dir / "link.log"
    link.symlink_to(secret)
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next(log_path=secret)
    site.finish("a", {})
    site.start_next(log_path=link)

    for name in ("a", "b"):
        answer = client.get(f"/api/v1/jobs/{name}/log")
        assert answer.status_code == 404
        assert "outside" in answer.json()["detail"]
        part = client.get(f"/api/v1/jobs/{name}/log/part?attempt=1")
        assert (part.status_code, "outside" in part.text) == (404, True)
        page = client.get(f"/jobs/{name}", headers=BROWSER).text
        assert "is not shown" in page
        assert "sesame" not in page + part.text + answer.text


def test_events_are_followed_by_number(site, client):
    site.enqueue({"name": "a"}, {"name": "b"})
    first = client.get("/api/v1/events?limit=1").json()
    rest = client.get(f"/api/v1/events?after={first['last_id']}").json()
    nothing = client.get(f"/api/v1/events?after={rest['last_id']}").json()

    assert [event["job_id"] for event in first["events"] + rest["events"]] == [1, 2]
    assert nothing == {"events": [], "last_id": rest["last_id"], "more": False}


def test_budget_and_leaderboard(site, client):
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()
    site.finish("a", scores(0.25))

    budget, board = client.get("/api/v1/budget").json(), client.get("/api/v1/leaderboard").json()

    trees = next(row for row in budget["rows"] if row["family"] == "trees")
    assert trees["by_horizon"]["1w"] == {"done": 1, "running": 0, "queued": 1, "failed": 0}
    assert [(row["place"], row["name"]) for row in board["1w"]] == [
        (1, "a"), (2, "naive"), (None, "drift"), (None, "seasonal_naive"),
    ]  # fmt: skip


def test_a_model_that_may_differ_from_an_undisturbed_run_is_marked_everywhere(site, client):
    """One mark for a smaller micro-batch and for a continuation that was not exact; none for the others."""
    reason = "micro-batch 32 instead of 64 from epoch 4 on"
    site.enqueue({"name": "a"}, {"name": "b"})
    site.start_next()
    site.finish("a", scores(0.1))
    words = "An undisturbed run may give other numbers"
    assert words not in client.get("/status", headers=BROWSER).text
    assert "*" not in said_by(site, leaderboard_verb, [])

    site.start_next()
    site.finish("b", {**scores(0.25), "may_differ": [reason]})

    rows = {row["name"]: row["may_differ"] for row in client.get("/api/v1/leaderboard").json()["1w"]}
    assert (rows["a"], rows["b"], rows["naive"]) == ([], [reason], [])
    page = client.get("/status", headers=BROWSER).text
    assert page.count(f'<abbr title="{words}: {reason}">*</abbr>') == 1
    assert f"* {words}." in page
    board = said_by(site, leaderboard_verb, [])
    assert re.search(r"^ *1 +b \* ", board, re.MULTILINE)
    assert "\n* an undisturbed run may give other numbers; `cbi-queue show NAME` says why.\n" in board
    assert json.loads(said_by(site, leaderboard_verb, ["--json"]))["1w"][0]["may_differ"] == [reason]
    assert f"May differ from an undisturbed run: {reason}" in said_by(site, show_verb, ["b"])
    assert "May differ" not in said_by(site, show_verb, ["a"])


def said_by(site, verb, arguments) -> str:
    """What a verb prints on that queue."""
    done = CliRunner(env=site.environ).invoke(verb, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_governor_is_shown_with_the_holds_that_it_placed_and_no_other(site, client):
    site.enqueue({"name": "net"})
    site.start_next()
    site.stand(1, rung="works 70% of the time", duty=0.7, **SLOW)
    with site.ledger() as ledger:
        place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too loud")
        place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "97 °C")

    with site.daemon():
        answer = client.get("/api/v1/governor").json()
    stale = client.get("/api/v1/governor").json()

    assert (answer["job"], [hold["reason"] for hold in answer["holds"]]) == ("net", ["thermal"])
    governor = answer["governor"]
    assert (governor["duty"], governor["factor"], governor["cause"], governor["is_stale"]) == (0.7, 1.42, "heat", False)
    assert (stale["governor"]["is_stale"], stale["governor"]["duty"], stale["governor"]["heat"]) == (
        True, None, "unknown",
    )  # fmt: skip


def test_the_story_of_a_job_is_the_one_that_the_command_line_prints(site, client):
    site.enqueue({"name": "net"})
    site.start_next()
    site.report("net", [0.5, 0.4, 0.3, 0.2])
    govern(site, "paced to 70 %")

    answer = client.get("/api/v1/jobs/net/why")

    assert (answer.json()["id"], answer.json()["job"]) == (1, "net")
    story = answer.json()["story"]
    assert [line["kind"] for line in story][-1] == "end"
    slow = next(line for line in story if line["kind"] == "slowdown")
    assert (slow["words"].startswith("slow since epoch 3 by factor 1.42"), slow["evidence"]) == (
        True, ["the level is heavy"],
    )  # fmt: skip
    assert client.get("/api/v1/jobs/1/why").json()["story"] == story
    assert client.get("/api/v1/jobs/nobody/why").status_code == 404


def test_the_openapi_document_describes_every_answer(client):
    document = client.get("/openapi.json").json()

    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["description"], path
            content = route["responses"]["200"]["content"]
            assert content.keys() - {"application/json"} or content["application/json"]["schema"], path
            if method == "post":
                assert route["security"], path
    assert "HTTPValidationError" not in {
        reference for route in document["paths"].values() for reference in json.dumps(route).split('"')
    }


def test_the_page_shows_everything_and_escapes_what_people_wrote(site, client, bearer):
    site.enqueue({"name": "done"}, {"name": "broken"}, {"name": "now"}, {"name": "next", "needs": ["now"]})
    site.start_next()
    site.finish("done", scores(0.25))
    site.start_next()
    site.fail("broken", "<img src=x onerror=alert(1)>")
    site.start_next()
    site.report("now", [0.9, 0.7, 0.8])
    client.post("/api/v1/pause", json={"reason": "<script>alert(1)</script> & hot", "for_s": 60}, headers=bearer)

    page = client.get("/status", headers=BROWSER).text

    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; hot" in page
    assert "&lt;img src=x" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    for shown in ("epoch 3/20", "waits for now (running)", "+25.00 %", "expires at", "<polyline", "1 failed"):
        assert shown in page, shown
    assert read_token(site.settings) not in page

    site.report("now", [0.9, 0.7, 0.8], total_epochs=0)  # of a script that does not say
    client.app.state.changes.seen += 1  # as an open page sees it; who only asks has it within a second
    page = client.get("/status", headers=BROWSER).text + client.get("/jobs/now").text
    assert "epoch 3, of a number that is not known" in page
    assert "/0" not in page
    assert "cbi_queue_slot_epochs" not in client.get("/metrics").text
    with site.daemon():
        progress = client.get("/api/v1/status").json()["slot"]["progress"]
    assert (progress["total_epochs"], progress["remaining_s"]) == (None, None)


def test_the_page_shows_what_the_governor_reads_does_and_decided(site, client):
    site.enqueue({"name": "net"})
    site.start_next()
    site.report("net", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    govern(site, "<i>heavy</i>: works 70% of the time")
    heat, memory = {"unknown": 'no "sensor" here'}, {"source": "test", "available_mib": 5734.4, "total_mib": 24576.0}
    readings = {"thermal": heat, "memory": memory}
    site.stand(1, rung="works 70% of the time", duty=0.7, readings=readings, **SLOW)

    with site.daemon():
        page = client.get("/status", headers=BROWSER).text
        all_of_it = client.get("/governor", headers=BROWSER).text

    for shown in (
        "net is training; works 70% of the time; slow since epoch 3 by factor 1.42, cause heat.",
        "Slow since epoch 3 by factor 1.42 (93% sure), cause heat: ",
        "&lt;b&gt;97 °C&lt;/b&gt;",
        "no &#34;sensor&#34; here",
        "5.6 GiB of 24.0 GiB available",
        '<rect class="slow"',
        '<line class="downward"',
        'href="/governor"',
    ):
        assert shown in page, shown
    for shown in ("Slow since epoch 3", "&lt;b&gt;97 °C&lt;/b&gt;", "&lt;i&gt;heavy&lt;/i&gt;: works 70% of the time"):
        assert shown in all_of_it, shown
    assert "<b>97" not in page + all_of_it


def test_the_page_never_shows_an_old_report_of_the_governor_as_the_present(site, client):
    site.enqueue({"name": "net"})
    site.start_next()
    site.stand(1, age_s=600.0, rung="works 70% of the time", duty=0.7, **SLOW)

    with site.daemon():
        page = client.get("/status", headers=BROWSER).text

    assert "Unknown: the daemon&#39;s last report is 10 min old" in page
    assert "works 70%" not in page
    assert "Slow since" not in page


def test_the_page_shows_a_newcomer_what_to_do_first(client):
    page = client.get("/status", headers=BROWSER).text

    assert "cbi-queue enqueue schedules/quickstart.yaml" in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_the_page_never_says_that_a_job_trains_while_no_daemon_runs(site, client):
    """A daemon that died leaves its row in the slot until the next one starts; the sentence must be true meanwhile."""
    site.enqueue({"name": "a"})
    site.start_next()

    dead = client.get("/status", headers=BROWSER).text
    with site.daemon():
        alive = client.get("/status", headers=BROWSER).text

    assert "a is training." not in dead
    assert "resumes from its last checkpoint" in dead
    assert "a is training." in alive


def test_every_answer_carries_the_security_headers(client):
    for path in ("/status", "/api/v1/jobs", "/static/live.js", "/nowhere"):
        headers = client.get(path, headers=BROWSER).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if path.startswith(("/static", "/api")) else "no-store")
        assert not [name for name in headers if name.startswith("access-control")]
