"""Talking to the slot: reports out, directives in, and what this process does with its output and memory."""

from __future__ import annotations
