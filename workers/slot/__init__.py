"""The slot: admit a job, spawn its trainer, supervise it, settle it."""

from __future__ import annotations
