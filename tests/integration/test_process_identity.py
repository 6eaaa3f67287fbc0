"""Who a process is: pid and start; and how all that it started is ended."""

from __future__ import annotations

import json
import os
import signal
import sys

import psutil
import pytest
from support.ledger_rows import finished, python
from support.waiting import until

from cbi_queue.process_identity import ProcessIdentity

WAITS = "print('ready', flush=True)\nimport sys; sys.stdin.readline()"


@pytest.fixture
def child():
    """A process that waits for a line."""
    process = python(WAITS)
    assert process.stdout.readline() == "ready\n"
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=60)


def test_a_process_is_itself_whoever_asks(child):
    """What the daemon wrote down must be recognised by the next daemon."""
    mine = ProcessIdentity.of(child.pid)
    asked = (
        "import sys; from cbi_queue.process_identity import ProcessIdentity as P; print(P.of(int(sys.argv[1])).started)"
    )

    theirs = float(finished(python(asked, child.pid)))

    assert ProcessIdentity(child.pid, theirs) == mine
    assert mine.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel stores an instant with each process")
def test_a_process_is_itself_after_the_clock_was_set(child, monkeypatch):
    """On Linux the boot time moves with the clock; a daemon that then disowns its trainer cannot stop it."""
    identity = ProcessIdentity.of(child.pid)
    started = psutil.Process(child.pid).create_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 1000.0)
    assert psutil.Process(child.pid).create_time() != started, "this is what a set clock does"

    assert identity.is_alive()
    assert ProcessIdentity.of(child.pid) == identity


ON_A_MAC = """
import importlib.metadata, json, sys
import signal, socket, subprocess, threading  # those of this machine, before it poses as another
from unittest.mock import MagicMock

STARTED, version = 1_700_000_000.25, importlib.metadata.version("psutil")
booted_s, booted_by_the_set_clock_s, is_old = *map(float, sys.argv[1:3]), sys.argv[3] == "old"
kernel = MagicMock(SRUN=2, ZombieProcessError=type("ZombieProcessError", (OSError,), {}))
kernel.version = int(version.replace(".", ""))
kernel.boot_time.return_value = booted_s
kernel.proc_kinfo_oneshot.return_value = (1, 0, 0, 0, 0, 0, 0, 0, STARTED, kernel.SRUN, "trainer")
sys.platform, sys.modules["psutil._psutil_osx"] = "darwin", kernel
import psutil
from cbi_queue.process_identity import ProcessIdentity

if is_old:
    psutil.OSX = False  # as in 6.0 to 7.0: processes are compared by create_time(), and it knows one start only
    psutil._psplatform.Process.create_time = lambda self: self._get_kinfo_proc()[8]
before, shown = ProcessIdentity.of(4711), psutil.Process(4711).create_time()
kernel.boot_time.return_value = booted_by_the_set_clock_s
print(json.dumps({
    "moved": psutil.Process(4711).create_time() != shown,
    "alive": before.is_alive(),
    "same": ProcessIdentity.of(4711) == before,
    "started": before.started,
}))
"""
"""psutil's own code for macOS, over a kernel of ours: the clock is set between two looks at one process."""


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0])
def test_on_a_mac_a_process_is_itself_after_the_clock_was_set(set_by_s):
    """A daemon that disowns its trainer cannot stop it, and the next one does not find it."""
    booted_s = 1_699_000_000.0

    mine = json.loads(finished(python(ON_A_MAC, booted_s, booted_s + set_by_s, "new")))
    theirs = json.loads(finished(python(ON_A_MAC, booted_s + set_by_s, booted_s, "new")))

    assert mine["moved"], "this is what psutil makes of a set clock"
    assert mine == theirs == {"moved": True, "alive": True, "same": True, "started": 1_700_000_000.25}


def test_on_a_mac_an_older_psutil_tells_the_same_start():
    told = json.loads(finished(python(ON_A_MAC, 1_699_000_000.0, 1_699_003_600.0, "old")))

    assert told == {"moved": False, "alive": True, "same": True, "started": 1_700_000_000.25}


