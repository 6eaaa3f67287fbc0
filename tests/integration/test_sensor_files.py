"""Sensors over files and children as a kernel or a tool would make them: found, read, gone, back again."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from support.sensor_samples import sample
from support.waiting import until

from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.values import GpuReading, ThermalReading, Trust, Unknown
from workers.sensors.linux.memory import LinuxMemory
from workers.sensors.linux.power import LinuxPower
from workers.sensors.linux.thermal import LinuxThermal
from workers.sensors.macos.macmon import MacmonGpu, MacmonHeat, MacmonPipe
from workers.sensors.macos.thermal import MacThermal
from workers.sensors.sensor import run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files and calls of Linux")
MIB = 2**20


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Write a file below the test's folder, with its folders; return the path."""

    def put(path: str, text: object) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
        return file

    return put


def core(write: Callable[..., Path], number: int, millidegrees: int, crit: int = 100_000) -> Path:
    write("class/hwmon/hwmon3/name", "coretemp")
    write(f"class/hwmon/hwmon3/temp{number}_crit", crit)
    return write(f"class/hwmon/hwmon3/temp{number}_input", millidegrees)


def test_the_hottest_core_counts_and_the_board_does_not(write, tmp_path):
    write("class/hwmon/hwmon0/name", "acpitz")
    write("class/hwmon/hwmon0/temp1_input", 119_000)
    write("class/thermal/thermal_zone0/type", "acpitz")
    write("class/thermal/thermal_zone0/temp", 118_000)
    core(write, 1, 61_000)
    core(write, 2, 83_500)
    reading = LinuxThermal(str(tmp_path)).read(5.0)

    assert (reading.temp_c, reading.limit_c, reading.throttled) == (83.5, 100.0, None)
    assert "hwmon3/temp2_input" in reading.source


def test_a_zone_of_the_processor_brings_the_trip_point_that_slows_it(write, tmp_path):
    zone = "class/thermal/thermal_zone1"
    write(f"{zone}/type", "cpu-thermal")
    write(f"{zone}/temp", 71_000)
    write(f"{zone}/trip_point_0_type", "active")
    write(f"{zone}/trip_point_0_temp", 65_000)
    write(f"{zone}/trip_point_1_type", "passive")
    write(f"{zone}/trip_point_1_temp", 85_000)

    assert LinuxThermal(str(tmp_path)).read(5.0).limit_c == 85.0


