"""A storm: small real jobs of many models, while daemon, trainer or both are killed at random moments."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cbi_queue.artifacts import sha256_of
from cbi_queue.datasets.headlines import SCORES
from cbi_queue.datasets.place import of_dataset
from cbi_queue.ledger import Ledger, queries
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import SHIPPED
from cbi_queue.models.kinds import MIXTURE, REPORTING, Family
from cbi_queue.process_identity import ProcessIdentity
from jobs.data.headlines import read_scores
from support.headlines import give_headlines
from support.telemetry_rows import epochs_of

if TYPE_CHECKING:
    from support.installation import Installation

REFERENCE = "undisturbed"
FEATURES_HORIZON = "1m"
"""Horizon of the features jobs: the others read the cache of 1w, so theirs can be deleted and built again."""
KINDS = ("daemon", "trainer", "both")
LONGEST_LIFE_S, SHORT_LIFE_S = 6.0, 0.5
MOST_A_JOB = 2
"""Kills of one job; then it is let through, so that the kills come to all of them."""
_WALK = {"scheme": "walk_forward", "backtest_rows": 126, "refit_every_rows": 63, "final_block_rows": 0}
"""Several fits a job: what is killed after one of them goes on from there, which is what the comparison is about."""
_EPOCHS = {**_WALK, "epochs": 6, "patience": 6, "sequence_length": 4, "batch_size": 256, "shrink": False}
_FITS = {"refit_every_rows": 252, "history_rows": 120, "season_rows": 1}
_PARAMS: dict[str, dict[str, Any]] = {
    "lightgbm_dart": {**_WALK, "n_estimators": 60, "num_leaves": 7, "max_depth": 3, "early_stopping_rounds": None},
    "xgboost_dart": {**_WALK, "n_estimators": 30, "max_depth": 3, "early_stopping_rounds": None},
    "auto_arima": {**_FITS, "max_p": 1, "max_q": 1},
    "ets": _FITS,
    "feed_forward": {**_EPOCHS, "epochs": 25, "patience": 25, "hidden": [32]},
    **{each: {**_EPOCHS, "hidden_size": 8} for each in ("lstm", "gru", "lstm_2_layer", "gru_2_layer")},
    "tcn": {**_EPOCHS, "channels": 8, "dilations": [1, 2]},
    "attention": {**_EPOCHS, "d_model": 8, "layers": 1},
    "regime_lightgbm": {**_WALK, "n_estimators": 30, "early_stopping_rounds": None},
    **{each: {**_EPOCHS, "hidden_size": 8} for each in ("regime_lstm", "regime_gru")},
    "regime_mixture": {**_WALK, "shrink": False},
}


SCRIPT = """
import time
from cbi_queue.client import training
path = training.resume_from()
state = int(path.read_text()) if path else 1
for epoch in training.epochs(EPOCHS):
    time.sleep(0.1)
    state = (state * 6364136223846793005 + epoch) % 2**53
    training.report(epoch, of=EPOCHS, loss=1 / epoch)
    with training.save(epoch) as path:
        path.write_text(str(state))
