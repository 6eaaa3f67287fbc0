"""Lengths of time, counts, costs and sizes in words: the one place that decides how they are written. Pure.

A figure that is compared with others, such as the time of an epoch or a memory estimate beside its limit, keeps a fixed
unit where it is printed.
"""

from __future__ import annotations

import math

UNKNOWN = "\N{EN DASH}"
"""Stands in tables, on the page and in lines of figures for a value that is not known."""
OTHER_NUMBERS = "statistically the same training, other numbers"
"""What a micro-batch below the grain means for the result: float32 rounds sums of other pieces otherwise."""
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def duration(seconds: float | None) -> str:
    """Write a length of time in up to two units: `0.42 s`, `41 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.

    A negative one counts as 0.
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if 0 < seconds < 0.001:
        return "under 1 ms"
    if 0 < seconds < 10:
        return f"{seconds:.2g} s"
    whole = max(0, round(seconds))
    for size, unit, smaller, smaller_unit in (
        (DAY_S, "d", HOUR_S, "h"),
        (HOUR_S, "h", MINUTE_S, "min"),
        (MINUTE_S, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def span(seconds: float | None) -> str:
    """Write a length of time roughly, in one unit, for sentences and ages: `45 s`, `12 min`, `3 h`, `8 d`.

    A negative one counts as 0; an age of more than a minute below 0 is unknown, because a clock was set back.
    """
    if seconds is None or not math.isfinite(seconds) or seconds < -MINUTE_S:
        return "an unknown time"
    if seconds < 1.5 * MINUTE_S:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 1.5 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} d"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: `no jobs`, `1 job`, `3 jobs`."""
    return f"{count or 'no'} {noun if count == 1 else plural or noun + 's'}"


def per_sample(seconds: float | None) -> str:
    """Write what a sample costs, to three digits: `1.2 s`, `0.82 ms`, `12.3 µs`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.3g} µs"


def memory_size(mib: float) -> str:
    """Write an amount of memory: `640 MiB`, `5.6 GiB`."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
