"""The gauges of the bar: what is known has a colour by its own limits, and what is not known is never green."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cbi_queue.api.gauges import DISK_OUT_GIB, gauges, trainer_memory
from cbi_queue.notifications.happenings import LOW_SPACE_GIB
from cbi_queue.views.governor import GovernorStatus

HERE = Path(__file__).parent
HEARD = GovernorStatus(words="calm", doing="full speed", is_stale=False)
SAID = {"source": "test", "trust": "firm", "age_s": 1.0}


def heat_and_memory(**readings):
    return gauges(replace(HEARD, readings=readings), HERE)[:2]


@pytest.mark.parametrize(
    ("thermal", "mood", "words"),
    [
        ({"level": "nominal"}, "good", "nominal"),
        ({"level": "moderate"}, "warn", "moderate"),
        ({"level": "trapping"}, "bad", "trapping"),
        ({"temp_c": 60.0}, "good", "60 °C"),
        ({"temp_c": 97.0}, "bad", "97 °C"),
        ({"temp_c": 97.0, "limit_c": 120.0}, "good", "97 °C"),
        ({"temp_c": 60.0, "throttled": True}, "bad", "60 °C"),
        ({"throttled": True}, "bad", "slowed by heat"),
        ({"throttled": False}, "unknown", "not slowed"),
    ],
)
def test_heat_is_judged_by_its_level_then_by_the_chips_own_limit(thermal, mood, words):
    heat, _ = heat_and_memory(thermal={**SAID, **thermal})
    assert (heat.mood, heat.words) == (mood, words)
    assert (heat.share is None) == (mood == "unknown")


@pytest.mark.parametrize(
    ("memory", "mood", "words"),
    [
        ({"total_mib": 16384.0, "available_mib": 8192.0}, "good", "8.0 of 16 GiB"),
        ({"total_mib": 16384.0, "available_mib": 2000.0}, "warn", "14.0 of 16 GiB"),
        ({"total_mib": 16384.0, "available_mib": 100.0}, "bad", "15.9 of 16 GiB"),
        ({"total_mib": 16384.0, "available_mib": 8192.0, "level": "critical"}, "bad", "8.0 of 16 GiB"),
        ({"total_mib": 16384.0, "level": "warn"}, "warn", "warn"),
        ({"total_mib": 16384.0}, "unknown", "unknown"),
    ],
)
def test_memory_is_judged_by_what_is_in_use_and_by_the_pressure(memory, mood, words):
    _, gauge = heat_and_memory(memory={**SAID, **memory})
    assert (gauge.mood, gauge.words) == (mood, words)


@pytest.mark.parametrize(
    "governor",
    [
        HEARD,
        replace(HEARD, is_stale=True, words="unknown: no daemon has reported"),
        replace(HEARD, readings={"thermal": {"unknown": "no sensor"}, "memory": {"unknown": "no sensor"}}),
        replace(HEARD, readings={"thermal": {"level": "lukewarm"}, "memory": {"total_mib": "much"}}),
    ],
    ids=["not measured", "stale", "no sensor", "no reading"],
)
def test_what_is_not_known_is_unknown_with_the_reason_and_never_a_share(governor):
    for gauge in gauges(governor, HERE)[:2]:
        assert (gauge.share, gauge.mood, gauge.words) == (None, "unknown", "unknown")
        assert gauge.sentence.startswith(f"{gauge.name} is unknown: ")
    assert trainer_memory(governor, 8192.0) is None


def test_the_trainers_memory_is_a_share_of_what_one_trainer_may_hold():
    governor = replace(HEARD, readings={"footprint": {**SAID, "footprint_mib": 2048.0}})
    assert trainer_memory(governor, 8192.0) == ("2.0 GiB of 8.0 GiB", 0.25)
    assert trainer_memory(governor, None) == ("2.0 GiB", None)


def test_the_disk_of_a_folder_that_is_gone_is_unknown(tmp_path):
    disk = gauges(HEARD, tmp_path / "gone")[2]
    assert (disk.name, disk.share, disk.mood) == ("Disk", None, "unknown")
    there = gauges(HEARD, tmp_path)[2]
    assert there.share is not None
    assert there.words.endswith(" GiB free"), "the unit of the gauge beside it, and of the message that a disk is full"
    assert DISK_OUT_GIB == LOW_SPACE_GIB
