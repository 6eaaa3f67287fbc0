"""What trained models forecast from the newest rows, without training: forecasts, their errors later, and drift."""

from __future__ import annotations
