"""Readings as plain JSON values and back: the lines of a sensor trace, of telemetry and of the API. Pure.

A reading is an object of its fields without those that are None; `Unknown` is `{"unknown": why}`. Times are written as
ages (`age_s`, and `woke_ago_s` for the last wake-up), so that a trace means the same on a machine with another boot
clock. Levels are lower-case names.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

from cbi_queue.readings.values import (
    HEAT_FIGURES,
    ContentionReading,
    FootprintReading,
    GpuReading,
    HeatLevel,
    MemoryReading,
    PowerReading,
    PressureLevel,
    Reading,
    Readings,
    SleepReading,
    ThermalReading,
    Trust,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KINDS: dict[str, type[Reading]] = {
    "thermal": ThermalReading,
    "memory": MemoryReading,
    "footprint": FootprintReading,
    "contention": ContentionReading,
    "gpu": GpuReading,
    "power": PowerReading,
    "sleep": SleepReading,
}
"""Field of `Readings` -> its class, in the order in which they are shown."""

_LEVELS: dict[str, type[IntEnum]] = {"thermal": HeatLevel, "memory": PressureLevel}
_NUMBERS = {"float", "float | None"}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_PLAIN_VALUES: dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "str | None": _is_text,
    "bool | None": _is_flag,
    "int": _is_whole,
    "tuple[str, ...]": _are_texts,
}
"""Declared type of a field -> check that a JSON value fits it."""


class ReadingFault(ValueError):
    """A JSON value is not a reading; the message has the key, the value and what is allowed."""


def reading_to_json(reading: Reading | Unknown, now_s: float) -> dict[str, Any]:
    """Return *reading* as a JSON object whose times are ages at boot-clock second *now_s*."""
    age = {"age_s": _rounded(now_s - reading.at_s)} if now_s != reading.at_s else {}
    if isinstance(reading, Unknown):
        return {"unknown": reading.why, **age}
    told = {f.name: _plain(getattr(reading, f.name)) for f in fields(reading) if f.name not in {"at_s", "woke_at_s"}}
    if isinstance(reading, SleepReading) and reading.woke_at_s is not None:
        told["woke_ago_s"] = _rounded(now_s - reading.woke_at_s)
    return {**{name: value for name, value in told.items() if value not in (None, [])}, **age}


def reading_from_json(kind: str, value: Any, now_s: float, source: str = "trace") -> Reading | Unknown:
    """Return the reading of *kind* from a JSON object, its ages counted back from boot-clock second *now_s*.

    Args:
        kind: a key of `KINDS`.
        value: the object; `source` and `trust` may be left out.
        now_s: the instant that the object describes.
        source: used if the object has no source.

    Raises:
        ReadingFault: on an unknown kind or key, and on a value of the wrong type.
    """
    if kind not in KINDS:
        raise ReadingFault(f"there is no reading {kind!r}; known: {', '.join(KINDS)}")
    if not isinstance(value, dict):
        raise ReadingFault(f"{kind} is {value!r}; allowed is an object, or {{'unknown': why}}")
    given = dict(value)
    at_s = now_s - _number(kind, "age_s", given.pop("age_s", 0.0))
    if "unknown" in given:
        return _unknown_from(kind, given, at_s)
    if "woke_ago_s" in given and kind == "sleep":
        given["woke_at_s"] = now_s - _number(kind, "woke_ago_s", given.pop("woke_ago_s"))
    given.setdefault("source", source)
    return KINDS[kind](at_s=at_s, **_checked(kind, given))


def readings_to_json(readings: Readings, now_s: float) -> dict[str, dict[str, Any]]:
    """Return every kind of *readings* as JSON objects."""
    return {kind: reading_to_json(getattr(readings, kind), now_s) for kind in KINDS}


def readings_from_json(value: Mapping[str, Any], now_s: float) -> Readings:
    """Return the readings from JSON objects; a kind that is absent is `Unknown`.

    Raises:
        ReadingFault: as `reading_from_json`.
    """
    if unknown := sorted(set(value) - set(KINDS)):
        raise ReadingFault(f"there is no reading {unknown[0]!r}; known: {', '.join(KINDS)}")
    absent = {"unknown": "not in the trace"}
    told = {kind: reading_from_json(kind, value.get(kind, absent), now_s) for kind in KINDS}
    return Readings(**told)  # type: ignore[arg-type]  # each kind is of its own class by KINDS


def _unknown_from(kind: str, given: dict[str, Any], at_s: float) -> Unknown:
    if set(given) != {"unknown"} or not isinstance(given["unknown"], str):
        raise ReadingFault(f"an unknown {kind} has only a reason, as text; this is {given!r}")
    return Unknown(given["unknown"], at_s)


def _checked(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    known = {f.name: f for f in fields(KINDS[kind]) if f.name != "at_s"}
    if extra := sorted(set(given) - set(known)):
        raise ReadingFault(f"{kind} has no {extra[0]!r}; known: {', '.join(known)}, age_s")
    required = {name for name, f in known.items() if f.default is MISSING}
    if missing := sorted(required - set(given)):
        raise ReadingFault(f"{kind} lacks {missing[0]!r}")
    return {name: _value(kind, name, str(known[name].type), value) for name, value in given.items()}


def _value(kind: str, name: str, declared: str, value: Any) -> Any:
    if value is None and "None" in declared:
        return None
    if name == "trust":
        return _member(kind, name, Trust, value)
    if name == "level":
        return _member(kind, name, _LEVELS[kind], value)
    if declared in _NUMBERS:
        return _number(kind, name, value)
    if not _PLAIN_VALUES[declared](value):
        raise ReadingFault(f"{kind}.{name} is {value!r}; allowed is {declared}")
    if name == "advisory" and (strange := [figure for figure in value if figure not in HEAT_FIGURES]):
        raise ReadingFault(f"{kind}.{name} names {strange[0]!r}; allowed: {', '.join(HEAT_FIGURES)}")
    return tuple(value) if isinstance(value, list) else value


def _number(kind: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ReadingFault(f"{kind}.{name} is {value!r}; allowed is a finite number")
    return float(value)


def _member(kind: str, name: str, members: type[Enum], value: Any) -> Enum:
    found = [member for member in members if member.name.lower() == value]
    if not found:
        raise ReadingFault(f"{kind}.{name} is {value!r}; allowed: {', '.join(m.name.lower() for m in members)}")
    return found[0]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, tuple):
        return list(value)
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float) -> float:
    """Keep six decimal places: more than any sensor has, and short in a trace."""
    return round(value, 6)
