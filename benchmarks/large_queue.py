"""Verbs and page on a queue of thousands of jobs: processor time and memory of each, from start to end of its process.

The jobs come from one plan, as a sweep over seeds. Half of them are then written down as trained, each with metrics as
a run stores them, so that the leaderboard has work. The page is asked for after one request that warmed it up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import psutil

from benchmarks.idle_page import answers, free_port, get
from benchmarks.installation import installation, until
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.connection import connect

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.installation import Installation

JOBS = 10_000
"""Jobs of the plan; a multiple of five."""
MOST_CPU_S, MOST_MB = 1.0, 100.0
HORIZONS = ("1w", "1m", "3m", "6m", "12m")
CHECK, ENQUEUE = ("plan", "check", "--no-data"), ("enqueue",)
VERBS = (
    ("list",), ("list", "--json"), ("status",), ("status", "--json"), ("leaderboard",), ("show", "net-1m-1"),
    ("show", "no-such-job"), ("cancel", "net-1m-1"),
)  # fmt: skip
PAGES = ("/status?format=html", "/status?format=json", "/api/v1/status", "/api/v1/jobs", "/api/v1/leaderboard")
Cost = tuple[float, float]
"""Seconds of processor time, and the largest resident set in MB."""


def lines(rounds: int) -> list[Line]:
    """Measure every verb and page *rounds* times, each round on a queue of its own."""
    found: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        with installation() as home:
            for what, cost in _round(home).items():
                found.setdefault(what, []).append(cost)
    return [_line(what, costs) for what, costs in found.items()]


def _line(what: str, costs: list[Cost]) -> Line:
    largest = max(mb for _, mb in costs)
    verdict = "at most" if largest <= MOST_MB else "MISSED:"
    note = f"{largest:.0f} MB of memory at the most, {verdict} {MOST_MB:.0f} MB wanted"
    return Line(f"{what}, {JOBS} jobs", "s", tuple(cpu_s for cpu_s, _ in costs), Target(MOST_CPU_S), note)


def _round(home: Installation) -> dict[str, Cost]:
    plan = _write_plan(home.root / "sweep.yaml")
    home.settings.make_layout()
    for horizon in HORIZONS:
        (home.settings.processed_dir / f"{horizon}_features.parquet").touch()
    Ledger.open(home.settings.ledger_path).close()  # the first command also makes the ledger, in a process of its own
    costs = {f"`{' '.join(verb)}`": command_cost(home, *verb, str(plan)) for verb in (CHECK, ENQUEUE)}
    _end_half(home)
    costs |= {f"`{' '.join(verb)}`": command_cost(home, *verb) for verb in VERBS}
    return costs | _pages(home)


def _write_plan(path: Path) -> Path:
    seeds = ", ".join(map(str, range(JOBS // len(HORIZONS))))
    job = 'name: "net-{horizon}-{seed}", family: trees, model: lightgbm_dart'
    path.write_text(
        f"day: 10\njobs:\n  - {{{job}, matrix: {{horizon: [{', '.join(HORIZONS)}], params.seed: [{seeds}]}}}}\n"
    )
    return path


def _end_half(home: Installation) -> None:
    score = {
        "mae": 1.9, "rmse": 2.9, "mase": 0.95, "mape_pct": 3.8, "skill_mae": 0.05, "skill_rmse": 0.03, "rows": 504,
        "directional_accuracy": 0.55, "sharpe": 0.4,
    }  # fmt: skip
    metrics = {"backtest": score, "validation": score, "naive": {"backtest": score, "validation": score}, "fit_s": 1.5}
    with closing(connect(home.settings.ledger_path)) as conn:
        conn.execute(
            "UPDATE jobs SET state = 'succeeded', reason = 'done', ended_at = changed_at, metrics = ? WHERE id % 2",
            (json.dumps(metrics),),
        )


def command_cost(home: Installation, *words: str) -> Cost:
    """Run a verb; its exit code is of no interest here."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "cbi_queue.cli", *words],
        env=home.environ, cwd=home.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0  # it has been waited for
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _pages(home: Installation) -> dict[str, Cost]:
    port = free_port()
    with home.process("-m", "cbi_queue.cli", "serve", "--port", str(port)) as server:
        until(lambda: answers(port), "the server to answer")
        get(port, PAGES[0])
        process = psutil.Process(server.pid)
        return {f"GET {path}": _request(process, port, path) for path in PAGES}


def _request(process: psutil.Process, port: int, path: str) -> Cost:
    before = process.cpu_times()
    get(port, path)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system, process.memory_info().rss / 1e6
