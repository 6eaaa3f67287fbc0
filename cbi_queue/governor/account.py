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
        self._buckets: deque[tuple[int, float, float]] = deque(maxlen=int(DAY_S / BUCKET_S))

    def charge(self, now_s: float, seconds: float, lost_share: float) -> None:
        """Enter *seconds* up to *now_s* in which *lost_share* (0 to 1) of the possible work was not done."""
        number = int(now_s // BUCKET_S)
        lost_s = seconds * min(max(lost_share, 0.0), 1.0)
        if self._buckets and self._buckets[-1][0] == number:
            _, lost, watched = self._buckets.pop()
            self._buckets.append((number, lost + lost_s, watched + seconds))
        else:
            self._buckets.append((number, lost_s, seconds))

    def share(self, now_s: float) -> float:
        """Return the share of the last day's work that was lost, 0 to 1."""
        first = int((now_s - DAY_S) // BUCKET_S)
        recent = [(lost, watched) for number, lost, watched in self._buckets if number > first]
        return sum(lost for lost, _ in recent) / max(sum(watched for _, watched in recent), RAMP_S)
