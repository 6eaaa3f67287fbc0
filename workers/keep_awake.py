"""Keep the machine awake while there is work: one sleep assertion of the system, held by the system's own tool.

macOS has `caffeinate`, Linux with systemd has `systemd-inhibit`. Each holds its assertion as long as the program that
it runs; here that is `cat`, which reads a pipe that only this process holds open. So the assertion ends when it is
released and when this process ends, however it ends. Where there is no such tool, or it may not be used, the log states
it once and training continues; the machine may then sleep as configured. The display may always sleep.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, HoldMode, JobState
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import Ledger

logger = logging.getLogger(__name__)

HOLDS_WHILE_READ = "cat"
"""Reads the pipe; when it ends, the assertion ends."""
MACOS = ("caffeinate", "-i", HOLDS_WHILE_READ)
"""`-i`: no idle sleep. A Mac mini, or a MacBook with its lid open, stays awake; a closed lid still means sleep."""
LINUX = (
    "systemd-inhibit",
    "--what=idle:sleep",
    "--who=cbi-queue",
    "--why=a model is being trained",
    "--mode=block",
    HOLDS_WHILE_READ,
)
"""`sleep` besides `idle`: desktops request sleep themselves, and only that lock prevents it."""
AWAKE_CHECK_S = 1.0
"""Seconds between checks whether the machine is to stay awake; it takes minutes to fall asleep."""
MOST_LOSSES = 3
"""Times that the tool may be ended by others before the assertion is given up."""
TRY_AGAIN_S = 600.0
"""Seconds after which an assertion that was given up is tried again: at boot the bus may start after the daemon."""
EXIT_S = 1.0
"""Seconds that the tool gets to exit once its pipe is closed; it needs milliseconds."""
_ERROR_BYTES = 500


def continues_unattended(ledger: Ledger) -> bool:
    """Return True if there is work that continues, or will, without a user: then the machine must not fall asleep.

    A hold of the governor ends by itself, and so does the wait before a retry. Other holds, and a job that lacks
    memory, wait for a user: to resume, to mount a disk, to make room.

    Raises:
        sqlite3.Error: when the ledger cannot be read.
    """
    others = [hold.mode for hold in holds_in_force(ledger) if hold.reason not in HOLDS_OF_THE_GOVERNOR]
    job = queries.job_in_slot(ledger)
    if job is None:
        return not others and queries.is_job_coming(ledger)
    return job.state is JobState.RUNNING or all(mode is HoldMode.DRAIN for mode in others)


def awake_command(platform: str = sys.platform) -> tuple[str, ...]:
    """Return the command that keeps a machine of *platform* awake until its standard input ends."""
    return MACOS if platform == "darwin" else LINUX


class KeepAwake:
    """The assertion: held or not. `hold` and `release` may be called twice and never raise."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Use *command*, which holds the assertion until its standard input ends; None: the system's own."""
        self._command = tuple(command or awake_command())
        self._process: subprocess.Popen[bytes] | None = None
        self._losses = 0
        self._given_up_until_s: float | None = None
        self._logged = ""

    @property
    def is_held(self) -> bool:
        """True while the tool runs."""
        return self._process is not None and self._process.poll() is None

    def follow(self, ledger: Ledger) -> None:
        """Hold it while the work continues unattended; release it otherwise.

        Raises:
            sqlite3.Error: when the ledger cannot be read; the assertion stays as it is.
        """
        if continues_unattended(ledger):
            self.hold()
        else:
            self.release()

    def hold(self) -> None:
        """Keep the machine awake from now on; called at every check, so that a lost assertion is taken again."""
        if self._process is not None and self._process.poll() is not None:
            self._count_loss(self._process)
            self._end_tool()
        if self._given_up_until_s is not None and clock.monotonic_s() >= self._given_up_until_s:
            self._losses, self._given_up_until_s = 0, None
        if self._process is None and self._given_up_until_s is None:
            self._take()

    def release(self) -> None:
        """Allow the machine to sleep. An assertion that was given up is tried again at the next `hold`."""
        self._end_tool()
        self._losses, self._given_up_until_s = 0, None

    def _take(self) -> None:
        tool = shutil.which(self._command[0])
        if tool is None:
            self._give_up(f"{self._command[0]} is not installed")
            return
        try:
            self._process = subprocess.Popen(
                [tool, *self._command[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # away from Ctrl-C, and from a terminal on which it could ask for a password
            )
        except OSError as exc:
            self._give_up(f"{tool} cannot be started: {plain_words(exc)}")

    def _count_loss(self, process: subprocess.Popen[bytes]) -> None:
        """Count that the tool has ended without being released: it refused, or was ended by others."""
        self._losses += 1
        if process.returncode > 0:
            self._give_up(f"{self._command[0]} refused: {_error_output(process) or f'exit {process.returncode}'}")
        elif self._losses >= MOST_LOSSES:
            self._give_up(f"{self._command[0]} was ended {self._losses} times by another program or a user")

    def _give_up(self, why: str) -> None:
        self._given_up_until_s = clock.monotonic_s() + TRY_AGAIN_S
        if why != self._logged:
            self._logged = why
            logger.info("event=awake.unavailable why=%r", f"{why}; the machine may fall asleep while a model trains")

    def _end_tool(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            logger.warning("event=awake.stuck pid=%d why='it did not exit when released and is killed'", process.pid)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_S)


def _error_output(process: subprocess.Popen[bytes]) -> str:
    """Return what the ended tool printed; its child may still hold the pipe, so this never waits."""
    if process.stderr is None:
        return ""
    os.set_blocking(process.stderr.fileno(), False)
    return " ".join((process.stderr.read(_ERROR_BYTES) or b"").decode(errors="replace").split())
