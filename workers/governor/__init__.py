"""Carries out what the governor decides."""

from __future__ import annotations
