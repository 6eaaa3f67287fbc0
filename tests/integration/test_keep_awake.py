"""The keep-awake assertion: when it is wanted, by a real daemon too, and how it is held.

The system's tool has a stand-in that is a real process and writes down its life.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from support.ledger_rows import add, add_in, python
from support.waiting import until

from cbi_queue import clock
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.ledger.settlement import requeue
from cbi_queue.ledger.waits import wait_for_machine, wait_for_memory
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome, Reason
from workers.keep_awake import LINUX, MACOS, MOST_LOSSES, TRY_AGAIN_S, KeepAwake, awake_command

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

    from cbi_queue.ledger import Ledger

TOOL = """#!/bin/sh
echo "begins $$" >> '{record}'
for last; do :; done
"$last"
echo "ends" >> '{record}'
"""
REFUSES = """#!/bin/sh
echo "Failed to connect to bus: No such file or directory" >&2
exit 1
"""
STUBBORN = """#!/bin/sh
echo "begins $$" >> '{record}'
trap '' TERM HUP
while :; do sleep 60 & wait $!; done
"""


class Tool:
    """A stand-in for this system's tool, on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bin, self._record = folder / "bin", folder / "record"
        self._bin.mkdir()
        monkeypatch.setenv("PATH", f"{self._bin}{os.pathsep}{os.environ['PATH']}")

    def is_(self, script: str) -> None:
        """Install *script* as the tool."""
        path = self._bin / awake_command()[0]
        path.write_text(script.format(record=self._record))
        path.chmod(0o755)

    def life(self) -> list[str]:
        """What it wrote down: "begins" and "ends"."""
        return [line.split()[0] for line in self._lines()]

    def pid(self) -> int:
        """The process that began last."""
        return int([line for line in self._lines() if line.startswith("begins")][-1].split()[1])

    def _lines(self) -> list[str]:
        return self._record.read_text().splitlines() if self._record.exists() else []


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A tool that works."""
    installed = Tool(tmp_path, monkeypatch)
    installed.is_(TOOL)
    return installed


@pytest.fixture
def awake():
    """Nothing is held; what a test leaves held is released."""
    assertion = KeepAwake()
    yield assertion
    assertion.release()


def test_each_system_has_its_tool_and_every_tool_reads_our_pipe():
    assert awake_command("darwin") == MACOS
    assert awake_command("linux") == LINUX
    assert MACOS[-1] == LINUX[-1] == "cat"


def test_it_is_held_by_one_process_until_it_is_released(tool, awake):
    awake.hold()
    until(lambda: tool.life() == ["begins"], "the tool runs")
    awake.hold()
    assert awake.is_held

    awake.release()
    awake.release()

    assert not awake.is_held
    assert tool.life() == ["begins", "ends"], "held once, ended by itself, not killed"


def is_wanted(ledger: Ledger, awake: KeepAwake) -> bool:
    """Let it look once; tell whether it is held then."""
    awake.follow(ledger)
    return awake.is_held


PAUSED_BY = {
    "the governor, for heat": ({HoldReason.THERMAL: HoldMode.PAUSE}, True),
    "the governor, for memory": ({HoldReason.MEMORY: HoldMode.PAUSE}, True),
    "the governor, while a person lets the job end": (
        {HoldReason.THERMAL: HoldMode.PAUSE, HoldReason.USER: HoldMode.DRAIN},
        True,
    ),
    "a person": ({HoldReason.USER: HoldMode.PAUSE}, False),
    "a person and the governor": ({HoldReason.THERMAL: HoldMode.PAUSE, HoldReason.USER: HoldMode.PAUSE}, False),
    "a person who wants the memory": ({HoldReason.USER: HoldMode.EVICT}, False),
}
"""Who paused the job -> the holds in force, and whether the machine is to stay awake."""


@pytest.mark.parametrize(("holds", "stays_awake"), PAUSED_BY.values(), ids=PAUSED_BY.keys())
def test_a_pause_of_the_governors_keeps_the_machine_awake_and_one_of_a_person_lets_it_sleep(
    tool, awake, ledger, holds, stays_awake
):
    """The governor's ends by itself within minutes; a machine that had fallen asleep would not see the end of it."""
    add_in(ledger, JobState.PAUSED)
    for reason, mode in holds.items():
        place_hold(ledger, reason, mode, f"held for {reason}")

    assert is_wanted(ledger, awake) is stays_awake


