"""What the governor cost: seconds of work lost to its pacing and pauses, over a sliding day. Pure."""

from __future__ import annotations

from collections import deque

DAY_S = 86400.0
BUCKET_S = 900.0
RAMP_S = 21600.0
"""Seconds that the average is taken over at least: one pause at the start of a day is not a day's share."""


class CostAccount:
    """Lost and watched seconds in buckets of a quarter of an hour."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, float, float]] = deque()
        self._lost_s = 0.0
        self._watched_s = 0.0

    def charge(self, now_s: float, seconds: float, lost_share: float) -> None:
        """Enter *seconds* up to *now_s* in which *lost_share* (0 to 1) of the possible work was not done."""
        self._drop_old(now_s)
        number, lost, watched = int(now_s // BUCKET_S), seconds * min(max(lost_share, 0.0), 1.0), seconds
        self._lost_s += lost
        self._watched_s += watched
        if self._buckets and self._buckets[-1][0] == number:
            _, lost_before, watched_before = self._buckets.pop()
            lost, watched = lost + lost_before, watched + watched_before
        self._buckets.append((number, lost, watched))

    def share(self, now_s: float) -> float:
        """Return the share of the last day's work that was lost, 0 to 1."""
        self._drop_old(now_s)
        return max(0.0, self._lost_s) / max(self._watched_s, RAMP_S)

    def _drop_old(self, now_s: float) -> None:
        first = int((now_s - DAY_S) // BUCKET_S)
        while self._buckets and self._buckets[0][0] <= first:
            _, lost, watched = self._buckets.popleft()
            self._lost_s, self._watched_s = self._lost_s - lost, self._watched_s - watched
