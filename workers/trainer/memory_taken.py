"""The most memory that one attempt was seen to hold."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.hardware.fit import Fit, Need, Verdict, fit
from cbi_queue.hardware.memory import formula_mib, kind_of, line_for
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache
from cbi_queue.ledger.micro_batch import first_micro_batch
from cbi_queue.ledger.peaks import peaks_of, store_peak
from cbi_queue.ledger.waits import keep_back, pass_over, put_off, start_with
from cbi_queue.lifecycle import Reason
from cbi_queue.readings import PressureLevel, Unknown

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.readings import MemoryReading


@dataclass(frozen=True, slots=True)
class Taken:
    """What one attempt took of the memory."""

    device: str
    """What it trained on: cpu | cuda | mps; empty when it never started."""
    micro_batch: int | None
    """Samples that went through the net at once when it started."""
    rss_mib: float | None
    """Peak of the resident set, as the trainer measured it."""
    footprint_mib: float | None
    """Largest footprint of the trainer and its children that the monitor saw."""

