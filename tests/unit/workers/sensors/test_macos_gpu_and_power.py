"""GPU use from ioreg, Low Power Mode from pmset, service class from the priority; footprint of a process."""

from __future__ import annotations

import os

import pytest
from support.sensor_samples import FakeLibSystem, hanging, printing, refusing, rusage_bytes, sample

from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.values import Trust, Unknown
from workers.sensors.answers import ask
from workers.sensors.macos.gpu import MacGpu, parse_ioreg
from workers.sensors.macos.libsystem import LibSystem, parse_rusage
from workers.sensors.macos.power import LowPowerMode, MacPriority, parse_low_power_mode
from workers.sensors.macos.tree import MacPlatform
from workers.sensors.process_tree import Footprint

PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 powermode            {mode}
 lowpowermode         {mode}
 sleep                0 (sleep prevented by caffeinate)
"""


def test_the_driver_s_memory_is_not_taken_for_the_memory_in_use():
    """The trap of the capture: `In use system memory (driver)` comes first and is 0."""
    [node] = parse_ioreg(sample("ioreg-m4.txt"))
    assert node["In use system memory"] == 356089856
    assert node["In use system memory (driver)"] == 0

    reading = MacGpu(printing(sample("ioreg-m4.txt"))).read(3.0)
    assert reading.busy_share == 0.30
    assert reading.memory_used_mib == pytest.approx(339.6, abs=0.1)


def test_the_busiest_accelerator_and_the_older_name_count():
    text = sample("ioreg-m4.txt") + sample("ioreg-m4.txt").replace("Device Utilization %", "GPU Activity(%)").replace(
        "=30", "=88"
    )
    assert MacGpu(printing(text)).read(3.0).busy_share == 0.88


@pytest.mark.parametrize(
    "run", [refusing, hanging, printing(""), printing('"PerformanceStatistics" = {"In use system memory"=1}')]
)
def test_a_gpu_that_tells_no_use_is_unknown(run):
    assert isinstance(ask(MacGpu(run), 3.0), Unknown)


@pytest.mark.parametrize(("mode", "is_on"), [(0, False), (1, True)])
def test_low_power_mode_is_its_own_line(mode, is_on):
    assert parse_low_power_mode(PMSET.format(mode=mode)) is is_on
    assert LowPowerMode(printing(PMSET.format(mode=mode))).read(1.0).low_power_mode is is_on


@pytest.mark.parametrize(("mode", "is_on"), [(0, False), (1, True), (2, False)])
def test_a_mac_with_a_high_power_mode_prints_another_line(mode, is_on):
    """M4 Pro and M1 Max: 2 is High Power, which is not low."""
    assert parse_low_power_mode(f"Currently in use:\n powermode            {mode}\n sleep 0\n") is is_on


@pytest.mark.parametrize("run", [refusing, hanging, printing("System-wide power settings:\n sleep 1\n")])
def test_a_mac_without_the_line_has_an_unknown_mode(run):
    assert isinstance(ask(LowPowerMode(run), 1.0), Unknown)


@pytest.mark.parametrize(
    ("priority", "words", "demoted"),
    [(4, "background", True), (20, "standard", True), (31, "interactive", False), (37, "interactive", False)],
)
def test_a_priority_tells_the_service_class(priority, words, demoted):
    lib = FakeLibSystem()
    lib.priorities[os.getpid()] = priority
    reading = MacPriority(LibSystem(lib)).read(1.0)

    assert reading.service_class.startswith(words)
    assert (reading.demoted, reading.trust) == (demoted, Trust.ADVISORY)


def test_the_priority_is_the_trainer_s_when_there_is_one():
    lib = FakeLibSystem()
    lib.priorities.update({os.getpid(): 31, 4321: 4})
    sensor = MacPriority(LibSystem(lib))
    sensor.watch(ProcessIdentity(4321, 0.0))
    assert sensor.read(1.0).demoted is True
    sensor.watch(ProcessIdentity(99, 0.0))
    assert isinstance(sensor.read(1.0), Unknown)


def test_phys_footprint_lies_at_byte_72_and_times_are_ticks():
    """resident_size stands right before it and misses compressed and GPU memory."""
    usage = parse_rusage(rusage_bytes(300 * 2**20, user_ticks=24_000_000, system_ticks=24_000_000), 125 / 3)
    assert usage.footprint_mib == 300.0
    assert usage.cpu_s == pytest.approx(2.0)


def test_the_footprint_of_a_tree_is_the_sum_of_its_processes():
    lib, me = FakeLibSystem(), os.getpid()
    lib.footprints[me] = 512 * 2**20
    sensor = Footprint(MacPlatform(LibSystem(lib)))
    sensor.watch(ProcessIdentity.of(me))

    assert sensor.read(1.0).footprint_mib == 512.0


def test_a_process_of_another_user_has_an_unknown_footprint():
    sensor = Footprint(MacPlatform(LibSystem(FakeLibSystem())))
    sensor.watch(ProcessIdentity.of(os.getpid()))
    assert isinstance(sensor.read(1.0), Unknown)
