"""Keep the machine from falling asleep while work goes on: one assertion of the system's, held by its own tool.

macOS has `caffeinate`, Linux with systemd has `systemd-inhibit`. Each holds its assertion for as long as the program
that it runs; ours is `cat`, which reads a pipe that this process alone holds open. So the assertion ends when it is
released and when this process dies, however it dies. Where there is no such tool, or it may not be used, that is said
once in the log, and training goes on. The machine may then sleep as its owner set it. The display may always
sleep. Neighbours: `daemon`, whose main thread looks every second whether the work goes on by itself.
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import Ledger

logger = logging.getLogger(__name__)

HOLDS_WHILE_READ = "cat"
"""Reads the pipe; its end is the end of the assertion."""
MACOS = ("caffeinate", "-i", HOLDS_WHILE_READ)
"""`-i`: no idle sleep. A Mac mini or a MacBook with its lid open trains on; closing the lid still means sleep."""
LINUX = (
    "systemd-inhibit",
    "--what=idle:sleep",
    "--who=cbi-queue",
    "--why=a model is being trained",
    "--mode=block",
    HOLDS_WHILE_READ,
)
"""`sleep` beside `idle`: desktops suspend by asking for sleep themselves, and only that lock refuses them."""
AWAKE_LOOK_S = 1.0
"""Seconds between looks whether the machine is to stay awake; it takes minutes to fall asleep."""
MOST_LOSSES = 3
"""An assertion that somebody ended from outside is taken again, so many times."""
TRY_AGAIN_S = 600.0
"""Seconds after which what was given up is tried again: at boot the bus may come after the daemon."""
LEAVE_S = 1.0
"""Seconds that the tool gets to leave once its pipe is closed; it needs milliseconds."""
_WORDS_BYTES = 500


def goes_on_by_itself(ledger: Ledger) -> bool:
    """Tell whether there is work that goes on, or will, without anybody: then the machine must not fall asleep.

    A pause of the governor's ends by itself, and so do its holds on an empty slot and the wait before a retry. Whoever
    else holds the slot wants rest, or waits for somebody (a disk to be mounted); so does a job that lacks memory.

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
    """The assertion: held or not. Holding twice and releasing twice are fine, and neither ever raises."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Use *command*, which holds the assertion until its standard input ends; None: the system's own."""
        self._command = tuple(command or awake_command())
        self._process: subprocess.Popen[bytes] | None = None
        self._losses = 0
        self._given_up_until_s: float | None = None
        self._told = ""

    @property
    def is_held(self) -> bool:
        """True while the tool runs."""
        return self._process is not None and self._process.poll() is None

    def follow(self, ledger: Ledger) -> None:
        """Hold it while the work goes on by itself; release it while it stands for somebody, or nothing is left to do.

        Raises:
            sqlite3.Error: when the ledger cannot be read; the assertion stays as it is.
        """
        if goes_on_by_itself(ledger):
            self.hold()
        else:
            self.release()

    def hold(self) -> None:
        """Keep the machine awake from now on; called at every look, so that a lost assertion is taken again."""
        if self._process is not None and self._process.poll() is not None:
            self._count_loss(self._process)
            self._let_go()
        if self._given_up_until_s is not None and clock.monotonic_s() >= self._given_up_until_s:
            self._losses, self._given_up_until_s = 0, None
        if self._process is None and self._given_up_until_s is None:
            self._take()

    def release(self) -> None:
        """Let the machine sleep as it likes. What was given up is tried again at the next `hold`."""
        self._let_go()
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
                start_new_session=True,  # out of reach of Ctrl-C, and of a terminal that it could ask for a password
            )
        except OSError as exc:
            self._give_up(f"{tool} cannot be started: {exc}")

    def _count_loss(self, process: subprocess.Popen[bytes]) -> None:
        """Take in that the tool has ended by itself: refused (it says why), or ended by somebody."""
        self._losses += 1
        if process.returncode > 0:
            self._give_up(f"{self._command[0]} refused: {_last_words(process) or f'exit {process.returncode}'}")
        elif self._losses >= MOST_LOSSES:
            self._give_up(f"{self._command[0]} was ended {self._losses} times from outside")

    def _give_up(self, why: str) -> None:
        self._given_up_until_s = clock.monotonic_s() + TRY_AGAIN_S
        if why != self._told:
            self._told = why
            logger.info("event=awake.unavailable why=%r", f"{why}; the machine may fall asleep while a model trains")

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            logger.warning("event=awake.stuck pid=%d why='it did not leave when released; it is killed'", process.pid)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_S)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """Return what the ended tool said; what it ran may still hold the pipe, so this never waits."""
    if process.stderr is None:
        return ""
    os.set_blocking(process.stderr.fileno(), False)
    return " ".join((process.stderr.read(_WORDS_BYTES) or b"").decode(errors="replace").split())
