"""What the status page's server takes, `cbi-queue serve`, after a few requests on a ledger of 70 jobs."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from benchmarks.footprint import Footprint
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target

if TYPE_CHECKING:
    from benchmarks.installation import Installation

PATHS = ("/status", "/api/v1/status", "/openapi.json")
TIMES = 5
"""Requests of each path."""


def lines(rounds: int) -> list[Line]:
    """Watch *rounds* servers, one after the other."""
    with installation() as home:
        home.enqueue(*week_of_jobs())
        looks = [_watch(home) for _ in range(rounds)]
    what = f"`cbi-queue serve` after {TIMES * len(PATHS)} requests, resident memory"
    return [Line(what, "MB", tuple(look.rss_mb for look in looks), Target(90.0), looks[-1].memory_words())]


def _watch(home: Installation) -> Footprint:
    port = free_port()
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)) as server:
        until(lambda: answers(port), "the server to answer")
        for path in PATHS * TIMES:
            get(port, path)
        return Footprint.of(server.pid)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Return True once the server at *port* answers."""
    try:
        get(port, "/api/v1/status")
    except urllib.error.URLError:
        return False
    return True


def get(port: int, path: str) -> None:
    """Ask for *path* and read the answer to its end."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        answer.read()
