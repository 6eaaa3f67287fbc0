"""From an export to features to series."""

from __future__ import annotations
