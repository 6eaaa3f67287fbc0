"""How hard the machine is pressed by heat or memory: one grade out of many readings, and for how long. Pure.

A resource that cannot be read has no grade. That ends a clear time at once; a time of pressure ends only when the
resource stays unread for `UNREAD_S`, because a single reading may fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

BLIND_S = 90.0
"""Seconds without a check after which nothing is known to have lasted: the machine slept, or the daemon was away."""
UNREAD_S = 6.0
"""Seconds without a grade after which pressure is not known to have lasted: three readings at the default period."""


class Grade(IntEnum):
    """How pressed, least first."""

    CLEAR = 0
    """Below the thresholds for undoing a step."""
    NEAR = 1
    """Between the thresholds: neither a reason to act nor to undo."""
    OVER = 2
    """Above the threshold for acting."""
    SEVERE = 3
    """Damage, or a kill by the kernel, is near."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What one set of readings shows about one resource."""

    grade: Grade | None
    """None: unknown."""
    words: str
    """What was read, with figures; where `grade` is None, why nothing is known."""
    figures: dict[str, float] = field(default_factory=dict)
    thrashing: bool = False
    """Memory only: the machine is busy moving pages."""

    @property
    def is_over(self) -> bool:
        """True when these readings alone ask for a step."""
        return self.grade is not None and self.grade >= Grade.OVER


Votes = list[tuple[Grade, str]]
"""Grade and words of each figure that was read."""


def highest(votes: Votes, figures: dict[str, float], *, thrashing: bool = False) -> Graded:
    """Return the highest grade among *votes*, of which there must be one, with the words of those that gave it."""
    grade = max(vote for vote, _ in votes)
    return Graded(grade, ", ".join(words for vote, words in votes if vote is grade), figures, thrashing)


def grade_of(value: float, clear: float, over: float, severe: float) -> Grade:
    """Place *value* between thresholds that rise."""
    if value >= severe:
        return Grade.SEVERE
    if value >= over:
        return Grade.OVER
    return Grade.CLEAR if value <= clear else Grade.NEAR


class GradeHistory:
    """Since when a resource is over, severe or clear."""

    def __init__(self) -> None:
        self._seen_s: float | None = None
        self._graded_s = float("-inf")
        self._since: dict[Grade, float] = {}

    def see(self, now_s: float, graded: Graded) -> None:
        """Add what was read at *now_s*."""
        if self._seen_s is None or not 0.0 <= now_s - self._seen_s <= BLIND_S:
            self._since.clear()
        self._seen_s = now_s
        if graded.grade is None:
            self._since.pop(Grade.CLEAR, None)
            if now_s - self._graded_s > UNREAD_S:
                self._since.clear()
            return
        self._graded_s = now_s
        lasting = {
            Grade.CLEAR: graded.grade is Grade.CLEAR,
            Grade.OVER: graded.grade >= Grade.OVER,
            Grade.SEVERE: graded.grade is Grade.SEVERE,
        }
        self._since = {grade: self._since.get(grade, now_s) for grade, lasts in lasting.items() if lasts}

    def lasts_s(self, grade: Grade, now_s: float) -> float:
        """Return the seconds for which every reading was at least *grade* (CLEAR: clear); -1 when it is not."""
        since = self._since.get(grade)
        return -1.0 if since is None else now_s - since
