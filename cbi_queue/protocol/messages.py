"""What any message between slot and trainer is, and how a trainer process says that it ended. Pure.

The trainer starts work only on `Begin`, which the slot sends after the trainer's process identity is in the
ledger: a trainer that no row knows never trains. End of file on its standard input means that the daemon is
dead; the trainer then checkpoints and exits by itself within its grace time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

PROTOCOL_VERSION = 2
"""Spoken by both sides, or the trainer is refused. 2: pacing, micro-batch, probe, reports within an epoch."""


class ExitCode(IntEnum):
    """How the trainer process says it ended."""

    DONE = 0
    ERROR = 1
    BROKEN_SPEC = 2
    OUT_OF_MEMORY = 70
    """EX_SOFTWARE, used for framework out-of-memory errors that could still be reported."""
    STOPPED = 75
    """EX_TEMPFAIL: stopped on request, resumable."""


@dataclass(frozen=True, slots=True)
class Message:
    """Anything that travels; `type` names the class on the wire."""

    type: ClassVar[str] = ""
