"""Read values from JSON that another version of this program may have written: as expected, or not at all. Pure."""

from __future__ import annotations

import math
from typing import Any


def object_of(value: Any) -> dict[str, Any]:
    """Return *value* if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """Return *value* if it is a text that is not empty, otherwise None."""
    return value if isinstance(value, str) and value else None


def number_of(value: Any) -> float | None:
    """Return *value* if it is a finite number, otherwise None, also for `true` and `false`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def whole_of(value: Any) -> int | None:
    """Return *value* without its fraction if it is a finite number, otherwise None."""
    number = number_of(value)
    return None if number is None else int(number)
