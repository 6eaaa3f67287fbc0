"""What the trainer tells the slot, on its report pipe. Pure values."""

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
    """Epochs, boosting rounds or fits planned; 1 for a one-shot fit."""
    unit: str = "epoch"
    """What one report counts: epoch | round | fit | chunk."""
    one_shot: bool = False
    """True when there is no safe point inside the work: the slot pauses it with SIGSTOP."""
    samples: int | None = None
    """Training samples per epoch."""
    fingerprint: str | None = None
    """Names runs of equal cost: model and horizon first, then shapes, device, threads, the library with its version.
    The micro-batch is not in it: baselines are kept per fingerprint and micro-batch, because a downgrade changes the
    cost of a sample legitimately."""
    device: str = "cpu"
    """What computes: cpu | cuda | mps. Calibration probes are compared per device."""
    micro_batch: int | None = None
    """Samples that go through the net at once; None for models without batches."""
    gets_dearer: bool = False
    """True when an epoch or round costs more the further it goes, by nature (DART works through all its trees in every
    round): seconds per sample then say nothing of the machine, and the governor weighs them by processor time."""
    can: tuple[str, ...] = ()
    """Directives that this trainer obeys beyond Pause and Stop: pace | micro_batch | probe | checkpoint (a stop loses
    at most the step at hand). The governor orders nothing that is not in it."""


@dataclass(frozen=True, slots=True)
class EpochReport(Message):
    """One epoch (or a batch of boosting rounds) is done."""

    type: ClassVar[str] = "epoch"
    epoch: int
    """1-based count of finished epochs, rounds or fits."""
    total_epochs: int
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
    was kept waiting; one whose processor time grew with it ran on a slower machine."""
    data_s: float | None = None
    """Part of `wall_s` spent bringing data together (gathering windows, reading)."""
    train_s: float | None = None
    """Part of `wall_s` spent in training steps, validation left out: what `StepsReport` counts, too, so that parts of
    epochs and whole epochs are compared alike. None: all of `wall_s`."""


@dataclass(frozen=True, slots=True)
class StepsReport(Message):
    """Part of a long epoch is done: sent at most every few seconds, only by epochs that last longer than that."""

    type: ClassVar[str] = "steps"
    epoch: int
    """1-based number of the epoch at hand."""
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
    """A checkpoint could not be written; the earlier one stands and training goes on."""

    type: ClassVar[str] = "checkpoint_failed"
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Restored(Message):
    """Training goes on from a checkpoint."""

    type: ClassVar[str] = "restored"
    epoch: int
    path: str
    exact: bool = True
    """False where the library cannot resume exactly; `note` says what is and is not."""
    note: str | None = None
    rejected: tuple[str, ...] = ()
    """Newer checkpoints that were torn or unreadable, each with why."""


@dataclass(frozen=True, slots=True)
class Paused(Message):
    """The trainer stands still at a safe point."""

    type: ClassVar[str] = "paused"
    epoch: int


@dataclass(frozen=True, slots=True)
class Resumed(Message):
    """The trainer moves again."""

    type: ClassVar[str] = "resumed"
    epoch: int


@dataclass(frozen=True, slots=True)
class MicroBatchChanged(Message):
    """The trainer goes on with another micro-batch (and as many more accumulations: the effective batch stays)."""

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
    """Seconds of the best of a few equal parts: what the machine gives just now, spikes left out."""
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
    """Words of the guardrail that refused the result; None when it is believed."""


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """Training ended in an error that could still be told."""

    type: ClassVar[str] = "failed"
    kind: FailureKind
    error: str
    """One line: exception class and message."""


@dataclass(frozen=True, slots=True)
class Stopped(Message):
    """The trainer obeyed a stop and left a resumable checkpoint (or none was possible)."""

    type: ClassVar[str] = "stopped"
    epoch: int
    checkpointed: bool


Report = (
    Hello | Started | EpochReport | StepsReport | CheckpointSaved | CheckpointFailed | Restored | Paused | Resumed
    | MicroBatchChanged | Probed | Note | Finished | Failed | Stopped
)  # fmt: skip
