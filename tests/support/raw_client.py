"""A client of the status page that sends bytes as it likes, over a real socket."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    """0 when nothing did."""
    text: str
    is_closed: bool
    """The server closed the connection."""
    after_s: float


def send(port: int, request: bytes, *, host: str = "127.0.0.1", within_s: float = 20.0) -> Answered:
    """Send *request*, and read until the server closes or half a second after its answer began."""
    began, received, is_closed = time.monotonic(), b"", False
    with socket.create_connection((host, port), timeout=within_s) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
        try:
            while not is_closed:
                piece = client.recv(65_536)
                received, is_closed = received + piece, not piece
                client.settimeout(0.5)
        except TimeoutError:
            pass
        except ConnectionResetError:
            is_closed = True
    words = received.split(b" ", 2)
    status = int(words[1]) if received.startswith(b"HTTP/") and len(words) > 1 else 0
    return Answered(status, received.decode(errors="replace"), is_closed, time.monotonic() - began)


def request(port: int, line: str, *headers: str, body: str = "", host: str | None = None) -> bytes:
    """Return the bytes of a request; *host* None: this server, empty: no Host header."""
    named = f"127.0.0.1:{port}" if host is None else host
    lines = [line, *([f"Host: {named}"] if named else []), *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")
