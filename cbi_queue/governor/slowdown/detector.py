"""Is the work slow? An online detector over seconds per sample. Pure; bounded memory and bounded work per report.

Reports are added up into bins of at least `bin_s`, so that epochs of milliseconds do not drown in their own scatter.
A bin with cost c (seconds per sample) is compared with the cold level b of its micro-batch (`cold_level`), whose quiet
bins have the relative scatter s:

    k    = max(ln floor, spreads * s)                       the slow-down that is let pass
    vote = clip((ln(c / b) - k) / ln(full / floor), -1, 1)  one spike is one vote, however tall
    lost = (min(c / b, lost_cap) - e^k) * b * samples       seconds lost beyond what is let pass

Votes add up, never below zero (a one-sided CUSUM with clipped increments); slow work begins at the first vote above
zero. It is a slow-down when a bin with such a vote ends and there are all of

- `alarm_votes` votes from at least `least_bins` bins: a stop of one or two epochs never has them;
- `alarm_s` seconds: other programs on a machine come and go within tenths of a second;
- `lost_s` seconds lost, and `burst_gain` times what the largest recent burst cost. A burst is slow work that ended
  without an alarm, or within `burst_s` of its beginning. So on a machine that is often disturbed the detector waits
  longer, up to `burst_cap_s`; that memory fades by `burst_fade` a bin.

Steady slow work needs neither so long nor so much: when the latest `steady_bins` bins are all slow and within
`steady_range` of each other, `steady_lost_s` seconds lost are enough. A chip that slows itself holds its speed, while
other programs come and go.

It has ended when a second CUSUM, of bins below `quiet_floor`, reaches `quiet_votes`. Only bins outside slow work count
for the cold level. A third CUSUM, of bins faster than the level, shows that what was taken for cold was not: the level
starts again from them, and the run up to there was slow in hindsight (`last_ended`).

Not counted at all: the first `warm_up` reports, disturbed ones, and those with unaccounted time before them (sleep).
Each micro-batch has its own level. One that was never seen can cost at most what the known one does, times the ratio of
the batches when it is smaller; met in the middle of a slow-down, its cold level is its cost over the factor of that
slow-down, until it shows that it can be faster.

The confidence is (1 - 2^(-votes / alarm_votes)) * n / (n + 2), n being the quiet reports behind the level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbi_queue.governor.slowdown.cold_level import FLOOR, SETTLED, ColdLevel
from cbi_queue.governor.slowdown.cusum import Bin, Cusum
from cbi_queue.governor.values import Baseline, Slowdown, Work

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Thresholds, chosen on recorded trainings (`benchmarks/detector_recall.py`); their neighbours score alike."""

    bin_s: float = 0.05
    """Seconds of work that are weighed as one; shorter reports are added up."""
    warm_up: int = 1
    """Reports left out after the start: compilation, first touch of memory."""
    floor: float = FLOOR
    """Factor over the cold level that is let pass."""
    full: float = 1.2
    """Factor from which a bin has a full vote: the least slow-down that must be found."""
    spreads: float = 2.5
    """Quiet scatters that are let pass, where that is more than `floor`."""
    alarm_votes: float = 2.5
    """Votes that make a slow-down: three bins at `full` or above."""
    least_bins: int = 3
    """Bins that make a slow-down, at least."""
    alarm_s: float = 0.7
    """Seconds that slow work must have lasted."""
    lost_s: float = 0.11
    """Seconds that it must have cost."""
    steady_bins: int = 4
    """Latest bins that must be slow and cost the same for slow work to be steady."""
    steady_range: float = 0.08
    """Most by which the dearest of them may exceed the cheapest, as a share."""
    steady_s: float = 0.4
    """Seconds that steady slow work must have lasted."""
    steady_lost_s: float = 0.08
    """Seconds that steady slow work must have cost, however short it is."""
    lost_cap: float = 1.5
    """Factor above which a bin counts as this slow, so that one spike cannot make an alarm."""
    burst_gain: float = 1.8
    """Times the largest recent burst that slow work must have cost."""
    burst_s: float = 3.0
    """Seconds within which an alarm that ended is counted as a burst, too."""
    burst_cap_s: float = 0.15
    """Most that a burst is remembered to have cost: the detector waits longer, but not for ever."""
    burst_fade: float = 0.997
    """Share of that memory left after one more bin: half is gone after 230."""
    quiet_floor: float = 1.10
    """Factor below which a bin speaks for the end of a slow-down."""
    quiet_votes: float = 4.0
    """Votes that end a slow-down: more than start one, because contention flickers."""
    faster_votes: float = 4.0
    """Votes that show the cold level to be too high."""
    gap_s: float = 5.0
    """Unaccounted seconds before a report from which it is not counted: the machine slept."""