def test_another_process_with_the_same_pid_is_not_it_and_is_never_signalled(child):
    identity = ProcessIdentity.of(child.pid)
    for wrong in (identity.started + 1.0, identity.started - 1.0, 0.0):
        stranger = ProcessIdentity(child.pid, wrong)
        assert not stranger.is_alive()
        stranger.signal_group(signal.SIGKILL)
        stranger.kill_tree()
        assert stranger.descendants() == []

    child.communicate("end\n", timeout=60)
    assert child.returncode == 0, "nothing hit it"


def test_a_stopped_process_is_alive_and_told_from_one_that_runs(child):
    identity = ProcessIdentity.of(child.pid)
    assert not identity.is_stopped()

    child.send_signal(signal.SIGSTOP)
    until(identity.is_stopped, "the stop")
    assert identity.is_alive()
    child.send_signal(signal.SIGCONT)
    until(lambda: not identity.is_stopped(), "going on")

    assert not ProcessIdentity(child.pid, identity.started + 1).is_stopped(), "another one of that pid"


def test_a_process_that_ended_is_not_alive_even_before_it_was_waited_for(child):
    identity = ProcessIdentity.of(child.pid)
    child.stdin.write("end\n")
    child.stdin.flush()

    until(lambda: not identity.is_alive(), "the end of the child, as a zombie")
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    child.communicate(timeout=60)
    assert not identity.is_alive()
    identity.signal_group(signal.SIGKILL)
    identity.kill_tree()


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1])
def test_a_pid_that_nobody_has_is_nobody(pid):
    assert ProcessIdentity.of(pid) is None
    assert not ProcessIdentity(pid, 1.0).is_alive()


def test_a_name_with_brackets_and_spaces_confuses_nobody(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to(sys.executable)
    code = "import subprocess, sys; print(subprocess.Popen([sys.argv[1], '-c', 'import sys; sys.stdin.read()'], stdin=0).pid, flush=True); sys.stdin.read()"
    parent = python(code, odd)
    identity = ProcessIdentity.of(int(parent.stdout.readline()))

    assert identity.is_alive()
    parent.communicate(timeout=60)
    until(lambda: not identity.is_alive(), "the end of its input")


FAMILY = """
import os, subprocess, sys
code = '''
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "child":
    grandchild = subprocess.Popen([sys.executable, "-c", CODE, "grandchild"], start_new_session=True)
    print(os.getpid(), grandchild.pid, flush=True)
signal.pause()
'''
code = f"CODE = {code!r}" + chr(10) + code
print(os.getpid(), flush=True)
subprocess.Popen([sys.executable, "-c", code, "child"]).wait()
"""


def test_everything_a_trainer_started_is_ended_also_what_left_its_group():
    """A data loader that outlives its trainer eats the memory of the next one."""
    family = python(f"import os; os.setpgid(0, 0)\n{FAMILY}")
    parent = int(family.stdout.readline())
    child, grandchild = map(int, family.stdout.readline().split())
    members = [ProcessIdentity.of(pid) for pid in (parent, child, grandchild)]
    until(lambda: os.getsid(grandchild) == grandchild, "the grandchild has a session of its own")
    assert {identity.pid for identity in members[0].descendants()} == {child, grandchild}

    members[0].kill_tree()

    until(lambda: not any(identity.is_alive() for identity in members), "the end of the whole family")
    family.communicate(timeout=60)
    assert family.returncode == -signal.SIGKILL


def test_a_signal_goes_to_the_group_of_its_leader_and_to_one_process_otherwise():
    """A trainer that leads no group must not take the daemon with it."""
    leader = python(f"import os; os.setpgid(0, 0)\n{WAITS}")
    member = python(WAITS)
    for process in (leader, member):
        assert process.stdout.readline() == "ready\n"

    for process in (leader, member):
        ProcessIdentity.of(process.pid).signal_group(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGTERM
    assert os.getpgid(0) == os.getpgid(os.getpid()), "this process, in the group of the second, is still here"
