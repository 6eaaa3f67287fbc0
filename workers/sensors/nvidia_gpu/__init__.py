"""Sensors of NVIDIA cards."""

from __future__ import annotations
