"""The telemetry file: epochs, samples, decisions. It never costs the ledger a flush."""

from __future__ import annotations
