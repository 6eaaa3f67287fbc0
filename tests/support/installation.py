"""A whole installation in a temporary folder, with its own state, data and models, and real daemons and commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.settings import Settings, load_settings
from cbi_queue.slot_lock import SlotLock
from cbi_queue.spec import DayPlan, JobSpec
from support.light_libraries import light_libraries
from support.waiting import STALLED_S, until

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow, EventRow, JobRow

NAIVE = {"family": "statistical", "model": "naive", "horizon": "1w"}
"""The shortest real job: about a second."""
NET = {
    "family": "simple_neural",
    "model": "feed_forward",
    "horizon": "1w",
    "params": {"epochs": 40, "patience": 40, "hidden": [32], "sequence_length": 4},
}
"""A real job that reports epochs and can be stopped anywhere."""
LASTING = """
import os, time
from cbi_queue.client import training
training.resume_from()
for epoch in training.epochs(EPOCHS):
    time.sleep(0.02)
    training.report(epoch, of=EPOCHS, loss=1 / epoch, validation_loss=2 / epoch)
    with training.save(epoch) as path:
        path.write_text(str(epoch))
    if os.path.exists(__file__ + ".enough"):
        break
"""
"""A script that reports and checkpoints EPOCHS epochs, or until it is told that they are enough."""
HOLD = """
import math, sys, time
from pathlib import Path
if "jobs" in sys.orig_argv:
    from cbi_queue.protocol import EpochReport
    from jobs.process.channel import Channel
    obeys, hears, tells = Channel.safe_point, Channel.wait_begin, Channel.report
    def wait_begin(self):
        begin, self.told = hears(self), 0
        self.held = Path(__file__).with_name(str(begin and begin.assignment.spec["name"]))
        return begin
    def report(self, message):
        tells(self, message)
        if isinstance(message, EpochReport):
            self.told += 1
    def held_after(self):
        try:
            return int(self.held.read_text())
        except FileNotFoundError:
            return math.inf
    def safe_point(self, epoch):
        obeys(self, epoch)
        while self.told >= held_after(self):
            time.sleep(0.01)
            obeys(self, epoch)
    Channel.wait_begin, Channel.safe_point, Channel.report = wait_begin, safe_point, report
