"""Processes that are started with closed, full or unread standard streams: the slot stays safe, and nothing hangs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from support.api_installation import free_port
from support.light_libraries import light_libraries
from support.waiting import until

from cbi_queue.lifecycle import Outcome

if TYPE_CHECKING:
    from support.installation import Installation

CLOSINGS = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
"""Standard input, output, error and all of them closed, as a shell writes it: what is opened next gets the lowest free number."""


def start(installation: Installation, closing: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
    """Start one of our modules by a shell that closes streams first."""
    line = f'exec "$@" {closing}'
    process = subprocess.Popen(
        ["/bin/sh", "-c", line, "sh", sys.executable, "-P", "-m", *command],
        env=installation.environ,
        cwd=installation.root,
        **options,  # type: ignore[call-overload]
    )
    installation.daemons.append(process)
    return process


def holds_lock(installation: Installation, pid: int) -> bool:
    """Return True if the process has the slot's lock open, under a number that no redirection touches."""
    found = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir() if lock_at(fd) == installation.settings.lock_path}
    assert not found & {0, 1, 2}
    return bool(found)


def lock_at(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("closing", CLOSINGS)
def test_a_trainer_holds_the_lock_whatever_the_daemon_was_started_with(
    installation: Installation, closing: str
) -> None:
    """Its daemon is killed then: without the lock the next daemon would start a second trainer."""
    installation.enqueue(installation.lasting("net"))
    daemon = start(installation, closing, "workers")
    trainer = installation.trainer_at_work("net")
    assert holds_lock(installation, trainer.pid)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0


@pytest.mark.parametrize("closing", CLOSINGS)
def test_run_trains_whatever_it_was_started_with(installation: Installation, closing: str) -> None:
    plan = installation.root / "plan.yaml"
    plan.write_text("day: 1\njobs:\n  - {name: naive, family: statistical, model: naive, horizon: 1w}\n")
    assert start(installation, closing, "cbi_queue.cli", "run", str(plan), stdout=subprocess.DEVNULL).wait(60) == 0
    assert installation.job("naive").state == "succeeded"


@pytest.mark.parametrize("closing", CLOSINGS)
def test_the_page_is_served_whatever_it_was_started_with(installation: Installation, closing: str) -> None:
    installation.overrides["CBI_PORT"] = str(free_port())
    server = start(installation, closing, "cbi_queue.api")
    until(lambda: answers(int(installation.overrides["CBI_PORT"])), "the page answers")
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def answers(port: int) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/status", timeout=10) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def test_a_living_trainer_without_the_lock_is_ended_before_the_next_one_starts(installation: Installation) -> None:
    """However it lost the lock, the recorded identity says that it still trains."""
    installation.enqueue(installation.lasting("net"))
    daemon = installation.start_daemon()
    installation.until_epoch("net", 1)
    trainer = installation.trainer("net")
    os.kill(trainer.pid, signal.SIGSTOP)
    daemon.kill()
    daemon.wait()
    installation.settings.lock_path.unlink()  # the next daemon makes a lock file that nobody holds

    second = installation.start_daemon()
    until(lambda: len(installation.attempts("net")) == 2, "a second attempt")
    assert not psutil.pid_exists(trainer.pid) or psutil.Process(trainer.pid).status() == psutil.STATUS_ZOMBIE
    assert installation.attempts("net")[0].outcome == Outcome.INTERRUPTED
    second.send_signal(signal.SIGTERM)
    second.wait(60)


def full_pipe() -> tuple[int, int]:
    """A pipe that takes not one byte more."""
    read, write = os.pipe()
    flags = fcntl.fcntl(write, fcntl.F_GETFL)
    fcntl.fcntl(write, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        fcntl.fcntl(write, fcntl.F_SETFL, flags)
    return read, write


def test_a_pipe_that_nobody_reads_stops_neither_training_nor_sigterm(installation: Installation) -> None:
    installation.enqueue(installation.lasting("net", epochs=2))
    read, write = full_pipe()
    daemon = start(installation, "", "workers", stdout=write, stderr=write)
    installation.until_state("net", "succeeded", within_s=180)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_a_terminal_lacks_are_shown_as_question_marks(installation: Installation, encoding: str) -> None:
    plan = installation.root / "plan.yaml"
    plan.write_text('day: 0\ntitle: "Öl 大豆"\njobs:\n  - {name: n, family: statistical, model: naive, horizon: 1w}\n')
    installation.cli("enqueue", str(plan))
    installation.cli("pause", "--reason", "zu heiß 大")
    installation.overrides["PYTHONIOENCODING"] = encoding
    printed = {}
    for verb in (("status",), ("show", "n"), ("plan", "show", str(plan)), ("list",)):
        command = [sys.executable, "-P", "-m", "cbi_queue.cli", *verb]
        done = subprocess.run(command, env=installation.environ, capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout
        printed[verb[0]] = done.stdout
    assert "zu heiß 大".encode(encoding, "replace") in printed["status"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", [["list"], ["status"], ["--help"], ["status", "--json"], ["doctor"]])
def test_output_that_cannot_be_written_is_one_line_and_exit_1(installation: Installation, verb: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cbi_queue.cli", *verb],
            env=installation.environ | light_libraries(),
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("closing", CLOSINGS)
def test_a_verb_does_its_work_whatever_it_was_started_with(installation: Installation, closing: str) -> None:
    assert start(installation, closing, "cbi_queue.cli", "pause", stdout=subprocess.DEVNULL).wait(60) == 0
    assert "user" in installation.cli("status")
