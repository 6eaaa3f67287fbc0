"""Ctrl-C, SIGTERM and a reader that leaves: every verb that waits ends at once, with its exit code and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from support.api_installation import free_port
from support.installation import NAIVE
from support.waiting import until

from cbi_queue.lifecycle import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from support.installation import Installation

SLOW_IMPORT_S = 600


def start(installation: Installation, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a real command; it is ended with the installation."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cbi_queue.cli", *arguments],
        env=installation.environ, cwd=installation.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    installation.daemons.append(process)
    return process


def press(process: subprocess.Popen[bytes], times: int) -> tuple[int, str]:
    """Press Ctrl-C *times* times, as fast as a hand does; return the exit code and what was printed."""
    for _ in range(times):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        time.sleep(0.15)
    out, err = process.communicate(timeout=60)
    return process.returncode, (out + err).decode()


WAITING = (("wait",), ("wait", "held"), ("status", "--watch"), ("status", "--watch", "--json"), ("logs", "-f", "held"))


@pytest.mark.parametrize("times", [1, 3])
def test_a_verb_that_waits_ends_with_130_however_often_ctrl_c_is_pressed(
    installation: Installation, times: int
) -> None:
    """Three times: the second and the third come while it ends, or find it gone."""
    installation.enqueue({**NAIVE, "name": "held"})
    verbs = {arguments: start(installation, *arguments) for arguments in WAITING}
    until_all_wait(verbs.values())
    for arguments, verb in verbs.items():
        code, said = press(verb, times)
        assert code == 130, (arguments, said)
        assert "Traceback" not in said, arguments
        assert "Aborted" not in said, arguments


def until_all_wait(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Wait until each is past its imports: it has used processor time, and then slept for half a second.

    One that is kept from the processor does not sleep, except in what a Mac says of it.
    """
    slept = {psutil.Process(process.pid): (0.0, 0) for process in processes}

    def have_slept() -> bool:
        for process, (used_before_s, times) in slept.items():
            used_s = process.cpu_times().user
            sleeps = process.status() == psutil.STATUS_SLEEPING or sys.platform == "darwin"
            if times < 10:
                slept[process] = (used_s, times + 1 if sleeps and used_s == used_before_s > 0.05 else 0)
        return all(times == 10 for _, times in slept.values())

    until(have_slept, "the verbs wait", every_s=0.05)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_worker_with_130_and_the_job_continues_later(installation: Installation, times: int) -> None:
    """The second one does not wait for the checkpoint; the trainer writes it and leaves all the same."""
    installation.enqueue(installation.lasting("net"))
    worker = start(installation, "worker")
    installation.until_epoch("net", 2)
    trainer = installation.trainer("net")
    code, said = press(worker, times)
    assert code == 130, said
    assert "Traceback" not in said
    until(lambda: not trainer.is_alive(), "the trainer leaves by itself")
    assert list((installation.root / str(installation.job("net").run_dir) / "checkpoints").iterdir())
    daemon = installation.start_daemon()
    until(lambda: installation.attempts("net")[0].outcome == Outcome.INTERRUPTED, "it is settled")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_run_reaches_the_daemon_even_when_pressed_twice(installation: Installation, times: int) -> None:
    plan = installation.root / "plan.yaml"
    command = installation.lasting("net")["params"]["command"]
    plan.write_text(json.dumps({"day": 1, "jobs": [{"name": "net", "family": "script", "command": command}]}))
    run = start(installation, "run", str(plan))
    assert run.stdout is not None
    assert b"Enqueued" in run.stdout.readline()
    installation.until_epoch("net", 2)
    trainer = installation.trainer("net")
    code, said = press(run, times)
    assert code == 130, said
    assert "Traceback" not in said
    until(lambda: not trainer.is_alive(), "the trainer is stopped")
    until(lambda: installation.job("net").state == "queued", "the daemon settles it")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_server_with_130(installation: Installation, times: int) -> None:
    installation.overrides["CBI_PORT"] = str(free_port())
    server = start(installation, "serve")
    assert server.stdout is not None
    assert b"Status page" in server.stdout.readline()
    code, said = press(server, times)
    assert code == 130, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "verb", [("list", "--all"), ("status",), ("logs", "net"), ("--help",), ("status", "--watch", "--json")]
)
def test_a_reader_that_leaves_is_no_error_worth_a_word(installation: Installation, verb: tuple[str, ...]) -> None:
    """As in `cbi-queue list | head -1`, with far more output than a pipe holds."""
    installation.enqueue(*[{**NAIVE, "name": f"n{number}"} for number in range(3)], {**NAIVE, "name": "net"})
    if verb[0] == "logs":
        installation.start_daemon("--until-empty", wait=False).wait(60)
        installation.log_of("net").write_bytes(b"a line\n" * 100_000)
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cbi_queue.cli", *verb],
        env=installation.environ, stdout=write, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, b"")


