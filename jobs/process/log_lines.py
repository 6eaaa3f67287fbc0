"""A report as one line of the attempt's log, as `cbi-queue logs -f` shows it while a model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_queue.protocol import (
    CheckpointFailed,
    EpochReport,
    Failed,
    Finished,
    MicroBatchChanged,
    Note,
    Paused,
    Probed,
    Restored,
    Resumed,
    Started,
    Stopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.protocol import Message


def log_line(message: Message) -> str | None:
    """Return *message* in words; None for messages that no reader of a log needs."""
    words = _WORDS.get(type(message))
    return words(message) if words else None


def _started(report: Started) -> str:
    several = "s" if report.total_epochs != 1 else ""
    samples = f", {report.samples} samples each" if report.samples else ""
    planned = f": {report.total_epochs} {report.unit}{several}" if report.total_epochs else ""
    return f"training starts{planned}{samples}"


def _epoch(report: EpochReport) -> str:
    losses = (("training loss", report.train_loss), ("validation loss", report.validation_loss))
    known = "".join(f", {name} {loss:.6g}" for name, loss in losses if loss is not None)
    of = f"/{report.total_epochs}" if report.total_epochs else ""
    return f"{report.epoch}{of} in {report.wall_s:.2f} s{known}"


def _restored(report: Restored) -> str:
    return f"continues from the checkpoint after {report.epoch}" + (f" ({report.note})" if report.note else "")


def _stopped(report: Stopped) -> str:
    return f"stopped after {report.epoch}" + (", checkpoint written" if report.checkpointed else "")


_WORDS: dict[type[Message], Callable[[Any], str]] = {
    Started: _started,
    EpochReport: _epoch,
    Restored: _restored,
    Paused: lambda report: f"paused after {report.epoch}",
    Resumed: lambda _report: "resumed",
    MicroBatchChanged: lambda report: f"micro-batch is {report.micro_batch} from now on, after {report.epoch}",
    Probed: lambda report: f"calibration probe on {report.device}: {report.wall_s * 1000:.1f} ms",
    CheckpointFailed: lambda report: f"checkpoint after {report.epoch} failed: {report.why}",
    Note: lambda report: str(report.text),
    Stopped: _stopped,
    Finished: lambda _report: "finished",
    Failed: lambda report: f"failed: {report.error}",
}