def test_a_training_keeps_the_machine_awake_and_a_person_who_joins_the_governors_pause_lets_it_sleep(
    tool, awake, ledger
):
    add_in(ledger, JobState.RUNNING)
    assert is_wanted(ledger, awake)
    place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "let it end")
    assert is_wanted(ledger, awake), "it is still training"
    ledger.conn.execute("UPDATE jobs SET state = 'paused'")
    place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "too hot")
    assert is_wanted(ledger, awake)

    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "good night")
    assert not is_wanted(ledger, awake)
    lift_hold(ledger, HoldReason.USER, "good morning")

    assert is_wanted(ledger, awake)


def test_an_empty_slot_keeps_the_machine_awake_while_the_queue_goes_on_by_itself(tool, awake, ledger):
    """Evicted by the governor, put off by it, or waiting for its retry: nobody has to come for any of that."""
    number = add_in(ledger, JobState.RUNNING)
    requeue(ledger, number, Outcome.EVICTED, Reason.EVICTED, wait_s=600.0)
    assert is_wanted(ledger, awake), "its wait ends by itself"
    place_hold(ledger, HoldReason.MEMORY, HoldMode.EVICT, "memory is short", for_s=900.0)
    assert is_wanted(ledger, awake), "the governor's hold ends by itself"
    lift_hold(ledger, HoldReason.MEMORY, "there is room")
    wait_for_machine(ledger, number, "the machine is too hot to start")
    assert is_wanted(ledger, awake), "it starts as soon as it has cooled"

    place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "no more today")

    assert not is_wanted(ledger, awake)


def test_nothing_that_could_start_lets_the_machine_sleep(tool, awake, ledger):
    assert not is_wanted(ledger, awake), "the queue is empty"
    add_in(ledger, JobState.SUCCEEDED, "done")
    add_in(ledger, JobState.HELD, "kept-back")
    assert not is_wanted(ledger, awake)

    number = add(ledger, "large")
    assert is_wanted(ledger, awake)
    wait_for_memory(ledger, number, "needs 20 GiB of 4 GiB that are free", 30.0)

    assert not is_wanted(ledger, awake), "somebody has to make room first"


GOVERNORS_PAUSE_S = 3.0
"""Several looks of the daemon's."""


def test_a_daemon_holds_it_through_a_pause_of_the_governors_and_lets_go_when_a_person_pauses(
    tool, installation: Installation
):
    installation.enqueue(installation.lasting("net"))
    installation.start_daemon()
    installation.until_epoch("net", 1)
    until(lambda: tool.life() == ["begins"], "it is held while the net trains")

    with installation.ledger() as ledger:
        place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "too hot")
        installation.until_state("net", "paused")
        place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "too hot", for_s=GOVERNORS_PAUSE_S)
    installation.until_state("net", "running")
    assert tool.life() == ["begins"], "held without a break"

    installation.cli("pause")
    installation.until_state("net", "paused")
    until(lambda: tool.life() == ["begins", "ends"], "it is released")
    installation.cli("resume")
    until(lambda: tool.life() == ["begins", "ends", "begins"], "it is held again")
    installation.cli("cancel", "net")

    until(lambda: tool.life() == ["begins", "ends"] * 2, "nothing is left to do")


def test_it_can_be_taken_again_as_after_a_pause(tool, awake):
    for _ in range(2):
        awake.hold()
        until(lambda: tool.life()[-1:] == ["begins"], "the tool runs")
        awake.release()

    assert tool.life() == ["begins", "ends"] * 2


HOLDER = """
import sys, threading
from workers.keep_awake import KeepAwake
awake = KeepAwake()
awake.hold()
print("held" if awake.is_held else "not held", flush=True)
threading.Event().wait()
"""


