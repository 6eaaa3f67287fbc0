"""The slot as a lock that outlives the daemon: whoever trains holds it."""

from __future__ import annotations

import json
import os
import threading

import pytest
from support.ledger_rows import finished, python
from support.waiting import until

from cbi_queue.errors import SlotTaken
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.slot_lock import SlotLock, is_slot_taken

DAEMON = """
import subprocess, sys
from pathlib import Path
from cbi_queue.slot_lock import SlotLock
lock = SlotLock(Path(sys.argv[1]))
assert lock.try_acquire()
if len(sys.argv) > 2:
    code = "import pathlib, sys, time\\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)"
    trainer = subprocess.Popen([sys.executable, "-c", code, sys.argv[2]], pass_fds=(lock.descriptor,))
    print(trainer.pid, flush=True)
else:
    print("taken", flush=True)
sys.stdin.readline()
lock.release()
"""


@pytest.fixture
def path(tmp_path):
    """Where the lock file is to be."""
    return tmp_path / "slot.lock"


@pytest.fixture
def daemon(path):
    """Another process that holds the slot; ends when a line is sent."""
    child = python(DAEMON, path)
    assert child.stdout.readline() == "taken\n"
    yield child
    if child.poll() is None:
        child.kill()
    child.communicate(timeout=60)


def test_a_free_slot_is_taken_named_and_let_go(path):
    lock = SlotLock(path)
    assert not is_slot_taken(path)
    assert lock.holder() is None

    assert lock.try_acquire()
    assert lock.try_acquire(), "it is still ours"
    assert is_slot_taken(path)
    assert lock.holder().pid == os.getpid()
    assert path.stat().st_mode & 0o077 == 0

    lock.release()
    lock.release()
    assert not is_slot_taken(path)
    assert lock.holder() is None
    assert lock.try_acquire()
    lock.release()


def test_the_descriptor_is_there_only_while_the_slot_is_held(path):
    with pytest.raises(RuntimeError, match="not held"):
        _ = SlotLock(path).descriptor


def test_a_second_daemon_is_refused_with_the_name_of_the_first(path, daemon):
    second = SlotLock(path)

    assert not second.try_acquire()
    with pytest.raises(SlotTaken, match=f"the daemon with pid {daemon.pid} holds") as taken:
        second.refuse_if_daemon_holds_it()

    assert (taken.value.holder_pid, taken.value.exit_code) == (daemon.pid, 75)
    daemon.communicate("end\n", timeout=60)
    assert second.try_acquire()
    second.release()


def test_the_slot_of_a_killed_daemon_is_free_when_nobody_trains(path, daemon):
    daemon.kill()
    daemon.communicate(timeout=60)

    assert SlotLock(path).holder() is None
    assert not is_slot_taken(path)


def test_the_slot_stays_taken_by_the_trainer_of_a_killed_daemon(path, tmp_path):
    """Two trainings at once is the one thing that must never happen."""
    daemon = python(DAEMON, path, tmp_path / "end")
    trainer = ProcessIdentity.of(int(daemon.stdout.readline()))
    daemon.kill()
    daemon.wait(60)
    second = SlotLock(path)

    assert trainer.is_alive()
    assert is_slot_taken(path)
    assert not second.try_acquire()
    assert second.holder() is None
    second.refuse_if_daemon_holds_it()

    (tmp_path / "end").touch()
    until(lambda: not trainer.is_alive(), "the trainer has left")
    assert second.try_acquire()
    second.release()
    daemon.communicate(timeout=60)


def test_of_many_processes_exactly_one_gets_the_slot(path):
    racer = """
import sys
from pathlib import Path
from cbi_queue.slot_lock import SlotLock
lock = SlotLock(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
print(lock.try_acquire(), flush=True)
sys.stdin.readline()
"""
    children = [python(racer, path) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()

    assert sorted(child.stdout.readline() for child in children) == ["False\n"] * 3 + ["True\n"]
    for child in children:
        child.stdin.write("end\n")
        child.stdin.flush()
        finished(child)


def test_a_holder_that_is_another_process_with_the_same_pid_is_none(path):
    """After a power loss the file still names a pid, which may by now be anybody's."""
    lock = SlotLock(path)
    assert lock.try_acquire()
    body = json.loads(path.read_text())

    path.write_text(json.dumps({**body, "started": body["started"] - 1.0}))

    assert lock.holder() is None
    lock.release()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": "x", "started": 1}', '{"pid": 1}', "\xff", '{"pid": -1, "started": 0}']
)
def test_a_lock_file_that_names_nobody_has_no_holder(path, text):
    path.write_bytes(text.encode("latin-1"))

    assert SlotLock(path).holder() is None
    assert not is_slot_taken(path)


def test_a_daemon_that_is_about_to_write_its_name_is_waited_for(path, daemon):
    """A second daemon that comes in the very moment must name the first, and not look for an orphan."""
    text = path.read_text()
    path.write_text("")
    reached = threading.Event()

    def write_late():
        reached.wait(10)
        path.write_text(text)

    thread = threading.Thread(target=write_late)
    thread.start()
    lock = SlotLock(path)
    assert lock.holder() is None
    reached.set()
    with pytest.raises(SlotTaken):
        lock.refuse_if_daemon_holds_it()
    thread.join()


def test_looking_takes_nothing(path, daemon):
    daemon.communicate("end\n", timeout=60)
    for _ in range(3):
        assert not is_slot_taken(path)

    lock = SlotLock(path)
    assert lock.try_acquire()
    lock.release()
