"""The scenarios of the simulated week: where the machine is, how its sensor fails, what a smaller micro-batch does.

`grid` has all places and sensors.
"""

from __future__ import annotations

from benchmarks.simulated_week.machine import Batching, Surroundings
from benchmarks.simulated_week.sensor import Fault, SensorKind
from benchmarks.simulated_week.simulation import Scenario

DUSTY = Surroundings(28, 1.5, fan=False)
HOT_ROOM = Surroundings(35, 1.5)
FRUGAL, DEAR = Batching(0.20, 0.03), Batching(0.02, 0.15)
COOL = Scenario("20 °C, free-standing", Surroundings(20, 0.8))
NO_FAN = Scenario("28 °C, R2 x1.5, fan blocked", DUSTY)
CLIFF = Scenario("28 °C, R2 x1.5, fan blocked, cliff", Surroundings(28, 1.5, fan=False, cliff=True))
SILENT = Scenario("the same, level stays nominal", DUSTY, SensorKind(fault=Fault.SILENT))
STUCK = Scenario("35 °C, R2 x1.5, level sticks at heavy", HOT_ROOM, SensorKind(fault=Fault.STUCK))

GRID: tuple[Scenario, ...] = (
    COOL,
    Scenario("28 °C, R2 x1", Surroundings(28, 1.0)),
    Scenario("35 °C, R2 x1.5", HOT_ROOM),
    Scenario("35 °C, R2 x1.5, heavy from 100 °C", HOT_ROOM, SensorKind(95, 100, 108.5)),
    NO_FAN,
    Scenario("the same, 30 s lag, heavy from 105 °C", DUSTY, SensorKind(100, 104.9, 112, lag_s=30.0)),
    SILENT,
    Scenario("the same, level missing", DUSTY, SensorKind(fault=Fault.MISSING)),
    STUCK,
    CLIFF,
    Scenario("35 °C, R2 x2.5", Surroundings(35, 2.5)),
    Scenario("35 °C, R2 x2.5, fan blocked", Surroundings(35, 2.5, fan=False)),
    Scenario("the same, half a micro-batch draws 20 % less", Surroundings(35, 2.5, fan=False, batching=FRUGAL)),
    Scenario("the same, half a micro-batch costs 15 % of the work", Surroundings(35, 2.5, fan=False, batching=DEAR)),
)
