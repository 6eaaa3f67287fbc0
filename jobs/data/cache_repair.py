"""Notice a damaged feature cache before a model is trained on it, and build it again from the export.

How it was built is read from its manifest. Where that is damaged itself, the parameters are taken to be the default
ones. In either case the export must be the snapshot that it was, and the columns must come out as they were: otherwise nothing is built, and the words say what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cbi_queue.artifacts import sha256_of
from cbi_queue.datasets.snapshots import snapshot_of
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.protocol import Note
from jobs.data.feature_store import CacheFiles, cache_files, cache_key
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.trainer import Task


def mend_cache(task: Task) -> None:
    """Build the cache of the task's horizon again if it is damaged, with a note before and after; else do nothing.

    Raises:
        BrokenSpec: when it is damaged, and what it was built from is gone or not known.
        StopRequested: between the chunks of the build.
    """
    files = cache_files(task.processed_dir, task.spec.horizon)
    damage = files.damage()
    if damage is None:
        return
    task.channel.report(
        Note(f"the feature cache {files.parquet} is damaged: {damage}; it is built again before training")
    )
    try:
        words = _build_again(task, files)
    except BrokenSpec as exc:
        raise BrokenSpec(
            f"the feature cache {files.parquet} is damaged ({damage}) and cannot be built again: {exc}; "
            f"`cbi-queue retry` the features job of horizon {task.spec.horizon}, then this job"
        ) from exc
    task.channel.report(Note(f"the feature cache was built again: {words}"))


def _build_again(task: Task, files: CacheFiles) -> str:
    from jobs.data.export_file import find_export, open_export
    from jobs.data.feature_build import build_cache, description_of, rows_a_chunk, stamp_of
    from jobs.data.feature_names import feature_names
    from jobs.data.news import load_news, with_news

    def obey(_rows: int = 0) -> None:
        task.channel.safe_point(0)

    body = files.read_manifest() or {}
    params = _params(body)
    source = find_export(task.exports_dir, task.spec.horizon)
    stamp = stamp_of(source)
    source_sha256 = sha256_of(source)
    description = description_of(task.exports_dir)
    snapshot = snapshot_of(source_sha256, description)
    for wanted in (body.get("snapshot"), task.spec.snapshot):
        if wanted not in {None, snapshot}:
            raise BrokenSpec(f"{source} is snapshot {snapshot[:8]} by now, and not {str(wanted)[:8]}")
    news = load_news(task.exports_dir, task.processed_dir, description.headlines)
    export = with_news(open_export(source, params, obey, description), news)
    features = feature_names(export.series, params, export.as_is)
    if list(features) != _columns(files, body)[2:]:
        raise BrokenSpec(f"{source} gives other features than the cache had, with the parameters that are known")
    files.remove_leftovers()
    made = build_cache(
        files,
        export,
        params,
        key=cache_key(source_sha256, params.model_dump(mode="json"), snapshot, news.sha256 if news else None),
        horizon=task.spec.horizon,
        chunk_rows=rows_a_chunk(len(features)),
        stamp=stamp,
        chunk_written=obey,
    )
    if made["output_sha256"] == body.get("output_sha256"):
        return "the same bits as before"
    return f"{made['rows']} rows from {source.name}"


def _params(body: dict[str, Any]) -> FeatureParams:
    try:
        return FeatureParams.model_validate(body.get("params", {}))
    except ValidationError as exc:
        raise BrokenSpec("its manifest holds parameters that cannot be") from exc


def _columns(files: CacheFiles, body: dict[str, Any]) -> list[str]:
    """Return the columns of the cache as its manifest has them, else as the Parquet file itself has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if body:
            return [str(name) for name, _ in body["schema"]]
        return list(pq.read_schema(files.parquet).names)
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as exc:
        raise BrokenSpec("which columns it had is not known") from exc
