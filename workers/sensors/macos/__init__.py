"""Sensors of macOS."""

from __future__ import annotations
