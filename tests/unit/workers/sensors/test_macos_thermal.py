"""Thermal pressure of macOS: what the key says, what it does not, and what must never be read as cool."""

from __future__ import annotations

import pytest
from support.sensor_samples import THERMAL_KEY, FakeLibSystem, hanging, printing, refusing

from cbi_queue.readings.values import HeatLevel, ThermalReading, Trust, Unknown
from workers.sensors.macos.libsystem import LibSystem
from workers.sensors.macos.thermal import MacThermal, NotifyFault, heat_level, parse_notifyutil


@pytest.mark.parametrize(("state", "level"), list(enumerate(HeatLevel)))
def test_every_state_of_macos_has_its_level(state, level):
    assert heat_level(state) is level


@pytest.mark.parametrize("state", [10, 20, 30, 40, 50, 5, 2**64 - 1])
def test_a_state_of_another_scale_is_no_level(state):
    """IOS counts 10 to 50: reading 10 as 'light' or 50 as 'sleeping' would be a guess."""
    with pytest.raises(NotifyFault, match=f"{state}"):
        heat_level(state)


def test_notifyutil_prints_key_and_state():
    assert parse_notifyutil(f"{THERMAL_KEY} 2\n", THERMAL_KEY) == 2
    assert parse_notifyutil(f"{THERMAL_KEY} 0\n", THERMAL_KEY) == 0


@pytest.mark.parametrize(
    "text",
    [
        f"{THERMAL_KEY}: Failed with code 9\n",
        "",
        "other.key 0\n",
        f"{THERMAL_KEY} \n",
        f"{THERMAL_KEY} -1\n",
        "usage:\n",
    ],
)
def test_a_failure_of_notifyutil_is_no_state_though_its_exit_code_is_0(text):
    """`Failed with code 9` ends in a number, and 0 would be read as nominal."""
    with pytest.raises(NotifyFault, match="printed"):
        parse_notifyutil(text, THERMAL_KEY)


@pytest.fixture
def lib():
    return FakeLibSystem()


def sensor(lib, run=refusing):
    return MacThermal(THERMAL_KEY, None, LibSystem(lib), run)


def test_nominal_is_weak_evidence_until_the_key_was_seen_above_0(lib):
    """A key that nobody ever set says 0 as well: a virtual machine would look cool for ever."""
    heat = sensor(lib)
    first = heat.read(1.0)
    lib.state = 2
    hot = heat.read(2.0)
    lib.state = 0
    cooled = heat.read(3.0)

    assert [(r.level, r.trust) for r in (first, hot, cooled)] == [
        (HeatLevel.NOMINAL, Trust.ADVISORY), (HeatLevel.HEAVY, Trust.FIRM), (HeatLevel.NOMINAL, Trust.FIRM),
    ]  # fmt: skip
    assert "never seen above 0" in first.source
    assert [r.at_s for r in (first, hot, cooled)] == [1.0, 2.0, 3.0]


def test_without_libsystem_the_command_is_asked(lib):
    lib.notify_code = 1_000_000
    reading = sensor(lib, printing(f"{THERMAL_KEY} 3\n")).read(5.0)

    assert reading == ThermalReading(5.0, "notifyutil", Trust.FIRM, level=HeatLevel.TRAPPING)


@pytest.mark.parametrize("run", [refusing, hanging, printing(f"{THERMAL_KEY}: Failed with code 9\n")])
def test_when_neither_answers_heat_is_unknown_with_why(lib, run):
    lib.notify_code = 9
    reading = sensor(lib, run).read(5.0)

    assert isinstance(reading, Unknown)
    assert "notif" in reading.why


def test_an_ios_value_is_unknown(lib):
    lib.state = 30
    assert sensor(lib).read(5.0) == Unknown("the key is 30; macOS uses levels 0 to 4", 5.0)


def test_the_token_is_registered_once_and_given_back_once(lib):
    heat = sensor(lib)
    for second in range(3):
        heat.read(second)
    assert lib.tokens_out == 1
    heat.close()
    heat.close()
    assert lib.tokens_out == 0
