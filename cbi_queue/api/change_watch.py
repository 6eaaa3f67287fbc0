"""Sees that something changed, once for everybody who wants to know: one thread, and only while somebody listens.

SQLite counts the commits of other connections (`PRAGMA data_version`), so a look at a file in which nothing happened
costs a few microseconds. A listener that is busy gets everything since its last turn as one change: what waits for it
does not grow.

Source: https://www.sqlite.org/pragma.html#pragma_data_version.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.file_watch import file_identity
from cbi_queue.ledger.write_watch import write_watch
from cbi_queue.lifecycle import IN_SLOT_STATES
from cbi_queue.notifications.happenings import happenings_of_events
from cbi_queue.regular_files import check_file
from cbi_queue.views.snapshot import daemon_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from cbi_queue.ledger import EventRow
    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.05
FIRST_LOOK_WITHIN_S: Final = 10.0
DAEMON_EVERY_S: Final = 1.0
"""How often the slot's lock is looked at: a daemon that died writes nothing."""
MOST_LISTENERS: Final = 64
MOST_READ: Final = 500
"""Events that one look reads; of more, only the last number counts."""
MOST_TOLD: Final = 5
PARTS: Final = ("queue", "slot", "progress", "governor", "board", "holds")
TOLD: Final = frozenset({"job_failed", "plan_done"})
_IN_SLOT = frozenset(state.value for state in IN_SLOT_STATES)
_OF_THE_BOARD = frozenset({"finish", "veto", "accept", "damage"})
_OF_TELEMETRY = {
    "progress": "SELECT at FROM epochs ORDER BY at DESC LIMIT 1",
    "governor": "SELECT at, (SELECT MAX(id) FROM decisions) FROM standing",
}


@dataclass(slots=True)
class Listener:
    """One stream: what it has not sent yet. Used in the event loop only."""

    parts: set[str] = field(default_factory=set)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key of a happening -> what to tell of it."""
    event: int = 0
    """Number of the newest event that it knows of."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, change: Change) -> None:
        """Add what has changed, and wake the stream."""
        self.parts |= change.parts
        self.told |= {one["key"]: one for one in change.told}
        while len(self.told) > MOST_TOLD:
            self.told.pop(next(iter(self.told)))
        self.event = change.event
        self.woken.set()

    def take(self) -> Change:
        """Return what has gathered, and begin anew."""
        taken = Change(frozenset(self.parts), self.event, tuple(self.told.values()))
        self.parts, self.told = set(), {}
        self.woken.clear()
        return taken


@dataclass(frozen=True, slots=True)
class Change:
    """What changed between two looks."""

    parts: frozenset[str]
    """Of `PARTS`."""
    event: int
    """Number of the newest event in the ledger."""
    told: tuple[dict[str, Any], ...] = ()
    """Failures and plans that are done: `key`, `event`, `job`, `words`."""


