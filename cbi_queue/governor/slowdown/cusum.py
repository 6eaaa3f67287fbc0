"""Pieces of a run that the detector weighs: a bin of reports, and a stretch of bins that speak the same way. Pure.

Neighbours: `detector`, which asks a stretch whether it is long, costly and clear enough to mean something.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.governor.values import Work

REMEMBERED = 16
"""Latest bins of a stretch whose cost is kept: what a new level starts from."""


class Bin:
    """Reports in a row, put together until they are long enough to be weighed as one."""

    def __init__(self, first: Work) -> None:
        """Begin with the report *first*."""
        self.first_epoch = first.epoch
        self.start_s = first.at_s - first.wall_s
        self.last_epoch = first.epoch
        self.wall_s = 0.0
        self.samples = 0
        self._cpu_s: float | None = 0.0
        self.add(first)

    def add(self, work: Work) -> None:
        """Put another report into the bin."""
        self.last_epoch = work.epoch
        self.wall_s += work.wall_s
        self.samples += work.samples
        self._cpu_s = None if self._cpu_s is None or work.cpu_s is None else self._cpu_s + work.cpu_s

    @property
    def seconds_per_sample(self) -> float:
        """Wall seconds a sample."""
        return self.wall_s / self.samples

    @property
    def cpu_per_sample(self) -> float | None:
        """Processor seconds a sample; None when a report did not say."""
        return None if self._cpu_s is None else self._cpu_s / self.samples


class Stretch:
    """Bins that vote one way, from the first such vote until as many votes speak against it: a CUSUM with a memory.

    `votes` is the sum of votes from -1 to 1, never below zero; `lost_s` the time lost in the stretch so far, never
    below zero. A stretch is over, and empty, when its votes are used up.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.votes = 0.0
        self.lost_s = 0.0
        self.bins = 0
        self.wall_s = 0.0
        self.samples = 0
        self.since_epoch = 0
        self.since_s = 0.0
        self.last_epoch = 0
        self.costs: deque[float] = deque(maxlen=REMEMBERED)
        """Seconds per sample of the latest bins."""

    def clear(self) -> None:
        """Forget the stretch."""
        self.votes = self.lost_s = self.wall_s = 0.0
        self.bins = self.samples = 0
        self.costs.clear()

    @property
    def is_empty(self) -> bool:
        """True while nothing speaks this way."""
        return self.votes <= 0.0

    @property
    def seconds_per_sample(self) -> float:
        """Mean cost of the stretch so far; it must not be empty."""
        return self.wall_s / self.samples

    def cost_without(self, tail: Stretch) -> float:
        """Return the mean cost of the stretch, its *tail* (bins that both hold) left out; of all where no more is left."""
        if tail.samples >= self.samples:
            return self.seconds_per_sample
        return (self.wall_s - tail.wall_s) / (self.samples - tail.samples)

    def take(
        self, piece: Bin, vote: float, lost_s: float = 0.0, *, at_most: float = 1e9, at_least: float = 0.0
    ) -> None:
        """Count a bin, its vote, and the time lost in it beyond what was allowed.

        Args:
            piece: the bin.
            vote: -1 to 1; above zero speaks for the stretch.
            lost_s: seconds lost (gained, when negative).
            at_most: ceiling of the votes, so that a long stretch can still end.
            at_least: floor of the votes, for a stretch that somebody else ends.
        """
        if self.is_empty:
            if vote <= 0.0:
                return
            self.clear()
            self.since_epoch, self.since_s = piece.first_epoch, piece.start_s
        self.votes = min(max(self.votes + vote, at_least), at_most)
        self.lost_s = max(0.0, self.lost_s + lost_s)
        self.bins += 1
        self.wall_s += piece.wall_s
        self.samples += piece.samples
        self.last_epoch = piece.last_epoch
        self.costs.append(piece.seconds_per_sample)
