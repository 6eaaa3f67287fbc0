"""Answers that take a process of its own: found out in the background, one at a time, and kept. A page never waits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import CbiError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

KEPT = 64
RETRY_AFTER_S = 60.0
"""Seconds after which what failed is asked again by a look at its page."""


class AskedOnce:
    """Keeps answers by what they depend on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[Any, str, float]] = {}
        self._thread: threading.Thread | None = None

    def answer(self, key: Hashable, ask: Callable[[], Any]) -> tuple[Any, str]:
        """Return the answer under *key* and why there is none; (None, "") while it is being found out.

        Args:
            key: everything that the answer depends on.
            ask: finds it out; runs in a thread, and may raise `CbiError` or `OSError`.
        """
        with self._lock:
            found, fault, at = self._known.get(key, (None, "", 0.0))
            is_due = key not in self._known or (fault and time.monotonic() > at + RETRY_AFTER_S)
            if is_due and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._find, args=(key, ask), name="asked-once", daemon=True)
                self._thread.start()
        return found, fault

    def _find(self, key: Hashable, ask: Callable[[], Any]) -> None:
        found, fault = None, ""
        try:
            found = ask()
        except CbiError as exc:
            fault = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
        except OSError as exc:
            fault = str(exc.strerror or exc)
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = found, fault, time.monotonic()
            while len(self._known) > KEPT:
                self._known.pop(next(iter(self._known)))
