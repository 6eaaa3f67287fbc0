"""The core of cbi-queue: what things are, what is decided, what is recorded."""

from __future__ import annotations

__version__ = "0.1.0"
