"""Trainers that leave children behind, never speak, or are stopped before they can: real scripts in the trainer's place."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest
from support.installation import NAIVE, NET
from support.waiting import until

from cbi_queue.lifecycle import JobState, Outcome
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.slot_lock import SlotLock
from workers.daemon import Daemon
from workers.slot import slot
from workers.trainer.trainer_process import TrainerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

    from workers.trainer.trainer_process import TrainerSetup

PARENT = """#!{python}
import json, os, signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
inside = subprocess.Popen([sys.executable, "-c", stubborn])
outside = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
with open({pids!r} + ".part", "w") as f:
    json.dump([inside.pid, outside.pid], f)
os.rename({pids!r} + ".part", {pids!r})
{then}
"""


def put_in_place(installation: Installation, text: str) -> None:
    """Make *text* the interpreter of every native trainer."""
    script = installation.root / "runtime"
    script.write_text(text)
    script.chmod(0o755)
    (installation.root / "config.toml").write_text(f'[runtimes]\nnative = "{script}"\n')


def children(pids: Path) -> list[ProcessIdentity]:
    """The two children that the script started: one in its group, one in a session of its own."""
    until(pids.exists, "the children are there")
    return [identity for pid in json.loads(pids.read_text()) if (identity := ProcessIdentity.of(pid))]


@pytest.mark.parametrize("stubborn_parent", [True, False])
def test_a_cancelled_trainer_is_gone_with_its_children(installation: Installation, stubborn_parent: bool) -> None:
    """Also when the trainer itself leaves at once and its children do not."""
    pids = installation.root / "pids"
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn_parent else ""
    put_in_place(installation, PARENT.format(python=sys.executable, pids=str(pids), then=f"{ignore}time.sleep(600)"))
    installation.enqueue({**NAIVE, "name": "parent"})
    installation.start_daemon()
    family = children(pids)

    installation.cli("cancel", "parent")

    assert installation.job("parent").state is JobState.CANCELLED
    until(lambda: not any(child.is_alive() for child in family), "the children are gone")


def test_a_crashed_trainer_leaves_no_child_in_its_group(installation: Installation) -> None:
    """A crash gives no warning; what it started must not train beside the next job."""
    pids = installation.root / "pids"
    crash = "os.kill(os.getpid(), signal.SIGSEGV)"
    put_in_place(installation, PARENT.format(python=sys.executable, pids=str(pids), then=crash))
    installation.enqueue({**NAIVE, "name": "parent", "retries": 0})

    installation.start_daemon("--until-empty", wait=False).wait(60)

    inside, outside = json.loads(pids.read_text())
    assert "SIGSEGV" in (installation.attempts("parent")[0].error or "")
    until(lambda: ProcessIdentity.of(inside) is None, "the child in its group is gone")
    if left := ProcessIdentity.of(outside):  # it fled into a session of its own before it could be seen
        left.kill()


def test_a_runtime_that_says_stopped_and_nothing_else_is_an_error_and_blocks_nobody(installation: Installation) -> None:
    """A wrapper that loses the pipes exits with the code of a polite stop; that must not go round for ever."""
    put_in_place(installation, "#!/bin/sh\nexit 75\n")
    installation.enqueue({**NAIVE, "name": "mute", "retries": 2})

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 1

    assert [a.outcome for a in installation.attempts("mute")] == [Outcome.ERROR] * 3


def test_a_trainer_stopped_while_it_still_imports_is_only_interrupted(installation: Installation) -> None:
    """A shutdown signals every process at once; the job has no part in it, and waits its turn before the next try."""
    installation.enqueue({**NET, "name": "early", "retries": 0, "params": {**NET["params"], "epochs": 2}})
    installation.hold("early", after=0)
    installation.start_daemon("--until-empty")

    os.kill(installation.trainer("early").pid, signal.SIGTERM)
    installation.let_end("early")

    installation.until_state("early", "succeeded")
    first, second = installation.attempts("early")
    assert first.outcome is Outcome.INTERRUPTED
    assert installation.job("early").errors == 0
    assert second.started_at - (first.ended_at or 0) >= 0.2


@pytest.mark.parametrize("through_link", [False, True])
def test_a_fork_that_keeps_the_lock_of_a_dead_trainer_does_not_shut_the_slot_for_ever(
    installation: Installation, through_link: bool
) -> None:
    """Daemon and trainer are both gone, but a child forked from the trainer still has its lock in its hands."""
    if through_link:
        (installation.root / "elsewhere").mkdir()
        (installation.root / "link").symlink_to(installation.root / "elsewhere")
        installation.overrides["CBI_STATE_DIR"] = str(installation.root / "link")
    pids = installation.root / "pids"
    forks = "child = os.fork()\nif child == 0: time.sleep(600)\nopen({0!r}, 'w').write(str(child))\ntime.sleep(600)"
    put_in_place(installation, f"#!{sys.executable}\nimport os, time\n" + forks.format(str(pids)))
    installation.enqueue({**NAIVE, "name": "forking"})
    daemon = installation.start_daemon()
    fork = until(lambda: pids.exists() and ProcessIdentity.of(int(pids.read_text() or "0")), "the fork")
    trainer = installation.trainer("forking")
    daemon.kill()
    daemon.wait()
    trainer.kill()
    (installation.root / "config.toml").write_text("")

    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0

    assert installation.job("forking").state is JobState.SUCCEEDED
    assert not fork.is_alive()


class Undying(TrainerProcess):
    """A trainer in uninterruptible sleep, waiting for a disk: SIGKILL has no effect until the disk answers."""

    started: ClassVar[list[TrainerProcess]] = []

    def __init__(self, setup: TrainerSetup) -> None:
        """Be remembered: this process is its parent, and has to collect it in the end."""
        super().__init__(setup)
        self.started.append(self)

    def kill(self) -> None:
        """Be sent the signal, and live on."""

    def kill_leftovers(self) -> None:
        """The same for its group."""


def test_a_trainer_that_survives_sigkill_keeps_the_slot_and_is_left_to_the_next_daemon(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon must end when told to, and nobody may train beside what it could not end."""
    monkeypatch.setattr(slot, "TrainerProcess", Undying)
    installation.overrides["CBI_GRACE_S"] = "1"
    put_in_place(
        installation, f"#!{sys.executable}\nimport signal\nsignal.signal(15, signal.SIG_IGN)\nsignal.pause()\n"
    )
    installation.enqueue({**NAIVE, "name": "stuck"})
    daemon = Daemon(installation.settings)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    trainer = installation.trainer("stuck")

    daemon.stop()
    thread.join(60)

    assert not thread.is_alive()
    assert trainer.is_alive()
    assert installation.job("stuck").state is JobState.RUNNING, "nobody may claim while it may still write"
    assert not SlotLock(installation.settings.lock_path).try_acquire()

    trainer.kill()
    assert Undying.started.pop().wait(60) == -signal.SIGKILL
    (installation.root / "config.toml").write_text("")
    assert installation.start_daemon("--until-empty", wait=False).wait(90) == 0
    assert installation.job("stuck").state is JobState.SUCCEEDED
    assert [a.outcome for a in installation.attempts("stuck")] == [Outcome.INTERRUPTED, Outcome.SUCCESS]
