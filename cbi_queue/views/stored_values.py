"""Values out of JSON that another version of this program may have written: as expected, or not at all. Pure."""

from __future__ import annotations

import math
from typing import Any


def object_of(value: Any) -> dict[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """Return a text that is not empty; None for anything else."""
    return value if isinstance(value, str) and value else None


def number_of(value: Any) -> float | None:
    """Return a finite number; None for anything else, `true` among it."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def whole_of(value: Any) -> int | None:
    """Return a finite number without its fraction; None for anything else."""
    number = number_of(value)
    return None if number is None else int(number)