class ChangeWatch:
    """The listeners of one app, and the thread that looks for them."""

    def __init__(self, settings: Settings, news: Callable[[], int] = int) -> None:
        """Watch nothing yet; *news* counts what has become known of the boards, which no file tells."""
        self._settings, self._news = settings, news
        self._listeners: list[Listener] = []
        self.seen = 0
        """Changes that were seen so far: what was made before the last one may be out of date."""
        self._stop: threading.Event | None = None
        self._has_looked = threading.Event()
        self._has_looked.set()

    @property
    def listening(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def join(self) -> Listener | None:
        """Return a new listener; None when there are `MOST_LISTENERS`. In the event loop; `leave` must follow."""
        if len(self._listeners) >= MOST_LISTENERS:
            return None
        listener = Listener()
        self._listeners.append(listener)
        if self._stop is None:
            self._stop, self._has_looked = threading.Event(), threading.Event()
            work = (asyncio.get_running_loop(), self._stop, self._has_looked)
            threading.Thread(target=self._watch, args=work, name="change-watch", daemon=True).start()
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener; the thread ends with the last one."""
        self._listeners.remove(listener)
        if not self._listeners and self._stop is not None:
            self._stop.set()
            self._stop = None

    def missed(self, after: int | None) -> Change:
        """Return what a client does not know that saw the event *after* last; None: it knows nothing, which is no change.

        Reads the ledger: not in the event loop. A ledger that cannot be read has no news; the page says so itself. The
        thread has looked before: what changes after its look is told to every listener, and what was before is read here.
        """
        self._has_looked.wait(FIRST_LOOK_WITHIN_S)
        try:
            with Ledger.open_readonly(self._settings.ledger_path) as ledger, ledger.snapshot():
                newest = queries.last_event_id(ledger)
                if after is None or after == newest:
                    return Change(frozenset(), newest)
                return Change(frozenset(PARTS), newest, _told(ledger, after, newest))
        except (CbiError, sqlite3.Error):
            return Change(frozenset(PARTS), after or 0)

    def _watch(self, loop: asyncio.AbstractEventLoop, stop: threading.Event, has_looked: threading.Event) -> None:
        try:
            eyes = _Eyes(self._settings, self._news)
        finally:
            has_looked.set()
        said = None
        with closing(eyes):
            while not stop.wait(LOOK_EVERY_S):
                try:
                    change = eyes.look()
                except (CbiError, sqlite3.Error, OSError, ValueError) as exc:
                    if said != (said := (type(exc), exc.args)):  # else twenty a second would fill the disk
                        logger.exception("a look for changes failed")
                    eyes.close()
                    continue
                if change.parts:
                    try:
                        loop.call_soon_threadsafe(self._publish, change)
                    except RuntimeError:  # the loop was closed: the server ends
                        return

    def _publish(self, change: Change) -> None:
        self.seen += 1
        for listener in self._listeners:
            listener.add(change)


class _Eyes:
    """Two open files, and what was seen in them last."""

    def __init__(self, settings: Settings, news: Callable[[], int]) -> None:
        self._settings, self._news = settings, news
        self._news_seen = 0
        self._ledger: Ledger | None = None
        self._identity: tuple[int, int] | None = None
        self._version = self._event = 0
        self._telemetry = _TelemetryEyes(settings.telemetry_path)
        self._daemon, self._daemon_at_s = _daemon_words(settings), clock.monotonic_s()
        self._is_first = True
        self.look()  # what is there already is no change
        self._is_first = False

    def close(self) -> None:
        """Close both files; the next look opens them again."""
        self._telemetry.close()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def look(self) -> Change:
        """Return what changed since the last look."""
        parts: set[str] = set()
        told: tuple[dict[str, Any], ...] = ()
        try:
            told = self._look_at_ledger(parts)
        except (CbiError, sqlite3.Error):
            if self._ledger is not None:  # locked, damaged or gone since the last look: the page will say so
                parts.update(PARTS)
                self._ledger.close()
                self._ledger = None
        parts.update(self._telemetry.look())
        if (news := self._news()) != self._news_seen:
            parts.add("board")
            self._news_seen = news
        if clock.monotonic_s() - self._daemon_at_s >= DAEMON_EVERY_S:
            words, self._daemon_at_s = _daemon_words(self._settings), clock.monotonic_s()
            if words != self._daemon:
                parts.add("slot")
            self._daemon = words
        return Change(frozenset(parts), self._event, told)

    def _look_at_ledger(self, parts: set[str]) -> tuple[dict[str, Any], ...]:
        """Add to *parts* what changed in the ledger; return what is to be told."""
        identity = file_identity(self._settings.ledger_path)
        if self._ledger is None or identity != self._identity:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
            if identity is None:
                if self._identity is not None:
                    parts.update(PARTS)
                self._identity = None
                return ()
            self._ledger, self._identity = Ledger.open_readonly(self._settings.ledger_path), identity
            self._version, self._event = _version(self._ledger.conn), queries.last_event_id(self._ledger)
            if not self._is_first:
                parts.update(PARTS)
            return ()
        version = _version(self._ledger.conn)
        if version == self._version:
            return ()
        self._version = version
        with self._ledger.snapshot():
            before, self._event = self._event, queries.last_event_id(self._ledger)
            if before == self._event:
                parts.add("queue")
                return ()
            parts.update(_parts_of(queries.events_after(self._ledger, before, MOST_READ)))
            return _told(self._ledger, before, self._event)


class _TelemetryEyes:
    """The telemetry file, which may be missing, and is only ever written to by the daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conn: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version = 0
        self._seen: dict[str, Any] = {}

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def look(self) -> Iterator[str]:
        """Yield which parts have newer rows than at the last look."""
        identity = file_identity(self._path)
        if identity != self._identity:
            self.close()
            self._identity = identity
        if identity is None:
            return
        try:
            if self._conn is None:
                check_file(self._path)
                self._conn = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)
                self._version = -1
            version = _version(self._conn)
            if version == self._version:
                return
            for part, sql in _OF_TELEMETRY.items():
                newest = self._conn.execute(sql).fetchone()
                if self._seen.get(part) != newest:
                    self._seen[part] = newest
                    yield part
            self._version = version
        except (OSError, sqlite3.Error):  # no file, locked, damaged, or of an older version: looked at again
            self.close()


def _daemon_words(settings: Settings) -> str:
    """Return what no file tells: whether a daemon runs, and whether it could write."""
    try:
        daemon = daemon_status(settings)
    except CbiError as exc:
        return exc.message
    return f"{daemon.words} {write_watch(settings.ledger_path).fault(daemon_runs=daemon.is_well)}"


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


def _parts_of(events: Iterable[EventRow]) -> Iterator[str]:
    for event in events:
        if event.job_id is None:
            yield "holds" if event.event.startswith("hold") else "queue"
            yield "slot"
            continue
        yield "queue"
        if {event.source, event.target} & _IN_SLOT or event.event == "cancel_requested":
            yield "slot"
        if event.event in _OF_THE_BOARD:
            yield "board"


def _told(ledger: Ledger, after: int, newest: int) -> tuple[dict[str, Any], ...]:
    """Return the failures and the finished plans among the newest events after the number *after*."""
    found, _ = happenings_of_events(ledger, max(after, newest - MOST_READ))
    told = [each for each in found if each.event in TOLD]
    return tuple({"key": e.key, "event": e.event, "job": e.job, "words": e.words} for e in told[-MOST_TOLD:])
