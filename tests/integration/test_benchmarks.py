"""Every benchmark runs, and one that fails leaves the figures of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.measuring import Line, Target
from benchmarks.registry import BENCHMARKS, Benchmark

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.parametrize("name", [benchmark.name for benchmark in BENCHMARKS])
def test_every_benchmark_runs_at_its_smallest_size(name: str, tmp_path: Path) -> None:
    """What rotted is found here, not on the day of the measurement."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smallest", "--json", name],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["lines"]
    assert rows
    assert all(row["values"] for row in rows), rows


def test_a_benchmark_that_fails_is_a_row_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works, fails = BENCHMARKS[0], BENCHMARKS[1]

    def run(benchmark: Benchmark, _rounds: int | None = None) -> list[Line]:
        if benchmark is fails:
            raise RuntimeError("expected 3 handovers, saw 2")
        return [Line("it", "x", (0.5,), Target(1.0))]

    monkeypatch.setattr(Benchmark, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", works.name, fails.name])

    assert command.main() == 1
    rows = json.loads(capsys.readouterr().out)["lines"]
    assert [(row["median"], row["holds"]) for row in rows] == [(0.5, True), (None, None)]
    assert "expected 3 handovers" in rows[1]["note"]
