"""A run's folder: where it is, how files get into it, and the manifest that makes it believable.

Every file that a reader may open is written temp -> flush -> rename -> flush folder. The manifest is written last,
with the size and SHA-256 of every file and the signature (ledger, job, attempt, spec identity): a folder with a
matching manifest is complete, and after a crash it is believed over a missing row. `jobs` writes it, `workers` reads it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST_NAME = "manifest.json"
CHECKPOINT_FOLDER = "checkpoints"
MAY_DIFFER = "may_differ"
"""Key of a run's metrics: why an undisturbed run could have given other numbers, a list of words; absent: it could not."""
_F_FULLFSYNC = 51
"""`fcntl` command of macOS that flushes the drive's own cache; `fsync` there does not (fsync(2))."""


_NO_FOLDER_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of network and FAT file systems that cannot flush a folder."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete run folder states about itself."""

    ledger_id: str
    job_id: int
    attempt: int
    identity: str
    metrics: dict[str, Any] = field(default_factory=dict)
    veto: str | None = None
    peak_rss_mib: float | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Path below the folder -> {"bytes": int, "sha256": hex}."""


def run_dir_for(models: Path, *, model: str, horizon: str, name: str, identity: str, bars: tuple[str, ...]) -> Path:
    """Return the run folder of a job: `local/<horizon>/<name>-<hash>`, baselines under `local/baselines/`.

    The folder is named by content, so every attempt of a job finds the checkpoints of the earlier ones.
    """
    shelf = "baselines" if model in bars else horizon
    return models / "local" / shelf / f"{name}-{identity[:12]}"


def flush(descriptor: int) -> None:
    """Flush an open file to the drive, past its cache on macOS."""
    if sys.platform == "darwin":  # pragma: no cover - exercised on macOS only
        import fcntl

        with contextlib.suppress(OSError):  # a volume without F_FULLFSYNC (exFAT, SMB) gets the fsync below
            fcntl.fcntl(descriptor, _F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power loss (where its file system can do that)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_FLUSH:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside *path*; on success flush it and rename it into place, else remove it.

    The folder must exist: creating missing parents here would create the path of an unmounted volume on another disk.

    Raises:
        OSError: from the file system (no space, volume gone); *path* then still has its old content.
    """
    handle, raw = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(raw)
    try:
        yield part
        descriptor = os.open(part, os.O_RDONLY)
        try:
            flush(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the volume may be gone: raise the first error
            part.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Write *content* to *path*, whole or not at all."""
    with atomic_file(path) as part:
        part.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write *value* as sorted, indented JSON, whole or not at all. Refuses NaN and infinity with ValueError."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def reopen_folder(run_dir: Path) -> None:
    """Create the folder (never its parents) and remove an old manifest: from here on it is not complete."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / MANIFEST_NAME).unlink(missing_ok=True)
    for part in run_dir.rglob(".*.part"):
        part.unlink(missing_ok=True)


def complete_folder(run_dir: Path, manifest: Manifest) -> Manifest:
    """List every file of the folder except checkpoints in the manifest and write it, which completes the folder."""
    files = {
        str(path.relative_to(run_dir)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and not _is_passing(path.relative_to(run_dir))
    }
    full = Manifest(**{**asdict(manifest), "files": files})
    write_json(run_dir / MANIFEST_NAME, asdict(full))
    return full


def read_manifest(run_dir: Path) -> Manifest | None:
    """Return the folder's manifest; None when there is none, or it is not as `complete_folder` writes it."""
    try:
        body = json.loads((run_dir / MANIFEST_NAME).read_bytes())
        json.dumps(body, allow_nan=False).encode()
        manifest = Manifest(**body)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return manifest if _is_well_formed(manifest) else None


def _is_well_formed(manifest: Manifest) -> bool:
    return (
        all(isinstance(text, str) for text in (manifest.ledger_id, manifest.identity))
        and all(type(number) is int for number in (manifest.job_id, manifest.attempt))
        and isinstance(manifest.metrics, dict)
        and (manifest.veto is None or isinstance(manifest.veto, str))
        and (manifest.peak_rss_mib is None or type(manifest.peak_rss_mib) in {int, float})
        and isinstance(manifest.files, dict)
        and all(_is_entry(name, entry) for name, entry in manifest.files.items())
    )


def _is_entry(name: str, entry: object) -> bool:
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return inside and isinstance(entry, dict) and type(entry.get("bytes")) is int and type(entry.get("sha256")) is str


def faults(run_dir: Path, manifest: Manifest) -> list[str]:
    """Compare every file with the manifest; return what is missing or differs, in words."""
    found = []
    for name, wanted in manifest.files.items():
        path = run_dir / name
        try:
            if path.stat().st_size != wanted["bytes"] or sha256_of(path) != wanted["sha256"]:
                found.append(f"{name} differs from its checksum")
        except FileNotFoundError:
            found.append(f"{name} is missing")
        except OSError as exc:
            found.append(f"{name} cannot be read: {exc.strerror}")
    return found


def _is_passing(relative: Path) -> bool:
    """Return True for what is not a result: checkpoints, the manifest, files of desktops (`.DS_Store`, `._x`)."""
    return relative.parts[0] == CHECKPOINT_FOLDER or relative.name == MANIFEST_NAME or relative.name.startswith(".")
