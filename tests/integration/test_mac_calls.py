"""The adapters of macOS against a C library with Apple's layouts: every field, unit, sign, refusal and missing symbol."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.mac import PARTS, compiled
from support.sensor_samples import THERMAL_KEY
from support.waiting import until

from cbi_queue import process_identity
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.values import HeatLevel, Unknown
from workers.sensors.answers import ask
from workers.sensors.macos.gpu import MacGpu
from workers.sensors.macos.libsystem import LibSystem
from workers.sensors.macos.memory import MacMemory, VmStat
from workers.sensors.macos.power import LowPowerMode, MacPriority
from workers.sensors.macos.thermal import MacThermal
from workers.sensors.macos.tree import MacPlatform
from workers.sensors.process_tree import Footprint
from workers.sensors.sensor import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

EPERM, ESRCH = errno.EPERM, errno.ESRCH


@pytest.fixture
def lib() -> LibSystem:
    return LibSystem(ctypes.CDLL(str(compiled("libsystem.c")), use_errno=True))


def run(arguments: Sequence[str]) -> str:
    """Run the stand-in of a command of the system."""
    return run_command([str(PARTS / "bin" / os.path.basename(arguments[0])), *arguments[1:]])  # noqa: PTH119


# --- heat


@pytest.mark.parametrize("level", list(HeatLevel)[1:])
def test_every_level_above_nominal_is_firm(lib, monkeypatch, level):
    monkeypatch.setenv("MAC_NOTIFY", str(int(level)))
    reading = ask(MacThermal(THERMAL_KEY, lib=lib, run=run), 1.0)
    assert (reading.level, reading.trust.value, reading.source) == (level, "firm", "notify(3)")


def test_a_key_that_is_never_set_is_advisory(lib):
    reading = ask(MacThermal(THERMAL_KEY, lib=lib, run=run), 1.0)
    assert (reading.level, reading.trust.value) == (HeatLevel.NOMINAL, "advisory")


@pytest.mark.parametrize("state", [5, 10, 50, 2**32 + 1, 2**63, 2**64 - 1])
def test_a_state_is_64_bits_and_no_other_scale(lib, monkeypatch, state):
    monkeypatch.setenv("MAC_NOTIFY", str(state))
    assert str(state) in ask(MacThermal(THERMAL_KEY, lib=lib, run=run), 1.0).why


@pytest.mark.parametrize("call", ["MAC_NOTIFY_REGISTER", "MAC_NOTIFY_GET"])
def test_a_refused_token_leads_to_the_command_and_a_new_one(lib, monkeypatch, call):
    sensor = MacThermal(THERMAL_KEY, lib=lib, run=run)
    monkeypatch.setenv("MAC_NOTIFY", "3")
    monkeypatch.setenv(call, "2")
    assert ask(sensor, 1.0).source == "notifyutil"
    monkeypatch.delenv(call)
    assert ask(sensor, 1.0).source == "notify(3)"
    sensor.close()


def test_when_the_command_fails_too_heat_is_unknown(lib, monkeypatch):
    monkeypatch.setenv("MAC_NOTIFY_REGISTER", "1000000")
    monkeypatch.setenv("MAC_NOTIFYUTIL_FAILS", "1")
    assert "Failed with code 9" in ask(MacThermal(THERMAL_KEY, lib=lib, run=run), 1.0).why


# --- memory


@pytest.mark.parametrize(("number", "name"), [(1, "normal"), (2, "warn"), (4, "critical")])
def test_memory_is_read_in_mib(lib, monkeypatch, number, name):
    monkeypatch.setenv("MAC_LEVEL", str(number))
    reading = ask(MacMemory(lib, run), 1.0)
    assert (reading.level.name.lower(), reading.total_mib, reading.swap_used_mib) == (name, 16384.0, 1536.0)
    assert reading.source == "sysctl"


@pytest.mark.parametrize("level", [0, 3, 5, 2**32 - 1])
def test_a_level_that_the_kernel_does_not_use_is_unknown(lib, monkeypatch, level):
    monkeypatch.setenv("MAC_LEVEL", str(level))
    assert str(level) in ask(MacMemory(lib, run), 1.0).why


@pytest.mark.parametrize(("bytes_", "mib"), [(96 * 2**30, 98304.0), (16 * 2**40, 16777216.0)])
def test_much_memory_is_not_cut_to_32_bits(lib, monkeypatch, bytes_, mib):
    monkeypatch.setenv("MAC_MEMORY", str(bytes_))
    assert ask(MacMemory(lib, run), 1.0).total_mib == mib


@pytest.mark.parametrize("code", [EPERM, errno.ENOENT])
def test_a_refused_sysctl_leads_to_the_command(lib, monkeypatch, code):
    monkeypatch.setenv("MAC_SYSCTL_ERRNO", str(code))
    reading = ask(MacMemory(lib, run), 1.0)
    assert (reading.total_mib, reading.swap_used_mib, reading.source) == (16384.0, 1536.0, "sysctl command")


def test_the_compressor_is_counted_in_pages_of_16_kib():
    assert ask(VmStat(run), 1.0).compressed_mib == pytest.approx(545078 * 16384 / 2**20)


# --- single processes


@pytest.fixture
def me() -> ProcessIdentity:
    found = ProcessIdentity.of(os.getpid())
    assert found is not None
    return found


def test_times_are_ticks_of_24_mhz_and_those_of_ended_children_count(lib, monkeypatch):
    """Without them a short-lived child of the trainer counts as another program."""
    for name, seconds in (("USER", 1), ("SYSTEM", 2), ("CHILD_USER", 4), ("CHILD_SYSTEM", 8)):
        monkeypatch.setenv(f"MAC_{name}", str(seconds * 24_000_000))
    monkeypatch.setenv("MAC_FOOTPRINT", str(300 * 2**20))
    usage = lib.rusage(os.getpid())
    assert (usage.cpu_s, usage.footprint_mib) == (pytest.approx(15.0), 300.0)
    assert MacPlatform(lib).activity_of([os.getpid()]).cpu_s == pytest.approx(15.0)


@pytest.mark.parametrize("priority", [-1, 4, 31, 97])
def test_a_priority_keeps_its_sign(lib, monkeypatch, priority):
    monkeypatch.setenv("MAC_PRIORITY", str(priority))
    assert lib.priority(os.getpid()) == priority


@pytest.mark.parametrize("code", [EPERM, ESRCH])
def test_a_process_that_may_not_be_read_is_unknown(lib, monkeypatch, me, code):
    monkeypatch.setenv("MAC_PID_ERRNO", str(code))
    footprint = Footprint(MacPlatform(lib))
    footprint.watch(me)
    assert isinstance(ask(footprint, 1.0), Unknown)
    assert isinstance(ask(MacPriority(lib), 1.0), Unknown)


# --- the tree


SPAWN = "import subprocess, sys, time; subprocess.Popen(['sleep', '30']); print(flush=True); time.sleep(30)"


@pytest.fixture
def tree(monkeypatch):
    """A child and its child, as a Mac's kernel lists them; psutil, which asks for every process there is, is not asked."""
    monkeypatch.setattr(process_identity, "_LIBSYSTEM", str(compiled("libsystem.c")))
    monkeypatch.setattr(process_identity, "_descendants", lambda _pid: pytest.fail("asked psutil"))
    with subprocess.Popen([sys.executable, "-c", SPAWN], stdout=subprocess.PIPE, process_group=0) as child:
        child.stdout.readline()
        yield child
        os.killpg(child.pid, signal.SIGKILL)


