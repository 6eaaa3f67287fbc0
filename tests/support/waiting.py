"""Wait for a condition, with a deadline that names it; tests never just sleep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
STALLED_S = 180.0
"""A loaded machine takes this long for what takes it a second when it is idle; whoever waits has time until then."""


def until(condition: Callable[[], T], what: str, within_s: float = STALLED_S, every_s: float = 0.05) -> T:
    """Return the first true value of *condition*; fail with *what* when there is none within *within_s* seconds.

    It is asked often at first, then every *every_s* seconds: to ask costs the processor time that the awaited needs.
    """
    begun = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited_s = time.monotonic() - begun
        if waited_s > within_s:
            raise AssertionError(f"waited {within_s:.0f} s in vain for: {what}")
        time.sleep(min(every_s, 0.01 + waited_s / 20))
