"""Checks of every request (Host, Origin, token, size of the body) and the headers of every answer.

The page listens on loopback, so an attack comes through the browser: a site that points its own name at 127.0.0.1 (DNS
rebinding) still sends that name as Host, and a form on another site sends its Origin. Both are refused. A numeric
address cannot be rebound, because it is not looked up. A change with a cookie must also show that a page of this server
sent it. Nothing of a body is read before the right has been checked, and a refused connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from cbi_queue.api import access
from cbi_queue.api.problems import problem
from cbi_queue.api.token import why_no_change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.responses import JSONResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cbi_queue.settings import Settings

MAX_BODY_BYTES = 65_536
"""Largest body of a request; none needs more than a kilobyte."""
LARGEST_PLAN_BYTES = 1 << 20
"""Largest body that carries a plan, whose own limit is lower: the plan's check then says what is too long in it."""
TOO_LARGE = 413
HEARD_OUT_BYTES, HEARD_OUT_S = 16 << 20, 2.0
"""Largest body that is read, and thrown away, before it is refused as too large, and for how long: browsers show a broken
connection instead of an answer that comes while they send. Of a change, only a sender with the right comes so far; a
request that only reads has no body that anyone needs, and needs no right for this.
"""
PLAN_PATHS = frozenset({"/plan", "/api/v1/plan", "/api/v1/plan/check"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SENT_ONCE = (
    b"host", b"origin", b"authorization", b"content-length", b"content-type", b"cookie", b"sec-fetch-site",
)  # fmt: skip
"""Headers of which a second one is refused: programs differ in which of the two they believe."""
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
HTTP_PORT = 80

ANSWER_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with the page's own forms
    "Cross-Origin-Resource-Policy": "same-origin",
}
_RAW_HEADERS = {name.lower().encode(): value.encode() for name, value in ANSWER_HEADERS.items()}
NO_STORE = b"no-store"
BEARER = {"WWW-Authenticate": "Bearer"}
_HOW_TO_READ = "in a browser: run `cbi-queue open`; in a program: send `Authorization: Bearer TOKEN`, which is in"


class AllowedHosts:
    """The values of a Host header that mean this server."""

    def __init__(self, host: str, port: int) -> None:
        """Allow loopback and *host*; when *host* is a wildcard, this machine's name and any numeric address."""
        self._port = port
        self._any_address = host in WILDCARDS
        own = [f"{socket.gethostname()}", f"{socket.gethostname()}.local"] if self._any_address else [host]
        names = ["127.0.0.1", "localhost", "::1", *own]
        self._exact = {form for name in names for form in self._forms(name.lower())}

    def __contains__(self, host: str) -> bool:
        """Return True if *host*, as sent, means this server."""
        lowered = host.lower()
        return lowered in self._exact or (self._any_address and self._is_address_with_port(lowered))

    def is_own_origin(self, origin: str) -> bool:
        """Return True if a page of this server sent the request."""
        return origin.startswith("http://") and origin.removeprefix("http://") in self

    def _forms(self, name: str) -> list[str]:
        bracketed = f"[{name}]" if ":" in name else name
        return [f"{bracketed}:{self._port}"] + ([bracketed] if self._port == HTTP_PORT else [])

    def _is_address_with_port(self, host: str) -> bool:
        address = host.removesuffix(f":{self._port}")
        if address == host and self._port != HTTP_PORT:
            return False
        try:
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    error: str
    hint: str | None
    headers: Mapping[str, str] = MappingProxyType({})


class Guard:
    """Refuses requests meant for another server, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, answer: Callable[[Scope, Refusal], Response]) -> None:
        """Wrap *app*; *answer* makes the answer of a refusal, as JSON or as a page."""
        self._app, self._answer = app, answer
        self._settings = settings
        self._hosts = AllowedHosts(settings.host, settings.port)
        self._url = settings.page_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if (address := self._address_of_the_right(scope, headers, refusal)) is not None:
            await RedirectResponse(address)(scope, receive, send_guarded)
            return
        if refusal is not None and refusal.status == TOO_LARGE and int(headers["content-length"]) <= HEARD_OUT_BYTES:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARD_OUT_S):
                    while (await receive()).get("more_body", False):
                        pass
        await (self._app if refusal is None else self._answer(scope, refusal))(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        once = [name for name, _ in scope["headers"] if name in SENT_ONCE]
        if twice := [name for name in SENT_ONCE if once.count(name) > 1]:
            return Refusal(400, f"the request has two {twice[0].decode().title()} headers", "send it once")
        host = headers.get("host")
        if host is None or host not in self._hosts:
            error = f"the Host header names {host or 'none'!r}, which is not this server"
            return Refusal(400, error, f"open {self._url}")
        return self._right_refusal(scope, headers) or _body_refusal(
            headers, LARGEST_PLAN_BYTES if scope["path"] in PLAN_PATHS else MAX_BODY_BYTES
        )

    def _address_of_the_right(self, scope: Scope, headers: Headers, refusal: Refusal | None) -> str | None:
        """Return where a person is sent who opens a page by another name of loopback than that of `open`'s cookie.

        Browsers keep cookies by name. The request was for this server (its Host is one of ours), and the address begins
        with our own: nobody can be sent elsewhere, and no other name is let in.
        """
        is_page = "text/html" in headers.get("accept", "") and headers.get("sec-fetch-mode", "navigate") == "navigate"
        is_refused = refusal is not None and refusal.status != access.NO_RIGHT
        path = scope["raw_path"].decode("latin-1")
        if is_refused or not is_page or scope["method"] not in SAFE_METHODS or not path.startswith("/"):
            return None
        own, name = url_host(self._url), url_host(f"http://{headers['host']}")
        if name == own or access.may_change_now() or not (access.is_loopback(name) and access.is_loopback(own)):
            return None
        query = scope["query_string"].decode("latin-1")
        return f"{self._settings.page_origin}{path}{f'?{query}' if query else ''}"

    def _right_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return why the sender may not do what it asks for; note whether it may change the queue."""
        is_change = scope["method"] not in SAFE_METHODS
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        is_foreign = origin is not None and not self._hosts.is_own_origin(origin)
        if is_change and (is_foreign or site not in {None, "same-origin", "none"}):
            who = f"a page from {origin!r}" if is_foreign else f"a page of another origin (Sec-Fetch-Site: {site})"
            return Refusal(403, f"{who} may not change anything here", "use curl or the command line")
        has_token = access.has_token(self._settings, headers)
        has_right = has_token or access.has_session(self._settings, headers)
        access.note_right(has_right)
        if is_change and not has_right:
            what, hint = why_no_change(self._settings, headers.get("authorization")) or ("", "")
            return Refusal(access.NO_RIGHT, what, f"{hint}; a browser gets the right from `cbi-queue open`", BEARER)
        if is_change and not has_token and origin is None and site != "same-origin":
            shown = "a change with a cookie must show that a page of this server sent it: Origin or Sec-Fetch-Site"
            return Refusal(403, shown, "send the token instead")
        if has_right or is_change or scope["path"].startswith(access.ALWAYS_OPEN):
            return None
        if (why := self._why_reading_needs_a_right) is None:
            return None
        hint = f"{_HOW_TO_READ} {self._settings.token_path}; or the setting page_reading, in docs/settings.md"
        return Refusal(access.NO_RIGHT, f"reading needs a right here: {why}", hint, BEARER)

    @functools.cached_property
    def _why_reading_needs_a_right(self) -> str | None:
        return access.why_reading_needs_a_right(self._settings)


def _body_refusal(headers: Headers, most: int) -> Refusal | None:
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return Refusal(411, "the request does not state the length of its body", "send a Content-Length header")
    if int(length) > most:
        return Refusal(TOO_LARGE, f"the body has {length} bytes; at most {most} are allowed", None)
    return None


def _add_headers(message: Message) -> None:
    own = [pair for pair in message["headers"] if pair[0] not in _RAW_HEADERS]
    if all(name != b"cache-control" for name, _ in own):
        own.append((b"cache-control", NO_STORE))
    message["headers"] = [*own, *_RAW_HEADERS.items()]


def refuse(status: int, error: str, hint: str | None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer of a refusal, a problem; the connection is closed after it."""
    return problem(status, error, hint, {"Connection": "close", **(headers or {})})


def url_host(url: str) -> str:
    """Return the host of *url* in small letters, without the brackets of an IPv6 address."""
    return urlsplit(url).hostname or ""


class HeadAsGet:
    """Answers HEAD as GET, without the body; `is_head` in the scope tells a route that it need not make one."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", "is_head": True}, receive, send_without_body)
