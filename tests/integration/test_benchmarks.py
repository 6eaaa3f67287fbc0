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


ALONE = "feature-rival"
"""Measures how far the peak of a child grows, which begins at the peak of its parent."""
TOGETHER = [benchmark.name for benchmark in BENCHMARKS if benchmark.name != ALONE]
PROCESSES = len(TOGETHER) if sys.platform == "darwin" else 8
"""The benchmarks of one share its imports. On a Mac trees and nets in one process can crash it."""


@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [[ALONE], *(TOGETHER[first::PROCESSES] for first in range(PROCESSES))], ids=",".join)
def test_every_benchmark_runs_at_its_smallest_size(names: list[str], tmp_path: Path) -> None:
    """What rotted is found here, not on the day of the measurement."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smallest", "--json", *names],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["lines"]
    assert len(rows) >= len(names)
    assert all(row["values"] for row in rows), rows


def test_a_benchmark_that_fails_is_a_row_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works, fails, silent = BENCHMARKS[:3]

    def run(benchmark: Benchmark, _rounds: int | None = None) -> list[Line]:
        if benchmark is fails:
            raise RuntimeError("expected 3 handovers, saw 2")
        if benchmark is silent:
            return []
        return [Line("it", "x", (0.5,), Target(1.0))]

    monkeypatch.setattr(Benchmark, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", works.name, fails.name, silent.name])

    assert command.main() == 1
    rows = json.loads(capsys.readouterr().out)["lines"]
    assert [(row["median"], row["holds"]) for row in rows] == [(0.5, True), (None, None), (None, None)]
    assert "expected 3 handovers" in rows[1]["note"]
    assert rows[2]["note"] == "not measured: it told no line"
