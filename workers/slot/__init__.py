"""The slot: admit, spawn, watch, settle."""

from __future__ import annotations
