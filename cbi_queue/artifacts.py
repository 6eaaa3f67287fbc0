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
import re
import shutil
import stat
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.regular_files import check_folder, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

MANIFEST_NAME = "manifest.json"
CHECKPOINT_FOLDER = "checkpoints"
MOST_MANIFEST_BYTES = 4 << 20
"""Largest manifest that is read; one of ours takes a few KiB."""
MAY_DIFFER = "may_differ"
"""Key of a run's metrics: why an undisturbed run could have given other numbers, a list of words; absent: it could not."""
LEFT_S = 86_400.0
"""Age from which an unfinished file belongs to a process that was killed: none is written for a day."""
PART = ".cbi.part"
"""How the names of our unfinished files and folders end: folders of the user have others that end in `.part`."""
_UNFINISHED = re.compile(rf"\..+[.-][a-z0-9_]{{8}}{re.escape(PART)}(?:-journal|-wal|-shm)?")
"""Names that `tempfile` makes of ours, and what SQLite puts beside them."""
_OS_ERROR = re.compile(r"\(os error (\d{1,4})\)")
"""How libraries in Rust tell of an error of the system."""
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
    """Return the run folder of a job: `local/<horizon>/<name>-<hash>`, baselines under `local/baselines/`,
    scripts under `local/scripts/`.

    The folder is named by content, so every attempt of a job finds the checkpoints of the earlier ones.
    """
    shelf = "baselines" if model in bars else "scripts" if horizon == "-" else horizon
    return models / "local" / shelf / f"{name}-{identity[:12]}"


