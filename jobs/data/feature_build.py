"""Build a feature cache from its export, in chunks of rows that overlap by the longest look-back.

Memory does not grow with the file. The old cache stays until the new one is whole, and the manifest is written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from cbi_queue.artifacts import atomic_file, sha256_of
from cbi_queue.datasets.description import read_description
from cbi_queue.errors import Refused
from jobs.data.export_file import chunks
from jobs.data.feature_names import look_back_rows
from jobs.data.features import engineer
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from cbi_queue.datasets.description import DataSet
    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.columns import Rows
    from jobs.data.export_file import Export
    from jobs.data.feature_store import CacheFiles

CHUNK_ROWS = 65_536
"""Most rows of a chunk."""
CHUNK_CELLS = 1 << 24
"""Most rows x features of a chunk: 64 MiB as float32, a few times that while they are computed."""
LEAST_CHUNK_ROWS = 1_024
"""With fewer rows the overlap would take more time than the chunk."""

_KINDS = {"date32[day]": "Date", "double": "Float64", "float": "Float32"}
"""Arrow's names of types -> those in a manifest, which are Polars'."""


class SourceChanged(Exception):
    """The export was replaced while it was being read; the next attempt reads the new one."""


def rows_a_chunk(features: int) -> int:
    """Return how many rows of so many *features* are worked on at a time."""
    return max(LEAST_CHUNK_ROWS, min(CHUNK_ROWS, CHUNK_CELLS // features))


def description_of(exports_dir: Path) -> DataSet:
    """Return the choices about a data set.

    Raises:
        BrokenSpec: when its description cannot be read.
    """
    try:
        return read_description(exports_dir)
    except Refused as exc:
        raise BrokenSpec(f"{exc.message}; {exc.hint}") from exc


def build_cache(
    files: CacheFiles,
    export: Export,
    params: FeatureParams,
    *,
    key: dict[str, Any],
    horizon: str,
    chunk_rows: int,
    stamp: tuple[int, int, int],
    chunk_written: Callable[[int], None],
) -> dict[str, Any]:
    """Write the Parquet file, then the manifest that makes it valid; return the manifest.

    Args:
        files: where the cache lives.
        export: the checked export.
        params: lags and windows.
        key: what the cache is built from, see `feature_store.cache_key`.
        horizon: one of the catalogue's names.
        chunk_rows: rows worked on at a time.
        stamp: `stamp_of` the export before it was hashed.
        chunk_written: called with the rows of each chunk once it is written.

    Raises:
        SourceChanged: when the export is no longer the file of *stamp*; the old cache is kept.
    """
    with atomic_file(files.parquet) as part:
        schema = _write_chunks(engineered(export, params, chunk_rows), part, chunk_written)
        output_sha256 = sha256_of(part)
        if stamp_of(export.path) != stamp:
            raise SourceChanged(
                f"{export.path} was replaced while features were built from it; the build was discarded, and the next attempt reads the new file"
            )
    manifest = {
        **key,
        "horizon": horizon,
        "rows": export.rows,
        "schema": schema,
        "series": [{"name": s.name, "returns": "log" if s.is_log else "difference"} for s in export.series],
        "as_is": list(export.as_is),
        "label": str(export.label),
        "spacing": export.spacing.as_json(),
        "notes": list(export.notes),
        "output_sha256": output_sha256,
    }
    files.write_manifest(manifest)
    return manifest


def _write_chunks(made: Iterator[pa.Table], part: Path, chunk_written: Callable[[int], None]) -> list[list[str]]:
    """Write one row group per chunk; return the columns as [name, type] in their order."""
    writer = None
    try:
        for table in made:
            if writer is None:
                # Returns hardly repeat: a dictionary would cost time and memory and save nothing.
                writer = pq.ParquetWriter(
                    part, table.schema, compression="zstd", compression_level=1, use_dictionary=False
                )
            writer.write_table(table)
            chunk_written(table.num_rows)
    finally:
        if writer is not None:
            writer.close()
    return [[field.name, _KINDS[str(field.type)]] for field in table.schema]


def engineered(export: Export, params: FeatureParams, chunk_rows: int) -> Iterator[pa.Table]:
    """Yield the features of the export chunk by chunk, with the same bits as the whole frame would give."""
    before: Rows | None = None
    for chunk in chunks(export, chunk_rows):
        days, columns = chunk if before is None else _joined(before, chunk)
        yield engineer(days, columns, export.series, params, export.as_is).slice(len(days) - len(chunk[0]))
        at = max(0, len(days) - look_back_rows(params))
        before = days[at:], {name: values[at:] for name, values in columns.items()}


def _joined(early: Rows, late: Rows) -> Rows:
    columns = {name: np.concatenate([values, late[1][name]]) for name, values in early[1].items()}
    return np.concatenate([early[0], late[0]]), columns


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Return inode, size and time of change (ns), which differ once the file was replaced or written to."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
