"""A client of the status page that sends bytes as it likes, over a real socket."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass

SETTLED_S = 0.5
"""How long more is waited for after a whole answer that leaves the connection open."""


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    """0 when nothing did."""
    text: str
    is_closed: bool
    """The server closed the connection."""


def send(port: int, request: bytes, *, host: str = "127.0.0.1", within_s: float = 60.0) -> Answered:
    """Send *request*, and read until the server closes, or for a moment more when its answer leaves the connection open."""
    received, is_closed = b"", False
    with socket.create_connection((host, port), timeout=within_s) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
        try:
            while not is_closed:
                piece = client.recv(65_536)
                received, is_closed = received + piece, not piece
                client.settimeout(SETTLED_S if _is_all(request, received) else within_s)
        except TimeoutError:
            pass
        except ConnectionResetError:
            is_closed = True
    words = received.split(b" ", 2)
    status = int(words[1]) if received.startswith(b"HTTP/") and len(words) > 1 else 0
    return Answered(status, received.decode(errors="replace"), is_closed)


def _is_all(request: bytes, received: bytes) -> bool:
    """Return True if an answer is whole and does not say that the server closes the connection."""
    head, end, body = received.lower().partition(b"\r\n\r\n")
    if not end or b"\r\nconnection: close" in head:
        return False
    if b"\r\ntransfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    return length is None or len(body) >= int(length[1]) or request.startswith(b"HEAD")


def request(port: int, line: str, *headers: str, body: str = "", host: str | None = None) -> bytes:
    """Return the bytes of a request; *host* None: this server, empty: no Host header."""
    named = f"127.0.0.1:{port}" if host is None else host
    lines = [line, *([f"Host: {named}"] if named else []), *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")
