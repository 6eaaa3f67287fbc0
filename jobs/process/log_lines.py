"""A report in one plain line, for the attempt's log: what `cbi-queue logs -f` shows while a model trains."""

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


def narrate(message: Message) -> str | None:
    """Put *message* into words; None for what no reader of a log needs."""
    told = _WORDS.get(type(message))
    return told(message) if told else None


def _begins(report: Started) -> str:
    return f"begins: {report.total_epochs} {report.unit}s, {report.samples or 'unknown'} samples each"


def _epoch(report: EpochReport) -> str:
    losses = (("training loss", report.train_loss), ("validation loss", report.validation_loss))
    told = "".join(f", {name} {loss:.6g}" for name, loss in losses if loss is not None)
    return f"{report.epoch}/{report.total_epochs} in {report.wall_s:.2f} s{told}"


def _goes_on(report: Restored) -> str:
    return f"goes on after {report.epoch}" + (f" ({report.note})" if report.note else "")


def _stopped(report: Stopped) -> str:
    return f"stopped after {report.epoch}" + (", checkpoint left" if report.checkpointed else "")


_WORDS: dict[type[Message], Callable[[Any], str]] = {
    Started: _begins,
    EpochReport: _epoch,
    Restored: _goes_on,
    Paused: lambda report: f"stands still after {report.epoch}",
    Resumed: lambda _report: "moves again",
    MicroBatchChanged: lambda report: f"goes on with micro-batch {report.micro_batch} after {report.epoch}",
    Probed: lambda report: f"probe on {report.device}: {report.wall_s * 1000:.1f} ms",
    CheckpointFailed: lambda report: f"checkpoint after {report.epoch} failed: {report.why}",
    Note: lambda report: str(report.text),
    Stopped: _stopped,
    Finished: lambda _report: "finished",
    Failed: lambda report: f"failed: {report.error}",
}
