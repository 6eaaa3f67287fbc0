"""Recorded trainings, played through the governor."""

from __future__ import annotations
