"""Whether the daemon is asked to stop: set by a signal handler, looked at by the main thread.

No `threading.Event`: a handler runs in the middle of the main thread, also of its `wait`, which then holds the lock that
`set` waits for, for ever.
"""

from __future__ import annotations

import time


class StopFlag:
    """Set once, for good."""

    def __init__(self) -> None:
        """Not set yet."""
        self._is_set = False

    def set(self) -> None:
        """Ask for the stop; takes no lock."""
        self._is_set = True

    def is_set(self) -> bool:
        """Return True once the stop is asked for."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleep for *seconds*, or not at all when it is set; return whether it is."""
        if not self._is_set:
            time.sleep(seconds)
        return self._is_set
