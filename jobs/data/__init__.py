"""From an export to features to the series that models train on."""

from __future__ import annotations
