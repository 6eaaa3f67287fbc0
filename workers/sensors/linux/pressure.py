"""Pressure stall information: the share of time in which some task waited for memory or a processor.

Source: Documentation/accounting/psi.rst of the Linux kernel; `some avg10` is a mean over the last ten seconds, in per
cent. Absent before Linux 4.20, and where it was switched off (`psi=0`): then the share is None.
"""

from __future__ import annotations

import re

_SOME = re.compile(r"^some avg10=(\d+(?:\.\d+)?) ", re.MULTILINE)


def parse_pressure(text: str) -> float | None:
    """Return `some avg10` of a pressure file as a share, 0 to 1; None when it is missing or above 100 %."""
    match = _SOME.search(text)
    share = float(match[1]) / 100 if match else None
    return share if share is None or share <= 1.0 else None
