"""How the page writes numbers, shares and instants: the filters of the templates. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from cbi_queue import clock
from cbi_queue.wording import UNKNOWN, duration, per_sample

if TYPE_CHECKING:
    from collections.abc import Callable


def number(value: float | None) -> str:
    """Write four significant digits."""
    return UNKNOWN if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """Write a share with its sign, `+2.53 %`, and a true minus so that columns line up; only zero itself is `0 %`."""
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
    """Write the share of the last day that the governor's steps cost; `an unknown share` where it is not known."""
    return "an unknown share of the last day" if share_of_day is None else f"{share_of_day * 100:.1f} % of the last day"


def sentence(words: str) -> str:
    """Capitalise the first letter; the rest stays as it is."""
    return words[:1].upper() + words[1:]


def iso(at: float) -> str:
    """Write an instant for `<time datetime>`."""
    return clock.from_epoch_s(at).isoformat(timespec="milliseconds")


def utc(at: float) -> str:
    """Write an instant for browsers without JavaScript; the script replaces it with local time."""
    return clock.from_epoch_s(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(at: float) -> str:
    """Write the day and minute of an instant: `Sat 29, 21:40 UTC`."""
    return clock.from_epoch_s(at).strftime("%a %d, %H:%M UTC")


def ticked(words: str) -> Markup:
    """Write what stands between backticks as code; everything is escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))  # noqa: S704 - escaped above


def clock_time(at: float) -> str:
    """Write the minute of an instant: `21:40`."""
    return clock.from_epoch_s(at).strftime("%H:%M")


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
    "short": short,
    "clock": clock_time,
    "ticked": ticked,
}
