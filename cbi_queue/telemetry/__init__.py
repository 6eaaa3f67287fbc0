"""The telemetry file: epochs, samples, decisions. A file apart, so that none of it costs the ledger a flush."""

from __future__ import annotations
