"""What reports say, as work that the governor can weigh: parts of long epochs as they come, then what is left of each.

Work that gets dearer as it goes (boosted rounds of DART) has no cold cost of a sample. What stays even on a quiet
machine is its wall time over its processor time, so such work is counted in processor milliseconds instead of samples:
waiting, for other programs or for memory, still shows; a processor that is slower does not, and is left to the sensors.

Neighbours: `attempt_governor` (one attempt under the governor), `cbi_queue.governor.values` (what work is).
"""

from __future__ import annotations

from cbi_queue import clock
from cbi_queue.governor.values import Work
from cbi_queue.protocol import EpochReport, StepsReport


class ReportedWork:
    """Turns the reports of one attempt into work, each sample and second once."""

    def __init__(self, *, gets_dearer: bool = False) -> None:
        """Begin with an epoch of which nothing was told.

        Args:
            gets_dearer: as `Started` says: the work is counted in processor milliseconds.
        """
        self._gets_dearer = gets_dearer
        self._wall_s, self._samples = 0.0, 0

    def work_of(self, report: EpochReport | StepsReport, gap_s: float) -> Work | None:
        """Return what *report* adds; None when it tells of no samples, or of no processor time where that is counted.

        Args:
            report: the next one.
            gap_s: seconds that the machine slept since the one before.
        """
        if isinstance(report, StepsReport):
            self._wall_s += report.wall_s
            self._samples += report.samples
            return self._work(report, report.wall_s, report.samples, report.cpu_s, report.data_s, gap_s)
        train_s = report.wall_s if report.train_s is None else report.train_s
        had_parts = self._samples > 0
        wall_s, samples = train_s - self._wall_s, (report.samples or 0) - self._samples
        self._wall_s, self._samples = 0.0, 0
        # An epoch's figures are of all of it, validation included: they say nothing of what is left beside its parts.
        share = 0.0 if had_parts or report.wall_s <= 0 else train_s / report.wall_s
        cpu_s, data_s = _part_of(report.cpu_s, share), _part_of(report.data_s, share)
        return self._work(report, wall_s, samples, cpu_s, data_s, gap_s)

    def _work(
        self,
        report: EpochReport | StepsReport,
        wall_s: float,
        samples: int,
        cpu_s: float | None,
        data_s: float | None,
        gap_s: float,
    ) -> Work | None:
        if self._gets_dearer:
            samples = round(1000 * cpu_s) if samples > 0 and cpu_s is not None else 0
        if samples <= 0 or wall_s <= 0:
            return None
        return Work(
            epoch=report.epoch - 1,
            at_s=clock.boot_s(),
            wall_s=wall_s,
            samples=samples,
            micro_batch=report.micro_batch,
            disturbed=report.resumed,
            cpu_s=cpu_s,
            data_s=data_s,
            gap_s=gap_s,
        )


def _part_of(seconds: float | None, share: float) -> float | None:
    return None if seconds is None or share <= 0.0 else seconds * share
