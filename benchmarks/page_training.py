"""What it costs a training that somebody asks for the page and the API, 50 times a second in turn.

One training goes on all the time, LightGBM on a real daily series with one thread, in steps of some hundredths of a second that
tell their time. Stretches of three seconds with asking and without alternate, and each is held against the one beside it;
the interval of the median is over these pairs. The value is its upper end: only below the target is it shown. Where the
system can bind processes to cores (not macOS), the client is never on the trainer's core, and the server once beside the
client, as where the trainer leaves it a core, and once on the trainer's. Both kinds of stretch have the daemon's reports.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, interval
from benchmarks.page_speed import API, PAGE, RATE, REPORT_EVERY_S, fill, served, training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from benchmarks.page_speed import Server

STRETCH_S = 3.0
MOST_SLOWDOWN_PCT = 1.0
CORES = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_setaffinity") else []
"""The trainer's, and the other; fewer: nothing is bound."""
_LENGTH = re.compile(rb"^HTTP/1\.1 200 .*\r\ncontent-length: (\d+)\r\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of the training."""

    begun: float
    ended: float
    server_s: float
    """Processor time of the server."""


def lines(rounds: int) -> list[Line]:
    """Hold *rounds* stretches with asking against as many without, for each place of the server."""
    places = {"on another core": CORES[1:], "on the trainer's core": CORES[:1]} if len(CORES) > 1 else {"anywhere": []}
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(installation())
        fill(home, 0, 0)
        server = stack.enter_context(served(home))
        trainer, fits = stack.enter_context(training(home))
        bind(trainer, CORES[:1])
        stack.callback(bind, os.getpid(), os.sched_getaffinity(0) if CORES else ())
        bind(os.getpid(), CORES[1:])
        return [line for place, cores in places.items() for line in _measured(server, fits, (place, cores), rounds)]


def bind(pid: int, cores: Sequence[int]) -> None:
    """Bind every thread of a process, and those that they start, to *cores*; to none: leave it as it is."""
    for thread in psutil.Process(pid).threads() if cores else ():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


def _measured(server: Server, fits: IO[str], place: tuple[str, Sequence[int]], rounds: int) -> Iterator[Line]:
    bind(server.pid, place[1])
    _stretch(server, is_asked=True)
    pairs = []
    for number in range(rounds):
        turn = number % 2
        both = [_stretch(server, is_asked=is_asked) for is_asked in (turn == 1, turn == 0)]
        pairs.append((both[turn], both[1 - turn]))
    steps = [[float(word) for word in line.split()] for line in fits.readlines() if line.endswith("\n")]
    slower = [found for quiet, busy in pairs if (found := _slower(steps, quiet, busy))] or [(math.nan, math.nan)]
    took = sum(busy.server_s for _, busy in pairs) / sum(busy.ended - busy.begun for _, busy in pairs)
    for values, how in zip(zip(*slower, strict=True), ("by the clock", "in processor time"), strict=True):
        low, high = interval(values)
        what = f"training while somebody asks, the server {place[0]}, slower {how} by at most"
        note = f"median {statistics.median(values):.2f} %, within {low:.2f}..{high:.2f} % (95 %), {len(values)} pairs of stretches"
        yield Line(what, "%", (high,), Target(MOST_SLOWDOWN_PCT), note)
    words = f"{1e6 * took / RATE:.0f} µs a request, page and API in turn"
    yield Line(f"the server {place[0]} at {RATE} requests a second, share of a core", "%", (100 * took,), note=words)


def _stretch(server: Server, *, is_asked: bool) -> _Stretch:
    """Report as a daemon does for a while, and ask at the rate if *is_asked*."""
    every = round(RATE * REPORT_EVERY_S)
    requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode() for path in (API, PAGE)]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        ask(client, requests[0])
        before, begun = _used_s(server.pid), time.monotonic()
        for number in range(max(2, round(RATE * STRETCH_S))):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            if number % every == 0:
                server.report()
            if is_asked:
                ask(client, requests[number % 2])
        return _Stretch(begun, time.monotonic(), _used_s(server.pid) - before)


def ask(client: socket.socket, request: bytes) -> None:
    """Send *request* and read the whole answer, at a tenth of the cost of a library.

    Raises:
        RuntimeError: when the answer is another than 200.
    """
    client.sendall(request)
    got = b""
    while b"\r\n\r\n" not in got:
        more = client.recv(1 << 17)
        got += more
        if not more:
            break
    found = _LENGTH.match(got)
    if found is None:
        msg = f"the server answers {got[:80]!r}"
        raise RuntimeError(msg)
    left = int(found[1]) - (len(got) - got.index(b"\r\n\r\n") - 4)
    while left > 0:
        left -= len(client.recv(left))


def _used_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _slower(steps: Sequence[Sequence[float]], quiet: _Stretch, busy: _Stretch) -> tuple[float, float] | None:
    """Return by how many percent the steps took longer in *busy* than in *quiet*: by the clock, and in processor time.

    None where a stretch is shorter than a step, as at the smallest size.

    Args:
        steps: begin, end and processor time of each.
        quiet: nobody asks.
        busy: somebody does.
    """
    inside = [[step for step in steps if step[0] >= part.begun and step[1] <= part.ended] for part in (quiet, busy)]
    if not all(inside):
        return None
    wall = [statistics.mean(end - begin for begin, end, _ in part) for part in inside]
    cpu = [statistics.mean(used for *_, used in part) for part in inside]
    return 100 * (wall[1] / wall[0] - 1), 100 * (cpu[1] / cpu[0] - 1)
