"""Readings of sensors: typed or `Unknown`, as JSON, and in words."""

from __future__ import annotations
