"""Talking to the slot: reports out, directives in, and this process's own output and memory."""

from __future__ import annotations
