"""What every boosted-tree model shares."""

from __future__ import annotations