"""
"""Makes trainers of the jobs that have a file beside it wait at a safe point, where they obey; run as Python starts."""


@dataclass
class Installation:
    """One installation; `daemons`, and commands put among them, are killed at the end of the test."""

    root: Path
    overrides: dict[str, str] = field(default_factory=dict)
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every command here."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("CBI_", "EXTERNAL_DRIVE"))},
            "CBI_STATE_DIR": str(self.root / "state"),
            "CBI_V14_REPO": str(self.root / "repo"),
            "CBI_CONFIG": str(self._config()),
            "CBI_BACKOFF_S": "0.2",
            "CBI_GRACE_S": "8",
            "CBI_THREADS": "1",
            "CBI_GOVERNOR": "off",  # other work on the machine would show in the stories; governed tests switch it on
            "CBI_OVERLAP_LOG": str(self.overlap_log),
            "CBI_PAGE_READING": "open",  # whatever accounts the machine of the tests has
            "CBI_TRACKING": "off",  # a tracker takes seconds of processor time; the tests of tracking switch it on
            **self.overrides,
        }

    @property
    def settings(self) -> Settings:
        """The settings that its commands read."""
        return load_settings(self.environ)

    @property
    def overlap_log(self) -> Path:
        """File to which each trainer writes whether it is alone in the slot."""
        return self.root / "overlap.jsonl"

    def furnish(self, exports: Path, processed: Path) -> None:
        """Copy real exports and the feature cache into place."""
        settings = self.settings
        settings.make_layout()
        shutil.copytree(exports, settings.exports_dir, dirs_exist_ok=True)
        shutil.copytree(processed, settings.processed_dir, dirs_exist_ok=True)

    def enqueue(self, *jobs: dict[str, Any]) -> list[int]:
        """Enqueue *jobs* in this process; return their numbers."""
        specs = tuple(JobSpec.model_validate({"day": 1, **job}) for job in jobs)
        plan = DayPlan(day=1, title="test", source="test", jobs=specs)
        with self.ledger() as ledger:
            return [standing.job_id for standing in enqueue(ledger, [plan]).new]

    def lasting(self, name: str, epochs: int = 100_000) -> dict[str, Any]:
        """A job that reports epochs, checkpoints and obeys orders, where any trainer will do: no library is imported.

        By default it lasts longer than any test, unless `let_end` is called.
        """
        script = self.root / f"{name}.py"
        script.write_text(LASTING.replace("EPOCHS", str(epochs)))
        params = {"command": [sys.executable, script.name], "workdir": str(self.root)}
        return {"family": "script", "model": "command", "horizon": "-", "name": name, "params": params}

    def hold(self, name: str, *, after: int) -> None:
        """Have every trainer of a job stand still when it has reported *after* epochs, obeying orders, until `let_end`."""
        folder = self.root / "hold"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HOLD)
        (folder / "part").write_text(str(after))
        (folder / "part").replace(folder / name)
        self.overrides["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), self.overrides.get("PYTHONPATH")]))

    def let_end(self, name: str) -> None:
        """Have a `lasting` job end after its present epoch, and one on `hold` go on."""
        (self.root / f"{name}.py.enough").touch()
        (self.root / "hold" / name).unlink(missing_ok=True)

    def ledger(self) -> Ledger:
        """Open the ledger for writing."""
        self.settings.make_state_dir()
        return Ledger.open(self.settings.ledger_path)

    def start_daemon(self, *arguments: str, wait: bool = True) -> subprocess.Popen[bytes]:
        """Start a real daemon; by default wait until it holds the slot."""
        command = [sys.executable, "-P", "-m", "workers", "--quiet", *arguments]
        daemon = subprocess.Popen(
            command, env=self.environ, cwd=self.root, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.daemons.append(daemon)
        if wait:
            until(lambda: self._holder_is(daemon.pid) or daemon.poll() is not None, "the daemon holds the slot")
        return daemon

    def cli(self, *arguments: str, code: int = 0, within_s: float = 120.0) -> str:
        """Run a real `cbi-queue` command; its exit code must be *code*."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cbi_queue.cli", *arguments],
            env=self.environ, cwd=self.root, capture_output=True, text=True, check=False, timeout=within_s,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def doctor(self, *arguments: str, code: int = 0) -> str:
        """Run `cbi-queue doctor`, which is quick because it finds empty libraries, for tests about something else."""
        usual = self.overrides
        self.overrides = {**usual, **light_libraries()}
        try:
            return self.cli("doctor", *arguments, code=code)
        finally:
            self.overrides = usual

    def job(self, name: object) -> JobRow:
        """Return the row of one job."""
        with Ledger.open_readonly(self.settings.ledger_path) as ledger:
            return queries.find_job(ledger, str(name))

    def attempts(self, name: object) -> list[AttemptRow]:
        """Return a job's attempts, oldest first."""
        with Ledger.open_readonly(self.settings.ledger_path) as ledger:
            return queries.attempts_of(ledger, queries.find_job(ledger, str(name)).id)

    def events(self, name: object) -> list[EventRow]:
        """Return a job's events, oldest first."""
        with Ledger.open_readonly(self.settings.ledger_path) as ledger:
            return queries.events_of(ledger, queries.find_job(ledger, str(name)).id)

    def until_state(self, name: object, *states: str, within_s: float = STALLED_S) -> JobRow:
        """Wait until a job is in one of *states*; return its row."""

        def look() -> JobRow | None:
            job = self.job(name)
            return job if job.state in states else None

        try:
            return until(look, f"job {name} is {' or '.join(states)}", within_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; it is {self.job(name).state}\n{self.story(name)}") from None

    def until_epoch(self, name: object, epoch: int, within_s: float = STALLED_S) -> None:
        """Wait until the running attempt of a job has reported *epoch* epochs."""
        from support.telemetry_rows import epochs_of

        def reached() -> bool:
            number = len(self.attempts(name))
            rows = epochs_of(self.settings.telemetry_path, self.job(name).id)
            return any(row.attempt == number and row.epoch >= epoch for row in rows)

        until(reached, f"epoch {epoch} of job {name}", within_s)

    def trainer(self, name: object) -> ProcessIdentity:
        """Wait until a process trains a job; return its identity."""

        def find() -> ProcessIdentity | None:
            attempts = self.attempts(name)
            if not attempts or attempts[-1].trainer_pid is None or attempts[-1].ended_at is not None:
                return None
            return ProcessIdentity(attempts[-1].trainer_pid, attempts[-1].trainer_started or 0.0)

        return until(find, f"a trainer of job {name}")

    def trainer_at_work(self, name: object) -> ProcessIdentity:
        """Wait until a job's trainer has read its assignment, and no longer needs its daemon; return its identity.

        The daemon records the process before it sends the assignment; a daemon stopped in between would leave a trainer
        that waits for it.
        """
        trainer = self.trainer(name)
        until(
            lambda: any(entry["pid"] == trainer.pid for entry in self.overlaps()), f"the trainer of job {name} begins"
        )
        return trainer

    def log_of(self, name: object) -> Path:
        """Return the log file of a job's newest attempt."""
        return Path(self.attempts(name)[-1].log_path or "")

    def story(self, name: object) -> str:
        """Return the events of a job and the end of the daemon's log, for messages of failed tests."""
        lines = [f"{e.event} {e.reason} {e.source}->{e.target} {e.words}" for e in self.events(name)]
        log = self.settings.daemon_log_path
        tail = log.read_text().splitlines()[-20:] if log.exists() else []
        return "\n".join([*lines, *tail])

    def overlaps(self) -> list[dict[str, Any]]:
        """Return what the trainers wrote about being alone in the slot."""
        if not self.overlap_log.exists():
            return []
        return [json.loads(line) for line in self.overlap_log.read_text().splitlines()]

    def close(self) -> None:
        """End every daemon and command, close its pipes, and end every trainer."""
        for daemon in self.daemons:
            with daemon:
                if daemon.poll() is None:
                    daemon.send_signal(signal.SIGCONT)
                    daemon.kill()
        self._end_trainers()

    def _end_trainers(self) -> None:
        if not self.settings.ledger_path.exists():
            return
        with Ledger.open_readonly(self.settings.ledger_path) as ledger:
            rows = ledger.conn.execute("SELECT trainer_pid, trainer_started FROM attempts").fetchall()
        for pid, started in rows:
            if pid is not None:
                identity = ProcessIdentity(pid, started)
                identity.signal_group(signal.SIGCONT)
                identity.kill_tree()

    def _holder_is(self, pid: int) -> bool:
        holder = SlotLock(self.settings.lock_path).holder()
        return holder is not None and holder.pid == pid

    def _config(self) -> Path:
        path = self.root / "config.toml"
        if not path.exists():
            path.write_text("")
        return path
