"""What a run leaves behind."""

from __future__ import annotations
