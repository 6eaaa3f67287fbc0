"""How the page writes numbers, lengths of time and instants. Pure; used as filters in the templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.wording import UNKNOWN, duration, per_sample

if TYPE_CHECKING:
    from collections.abc import Callable


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
