"""The messages between slot and trainer: reports up, directives down, and how they are written (`wire`). Pure."""

from __future__ import annotations

from cbi_queue.protocol.directives import Assignment, Begin, Directive, Pace, Pause, Probe, Resume, SetMicroBatch, Stop
from cbi_queue.protocol.messages import PROTOCOL_VERSION, ExitCode, Message
from cbi_queue.protocol.reports import (
    CheckpointFailed,
    CheckpointSaved,
    EpochReport,
    Failed,
    FailureKind,
    Finished,
    Hello,
    MicroBatchChanged,
    Note,
    Paused,
    Probed,
    Report,
    Restored,
    Resumed,
    Started,
    StepsReport,
    Stopped,
)
from cbi_queue.protocol.wire import MAX_LINE_BYTES, decode_directive, decode_report, encode

__all__ = [
    "MAX_LINE_BYTES",
    "PROTOCOL_VERSION",
    "Assignment",
    "Begin",
    "CheckpointFailed",
    "CheckpointSaved",
    "Directive",
    "EpochReport",
    "ExitCode",
    "Failed",
    "FailureKind",
    "Finished",
    "Hello",
    "Message",
    "MicroBatchChanged",
    "Note",
    "Pace",
    "Pause",
    "Paused",
    "Probe",
    "Probed",
    "Report",
    "Restored",
    "Resume",
    "Resumed",
    "SetMicroBatch",
    "Started",
    "StepsReport",
    "Stop",
    "Stopped",
    "decode_directive",
    "decode_report",
    "encode",
]
