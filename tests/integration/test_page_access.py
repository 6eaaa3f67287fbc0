"""Who may read the page and change the queue: links, cookies, tokens; over real sockets to a real server."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support.api_installation import ApiInstallation
from support.raw_client import request, send

from cbi_queue.api import access, sessions
from cbi_queue.api.token import read_token
from cbi_queue.ledger.holds import holds_in_force

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process
FORM = "Content-Type: application/x-www-form-urlencoded"
BROWSER = "Accept: text/html"


def run_open(site: ApiInstallation, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "open", *options]
    return subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=60, check=False)


def follow(site: ApiInstallation, link: str) -> tuple[int, str]:
    """Follow a link as a browser does; return the status and the cookie that came."""
    path = link.removeprefix(site.url)
    answered = send(site.port, request(site.port, f"GET {path} HTTP/1.1", BROWSER, "Connection: close"))
    found = re.search(r"^set-cookie: ([^;\r]+)", answered.text, re.MULTILINE | re.IGNORECASE)
    return answered.status, found[1] if found else ""


def pause(site: ApiInstallation, *headers: str, path: str = "/pause") -> int:
    body = "reason=warm"
    line = f"POST {path} HTTP/1.1"
    asked = request(site.port, line, FORM, f"Content-Length: {len(body)}", "Connection: close", *headers, body=body)
    return send(site.port, asked).status


def is_paused(site: ApiInstallation) -> bool:
    with site.ledger() as ledger:
        return bool(holds_in_force(ledger))


def test_a_link_works_once_and_its_cookie_changes_only_what_the_own_pages_ask_for(site):
    """The whole way of `cbi-queue open`, and every way in which somebody else could try to use it."""
    own = f"Origin: {site.url}"
    with site.server():
        printed = run_open(site, "--print", "--json")
        said = json.loads(printed.stdout)
        link = said.pop("link")
        assert said == {"opened": False, "within_s": 60.0}
        assert (printed.returncode, link.startswith(f"{site.url}/open/link/")) == (0, True), printed.stderr
        secret = link.rpartition("/")[2]
        kept = [path for path in site.settings.state_dir.rglob("*") if path.is_file()]
        assert not [path for path in kept if secret.encode() in path.read_bytes() or secret in path.name]
        folder = site.settings.state_dir / "page-access"
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        path = link.removeprefix(site.url)
        answered = send(site.port, request(site.port, f"GET {path} HTTP/1.1", BROWSER, "Connection: close"))
        [given] = re.findall(r"set-cookie: (.*)\r", answered.text)
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(given.split("; "))
        login = f"Cookie: {given.partition(';')[0]}"
        assert follow(site, link) == (403, ""), "a link that somebody saw is used up"
        assert follow(site, f"{site.url}/open/link/..%2f..%2fapi-token")[0] in {403, 404}

        foreign = {
            "another site": (login, "Origin: http://evil.example"),
            "a form of another site, without its name": (login, "Origin: null"),
            "another port": (login, f"Origin: http://127.0.0.1:{site.port + 1}"),
            "neither said": (login,),
            "a fetch of another site": (login, own, "Sec-Fetch-Site: cross-site"),
            "a program on another port": (login, own, "Sec-Fetch-Site: same-site"),
            "a made up cookie": (f"Cookie: cbi-queue-{site.port}={'x' * 43}", own),
            "the secret of the link": (f"Cookie: cbi-queue-{site.port}={secret}", own),
            "no cookie": (own,),
        }
        assert {why: pause(site, *headers) for why, headers in foreign.items() if pause(site, *headers) < 400} == {}
        rebound = request(site.port, "POST /pause HTTP/1.1", FORM, login, "Content-Length: 0", host="evil.example")
        assert send(site.port, rebound).status == 400
        assert not is_paused(site)

        page = send(site.port, request(site.port, "GET /status HTTP/1.1", BROWSER, login, "Connection: close")).text
        assert "Pause the slot" in page
        assert "gives this browser the right" not in page
        assert pause(site, login, own, BROWSER) == 303
        assert is_paused(site)
        assert pause(site, login, "Sec-Fetch-Site: same-origin", path="/api/v1/resume") in {415, 422}, (
            "let in, then refused"
        )

        for name, path, then in (
            ("localhost", "/jobs/a%20b?x=%3Ci%3E", f"{site.url}/jobs/a%20b?x=%3Ci%3E"),
            ("[::1]", "//evil.example/..", f"{site.url}//evil.example/.."),
            ("localhost.evil.example", "/status", None),
            ("127.0.0.1", "/status", None),
        ):
            asked = request(site.port, f"GET {path} HTTP/1.1", BROWSER, host=f"{name}:{site.port}")
            moved = re.search(r"^location: (.*)\r$", send(site.port, asked).text, re.MULTILINE)
            assert (moved and moved[1]) == then, "a page by another name of loopback is one where the right holds"
        for more in (login, "Sec-Fetch-Mode: cors"):
            asked = request(site.port, "GET /status HTTP/1.1", BROWSER, more, host=f"localhost:{site.port}")
            assert send(site.port, asked).status == 200

        stream = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        stream.request("GET", "/api/v1/events/stream", headers=dict([login.split(": ", 1)]))
        answer = stream.getresponse()
        assert answer.readline() == b"retry: 2000\n"
        revoked = json.loads(run_open(site, "--revoke", "--json").stdout)
        assert revoked == {"revoked": 1}
        assert pause(site, login, own) == 401
        assert b"hello" in answer.read(), "it ends; else it would be kept alive, and this would hang"
        stream.close()


def test_a_link_that_is_too_old_and_one_from_the_future_are_void(site):
    with site.server():
        for age_s in (sessions.LINK_S + 5, -3600):
            link = sessions.new_link(site.settings)
            [path] = (site.settings.state_dir / "page-access").glob("link-*")
            then = path.stat().st_mtime - age_s
            os.utime(path, (then, then))
            assert follow(site, link) == (403, "")
        status, cookie = follow(site, sessions.new_link(site.settings))
        assert status == 200
        [path] = (site.settings.state_dir / "page-access").glob("session-*")
        then = path.stat().st_mtime - sessions.SESSION_S - 5
        os.utime(path, (then, then))
        assert pause(site, f"Cookie: {cookie}", f"Origin: {site.url}") == 401


def test_the_cookie_of_another_queue_is_worth_nothing_here(site, tmp_path_factory):
    other = ApiInstallation(tmp_path_factory.mktemp("other"))
    with site.server(), other.server():
        _, cookie = follow(other, sessions.new_link(other.settings))
        here = cookie.replace(str(other.port), str(site.port))
        assert pause(other, f"Cookie: {cookie}", f"Origin: {other.url}") in {200, 303}
        assert [pause(site, f"Cookie: {each}", f"Origin: {site.url}") for each in (cookie, here)] == [401, 401]


def test_open_sends_nothing_to_a_program_that_only_has_the_port(site):
    """It may even pass the question on to the real server, which stands at another port."""
    nobody = run_open(site)
    assert (nobody.returncode, "cbi-queue serve" in nobody.stderr) == (2, True)

    real = replace(site.settings, port=site.port + 1)
    with socket.create_server(("127.0.0.1", site.port)) as stranger:
        asked: list[bytes] = []

        def relay() -> None:
            client = stranger.accept()[0]
            with client:
                asked.append(client.recv(65_536))
                challenge = asked[0].split(b" ")[1].rpartition(b"/")[2].decode()
                said = sessions.proof(real, challenge)
                client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode())

        thread = threading.Thread(target=relay)
        thread.start()
        refused = run_open(site)
        thread.join(60)

    assert refused.returncode == 2
    assert "is not the page of the queue in" in refused.stderr
    assert not list((site.settings.state_dir / "page-access").glob("link-*"))
    assert b"/open/proof/" in asked[0]


@pytest.mark.parametrize("asked_by", ["setting", "address"])
def test_reading_without_a_right_is_refused_where_others_could_connect(site, asked_by):
    changes = {"CBI_PAGE_READING": "token"}
    if asked_by == "address":
        changes = {"CBI_PAGE_READING": "auto", "CBI_HOST": "0.0.0.0", "CBI_OTHER_MACHINES": "allow"}
    site.environ |= changes
    site.enqueue({"name": "secret-name"})
    with site.server():
        token = f"Authorization: Bearer {read_token(site.settings)}"
        for path in (
            "/status",
            "/api/v1/status",
            "/api/v1/events/stream",
            "/metrics",
            "/jobs/secret-name",
            "/openapi.json",
        ):
            bare = send(site.port, request(site.port, f"GET {path} HTTP/1.1"))
            assert (bare.status, bare.is_closed, "secret-name" in bare.text.partition("detail")[2]) == (
                401,
                True,
                False,
            ), path
        page = send(site.port, request(site.port, "GET /status HTTP/1.1", BROWSER)).text
        assert "cbi-queue open" in page.partition("<body>")[2]
        assert "secret-name" not in page
        assert send(site.port, request(site.port, "GET /static/live.js HTTP/1.1")).status == 200
        assert "secret-name" in send(site.port, request(site.port, "GET /api/v1/jobs HTTP/1.1", token)).text
        _, cookie = follow(site, sessions.new_link(site.settings))
        seen = send(site.port, request(site.port, "GET /status HTTP/1.1", BROWSER, f"Cookie: {cookie}")).text
        assert "secret-name" in seen


def accounts(*others: tuple[str, int, str]) -> list[SimpleNamespace]:
    own = (
        ("me", os.geteuid(), "/bin/bash"),
        ("root", 0, "/bin/bash"),
        ("sync", 4, "/bin/sync"),
        ("x", 9, "/sbin/nologin"),
    )
    return [SimpleNamespace(pw_name=name, pw_uid=uid, pw_shell=shell) for name, uid, shell in (*own, *others)]


def test_accounts_that_could_connect_are_named_and_an_unknown_answer_is_no_permission(
    monkeypatch, tmp_path: Path, site
):
    settings = replace(site.settings, page_reading="auto")
    monkeypatch.setattr(access, "_has_directory", lambda: False)
    monkeypatch.setattr(pwd, "getpwall", accounts)
    assert access.why_reading_needs_a_right(settings) is None
    for shell in ("/bin/zsh", ""):  # no shell stands for /bin/sh
        monkeypatch.setattr(pwd, "getpwall", lambda shell=shell: accounts(("bob", 7001, shell)))
        assert access.why_reading_needs_a_right(settings) == "other accounts of this machine can connect, too: bob"
    monkeypatch.setattr(pwd, "getpwall", accounts)
    monkeypatch.setattr(access, "_has_directory", lambda: True)
    assert "not known" in (access.why_reading_needs_a_right(settings) or "")


def test_a_hundred_megabytes_are_refused_before_they_are_read(site):
    with site.server(
        "import cbi_queue.api.connections as c; c.REQUEST_WITHIN_S = c.ANSWER_WITHIN_S = 3600.0"
    ) as process:
        token = f"Authorization: Bearer {read_token(site.settings)}"
        for path in ("/pause", "/api/v1/pause"):
            asked = request(site.port, f"POST {path} HTTP/1.1", FORM, token, "Content-Length: 104857600")
            answered = send(site.port, asked)  # the body never comes
            assert (answered.status, answered.is_closed) == (413, True)
        assert process.poll() is None
