"""What work costs on the cold, quiet machine: learned within a run, and carried from run to run. Pure.

Within a run, `ColdLevel` keeps the last `WINDOW` quiet reports of one micro-batch. Their median m is what the work
costs now, 1.4826 * MAD / m how much that scatters. The level that slow-downs are measured against is

    cold = min(m, anchor * (1 + CREEP))        anchor = min(stored, lowest median of a full window so far)

so that it follows the work down at once, and up by no more than `CREEP` in all: heat that builds up over minutes
must not become the new normal one report at a time.

From run to run, `merged` moves a stored baseline down to a faster quiet run at once and up by at most `RISE_PER_RUN`.
Only quiet reports count in either, so a run that was hot from its first report changes nothing once there is a stored
baseline.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, median
from typing import TYPE_CHECKING

from cbi_queue.governor.values import Baseline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WINDOW = 64
"""Quiet reports that a level is the median of: enough to be within 1 % at a scatter of 5 %."""
SETTLED = 8
"""Quiet reports from which a run's own median is believed against a stored baseline."""
CREEP = 0.05
"""Most that the cold level may rise within a run, as a share: the least slow-down that is alarmed at 12 % above the
level is then still below 18 % above the coldest."""
RISE_PER_RUN = 0.02
"""Most that a stored baseline may rise with one run, as a share."""
STORED_REPORTS = 100_000
"""Where the count of reports behind a stored baseline stops."""
FLOOR = 1.12
"""Factor over the cold level that is let pass as quiet: drift of clocks, caches, other programs."""
SLACK = 1.15
"""How far above its ceiling a derived level may lie: larger batches can fit a cache less well."""
FIRSTS = 3
"""Slow reports from which the level of a new micro-batch is derived."""
LEAST_TO_STORE = 16
"""Quiet reports below which a run changes nothing for later runs."""


def robust_spread(values: Sequence[float]) -> float:
    """Return 1.4826 * MAD / median of positive *values*: their relative scatter, blind to a minority of outliers."""
    middle = median(values)
    return 1.4826 * median(abs(value - middle) for value in values) / middle


class ColdLevel:
    """The cold level of one micro-batch, as this run knows it. Bounded memory, bounded work per report."""

    def __init__(
        self,
        stored: Baseline | None = None,
        *,
        ceiling: float = math.inf,
        floor: float = 0.0,
        slowed_by: float = 1.0,
    ) -> None:
        """Start from the *stored* baseline of earlier runs, or from the limits of a level never seen.

        Args:
            stored: what earlier runs learned.
            ceiling: seconds per sample that the level cannot lie above.
            floor: seconds per sample that a level derived from slow reports cannot lie below.
            slowed_by: factor by which the work is slow as the level is first met; above 1, the first reports divided
                by it are the level until the work is seen to be faster.
        """
        self._stored = self._start = stored
        self._ceiling, self._floor, self._slowed_by = ceiling * SLACK, floor, slowed_by
        self._firsts: list[float] = []
        self._quiet: deque[float] = deque(maxlen=WINDOW)
        self._cpu: deque[float] = deque(maxlen=WINDOW)
        self._anchor = min(stored.seconds_per_sample if stored else math.inf, self._ceiling)
        self._median = math.nan
        self.spread = stored.spread if stored else 0.0
        """Robust relative scatter of quiet reports; that of earlier runs until this run has enough."""
        self.own_reports = 0
        """Quiet reports of this run behind the level."""

    @property
    def is_known(self) -> bool:
        """True once there is anything to compare with."""
        return self._start is not None or bool(self._quiet)

    @property
    def is_only_stored(self) -> bool:
        """True while nothing but what earlier runs learned is behind the level."""
        return self._stored is not None and self._start is self._stored and self.own_reports == 0

    @property
    def reports(self) -> int:
        """Quiet reports behind the level, those of earlier runs included."""
        return self.own_reports + (self._start.reports if self._start else 0)

    @property
    def seconds_per_sample(self) -> float:
        """The cold level; `is_known` must hold."""
        if self._start is not None and self.own_reports < SETTLED:
            return self._start.seconds_per_sample
        return min(self._median, self._anchor * (1.0 + CREEP))

    def learn(self, seconds_per_sample: float, cpu_per_sample: float | None = None) -> None:
        """Add one quiet report (or, for a level met in the middle of a slow-down, one of its first reports)."""
        if self._slowed_by > 1.0:
            self._derive(seconds_per_sample)
            return
        self._quiet.append(seconds_per_sample)
        if cpu_per_sample is not None:
            self._cpu.append(cpu_per_sample)
        self.own_reports += 1
        self._median = median(self._quiet)
        if len(self._quiet) >= SETTLED:
            self.spread = robust_spread(self._quiet)
        if len(self._quiet) == WINDOW:
            self._anchor = min(self._anchor, self._median)

    def _derive(self, seconds_per_sample: float) -> None:
        self._firsts.append(seconds_per_sample)
        if len(self._firsts) < FIRSTS:
            return
        level = max(self._floor, min(median(self._firsts) / self._slowed_by, self._ceiling))
        self._start = Baseline(level, 0.0, 1)
        self._anchor, self._slowed_by = level, 1.0

    def forget_stored(self) -> None:
        """Forget what earlier runs learned: later runs get what this one learns, however much more that is."""
        self._stored = None

    def restart(self, reports: Iterable[float]) -> None:
        """Forget what was taken for cold: *reports* showed that the work can be faster than that."""
        self._quiet.clear()
        self._cpu.clear()
        self._start, self._anchor, self.own_reports = None, self._ceiling, 0
        for report in reports:
            self.learn(report)

    def learned(self) -> Baseline | None:
        """Return this run's quiet level merged with the stored baseline; the latter alone after too few reports."""
        if self.own_reports < LEAST_TO_STORE:
            return self._stored
        cpu = median(self._cpu) if self._cpu else None
        return merged(self._stored, Baseline(self.seconds_per_sample, self.spread, self.own_reports, cpu))


def merged(stored: Baseline | None, own: Baseline) -> Baseline:
    """Return the baseline to keep: *own* at once when it is faster, else *stored* raised by at most RISE_PER_RUN."""
    if stored is None:
        return own
    cpu = own.cpu_per_sample
    if cpu is None:
        cpu = stored.cpu_per_sample
    elif stored.cpu_per_sample is not None:
        cpu = min(cpu, stored.cpu_per_sample * (1.0 + RISE_PER_RUN))
    return Baseline(
        seconds_per_sample=min(own.seconds_per_sample, stored.seconds_per_sample * (1.0 + RISE_PER_RUN)),
        spread=fmean((stored.spread, own.spread)),
        reports=min(stored.reports + own.reports, STORED_REPORTS),
        cpu_per_sample=cpu,
    )
