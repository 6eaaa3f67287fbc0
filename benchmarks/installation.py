"""A whole installation in a temporary folder, for benchmarks that need real daemons, trainers and commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger import Ledger
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.settings import Settings, load_settings
from cbi_queue.spec import DayPlan, JobSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEATURES = {"name": "features-1w", "family": "features", "model": "feature_cache", "horizon": "1w"}


@dataclass(frozen=True, slots=True)
class Installation:
    """State, data and models of its own below *root*; nothing of yours is read."""

    root: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process here: one thread a trainer, no settings from outside, compiled modules kept as
        an installed package has them.
        """
        foreign = ("CBI_", "EXTERNAL_DRIVE", "OMP_", "PYTHONDONTWRITEBYTECODE")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "CBI_STATE_DIR": str(self.root / "state"),
            "CBI_V14_REPO": str(self.root / "repo"),
            "CBI_CONFIG": str(self.root / "config.toml"),
            "CBI_THREADS": "1",
            "CBI_PAGE_READING": "open",  # whatever other accounts the machine has
        }

    @property
    def settings(self) -> Settings:
        """The settings that its processes see."""
        return load_settings(self.environ)

    def enqueue(self, *jobs: dict[str, Any]) -> None:
        """Put *jobs* into its queue."""
        with Ledger.open(self.settings.ledger_path) as ledger:
            enqueue(ledger, [plan_of(*jobs)])

    def furnish(self) -> None:
        """Build the sample exports from real daily series, and the feature cache of 1w through the queue."""
        self.settings.make_layout()
        raw, exports = str(self.settings.training_data / "raw"), str(self.settings.exports_dir)
        self.python("-m", "jobs.sample_data", "--raw", raw, "--exports", exports)
        self.enqueue(FEATURES)
        self.work_off()

    def work_off(self) -> None:
        """Run a real daemon until the queue is empty."""
        self.python("-m", "workers", "--quiet", "--until-empty")

    def python(self, *arguments: str) -> str:
        """Run this interpreter in the installation; return what it printed."""
        command = [sys.executable, "-P", *arguments]
        done = subprocess.run(
            command, env=self.environ, cwd=self.root, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        return done.stdout.decode()

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a long-running process of this interpreter for the body, then end it in good order."""
        child = subprocess.Popen(
            [sys.executable, "-P", *arguments],
            env=self.environ,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


@contextmanager
def installation() -> Iterator[Installation]:
    """Make an installation for the body; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="cbi-queue-bench-") as folder:
        made = Installation(Path(folder))
        (made.root / "config.toml").touch()
        made.settings.make_state_dir()
        yield made


def plan_of(*jobs: dict[str, Any]) -> DayPlan:
    """Make a day plan of *jobs*."""
    specs = tuple(JobSpec.model_validate({"day": 1, **job}) for job in jobs)
    return DayPlan(day=1, title="benchmark", source="benchmark", jobs=specs)


def week_of_jobs() -> list[dict[str, Any]]:
    """Write out 70 jobs like a week's: caches, bars that need them, and trees that differ in their parameters."""
    horizons = ("1w", "1m", "3m", "6m", "12m")
    jobs: list[dict[str, Any]] = []
    for horizon in horizons:
        cache = {"name": f"features-{horizon}", "family": "features", "model": "feature_cache", "horizon": horizon}
        shared = {"horizon": horizon, "needs": [cache["name"]]}
        bars = [
            {"name": f"{model}-{horizon}", "family": "statistical", "model": model, **shared}
            for model in ("naive", "seasonal_naive", "drift")
        ]
        trees = [
            {
                "name": f"lightgbm-{leaves}-{horizon}",
                "family": "trees",
                "model": "lightgbm_dart",
                "params": {"num_leaves": leaves},
                **shared,
            }
            for leaves in range(11, 21)
        ]
        jobs += [cache, *bars, *trees]
    return jobs


def until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Wait for *condition*.

    Raises:
        TimeoutError: naming what was awaited in vain.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {within_s:.0f} s in vain for {what}"
            raise TimeoutError(msg)
        time.sleep(0.02)
