"""Memory of the feature cache does not grow with the export: the real trainer, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "feature_streaming.py"


def measured(rows: int) -> dict:
    command = [sys.executable, str(BENCHMARK), "--rows", str(rows), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_twice_the_rows_need_no_more_memory():
    """Whole, the longer one alone would be 326 MiB of float32 and more than twice that to compute it."""
    once, twice = measured(210_000), measured(420_000)
    assert twice["cache_mib"] > 1.5 * once["cache_mib"]
    assert twice["peak_rss_mib"] < once["peak_rss_mib"] + 60
    assert twice["peak_rss_mib"] < 800
