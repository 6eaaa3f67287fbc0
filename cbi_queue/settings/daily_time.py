"""A time of day as a setting has it, and the day whose time came last. Pure: the instant is given."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: +([A-Za-z][A-Za-z0-9_+/-]*))?")


@cache
def daily_time(written: str) -> tuple[time, ZoneInfo | None] | None:
    """Return a time such as `18:00` or `18:00 America/Chicago`, and its zone (None: this machine's); None for any other text."""
    found = _WRITTEN.fullmatch(written)
    if found is None:
        return None
    hour, minute, zone = found.groups()
    if not zone:
        return time(int(hour), int(minute)), None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return time(int(hour), int(minute)), ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def last_due(written: str, now: datetime) -> int | None:
    """Return the day, as a number that rises by 1 a day, whose time came last at *now* (aware); None for no time at all.

    A time that a change of the clocks leaves out comes when that hour is over.
    """
    found = daily_time(written)
    if found is None:
        return None
    at, zone = found
    local = now.astimezone(zone)
    due = local.date() if local.time() >= at else local.date() - timedelta(days=1)
    return due.toordinal()
