"""What the Linux kernel's small files say, and what they say when they are not as expected."""

from __future__ import annotations

import pytest

from workers.sensors.linux.memory import (
    V1,
    V2,
    GroupMemory,
    parse_group,
    parse_limit,
    parse_meminfo,
    parse_own_groups,
    parse_pages_out,
)
from workers.sensors.linux.power import is_demoted, parse_power_profile, service_class_words
from workers.sensors.linux.pressure import parse_pressure
from workers.sensors.linux.thermal import parse_limit_c, parse_millidegrees
from workers.sensors.linux.tree import (
    ProcessMemory,
    ProcessStat,
    parse_busy_ticks,
    parse_cpu_quota,
    parse_rollup,
    parse_stat,
    parse_status,
)

PRESSURE = """some avg10=23.45 avg60=6.01 avg300=1.20 total=179237795
full avg10=11.15 avg60=0.43 avg300=0.18 total=119346990
"""
STAT = "4711 (a ) T (b) S 4700 4711 4128 0 -1 4194304 125 9 0 0 150 50 7 3 20 0 1 0 1258765 3133 77"
ROLLUP = """562a3d561000-7fffb31ca000 ---p 00000000 00:00 0                          [rollup]
Rss:                4096 kB
Pss:                2048 kB
Pss_Dirty:           116 kB
Swap:               1024 kB
SwapPss:             512 kB
"""
MACHINE = """cpu  100 20 30 9000 500 4 6 40 10 0
cpu0 60 10 10 4000 300 2 3 30 10 0
cpu1 40 10 20 5000 200 2 3 10 0 0
intr 1 2 3
"""


def test_the_stall_share_is_some_over_ten_seconds():
    assert parse_pressure(PRESSURE) == pytest.approx(0.2345)


@pytest.mark.parametrize("text", ["", "full avg10=1.00 avg60=0.00", "some avg10=abc ", "some avg10=150.00 avg60=0.00"])
def test_a_pressure_file_that_says_nothing_gives_no_share(text):
    assert parse_pressure(text) is None


def test_meminfo_is_in_bytes_and_leaves_out_what_is_none():
    text = "MemTotal:       24683656 kB\nMemAvailable:   24176224 kB\nHugePages_Total:       0\nBad: x kB\n"
    assert parse_meminfo(text) == {"MemTotal": 24683656 * 1024, "MemAvailable": 24176224 * 1024}


@pytest.mark.parametrize(
    ("text", "limit"),
    [("max\n", None), ("536870912\n", 536870912), ("9223372036854771712\n", None), ("", None), ("-1", None)],
)
def test_a_limit_is_a_number_that_some_machine_could_have(text, limit):
    assert parse_limit(text) == limit


def test_a_group_can_give_up_its_inactive_file_pages():
    """Counting the page cache as used would hold a queue back that has gigabytes left."""
    group = parse_group("1000000\n", "900000\n", "anon 300000\ninactive_file 500000\nfile 600000\n")
    assert group == GroupMemory(1_000_000, 900_000, 500_000)
    assert group.available == 600_000


def test_a_group_over_its_limit_has_nothing_left():
    assert parse_group("100", "150", "inactive_file 0").available == 0


def test_version_1_calls_it_by_another_name():
    assert parse_group("1000", "900", "inactive_file 1\ntotal_inactive_file 500\n", V1).reclaimable == 500


@pytest.mark.parametrize(("limit", "current"), [("max", "5"), ("5", ""), ("5", "x")])
def test_a_group_without_limit_or_use_is_none(limit, current):
    assert parse_group(limit, current, "") is None


def test_our_groups_are_found_in_both_versions():
    text = "9:name=systemd:/\n4:memory:/box/inner\n1:cpu,cpuacct:/\n0::/user.slice/app.scope\n"
    assert list(parse_own_groups(text)) == [(V1, "/box/inner"), (V2, "/user.slice/app.scope")]


def test_pages_out_is_not_pages_in():
    assert parse_pages_out("pswpin 7\npswpout 12\npgpgout 99\n") == 12
    assert parse_pages_out("pgpgout 99\n") is None


def test_a_name_with_brackets_does_not_move_the_fields():
    """A process may call itself `a ) T (b`: read naively it would be stopped."""
    assert parse_stat(STAT) == ProcessStat("S", 150 + 50 + 7 + 3)


@pytest.mark.parametrize("text", ["", "4711 (x) S 1 2", "garbage", "1 (x) S a b c d e f g h i j k l m n o"])
def test_garbage_is_no_process(text):
    assert parse_stat(text) is None


def test_memory_is_proportional_with_swap():
    assert parse_rollup(ROLLUP) == ProcessMemory((2048 + 512) / 1024, 0.5)
    assert parse_rollup("Rss: 5 kB\n") is None


def test_resident_memory_counts_swap_and_a_zombie_has_none():
    assert parse_status("Name:\tx\nVmRSS:\t    2048 kB\nVmSwap:\t    1024 kB\n") == ProcessMemory(3.0, 1.0)
    assert parse_status("Name:\tx\nState:\tZ (zombie)\n") is None


def test_busy_counts_steal_but_neither_idle_nor_waiting_for_disks_nor_guests_twice():
    """Guest time is part of user time already."""
    assert parse_busy_ticks(MACHINE) == 100 + 20 + 30 + 4 + 6 + 40


def test_busy_of_the_allowed_processors_only():
    assert parse_busy_ticks(MACHINE, [1]) == 40 + 10 + 20 + 2 + 3 + 10
    assert parse_busy_ticks(MACHINE, [0, 1]) == parse_busy_ticks(MACHINE)
    assert parse_busy_ticks(MACHINE, [5]) is None
    assert parse_busy_ticks("cpu 1 2\n") is None


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), (None, None)]
)
def test_a_quota_grants_cores(text, cores):
    assert parse_cpu_quota(text) == cores


@pytest.mark.parametrize(
    ("text", "temp_c"),
    [("71250\n", 71.25), ("0\n", None), ("-9201100", None), ("127000", None), ("6700", None), ("", None), (None, None)],
)
def test_millidegrees_of_a_running_chip_are_believed(text, temp_c):
    assert parse_millidegrees(text) == temp_c


def test_a_limit_of_0_or_65261_degrees_is_none():
    assert [parse_limit_c(text) for text in ("100000", "0", "65261850", "20000")] == [100.0, None, None, None]


@pytest.mark.parametrize(
    ("nice", "policy", "words", "demoted"),
    [(0, 0, "ordinary", False), (10, 0, "nice 10", True), (-5, 0, "nice -5", False), (0, 5, "idle", True),
     (5, 3, "batch, nice 5", True), (0, 1, "fifo", False), (0, 99, "policy 99", False)],
)  # fmt: skip
def test_niceness_and_policy_are_named(nice, policy, words, demoted):
    assert (service_class_words(nice, policy), is_demoted(nice, policy)) == (words, demoted)


def test_a_power_profile_is_saving_or_not_or_absent():
    assert [parse_power_profile(t) for t in ("low-power\n", "balanced\n", "", None)] == [True, False, None, None]
