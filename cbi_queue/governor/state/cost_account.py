"""What the governor cost: seconds of work lost to its pacing and pauses, over a sliding day. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from cbi_queue.governor.state.stored import Past, RoundedSeconds  # noqa: TC001 - pydantic reads annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_S = 86400.0
BUCKET_S = 900.0
RAMP_S = 21600.0
"""Seconds that the average is taken over at least: one pause at the start of a day is not a day's share."""


@dataclass(slots=True)
class Cost:
    """What a quarter of an hour cost."""

    at_s: Annotated[Past, Field(alias="age_s")]
    """Its middle."""
    lost_s: RoundedSeconds
    watched_s: RoundedSeconds


def _checked(cost: Cost) -> Cost:
    if cost.lost_s > cost.watched_s:
        raise ValueError(f"{cost.lost_s:g} s were lost of {cost.watched_s:g} s; allowed is no more than all")
    return cost


StoredCosts = Annotated[list[Annotated[Cost, AfterValidator(_checked)]], Field(max_length=200)]


class CostAccount:
    """Lost and watched seconds in buckets of a quarter of an hour."""

    def __init__(self, costs: Iterable[Cost] = ()) -> None:
        """Begin with *costs*, as `costs` returned them, in any order and of any boot."""
        self._buckets: deque[tuple[int, float, float]] = deque()
        self._lost_s = 0.0
        self._watched_s = 0.0
        for cost in sorted(costs, key=lambda cost: cost.at_s):
            self._enter(int(cost.at_s // BUCKET_S), cost.lost_s, cost.watched_s)

    def costs(self) -> list[Cost]:
        """Return what has been entered and not dropped, oldest first."""
        return [Cost((number + 0.5) * BUCKET_S, lost_s, watched_s) for number, lost_s, watched_s in self._buckets]

    def charge(self, now_s: float, seconds: float, lost_share: float) -> None:
        """Enter *seconds* up to *now_s* in which *lost_share* (0 to 1) of the possible work was not done."""
        self.drop_old(now_s)
        self._enter(int(now_s // BUCKET_S), seconds * min(max(lost_share, 0.0), 1.0), seconds)

    def share(self, now_s: float) -> float:
        """Return the share of the last day's work that was lost, 0 to 1."""
        self.drop_old(now_s)
        return max(0.0, self._lost_s) / max(self._watched_s, RAMP_S)

    def drop_old(self, now_s: float) -> None:
        """Drop what is older than a day."""
        first = int((now_s - DAY_S) // BUCKET_S)
        while self._buckets and self._buckets[0][0] <= first:
            _, lost, watched = self._buckets.popleft()
            self._lost_s, self._watched_s = self._lost_s - lost, self._watched_s - watched

    def _enter(self, number: int, lost: float, watched: float) -> None:
        self._lost_s += lost
        self._watched_s += watched
        if self._buckets and self._buckets[-1][0] == number:
            _, lost_before, watched_before = self._buckets.pop()
            lost, watched = lost + lost_before, watched + watched_before
        self._buckets.append((number, lost, watched))
