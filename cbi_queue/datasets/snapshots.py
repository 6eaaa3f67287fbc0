"""The snapshot of a data set for one horizon: the SHA-256 of what a job reads, which is part of the job's identity.

It is the SHA-256 of the export's content; with choices that change how the export is read, of that and the choices. The
trainer computes it again from the file that it builds features from, and refuses a job of another snapshot.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import sha256_of, write_json
from cbi_queue.datasets.place import export_path, manifest_path, of_dataset
from cbi_queue.regular_files import LARGE, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cbi_queue.datasets.description import DataSet

Key = tuple[str, str]
"""Data set and horizon."""
SMALL_BYTES = 16 << 20
"""A file up to this size is read each time: that takes 10 ms and needs no memory of earlier results."""


def snapshot_of(source_sha256: str, description: DataSet) -> str:
    """Return the snapshot of an export with this SHA-256, read as *description* says."""
    choices = description.reading()
    if not choices:
        return source_sha256
    text = json.dumps(choices, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{source_sha256}\n{text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Which snapshots stand on the disk now; a data set and horizon without a file is left out."""

    exports: Mapping[Key, str] = field(default_factory=dict)
    caches: Mapping[Key, str] = field(default_factory=dict)
    """What the features were built from."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The code of each script job (`code_state`), by the job's name."""
    dirty: tuple[str, ...] = ()
    """Folders of scripts whose code has changes that are in no commit."""

    def stale(self) -> list[Key]:
        """Return where the features were built from something else than the present export."""
        return [key for key, built in self.caches.items() if self.exports.get(key, built) != built]


def look(exports_dir: Path, processed_dir: Path, keys: Iterable[Key], hashes: Path | None = None) -> Snapshots:
    """Look at the files of *keys*.

    Args:
        exports_dir: of the default data set.
        processed_dir: of the default data set.
        keys: data sets and horizons.
        hashes: file that remembers the SHA-256 of large files between calls; None: they are read each time.

    Raises:
        Refused: when the description of a data set cannot be read.
    """
    from cbi_queue.datasets.description import read_description

    exports, caches, remembered = {}, {}, Remembered(hashes)
    for dataset, horizon in dict.fromkeys(keys):
        folder = of_dataset(exports_dir, dataset)
        if (sha256 := remembered.sha256_of(export_path(folder, horizon))) is not None:
            exports[dataset, horizon] = snapshot_of(sha256, read_description(folder))
        if (built := built_from(of_dataset(processed_dir, dataset), horizon)) is not None:
            caches[dataset, horizon] = built
    remembered.save()
    return Snapshots(exports, caches)


def built_from(processed_dir: Path, horizon: str) -> str | None:
    """Return the snapshot that *horizon*'s feature cache was built from; None when there is no readable cache."""
    manifest = _manifest(processed_dir, horizon)
    found = manifest.get("snapshot", manifest.get("source_sha256"))
    return found if isinstance(found, str) else None


def rows_of(processed_dir: Path, horizon: str) -> int | None:
    """Return the rows of *horizon*'s feature cache; None when there is no readable cache."""
    found = _manifest(processed_dir, horizon).get("rows")
    return found if isinstance(found, int) and found > 0 else None


def _manifest(processed_dir: Path, horizon: str) -> dict[str, Any]:
    """Return the manifest of a feature cache that is there, empty for any other."""
    path = manifest_path(processed_dir, horizon)
    try:
        body = json.loads(read_whole(path, LARGE))
    except (OSError, ValueError, RecursionError):
        return {}
    is_there = path.with_name(f"{horizon}_features.parquet").is_file()
    return body if is_there and isinstance(body, dict) else {}


class Remembered:
    """SHA-256 by path, good while size, time of change and inode stay; the trainer reads the file itself in any case."""

    def __init__(self, path: Path | None) -> None:
        """Remember in *path*; None: not at all."""
        self._path = path
        self._known: dict[str, list[object]] = {}
        self._changed = False
        if path is not None:
            try:
                known = json.loads(read_whole(path, LARGE))
                self._known = known if isinstance(known, dict) else {}
            except (OSError, ValueError, RecursionError):
                pass

    def sha256_of(self, path: Path) -> str | None:
        """Return the SHA-256 of a file; None when it cannot be read."""
        try:
            status = path.stat()
            if status.st_size <= SMALL_BYTES or self._path is None:
                return sha256_of(path, follow=True)
            stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
            known = self._known.get(str(path))
            if isinstance(known, list) and known[:3] == stamp and isinstance(known[-1], str):
                return known[-1]
            found = sha256_of(path, follow=True)
        except OSError:
            return None
        self._known[str(path)] = [*stamp, found]
        self._changed = True
        return found

    def save(self) -> None:
        """Write what is new."""
        if self._path is not None and self._changed and self._path.parent.is_dir():
            with suppress(OSError):  # what is remembered only saves time
                write_json(self._path, self._known)
