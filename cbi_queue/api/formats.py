"""How the page writes numbers, lengths of time and instants. Pure; used as filters in the templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
UNKNOWN = "\N{EN DASH}"


def duration(seconds: float | None) -> str:
    """Write seconds as `0.42 s`, `41 s`, `3 min 5 s`, `2 h 10 min` or `3 d 4 h`."""
    if seconds is None:
        return UNKNOWN
    if 0 < seconds < 10:
        return f"{seconds:.2g} s"
    whole = max(0, round(seconds))
    for size, name, below, below_name in _SIZES:
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {below_name}" if rest else "")
    return f"{whole} s"


def number(value: float | None) -> str:
    """Write four significant digits."""
    return UNKNOWN if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """Write a share with its sign, `+2.53 %`; a true minus, so that columns line up; zero only for a true zero."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0 %"
    digits = 2 if abs(value) >= 0.0001 else 4
    return f"{value * 100:+.{digits}f} %".replace("-", "\N{MINUS SIGN}")


def share(value: float | None) -> str:
    """Write a share from 0 to 1 as `52 %`."""
    return UNKNOWN if value is None else f"{value * 100:.0f} %"


def per_sample(seconds: float | None) -> str:
    """Write what a sample costs as `1.2 s`, `0.82 ms` or `12.3 µs`."""
    if seconds is None:
        return UNKNOWN
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.3g} µs"


def cost(share_of_day: float | None) -> str:
    """Write which share of the last day the governor's steps cost; what is not known is said to be so."""
    return "an unknown share of the last day" if share_of_day is None else f"{share_of_day * 100:.1f} % of the last day"


def sentence(words: str) -> str:
    """Let the words begin with a capital; the rest stays as it is."""
    return words[:1].upper() + words[1:]


def iso(at: float) -> str:
    """Write an instant for `<time datetime>`."""
    return clock.from_epoch_s(at).isoformat(timespec="milliseconds")


def utc(at: float) -> str:
    """Write an instant for browsers without JavaScript; the script puts local time in its place."""
    return clock.from_epoch_s(at).strftime("%Y-%m-%d %H:%M:%S UTC")


FILTERS: dict[str, Callable[..., str]] = {
    "duration": duration,
    "number": number,
    "percent": percent,
    "share": share,
    "per_sample": per_sample,
    "cost": cost,
    "sentence": sentence,
    "iso": iso,
    "utc": utc,
}