def test_a_throttle_counter_that_rose_means_that_the_chip_slowed_itself(write, tmp_path):
    """The count since boot says nothing of now: a machine that was hot last week would be hot for ever."""
    counter = write("devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 812)
    write("devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", 3)
    sensor = LinuxThermal(str(tmp_path))

    assert isinstance(sensor.read(1.0), Unknown)
    assert sensor.read(2.0).throttled is False
    counter.write_text("815\n")
    assert sensor.read(3.0).throttled is True
    assert sensor.read(4.0).throttled is False
    counter.write_text("0\n")
    assert isinstance(sensor.read(5.0), Unknown), "a counter that fell was reset: nothing can be said"


def test_a_sensor_that_disappears_is_unknown_and_found_under_its_new_number(write, tmp_path):
    """Drivers that are loaded again get another hwmon number."""
    spot = core(write, 1, 61_000)
    sensor = LinuxThermal(str(tmp_path))
    sensor.read(1.0)
    spot.unlink()
    gone = sensor.read(2.0)
    write("class/hwmon/hwmon7/name", "k10temp")
    write("class/hwmon/hwmon7/temp1_input", 55_000)

    assert isinstance(gone, Unknown)
    assert sensor.read(3.0).temp_c == 55.0


def test_a_machine_without_any_of_it_says_so(tmp_path):
    assert "as is usual in a VM" in LinuxThermal(str(tmp_path)).read(1.0).why


@pytest.fixture
def machine(write) -> Callable[..., None]:
    """Write the `/proc` of a machine of 8 GiB whose slot lives in a control group below one with a limit."""

    def put(*, pages_out: int = 0, limit: object = "max", current: int = 0, inactive: int = 0) -> None:
        write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 6291456 kB\nSwapTotal: 1024 kB\nSwapFree: 0 kB")
        write("proc/vmstat", f"pswpin 5\npswpout {pages_out}")
        write("proc/pressure/memory", "some avg10=12.50 avg60=0.00 avg300=0.00 total=1")
        write("proc/self/cgroup", "0::/slice/slot")
        write("groups/slice/slot/memory.max", "max")
        write("groups/slice/memory.max", limit)
        write("groups/slice/memory.current", current)
        write("groups/slice/memory.stat", f"anon 1\ninactive_file {inactive}")

    return put


def test_without_a_limit_memory_is_the_machine_s(machine, tmp_path):
    machine()
    reading = LinuxMemory(f"{tmp_path}/proc", f"{tmp_path}/groups").read(5.0)
    assert (reading.total_mib, reading.available_mib, reading.swap_used_mib) == (8192.0, 6144.0, 1.0)
    assert (reading.stall_share, reading.swap_out_mib_s, reading.level) == (0.125, None, None)


def test_the_limit_of_a_group_above_ours_is_ours_and_may_change(machine, tmp_path):
    """A container's limit kills long before the machine is short; it is set on a group above the daemon's."""
    machine(limit=2048 * MIB, current=1800 * MIB, inactive=300 * MIB)
    sensor = LinuxMemory(f"{tmp_path}/proc", f"{tmp_path}/groups")
    reading = sensor.read(5.0)
    assert (reading.total_mib, reading.available_mib) == (2048.0, 548.0)
    assert "groups/slice" in reading.source

    machine(limit="max")
    assert sensor.read(6.0).total_mib == 8192.0


def test_swapping_is_told_as_a_rate(machine, tmp_path):
    sensor = LinuxMemory(f"{tmp_path}/proc", f"{tmp_path}/groups")
    machine(pages_out=1000)
    sensor.read(10.0)
    machine(pages_out=1000 + 512)
    page_mib = os.sysconf("SC_PAGE_SIZE") / MIB
    assert sensor.read(12.0).swap_out_mib_s == pytest.approx(256 * page_mib)


def test_no_meminfo_is_no_memory_of_0(tmp_path):
    assert isinstance(LinuxMemory(f"{tmp_path}/proc", f"{tmp_path}/groups").read(5.0), Unknown)


def test_a_child_that_was_made_nice_is_demoted():
    with subprocess.Popen(["nice", "-n", "11", sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        sensor = LinuxPower()
        sensor.watch(ProcessIdentity.of(child.pid))
        reading = until(lambda: _demoted(sensor.read(1.0)), "the child to be nice")
        assert reading.service_class == f"nice {os.nice(0) + 11}"
        child.communicate(b"\n")


def _demoted(reading):
    return reading if not isinstance(reading, Unknown) and reading.demoted else None


MACMON = """#!/usr/bin/env python3
import sys, time
print({line!r}, flush=True)
time.sleep(600)
"""


@pytest.fixture
def macmon(tmp_path) -> Path:
    """A program that prints one real line of macmon and then nothing more."""
    program = tmp_path / "macmon"
    program.write_text(MACMON.format(line=sample("macmon-0.7.json").strip()))
    program.chmod(0o755)
    return program


def test_macmon_is_run_once_for_both_of_its_sensors_and_ended_with_them(macmon):
    pipe = MacmonPipe((str(macmon), "pipe"), boot_s=lambda: 77.0)
    heat, gpu = MacmonHeat(pipe), MacmonGpu(pipe)
    reading = until(lambda: _known(heat.read(80.0)), "macmon's first line")

    assert reading == ThermalReading(77.0, "macmon", Trust.ADVISORY, temp_c=43.73614), "as old as the line"
    assert gpu.read(80.0) == GpuReading(77.0, "macmon", Trust.ADVISORY, busy_share=0.021497859, clock_mhz=461.0)
    assert len(psutil.Process().children()) == 1
    heat.close()
    gpu.close()
    assert psutil.Process().children() == []
    assert isinstance(heat.read(9000.0), ThermalReading), "the last line stays, and ages"
    assert psutil.Process().children() == [], "what was closed is not started again"


def test_a_macmon_that_ends_is_started_again_but_not_at_once(tmp_path):
    log = tmp_path / "starts"
    program = tmp_path / "macmon"
    program.write_text(f"#!/bin/sh\necho start >> {log}\n")
    program.chmod(0o755)
    pipe = MacmonPipe((str(program),))
    heat = MacmonHeat(pipe)

    heat.read(100.0)
    until(log.exists, "the first start")
    until(lambda: pipe._child.poll() is not None, "its end")
    assert heat.read(120.0) == Unknown("macmon has not printed a line yet", 120.0)
    assert log.read_text().count("start") == 1
    heat.read(161.0)
    until(lambda: log.read_text().count("start") == 2, "the second start")
    heat.close()


def _known(reading):
    return None if isinstance(reading, Unknown) else reading


def test_a_machine_without_macmon_is_told_where_to_get_it(tmp_path):
    assert "brew install macmon" in MacmonHeat(MacmonPipe((str(tmp_path / "none"),))).read(1.0).why


@pytest.mark.process
def test_commands_run_in_the_c_locale(monkeypatch):
    """`vm.swapusage` has a decimal comma in others."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run_command([sys.executable, "-c", "import os; print(os.environ['LC_ALL'])"]) == "C\n"


def test_that_the_key_was_once_above_0_outlives_the_daemon(tmp_path):
    """A Mac that stays cool would be unknown again after each restart."""
    seen = tmp_path / "thermal-key-seen"
    states = iter("020")

    def run(arguments):
        return f"{arguments[-1]} {next(states)}\n"

    def trust():
        return MacThermal("a.key", seen, run=run).read(1.0).trust

    assert [trust(), trust(), trust()] == [Trust.ADVISORY, Trust.FIRM, Trust.FIRM]
    states = iter("0")
    assert MacThermal("other.key", seen, run=run).read(1.0).trust is Trust.ADVISORY
