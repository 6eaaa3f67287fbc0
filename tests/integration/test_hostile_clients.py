"""Clients of the status page that mean it no good: slow, many, odd or lying; over real sockets to a real process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import uvicorn
from support.api_installation import STARTS_WITHIN_S
from support.raw_client import request, send
from support.waiting import until
from uvicorn.server import ServerState

from cbi_queue.api.connections import MOST_CONNECTIONS, PatientConnection
from cbi_queue.api.token import ensure_token, read_token
from cbi_queue.ledger import queries

pytestmark = pytest.mark.process

HASTY = "import cbi_queue.api.connections as c; c.REQUEST_WITHIN_S = c.ANSWER_WITHIN_S = 1.5"
"""Patience that a test can wait for."""
PATIENT = "import cbi_queue.api.connections as c; c.REQUEST_WITHIN_S = c.ANSWER_WITHIN_S = 3600.0"
"""So much that what is closed was closed for another reason."""
LOGIN = "Authorization: Bearer {token}"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1, so nobody can listen there")


# --- whoever says localhost reaches us


@needs_ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
def test_both_loopbacks_are_ours_whatever_the_host(site, host):
    """`localhost:8000/status` may mean either; a stranger on the other one would be sent the token."""
    site.environ |= {"CBI_HOST": host, "CBI_OTHER_MACHINES": "allow"}
    with site.server():
        for address, name in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::1", "localhost")):
            asked = request(site.port, "GET /status HTTP/1.1", host=f"{name}:{site.port}")
            assert send(site.port, asked, host=address).status == 200, address


@needs_ipv6
@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_a_stranger_on_one_loopback_is_named_and_nothing_is_served(site, taken):
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, site.port), family=family):
        command = [sys.executable, "-P", "-m", "cbi_queue.api"]
        done = subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    where = f"[{taken}]" if ":" in taken else taken
    assert f"cannot serve on {where}:{site.port}: another program listens" in done.stderr


# --- slow and many


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (b"", b""),
        (b"GET /status HTTP/1.1\r\n", b"x"),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", b"G"),
        (
            b"POST /api/v1/pause HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99\r\n" + LOGIN.encode() + b"\r\n\r\n",
            b" ",
        ),
    ],
    ids=["silent", "a byte now and then", "after an answer", "within a body"],
)  # fmt: skip
def test_a_client_that_does_not_finish_its_request_is_closed(site, sent, then):
    """One byte now and then must not start its time anew."""
    filled = sent.replace(b"{port}", str(site.port).encode()).replace(b"{token}", ensure_token(site.settings).encode())
    with site.server(HASTY), socket.create_connection(("127.0.0.1", site.port), timeout=0.2) as client:
        client.sendall(filled)
        began = time.monotonic()

        def is_closed() -> bool:
            try:
                client.sendall(then)
                return client.recv(65_536) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        until(is_closed, "the server closes it")

    assert time.monotonic() - began > 1.0, "not before its time is over"


def test_a_client_that_does_not_read_its_answer_is_closed(site):
    site.enqueue({"name": "a"})
    site.start_next(log="a line of forty letters, more or less ....\n" * 45_000)
    with site.server(HASTY) as process, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", site.port))
        for _ in range(5):
            client.sendall(request(site.port, "GET /api/v1/jobs/a/log?tail=100000 HTTP/1.1"))
        until(lambda: open_connections(process.pid) == 1, "it is connected")
        until(lambda: open_connections(process.pid) == 0, "it is closed")


def test_two_hundred_silent_connections_lock_nobody_out(site):
    with site.server(PATIENT) as process, contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
        answered = send(site.port, request(site.port, "GET /healthz HTTP/1.1", "Connection: close"))
        open_now = open_connections(process.pid)

    assert answered.status == 200
    assert open_now <= MOST_CONNECTIONS


def test_a_connection_sends_at_once_and_one_that_left_does_not_keep_its_place():
    """Else each body waited 40 ms for the ACK of its head. macOS refuses the option where the other end is gone."""

    class Gone(socket.socket):
        def setsockopt(self, *_given: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    async def come_and_go() -> None:
        with Gone() as left, socket.socket() as there:
            for client in (there, left):
                come(client)
            assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    def come(client: socket.socket) -> None:
        config = uvicorn.Config(lambda *_given: None, log_config=None)
        connection = PatientConnection(config, ServerState(), {})
        connection.connection_made(
            SimpleNamespace(get_extra_info={"socket": client}.get, is_closing=lambda: False, abort=lambda: None)
        )
        assert connection._timer is not None
        connection._timer.cancel()

    asyncio.run(come_and_go())


def open_connections(pid: int) -> int:
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(pid).net_connections("tcp"))


# --- what is read before the token


def test_nothing_of_a_body_is_read_or_awaited_before_the_token(site):
    """Not even `100 Continue` is answered, and the connection is closed at once."""
    with site.server(PATIENT):
        for headers in ((), ("Authorization: Bearer wrong",), ("Expect: 100-continue",)):
            asked = request(site.port, "POST /api/v1/pause HTTP/1.1", "Content-Length: 60000", *headers)
            answered = send(site.port, asked)
            assert (answered.status, answered.is_closed) == (401, True), headers


def test_the_token_is_in_no_command_line_no_environment_and_no_output(site):
    with site.server() as process:
        token = read_token(site.settings)
        assert token
        good = request(site.port, "POST /api/v1/resume HTTP/1.1", f"Authorization: Bearer {token}", "Content-Length: 0")
        bad = request(site.port, f"GET /{token}\x00 HTTP/1.1", f"Authorization: Bearer {token}")
        assert (send(site.port, good).status, send(site.port, bad).status) == (200, 400)
        shown = [*psutil.Process(process.pid).cmdline(), *psutil.Process(process.pid).environ().values()]
        page = send(site.port, request(site.port, "GET /status?format=html HTTP/1.1")).text
    assert not any(token in each for each in (*shown, page))
    assert token not in process.stdout.read() if not process.stdout.closed else True
    kept = [
        path for path in site.settings.state_dir.rglob("*") if path.is_file() and token.encode() in path.read_bytes()
    ]
    assert kept == [site.settings.token_path]


# --- odd


def odd_requests(port: int, token: str) -> list[tuple[str, bytes, set[int]]]:
    """Name, bytes, and the statuses that are right: 0 is a connection closed without a word."""
    own, login = f"127.0.0.1:{port}", LOGIN.format(token=token)
    refused = {0, 400}
    cases: list[tuple[str, bytes, set[int]]] = []

    def case(name: str, right: set[int], line: str, *headers: str, body: str = "", host: str | None = None) -> None:
        cases.append((name, request(port, line, *headers, body=body, host=host), right))

    hosts = [
        "", "evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"{own}.evil", f"evil@{own}",
        f"{own}@evil", f"127.1:{port}", f"2130706433:{port}", f"0x7f000001:{port}", f"0177.0.0.1:{port}", "127.0.0.1",
        f"127.0.0.1:0{port}", f"127.0.0.1:{port + 1}", "[::1]", f"::1:{port}", f"[::ffff:127.0.0.1]:{port}",
        f"[::]:{port}",
        f"[0:0:0:0:0:0:0:1]:{port}", f"[::1%25lo]:{port}", f"0.0.0.0:{port}", f"localhost.:{port}",
        f"LOCALHOST.:{port}",
        f"localhost:{port},evil", f"localhost:{port} evil", f"http://{own}", f"{own}/", f"{own}#", "*", f"*:{port}",
        f"rebind.localhost:{port}", f"\xe9vil:{port}", "a" * 5000,
    ]  # fmt: skip
    for host in hosts:
        case(f"host {host[:40]!r}", refused, "GET /status HTTP/1.1", host=host)
        case(
            f"change, host {host[:40]!r}", refused, "POST /api/v1/pause HTTP/1.1", login, "Content-Length: 0", host=host
        )

    for second in (f"Host: {own}", "Host: evil.example", "host: evil.example"):
        case(f"two hosts {second}", refused, "GET /status HTTP/1.1", second)
    foreign = (
        "null",
        "http://evil.example",
        f"https://{own}",
        f"http://{own}.evil",
        f"http://evil@{own}",
        "",
        "*",
        "file://",
    )
    for origin in foreign:
        case(
            f"origin {origin!r}", {403}, "POST /api/v1/pause HTTP/1.1", f"Origin: {origin}", login, "Content-Length: 0"
        )
        twice = (f"Origin: http://{own}", f"Origin: {origin}")
        case(f"two origins {origin!r}", refused, "POST /api/v1/pause HTTP/1.1", *twice, login, "Content-Length: 0")
    form = "Content-Type: application/x-www-form-urlencoded"
    case("form post", {401}, "POST /api/v1/pause HTTP/1.1", form, "Content-Length: 8", body="reason=x")
    case(
        "form post, own origin",
        {401},
        "POST /api/v1/pause HTTP/1.1",
        f"Origin: http://{own}",
        form,
        "Content-Length: 0",
    )
    case("two tokens", refused, "POST /api/v1/pause HTTP/1.1", "Authorization: Bearer x", login, "Content-Length: 0")
    cookie = f"Cookie: token={token}"
    case("token as a cookie", {401}, "POST /api/v1/pause HTTP/1.1", cookie, "Content-Length: 0")
    case("token in the query", {401}, f"POST /api/v1/pause?token={token} HTTP/1.1", "Content-Length: 0")
    case("token as basic", {401}, "POST /api/v1/pause HTTP/1.1", f"Authorization: Basic {token}", "Content-Length: 0")
    case(
        "half a token", {401}, "POST /api/v1/pause HTTP/1.1", f"Authorization: Bearer {token[:20]}", "Content-Length: 0"
    )
    for length in ("-1", "+1", "1.0", "0x10", "1 2", "", "9" * 30, "1_0"):
        case(
            f"length {length!r}", {0, 400, 411, 413}, "POST /api/v1/pause HTTP/1.1", login, f"Content-Length: {length}"
        )
    two = ("Content-Length: 2", "Content-Length: 40")
    case("two lengths", refused, "POST /api/v1/pause HTTP/1.1", login, *two, body="{}")
    chunked, length = "Transfer-Encoding: chunked", "Content-Length: 4"
    smuggled = f"0\r\n\r\nPOST /api/v1/pause HTTP/1.1\r\nHost: {own}\r\n\r\n"
    for line in ("POST /api/v1/pause HTTP/1.1", "GET /status HTTP/1.1"):
        case(f"length and chunks {line}", {0, 400, 411}, line, login, length, chunked, body=smuggled)
        case(f"chunks {line}", {411}, line, login, chunked, body=smuggled)
        case(f"odd chunks {line}", {0, 400, 411, 501}, line, login, "Transfer-Encoding: xchunked", body=smuggled)
        case(f"spaced chunks {line}", refused, line, login, "Transfer-Encoding : chunked", body=smuggled)
        case(
            f"folded header {line}",
            {0, 200, 401, 411, 422},
            line,
            "X-A: b\r\n Transfer-Encoding: chunked",
            body=smuggled,
        )
        case(f"large body {line}", {413}, line, login, "Content-Length: 70000")
    paths = [
        "/../../etc/passwd", "/static/../../token.py", "/static/%2e%2e/token.py", "/static/..%2f..%2fapp.py",
        "/static//etc/passwd",
        "/static/....//app.py", "/static/%00", "/static/", "/static/..\\app.py", "/%2e%2e/", "//evil.example/x",
        "/api/v1/jobs/..%2f..%2fapi-token", "/api/v1/jobs/%2e%2e/log", "/api/v1/jobs/a%00/log",
        "/api/v1/jobs/" + "9" * 400,
        "/api/v1/jobs/" + "a" * 9000, "/api/v1/jobs/%ff%fe", "/api/v1/jobs/';DROP TABLE jobs", "/api/v1/jobs/-1",
        "/docs", "/redoc",
        "http://evil.example/status", f"http://{own}/status", "*", "/.git/config", "/api-token", "/api/v1/jobs/1e3/why",
    ]  # fmt: skip
    for path in paths:
        case(f"path {path[:40]}", {0, 400, 404, 405, 422}, f"GET {path} HTTP/1.1")
    for method in ("TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "G\xc9T"):
        case(f"method {method}", {0, 400, 401, 404, 405}, f"{method} /api/v1/pause HTTP/1.1", "Content-Length: 0")
        case(
            f"method {method} with token",
            {0, 400, 404, 405},
            f"{method} /api/v1/pause HTTP/1.1",
            login,
            "Content-Length: 0",
        )
    case("options", {405}, "OPTIONS /api/v1/pause HTTP/1.1", "Origin: http://evil.example")
    case("HTTP/1.0 without a host", refused, "GET /status HTTP/1.0", host="")
    case("HTTP/0.9", refused, "GET /status", host="")
    case("HTTP/2.0", {200, 400}, "GET /status HTTP/2.0")
    case("HTTP/2 preface", refused, "PRI * HTTP/2.0", host="")
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    case("websocket", {404, 405}, "GET /api/v1/pause HTTP/1.1", *upgrade)
    case("header flood", refused, "GET /status HTTP/1.1", *(f"X-{number}: {'a' * 100}" for number in range(2000)))
    case("one long header", refused, "GET /status HTTP/1.1", "X: " + "a" * 200_000)
    case("no colon", refused, "GET /status HTTP/1.1", "no colon here")
    case("a null in a header", refused, "GET /status HTTP/1.1", "X-A: a\x00b")
    case("body that is no JSON", {422}, "POST /api/v1/pause HTTP/1.1", login, "Content-Length: 3", body="{{{")
    deep = "[" * 30_000
    case(
        "deep JSON",
        {400, 422},
        "POST /api/v1/pause HTTP/1.1",
        login,
        "Content-Type: application/json",
        f"Content-Length: {len(deep)}",
        body=deep,
    )
    cases += [
        ("bare line feeds", b"GET /status HTTP/1.1\nHost: evil\n\n", refused),
        ("TLS", bytes.fromhex("16030100a5010000a10303") + bytes(160), refused),
        ("zeroes", bytes(5000), refused),
        ("newlines", b"\r\n" * 3000, refused),
        ("latin", bytes(range(256)) * 20, refused),
    ]  # fmt: skip
    return cases


def test_odd_requests_are_refused_change_nothing_and_are_not_logged(site):
    """DNS rebinding, cross-site forms, smuggling, path tricks, floods: each by raw bytes."""
    site.enqueue({"name": "a"})
    with site.server() as process:
        token = read_token(site.settings)
        assert token
        tried = odd_requests(site.port, token)
        wrong = []
        for name, sent, right in tried:
            answered = send(site.port, sent)
            if answered.status not in right or "access-control" in answered.text.lower() or token in answered.text:
                wrong.append((name, answered.status, answered.text[:200]))
            elif answered.status == 0:
                assert answered.is_closed, name
        assert send(site.port, request(site.port, "GET /healthz HTTP/1.1")).status == 200
        with site.ledger() as ledger:
            assert [event.event for event in queries.last_events(ledger, 5)] == ["enqueue"]
        process.terminate()
        said = process.stdout.read()
        process.wait(STARTS_WITHIN_S)

    assert len(tried) > 100
    assert not wrong, "\n".join(map(str, wrong))
    assert len(said.splitlines()) == 4, "where it serves, and nothing of what was sent"
    assert Path(site.settings.token_path).read_text().strip() == token
