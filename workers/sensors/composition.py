"""Compose one reading of a kind from the readings of several sensors. Pure.

Each field comes from the most trusted sensor that has it; sensors are given in order of trust. Heat is the exception:
temperature and limit stay together and are those of the chip nearest to its limit, and one sensor that saw throttling
is enough, among firm sensors where one reports it. The result is as old as its oldest part, as trusted as its most
trusted one, and names every source, advisory ones as such. So a firm level can come with an advisory temperature: the
reading marks it as advisory; it is shown and decides nothing, neither for heat nor against it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.readings.values import HEAT_FIGURES, Reading, ThermalReading, Trust, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ASSUMED_LIMIT_C = 105.0
"""Limit that chips without one are compared by: M4 Macs let the die run to 105 degrees (itzhai.com, top500#57)."""


def composed(answers: Sequence[tuple[str, Reading | Unknown]], now_s: float) -> Reading | Unknown:
    """Return one reading out of *answers*, all of one kind.

    Args:
        answers: name and answer of each sensor, the most trusted first.
        now_s: the current boot-clock second.

    Returns:
        `Unknown`, with every sensor's reason, when none has a reading.
    """
    parts = [answer for _, answer in answers if isinstance(answer, Reading)]
    if not parts:
        return _all_unknown(answers, now_s)
    if len(parts) == 1:
        return parts[0]
    parts.sort(key=lambda part: part.trust is not Trust.FIRM)  # stable: the given order within one trust
    return replace(
        parts[0],
        **{**_first_known(parts), **_heat(parts)},
        at_s=min(part.at_s for part in parts),
        source="; ".join(map(_source, parts)),
    )


def _all_unknown(answers: Sequence[tuple[str, Reading | Unknown]], now_s: float) -> Unknown:
    if len(answers) == 1 and isinstance(only := answers[0][1], Unknown):
        return only
    whys = [f"{name}: {answer.why}" for name, answer in answers if isinstance(answer, Unknown)]
    oldest_s = min((answer.at_s for _, answer in answers), default=now_s)
    return Unknown("; ".join(whys) or "this machine has no sensor for it", oldest_s)


def _first_known(parts: Sequence[Reading]) -> dict[str, Any]:
    own = [f.name for f in fields(parts[0]) if f.name not in {"at_s", "source", "trust"}]
    return {
        name: next((v for part in parts if _is_known(v := getattr(part, name))), getattr(parts[0], name))
        for name in own
    }


def _is_known(value: Any) -> bool:
    return value is not None and value != ()


def _heat(parts: Sequence[Reading]) -> dict[str, Any]:
    heats = [part for part in parts if isinstance(part, ThermalReading)]
    if not heats:
        return {}
    sources = {figure: _sources(heats, figure) for figure in HEAT_FIGURES}
    if temps := sources["temp_c"]:
        nearest = max(temps, key=lambda part: (part.temp_c or 0.0) - (part.limit_c or ASSUMED_LIMIT_C))
        sources |= {"temp_c": [nearest], "limit_c": [nearest]}
    known: dict[str, Any] = {figure: getattr(those[0], figure) for figure, those in sources.items() if those}
    if throttled := sources["throttled"]:
        known["throttled"] = any(part.throttled for part in throttled)
    return {**known, "advisory": _advisory(sources) if heats[0].trust is Trust.FIRM else ()}


def _sources(heats: Sequence[ThermalReading], figure: str) -> list[ThermalReading]:
    """Return the parts that have *figure*: those in which it is firm or, where there is none, the others."""
    having = [part for part in heats if getattr(part, figure) is not None]
    return [part for part in having if part.decides(figure)] or having


def _advisory(sources: Mapping[str, Sequence[ThermalReading]]) -> tuple[str, ...]:
    """Return the figures that only advisory sensors have; `_sources` never mixes them with firm ones."""
    return tuple(
        figure
        for figure, those in sources.items()
        if those and getattr(those[0], figure) is not None and not those[0].decides(figure)
    )


def _source(part: Reading) -> str:
    return part.source if part.trust is Trust.FIRM else f"{part.source} (advisory)"
