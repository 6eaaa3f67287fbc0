"""The trainer, seen from the slot: a child process, its pauses, its memory, its end."""

from __future__ import annotations
