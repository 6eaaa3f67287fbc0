"""What the trainer reports to the slot, on its report pipe. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from cbi_queue.protocol.messages import PROTOCOL_VERSION, Message


class FailureKind(StrEnum):
    """What kind of failure a trainer reports."""

    BROKEN_SPEC = "broken_spec"
    """The job as written cannot run (bad parameter for this data, unknown model): never retried."""
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    KILLED = "killed"
    """A command that the trainer ran was ended by SIGKILL, not by us: memory is blamed on evidence alone."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """The trainer process is up and has read its protocol version."""

    type: ClassVar[str] = "hello"
    pid: int
    python: str
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Started(Message):
    """Preparation is over; training begins."""

    type: ClassVar[str] = "started"
    total_epochs: int
    """Epochs, boosting rounds or fits planned; 1 for a one-shot fit, 0 where a script does not say."""
    unit: str = "epoch"
    """What one report counts: epoch | round | fit | chunk | batch."""
    one_shot: bool = False
    """True when the work has no safe points: the slot pauses it with SIGSTOP."""
    samples: int | None = None
    """Training samples per epoch."""
    fingerprint: str | None = None
    """Same for runs of equal cost: model and horizon first, then shapes, device, threads, the library with its version.
    The micro-batch is not in it: baselines are kept per fingerprint and micro-batch, because a smaller micro-batch
    changes the cost of a sample."""
    device: str = "cpu"
    """What computes: cpu | cuda | mps. Calibration probes are compared per device."""
    micro_batch: int | None = None
    """Samples that go through the net at once; None for models without batches."""
    gets_dearer: bool = False
    """True when later epochs or rounds cost more by nature (DART evaluates all its trees in every round): seconds per
    sample then show nothing about the machine, and the governor compares processor time."""
    can: tuple[str, ...] = ()
    """Directives that this trainer supports beyond Pause and Stop: pace | micro_batch | probe | checkpoint (a stop
    loses at most the current step). The governor orders nothing else."""


@dataclass(frozen=True, slots=True)
class EpochReport(Message):
    """One epoch (or a batch of boosting rounds) is done."""

    type: ClassVar[str] = "epoch"
    epoch: int
    """1-based count of finished epochs, rounds or fits."""
    total_epochs: int
    """0: not known."""
    wall_s: float
    """Working time since the last report; pauses, pacing, probes and checkpoints excluded."""
    samples: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    micro_batch: int | None = None
    resumed: bool = False
    """True when a pause, a resume, a restart or a change of micro-batch fell into this epoch: its time is no
    baseline."""
    cpu_s: float | None = None
    """Processor time of this process (all threads) within `wall_s`. A slow epoch whose processor time did not grow
    had to wait; one whose processor time grew with it ran on a slower machine."""
    data_s: float | None = None
    """Part of `wall_s` spent on data (gathering windows, reading)."""
    train_s: float | None = None
    """Part of `wall_s` spent in training steps, validation left out: what `StepsReport` counts, too, so that parts of
    epochs and whole epochs are compared alike. None: all of `wall_s`."""


@dataclass(frozen=True, slots=True)
class StepsReport(Message):
    """Part of a long epoch is done: sent at most every few seconds, only by epochs that last longer than that."""

    type: ClassVar[str] = "steps"
    epoch: int
    """1-based number of the current epoch."""
    step: int
    """Optimiser steps of this epoch done so far."""
    steps: int
    """Optimiser steps of this epoch in all."""
    wall_s: float
    """Working time since the last report of either kind."""
    samples: int
    """Samples trained since the last report of either kind."""
    micro_batch: int | None = None
    resumed: bool = False
    cpu_s: float | None = None
    data_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckpointSaved(Message):
    """A checkpoint is on disk, flushed and renamed into place."""

    type: ClassVar[str] = "checkpoint_saved"
    epoch: int
    bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class CheckpointFailed(Message):
    """A checkpoint could not be written; the earlier one is kept and training continues."""

    type: ClassVar[str] = "checkpoint_failed"
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Restored(Message):
    """Training continues from a checkpoint."""

    type: ClassVar[str] = "restored"
    epoch: int
    path: str
    exact: bool = True
    """False where the library cannot resume exactly; `note` states what is exact and what is not."""
    note: str | None = None
    rejected: tuple[str, ...] = ()
    """Newer checkpoints that were torn or unreadable, each with why."""


@dataclass(frozen=True, slots=True)
class Paused(Message):
    """The trainer has paused at a safe point."""

    type: ClassVar[str] = "paused"
    epoch: int


@dataclass(frozen=True, slots=True)
class Resumed(Message):
    """The trainer has resumed."""

    type: ClassVar[str] = "resumed"
    epoch: int


@dataclass(frozen=True, slots=True)
class MicroBatchChanged(Message):
    """The trainer now uses another micro-batch, and accumulates more or fewer to the same effective batch."""

    type: ClassVar[str] = "micro_batch_changed"
    epoch: int
    micro_batch: int


@dataclass(frozen=True, slots=True)
class Probed(Message):
    """The calibration probe ran: a fixed small workload on the trainer's device."""

    type: ClassVar[str] = "probed"
    device: str
    workload: str
    """Name and version of the workload; only equal workloads are compared."""
    wall_s: float
    """Seconds of the best of a few equal parts: the speed of the machine now, without spikes."""
    cpu_s: float | None = None
    """Processor time of that part."""
    total_s: float = 0.0
    """Seconds that the whole probe took from the training."""


@dataclass(frozen=True, slots=True)
class Note(Message):
    """Something a person may want to read; becomes an event of the job."""

    type: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True)
class Finished(Message):
    """The run folder is complete."""

    type: ClassVar[str] = "finished"
    metrics: dict[str, Any] = field(default_factory=dict)
    peak_rss_mib: float | None = None
    veto: str | None = None
    """Words of the guardrail that rejected the result; None when it passed."""


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """Training ended in an error that the trainer could still report."""

    type: ClassVar[str] = "failed"
    kind: FailureKind
    error: str
    """One line: exception class and message."""


@dataclass(frozen=True, slots=True)
class Stopped(Message):
    """The trainer stopped as ordered and left a resumable checkpoint (or none was possible)."""

    type: ClassVar[str] = "stopped"
    epoch: int
    checkpointed: bool


Report = (
    Hello | Started | EpochReport | StepsReport | CheckpointSaved | CheckpointFailed | Restored | Paused | Resumed
    | MicroBatchChanged | Probed | Note | Finished | Failed | Stopped
)  # fmt: skip