training.metric("state", state)
""".replace("EPOCHS", "40")
"""A script whose result shows every epoch, each once and in order."""
NEWS = "news"
"""Data set of the headlines: they would change the features of the others."""
_MORE_REGIMES = ("crisis", "bull", "bear")
_MEMBERS = ("drift", "theta")
"""What the ensembles combine."""
_STUDY = {"search_trials": 3, "search_folds": 2}

EVERY_MODEL = tuple(model for model, entry in SHIPPED.items() if entry.family not in REPORTING)
"""Those that train something."""


def one_of_each_file(seed: int) -> tuple[str, ...]:
    """Draw a model of each file of `jobs/families`: those of one file continue after a kill by the same code.

    The mixture of regimes, which needs five other jobs and begins from the start, is left to the storm over every model.
    """
    dice = random.Random(seed)
    files: dict[str, list[str]] = {}
    for model in EVERY_MODEL:
        files.setdefault(next(iter(SHIPPED[model].trainers.values())).partition(":")[0], []).append(model)
    drawn = {dice.choice(models) for models in files.values()} - {MIXTURE}
    return tuple(model for model in EVERY_MODEL if model in drawn or model in _MEMBERS)


def jobs_of(
    batch: object, folder: Path, backends: tuple[str, ...] = (), models: tuple[str, ...] = EVERY_MODEL
) -> list[dict[str, Any]]:
    """One small job of each of *models*, more for each of *backends* that it has; the script is in *folder*."""
    jobs = []
    for model in models:
        entry = SHIPPED[model]
        horizon = FEATURES_HORIZON if model == "feature_cache" else "1w"
        job: dict[str, Any] = {
            "family": str(entry.family),
            "model": model,
            "horizon": horizon,
            "params": _PARAMS.get(model, {}),
        }
        if entry.family == Family.SCRIPT:
            job |= {"horizon": "-", "params": {"command": [sys.executable, "script.py"], "workdir": str(folder)}}
        if entry.family == Family.SENTIMENT:
            job["dataset"] = NEWS
        if entry.family == Family.META:
            job["after"] = [f"{batch}-{member}" for member in _MEMBERS]
        if model == MIXTURE:
            parts = ["regime_lightgbm", "regime_gru", *(f"regime_gru-{regime}" for regime in _MORE_REGIMES)]
            job["needs"] = [f"{batch}-{part}" for part in parts]
        jobs.append({**job, "name": f"{batch}-{model}"})
        if model == "lightgbm_dart":
            jobs.append({**job, "name": f"{batch}-{model}-study", "params": {**job["params"], **_STUDY}})
        if model == "regime_gru" and MIXTURE in models:  # of the regime "normal"; the others complete a mixture
            jobs += [
                {**job, "name": f"{batch}-{model}-{regime}", "params": {**job["params"], "regime": regime}}
                for regime in _MORE_REGIMES
            ]
        jobs += [
            {**job, "name": f"{batch}-{model}-{backend}", "backend": backend}
            for backend in backends
            if backend in entry.trainers
        ]
    return jobs


@dataclass
class Row:
    """What the storm did to one kind of job."""

    jobs: int = 0
    attempts: int = 0
    restored: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    changed: list[str] = field(default_factory=list)


@dataclass
class Storm:
    """One storm over one installation."""

    installation: Installation
    seed: int
    backends: tuple[str, ...] = ()
    models: tuple[str, ...] = EVERY_MODEL
    kills: Counter[str] = field(default_factory=Counter)
    rows: dict[str, Row] = field(default_factory=dict)
    batches: int = 0
    compared: int = 0

    def __post_init__(self) -> None:
        """Seed the dice."""
        self._dice = random.Random(self.seed)
        self._shared: object = None
        self._hits: Counter[str] = Counter()

    def rage(self, kills: int) -> None:
        """Run every job undisturbed; then kill *kills* times over batches of the same jobs, and let the last one finish."""
        self._furnish()
        self._enqueue(REFERENCE)
        assert self._daemon().wait(1800) == 0, self._unsuccessful()
        self._shared = self._made_for_others()
        while self.kills.total() < kills:
            self._enqueue(f"storm{self.batches}")
            while self.is_busy() and self.kills.total() < kills:
                self.strike()
            self._finish()

    def faults(self) -> list[str]:
        """Compare everything with the undisturbed run; return what was lost, doubled, changed or ran side by side."""
        with Ledger.open_readonly(self.installation.settings.ledger_path) as ledger:
            query = "SELECT id, name, state FROM jobs"
            jobs = {row["id"]: (row["name"], row["state"]) for row in ledger.conn.execute(query)}
            query = "SELECT job_id, COUNT(*) n, SUM(outcome = 'success') won FROM attempts GROUP BY job_id"
            attempts = {row["job_id"]: (row["n"], row["won"]) for row in ledger.conn.execute(query)}
            query = "SELECT job_id, SUM(event = 'finish') f, SUM(event = 'restored') r FROM events GROUP BY job_id"
            events = {row["job_id"]: (row["f"], row["r"]) for row in ledger.conn.execute(query)}
            found = (
                [] if ledger.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok" else ["the ledger is damaged"]
            )
        for number, (name, state) in jobs.items():
            row = self._row(name)
            (tries, won), (finished, restored) = attempts.get(number, (0, 0)), events.get(number, (0, 0))
            row.jobs, row.attempts, row.restored = row.jobs + 1, row.attempts + tries, row.restored + restored
            if state != JobState.SUCCEEDED:
                found.append(f"lost: {name} is {state}")
            elif (won, finished) != (1, 1):
                found.append(f"doubled: {name} has {won} successes and {finished} ends")
            elif not name.startswith(REFERENCE):
                self.compared += 1
                if not self._is_same(name):
                    row.changed.append(name)
        found += [f"changed: {name}" for row in self.rows.values() for name in row.changed]
        found += ["two trainers at once" for entry in self.installation.overlaps() if not entry["alone"]]
        return found

    def table(self) -> str:
        """What happened to each kind of job, after `faults`; at most 80 columns."""
        head = f"{'job':<26} {'continues':<10} {'jobs':>4} {'tries':>5} {'resumed':>7} {'killed with':>13}  changed"
        lines = [head]
        for kind, row in self.rows.items():
            model = kind.partition("-")[0]
            struck = "/".join(str(row.kills[each]) for each in KINDS)
            begins = SHIPPED[model].resumes_from
            lines.append(
                f"{kind:<26} {begins:<10} {row.jobs:>4} {row.attempts:>5} {row.restored:>7} {struck:>13}  {len(row.changed)}"
            )
        struck = ", ".join(f"{self.kills[each]} {each}" for each in KINDS)
        lines.append(f"killed with: daemon/trainer/both. Seed {self.seed}; {self.kills.total()} kills: {struck}.")
        lines.append(
            f"{self.compared} jobs compared with the undisturbed run, bit for bit: forecasts, figures, scores, caches."
        )
        return "\n".join(lines)

    def strike(self, longest_life_s: float = LONGEST_LIFE_S) -> None:
        """Start a daemon, and kill it, its trainer or both after a random time of at most *longest_life_s* seconds.

        Half of the kills wait until the trainer has reported work, a quarter of the daemons are killed while they start,
        and a job that was hit often enough is let through.
        """
        daemon, kind = self._daemon(wait=self._dice.random() < 0.75), self._dice.choice(KINDS)
        at_work = self._dice.random() < 0.5
        while daemon.poll() is None:
            try:
                daemon.wait(self._dice.uniform(0.05, SHORT_LIFE_S if at_work else longest_life_s))
            except subprocess.TimeoutExpired:
                job, trainer, is_at_work = self._in_slot()
                if is_at_work >= at_work and (job is None or self._hits[job] < MOST_A_JOB):
                    self._kill(daemon, kind, job, trainer)
        daemon.wait(60)

    def _kill(
        self, daemon: subprocess.Popen[bytes], kind: str, job: str | None, trainer: ProcessIdentity | None
    ) -> None:
        if trainer is None:
            kind = "daemon"
        elif kind != "daemon":
            trainer.signal_group(signal.SIGKILL)
        if kind == "trainer":
            time.sleep(self._dice.uniform(0.0, 1.0))  # the daemon settles it, or is stopped while it does
            daemon.send_signal(signal.SIGTERM)
        else:
            daemon.kill()
        self.kills[kind] += 1
        if job is not None:
            self._hits[job] += 1
            self._row(job).kills[kind] += 1
        daemon.wait(60)

    def _furnish(self) -> None:
        """Write the script, and make a data set with headlines."""
        root, settings = self.installation.root, self.installation.settings
        (root / "script.py").write_text(SCRIPT)
        exports = shutil.copytree(settings.exports_dir, of_dataset(settings.exports_dir, NEWS), dirs_exist_ok=True)
        give_headlines(exports, root / "tiny", days=100)

    def _finish(self) -> None:
        for _ in range(5):
            if not self.is_busy():
                break
            self._daemon().wait(1800)
        if self._made_for_others() != self._shared:
            self._row("x-feature_cache").changed.append(f"the cache or the scores after batch {self.batches}")

    def _enqueue(self, batch: str) -> None:
        for path in self._cache().parent.glob(f"{FEATURES_HORIZON}_features*"):
            path.unlink()
        self._scores().unlink(missing_ok=True)
        jobs = jobs_of(batch, self.installation.root, self.backends, self.models)
        self._dice.shuffle(jobs)  # the first ones of a batch are hit most
        self.installation.enqueue(*jobs)
        self.batches += 1

    def _daemon(self, *, wait: bool = False) -> subprocess.Popen[bytes]:
        return self.installation.start_daemon("--until-empty", wait=wait)

    def is_busy(self) -> bool:
        """Return True while a job has not ended; one that is held or waits after several kills is released."""
        with self.installation.ledger() as ledger:
            held = [r["name"] for r in ledger.conn.execute("SELECT name FROM jobs WHERE state = 'held'")]
            query = "SELECT name FROM jobs WHERE state = 'queued' AND not_before IS NOT NULL"
            late = [r["name"] for r in ledger.conn.execute(query)]
            query = "SELECT COUNT(*) FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'vetoed', 'cancelled')"
            busy = ledger.conn.execute(query).fetchone()[0] > 0
        if late:
            self.installation.cli("hold", *late)
        if held or late:
            self.installation.cli("release", *held, *late)
        return busy

    def _in_slot(self) -> tuple[str | None, ProcessIdentity | None, bool]:
        """Return the job in the slot, its trainer, and whether that has reported work."""
        settings = self.installation.settings
        with Ledger.open_readonly(settings.ledger_path) as ledger:
            row = ledger.conn.execute(
                "SELECT job_id, name, number, trainer_pid, trainer_started FROM attempts JOIN jobs ON jobs.id = job_id "
                "WHERE attempts.ended_at IS NULL"
            ).fetchone()
        if row is None or row["trainer_pid"] is None:
            return row and row["name"], None, False
        reports = epochs_of(settings.telemetry_path, row["job_id"])
        is_at_work = any(report.attempt == row["number"] for report in reports)
        return row["name"], ProcessIdentity(row["trainer_pid"], row["trainer_started"]), is_at_work

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name.partition("-")[2], Row())

    def _unsuccessful(self) -> str:
        with Ledger.open_readonly(self.installation.settings.ledger_path) as ledger:
            rows = ledger.conn.execute("SELECT name, state FROM jobs WHERE state != 'succeeded'").fetchall()
        return "; ".join(f"{r['name']} {r['state']}\n{self.installation.story(r['name'])}" for r in rows)

    def _cache(self) -> Path:
        return self.installation.settings.processed_dir / f"{FEATURES_HORIZON}_features.parquet"

    def _scores(self) -> Path:
        return of_dataset(self.installation.settings.processed_dir, NEWS) / SCORES

    def _made_for_others(self) -> object:
        """The cache and the scores of the headlines, bit for bit."""
        cache = sha256_of(self._cache()) if self._cache().exists() else None
        return cache, read_scores(self._scores()) if self._scores().exists() else None

    def _is_same(self, name: str) -> bool:
        kind = name.partition("-")[2]
        return kind in {"feature_cache", "finbert"} or self._forecast(name) == self._forecast(f"{REFERENCE}-{kind}")

    def _forecast(self, name: str) -> list[bytes]:
        """Every column of a job's predictions, bit for bit; the figure of a script."""
        with Ledger.open_readonly(self.installation.settings.ledger_path) as ledger:
            folder = Path(queries.find_job(ledger, name).run_dir or "")
        if name.endswith("-command"):
            return [str(json.loads((folder / "metrics.json").read_text())["state"]).encode()]
        table = pl.read_parquet(folder / "predictions.parquet")
        return [column.name.encode() + column.to_numpy().tobytes() for column in table if column.dtype != pl.String] + [
            str(column.to_list()).encode() for column in table if column.dtype == pl.String
        ]
