"""What nets share, whatever their library."""

from __future__ import annotations
