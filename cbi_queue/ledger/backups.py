"""The daily backups of the ledger: listed, checked, and put in the ledger's place."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import atomic_file
from cbi_queue.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "ledger-"
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup file, as it was found."""

    path: Path
    made_at: datetime
    """Aware UTC, from the file's name."""
    jobs: int
    """Rows in its table of jobs; 0 when it is damaged."""
    unfinished: int
    """Jobs in it that had not ended."""
    fault: str | None
    """Why it cannot be restored; None when every page is sound."""


def backup_paths(folder: Path) -> list[Path]:
    """Return the backups in *folder*, newest first; files of other names are left out."""
    return sorted((path for path in folder.glob(f"{PREFIX}*.db") if _made_at(path)), reverse=True)


def inspect(path: Path) -> Backup:
    """Read the backup at *path* from end to end, without changing it."""
    made_at = _made_at(path) or datetime.fromtimestamp(0, UTC)
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as conn:
            verdict = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
            jobs, unfinished = conn.execute(
                "SELECT COUNT(*), COALESCE(SUM(state NOT IN ('succeeded','vetoed','failed','cancelled')), 0) FROM jobs"
            ).fetchone()
    except sqlite3.Error as exc:
        return Backup(path, made_at, 0, 0, str(exc))
    return Backup(path, made_at, jobs, unfinished, None if verdict == "ok" else str(verdict))


def chosen(folder: Path, wanted: str) -> Backup:
    """Return the sound backup that *wanted* names: a file name in *folder*, or `newest`.

    Raises:
        Refused: when there is none, or it is damaged.
    """
    paths = backup_paths(folder)
    if not paths:
        raise Refused(f"there is no backup in {folder}")
    if wanted == "newest":
        backup = next((found for found in map(inspect, paths) if found.fault is None), None)
        if backup is None:
            raise Refused(f"every backup in {folder} is damaged")
        return backup
    path = next((path for path in paths if path.name == wanted), None)
    if path is None:
        raise Refused(
            f"{wanted!r} is not a backup in {folder}", hint="`cbi-queue restore` lists them; name one, or say newest"
        )
    backup = inspect(path)
    if backup.fault is not None:
        raise Refused(f"the backup {path} is damaged: {backup.fault}", hint="choose another: `cbi-queue restore`")
    return backup


def restore(backup: Backup, ledger_path: Path) -> Path | None:
    """Put *backup* in the place of the ledger; the caller holds the slot, so nothing writes to either.

    The files of the old ledger are moved, never deleted: `-wal` and `-shm` as well, because SQLite would apply them
    to the backup.

    Returns:
        The folder with the old files; None when there were none.
    """
    kept = _set_aside(ledger_path)
    with atomic_file(ledger_path) as part:
        shutil.copyfile(backup.path, part)
        part.chmod(0o600)
    return kept


def _set_aside(ledger_path: Path) -> Path | None:
    old = [
        path for suffix in ("", "-wal", "-shm") if (path := ledger_path.with_name(ledger_path.name + suffix)).exists()
    ]
    if not old:
        return None
    folder = ledger_path.parent / f"replaced-{clock.utc_now().strftime(_STAMP)}"
    folder.mkdir(mode=0o700)
    for path in old:
        path.replace(folder / path.name)
    return folder


def _made_at(path: Path) -> datetime | None:
    try:
        return datetime.strptime(path.stem.removeprefix(PREFIX), _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
