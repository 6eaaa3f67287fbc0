"""The trainer and everything it started: its memory, its share of the processor against that of others, and whether it
was stopped. How a platform tells these is in `linux_tree` and `macos_tree`.

Others' processor time is the machine's less the tree's, so no other process is ever looked at. The tree's own time
includes that of its children that ended, so a short-lived child is not taken for a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cbi_queue.readings.values import ContentionReading, FootprintReading, Unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.process_identity import ProcessIdentity

NO_TRAINER = "no trainer runs"
FIRST_LOOK = "processor time is told between two looks, and this was the first"


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
    """How one operating system tells about processes and processors."""

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
        """Return processor seconds that anybody used on the slot's cores since boot; None when it cannot be told."""

    def stall_share(self) -> float | None:
        """Return the share of the last ten seconds in which some task waited for a processor, where it is known."""


class Footprint:
    """Memory of the trainer's tree."""

    kind = "footprint"
    is_slow = True  # the kernel walks every page of the trainer, and waits for it while it is busy growing
    every = 3

    def __init__(self, platform: Platform) -> None:
        """Ask *platform*."""
        self.name = f"{platform.name}, memory of the trainer's tree"
        self._platform = platform
        self._trainer: ProcessIdentity | None = None

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Look at *trainer* from now on."""
        self._trainer = trainer

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
class _Look:
    at_s: float
    trainer: ProcessIdentity | None
    """None: no tree was there to be told apart."""
    busy_s: float
    tree_s: float


class Contention:
    """Who used the processor between two looks."""

    kind = "contention"
    is_slow = False
    every = 1

    def __init__(self, platform: Platform) -> None:
        """Ask *platform*."""
        self.name = f"{platform.name}, processor time"
        self._platform = platform
        self._trainer: ProcessIdentity | None = None
        self._last: _Look | None = None

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Tell *trainer* and what it starts apart from others from now on."""
        self._trainer = trainer

    def read(self, now_s: float) -> ContentionReading | Unknown:
        """Take a reading; the first one after the trainer changed has nothing to compare with."""
        trainer = self._trainer
        pids = self._platform.members(trainer) if trainer else ()
        activity = self._platform.activity_of(pids)
        busy_s = self._platform.busy_s()
        if busy_s is None:
            return Unknown(f"{self._platform.name} does not tell how busy the processors are", now_s)
        look = _Look(now_s, trainer if pids else None, busy_s, activity.cpu_s)
        last, self._last = self._last, look
        if last is None or last.trainer != look.trainer or now_s <= last.at_s:
            return Unknown(FIRST_LOOK, now_s)
        return self._between(last, look, is_stopped=activity.is_stopped if pids else None)

    def _between(self, last: _Look, look: _Look, *, is_stopped: bool | None) -> ContentionReading:
        span_s = look.at_s - last.at_s
        tree = max(0.0, look.tree_s - last.tree_s) / span_s
        busy = max(0.0, look.busy_s - last.busy_s) / span_s
        return ContentionReading(
            look.at_s,
            self._platform.name,
            cores=self._platform.cores,
            others_cores=max(0.0, busy - tree),
            trainer_cores=tree if look.trainer else None,
            stall_share=self._platform.stall_share(),
            trainer_stopped=is_stopped,
        )
