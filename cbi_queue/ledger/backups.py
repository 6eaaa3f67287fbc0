"""The daily backups of the ledger: listed, checked, and put in the ledger's place."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import atomic_file
from cbi_queue.errors import LedgerError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PREFIX = "ledger-"
_STAMP = "%Y%m%dT%H%M%SZ"
_TABLES = frozenset({"jobs", "attempts", "events", "holds"})


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup file, as it was found."""

    path: Path
    made_at: datetime
    """Aware UTC, from the file's name."""
    jobs: int
    """Rows in its table of jobs; 0 when it cannot be restored."""
    unfinished: int
    """Jobs in it that had not ended."""
    fault: str | None
    """Why it cannot be restored; None when every page is sound."""


def backup_paths(folder: Path) -> list[Path]:
    """Return the backups in *folder*, newest first; files of other names are left out.

    Raises:
        LedgerError: when the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.suffix == ".db"]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise LedgerError(f"cannot read the folder of backups {folder}: {exc.strerror}") from exc
    return sorted((path for path in found if _made_at(path)), reverse=True)


def inspect(path: Path, newest_schema: int) -> Backup:
    """Read the backup at *path* from end to end, without changing it.

    Args:
        path: a file in the folder of backups; links and pipes are never opened.
        newest_schema: number of the newest schema that can be opened.
    """
    made_at = _made_at(path) or datetime.fromtimestamp(0, UTC)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return Backup(path, made_at, 0, 0, "not a regular file")
        with path.open("rb"), closing(_open(path)) as conn:
            if (fault := _fault(conn, newest_schema)) is not None:
                return Backup(path, made_at, 0, 0, fault)
            jobs, unfinished = conn.execute(
                "SELECT COUNT(*), COALESCE(SUM(state NOT IN ('succeeded','vetoed','failed','cancelled')), 0) FROM jobs"
            ).fetchone()
    except (sqlite3.Error, OSError) as exc:
        return Backup(path, made_at, 0, 0, f"cannot be read: {getattr(exc, 'strerror', None) or exc}")
    return Backup(path, made_at, jobs, unfinished, None)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _fault(conn: sqlite3.Connection, newest_schema: int) -> str | None:
    verdict = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        return f"damaged: {verdict}"
    schema = conn.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if schema > newest_schema:
        return f"made by a newer cbi-queue (schema {schema}; this one knows {newest_schema})"
    return None if schema > 0 and tables >= _TABLES else "not a ledger"


def chosen(folder: Path, wanted: str, newest_schema: int) -> Backup:
    """Return the sound backup that *wanted* names: a file name or path in *folder*, or `newest`.

    Raises:
        Refused: when there is none, or it cannot be restored.
    """
    paths = backup_paths(folder)
    if not paths:
        raise Refused(f"there is no backup in {folder}")
    if wanted == "newest":
        backup = next((b for path in paths if (b := inspect(path, newest_schema)).fault is None), None)
        if backup is None:
            raise Refused(f"no backup in {folder} can be restored", hint="`cbi-queue restore` shows why")
        return backup
    path = next((path for path in paths if wanted in (path.name, path.stem, str(path))), None)
    if path is None:
        hint = "`cbi-queue restore` lists them; name one, or `newest`"
        raise Refused(f"{wanted!r} is not a backup in {folder}", hint=hint)
    backup = inspect(path, newest_schema)
    if backup.fault is not None:
        raise Refused(f"the backup {path} cannot be restored: {backup.fault}", hint="`cbi-queue restore` lists them")
    return backup


def restore(backup: Backup, ledger_path: Path, migrate: Callable[[Path], None]) -> Path | None:
    """Put *backup* in the place of the ledger; the caller holds the slot, so nothing writes to either.

    A copy is made and migrated first; only then are the files of the old ledger moved into a folder beside it, with
    `-wal` and `-shm`, because SQLite would apply them to the backup.

    Args:
        backup: sound.
        ledger_path: where it goes.
        migrate: brings the database at a path to the current schema.

    Returns:
        The folder with the old files; None when there were none.

    Raises:
        LedgerError: when it cannot be copied or migrated; the ledger is then as it was.
    """
    try:
        with atomic_file(ledger_path) as part:
            shutil.copyfile(backup.path, part)
            part.chmod(0o600)
            migrate(part)
            with closing(sqlite3.connect(part)) as conn:
                conn.execute("PRAGMA journal_mode = DELETE")
            kept = _set_aside(ledger_path)
    except (OSError, sqlite3.Error) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise LedgerError(f"cannot restore {backup.path}: {why}; the ledger is as it was") from exc
    return kept


def _set_aside(ledger_path: Path) -> Path | None:
    files = (ledger_path.with_name(ledger_path.name + suffix) for suffix in ("-wal", "-shm", ""))
    old = [path for path in files if path.exists()]
    if not old:
        return None
    name = f"replaced-{clock.utc_now().strftime(_STAMP)}"
    numbered = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    folder = next(found for each in numbered if not (found := ledger_path.with_name(each)).exists())
    folder.mkdir(mode=0o700)
    for path in old:
        path.replace(folder / path.name)
    return folder


def _made_at(path: Path) -> datetime | None:
    try:
        return datetime.strptime(path.stem.removeprefix(PREFIX), _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
