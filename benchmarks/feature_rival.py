"""`python -m benchmarks feature-rival`: our features beside Polars' own rolling functions, in two stages, on the same panel.

Both make the same columns (returns of eight lags, six statistics of five windows of each of four series) in a fresh process
each, which reports its fastest of a few builds, its peak memory, and how much of that the builds added. Ours are merges
of fixed blocks, so that a value does not depend on rows outside its window; Polars keeps running totals (`jobs.data.rolling_moments` says why that matters).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, in_ms, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUILDS = 9
_READ = """
import json, resource, sys, time
import polars as pl
from cbi_queue.models.parameters.features import FeatureParams
params = FeatureParams(interactions=False)
panel = pl.read_parquet(sys.argv[1]).with_columns(pl.col("date").cast(pl.Date))
names = [name for name in panel.columns if name != "date"]
panel = panel.with_columns(pl.col(names).cast(pl.Float64))
"""
_OURS = """
from jobs.data.feature_names import Series
from jobs.data.features import engineer
series = [Series(name, is_log=True) for name in names]
def build():
    return engineer(panel, series, params)
"""
_POLARS = """
def features(name):
    r, level = pl.col(f"{name}.r"), pl.col(f"{name}.level")
    for k in (0, *params.lags):
        yield r.shift(k).alias(f"{name}_ret_{k}")
    for w in params.windows:
        mean, std = r.rolling_mean(w), r.rolling_std(w)
        yield mean.alias(f"{name}_mean_{w}")
        yield std.alias(f"{name}_std_{w}")
        yield r.rolling_min(w).alias(f"{name}_min_{w}")
        yield r.rolling_max(w).alias(f"{name}_max_{w}")
        yield (mean * w**0.5 / std).alias(f"{name}_mom_{w}")
        yield ((level - level.rolling_mean(w)) / level.rolling_std(w)).alias(f"{name}_z_{w}")
def build():
    levels = panel.with_columns(pl.col(name).log().alias(f"{name}.level") for name in names)
    shared = levels.with_columns(pl.col(f"{name}.level").diff().alias(f"{name}.r") for name in names)
    made = [each.cast(pl.Float32) for name in names for each in features(name)]
    return shared.select("date", "price", *made, month=pl.col("date").dt.month(), day_of_week=pl.col("date").dt.weekday())
"""
_MEASURE = """
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
times = []
for _ in range(int(sys.argv[2])):
    started = time.perf_counter()
    made = build()
    times.append(time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
found = {"seconds": min(times), "peak_bytes": peak, "added_bytes": peak - before}
found |= {"columns": made.width, "rows": made.height}
print(json.dumps(found))
"""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* processes of each, in turns."""
    with installation() as home:
        home.settings.make_layout()
        raw, exports = str(home.settings.training_data / "raw"), home.settings.exports_dir
        home.python("-m", "jobs.sample_data", "--raw", raw, "--exports", str(exports))
        panel = exports / "production_training_data_1w.parquet"
        pairs = [(_build(_OURS, panel), _build(_POLARS, panel)) for _ in range(rounds)]
    if {(ours["columns"], ours["rows"]) for ours, _ in pairs} != {(its["columns"], its["rows"]) for _, its in pairs}:
        raise RuntimeError(f"the two build different tables: {pairs[0]}")
    times = [[each["seconds"] for each in side] for side in zip(*pairs, strict=True)]
    peaks = [[each["peak_bytes"] for each in side] for side in zip(*pairs, strict=True)]
    added = [[each["added_bytes"] for each in side] for side in zip(*pairs, strict=True)]
    what = f"{int(pairs[0][0]['columns'])} columns of {int(pairs[0][0]['rows']):,} rows"
    return [
        Line(
            f"features, {what} / Polars in two stages",
            "x",
            ratios(*times),
            Target(1.0),
            f"ours {in_ms(times[0])}, Polars {in_ms(times[1])}",
        ),
        Line(
            f"peak memory of the process, {what} / Polars in two stages",
            "x",
            ratios(*peaks),
            Target(1.0),
            f"{_most_mb(peaks)}; ours loads NumPy, 13 MB, which every trainer has loaded",
        ),
        Line("what the builds add to that peak / Polars in two stages", "x", ratios(*added), note=_most_mb(added)),
    ]


def _most_mb(sides: Sequence[Sequence[float]]) -> str:
    return " MB, ".join(f"{max(side) / 1e6:.0f}" for side in sides) + " MB at most"


def _build(how: str, panel: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _READ + how + _MEASURE, str(panel), str(BUILDS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
