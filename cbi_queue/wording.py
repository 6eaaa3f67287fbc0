"""How the governor's sentences tell a length of time. Pure."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Write seconds as people say them: `45 s`, `12 min`, `3 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
