"""Several sensors of one kind make one reading, and garbage makes none."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.machine.heat import grade_heat
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.as_json import readings_from_json, readings_to_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import (
    ContentionReading,
    FootprintReading,
    GpuReading,
    HeatLevel,
    MemoryReading,
    PressureLevel,
    Readings,
    ThermalReading,
    Trust,
    Unknown,
)
from workers.sensors.composition import composed
from workers.sensors.plausibility import checked

LEVEL = ThermalReading(9.0, "notify(3)", level=HeatLevel.HEAVY)
WARM = ThermalReading(8.0, "macmon", Trust.ADVISORY, temp_c=88.0)


def test_one_reading_stays_as_it_is():
    assert composed([("a", LEVEL), ("b", Unknown("no", 9.0))], 10.0) is LEVEL


def test_each_field_comes_from_who_tells_it_and_the_age_is_the_oldest():
    both = composed([("notify", LEVEL), ("macmon", WARM)], 10.0)
    assert both == ThermalReading(
        8.0, "notify(3); macmon (advisory)", Trust.FIRM, HeatLevel.HEAVY, 88.0, advisory=("temp_c",)
    )


def test_a_firm_part_goes_before_an_advisory_one_whatever_the_order():
    guess = MemoryReading(9.0, "guess", Trust.ADVISORY, level=PressureLevel.NORMAL, compressed_mib=5.0)
    firm = MemoryReading(9.0, "sysctl", level=PressureLevel.CRITICAL)
    both = composed([("guess", guess), ("sysctl", firm)], 10.0)
    assert (both.level, both.compressed_mib, both.trust) == (PressureLevel.CRITICAL, 5.0, Trust.FIRM)


def test_two_advisory_parts_stay_advisory():
    weak = ThermalReading(9.0, "notify(3)", Trust.ADVISORY, level=HeatLevel.NOMINAL)
    assert composed([("notify", weak), ("macmon", WARM)], 10.0).trust is Trust.ADVISORY


def test_an_advisory_temperature_beside_a_firm_level_is_shown_and_decides_nothing():
    """The die of a Mac runs at 95 to 100 °C by design, and macmon garbles: the level alone is graded."""
    for level, grade in ((HeatLevel.NOMINAL, Grade.CLEAR), (HeatLevel.HEAVY, Grade.OVER)):
        firm = ThermalReading(9.0, "notify(3)", level=level)
        for temp_c in (20.0, 97.0, 110.0):
            tool = ThermalReading(9.0, "macmon", Trust.ADVISORY, temp_c=temp_c, limit_c=90.0, throttled=True)
            both = composed([("notify", firm), ("macmon", tool)], 10.0)
            told = replace(Readings.unknown("no sensor", 9.0), thermal=both)

            assert reading_words(both).startswith(f"{level.name.lower()}, {temp_c:.0f} °C")
            assert readings_from_json(readings_to_json(told, 9.0), 9.0) == told, "also in a replay"
            look = grade_heat(told, Thresholds())
            assert (look.grade, look.figures) == (grade, {"heat_level": float(level)})


def test_an_advisory_temperature_does_not_stand_in_for_a_level_that_lost_its_vote():
    both = composed([("notify", LEVEL), ("macmon", WARM)], 10.0)
    told = replace(Readings.unknown("no sensor", 9.0), thermal=both)
    assert grade_heat(told, Thresholds(), stuck_level=float(HeatLevel.HEAVY)).grade is None


def test_a_firm_temperature_is_not_replaced_by_a_hotter_advisory_one():
    firm = ThermalReading(9.0, "coretemp", temp_c=70.0, limit_c=100.0, throttled=False)
    tool = ThermalReading(9.0, "tool", Trust.ADVISORY, temp_c=99.0, throttled=True, level=HeatLevel.HEAVY)
    both = composed([("t", tool), ("c", firm)], 10.0)
    assert (both.temp_c, both.limit_c, both.throttled, both.level) == (70.0, 100.0, False, HeatLevel.HEAVY)
    assert both.advisory == ("level",)


def test_heat_is_that_of_the_chip_nearest_to_its_own_limit():
    """86 degrees of a GPU that slows itself at 88 matter more than 95 of a processor whose limit is 110."""
    gpu = ThermalReading(9.0, "NVML", temp_c=86.0, limit_c=88.0, throttled=False)
    cpu = ThermalReading(9.0, "coretemp", temp_c=95.0, limit_c=110.0, throttled=True)
    for parts in ([("g", gpu), ("c", cpu)], [("c", cpu), ("g", gpu)]):
        both = composed(parts, 10.0)
        assert (both.temp_c, both.limit_c, both.throttled) == (86.0, 88.0, True)


def test_the_gpu_s_reasons_survive_a_sensor_that_knows_none():
    tells = GpuReading(9.0, "NVML", throttle_reasons=("sw_thermal_slowdown",))
    assert composed([("x", GpuReading(9.0, "x", busy_share=0.5)), ("n", tells)], 10.0).throttle_reasons


def test_when_none_says_anything_every_reason_is_told():
    told = composed([("a", Unknown("hung", 3.0)), ("b", Unknown("not installed", 9.0))], 10.0)
    assert told == Unknown("a: hung; b: not installed", 3.0)
    assert composed([("a", Unknown("hung", 3.0))], 10.0) == Unknown("hung", 3.0)
    assert composed([], 10.0) == Unknown("this machine has no sensor for it", 10.0)


GOOD = {
    "thermal": LEVEL,
    "memory": MemoryReading(9.0, "x", available_mib=5.0, stall_share=0.0),
    "footprint": FootprintReading(9.0, "x", footprint_mib=0.0),
    "contention": ContentionReading(9.0, "x", cores=2, others_cores=2.01),
    "gpu": GpuReading(9.0, "x", busy_share=1.0),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_can_be_is_let_through(kind):
    assert checked(kind, GOOD[kind], 9.5) is GOOD[kind]


def thermal(**values: object) -> ThermalReading:
    return ThermalReading(**{"at_s": 9.0, "source": "x", "temp_c": 50.0, **values})


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("thermal", None), ("thermal", 50.0), ("thermal", {"temp_c": 50}), ("thermal", GOOD["memory"]),
        ("thermal", thermal(temp_c=nan)), ("thermal", thermal(temp_c=inf)), ("thermal", thermal(temp_c=-9201.1)),
        ("thermal", thermal(temp_c=6.7)), ("thermal", thermal(temp_c=125.5)), ("thermal", thermal(temp_c="50")),
        ("thermal", thermal(temp_c=True)), ("thermal", thermal(level=0)), ("thermal", thermal(level="heavy")),
        ("thermal", thermal(throttled=1)), ("thermal", thermal(at_s=nan)), ("thermal", thermal(at_s=20.0)),
        ("thermal", thermal(source=None)), ("thermal", thermal(trust="firm")), ("thermal", ThermalReading(9.0, "x")),
        ("memory", MemoryReading(9.0, "x", available_mib=-1.0)), ("memory", MemoryReading(9.0, "x", stall_share=1.2)),
        ("memory", MemoryReading(9.0, "x", level=HeatLevel.MODERATE)),
        ("memory", MemoryReading(9.0, "x", total_mib=2.0**60)),
        ("footprint", FootprintReading(9.0, "x", footprint_mib=None)),
        ("footprint", FootprintReading(9.0, "x", processes=0)),
        ("contention", ContentionReading(9.0, "x", others_cores=-0.5)),
        ("contention", ContentionReading(9.0, "x", cores=0)),
        ("gpu", GpuReading(9.0, "x", busy_share=30.0)), ("gpu", GpuReading(9.0, "x", throttle_reasons="sw")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_unknown_with_what_was_seen(kind, answer):
    """NaN compares false with every threshold: it would be neither hot nor cool for ever."""
    told = checked(kind, answer, 9.5)
    assert isinstance(told, Unknown)
    assert told.at_s == 9.5
    assert len(told.why) > 10


def test_an_unknown_keeps_its_own_reason():
    told = Unknown("no driver", 3.0)
    assert checked("gpu", told, 9.5) is told
