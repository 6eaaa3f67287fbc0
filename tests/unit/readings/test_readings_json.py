"""Readings keep their ages through JSON, and their words have every figure."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from cbi_queue.readings.as_json import KINDS, ReadingFault, reading_from_json, readings_from_json, readings_to_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import (
    ContentionReading,
    FootprintReading,
    GpuReading,
    HeatLevel,
    MemoryReading,
    PowerReading,
    PressureLevel,
    Readings,
    SleepReading,
    ThermalReading,
    Trust,
    Unknown,
)

FULL = Readings(
    thermal=ThermalReading(
        95.0, "notify(3)", Trust.ADVISORY, HeatLevel.HEAVY, 97.25, 105.0, throttled=True, advisory=("temp_c", "limit_c")
    ),
    memory=MemoryReading(
        96.0, "sysctl", level=PressureLevel.WARN, total_mib=16384.0, available_mib=5734.4, swap_used_mib=1024.0,
        swap_out_mib_s=12.5, compressed_mib=8517.0, stall_share=0.25,
    ),
    footprint=FootprintReading(97.0, "/proc", footprint_mib=640.5, swapped_mib=3.0, processes=3),
    contention=ContentionReading(
        98.0, "/proc", cores=10, others_cores=1.5, trainer_cores=2.0, stall_share=0.5, trainer_stopped=True
    ),
    gpu=GpuReading(
        99.0, "NVML", busy_share=0.93, clock_mhz=1410.0, max_clock_mhz=1980.0, temp_c=71.0,
        throttle_reasons=("sw_power_cap", "sw_thermal_slowdown"), memory_used_mib=10240.0, memory_total_mib=81920.0,
        others=("blender (process 11): 9.0 GiB",), others_mib=9216.0,
    ),
    power=PowerReading(99.5, "pmset -g", low_power_mode=True, service_class="background", demoted=True),
    sleep=SleepReading(100.0, "clocks", slept_s=3600.0, woke_at_s=40.0),
)  # fmt: skip
"""Every field of every kind unlike its default."""


def test_the_sample_leaves_no_field_at_its_default():
    """Or the round trip below would prove nothing of that field."""
    for kind in KINDS:
        reading = getattr(FULL, kind)
        assert [f.name for f in fields(reading) if f.name != "trust" and getattr(reading, f.name) == f.default] == []


def test_every_field_survives_the_way_through_json_on_another_boot_clock():
    told = json.loads(json.dumps(readings_to_json(FULL, 100.0), allow_nan=False))
    back = readings_from_json(told, 7100.0)

    assert readings_to_json(back, 7100.0) == told
    assert back.thermal == ThermalReading(
        7095.0,
        "notify(3)",
        Trust.ADVISORY,
        HeatLevel.HEAVY,
        97.25,
        105.0,
        throttled=True,
        advisory=("temp_c", "limit_c"),
    )
    assert back.sleep.woke_at_s == 7040.0
    assert readings_from_json(told, 100.0) == FULL


def test_unknown_stays_unknown_with_why_and_age():
    unknown = Readings.unknown("unplugged", 90.0)
    assert readings_from_json(readings_to_json(unknown, 100.0), 100.0) == unknown


def test_a_kind_that_is_absent_is_unknown():
    assert readings_from_json({}, 5.0) == Readings.unknown("not in the trace", 5.0)


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        ("heat", {}, "no reading 'heat'"),
        ("thermal", [], "allowed is an object"),
        ("thermal", {"temp": 50}, "has no 'temp'"),
        ("thermal", {"at_s": 5}, "has no 'at_s'"),
        ("thermal", {"level": 2}, "allowed: nominal, moderate"),
        ("thermal", {"temp_c": "50"}, "finite number"),
        ("thermal", {"temp_c": float("nan")}, "finite number"),
        ("thermal", {"age_s": True}, "finite number"),
        ("thermal", {"throttled": 1}, "bool"),
        ("thermal", {"trust": "certain"}, "allowed: firm, advisory"),
        ("thermal", {"source": 5}, "str"),
        ("thermal", {"advisory": "temp_c"}, "tuple"),
        ("thermal", {"advisory": ["temp"]}, "names 'temp'; allowed: level, temp_c"),
        ("thermal", {"unknown": 5}, "as text"),
        ("thermal", {"unknown": "x", "level": "heavy"}, "only a reason"),
        ("memory", {"level": "heavy"}, "allowed: normal, warn, critical"),
        ("footprint", {"processes": 1.5}, "int"),
        ("footprint", {"footprint_mib": None}, "finite number"),
        ("gpu", {"throttle_reasons": "sw"}, "tuple"),
        ("sleep", {"woke_ago_s": "long"}, "finite number"),
    ],
)
def test_what_is_no_reading_is_refused_with_the_value_seen(kind, value, complaint):
    with pytest.raises(ReadingFault, match=complaint):
        reading_from_json(kind, value, 10.0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("thermal", "heavy, 97 °C (advisory, slows itself at 105), slowed by heat now"),
        ("memory", ("pressure warn, 5.6 GiB of 16.0 GiB available, 1.0 GiB in swap, 12.5 MiB/s swapped out, "
                   "8.3 GiB compressed, 25% of the time some task waited for memory")),
        ("footprint", "640 MiB in 3 processes, 3 MiB of it swapped"),
        ("contention", ("others use 1.50 of 10 cores, the trainer 2.00, 50% of the time some task waited for a core, "
                       "the trainer is stopped")),
        ("gpu", ("93% busy, 1410 of 1980 MHz, 71 °C, limited by sw_power_cap, sw_thermal_slowdown, "
                "10.0 GiB of 80.0 GiB used, memory held by blender (process 11): 9.0 GiB")),
        ("power", "Low Power Mode on, background, with less processor time than an ordinary foreground process"),
        ("sleep", "slept 60 min in total"),
    ],
)  # fmt: skip
def test_words_give_every_figure(kind, words):
    assert reading_words(getattr(FULL, kind)) == words


def test_words_leave_out_what_is_not_known():
    """A missing figure must not be read as 0."""
    assert reading_words(ThermalReading(1.0, "x", temp_c=60.0)) == "60 °C"
    assert reading_words(MemoryReading(1.0, "x", total_mib=16384.0)) == "16.0 GiB in total"
    assert reading_words(Unknown("unplugged", 1.0)) == "unknown: unplugged"
    assert reading_words(PowerReading(1.0, "x")) == "nothing"
