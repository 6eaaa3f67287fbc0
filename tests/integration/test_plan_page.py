"""The page on which a plan is added, and the governor's page: what the commands say, escaped, and nothing half done."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest
from support.api_installation import BROWSER, ApiInstallation

from cbi_queue import clock
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path

LONG = "x" * 300
"""An argument that no file can be called."""
GOOD = (
    f"day: 0\ntitle: A <b>title\njobs:\n  - {{name: hello, family: script, command: [echo, {LONG}], workdir: /tmp}}\n"
)
BAD = """day: 0
jobs:
  - {name: <script>alert(1)</script>, family: treez}
  - {name: hello, family: script, command: [echo, hi], workdir: here}
"""
pytestmark = pytest.mark.process

FORM = "application/x-www-form-urlencoded"


def post(site: ApiInstallation, path: str, body: bytes, kind: str, headers: dict[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(site.url + path, data=body, headers={"Content-Type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def get(site: ApiInstallation, path: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(site.url + path, headers=BROWSER), timeout=60) as answer:
        return answer.read().decode()


def jobs_in(site: ApiInstallation) -> list[tuple[str, str]]:
    with site.ledger() as ledger:
        sql = "SELECT jobs.name, plans.source FROM jobs JOIN plans ON plans.id = jobs.plan_id"
        return [tuple(row) for row in ledger.conn.execute(sql)]


def test_a_plan_is_checked_at_its_lines_and_enqueued_whole_or_not_at_all(tmp_path: Path):
    site = ApiInstallation(tmp_path)
    with site.server():
        token = {"Authorization": f"Bearer {site.settings.token_path.read_text().strip()}"}
        browser = {**token, **BROWSER}

        def form(yaml: str, do: str) -> bytes:
            return urllib.parse.urlencode({"yaml": yaml, "do": do}).encode()

        assert post(site, "/plan", form(GOOD, "enqueue"), FORM, {})[0] == 401
        code, page = post(site, "/plan", form(BAD.replace("\n", "\r\n"), "enqueue"), FORM, browser)
        assert code == 422
        assert "<script>alert" not in page
        assert '<li id="line-3" value="3" class="faulty">' in page
        assert '<a href="#line-4">line 4</a>: jobs[1].workdir: &#39;here&#39; is relative' in page
        assert jobs_in(site) == []

        code, answer = post(site, "/api/v1/plan/check", BAD.encode(), "text/yaml", token)
        problem = json.loads(answer)
        assert (code, problem["status"]) == (422, 422)
        assert {complaint["line"] for complaint in problem["complaints"]} == {3, 4}
        assert any("did you mean 'trees'" in complaint["text"] for complaint in problem["complaints"])
        for content, words in (
            (b"", "the file is empty"),
            (b"day: 0\0", "U+0000"),
            (b"day: \xff", "not UTF-8"),
            (b"a: &x [1]\nb: *x", "aliases"),
            (b"#" * 300_000, "larger than 256 KiB"),
        ):
            code, answer = post(site, "/api/v1/plan", content, "text/yaml", token)
            assert code == 422
            assert words in json.loads(answer)["complaints"][0]["text"]
        assert post(site, "/api/v1/plan", b"[]", "application/json", token)[0] == 422
        assert post(site, "/api/v1/plan", GOOD.encode(), "application/pdf", token)[0] == 415
        assert post(site, "/plan", b"x" * 12_000_000, FORM, token)[0] == 413
        assert post(site, "/plan", b"no parts", "multipart/form-data; boundary=B", token)[0] == 422
        assert jobs_in(site) == []

        assert "No complaint: 1 job" in post(site, "/plan", form(GOOD, "check"), FORM, browser)[1]
        assert jobs_in(site) == []
        part = '--B\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        upload = part.format('file"; filename="<i>day.yaml', GOOD) + part.format("do", "enqueue") + "--B--\r\n"
        code, page = post(site, "/plan", upload.encode(), "multipart/form-data; boundary=B", browser)
        assert (code, "Enqueued: 1 new" in page, "<i>" in page) == (200, True, False)
        assert jobs_in(site) == [("hello", "<i>day.yaml (uploaded on the page)")]
        as_json = json.dumps({"yaml": GOOD}).encode()
        code, answer = post(site, "/api/v1/plan", as_json, "application/json", token)
        assert (code, json.loads(answer)["new"], len(json.loads(answer)["already_there"])) == (200, [], 1)


def test_the_governors_page_marks_its_steps_and_never_takes_silence_for_calm(tmp_path: Path):
    site = ApiInstallation(tmp_path)
    site.enqueue({"name": "hot"})
    now = clock.epoch_s()
    telemetry = Telemetry(site.settings.telemetry_path)
    for ago_s in range(0, 1200, 2):
        heat = 104.0 if ago_s == 600 else 80.0
        body = json.dumps({"thermal": {"temp_c": heat}, "memory": {"total_mib": 100, "available_mib": 40}})
        telemetry.write("INSERT INTO samples VALUES (?, 1, ?)", (now - ago_s, body))
    add = "INSERT INTO decisions VALUES (NULL, ?, 1, 1, 3, 'pace', 'heat', ?, ?, ?, ?, 1, ?, 0)"
    telemetry.write(add, (now - 500, "too <b>hot", 0.8, 0, 0, '{"temp_c": 104}'))
    telemetry.write(add, (now - 200, "no cooler", 1.0, 1, 1, "{}"))
    telemetry.close()
    with site.server():
        page, plot = get(site, "/governor"), get(site, "/governor/plots/hour/1/history.svg")
        assert "too &lt;b&gt;hot" in page
        assert "did not help: taken back after" in page
        assert "temp c 104" in page
        assert "<strong>unknown</strong>: " in page
        assert page.count("hot_c") >= 1
        assert ">104</text>" in plot  # one sample among hundreds is still to be seen
        assert "nothing was measured" in plot
        assert "It decided nothing" not in get(site, "/governor?span=week")
        with pytest.raises(urllib.error.HTTPError, match="422"):
            get(site, "/governor?span=year")
