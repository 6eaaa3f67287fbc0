"""What every message between slot and trainer is, and the exit codes of a trainer. Pure.

The trainer starts work only on `Begin`, which the slot sends after the trainer's process identity is in the
ledger: a trainer without a row never trains. End of file on its standard input means that the daemon has
ended; the trainer then saves a checkpoint and exits by itself within its grace time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

PROTOCOL_VERSION = 2
"""Must be the same on both sides, or the trainer is refused. 2: pacing, micro-batch, probe, reports within an epoch."""


class ExitCode(IntEnum):
    """Exit status of a trainer process."""

    DONE = 0
    ERROR = 1
    BROKEN_SPEC = 2
    OUT_OF_MEMORY = 70
    """EX_SOFTWARE, used for out-of-memory errors of a framework that Python could still catch."""
    STOPPED = 75
    """EX_TEMPFAIL: stopped on request, resumable."""


@dataclass(frozen=True, slots=True)
class Message:
    """Any message; `type` names its class on the wire."""

    type: ClassVar[str] = ""
