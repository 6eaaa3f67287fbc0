"""What boosted-tree models share."""

from __future__ import annotations
