"""A separate queue for tests of the status page: real settings, a real ledger, jobs moved through its own functions."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger import Ledger, claims, queries, settlement
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import EpochReport
from cbi_queue.settings import Settings, load_settings
from cbi_queue.slot_lock import SlotLock
from cbi_queue.spec import DayPlan, JobSpec
from cbi_queue.telemetry.governor_log import record_standing
from cbi_queue.telemetry.telemetry import Telemetry
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.installation import Installation

STARTS_WITHIN_S = 60.0
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
"""What a browser accepts."""
JOB = {"day": 1, "family": "trees", "model": "lightgbm_dart", "horizon": "1w"}


_ports = itertools.count(os.getpid() * 4001)


def free_port() -> int:
    """A port that is free now, and that no system hands out by itself; each worker of the tests begins elsewhere."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 20_000 + next(_ports) % 12_000)) as found:
            return int(found.getsockname()[1])


def scores(
    skill: float, *, rows: int = 504, validation: float | None = None, se: float | None = None, p: float | None = None
) -> dict[str, Any]:
    """Return metrics as a scored run of 1w stores them, better by *skill* than naive's MAE of 2 and RMSE of 3.

    *validation* is the skill there, if it is another; *se* and *p* are how sure the skill is, if that was computed.
    """
    naive = {"mae": 2.0, "rmse": 3.0, "mase": 1.0, "mape_pct": 4.0, "rows": rows, "directional_accuracy": None}
    own = {
        **{key: naive[key] * (1 - skill) for key in ("mae", "rmse", "mase", "mape_pct")},
        "skill_mae": skill, "skill_rmse": skill, "skill_mape": skill,
        "rows": rows, "directional_accuracy": 0.55, "sharpe": 0.4,
    }  # fmt: skip
    if se is not None:
        own |= {"skill_low": skill - 2 * se, "skill_high": skill + 2 * se, "skill_se": se}
    if p is not None:
        own |= {"skill_independent": rows / 5, "skill_p_value": p, "skill_dm_p_value": p}
    selected = own if validation is None else {**own, "skill_mae": validation}
    return {"backtest": own, "validation": selected, "naive": {"backtest": naive, "validation": naive}, "fit_s": 1.5}


@functools.cache
def _empty_ledger() -> bytes:
    """A ledger as a first command creates it; created once, because migrating is the slowest part of these tests."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.db") as ledger:
        return ledger.conn.serialize()


class ApiInstallation:
    """Settings below one folder, and the changes that a test makes to the queue there."""

    def __init__(self, path: Path) -> None:
        config = path / "config.toml"
        config.touch()
        self.port = free_port()
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("CBI_", "EXTERNAL_DRIVE"))},
            "CBI_CONFIG": str(config),
            "CBI_STATE_DIR": str(path / "state"),
            "CBI_V14_REPO": str(path / "repo"),
            "CBI_PAGE_READING": "open",  # whatever accounts the machine of the tests has
            "CBI_PORT": str(self.port),
        }
        self.settings: Settings = load_settings(self.environ)
        self.settings.make_layout()
        self.settings.ledger_path.write_bytes(_empty_ledger())
        self.url = f"http://127.0.0.1:{self.port}"

    @classmethod
    def over(cls, installation: Installation) -> ApiInstallation:
        """Serve an installation that is there already, with its real daemon."""
        site = cls.__new__(cls)
        site.port = free_port()
        site.environ = {**installation.environ, "CBI_PORT": str(site.port)}
        site.settings, site.url = installation.settings, f"http://127.0.0.1:{site.port}"
        return site

    def enqueue(self, *jobs: dict[str, Any]) -> None:
        """Enqueue jobs; JOB fills in the keys that a job leaves out."""
        specs = tuple(JobSpec.model_validate({**JOB, **job}) for job in jobs)
        with self.ledger() as ledger:
            enqueue(ledger, [DayPlan(day=1, title="test", source="test.yaml", jobs=specs)])

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the ledger for writing."""
        with Ledger.open(self.settings.ledger_path) as ledger:
            yield ledger

    def start_next(self, log: str | None = None, log_path: Path | None = None) -> str:
        """Claim the next job as the slot does, and record a trainer that does not exist; return the job's name."""
        with self.ledger() as ledger:
            job = claims.peek(ledger)
            assert job is not None
            attempt = claims.claim(ledger, job.id)
            assert attempt is not None
            path = log_path or self.settings.training_log_dir / f"{job.name}-attempt-{attempt.number}.log"
            if log is not None:
                path.write_text(log)
            claims.record_trainer(
                ledger, attempt.id, pid=1, started=0.0, log_path=str(path), run_dir="/nowhere", settings={"threads": 1}
            )
        return job.name

    def report(self, name: str, losses: list[float], *, total_epochs: int = 20) -> None:
        """Record one epoch for each of *losses*, from epoch 1, for the running attempt of *name*."""
        with self.ledger() as ledger:
            job = queries.find_job(ledger, name)
        telemetry = Telemetry(self.settings.telemetry_path)
        for epoch, loss in enumerate(losses, start=1):
            report = EpochReport(epoch, total_epochs, 2.0, samples=1000, train_loss=loss / 2, validation_loss=loss)
            telemetry.record(job.id, job.attempts, "epoch", report)
        telemetry.close()

    def stand(self, job_id: int | None, age_s: float = 0.0, **standing: Any) -> None:
        """Record what a running daemon reports about a job, *age_s* seconds ago: calm, and no readings."""
        calm = {
            "mode": "on", "profile": "test", "job_id": job_id, "readings": {}, "cost_share": 0.013,
            "rung": "full speed",
            "duty": 1.0, "micro_batch": 32, "factor": None, "since_epoch": None, "confidence": None, "cause": None,
            "evidence": [],
        }  # fmt: skip
        telemetry = Telemetry(self.settings.telemetry_path)
        record_standing(telemetry, {**calm, **standing})
        telemetry.write("UPDATE standing SET at = at - ?", (age_s,))
        telemetry.close()

    def finish(self, name: str, metrics: dict[str, Any]) -> None:
        """Settle the job in the slot as succeeded."""
        with self.ledger() as ledger:
            settlement.finish(ledger, queries.find_job(ledger, name).id, metrics=metrics)

    def fail(self, name: str, error: str) -> None:
        """Settle the job in the slot as failed."""
        with self.ledger() as ledger:
            settlement.fail(ledger, queries.find_job(ledger, name).id, Outcome.ERROR, Reason.BROKEN_SPEC, error)

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Hold the slot's lock, as a running daemon does."""
        lock = SlotLock(self.settings.lock_path)
        assert lock.try_acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def server(self, first: str = "") -> Iterator[subprocess.Popen[str]]:
        """Run a real server process; end it with SIGTERM, as service managers do.

        *first* is Python that it runs before: to shorten a time that a test would have to wait for.
        """
        program = f"{first}\nimport sys\nfrom cbi_queue.api.__main__ import main\nsys.exit(main([]))"
        process = subprocess.Popen(
            [sys.executable, "-P", *(("-c", program) if first else ("-m", "cbi_queue.api"))],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self._await_answer(process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=STARTS_WITHIN_S)

    def _await_answer(self, process: subprocess.Popen[str]) -> None:
        def answers() -> bool:
            assert process.poll() is None, process.communicate()[0]
            try:
                with urllib.request.urlopen(f"{self.url}/static/icon.svg", timeout=5):
                    return True
            except OSError:
                return False

        until(answers, f"an answer of {self.url}", STARTS_WITHIN_S)
