"""The only module that reads clocks.

Three kinds of time, never mixed: instants (aware UTC, for people and rows), working time
(`monotonic_s`, which stops while a Mac sleeps: what an epoch costs) and boot time (`boot_s`, which
includes sleep: deadlines, expiry and the age of a reading).

Source: `clock_gettime(3)` of macOS and Linux. On macOS `CLOCK_UPTIME_RAW` stops in sleep; CPython's `time.monotonic` is the
same today, and may be changed (cpython#86273).
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

_BOOT_CLOCK: int = (
    time.CLOCK_MONOTONIC_RAW if sys.platform == "darwin" else getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
_FIRST_S = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST_S = datetime(9999, 12, 30, tzinfo=UTC).timestamp()
"""A day before the calendar ends, so that it has a local time everywhere."""
_WORK_CLOCK: int = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return datetime.now(UTC)


def epoch_s() -> float:
    """Return seconds since 1970-01-01 UTC: how the ledger stores instants."""
    return time.time()


def local_day() -> str:
    """Return the present day of this machine's time zone, as 2026-11-30."""
    return in_local_time(utc_now()).date().isoformat()


def in_local_time(at: datetime) -> datetime:
    """Return an instant in this machine's time zone; in UTC where `TZ` names none that Python knows, such as `UTC+25`."""
    try:
        return at.astimezone()
    except ValueError:
        return at


def monotonic_s() -> float:
    """Return seconds of working time; stops while a Mac sleeps."""
    return time.clock_gettime(_WORK_CLOCK)


def boot_s() -> float:
    """Return seconds since boot, sleep included."""
    return time.clock_gettime(_BOOT_CLOCK)


def from_epoch_s(value: float) -> datetime:
    """Turn a stored instant back into an aware UTC datetime; one beyond the calendar, of a clock gone wild, to its end."""
    return datetime.fromtimestamp(min(max(value, _FIRST_S), _LAST_S), UTC)
