"""The feature cache: built once per horizon, reused by every model of that horizon.

Processes the export in chunks of rows that overlap by the longest look-back, so memory does not grow with the file;
pauses and stops come between chunks. A stopped build starts over: the old cache stays until the new one is whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from cbi_queue.artifacts import atomic_file, sha256_of, write_json
from cbi_queue.datasets.description import read_description
from cbi_queue.datasets.snapshots import snapshot_of
from cbi_queue.errors import Refused
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.protocol import EpochReport, Finished, Note, Started
from jobs.data.export_file import Export, chunks, find_export, open_export
from jobs.data.feature_store import cache_files, cache_key
from jobs.data.features import engineer, feature_names, look_back_rows
from jobs.trainer import BrokenSpec
from jobs.training.probe import probe_cpu
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cbi_queue.datasets.description import DataSet
    from jobs.trainer import Task

CHUNK_ROWS = 65_536
"""Most rows of a chunk."""
CHUNK_CELLS = 1 << 24
"""Most rows x features of a chunk: 64 MiB as float32, a few times that while they are computed."""
LEAST_CHUNK_ROWS = 1_024
"""With fewer rows the overlap would take more time than the chunk."""
UNIT = "chunk"


class SourceChanged(Exception):
    """The export was replaced while it was being read; the next attempt reads the new one."""


class FeatureCache:
    """Builds `<horizon>_features.parquet`, unless the present one can be reused."""

    def __init__(self, chunk_rows: int = 0) -> None:
        """Work on *chunk_rows* rows at a time; 0: as many as `CHUNK_CELLS` holds."""
        self._chunk_rows = chunk_rows
        self._export: Export | None = None

    def prepare(self, task: Task) -> Started:
        """Find a cache to reuse; check the export from end to end where there is none."""
        self._clock = WorkClock(task.channel, time.monotonic)
        self._clock.start(0.0)
        self._params = FeatureParams.model_validate(task.spec.params)
        self._source = find_export(task.exports_dir, task.spec.horizon)
        self._stamp = _stamp(self._source)
        self._description = _description_of(task.exports_dir)
        source_sha256 = sha256_of(self._source)
        self._snapshot = snapshot_of(source_sha256, self._description)
        self._refuse_other_snapshot(task)
        self._key = cache_key(source_sha256, self._params.model_dump(mode="json"), self._snapshot)
        self._files = cache_files(task.processed_dir, task.spec.horizon)
        self._files.remove_leftovers()
        why_not = self._files.why_not_reusable(self._key)
        if why_not is None:
            task.channel.report(
                Note(f"reused: {self._files.parquet} was built from the same export, parameters and code")
            )
            return Started(total_epochs=1, unit=UNIT)
        task.channel.report(Note(f"building features: {why_not}"))
        return self._prepare_build(task)

    def train(self, task: Task) -> Finished:
        """Build the cache unless it is reused; write metrics and schema to the run folder."""
        manifest = self._build(task, self._export) if self._export else self._reuse(task)
        metrics = {
            "rows": manifest["rows"],
            "features": len(manifest["schema"]) - 2,
            "reused": self._export is None,
            "input_sha256": manifest["source_sha256"],
            "snapshot": self._snapshot,
            "seconds": round(self._clock.worked_s, 3),
            "path": str(self._files.parquet),
        }
        write_json(task.run_dir / "metrics.json", metrics)
        write_json(task.run_dir / "feature_schema.json", {k: manifest[k] for k in ("schema", "series", "notes")})
        return Finished(metrics)

    def _refuse_other_snapshot(self, task: Task) -> None:
        wanted = task.spec.snapshot
        if wanted not in {None, self._snapshot}:
            raise BrokenSpec(
                f"{self._source} changed after this job was enqueued: it is snapshot {self._snapshot[:8]}, the job is for "
                f"{str(wanted)[:8]}; `cbi-queue retry {task.spec.name}` builds the features of the present export"
            )

    def _prepare_build(self, task: Task) -> Started:
        task.channel.probe = probe_cpu
        self._export = export = open_export(
            self._source, self._params, lambda: task.channel.safe_point(0), self._description
        )
        for note in export.notes:
            task.channel.report(Note(note))
        features = len(feature_names(export.series, self._params, export.as_is))
        if not self._chunk_rows:
            self._chunk_rows = max(LEAST_CHUNK_ROWS, min(CHUNK_ROWS, CHUNK_CELLS // features))
        return Started(
            total_epochs=self._total_chunks(export),
            unit=UNIT,
            samples=export.rows,
            fingerprint=f"{task.spec.model} {task.spec.horizon} {len(export.series)} series {features} features "
            f"{self._chunk_rows} rows a chunk threads{task.assignment.threads} polars {pl.__version__}",
            can=("pace", "probe"),
        )

    def _total_chunks(self, export: Export) -> int:
        return -(-export.rows // self._chunk_rows)

    def _reuse(self, task: Task) -> dict[str, Any]:
        """Do no work: send one report, marked as no cold baseline for a build."""
        task.channel.safe_point(0)
        task.channel.report(EpochReport(epoch=1, total_epochs=1, wall_s=0.0, resumed=True))
        return self._files.read_manifest() or {}

    def _build(self, task: Task, export: Export) -> dict[str, Any]:
        """Write the Parquet file, then the manifest that makes it valid."""
        with atomic_file(self._files.parquet) as part:
            schema = self._write_chunks(task, export, part)
            output_sha256 = sha256_of(part)
            if _stamp(self._source) != self._stamp:
                raise SourceChanged(
                    f"{self._source} was replaced while features were built from it; the build was discarded, and the next attempt reads the new file"
                )
        manifest = {
            **self._key,
            "horizon": task.spec.horizon,
            "rows": export.rows,
            "schema": schema,
            "series": [{"name": s.name, "returns": "log" if s.is_log else "difference"} for s in export.series],
            "as_is": list(export.as_is),
            "spacing": export.spacing.as_json(),
            "cost_per_turnover": self._description.cost_per_turnover,
            "notes": list(export.notes),
            "output_sha256": output_sha256,
        }
        self._files.write_manifest(manifest)
        return manifest

    def _write_chunks(self, task: Task, export: Export, part: Path) -> list[list[str]]:
        """Write one row group per chunk; return the columns as [name, type] in their order."""
        writer, reports = None, BlockReports(task.channel, self._clock, self._total_chunks(export))
        try:
            for chunk in engineered(export, self._params, self._chunk_rows):
                table = chunk.to_arrow()
                if writer is None:
                    # Returns hardly repeat: a dictionary would cost time and memory and save nothing.
                    writer = pq.ParquetWriter(
                        part, table.schema, compression="zstd", compression_level=1, use_dictionary=False
                    )
                writer.write_table(table)
                done = reports.reported + 1
                task.channel.safe_point(done)  # only after it is it known how long the kernel stopped the chunk
                reports.send(done, chunk.height)
                task.channel.safe_point(done)  # obeys what the report causes
        finally:
            if writer is not None:
                writer.close()
        return [[name, str(kind)] for name, kind in chunk.schema.items()]


def engineered(export: Export, params: FeatureParams, chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Yield the features of the export chunk by chunk, with the same bits as the whole frame would give."""
    before: pl.DataFrame | None = None
    for chunk in chunks(export, chunk_rows):
        known = chunk if before is None else pl.concat([before, chunk])
        yield engineer(known, export.series, params, export.as_is).slice(known.height - chunk.height)
        before = known.tail(look_back_rows(params))


def _description_of(exports_dir: Path) -> DataSet:
    try:
        return read_description(exports_dir)
    except Refused as exc:
        raise BrokenSpec(f"{exc.message}; {exc.hint}") from exc


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return inode, size and time of change (ns), which differ once the file was replaced or written to."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
