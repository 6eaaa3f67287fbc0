"""The trainer and everything it started: its memory, its share of the processor against that of others, and whether it
was stopped. Each platform reads these in its `tree` module.

Others' processor time is the machine's less the tree's, so no other process is ever read. The tree's own time includes
that of its children that ended, so a short-lived child is not counted as another program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cbi_queue.readings.values import ContentionReading, FootprintReading, Unknown
from workers.sensors.sensor import TrainerSensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.process_identity import ProcessIdentity

NO_TRAINER = "no trainer runs"
FIRST_SAMPLE = "processor time is measured between two samples, and this was the first"


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Memory of one process, swapped and compressed memory included."""

    footprint_mib: float
    swapped_mib: float | None


@dataclass(frozen=True, slots=True)
class TreeActivity:
    """What a tree of processes has done so far."""

    cpu_s: float
    """Processor seconds since each began, those of children that ended included."""
    is_stopped: bool
    """Some process of it is stopped by a signal."""


class Platform(Protocol):
    """Processes and processors of one operating system."""

    name: str
    """The source, for people."""
    cores: int
    """Logical cores that the slot may use."""

    def members(self, root: ProcessIdentity) -> Sequence[int]:
        """Return the pids of *root* and its descendants; empty when *root* is gone."""

    def memory_of(self, pids: Sequence[int]) -> list[ProcessMemory]:
        """Return the memory of each of *pids* that still runs and may be read."""

    def activity_of(self, pids: Sequence[int]) -> TreeActivity:
        """Return what those of *pids* that still run have done."""

    def busy_s(self) -> float | None:
        """Return processor seconds used by all processes on the slot's cores since boot; None when not known."""

    def stall_share(self) -> float | None:
        """Return the share of the last ten seconds in which some task waited for a processor; None when not known."""


class Footprint(TrainerSensor):
    """Memory of the trainer's tree."""

    kind = "footprint"
    is_slow = True  # the kernel walks every page of the trainer, and waits for it while it is busy growing
    every = 3

    def __init__(self, platform: Platform) -> None:
        """Read from *platform*."""
        self.name = f"{platform.name}, memory of the trainer's tree"
        self._platform = platform

    def read(self, now_s: float) -> FootprintReading | Unknown:
        """Take a reading."""
        trainer = self._trainer
        if trainer is None:
            return Unknown(NO_TRAINER, now_s)
        parts = self._platform.memory_of(self._platform.members(trainer))
        if not parts:
            return Unknown(f"process {trainer.pid} has ended, or its memory may not be read", now_s)
        swapped = [part.swapped_mib for part in parts if part.swapped_mib is not None]
        return FootprintReading(
            now_s,
            self._platform.name,
            footprint_mib=sum(part.footprint_mib for part in parts),
            swapped_mib=sum(swapped) if swapped else None,
            processes=len(parts),
        )


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    trainer: ProcessIdentity | None
    """None: no trainer was running."""
    busy_s: float
    tree_s: float


class Contention(TrainerSensor):
    """Who used the processor between two samples."""

    kind = "contention"
    is_slow = False
    every = 1

    def __init__(self, platform: Platform) -> None:
        """Read from *platform*."""
        self.name = f"{platform.name}, processor time"
        self._platform = platform
        self._last: _Sample | None = None

    def read(self, now_s: float) -> ContentionReading | Unknown:
        """Take a reading; the first one after the trainer changed has nothing to compare with."""
        trainer = self._trainer
        pids = self._platform.members(trainer) if trainer else ()
        activity = self._platform.activity_of(pids)
        busy_s = self._platform.busy_s()
        if busy_s is None:
            return Unknown(f"{self._platform.name} does not show how busy the processors are", now_s)
        sample = _Sample(now_s, trainer if pids else None, busy_s, activity.cpu_s)
        last, self._last = self._last, sample
        if last is None or last.trainer != sample.trainer or now_s <= last.at_s:
            return Unknown(FIRST_SAMPLE, now_s)
        return self._between(last, sample, is_stopped=activity.is_stopped if pids else None)

    def _between(self, last: _Sample, sample: _Sample, *, is_stopped: bool | None) -> ContentionReading:
        span_s = sample.at_s - last.at_s
        tree = max(0.0, sample.tree_s - last.tree_s) / span_s
        busy = max(0.0, sample.busy_s - last.busy_s) / span_s
        return ContentionReading(
            sample.at_s,
            self._platform.name,
            cores=self._platform.cores,
            others_cores=max(0.0, busy - tree),
            trainer_cores=tree if sample.trainer else None,
            stall_share=self._platform.stall_share(),
            trainer_stopped=is_stopped,
        )
