"""Answers that all requests share: made once for each state of the files that they show, and never older than a second.

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
"""Seconds for which an answer is given while no file changes: a daemon that died, or a volume that is gone, writes nothing."""
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


class SharedAnswers:
    """The answers of one app. Used in its event loop only."""

    def __init__(self, settings: Settings, changes: ChangeWatch, comparer: Comparer) -> None:
        """Keep nothing yet; *changes* and *comparer* count what no file tells, as a daemon that died, or a failure."""
        self._changes, self._comparer = changes, comparer
        logs = (path.with_name(f"{path.name}-wal") for path in (settings.ledger_path, settings.telemetry_path))
        others = (settings.ledger_path, settings.telemetry_path, settings.lock_path, settings.state_dir / FILE_NAME)
        self._paths = (*others, *logs)
        self._made: dict[Hashable, _Made] = {}
        self._threads = ThreadPoolExecutor(THREADS, "answers")

    async def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what *make* makes, which runs in a thread; it is shared under *key*.

        Raises:
            Exception: whatever *make* raises; a failure is not kept.
        """
        came_s = time.monotonic()
        while True:
            made, stamps = self._made.get(key), self._stamps()
            is_current = made is not None and made.stamps == stamps and time.monotonic() < made.until_s
            if made is None or (made.answer.done() and not is_current and made.began_s < came_s):
                made = self._begin(key, make, stamps)
                is_current = True
            if not made.answer.done():
                waiting = asyncio.wrap_future(made.answer)
                await asyncio.wait([waiting])  # a client that leaves does not end the work: others may wait for it
                waiting.exception()
            if is_current or made.began_s >= came_s:
                if made.answer.exception() is not None and self._made.get(key) is made:
                    del self._made[key]
                answer: T = made.answer.result()
                return answer

    def _begin(self, key: Hashable, make: Callable[[], T], stamps: tuple[object, ...]) -> _Made:
        now_s = time.monotonic()
        changed_s = max((stamp[-1] for stamp in stamps[2:] if stamp), default=0) / 1e9  # type: ignore[index]
        is_settled = abs(time.time() - changed_s) > SETTLED_S
        work = self._threads.submit(contextvars.copy_context().run, make)
        made = _Made(work, stamps, now_s, now_s + (MOST_AGE_S if is_settled else SETTLED_S))
        self._made.pop(key, None)
        self._made[key] = made
        while len(self._made) > MOST_KEPT:
            self._made.pop(next(iter(self._made)))
        return made

    def _stamps(self) -> tuple[object, ...]:
        stamps = map(file_stamp, self._paths)
        filled = (stamp if stamp and stamp[2] else () for stamp in stamps)  # to read is to make an empty log
        return (self._changes.seen, self._comparer.failures, *filled)
