"""What the slot sends to the trainer, on its standard input. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cbi_queue.protocol.messages import Message


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything a trainer gets to know: one attempt of one job."""

    job_id: int
    attempt: int
    """1 for the first attempt."""
    ledger_id: str
    """Identity of the ledger; with job_id and attempt it signs the run folder's manifest."""
    identity: str
    """Hex SHA-256 of the spec's content."""
    spec: dict[str, Any]
    """The JobSpec as plain JSON values; `jobs` validates it again."""
    run_dir: str
    """Absolute path of the run's folder (artifacts, checkpoints)."""
    exports_dir: str
    """Absolute path of TrainingData/exports."""
    processed_dir: str
    """Absolute path of TrainingData/processed."""
    threads: int = 1
    """Threads that the trainer may use; also set as OMP_NUM_THREADS."""
    micro_batch: int | None = None
    """Micro-batch as lowered after earlier attempts; None: as in the spec."""
    thrift: int = 0
    """Times that this job was retried with less memory: boosted trees halve bins and threads each time."""
    devices: tuple[str, ...] = ("cpu",)
    """Devices to train nets on, the preferred one first (mps | cuda | cpu): the hardware profile's."""
    precision: str = "float32"
    """What nets compute in: float32 | bfloat16 | float16 (autocast; weights stay float32): the hardware profile's."""
    memory_limit_mib: float = 0.0
    """MiB that the trainer may map for data and heap; 0: no limit."""
    grace_s: float = 20.0
    """Seconds between a stop and the trainer's own hard exit."""
    log_path: str | None = None
    """The attempt's log, already open as the trainer's stdout and stderr; the trainer rolls it over."""
    log_max_bytes: int = 5_000_000
    log_keep: int = 3
    needed_runs: dict[str, str] = field(default_factory=dict)
    """Name of each job that this one needs -> absolute path of its run's folder."""
    members: tuple[dict[str, Any], ...] = ()
    """Runs that an ensemble combines: {"name", "model", "run": "JOB.ATTEMPT", "run_dir": absolute path}."""
    mlflow_dir: str = ""
    """Absolute path of MLflow's store; empty: tracking is off."""
    left_out: tuple[str, ...] = ()
    """`NAME: why`, of each run that it would have combined but for a reason."""


@dataclass(frozen=True, slots=True)
class Begin(Message):
    """Start work on this assignment."""

    type: ClassVar[str] = "begin"
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Pause(Message):
    """Pause at the next safe point and stay in memory."""

    type: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True)
class Resume(Message):
    """Resume training."""

    type: ClassVar[str] = "resume"
    suspended_s: float = 0.0
    """Seconds that the kernel kept the trainer stopped; it must not count them as working time."""


@dataclass(frozen=True, slots=True)
class Pace(Message):
    """Work only part of the time: after each step, sleep so long that work has this share of the whole."""

    type: ClassVar[str] = "pace"
    duty: float
    """Share of time spent working, above 0 and at most 1 (no pacing)."""


@dataclass(frozen=True, slots=True)
class SetMicroBatch(Message):
    """Use this micro-batch from the next step on; gradients are accumulated to the same effective batch."""

    type: ClassVar[str] = "set_micro_batch"
    micro_batch: int


@dataclass(frozen=True, slots=True)
class Probe(Message):
    """Run the calibration probe at the next safe point and report `Probed`."""

    type: ClassVar[str] = "probe"


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Checkpoint at the next safe point and exit with `ExitCode.STOPPED`."""

    type: ClassVar[str] = "stop"


Directive = Begin | Pause | Resume | Pace | SetMicroBatch | Probe | Stop