class Detector:
    """Watches one run: since when its work is slow, and by how much."""

    def __init__(
        self, baselines: Mapping[int | None, Baseline] | None = None, settings: DetectorSettings | None = None
    ) -> None:
        """Start a run.

        Args:
            baselines: micro-batch -> cold baseline of earlier runs of the same fingerprint; empty for the first.
            settings: thresholds; None: the default ones.
        """
        self._set = settings or DetectorSettings()
        self._unit = math.log(self._set.full / self._set.floor)
        self._levels = {micro_batch: ColdLevel(stored) for micro_batch, stored in (baselines or {}).items()}
        self._level = ColdLevel()
        self._micro_batch: int | None = None
        self._warming = self._set.warm_up
        self._bin: Bin | None = None
        self._slow, self._quiet, self._fast = Cusum(), Cusum(), Cusum()
        self._burst_s = 0.0
        self._worst_s = 0.0
        self._level_since: Work | None = None
        self.current: Slowdown | None = None
        """The slow-down in force; None while the work is quiet or nothing is known."""
        self.last_ended: Slowdown | None = None
        """The slow-down that ended last; one seen in hindsight has its `detected_epoch` after its `ended_epoch`."""

    def observe(self, work: Work) -> Slowdown | None:
        """Add one report of finished work; return the slow-down in force after it, None when there is none."""
        if work.micro_batch != self._micro_batch or self._level_since is None:
            self._change_micro_batch(work)
        if self._warming > 0 or not self._counts(work):
            self._warming = max(0, self._warming - 1)
            self._bin = None
            return self.current
        if self._bin is None:
            self._bin = Bin(work)
        else:
            self._bin.add(work)
        if self._bin.wall_s >= self._set.bin_s:
            piece, self._bin = self._bin, None
            self._weigh(piece)
        return self.current

    def learned(self) -> dict[int | None, Baseline]:
        """Return the baselines to store for later runs: those of earlier runs, moved by this run's quiet reports."""
        found = {micro_batch: level.learned() for micro_batch, level in self._levels.items()}
        return {micro_batch: baseline for micro_batch, baseline in found.items() if baseline is not None}

    @property
    def doubts_stored(self) -> bool:
        """True when the work was slow from its first reports on, and for so many that they are a level of their own."""
        return self.current is not None and self._level.is_only_stored and self._slow.bins >= SETTLED

    def learn_anew(self) -> None:
        """Take this run's own cost for the cold level, where `doubts_stored`: what earlier runs learned is forgotten."""
        if self.current is None:
            return
        self._level.restart(self._slow.costs)
        self._level.forget_stored()
        self._fast.clear()
        self._end(self.current, self._slow.last_epoch)

    def cold_level(self) -> float | None:
        """Return the cold seconds per sample at the micro-batch in use; None: not known."""
        return self._level.seconds_per_sample if self._level.is_known else None

    def _counts(self, work: Work) -> bool:
        sound = 0.0 < work.wall_s < math.inf and work.samples > 0
        return sound and not work.disturbed and work.gap_s <= self._set.gap_s

    def _change_micro_batch(self, work: Work) -> None:
        """Switch to the level of the report's micro-batch; derive one for a batch never seen."""
        before, known = self._micro_batch, self._level
        self._micro_batch, self._bin = work.micro_batch, None
        if work.micro_batch not in self._levels:
            self._levels[work.micro_batch] = self._derived_level(known, before, work.micro_batch)
            if self.current is None:
                self._slow.clear()
        self._level, self._level_since = self._levels[work.micro_batch], work
        self._fast.clear()

    def _derived_level(self, known: ColdLevel, before: int | None, after: int | None) -> ColdLevel:
        if not known.is_known or before is None or after is None:
            return ColdLevel()
        ratio, cold = before / after, known.seconds_per_sample
        return ColdLevel(
            ceiling=cold * max(1.0, ratio),
            floor=cold * min(1.0, ratio),
            slowed_by=self.current.factor if self.current else 1.0,
        )

    def _weigh(self, piece: Bin) -> None:
        if not self._level.is_known:
            self._level.learn(piece.seconds_per_sample, piece.cpu_per_sample)
            return
        excess = math.log(piece.seconds_per_sample / self._level.seconds_per_sample)
        passed = max(math.log(self._set.floor), self._set.spreads * self._level.spread)
        self._fast.add(piece, self._vote(-excess - passed))
        if self._fast.votes >= self._set.faster_votes:
            self._start_level_again(piece)
            return
        if self.current is None:
            self._look_for_slowdown(piece, excess, passed)
        else:
            self._look_for_end(self.current, piece, excess, passed)

    def _vote(self, excess: float) -> float:
        return max(-1.0, min(1.0, excess / self._unit))

    def _lost_s(self, piece: Bin, excess: float, passed: float) -> float:
        expected_s = self._level.seconds_per_sample * piece.samples
        return (min(math.exp(excess), self._set.lost_cap) - math.exp(passed)) * expected_s

    def _look_for_slowdown(self, piece: Bin, excess: float, passed: float) -> None:
        vote = self._vote(excess - passed)
        self._slow.add(piece, vote, self._lost_s(piece, excess, passed))
        self._burst_s *= self._set.burst_fade
        self._worst_s = max(self._worst_s, self._slow.lost_s)
        if self._slow.is_empty:
            self._remember_burst(self._worst_s)
            if self._fast.is_empty:
                self._level.learn(piece.seconds_per_sample, piece.cpu_per_sample)
        elif vote > 0.0 and self._is_slowdown(passed):
            self.current = Slowdown(self._slow.since_epoch, piece.last_epoch, 1.0, 0.0, self._slow.since_s)
            self._quiet.clear()
            self._update_extent(self.current)

    def _is_slowdown(self, passed: float) -> bool:
        slow, limits = self._slow, self._set
        if slow.votes < limits.alarm_votes or slow.bins < limits.least_bins:
            return False
        if self._is_steady(passed):
            return slow.wall_s >= limits.steady_s and slow.lost_s >= limits.steady_lost_s
        return slow.wall_s >= limits.alarm_s and slow.lost_s >= max(limits.lost_s, limits.burst_gain * self._burst_s)

    def _is_steady(self, passed: float) -> bool:
        """Return True if the latest bins are all slow and cost the same: a throttled chip holds its speed, bursts vary."""
        latest = list(self._slow.costs)[-self._set.steady_bins :]
        low, high = min(latest), max(latest)
        is_slow = low > self._level.seconds_per_sample * math.exp(passed)
        return len(latest) == self._set.steady_bins and is_slow and high <= low * (1.0 + self._set.steady_range)

    def _look_for_end(self, current: Slowdown, piece: Bin, excess: float, passed: float) -> None:
        sure = self._set.alarm_votes
        lost_s = self._lost_s(piece, excess, passed)
        self._slow.add(piece, self._vote(excess - passed), lost_s, at_least=sure, at_most=8.0 * sure)
        self._worst_s = max(self._worst_s, self._slow.lost_s)
        self._quiet.add(piece, self._vote(math.log(self._set.quiet_floor / self._set.floor) + passed - excess))
        if self._quiet.votes < self._set.quiet_votes:
            self._update_extent(current)
            return
        if self._quiet.since_s - current.since_s <= self._set.burst_s:
            self._remember_burst(self._worst_s)
        factor = self._slow.cost_without(self._quiet) / self._level.seconds_per_sample
        ended = replace(current, factor=max(factor, 1.0))
        self._end(ended, max(current.since_epoch, self._quiet.since_epoch - 1))

    def _update_extent(self, current: Slowdown) -> None:
        known = self._level.reports
        factor = self._slow.seconds_per_sample / self._level.seconds_per_sample
        sureness = 1.0 - 2.0 ** (-self._slow.votes / self._set.alarm_votes)
        self.current = replace(current, factor=max(factor, 1.0), confidence=sureness * known / (known + 2))

    def _remember_burst(self, lost_s: float) -> None:
        self._burst_s = max(self._burst_s, min(lost_s, self._set.burst_cap_s))
        self._worst_s = 0.0

    def _end(self, current: Slowdown, last_epoch: int) -> None:
        self.last_ended = replace(current, ended_epoch=last_epoch)
        self.current = None
        self._worst_s = 0.0
        self._slow.clear()
        self._quiet.clear()

    def _start_level_again(self, piece: Bin) -> None:
        """Believe the faster bins; what came before at this micro-batch was slow, if it lasted long enough."""
        since, too_high = self._level_since, self._level
        last_slow_epoch = self._fast.since_epoch - 1
        was = too_high.seconds_per_sample
        own_reports = too_high.own_reports
        too_high.restart(self._fast.costs)
        self._fast.clear()
        if self.current is not None:
            self._end(self.current, max(self.current.since_epoch, last_slow_epoch))
        elif since is not None and own_reports >= 2 * SETTLED and last_slow_epoch > since.epoch:
            factor = was / too_high.seconds_per_sample
            known = too_high.reports
            seen = Slowdown(since.epoch, piece.last_epoch, factor, known / (known + 2), since.at_s - since.wall_s)
            self._end(seen, last_slow_epoch)
        self._slow.clear()
        self._quiet.clear()
