"""`cbi-queue run` and `worker --until-empty`, as a person at a terminal or a script uses them."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from support.waiting import until

from cbi_queue.lifecycle import JobState, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

PLAN = """
day: 1
title: A small day
jobs:
  - {name: features-1w, family: features, horizon: 1w}
  - {name: naive-1w, family: statistical, model: naive, horizon: 1w, needs: [features-1w]}
  - name: net-1w
    family: simple_neural
    model: feed_forward
    horizon: 1w
    needs: [features-1w]
    params: {epochs: EPOCHS, patience: EPOCHS, hidden: [32], sequence_length: 4}
"""
COMMAND = [sys.executable, "-P", "-m", "cbi_queue.cli"]


def plan(installation: Installation, epochs: int) -> Path:
    """Write the small day."""
    path = installation.root / "day.yaml"
    path.write_text(PLAN.replace("EPOCHS", str(epochs)))
    return path


def test_a_small_day_from_plan_to_leaderboard(installation: Installation) -> None:
    """From a YAML file and no ledger to artifacts, and what people then ask: list, show, logs, leaderboard, budget."""
    installation.settings.ledger_path.unlink()

    said = installation.cli("run", str(plan(installation, epochs=3)))

    assert "Enqueued 3 jobs" in said
    assert re.search(r"finish\s+net-1w\s+skill [-+0]", said)
    assert installation.cli("list").startswith("Nothing is left to do")
    assert "net-1w" in installation.cli("list", "--all")
    assert "succeeded" in installation.cli("show", "net-1w")
    installation.cli("logs", "net-1w")
    assert "naive-1w" in installation.cli("leaderboard")
    assert "simple neural" in installation.cli("budget")
    again = installation.cli("run", str(plan(installation, epochs=3)))
    assert "already there" in again


def test_ctrl_c_in_a_terminal_checkpoints_and_leaves_a_resumable_queue(installation: Installation) -> None:
    """The machine is needed for something else: nothing is lost, and `worker` continues."""
    master, terminal = pty.openpty()
    run = subprocess.Popen(
        [*COMMAND, "run", str(plan(installation, epochs=10_000))],
        env={**installation.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        cwd=installation.root, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    screen = bytearray()
    until(lambda: read(master, screen) and b"net-1w" in screen, "the live display")
    until(lambda: read(master, screen) and installation.job("net-1w").state is JobState.RUNNING, "the net is training")
    training_epoch(installation, master, screen)

    run.send_signal(signal.SIGINT)
    until(lambda: read(master, screen) and run.poll() is not None, "run ends")

    assert run.returncode == 130
    read(master, screen)
    os.close(master)
    assert b"continues the queue" in screen
    assert installation.job("net-1w").state is JobState.QUEUED
    assert installation.attempts("net-1w")[0].outcome is Outcome.INTERRUPTED
    installation.start_daemon()
    until(lambda: "restored" in [e.event for e in installation.events("net-1w")], "it continues from its checkpoint")


def training_epoch(installation: Installation, master: int, screen: bytearray) -> None:
    """Wait for the second epoch while the screen is being read, so that the display never blocks."""
    from support.telemetry_rows import epochs_of

    job = installation.job("net-1w").id
    until(lambda: read(master, screen) and len(epochs_of(installation.settings.telemetry_path, job)) >= 2, "two epochs")


def read(master: int, screen: bytearray) -> bool:
    """Take in what the terminal shows, without waiting for more."""
    while select.select([master], [], [], 0.05)[0]:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            return True
        if not chunk:
            return True
        screen.extend(chunk)
    return True


def test_run_beside_a_daemon_says_who_holds_the_slot_and_enqueues_nothing(installation: Installation) -> None:
    """Two slots must not come from two terminals."""
    daemon = installation.start_daemon()

    said = installation.cli("run", str(plan(installation, epochs=1)), code=75)

    assert str(daemon.pid) in said
    assert installation.cli("list", "--all", "--json").strip() == "[]"


def test_a_failed_job_makes_the_exit_code_1(installation: Installation) -> None:
    """Scripts must see it."""
    (installation.root / "config.toml").write_text('[runtimes]\ntorch = "/bin/false"\n')
    path = plan(installation, epochs=1)
    path.write_text(
        path.read_text().replace(
            "    needs: [features-1w]\n    params", "    retries: 0\n    needs: [features-1w]\n    params"
        )
    )

    installation.cli("run", str(path), code=1)

    assert installation.job("net-1w").state is JobState.FAILED
    assert installation.job("naive-1w").state is JobState.SUCCEEDED


def test_wait_returns_when_the_jobs_have_ended(installation: Installation) -> None:
    """`wait` is for scripts: 0 when all succeeded, 75 when the time is over."""
    installation.cli("enqueue", str(plan(installation, epochs=2)))
    installation.cli("wait", "--timeout", "1s", code=75)
    installation.start_daemon()

    installation.cli("wait", "naive-1w", "net-1w")

    assert installation.job("net-1w").state is JobState.SUCCEEDED
