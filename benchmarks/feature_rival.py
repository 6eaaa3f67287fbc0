"""`python -m benchmarks feature-rival`: our features beside Polars' own rolling functions, in two stages, on the same panel.

Both read the export and make the same columns (returns of eight lags, six statistics of five windows of each of four series)
in a fresh process each, which reports its fastest of a few builds, its peak memory, and how much of that the builds added.
Ours have the environment of a trainer, and are merges of fixed blocks, so that a value does not depend on rows outside its
window; Polars keeps running totals (`jobs.data.rolling_moments` says why that matters). Told besides: the whole features
job, which also looks for faults and leaks, against a script that reads, builds and writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.feature_streaming import train
from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, in_ms, ratios
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUILDS = 9
_IMPORTS = """
import json, resource, sys, time
from pathlib import Path
from cbi_queue.models.parameters.features import FeatureParams
params = FeatureParams(interactions=False)
"""
_OURS = """
from cbi_queue.datasets.description import DataSet
from jobs.data.export_file import read_all, read_columns
from jobs.data.feature_names import Series
from jobs.data.features import engineer
panel = Path(sys.argv[1])
of = read_columns(panel, params, DataSet())
days, columns = read_all(panel, of, list(of.covariates))
series = [Series(name, is_log=True) for name in columns]
def build():
    return engineer(days, columns, series, params)
def shape(table):
    return table.num_columns, table.num_rows
"""
_POLARS = """
import polars as pl
panel = pl.read_parquet(sys.argv[1]).with_columns(pl.col("date").cast(pl.Date))
names = [name for name in panel.columns if name != "date"]
panel = panel.with_columns(pl.col(names).cast(pl.Float64))
def shape(table):
    return table.width, table.height
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
_WRITE = """
build().write_parquet(sys.argv[2], compression="zstd", compression_level=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
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
found |= dict(zip(("columns", "rows"), shape(made)))
print(json.dumps(found))
"""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* processes of each, in turns."""
    with installation() as home:
        home.settings.make_layout()
        raw, exports = str(home.settings.training_data / "raw"), home.settings.exports_dir
        home.python("-m", "jobs.sample_data", "--raw", raw, "--exports", str(exports))
        panel = exports / "production_training_data_1w.parquet"
        env = {**os.environ, **trainer_environment(threads=os.cpu_count() or 1)}
        pairs = [(_build(_OURS, panel, env), _build(_POLARS, panel)) for _ in range(rounds)]
        jobs = [(_job(home.root / f"job{number}", exports), _script(panel, home.root)) for number in range(rounds)]
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
            f"{_most_mb(peaks)}; ours loads NumPy and Arrow, and no Polars",
        ),
        Line("what the builds add to that peak / Polars in two stages", "x", ratios(*added), note=_most_mb(added)),
        Line(
            "peak memory of the whole features job / a Polars script that reads, builds and writes",
            "x",
            ratios(*zip(*jobs, strict=True)),
            note=_most_mb(list(zip(*jobs, strict=True))),
        ),
    ]


def _most_mb(sides: Sequence[Sequence[float]]) -> str:
    return " MB, ".join(f"{max(side) / 1e6:.0f}" for side in sides) + " MB at most"


def _job(work: Path, exports: Path) -> float:
    processed = work / "processed"
    processed.mkdir(parents=True)
    return float(str(train(work / "run", exports, processed, {"interactions": False})["peak_rss_mib"])) * 2**20


def _script(panel: Path, work: Path) -> float:
    command = [sys.executable, "-c", _IMPORTS + _POLARS + _WRITE, str(panel), str(work / "script.parquet")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _build(how: str, panel: Path, env: dict[str, str] | None = None) -> dict[str, float]:
    command = [sys.executable, "-c", _IMPORTS + how + _MEASURE, str(panel), str(BUILDS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    found: dict[str, float] = json.loads(done.stdout)
    return found
