"""Answers that all requests share: made once for each state of the ledger, and never older than a second.

The event loop looks at the files' stamps, so a request that finds its answer made needs no thread and no ledger. One that
does not is answered by the one computation of its kind that begins after it came; the others wait without a thread.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cbi_queue.views.comparison import FILE_NAME
from cbi_queue.views.history import file_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from cbi_queue.api.board_view import Comparer
    from cbi_queue.api.change_watch import ChangeWatch
    from cbi_queue.settings import Settings

T = TypeVar("T")
MOST_AGE_S: Final = 1.0
"""Seconds for which an answer is given while the ledger does not change: a daemon that died writes nothing, and telemetry is
looked at by the watch, when a page is open that shows it."""
RENEWED_S: Final = 0.8
"""Age from which a new answer is made while the old one is still given: who asks often never waits for one."""
SETTLED_S: Final = 0.02
"""A file that changed so shortly before may change again within the same tick of the file system's clock, unseen."""
MOST_KEPT: Final = 32
THREADS: Final = 2
_GIVEN: ContextVar[Made | None] = ContextVar("given", default=None)


def given_now() -> Made | None:
    """Return the shared answer that the request under way was given; None while it was given none."""
    return _GIVEN.get()


def forget_given() -> None:
    """Begin a request: one that was sent before the answer to the last begins in its context."""
    _GIVEN.set(None)


@dataclass(frozen=True, slots=True)
class Made:
    """An answer, or the making of it."""

    key: Hashable
    answer: Future[Any]
    stamps: tuple[object, ...]
    """Of the files, before the making began."""
    began_s: float
    until_s: float
    """When it is too old, by the monotonic clock."""

    def is_current(self, stamps: tuple[object, ...]) -> bool:
        """Return True if nothing that *stamps* tell of has changed since, and it is not too old."""
        return self.stamps == stamps and time.monotonic() < self.until_s


class SharedAnswers:
    """The answers of one app. Used in its event loop only."""

    def __init__(self, settings: Settings, changes: ChangeWatch, comparer: Comparer) -> None:
        """Keep nothing yet; *changes* and *comparer* count what no file tells, as a daemon that died, or a failure."""
        self._changes, self._comparer = changes, comparer
        ledger = settings.ledger_path
        self._paths = (
            ledger,
            ledger.with_name(f"{ledger.name}-wal"),
            settings.lock_path,
            settings.state_dir / FILE_NAME,
        )
        self._made: dict[Hashable, Made] = {}
        """The newest answer of each kind."""
        self._coming: dict[Hashable, Made] = {}
        """What is being made."""
        self._threads = ThreadPoolExecutor(THREADS, "answers")
        self._one_thread = ThreadPoolExecutor(1, "boards")

    async def get(self, key: Hashable, make: Callable[[], T], *, is_long: bool = False) -> T:
        """Return what *make* makes, which runs in a thread; it is shared under *key*.

        What *is_long*, as the boards of 100,000 runs, has a thread of its own: the others are for what is quick.

        Raises:
            Exception: whatever *make* raises; a failure is not kept.
        """
        came_s, threads = time.monotonic(), self._one_thread if is_long else self._threads
        while True:
            stamps = self._stamps()
            self._collect()
            made = self._made.get(key)
            if made is not None and made.is_current(stamps):
                if time.monotonic() - made.began_s > RENEWED_S:
                    self._begin(key, make, stamps, threads)
                break
            made = self._begin(key, make, stamps, threads)
            is_of_now = made.began_s >= came_s or made.is_current(stamps)
            waiting = asyncio.wrap_future(made.answer)
            await asyncio.wait([waiting])  # a client that leaves does not end the work: others may wait for it
            waiting.exception()
            if is_of_now:
                break
        answer: T = made.answer.result()
        _GIVEN.set(made)
        return answer

    def is_new(self, made: Made) -> bool:
        """Return True while *made* is the newest of its kind, and current, and no newer one is due."""
        self._collect()
        is_due = time.monotonic() - made.began_s > RENEWED_S
        return not is_due and made is self._made.get(made.key) and made.is_current(self._stamps())

    def _begin(
        self, key: Hashable, make: Callable[[], Any], stamps: tuple[object, ...], threads: ThreadPoolExecutor
    ) -> Made:
        """Return what is being made under *key*; begin to make it where it is not."""
        if key not in self._coming:
            now_s = time.monotonic()
            changed_s = max((stamp[-1] for stamp in stamps[2:] if stamp), default=0) / 1e9  # type: ignore[index]
            is_settled = abs(time.time() - changed_s) > SETTLED_S
            work = threads.submit(copy_context().run, make)
            self._coming[key] = Made(key, work, stamps, now_s, now_s + (MOST_AGE_S if is_settled else SETTLED_S))
        return self._coming[key]

    def _collect(self) -> None:
        """Keep what has been made by now; a failure is forgotten."""
        for made in [each for each in self._coming.values() if each.answer.done()]:
            del self._coming[made.key]
            if made.answer.exception() is None:
                self._made.pop(made.key, None)
                self._made[made.key] = made
        while len(self._made) > MOST_KEPT:
            del self._made[next(iter(self._made))]

    def _stamps(self) -> tuple[object, ...]:
        stamps = map(file_stamp, self._paths)
        filled = (stamp if stamp and stamp[2] else () for stamp in stamps)  # to read is to make an empty log
        return (self._changes.seen, self._comparer.news, *filled)
