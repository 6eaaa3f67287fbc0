"""Answers that all requests share: made once for each state of the ledger, and never older than a second.

The event loop looks at the files' stamps, so a request that finds its answer made needs no thread and no ledger. One that
does not is answered by the one computation of its kind that begins after it came; the others wait without a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from concurrent.futures import Future, ThreadPoolExecutor
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
RENEWED_S: Final = 0.5
"""Age from which a new answer is made while the old one is still given: who asks often never waits for one."""
SETTLED_S: Final = 0.02
"""A file that changed so shortly before may change again within the same tick of the file system's clock, unseen."""
MOST_KEPT: Final = 32
THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class _Made:
    """An answer, or the making of it."""

    answer: Future[Any]
    stamps: tuple[object, ...]
    """Of the files, before the making began."""
    began_s: float
    until_s: float
    """When it is too old, by the monotonic clock."""

    def is_due(self) -> bool:
        """Return True if it can be given while the next one is made, and it is time for that."""
        is_old = time.monotonic() - self.began_s > RENEWED_S
        return is_old and self.answer.done() and self.answer.exception() is None


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
        self._made: dict[Hashable, _Made] = {}
        self._coming: dict[Hashable, _Made] = {}
        """What is made while an older one is given."""
        self._threads = ThreadPoolExecutor(THREADS, "answers")

    async def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what *make* makes, which runs in a thread; it is shared under *key*.

        Raises:
            Exception: whatever *make* raises; a failure is not kept.
        """
        came_s = time.monotonic()
        while True:
            made, stamps = self._newest(key), self._stamps()
            is_current = made is not None and made.stamps == stamps and time.monotonic() < made.until_s
            if made is None or (made.answer.done() and not is_current and made.began_s < came_s):
                made = self._keep(key, self._begin(make, stamps))
                is_current = True
            elif is_current and made.is_due() and key not in self._coming:
                self._coming[key] = self._begin(make, stamps)
            if not made.answer.done():
                waiting = asyncio.wrap_future(made.answer)
                await asyncio.wait([waiting])  # a client that leaves does not end the work: others may wait for it
                waiting.exception()
            if is_current or made.began_s >= came_s:
                if made.answer.exception() is not None and self._made.get(key) is made:
                    del self._made[key]
                answer: T = made.answer.result()
                return answer

    def _begin(self, make: Callable[[], Any], stamps: tuple[object, ...]) -> _Made:
        now_s = time.monotonic()
        changed_s = max((stamp[-1] for stamp in stamps[2:] if stamp), default=0) / 1e9  # type: ignore[index]
        is_settled = abs(time.time() - changed_s) > SETTLED_S
        work = self._threads.submit(contextvars.copy_context().run, make)
        return _Made(work, stamps, now_s, now_s + (MOST_AGE_S if is_settled else SETTLED_S))

    def _keep(self, key: Hashable, made: _Made) -> _Made:
        self._made.pop(key, None)
        self._made[key] = made
        while len(self._made) > MOST_KEPT:
            oldest = next(iter(self._made))
            del self._made[oldest]
            self._coming.pop(oldest, None)
        return made

    def _newest(self, key: Hashable) -> _Made | None:
        made, coming = self._made.get(key), self._coming.get(key)
        if coming is None or not coming.answer.done():
            return made
        del self._coming[key]
        is_newer = made is not None and made.began_s < coming.began_s and coming.answer.exception() is None
        return self._keep(key, coming) if is_newer else made

    def _stamps(self) -> tuple[object, ...]:
        stamps = map(file_stamp, self._paths)
        filled = (stamp if stamp and stamp[2] else () for stamp in stamps)  # to read is to make an empty log
        return (self._changes.seen, self._comparer.failures, *filled)
