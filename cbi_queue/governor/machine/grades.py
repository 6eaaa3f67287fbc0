"""How hard a resource of the machine is pressed: one grade out of many readings, and for how long. Pure.

`heat` and `pressure` grade; `GradeHistory` keeps since when. What cannot be read has no grade: it ends a clear stretch at
once, begins no strained one, and ends one when it lasts: a single reading that failed does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

BLIND_S = 90.0
"""Seconds without a look after which nothing is known to have lasted: the machine slept, or the daemon was away."""


UNREAD_S = 6.0
"""Seconds without a grade after which a strain is not known to have lasted: three readings at the default period."""


class Grade(IntEnum):
    """How pressed, least first."""

    CLEAR = 0
    """Below the thresholds for letting go."""
    NEAR = 1
    """Between the thresholds: no reason to act, none to let go."""
    OVER = 2
    """Above the threshold for acting."""
    SEVERE = 3
    """Where damage or a kill is near."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What one look at the readings says about one resource."""

    grade: Grade | None
    """None: unknown."""
    words: str
    """What was read, with figures; for `None`, why it says nothing."""
    figures: dict[str, float] = field(default_factory=dict)
    thrashing: bool = False
    """Memory only: the machine is busy moving pages."""

    @property
    def is_over(self) -> bool:
        """True when this look alone asks for a step."""
        return self.grade is not None and self.grade >= Grade.OVER


class GradeHistory:
    """Since when a resource is over, severe or clear."""

    def __init__(self) -> None:
        self._seen_s: float | None = None
        self._graded_s = float("-inf")
        self._since: dict[Grade, float] = {}

    def see(self, now_s: float, graded: Graded) -> None:
        """Take one look in."""
        if self._seen_s is None or not 0.0 <= now_s - self._seen_s <= BLIND_S:
            self._since.clear()
        self._seen_s = now_s
        if graded.grade is not Grade.CLEAR:
            self._since.pop(Grade.CLEAR, None)
        if graded.grade is None:
            if now_s - self._graded_s > UNREAD_S:
                self._since.clear()
            return
        self._graded_s = now_s
        for grade in (Grade.OVER, Grade.SEVERE):
            if graded.grade < grade:
                self._since.pop(grade, None)
            else:
                self._since.setdefault(grade, now_s)
        if graded.grade is Grade.CLEAR:
            self._since.setdefault(Grade.CLEAR, now_s)

    def lasts_s(self, grade: Grade, now_s: float) -> float:
        """Return for how many seconds it has been at least *grade* (CLEAR: clear), by every look; -1 when it is not."""
        since = self._since.get(grade)
        return -1.0 if since is None else now_s - since
