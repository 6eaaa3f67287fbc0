"""Every route refuses a query parameter that it does not take: a filter that is ignored answers another question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.routing import Mount
from support.api_installation import BROWSER

from cbi_queue.api.app import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI


def routes(app: FastAPI) -> dict[tuple[str, str], list[str]]:
    """Method and path of every route, with the query parameters that it takes; the redirect at / is not in the schema."""
    found = {
        (method.upper(), path): [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }
    return {("GET", "/"): [], **found}


def test_every_route_names_the_parameter_and_those_that_exist(site, client, bearer):
    site.enqueue({"name": "a"})
    for (method, path), taken in routes(client.app).items():
        address = path.replace("{name}", "a")
        answer = client.request(
            method, f"{address}?no_such_thing=1", headers=bearer, json={} if method == "POST" else None
        )
        allowed = ", ".join(taken) or "none"
        assert answer.status_code == 422, address
        assert answer.json()["detail"] == (
            f"{method} {address}: unknown query parameter 'no_such_thing'; allowed: {allowed}"
        )
    with site.ledger() as ledger:
        assert ledger.conn.execute("SELECT count(*) FROM events WHERE event != 'enqueue'").fetchone()[0] == 0


def test_the_routes_tried_are_all_that_there_are(site):
    """The files of the page are served as they are, also with the version that a browser may put behind their names."""
    app = create_app(site.settings)
    assert {("GET", "/status"), ("GET", "/api/v1/jobs"), ("POST", "/api/v1/pause")} < set(routes(app))
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/static"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            "/api/v1/jobs?limits=1",
            "unknown query parameter 'limits' (did you mean 'limit'?); allowed: state, family, horizon, dataset, name, after, limit",
        ),
        ("/api/v1/jobs/a/log?tial=5", "unknown query parameter 'tial' (did you mean 'tail'?); allowed: tail, attempt"),
        ("/api/v1/events?after=1&after=2", "the query parameter 'after' is given twice; give it once"),
        (
            "/status?format=json&Format=html",
            "unknown query parameter 'Format' (did you mean 'format'?); allowed: format, horizon",
        ),
    ],
)
def test_a_parameter_that_would_be_ignored_is_refused(site, client, address, words):
    site.enqueue({"name": "a"})
    answer = client.get(address)
    assert (answer.status_code, answer.json()["detail"].partition(": ")[2]) == (422, words)


def test_a_list_may_be_given_in_parts_and_files_of_the_page_take_a_version(site, client):
    site.enqueue({"name": "a"})
    assert [job["name"] for job in client.get("/api/v1/jobs?state=failed&state=queued").json()["jobs"]] == ["a"]
    assert client.get("/static/status.css?v=1").status_code == 200


def test_a_change_says_where_its_values_go(client, bearer):
    """`?for_s=60` would have paused without an end."""
    answer = client.post("/api/v1/pause?for_s=60", headers=bearer, json={})
    assert (answer.status_code, answer.json()["hint"]) == (422, "its values go into the JSON body: docs/api.md")
    assert client.get("/api/v1/status").json()["holds"] == []


def test_a_browser_gets_a_page(client):
    answer = client.get("/status?fromat=json", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "did you mean" in answer.text
