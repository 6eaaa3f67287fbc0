"""Every machine, place and sensor of the wide sweep: the whole grid, and fractions of it, drawn by rule.

The values are those that are not known of the machine: heat-sink resistance (dust, a shelf, an enclosure), room, fan,
where the level rises, how late it comes, how it fails, and how the chip throttles. `scenarios` holds the twelve that
are shown one by one.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from benchmarks.simulated_week.machine import Surroundings
from benchmarks.simulated_week.sensor import Fault, SensorKind
from benchmarks.simulated_week.simulation import Scenario

RESISTANCES = (0.8, 1.0, 1.5, 2.5)
"""Times the heat sink's own resistance."""
AMBIENTS_C = (20.0, 28.0, 35.0)
FANS = (True, False)
CLIFFS = (False, True)
LEVELS_C = ((95.0, 100.0, 108.5), (97.0, 102.0, 109.0), (100.0, 104.9, 112.0))
"""Where the level rises to moderate, heavy and trapping. The chip holds 105 °C, so 104.9 is the highest it reaches."""
LAGS_S = (0.0, 30.0)
FAULTS = tuple(Fault)
FACTORS: tuple[tuple[object, ...], ...] = (RESISTANCES, AMBIENTS_C, FANS, CLIFFS, LEVELS_C, LAGS_S, FAULTS)


def drawn(every: int = 1, offset: int = 0) -> list[Scenario]:
    """Return every *every*-th combination of the whole grid, counted through with the last factor changing fastest.

    Args:
        every: 1 for the whole grid. A number that shares no divisor with the lengths of the factors (5, 7, 11, …)
            covers all values of each, and up to 19 every pair of values of any two; an even one would not.
        offset: where it begins, from 0; fractions with different offsets have no scenario in common.
    """
    return [_scenario(one) for one in list(product(*FACTORS))[offset % every :: every]]


def _scenario(values: tuple[Any, ...]) -> Scenario:
    resistance, ambient_c, fan, cliff, levels_c, lag_s, fault = values
    around = Surroundings(ambient_c, resistance, fan=fan, cliff=cliff)
    kind = SensorKind(*levels_c, lag_s=lag_s, fault=fault)
    return Scenario(_name(around, kind), around, kind)


def _name(around: Surroundings, kind: SensorKind) -> str:
    parts = [
        f"{around.ambient_c:.0f} °C",
        f"R2 x{around.resistance:g}",
        "" if around.fan else "fan blocked",
        "cliff" if around.cliff else "",
        f"heavy from {kind.heavy_c:.0f} °C",
        f"{kind.lag_s:.0f} s late" if kind.lag_s else "",
        "" if kind.fault is Fault.NONE else f"level {kind.fault}",
    ]
    return ", ".join(part for part in parts if part)