def test_descendants_are_asked_for_from_the_root_down(tree, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    found = [identity.pid for identity in ProcessIdentity.of(tree.pid).descendants()]
    assert len(found) == 1
    assert {tree.pid, *found} <= {identity.pid for identity in ProcessIdentity.of(os.getpid()).descendants()}
    monkeypatch.setenv("MAC_PID_ERRNO", str(EPERM))
    assert process_identity._descendants_on_mac(tree.pid) == []


def test_more_children_than_there_is_room_for_are_all_found(monkeypatch):
    monkeypatch.setattr(process_identity, "_LIBSYSTEM", str(compiled("libsystem.c")))
    with subprocess.Popen(["sh", "-c", "for i in $(seq 70); do sleep 30 & done; wait"], process_group=0) as shell:
        until(lambda: len(process_identity._descendants(shell.pid)) == 70, "all have started")
        found = process_identity._descendants_on_mac(shell.pid)
        os.killpg(shell.pid, signal.SIGKILL)
    assert len(set(found)) == 70


# --- what is missing


@pytest.mark.parametrize("option", ["-DWITHOUT_NOTIFY", "-DWITHOUT_THE_REST"])
def test_a_library_without_the_calls_costs_readings_and_nothing_else(monkeypatch, me, option):
    lib = LibSystem(ctypes.CDLL(str(compiled("libsystem.c", option))))
    footprint = Footprint(MacPlatform(lib))
    footprint.watch(me)
    for sensor in (MacThermal(THERMAL_KEY, lib=lib, run=run), MacMemory(lib, run), MacPriority(lib), footprint):
        answer = ask(sensor, 1.0)
        assert isinstance(answer, Unknown) or answer.source, sensor.name
    by_command = option == "-DWITHOUT_NOTIFY"
    assert ("notifyutil" in ask(MacThermal(THERMAL_KEY, lib=lib, run=run), 1.0).source) == by_command


def test_commands_answer_in_apple_s_words(monkeypatch):
    assert ask(MacGpu(run), 1.0).busy_share == 0.30
    assert ask(LowPowerMode(run), 1.0).low_power_mode is False
    monkeypatch.setenv("MAC_PMSET", "powermode            1")
    assert ask(LowPowerMode(run), 1.0).low_power_mode is True
    monkeypatch.setenv("MAC_PMSET", "powermode            2")
    assert ask(LowPowerMode(run), 1.0).low_power_mode is False
