"""Real slow-downs of a real training: other processes, a duty-cycled trainer, memory inside a limit. No scripted sensor.

Run by `make torture`, one at a time: what is measured here is the machine, and other tests beside it are a slow-down, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.installation import NET
from support.telemetry_rows import decisions_of, slowdowns_of
from support.waiting import until

from cbi_queue.lifecycle import JobState, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.installation import Installation

    from cbi_queue.process_identity import ProcessIdentity
    from cbi_queue.telemetry.governor_log import SlowdownRow

pytestmark = pytest.mark.torture

LONG = {**NET, "params": {**NET["params"], "epochs": 10_000, "patience": 10_000, "hidden": [128]}}
QUIET_EPOCHS = 150
"""Epochs before the slow-down begins: what the cold cost is learned from."""
PERIOD_S = 0.02
"""As in the recorded traces: the trainer runs 1/factor of each 20 ms."""
GROUPS = Path("/sys/fs/cgroup/memory")


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Let *count* real processes compute."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextlib.contextmanager
def duty_cycled(trainer: ProcessIdentity, factor: float) -> Iterator[None]:
    """Let the trainer's group run only 1/factor of each period."""
    over = threading.Event()

    def cycle() -> None:
        while not over.is_set():
            trainer.signal_group(signal.SIGSTOP)
            time.sleep(PERIOD_S * (1 - 1 / factor))
            trainer.signal_group(signal.SIGCONT)
            time.sleep(PERIOD_S / factor)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        trainer.signal_group(signal.SIGCONT)


def slow_with(installation: Installation, job_id: int, *causes: str) -> SlowdownRow | None:
    """The slow-down in force whose cause is one of *causes*."""
    rows = slowdowns_of(installation.settings.telemetry_path, job_id)
    return next((row for row in rows if row.ended_epoch is None and row.cause in causes), None)


def until_over(installation: Installation, job_id: int) -> None:
    until(
        lambda: all(row.ended_epoch is not None for row in slowdowns_of(installation.settings.telemetry_path, job_id)),
        "the slow-down is over",
        60,
    )


def start(installation: Installation) -> int:
    """Train until the cold cost is known; return the job's number."""
    (number,) = installation.enqueue({**LONG, "name": "job"})
    installation.start_daemon()
    installation.until_epoch("job", QUIET_EPOCHS, within_s=120)
    return number


def test_other_processes_are_told_apart_as_contention_and_nothing_is_paused(governed: Installation) -> None:
    """Standing aside would help the others and cost the training: it is told, and left alone."""
    number = start(governed)

    with busy_processes(2 * (os.cpu_count() or 1)):
        slow = until(lambda: slow_with(governed, number, "contention"), "contention is seen", 60)
    until_over(governed, number)

    steps = [row.action for row in decisions_of(governed.settings.telemetry_path, number) if row.acted]
    assert slow.factor > 1.2
    assert any("other" in sentence for sentence in slow.evidence), slow.evidence
    assert "pause" not in steps
    assert "evict" not in steps
    assert governed.job("job").state is JobState.RUNNING


def test_a_trainer_that_is_granted_less_is_no_hot_trainer(governed: Installation) -> None:
    """Duty-cycled from outside with nobody else at work and no heat in sight: the system grants it less."""
    number = start(governed)

    with duty_cycled(governed.trainer("job"), 2.0):
        slow = until(lambda: slow_with(governed, number, "service_class"), "it is granted less", 60)
    until_over(governed, number)

    assert 1.5 < slow.factor < 3.0
    assert governed.job("job").state is JobState.RUNNING


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A memory control group of this test's own, with a limit."""
    group = GROUPS / f"cbi-queue-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(1536 * 2**20))
    except OSError as exc:
        pytest.skip(f"no memory control group can be made here: {exc}")
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (GROUPS / "cgroup.procs").write_text(pid)
    until(lambda: _removed(group), "the control group is empty")


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def balloon(group: Path, mib: int) -> Iterator[None]:
    """Fill *mib* of the group's memory with a process that holds it."""
    code = f"import time\nheld = bytearray({mib} << 20)\nheld[::4096] = b'x' * len(held[::4096])\nprint(flush=True)\ntime.sleep(3600)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"input()\n{code}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_real_pressure_inside_a_limit_steps_down_before_the_kernel_kills(
    governed: Installation,
    memory_group: Path,
) -> None:
    """The daemon and its trainer live in a control group that something else fills."""
    (number,) = governed.enqueue({**LONG, "name": "job"})
    daemon = governed.start_daemon()
    (memory_group / "cgroup.procs").write_text(str(daemon.pid))
    governed.until_epoch("job", 5, within_s=120)
    assert str(governed.trainer("job").pid) in (memory_group / "cgroup.procs").read_text().split(), "it was born there"
    used_mib = int((memory_group / "memory.usage_in_bytes").read_text()) >> 20

    with balloon(memory_group, 1536 - used_mib - 40):
        step = until(
            lambda: next(
                (row for row in decisions_of(governed.settings.telemetry_path, number) if row.cause == "memory"), None
            ),
            "the governor acts on memory",
            60,
        )
    governed.until_state("job", "running", within_s=120)

    assert step.action in {"micro_batch", "pause"}
    assert Outcome.OOM not in {attempt.outcome for attempt in governed.attempts("job")}
    assert not (memory_group / "memory.oom_control").read_text().count("oom_kill 1")
