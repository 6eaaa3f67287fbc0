"""Sensors of Linux."""

from __future__ import annotations
