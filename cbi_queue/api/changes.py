"""What has changed, told to the streams of all open pages by one thread, which looks only while a page listens.

It asks SQLite for `PRAGMA data_version`, which differs once another connection has committed and costs microseconds; only
then it reads what is new. What only follows the training, which a page may show a second late, is told once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.ledger.file_watch import file_identity
from cbi_queue.regular_files import check_file

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.settings import Settings

MOST_STREAMS = 64
"""Streams at once; one more is told to poll."""
LOOK_EVERY_S = 0.1
HEARTBEAT_S = 15.0
"""Seconds without a change after which a comment shows both ends that the other is there."""
PROGRESS_EVERY_S = 1.0
KINDS = ("queue", "slot", "progress", "governor", "board", "holds")
"""What a change may be about."""
_LOCK_S = 0.05
_MOST_READ = 200
_ENDED = frozenset({"succeeded", "vetoed", "failed", "cancelled"})
_IN_SLOT = frozenset({"running", "paused"})
_SLOW = frozenset({"progress", "governor"})


@dataclass(eq=False)
class Listener:
    """One stream: what it has not been told yet. A slow one misses nothing and piles nothing up: what adds up is a set."""

    last_seen: int | None
    """Number of the newest event that its page knows; None when it does not say."""
    pending: set[str] = field(default_factory=set)
    has_news: asyncio.Event = field(default_factory=asyncio.Event)
    is_greeted: bool = False


class Changes:
    """The streams of one server, and the thread that looks for them. Its methods are called in the event loop."""

    def __init__(self, settings: Settings) -> None:
        """Begin with nobody listening."""
        self._settings = settings
        self._listeners: set[Listener] = set()
        self._stop = threading.Event()
        self._newest: int | None = None
        self.is_closed = False

    def listen(self, last_seen: int | None) -> Listener | None:
        """Add a stream; None when there are as many as there may be, or the server stops."""
        if self.is_closed or len(self._listeners) >= MOST_STREAMS:
            return None
        listener = Listener(last_seen)
        self._listeners.add(listener)
        if len(self._listeners) == 1:
            self._newest, self._stop = None, threading.Event()
            looking = (asyncio.get_running_loop(), self._stop)
            threading.Thread(target=self._look, args=looking, name="changes", daemon=True).start()
        elif self._newest is not None:
            self._greet(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a stream; with the last one the looking ends."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._stop.set()

    def close(self) -> None:
        """End every stream, because the server stops."""
        self.is_closed = True
        for listener in self._listeners:
            listener.has_news.set()

    async def next_lines(self, listener: Listener) -> str | None:
        """Return the next lines of a stream: a change, a greeting or a heartbeat; None at its end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(listener.has_news.wait(), HEARTBEAT_S)
        if self.is_closed:
            return None
        if not listener.has_news.is_set():
            return ": still here\n\n"
        listener.has_news.clear()
        what, kind = [each for each in KINDS if each in listener.pending], "change" if listener.pending else "hello"
        listener.pending.clear()
        body = json.dumps({"event": self._newest, "what": what})
        return f"id: {self._newest}\nevent: {kind}\ndata: {body}\n\n"

    def _greet(self, listener: Listener) -> None:
        """Say up to where the stream is; to a page that comes back, that there was a change, if there was one."""
        listener.is_greeted = True
        if listener.last_seen not in {None, self._newest}:
            listener.pending.update(KINDS)
        listener.has_news.set()

    def _tell(self, stop: threading.Event, newest: int, what: set[str]) -> None:
        if stop is not self._stop:
            return  # from a thread that ends, about a time before the streams that are here now
        self._newest = newest
        for listener in self._listeners:
            if not listener.is_greeted:
                self._greet(listener)
            elif what:
                listener.pending |= what
                listener.has_news.set()

    def _look(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        """Look until *stop* is set; in a thread of its own, because a lock or a slow disk may make it wait."""
        watch = _Watch(self._settings)
        pending: set[str] = set()
        told = clock.monotonic_s() - PROGRESS_EVERY_S
        with contextlib.suppress(RuntimeError), contextlib.closing(watch):  # RuntimeError: the loop has ended
            watch.look()
            loop.call_soon_threadsafe(self._tell, stop, watch.newest, set())
            while not stop.wait(LOOK_EVERY_S):
                pending |= watch.look()
                now = clock.monotonic_s()
                if pending - _SLOW or (pending and now - told >= PROGRESS_EVERY_S):
                    loop.call_soon_threadsafe(self._tell, stop, watch.newest, pending)
                    pending, told = set(), now


class _Watch:
    """Ledger and telemetry as they were at the last look."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = _Database(settings.ledger_path)
        self._telemetry = _Database(settings.telemetry_path)
        self.newest = 0
        self._epoch: object = None

    def look(self) -> set[str]:
        """Return what has changed since the last look."""
        found = self._ledger_changes() if self._ledger.has_changed() else set()
        return found | (self._telemetry_changes() if self._telemetry.has_changed() else set())

    def close(self) -> None:
        self._ledger.close()
        self._telemetry.close()

    def _ledger_changes(self) -> set[str]:
        if self._ledger.is_another:
            top = self._ledger.select("SELECT coalesce(MAX(id), 0) FROM events")
            self.newest = top[0][0] if top else 0
            return set(KINDS)
        sql = "SELECT id, job_id, event, source, target FROM events WHERE id > ? ORDER BY id DESC LIMIT ?"
        rows = self._ledger.select(sql, self.newest, _MOST_READ)
        if rows is None:
            return set(KINDS)  # it cannot be read, which the page says
        if not rows:
            return {"queue"}  # what writes no event, such as a number that a trainer reported
        self.newest = rows[0][0]
        what = set(KINDS) if len(rows) == _MOST_READ else set()
        for _, job, event, source, target in rows:
            what.add("holds" if job is None and event.startswith("hold") else "queue")
            if {source, target} & _IN_SLOT:
                what.add("slot")
            if target in _ENDED or source in _ENDED:
                what.add("board")
        return what

    def _telemetry_changes(self) -> set[str]:
        newest = self._telemetry.select("SELECT at, job_id, epoch FROM epochs ORDER BY at DESC LIMIT 1")
        is_progress, self._epoch = newest != self._epoch, newest
        return {"progress"} if is_progress else {"governor"}


class _Database:
    """One database, open for reading, reopened when another file is in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conn: sqlite3.Connection | None = None
        self._state: object = None
        self._identity: object = None
        self.is_another = True

    def has_changed(self) -> bool:
        """Return True if somebody committed since the last call, or the file is another or can(not) be read now."""
        identity = file_identity(self._path)
        self.is_another = identity != self._identity
        if self.is_another:
            self.close()
            self._identity = identity
        if self._conn is None and identity is not None:
            self._open()
        version = self.select("PRAGMA data_version")
        state = (identity, version)
        is_new, self._state = state != self._state, state
        return is_new

    def select(self, sql: str, *values: object) -> list[tuple[Any, ...]] | None:
        """Return the rows of a query; None when the file cannot be read."""
        if self._conn is None:
            return None
        try:
            return self._conn.execute(sql, values).fetchall()
        except sqlite3.Error:
            self.close()
            return None

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _open(self) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            check_file(self._path)
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            self._conn = sqlite3.connect(address, uri=True, timeout=_LOCK_S, isolation_level=None)
