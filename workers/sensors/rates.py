"""What counters mean: how fast one rose, and whether it rose at all, since the look before."""

from __future__ import annotations


class Rate:
    """The rise per second of a counter between two looks."""

    def __init__(self) -> None:
        """Start without a look."""
        self._last: tuple[float, float] | None = None

    def of(self, value: float, now_s: float) -> float | None:
        """Take *value* at *now_s*; return its rise a second since the last one.

        Returns:
            None at the first look, when no time has passed, and when the counter fell (it was reset).
        """
        last, self._last = self._last, (value, now_s)
        if last is None or now_s <= last[1] or value < last[0]:
            return None
        return (value - last[0]) / (now_s - last[1])

    def forget(self) -> None:
        """Make the next look the first one again."""
        self._last = None


class Rise:
    """Whether a counter rose between two looks."""

    def __init__(self) -> None:
        """Start without a look."""
        self._last: int | None = None

    def of(self, value: int) -> bool | None:
        """Take *value*; return whether it rose since the last one, None at the first look or after a reset."""
        last, self._last = self._last, value
        return None if last is None or value < last else value > last
