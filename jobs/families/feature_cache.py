"""The feature cache: built once per horizon, reused by every model of that horizon.

Pauses and stops come between the chunks of a build. A stopped build starts over: the old cache stays until the new one
is whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import sha256_of, write_json
from cbi_queue.datasets.snapshots import snapshot_of
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.protocol import EpochReport, Finished, Note, Started
from jobs.data.export_file import Export, find_export, open_export
from jobs.data.feature_build import build_cache, description_of, rows_a_chunk, stamp_of
from jobs.data.feature_names import feature_names
from jobs.data.feature_store import cache_files, cache_key
from jobs.data.news import load_news, with_news
from jobs.trainer import BrokenSpec
from jobs.training.probe import probe_cpu
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from jobs.trainer import Task

UNIT = "chunk"


class FeatureCache:
    """Builds `<horizon>_features.parquet`, unless the present one can be reused."""

    def __init__(self, chunk_rows: int = 0) -> None:
        """Work on *chunk_rows* rows at a time; 0: as many as `feature_build.CHUNK_CELLS` holds."""
        self._chunk_rows = chunk_rows
        self._export: Export | None = None

    def prepare(self, task: Task) -> Started:
        """Find a cache to reuse; check the export from end to end where there is none."""
        self._clock = WorkClock(task.channel, time.monotonic)
        self._clock.start(0.0)
        self._params = FeatureParams.model_validate(task.spec.params)
        self._source = find_export(task.exports_dir, task.spec.horizon)
        task.processed_dir.mkdir(exist_ok=True)  # never its parents: the volume may be gone
        self._stamp = stamp_of(self._source)
        self._description = description_of(task.exports_dir)
        source_sha256 = sha256_of(self._source, follow=True)
        self._snapshot = snapshot_of(source_sha256, self._description)
        self._refuse_other_snapshot(task)
        self._news = load_news(task.exports_dir, task.processed_dir, self._description.headlines)
        self._key = cache_key(
            source_sha256,
            self._params.model_dump(mode="json"),
            self._snapshot,
            self._news.sha256 if self._news else None,
        )
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
        export = open_export(self._source, self._params, lambda: task.channel.safe_point(0), self._description)
        self._export = export = with_news(export, self._news)
        for note in export.notes:
            task.channel.report(Note(note))
        features = len(feature_names(export.series, self._params, export.as_is))
        self._chunk_rows = self._chunk_rows or rows_a_chunk(features)
        return Started(
            total_epochs=self._total_chunks(export),
            unit=UNIT,
            samples=export.rows,
            fingerprint=f"{task.spec.model} {task.spec.horizon} {len(export.series)} series {features} features "
            f"{self._chunk_rows} rows a chunk threads{task.assignment.threads} numpy {np.__version__}",
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
        reports = BlockReports(task.channel, self._clock, self._total_chunks(export))

        def report(rows: int) -> None:
            done = reports.reported + 1
            task.channel.safe_point(done)  # only after it is it known how long the kernel stopped the chunk
            reports.send(done, rows)
            task.channel.safe_point(done)  # obeys what the report causes

        return build_cache(
            self._files,
            export,
            self._params,
            key=self._key,
            horizon=task.spec.horizon,
            chunk_rows=self._chunk_rows,
            stamp=self._stamp,
            chunk_written=report,
        )
