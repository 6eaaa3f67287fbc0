"""How long a crash keeps a model from training: from the kill to the first report of work of the next attempt.

A real daemon with its default settings, in a home of its own, trains a real net on the sample series with its default
checkpoints. In the middle of an epoch something dies: the trainer by the system's hand (SIGKILL) or by a fault of its
own (SIGSEGV), the daemon, which is then started again at once, or both. Times are taken from the logs of the attempts,
which the trainers write themselves. The first report of work comes at the end of an epoch, so that what was lost of
one, and what was left of it, are trained within the time that is told.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from benchmarks.installation import installation, until
from benchmarks.measuring import Line, Target, in_seconds
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.verbs import cancel

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.installation import Installation

NET = {
    "family": "simple_neural",
    "model": "lstm",
    "horizon": "1w",
    "params": {"epochs": 10000, "patience": 10000},
}
SIZE = {"sequence_length": 64, "hidden_size": 64}
MOST_CRASHES = 4
"""Kinds of crash that are measured, from the last one of `CRASHES`."""
EPOCHS_BEFORE = 3
"""Epochs that the first attempt trains at least before it ends."""
PATIENCE_S = 120.0
_EPOCH = re.compile(r"^(\d+)/\d+ in ([\d.]+) s", re.MULTILINE)
_RESTORED = re.compile(r"^continues from the checkpoint after (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Crash:
    """What dies."""

    words: str
    trainer: signal.Signals | None = None
    """What the trainer is sent; None: it is left alone."""
    daemon: bool = False
    """Whether the daemon is killed, and started again at once."""


CRASHES = (
    Crash("the trainer is killed", trainer=signal.SIGKILL),
    Crash("the trainer crashes (SIGSEGV)", trainer=signal.SIGSEGV),
    Crash("the daemon is killed and started again", daemon=True),
    Crash("both are killed", trainer=signal.SIGKILL, daemon=True),
)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What one crash cost, in seconds."""

    again_s: float
    """From the kill to the first report of work of the next attempt."""
    restored_s: float
    """From the kill until the next attempt has its checkpoint back and begins to train."""
    restored_cpu_s: float
    """Processor time of the new trainer, and of the new daemon, until then."""
    lost_s: float
    """Between the checkpoint that is gone on from and the kill."""
    epoch_s: float


def lines(rounds: int) -> list[Line]:
    """Let each thing crash *rounds* times, turn by turn."""
    found: dict[Crash, list[Recovery]] = {crash: [] for crash in CRASHES[-MOST_CRASHES:]}
    with installation() as home:
        home.furnish()
        daemon = _Daemon(home)
        try:
            for number in range(rounds):
                for crash, recoveries in found.items():
                    recoveries.append(_recovery(home, daemon, crash, f"net-{number}-{CRASHES.index(crash)}"))
        finally:
            daemon.stop()
    return [_line(crash, recoveries) for crash, recoveries in found.items()]


def _line(crash: Crash, recoveries: list[Recovery]) -> Line:
    epoch_s = statistics.median(recovery.epoch_s for recovery in recoveries)
    cpu_s = statistics.median(recovery.restored_cpu_s for recovery in recoveries)
    note = (
        f"training begins after {in_seconds([recovery.restored_s for recovery in recoveries])}, {cpu_s:.1f} s of "
        f"processor time; lost {in_seconds([recovery.lost_s for recovery in recoveries])} of training, an epoch takes "
        f"{epoch_s:.1f} s"
    )
    if crash.daemon:
        note += "; launchd starts a daemon that ran for 10 s at once, systemd 3 s later"
    values = tuple(recovery.again_s for recovery in recoveries)
    return Line(f"crash to training again: {crash.words}", "s", values, Target(10.0), note)


class _Daemon:
    """A daemon that can be killed and started again."""

    def __init__(self, home: Installation) -> None:
        self._home = home
        self.start()

    @property
    def pid(self) -> int:
        """Of the one that runs now."""
        return self._process.pid

    def start(self) -> None:
        """Start it as the service manager does, and do not wait for it."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers", "--quiet"],
            env=self._home.environ,
            cwd=self._home.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Let it die, and be sure that it is dead."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        self._process.terminate()
        self._process.wait(60)


def _recovery(home: Installation, daemon: _Daemon, crash: Crash, name: str) -> Recovery:
    home.enqueue({**NET, "params": {**NET["params"], **SIZE}, "name": name})
    before = _Log(home, name, attempt=1)
    until(lambda: before.last_epoch >= EPOCHS_BEFORE, f"{EPOCHS_BEFORE} epochs of {name}", PATIENCE_S)
    until(lambda: _checkpoints(home, name), f"a checkpoint of {name}", PATIENCE_S)
    epoch_s = before.epoch_s
    time.sleep(epoch_s / 2)  # into the next epoch
    trainer_pid = _trainer_pid(home, name)
    killed_at = time.time()
    if crash.daemon:
        daemon.kill()
    if crash.trainer is not None:
        os.kill(trainer_pid, crash.trainer)
    if crash.daemon:
        daemon.start()
    after = _Log(home, name, attempt=2)
    until(lambda: after.is_restored, f"{name} to go on", PATIENCE_S)
    restored_at = time.time()
    cpu_s = _cpu_s(_trainer_pid(home, name)) + (_cpu_s(daemon.pid) if crash.daemon else 0.0)
    lost_s = killed_at - max(path.stat().st_mtime for path in _checkpoints(home, name))
    until(lambda: after.last_epoch, f"{name} to train again", PATIENCE_S)
    again_at = time.time()
    _call_off(home, name)
    return Recovery(again_at - killed_at, restored_at - killed_at, cpu_s, max(0.0, lost_s), epoch_s)


class _Log:
    """What one attempt writes into its log."""

    def __init__(self, home: Installation, name: str, attempt: int) -> None:
        self._folder, self._pattern = home.settings.training_log_dir, f"{name}-*-attempt-{attempt}.log"

    @property
    def last_epoch(self) -> int:
        """The last epoch told of, or 0."""
        return max((int(number) for number, _ in _EPOCH.findall(self._text())), default=0)

    @property
    def epoch_s(self) -> float:
        """Median seconds of the epochs after the first."""
        return statistics.median(float(seconds) for _, seconds in _EPOCH.findall(self._text())[1:])

    @property
    def is_restored(self) -> bool:
        """Whether the attempt has taken a checkpoint over."""
        return _RESTORED.search(self._text()) is not None

    def _text(self) -> str:
        return "".join(path.read_text() for path in self._folder.glob(self._pattern))


def _checkpoints(home: Installation, name: str) -> list[Path]:
    return list(home.settings.models.glob(f"**/{name}-*/checkpoints/checkpoint-*"))


def _trainer_pid(home: Installation, name: str) -> int:
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        attempt = queries.open_attempt(ledger, queries.find_job(ledger, name).id)
    if attempt is None or attempt.trainer_pid is None:
        msg = f"job {name} has no trainer now; its log says why"
        raise RuntimeError(msg)
    return attempt.trainer_pid


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _call_off(home: Installation, name: str) -> None:
    """Cancel the job, and wait until its trainer has left the slot."""
    with Ledger.open(home.settings.ledger_path) as ledger:
        cancel(ledger, [name])
        until(lambda: queries.find_job(ledger, name).state.is_final, f"{name} to leave the slot", PATIENCE_S)
