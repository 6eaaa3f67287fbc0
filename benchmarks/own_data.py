"""Bringing data in: a large CSV beside pandas' own read and write, and `plan check` with and without opening the exports.

The import also finds the form of the file, checks every row and reports; pandas only reads and writes. Both are whole
processes, imports included. The series is a random walk: only its size matters here.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, alternate, in_ms, in_seconds, ratios, seconds
from cbi_queue.datasets.inspection import Request, inspect_exports

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.installation import Installation
    from cbi_queue.datasets.inspection import Inspection

ROWS = 1_000_000
COVARIATES = 6
CHECKED_ROWS = 10_000
PLAN = Path(__file__).parents[1] / "schedules" / "quickstart.yaml"
COMMAND = str(Path(sys.executable).with_name("cbi-queue"))
_PANDAS = "import sys, pandas as pd; pd.read_csv(sys.argv[1], parse_dates=['Date']).to_parquet(sys.argv[2])"


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of each pair."""
    with installation() as home:
        home.settings.make_layout()
        raw, exports = str(home.settings.training_data / "raw"), str(home.settings.exports_dir)
        home.python("-m", "jobs.sample_data", "--raw", raw, "--exports", exports)
        (home.root / "state").mkdir(exist_ok=True)
        csv = _write_csv(home.root / "large.csv")
        ours, pandas = alternate(lambda: _stage(home, csv), lambda: _pandas(home, csv), rounds)
        own_cpu, its_cpu = alternate(
            lambda: _processor_s(lambda: _stage(home, csv)), lambda: _processor_s(lambda: _pandas(home, csv)), rounds
        )
        opened, closed = alternate(lambda: _check(home), lambda: _check(home, "--no-data"), rounds)
        first, again = alternate(lambda: _first_check(home), lambda: _check(home, "--no-data"), rounds)
        export = _write_export(home.root / "export.parquet")
        cpu = [_cpu_of_check(export) for _ in range(rounds)]
    return [
        Line(
            f"import of a CSV of {ROWS:,} rows / pandas' read and write",
            "x",
            ratios(ours, pandas),
            Target(1.0),
            f"import {in_seconds(ours)}, pandas {in_seconds(pandas)}",
        ),
        Line(
            "the same, processor time",
            "x",
            ratios(own_cpu, its_cpu),
            Target(1.0),
            f"import {in_seconds(own_cpu)}, pandas {in_seconds(its_cpu)}",
        ),
        Line(
            "`plan check` with data that it has seen / `--no-data`",
            "x",
            ratios(opened, closed),
            Target(2.0),
            f"with {in_ms(opened)}, without {in_ms(closed)}",
        ),
        Line(
            "`plan check` with new data / `--no-data`",
            "x",
            ratios(first, again),
            Target(2.0),
            f"with {in_ms(first)}, without {in_ms(again)}",
        ),
        Line(
            f"processor time of the check of an export of {CHECKED_ROWS:,} rows",
            "s",
            tuple(cpu),
            Target(0.3),
            f"{COVARIATES} covariates; the check alone, in its own process",
        ),
    ]


def _write_csv(path: Path) -> Path:
    rng = np.random.default_rng(0)
    days = np.datetime64("1700-01-01") + np.arange(ROWS)
    values = 50.0 * np.exp(rng.normal(0, 1e-3, (ROWS, COVARIATES + 1)).cumsum(axis=0))
    with path.open("w", encoding="utf-8") as file:
        file.write("Date,Close," + ",".join(f"x{column}" for column in range(COVARIATES)) + "\n")
        for first in range(0, ROWS, 50_000):
            rows = zip(days[first : first + 50_000], values[first : first + 50_000], strict=True)
            file.writelines(f"{day},{','.join(f'{value:.4f}' for value in row)}\n" for day, row in rows)
    return path


def _write_export(path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    days = np.busday_offset("1985-01-03", np.arange(CHECKED_ROWS))
    values = 50.0 * np.exp(rng.normal(0, 1e-2, (COVARIATES + 1, CHECKED_ROWS)).cumsum(axis=1))
    names = ("price", *(f"x{column}" for column in range(COVARIATES)))
    pq.write_table(pa.table({"date": days, **dict(zip(names, values, strict=True))}), path)
    return path


def _cpu_of_check(export: Path) -> float:
    found: list[Inspection] = []
    took = _processor_s(lambda: found.extend(inspect_exports(sys.executable, [Request(export)]) or []))
    if [each.rows for each in found] != [CHECKED_ROWS]:
        raise RuntimeError(f"the check of {export} did not read {CHECKED_ROWS:,} rows: {found}")
    return took


def _processor_s(work: Callable[[], object]) -> float:
    """Return the processor time of the processes that *work* runs and waits for, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _stage(home: Installation, csv: Path) -> float:
    work = home.root / "staging"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    request = json.dumps({"files": [str(csv)], "work": str(work), "threads": 2})
    command = [sys.executable, "-P", "-m", "jobs.importing.stage"]
    return seconds(lambda: subprocess.run(command, input=request, text=True, check=True, stdout=subprocess.DEVNULL))


def _pandas(home: Installation, csv: Path) -> float:
    command = [sys.executable, "-c", _PANDAS, str(csv), str(home.root / "pandas.parquet")]
    return seconds(lambda: subprocess.run(command, check=True))


def _first_check(home: Installation) -> float:
    home.settings.checks_path.unlink(missing_ok=True)
    return _check(home)


def _check(home: Installation, *options: str) -> float:
    command = [COMMAND, "plan", "check", *options, str(PLAN)]
    return seconds(
        lambda: subprocess.run(command, env=home.environ, cwd=home.root, check=True, stdout=subprocess.DEVNULL)
    )
