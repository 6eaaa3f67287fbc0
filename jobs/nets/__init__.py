"""What every net shares, whatever its library."""

from __future__ import annotations
