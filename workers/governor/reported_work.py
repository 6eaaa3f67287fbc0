"""Turns the reports of one attempt into work for the governor: parts of long epochs as they come, then what is left.

Work that gets dearer as it proceeds (boosted rounds of DART) has no cold cost of a sample. On a quiet machine its wall
time over its processor time stays even, so such work is counted in processor milliseconds instead of samples: waiting,
for other programs or for memory, still shows; a slower processor does not, and is left to the sensors.
"""

from __future__ import annotations

from cbi_queue import clock
from cbi_queue.governor.values import Work
from cbi_queue.protocol import EpochReport, StepsReport


class ReportedWork:
    """The work of one attempt, each sample and second once."""

    def __init__(self, *, gets_dearer: bool = False) -> None:
        """Begin with an epoch of which nothing has been reported.

        Args:
            gets_dearer: as in `Started`: the work is counted in processor milliseconds.
        """
        self._gets_dearer = gets_dearer
        self._wall_s, self._samples = 0.0, 0

    def work_of(self, report: EpochReport | StepsReport, gap_s: float) -> Work | None:
        """Return what *report* adds; None when it has no samples, or no processor time where that is counted.

        Args:
            report: the next one.
            gap_s: seconds that the machine slept since the one before.
        """
        if isinstance(report, StepsReport):
            wall_s, samples, share = report.wall_s, report.samples, 1.0
            self._wall_s += wall_s
            self._samples += samples
        else:
            train_s = report.wall_s if report.train_s is None else report.train_s
            # An epoch's figures are of all of it, with validation: what is left beside its parts cannot be told apart.
            share = 0.0 if self._samples > 0 or report.wall_s <= 0 else train_s / report.wall_s
            wall_s, samples = train_s - self._wall_s, (report.samples or 0) - self._samples
            self._wall_s, self._samples = 0.0, 0
        cpu_s = None if report.cpu_s is None or share <= 0.0 else report.cpu_s * share
        data_s = None if report.data_s is None or share <= 0.0 else report.data_s * share
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