def slow_package(root: Path, body: str) -> Path:
    """A package whose family imports as *body* does; return the folder for PYTHONPATH."""
    site = root / "site"
    (site / "odd-1.0.dist-info").mkdir(parents=True)
    (site / "odd-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (site / "odd-1.0.dist-info" / "entry_points.txt").write_text("[cbi_queue.families]\nodd = odd_family:MODELS\n")
    (site / "odd_family.py").write_text(body)
    return site


ROW = """
from cbi_queue.models.entry import ModelEntry
from cbi_queue.models.kinds import Family
MODELS = {"odd": ModelEntry(Family.STATISTICAL, "cbi_queue.models.parameters.statistical:DriftParams",
                            {"native": "odd_trainer:Odd"}, resumes_from="start", words="odd")}
"""


@pytest.mark.parametrize("how", ["SIGTERM", "stop", "killed daemon"])
def test_a_trainer_that_still_imports_leaves_at_once(installation: Installation, how: str) -> None:
    """There is nothing to save yet, whoever asks: another program, the daemon, or the end of the daemon."""
    site = slow_package(installation.root, ROW)
    (site / "odd_trainer.py").write_text(f"import time\nprint('importing', flush=True)\ntime.sleep({SLOW_IMPORT_S})\n")
    installation.overrides["PYTHONPATH"] = str(site)
    plan = installation.root / "plan.yaml"
    plan.write_text("day: 1\njobs:\n  - {name: slow, family: statistical, model: odd, horizon: 1w}\n")
    installation.cli("enqueue", str(plan))
    daemon = installation.start_daemon()
    trainer = installation.trainer("slow")
    until(lambda: b"importing" in installation.log_of("slow").read_bytes(), "the import begins")

    if how == "SIGTERM":
        os.kill(trainer.pid, signal.SIGTERM)
    elif how == "stop":
        daemon.send_signal(signal.SIGTERM)
    else:
        daemon.kill()
    until(lambda: not trainer.is_alive(), "the trainer leaves")
    if how == "stop":
        assert daemon.wait(60) == 0
        assert installation.attempts("slow")[0].outcome == Outcome.INTERRUPTED


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("print('hello')\nMODELS = {}", None),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os\nos._exit(5)", "it called os._exit(5)"),
        ("while True: pass", "it was still loading after 1 s"),
        ("import time\ntime.sleep(60)", "it was still loading after 1 s"),
    ],
)
def test_a_package_that_misbehaves_at_import_spoils_nothing(tmp_path: Path, body: str, why: str | None) -> None:
    """It neither ends the process nor hangs it, and what it prints does not get into the output."""
    site = slow_package(tmp_path, body)
    code = (
        f"from cbi_queue.models import outside; outside.LOADS_WITHIN_S = {1.0 if 'after 1 s' in str(why) else 60.0}\n"
        "print([str(fault) for fault in outside.find_outside({}).faults])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (why or "[]") in done.stdout
    assert "hello" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
