"""What the detector weighs: a bin of reports, and a one-sided CUSUM over bins that remembers where it began. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.governor.values import Work

REMEMBERED = 16
"""Latest bins whose cost a CUSUM keeps: what a new cold level starts from."""


class Bin:
    """Reports in a row, added up until they are long enough to be weighed as one."""

    def __init__(self, first: Work) -> None:
        self.first_epoch = first.epoch
        self.start_s = first.at_s - first.wall_s
        self.wall_s = 0.0
        self.samples = 0
        self._cpu_s: float | None = 0.0
        self.add(first)

    def add(self, work: Work) -> None:
        """Add another report."""
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
        """Processor seconds a sample; None when a report did not state them."""
        return None if self._cpu_s is None else self._cpu_s / self.samples


class Cusum:
    """Bins that vote one way, from the first such vote until as many votes speak against it.

    `votes` is the sum of votes from -1 to 1, `lost_s` the time lost since the first; neither falls below zero. It is
    over, and empty, when its votes are used up.
    """

    def __init__(self) -> None:
        self.since_epoch = self.last_epoch = 0
        self.since_s = 0.0
        self.costs: deque[float] = deque(maxlen=REMEMBERED)
        """Seconds per sample of the latest bins."""
        self.clear()

    def clear(self) -> None:
        """Forget all bins."""
        self.votes = self.lost_s = self.wall_s = 0.0
        self.bins = self.samples = 0
        self.costs.clear()

    @property
    def is_empty(self) -> bool:
        """True while no bin speaks this way."""
        return self.votes <= 0.0

    @property
    def seconds_per_sample(self) -> float:
        """Mean cost of its bins; it must not be empty."""
        return self.wall_s / self.samples

    def cost_without(self, tail: Cusum) -> float:
        """Return the mean cost without *tail* (bins that both hold); of all bins where no more are left."""
        if tail.samples >= self.samples:
            return self.seconds_per_sample
        return (self.wall_s - tail.wall_s) / (self.samples - tail.samples)

    def add(self, piece: Bin, vote: float, lost_s: float = 0.0, *, at_most: float = 1e9, at_least: float = 0.0) -> None:
        """Add a bin, its vote, and the time lost in it beyond what was allowed.

        Args:
            piece: the bin.
            vote: -1 to 1; the first must be above zero to count.
            lost_s: seconds lost (gained, when negative).
            at_most: ceiling of the votes, so that a long slow-down can still end.
            at_least: floor of the votes, where the caller decides the end.
        """
        if self.is_empty:
            if vote <= 0.0:
                return
            self.clear()
            self.since_epoch, self.since_s = piece.first_epoch, piece.start_s
        self.votes = min(max(self.votes + vote, at_least), at_most)
        self.lost_s = max(0.0, self.lost_s + lost_s)
        self.bins += 1
        self.last_epoch = piece.last_epoch
        self.wall_s += piece.wall_s
        self.samples += piece.samples
        self.costs.append(piece.seconds_per_sample)
