"""Counters: how fast one rose, and whether it rose at all, since the last sample."""

from __future__ import annotations


class Rate:
    """The rise per second of a counter between two samples."""

    def __init__(self) -> None:
        """Start without a sample."""
        self._last: tuple[float, float] | None = None

    def of(self, value: float, now_s: float) -> float | None:
        """Return the rise a second of the counter, which is *value* at *now_s*, since the last sample.

        Returns:
            None at the first sample, when no time has passed, and when the counter fell (it was reset).
        """
        last, self._last = self._last, (value, now_s)
        if last is None or now_s <= last[1] or value < last[0]:
            return None
        return (value - last[0]) / (now_s - last[1])


class Rise:
    """Whether a counter rose between two samples."""

    def __init__(self) -> None:
        """Start without a sample."""
        self._last: int | None = None

    def of(self, value: int) -> bool | None:
        """Return True if *value* is larger than the last one; None at the first sample or after a reset."""
        last, self._last = self._last, value
        return None if last is None or value < last else value > last
