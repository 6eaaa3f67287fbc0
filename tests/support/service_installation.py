"""Stand-ins for the service tests: a home folder in which the service managers' programs record their calls, and a
supervisor that runs an installed definition for real, by the managers' own restart rule.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import plistlib
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 60.0

RECORDING = '#!/bin/sh\necho "$(basename "$0") $*" >> "$HOME/commands"\n'
"""Each stand-in first records how it was called."""
LAUNCHCTL = (
    RECORDING
    + r"""
case "$1" in
  print-disabled)
    printf 'disabled services = {\n\t\t"com.apple.x" => enabled\n'
    test -e "$HOME/off" && printf '\t\t"org.cbi-queue.worker" => disabled\n'
    printf '\t}\n' ;;
  print)
    if test -e "$HOME/ending-${2##*/}"; then rm "$HOME/ending-${2##*/}" "$HOME/loaded-${2##*/}"; fi
    if ! test -e "$HOME/loaded-${2##*/}"; then
      printf 'Bad request.\nCould not find service "%s" in domain for user gui: 501\n' "${2##*/}" >&2; exit 113; fi
    test -e "$HOME/ended" && printf 'x = {\n\tstate = not running\n}\n' && exit
    printf 'x = {\n\tstate = running\n\tpid = 7\n}\n' ;;
  bootstrap)
    if test -e "$HOME/off" || test -e "$HOME/loaded-$(basename "$3" .plist)"; then
      echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; fi
    if test -e "$HOME/held"; then rm "$HOME/held"; echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; fi
    touch "$HOME/loaded-$(basename "$3" .plist)" ;;
  bootout)
    test -e "$HOME/loaded-${2##*/}" || { echo "Boot-out failed: 3: No such process" >&2; exit 3; }
    if test -e "$HOME/slow"; then
      touch "$HOME/ending-${2##*/}"; echo "Boot-out failed: 36: Operation now in progress" >&2; exit 36; fi
    rm "$HOME/loaded-${2##*/}" ;;
  kill) touch "$HOME/ended" ;;
  kickstart) rm -f "$HOME/ended" ;;
esac
"""
)
"""launchctl with the codes and words of macOS 15: labels that are loaded or not, one that may be `held` or `off`, a `slow` bootout,
and a job that ends when told to."""
SYSTEMCTL = (
    RECORDING
    + r"""
case "$2" in
  show) printf 'LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nNRestarts=3\nExecMainCode=0\nExecMainStatus=0\n' ;;
esac
"""
)
"""systemctl whose units all run."""
NO_BUS = RECORDING + 'echo "Failed to connect to bus: No medium found" >&2\nexit 1\n'
"""systemctl where there is no user manager."""
FILES = {
    "launchd": ("Library/LaunchAgents", "org.cbi-queue.worker.plist", "org.cbi-queue.api.plist"),
    "systemd": (".config/systemd/user", "cbi-queue-worker.service", "cbi-queue-api.service"),
}


@dataclass
class Home:
    """A user's home folder, with stand-ins for the programs of the service managers that record their calls."""

    path: Path

    @property
    def state_dir(self) -> Path:
        """A state folder whose name needs quoting."""
        return self.path / "state 100% of it"

    @property
    def commands(self) -> list[str]:
        """Return every call of a stand-in so far."""
        log = self.path / "commands"
        return log.read_text().splitlines() if log.exists() else []

    def put_program(self, name: str, script: str) -> None:
        """Put a stand-in first on the PATH of the service commands."""
        program = self.path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)

    def service(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `cbi-queue service` as the user of this home folder."""
        env = {
            "HOME": str(self.path),
            "PATH": f"{self.path}/bin:/usr/bin:/bin",
            "CBI_STATE_DIR": str(self.state_dir),
            "CBI_V14_REPO": str(self.path / "my repo"),
        }
        command = [sys.executable, "-m", "cbi_queue.cli", "service", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=PATIENCE_S)

    def files(self, manager: str) -> list[Path]:
        """Return the definitions of the worker and of the status page."""
        folder, *names = FILES[manager]
        return [self.path / folder / name for name in names]


@dataclass(frozen=True)
class Job:
    """What a service manager reads from an installed definition."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    restarts_after: Callable[[int], bool]


def job_from_plist(path: Path) -> Job:
    """Read an agent as launchd does: literally."""
    plist = plistlib.loads(path.read_bytes())
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    return Job(
        plist["ProgramArguments"], plist["EnvironmentVariables"], plist["WorkingDirectory"], lambda code: code != 0
    )


def job_from_unit(path: Path) -> Job:
    """Read a unit as systemd does: words unquoted, %% halved, `:` taken off, Environment= adding up."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("Environment=")]
    unit = configparser.RawConfigParser(delimiters=["="])
    unit.read_string("\n".join(lines))
    service = unit["Service"]
    additions = [line for line in path.read_text().splitlines() if line.startswith("Environment=")]
    pairs = [word.split("=", 1) for line in additions for word in _words(line.removeprefix("Environment="))]
    program, *arguments = _words(service["ExecStart"])
    assert service["Restart"] == "on-failure"
    calm = {0, int(service["RestartPreventExitStatus"]), -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM}
    return Job(
        [program.removeprefix(":"), *arguments],
        dict(pairs),
        service["WorkingDirectory"].replace("%%", "%"),
        lambda code: code not in calm,
    )


def _words(text: str) -> list[str]:
    return [word.replace("%%", "%") for word in shlex.split(text)]


@dataclass
class Supervisor:
    """The restart rule of launchd and systemd, without their ten seconds between starts."""

    job: Job
    output: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    is_over: bool = False

    def run(self) -> None:
        """Start the job, and restart it after each exit that asks for it; four starts at most."""
        while len(self.processes) < 4:
            with self.output.open("ab") as stream:
                process = subprocess.Popen(
                    self.job.argv,
                    env=self.job.env,
                    cwd=self.job.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
            self.processes.append(process)
            self.exit_codes.append(process.wait())
            if self.is_over or not self.job.restarts_after(self.exit_codes[-1]):
                return


@contextlib.contextmanager
def supervised(job: Job, output: Path) -> Iterator[tuple[Supervisor, threading.Thread]]:
    """Supervise *job* while the block runs; afterwards no process of it is left."""
    supervisor = Supervisor(job, output)
    thread = threading.Thread(target=supervisor.run, name="supervisor")
    thread.start()
    try:
        yield supervisor, thread
    finally:
        supervisor.is_over = True
        while thread.is_alive():
            for process in supervisor.processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            thread.join(0.1)
