"""What outlives an attempt, and the daemon."""

from __future__ import annotations
