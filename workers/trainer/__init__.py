"""The trainer as the slot sees it: a child process, its memory, its end."""

from __future__ import annotations
