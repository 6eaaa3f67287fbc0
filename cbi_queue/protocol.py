"""The lines between slot and trainer: reports up, directives down. One JSON object a line; pure.

Up (the trainer's report pipe): Hello, Started, EpochReport, CheckpointSaved, CheckpointFailed, Restored,
Paused, Resumed, Note, Finished, Failed, Stopped. Down (the trainer's standard input): Begin, Pause, Resume, Stop.
Each line carries `v` (the protocol version) and `type`. Neighbours: `workers.trainer_process` and
`jobs.channel`, the only two that write these lines.

The trainer starts work only on `Begin`, which the slot sends after the trainer's process identity is in the
ledger: a trainer that no row knows never trains. End of file on its standard input means that the daemon is
dead; the trainer then checkpoints and exits by itself within its grace time.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from types import NoneType, UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from cbi_queue.errors import ProtocolError

PROTOCOL_VERSION = 1
MAX_LINE_BYTES = 1_048_576
"""A longer line is refused: nothing we send comes near it, and it must not fill the daemon's memory."""


class ExitCode(IntEnum):
    """How the trainer process says it ended."""

    DONE = 0
    ERROR = 1
    BROKEN_SPEC = 2
    OUT_OF_MEMORY = 70
    """EX_SOFTWARE, used for framework out-of-memory errors that could still be reported."""
    STOPPED = 75
    """EX_TEMPFAIL: stopped on request, resumable."""


class FailureKind(StrEnum):
    """What kind of failure a trainer reports."""

    BROKEN_SPEC = "broken_spec"
    """The job as written cannot run (bad parameter for this data, unknown model): never retried."""
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a trainer is told: one attempt of one job."""

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
    """Sticky downgraded micro-batch of earlier attempts; None: as the spec says."""
    grace_s: float = 20.0
    """Seconds between a stop and the trainer's own hard exit."""
    log_path: str | None = None
    """The attempt's log, already open as the trainer's stdout and stderr; the trainer rolls it over."""
    log_max_bytes: int = 5_000_000
    log_keep: int = 3


@dataclass(frozen=True, slots=True)
class Message:
    """Anything that travels; `type` names the class on the wire."""

    type: ClassVar[str] = ""


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
    """Names runs of equal cost: model, horizon, shapes, micro-batch, device."""


@dataclass(frozen=True, slots=True)
class EpochReport(Message):
    """One epoch (or a batch of boosting rounds) is done."""

    type: ClassVar[str] = "epoch"
    epoch: int
    """1-based count of finished epochs, rounds or fits."""
    total_epochs: int
    wall_s: float
    """Working time since the last report, pauses excluded."""
    samples: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    micro_batch: int | None = None
    resumed: bool = False
    """True when a pause, a resume or a restart fell into this epoch: its time is no baseline."""


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


@dataclass(frozen=True, slots=True)
class Begin(Message):
    """Start work on this assignment."""

    type: ClassVar[str] = "begin"
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Pause(Message):
    """Stand still at the next safe point, resident in memory."""

    type: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True)
class Resume(Message):
    """Go on."""

    type: ClassVar[str] = "resume"
    suspended_s: float = 0.0
    """Seconds that the kernel kept the trainer stopped: working time that it must not count."""


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Checkpoint at the next safe point and exit with `ExitCode.STOPPED`."""

    type: ClassVar[str] = "stop"


Report = (
    Hello | Started | EpochReport | CheckpointSaved | CheckpointFailed | Restored | Paused | Resumed | Note
    | Finished | Failed | Stopped
)  # fmt: skip
Directive = Begin | Pause | Resume | Stop

_REPORTS: dict[str, type[Message]] = {
    cls.type: cls
    for cls in (
        Hello, Started, EpochReport, CheckpointSaved, CheckpointFailed, Restored, Paused, Resumed, Note,
        Finished, Failed, Stopped,
    )
}  # fmt: skip
_DIRECTIVES: dict[str, type[Message]] = {cls.type: cls for cls in (Begin, Pause, Resume, Stop)}
_KINDS: dict[Any, dict[str, Any]] = {
    cls: {name: kind for name, kind in get_type_hints(cls).items() if get_origin(kind) is not ClassVar}
    for cls in (Assignment, *_REPORTS.values(), *_DIRECTIVES.values())
}
"""Class -> field -> its type, as declared above."""


def encode(message: Message) -> bytes:
    """Write *message* as one line. Text that is no valid Unicode (a broken file name in an error) is made valid.

    Raises:
        ProtocolError: when a number is not finite (JSON has no NaN) or the line would be over-long.
    """
    body = {"v": PROTOCOL_VERSION, "type": message.type, **asdict(message)}
    try:
        text = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as exc:
        raise ProtocolError(f"cannot send a {message.type!r} line: {exc}") from exc
    line = text.encode(errors="replace") + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"cannot send a {message.type!r} line of {len(line)} bytes; {MAX_LINE_BYTES} are allowed")
    return line


def decode_report(line: bytes) -> Report:
    """Read one line from a trainer. Raises ProtocolError on anything that is not one of ours."""
    return _decode(line, _REPORTS)  # type: ignore[return-value]


def decode_directive(line: bytes) -> Directive:
    """Read one line from the slot. Raises ProtocolError on anything that is not one of ours."""
    return _decode(line, _DIRECTIVES)  # type: ignore[return-value]


def _decode(line: bytes, known: dict[str, type[Message]]) -> Message:
    seen = line[:120]
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"a line of {len(line)} bytes came; {MAX_LINE_BYTES} are allowed")
    try:
        body = json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        version, name = body.pop("v"), body.pop("type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"not a protocol line: {seen!r} ({exc})") from exc
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolError(f"protocol version {version!r} came, {PROTOCOL_VERSION} is spoken here: {seen!r}")
    if not isinstance(name, str) or name not in known:
        raise ProtocolError(f"unknown line type {name!r}; known: {', '.join(known)}")
    try:
        message: Message = _build(known[name], body)
    except (TypeError, ValueError) as exc:
        raise ProtocolError(f"a {name!r} line has wrong fields: {seen!r} ({exc})") from exc
    return message


def _refuse_constant(name: str) -> float:
    msg = f"{name} is no number here"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _build(cls: type[Any], body: dict[str, Any]) -> Any:
    kinds = _KINDS[cls]
    return cls(**{name: _fitted(name, value, kinds[name]) if name in kinds else value for name, value in body.items()})


def _fitted(name: str, value: Any, kind: Any) -> Any:
    """Return *value* as a field of type *kind* holds it, or raise TypeError or ValueError."""
    if kind is Assignment and isinstance(value, dict):
        return _build(Assignment, value)
    if kind is FailureKind:
        return FailureKind(value)
    if not _fits(value, kind):
        msg = f"{name} cannot be {value!r:.60}"
        raise TypeError(msg)
    return tuple(value) if get_origin(kind) is tuple else value


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a JSON value may stand for *kind*. Integers are those that SQLite can hold."""
    origin = get_origin(kind)
    if origin is UnionType:
        return any(_fits(value, one) for one in get_args(kind))
    if origin is tuple:
        return isinstance(value, list) and all(_fits(one, get_args(kind)[0]) for one in value)
    if kind in {int, float}:
        allowed = (int, float) if kind is float else int
        return isinstance(value, allowed) and not isinstance(value, bool) and abs(value) < 2**63
    if kind is str:
        return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, {NoneType: NoneType, bool: bool}.get(kind, origin or kind))
