"""What the governor cost: seconds of work lost to its pacing and pauses, over a sliding day. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    @classmethod
    def of(cls, entries: Iterable[tuple[float, float, float]], now_s: float) -> CostAccount:
        """Return the account of which `entries` would tell these *entries* at *now_s*; what is older than a day is left out.

        Args:
            entries: (age, lost, watched) in seconds; ages not below 0.
            now_s: second of the boot clock, which need not be that of the boot in which they were entered.
        """
        account = cls()
        for age_s, lost_s, watched_s in sorted(entries, reverse=True):
            account._enter(int((now_s - age_s) // BUCKET_S), lost_s, watched_s)
        account._drop_old(now_s)
        return account

    def entries(self, now_s: float) -> list[tuple[float, float, float]]:
        """Return (age, lost, watched) in seconds of what counts at *now_s*, oldest first; an age is that of its middle."""
        self._drop_old(now_s)
        return [
            (max(0.0, now_s - (number + 0.5) * BUCKET_S), lost_s, watched_s)
            for number, lost_s, watched_s in self._buckets
        ]

    def charge(self, now_s: float, seconds: float, lost_share: float) -> None:
        """Enter *seconds* up to *now_s* in which *lost_share* (0 to 1) of the possible work was not done."""
        self._drop_old(now_s)
        self._enter(int(now_s // BUCKET_S), seconds * min(max(lost_share, 0.0), 1.0), seconds)

    def share(self, now_s: float) -> float:
        """Return the share of the last day's work that was lost, 0 to 1."""
        self._drop_old(now_s)
        return max(0.0, self._lost_s) / max(self._watched_s, RAMP_S)

    def _enter(self, number: int, lost: float, watched: float) -> None:
        self._lost_s += lost
        self._watched_s += watched
        if self._buckets and self._buckets[-1][0] == number:
            _, lost_before, watched_before = self._buckets.pop()
            lost, watched = lost + lost_before, watched + watched_before
        self._buckets.append((number, lost, watched))

    def _drop_old(self, now_s: float) -> None:
        first = int((now_s - DAY_S) // BUCKET_S)
        while self._buckets and self._buckets[0][0] <= first:
            _, lost, watched = self._buckets.popleft()
            self._lost_s, self._watched_s = self._lost_s - lost, self._watched_s - watched
