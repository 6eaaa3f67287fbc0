"""What systems say about themselves, and the profile that is chosen from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbi_queue.hardware.machine import Machine, cards_mib, choose, limit_files, limit_mib, mac_from, total_mib

GIB = 1024.0


def sysctl(chip: str, model: str, gib: int) -> str:
    return f"hw.model: {model}\nmachdep.cpu.brand_string: {chip}\nhw.memsize: {gib * 2**30}\n"


@pytest.mark.parametrize(
    ("chip", "model", "gib", "name"),
    [
        ("Apple M4", "Mac16,10", 16, "m4-16gb"),
        ("Apple M4", "Mac16,10", 24, "m4-24gb"),
        ("Apple M4", "Mac16,10", 32, "m4-32gb"),
        ("Apple M4 Pro", "Mac16,11", 48, "m4-32gb"),
        ("Apple M1 Max", "MacBookPro18,2", 32, "m1max-32gb"),
        ("Apple M1 Max", "MacBookPro18,2", 64, "m1max-32gb"),
    ],
)
def test_a_known_mac_gets_its_profile(chip: str, model: str, gib: int, name: str) -> None:
    choice = choose(mac_from(sysctl(chip, model, gib)))
    assert choice.name == name
    assert choice.why == f"{chip} ({model}), {gib}.0 GiB"


@pytest.mark.parametrize(("chip", "gib", "name"), [("Apple M2", 8, "m4-16gb"), ("Apple M3 Ultra", 96, "m4-32gb")])
def test_another_mac_gets_the_nearest_by_memory_and_is_told(chip: str, gib: int, name: str) -> None:
    choice = choose(mac_from(sysctl(chip, "Mac14,3", gib)))
    assert choice.name == name
    assert "no profile is made for it" in choice.why


@pytest.mark.parametrize("text", ["", "sysctl: unknown oid 'hw.model'\n", "hw.memsize: many\n", "hw.memsize: 7\n"])
def test_a_mac_that_says_nothing_gets_the_strictest_profile(text: str) -> None:
    machine = mac_from(text)
    assert machine.memory_mib is None
    assert choose(machine).name == "m4-16gb"
    assert "memory unknown" in choose(machine).why


def test_a_linux_machine_is_told_by_its_card() -> None:
    plain = Machine("linux", memory_mib=4 * GIB)
    assert choose(plain) == choose(replace(plain))
    assert (choose(plain).name, choose(replace(plain, has_nvidia=True)).name) == ("linux-cpu", "cuda")
    assert "4.0 GiB allowed by its control group" in choose(replace(plain, limited=True)).why
    assert choose(Machine("freebsd14")).name == "linux-cpu"


def test_memory_is_read_in_mebibytes() -> None:
    assert total_mib("MemTotal:       24683656 kB\nMemFree:        21079904 kB\n") == 24683656 / 1024
    assert total_mib("") is None
    assert total_mib("MemTotal:       0 kB\n") is None


def test_every_level_of_a_control_group_may_be_the_one_that_limits() -> None:
    assert limit_files("0::/system.slice/queue.service\n") == [
        "/sys/fs/cgroup/system.slice/queue.service/memory.max",
        "/sys/fs/cgroup/system.slice/memory.max",
        "/sys/fs/cgroup/memory.max",
    ]
    first = limit_files("5:cpu,cpuacct:/\n4:memory:/box\n0::/\n")
    assert first == [
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
    ]


@pytest.mark.parametrize(
    ("text", "mib"),
    [("max\n", None), ("9223372036854771712\n", None), ("", None), ("0\n", None), (f"{512 * 2**20}\n", 512.0)],
)
def test_a_control_group_without_a_limit_limits_nothing(text: str, mib: float | None) -> None:
    assert limit_mib(text) == mib


def test_the_smallest_card_counts() -> None:
    assert cards_mib("143771\n24564\n") == 24564
    assert cards_mib("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") is None
    assert cards_mib("[N/A]\n") is None