def test_a_daemon_that_is_killed_lets_the_machine_sleep(tool):
    """SIGKILL runs no clean-up: an assertion that outlived it would keep a laptop awake until its battery is empty."""
    holder = python(HOLDER)
    assert holder.stdout.readline() == "held\n"
    until(lambda: tool.life() == ["begins"], "the tool runs")

    holder.kill()
    holder.communicate(timeout=60)

    until(lambda: tool.life() == ["begins", "ends"], "the tool has ended")


def test_a_trainer_that_outlives_the_daemon_does_not_keep_the_machine_awake(tool, awake):
    """A child that inherited the pipe would hold the assertion on; not even a careless one does."""
    awake.hold()
    until(lambda: tool.life() == ["begins"], "the tool runs")
    trainer = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False, stderr=subprocess.DEVNULL
    )

    awake.release()

    assert tool.life() == ["begins", "ends"]
    trainer.communicate(b"\n", timeout=60)


def test_a_system_without_the_tool_is_told_once(awake, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    caplog.set_level(logging.INFO)

    for _ in range(2):
        awake.hold()
        awake.hold()
        assert not awake.is_held
        awake.release()

    (told,) = caplog.messages
    assert f"{awake_command()[0]} is not installed" in told
    assert "may fall asleep" in told


def test_a_tool_that_may_not_be_used_is_told_once_with_its_own_words(tool, awake, caplog):
    """A container has systemd-inhibit and no bus for it."""
    tool.is_(REFUSES)
    caplog.set_level(logging.INFO)

    for _ in range(2):
        awake.hold()
        until(lambda: not awake.is_held, "it was refused")
        awake.hold()
        assert not awake.is_held
        awake.release()

    (told,) = caplog.messages
    assert "Failed to connect to bus" in told


def test_what_was_refused_is_tried_again_for_the_next_job(tool, awake):
    """At boot the bus may come after the daemon."""
    tool.is_(REFUSES)
    awake.hold()
    until(lambda: not awake.is_held, "it was refused")
    awake.hold()
    tool.is_(TOOL)
    awake.hold()
    assert not awake.is_held, "not at every look"

    awake.release()
    awake.hold()

    until(lambda: tool.life() == ["begins"], "the tool runs")
    assert awake.is_held


def test_an_assertion_that_somebody_ended_is_taken_again_but_not_for_ever(tool, awake, caplog):
    caplog.set_level(logging.INFO)
    for number in range(1, MOST_LOSSES + 1):
        awake.hold()
        until(lambda n=number: tool.life().count("begins") == n, "the tool runs")
        os.kill(tool.pid(), signal.SIGKILL)
        until(lambda: not awake.is_held, "the assertion is lost")

    awake.hold()

    assert not awake.is_held
    assert tool.life().count("begins") == MOST_LOSSES
    assert "was ended 3 times by another program or a user" in caplog.messages[-1]


def test_what_was_given_up_is_tried_again_after_a_while(tool, awake, monkeypatch):
    """A daemon that started before the bus trains for a week without a pause."""
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    tool.is_(REFUSES)
    awake.hold()
    until(lambda: not awake.is_held, "it was refused")
    awake.hold()
    tool.is_(TOOL)

    now[0] += TRY_AGAIN_S - 1.0
    awake.hold()
    assert not awake.is_held
    now[0] += 1.0
    awake.hold()

    assert awake.is_held


def test_a_tool_that_does_not_leave_is_killed_with_its_children(tool, awake):
    tool.is_(STUBBORN)
    awake.hold()
    until(lambda: tool.life() == ["begins"], "the tool runs")
    process = psutil.Process(tool.pid())
    children = until(process.children, "it has started something")

    awake.release()

    assert not process.is_running()
    until(lambda: not any(child.is_running() for child in children), "its children are gone")


def test_a_tool_that_cannot_be_started_costs_nothing(tool, awake, caplog):
    caplog.set_level(logging.INFO)
    tool.is_("#!/no/such/interpreter\n")

    awake.hold()

    assert not awake.is_held
    assert "cannot be started" in caplog.messages[-1]
