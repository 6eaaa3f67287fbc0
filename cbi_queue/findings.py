"""What a check of this machine found: a subject, a verdict, what was seen and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    verdict: Literal["ok", "note", "bad"]
    seen: str
    advice: str | None = None
    command: tuple[str, ...] = ()
    """What `doctor --fix` runs after asking; empty: nothing that a program should do by itself."""


def ok(subject: str, seen: str) -> Finding:
    """Return a finding that is fine."""
    return Finding(subject, "ok", seen)


def note(subject: str, seen: str, advice: str | None = None) -> Finding:
    """Return a finding that works and is worth knowing."""
    return Finding(subject, "note", seen, advice)


def bad(subject: str, seen: str, advice: str | None) -> Finding:
    """Return a finding that would stop the queue, or has damaged a result."""
    return Finding(subject, "bad", seen, advice)
