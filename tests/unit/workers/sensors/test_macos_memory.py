"""Memory of a Mac: levels, swap with point or comma, the compressor."""

from __future__ import annotations

import struct

import pytest
from support.sensor_samples import FakeLibSystem, hanging, printing, refusing, sample

from cbi_queue.readings.values import MemoryReading, PressureLevel, Unknown
from workers.sensors.answers import ask
from workers.sensors.macos.libsystem import LibSystem, SwapUsage, parse_swap_usage
from workers.sensors.macos.memory import (
    MacMemory,
    VmStat,
    parse_swap_usage_text,
    parse_sysctl,
    parse_vm_stat,
    pressure_level,
)

SYSCTL = sample("sysctl.txt") + "hw.memsize: 51539607552\n"


def test_levels_are_1_2_and_4_and_nothing_else():
    assert [pressure_level(n) for n in (1, 2, 4)] == [
        PressureLevel.NORMAL, PressureLevel.WARN, PressureLevel.CRITICAL,
    ]  # fmt: skip
    assert [pressure_level(n) for n in (0, 3, 5, -1, 2**31)] == [None] * 5


def test_swap_is_read_from_a_real_line():
    swap = parse_swap_usage_text(parse_sysctl(SYSCTL)["vm.swapusage"])
    assert swap == SwapUsage(13312.0, 11625.69)


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("total = 2048,00M  used = 1023,25M  free = 1024,75M  (encrypted)", 1023.25),
        ("total = 0.00M  used = 0.00M  free = 0.00M  (encrypted)", 0.0),
        ("total = 8.00G  used = 1.50G  free = 6.50G", 1536.0),
    ],
)
def test_a_decimal_comma_no_swap_file_and_other_units_are_read(text, used):
    assert parse_swap_usage_text(text).used_mib == used


@pytest.mark.parametrize("text", ["", "total = M  used = M", "used = 3.00M", "total = 1.2.3M used = -3M"])
def test_garbage_is_no_swap_figure(text):
    assert parse_swap_usage_text(text) is None


def test_the_struct_of_swap_holds_used_in_its_third_field():
    data = struct.pack("<QQQII", 3 * 2**30, 2 * 2**30, 1 * 2**30, 16384, 1)
    assert parse_swap_usage(data) == SwapUsage(3072.0, 1024.0)


def test_vm_stat_is_read_with_its_own_page_size():
    page, counters = parse_vm_stat(sample("vm_stat.txt"))
    assert page == 16384
    assert counters["Pages occupied by compressor"] == 545078
    assert counters["Swapouts"] == 125820
    assert counters["Translation faults"] == 3191714332


def test_level_total_and_swap_come_from_sysctl_by_name():
    reading = MacMemory(LibSystem(FakeLibSystem()), refusing).read(4.0)

    assert reading == MemoryReading(4.0, "sysctl", level=PressureLevel.WARN, total_mib=16384.0, swap_used_mib=1024.0)
    assert reading.available_mib is None, "no figure of a Mac says what can be had without swapping"


def test_without_libsystem_the_command_is_asked():
    lib = FakeLibSystem()
    lib.sysctls.clear()
    reading = MacMemory(LibSystem(lib), printing(SYSCTL)).read(4.0)

    assert (reading.level, reading.total_mib, reading.swap_used_mib) == (PressureLevel.WARN, 49152.0, 11625.69)


@pytest.mark.parametrize("value", [0, 3, 8])
def test_a_level_that_the_kernel_does_not_use_is_unknown(value):
    lib = FakeLibSystem()
    lib.sysctls[b"kern.memorystatus_vm_pressure_level"] = struct.pack("<i", value)
    reading = MacMemory(LibSystem(lib), refusing).read(4.0)

    assert isinstance(reading, Unknown)
    assert f"is {value}" in reading.why


@pytest.mark.parametrize("run", [refusing, hanging, printing(""), printing("sysctl: unknown oid\n")])
def test_without_either_memory_is_unknown(run):
    lib = FakeLibSystem()
    lib.sysctls.clear()
    assert isinstance(MacMemory(LibSystem(lib), run).read(4.0), Unknown)


def test_the_compressor_is_physical_and_swapping_is_a_rate():
    """`Pages stored in compressor` is what the pages were before: more than twice as much."""
    texts = iter([sample("vm_stat.txt"), sample("vm_stat.txt").replace("125820.", "127868.")])
    sensor = VmStat(lambda _command: next(texts))
    first, second = sensor.read(10.0), sensor.read(14.0)

    assert first.compressed_mib == pytest.approx(545078 * 16384 / 2**20)
    assert first.swap_out_mib_s is None
    assert second.swap_out_mib_s == pytest.approx(2048 * 16384 / 2**20 / 4)


@pytest.mark.parametrize("run", [refusing, hanging, printing(""), printing("Mach Virtual\n")])
def test_without_vm_stat_the_compressor_is_unknown(run):
    assert isinstance(ask(VmStat(run), 4.0), Unknown)