def flush(descriptor: int) -> None:
    """Flush an open file to the drive, past its cache on macOS."""
    if sys.platform == "darwin":  # pragma: no cover - exercised on macOS only
        import fcntl

        with contextlib.suppress(OSError):  # a volume without F_FULLFSYNC (exFAT, SMB) gets the fsync below
            fcntl.fcntl(descriptor, _F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_file(path: Path) -> None:
    """Flush the file at *path* to the drive."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


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


@cache
def tidy(folder: Path) -> None:
    """Remove unfinished files and folders that killed processes left in *folder* a day ago; once in a process."""
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            if _UNFINISHED.fullmatch(left.name) and clock.epoch_s() - left.lstat().st_mtime > LEFT_S:
                if stat.S_ISDIR(left.lstat().st_mode):
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside *path*; on success flush it and rename it into place, else remove it.

    The folder must exist: creating missing parents here would create the path of an unmounted volume on another disk.
    What SIGKILL leaves unfinished there goes when a later process writes into the folder (`tidy`).

    Raises:
        OSError: from the file system (no space, volume gone); *path* then still has its old content.
    """
    import tempfile  # four other libraries, which a reader does not need

    tidy(path.parent)
    handle, raw = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
    os.close(handle)
    part = Path(raw)
    try:
        yield part
        flush_file(part)
        part.replace(path)
    except BaseException as exc:
        with contextlib.suppress(OSError):  # the volume may be gone: raise the first error
            part.unlink(missing_ok=True)
        if isinstance(exc, Exception) and (found := _OS_ERROR.search(str(exc))):  # Polars has an error of its own
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from exc
        if isinstance(exc, OSError) and exc.filename is None:  # a full disk does not say of which file
            exc.filename = str(path)
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


def sha256_of(path: Path, *, follow: bool = False) -> str:
    """Return the hex SHA-256 of a regular file's content; *follow* a link only to a file of the user."""
    with open_stream(path, follow=follow) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def reopen_folder(run_dir: Path) -> None:
    """Create the folder (never its parents) and remove an old manifest: from here on it is not complete.

    Raises:
        OSError: from the file system, or because a link or a file is in the place of the folder.
    """
    check_folder(run_dir)
    run_dir.mkdir(exist_ok=True)
    check_folder(run_dir / CHECKPOINT_FOLDER)
    (run_dir / MANIFEST_NAME).unlink(missing_ok=True)
    for part in run_dir.rglob(".*.part"):
        part.unlink(missing_ok=True)


def complete_folder(run_dir: Path, manifest: Manifest) -> Manifest:
    """List every file of the folder except checkpoints in the manifest and write it, which completes the folder."""
    paths = {name: run_dir / name for name in _files_below(run_dir)}
    files = {
        name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in paths.items()
        if path.is_file() and not path.is_symlink()
    }
    full = Manifest(**{**asdict(manifest), "files": files})
    write_json(run_dir / MANIFEST_NAME, asdict(full))
    return full


def read_manifest(run_dir: Path) -> Manifest | None:
    """Return the folder's manifest; None when there is none, or it is not as `complete_folder` writes it."""
    return open_manifest(run_dir)[0]


def open_manifest(run_dir: Path) -> tuple[Manifest | None, str]:
    """Return the folder's manifest and "", or None and why it cannot be believed, in words. Follows no link."""
    try:
        if not run_dir.is_dir() or run_dir.is_symlink():
            return None, f"the run folder {run_dir} is {_what_else(run_dir)}"
        with open_inside(run_dir, MANIFEST_NAME) as stream:
            content = stream.read(MOST_MANIFEST_BYTES + 1)
    except OSError as exc:
        return None, f"its manifest {_unreadable(exc)}"
    if len(content) > MOST_MANIFEST_BYTES:
        return None, f"its manifest is larger than {MOST_MANIFEST_BYTES >> 20} MiB, which none of ours is"
    manifest = _parsed(content)
    if manifest is None:
        return None, "its manifest is damaged"
    outside = next((name for name in manifest.files if not _is_inside(name)), None)
    if outside is not None:
        return None, f"its manifest names {outside[:80]!r}, which is outside the run folder and was not read"
    return manifest, ""


def _parsed(content: bytes) -> Manifest | None:
    try:
        body = json.loads(content)
        json.dumps(body, allow_nan=False).encode()
        manifest = Manifest(**body)
    except (ValueError, TypeError, RecursionError):
        return None
    return manifest if _is_well_formed(manifest) else None


def _what_else(path: Path) -> str:
    return "a link, and links are not followed" if path.is_symlink() else "no folder" if path.exists() else "missing"


def _unreadable(exc: OSError) -> str:
    if isinstance(exc, FileNotFoundError):
        return "is missing"
    return str(exc) if isinstance(exc, NoRegularFile) else f"cannot be read: {exc.strerror}"


class NoRegularFile(OSError):
    """Something else than a file of its own lies where a result should be: a link, a pipe, a folder."""


def open_inside(run_dir: Path, name: str) -> BufferedReader:
    """Open the file *name* below *run_dir* for reading, without following a link on the way and without waiting.

    Raises:
        NoRegularFile: when it, or a folder on the way, is a link, or it is no regular file.
        OSError: from the file system.
    """
    path = run_dir / name
    if any(
        folder.is_symlink() for folder in (path, *path.parents) if folder.is_relative_to(run_dir) and folder != run_dir
    ):
        raise NoRegularFile("is a link, and links are not followed")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoRegularFile("is no regular file")
    return os.fdopen(descriptor, "rb")


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
    is_sized = isinstance(entry, dict) and type(entry.get("bytes")) is int and type(entry.get("sha256")) is str
    return bool(PurePosixPath(name).parts) and "\0" not in name and is_sized


def _is_inside(name: str) -> bool:
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def faults(run_dir: Path, manifest: Manifest) -> list[str]:
    """Compare every file with the manifest; return what is missing or differs, in words. Follows no link."""
    found = []
    for name, wanted in manifest.files.items():
        try:
            with open_inside(run_dir, name) as stream:
                size = os.fstat(stream.fileno()).st_size
                same = size == wanted["bytes"] and hashlib.file_digest(stream, "sha256").hexdigest() == wanted["sha256"]
        except OSError as exc:
            found.append(f"{name} {_unreadable(exc)}")
        else:
            if not same:
                found.append(f"{name} differs from its checksum")
    return found


def unnamed_files(run_dir: Path, manifest: Manifest) -> list[str]:
    """Return the files below the folder that the manifest does not name: they are no part of the result."""
    return [name for name in _files_below(run_dir) if name not in manifest.files]


def _files_below(run_dir: Path) -> list[str]:
    found = (path.relative_to(run_dir) for path in sorted(run_dir.rglob("*")) if not path.is_dir() or path.is_symlink())
    return [str(relative) for relative in found if not _is_passing(relative)]


def _is_passing(relative: Path) -> bool:
    """Return True for what is not a result: checkpoints, the manifest, files of desktops (`.DS_Store`, `._x`)."""
    return relative.parts[0] == CHECKPOINT_FOLDER or relative.name == MANIFEST_NAME or relative.name.startswith(".")
