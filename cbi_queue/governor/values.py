"""What passes through the governor: work, slow-downs, causes, decisions. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Work:
    """One report of finished work: an epoch, a block of boosting rounds, or a part of a long epoch."""

    epoch: int
    """0-based number of the epoch (block, part) as the trainer counts; only rises within an attempt."""
    at_s: float
    """Boot-clock second at which it ended."""
    wall_s: float
    """Working seconds that it took; pauses, pacing, probes and checkpoints excluded."""
    samples: int
    """Samples trained in it; above zero."""
    micro_batch: int | None = None
    disturbed: bool = False
    """A pause, resume, restart, probe or change of micro-batch fell into it: it counts neither as cold nor as slow."""
    cpu_s: float | None = None
    """Processor seconds of the trainer within `wall_s`."""
    data_s: float | None = None
    """Part of `wall_s` spent on assembling batches."""
    gap_s: float = 0.0
    """Unaccounted boot-clock seconds since the report before, beyond `wall_s` and known pauses: the machine slept, or
    the process was frozen."""

    @property
    def seconds_per_sample(self) -> float:
        """What the detector compares."""
        return self.wall_s / self.samples


@dataclass(frozen=True, slots=True)
class Baseline:
    """What work of one fingerprint and micro-batch costs on the cold, quiet machine."""

    seconds_per_sample: float
    spread: float
    """Robust relative spread of quiet reports: 1.4826 * MAD / median."""
    reports: int
    """Quiet reports behind it."""
    cpu_per_sample: float | None = None
    """Processor seconds a sample, where known."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Slow since an epoch, by a factor, with a confidence."""

    since_epoch: int
    """First slow epoch, as `Work.epoch`."""
    detected_epoch: int
    """Epoch at whose report it was noticed."""
    factor: float
    """Seconds per sample so far over the cold level; above 1."""
    confidence: float
    """0 to 1."""
    since_s: float = 0.0
    """Boot-clock second at which it began."""
    ended_epoch: int | None = None
    """Last slow epoch, once it is over."""


class Cause(StrEnum):
    """Why work is slow."""

    HEAT = "heat"
    MEMORY = "memory"
    CONTENTION = "contention"
    SERVICE_CLASS = "service_class"
    SLEEP = "sleep"
    DATA = "data"
    UNKNOWN = "unknown"


SURE = 0.6
"""Confidence from which a cause is acted on; below it the calibration probe is asked first."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The cause that the evidence points to."""

    cause: Cause
    confidence: float
    """0 to 1."""
    evidence: tuple[str, ...] = ()
    """Sentences with figures, the strongest first: what people read."""
    figures: dict[str, float] = field(default_factory=dict)
    """The same as numbers, for the row: others_cores, cpu_ratio, probe_ratio, heat_level, stall_share, …"""

    @property
    def is_sure(self) -> bool:
        """True when the cause is known well enough to act on it."""
        return self.cause is not Cause.UNKNOWN and self.confidence >= SURE


class Action(StrEnum):
    """What the slot does."""

    PROBE = "probe"
    """Run the calibration probe; no step of the ladder."""
    PACE = "pace"
    """Set the duty to `Decision.value` (1.0: full speed)."""
    MICRO_BATCH = "micro_batch"
    """Set the micro-batch to `Decision.value`."""
    PAUSE = "pause"
    """Pause the trainer in memory, caches freed: a hold of the cause's reason."""
    RESUME = "resume"
    """Lift that hold."""
    EVICT = "evict"
    """Checkpoint, leave, return to the queue; the hold keeps the slot closed until it is clear."""
    RECYCLE = "recycle"
    """Checkpoint, leave and start again at once in a fresh process: frees leaked memory."""
    TELL = "tell"
    """Only tell people: a slow-down against which there is no step, or a step that is not taken."""


HEAT_LADDER = (Action.PACE, Action.MICRO_BATCH, Action.PAUSE)
"""Rungs that may be used against heat, in the order in which they are tried unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and on what evidence. Becomes a row that the page can show."""

    at_s: float
    action: Action
    cause: Cause
    words: str
    """One or two sentences for people, with figures."""
    value: float | None = None
    upward: bool = False
    """True for a step back towards full speed."""
    undo: bool = False
    """True when it takes back a step that did not help within its trial."""
    carried: bool = False
    """True when it only sends a new trainer the pace that is in force already: no step."""
    figures: dict[str, float] = field(default_factory=dict)
