"""What is in MLflow's store, read from the file itself in a millisecond, without MLflow."""

from __future__ import annotations

import errno
import shlex
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cbi_queue.errors import CbiError
from cbi_queue.regular_files import check_file, check_folder, plain_words

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

KEY, VERSION = "cbi_queue.run", "cbi_queue.version"
"""Tags of ours: which run it is, and what of it was written. The second comes last."""
LOCK_S = 2.0
DATABASE = "mlflow.db"
LOOK_PORT = 5000
LOOK_AT = f"http://127.0.0.1:{LOOK_PORT}"
"""Where `mlflow ui` shows the store, once someone has started it."""


class TrackingFailed(CbiError):
    """Runs could not be written to MLflow's store."""


@dataclass(frozen=True, slots=True)
class Known:
    """A run that is in the store."""

    run_id: str
    version: str | None
    """None: it was cut off while it was written."""
    is_deleted: bool
    """True: the user deleted it in MLflow, so it is left alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the store a run is."""

    run_id: str
    experiment_id: str
    experiment: str

    @property
    def path(self) -> str:
        """What follows the address of `mlflow ui` in the link to the run."""
        return f"/#/experiments/{quote(self.experiment_id, safe='')}/runs/{quote(self.run_id, safe='')}"


def store_dir(settings: Settings) -> Path:
    """Return the folder of the store."""
    return settings.models / "mlflow"


def database(settings: Settings) -> Path:
    """Return the store's file."""
    return store_dir(settings) / DATABASE


def uri_of(settings: Settings) -> str:
    """Return what `mlflow ui --backend-store-uri` takes."""
    return f"sqlite:///{database(settings)}"


def known_runs(settings: Settings) -> dict[str, Known]:
    """Return what is in the store: key -> run; nothing when there is no store yet.

    Raises:
        TrackingFailed: when the file cannot be read.
    """
    sql = """
        SELECT k.value, k.run_uuid, v.value, r.lifecycle_stage FROM tags k JOIN runs r ON r.run_uuid = k.run_uuid
        LEFT JOIN tags v ON v.run_uuid = k.run_uuid AND v.key = ? WHERE k.key = ?
    """
    rows = _rows(settings, sql, VERSION, KEY)
    return {key: Known(run_id, version, stage == "deleted") for key, run_id, version, stage in rows}


def place_of(settings: Settings, key: str) -> Place | None:
    """Return where the run *key* is; None when it is not in the store, or was deleted there.

    Raises:
        TrackingFailed: when the file cannot be read.
    """
    sql = """
        SELECT r.run_uuid, e.experiment_id, e.name FROM tags k JOIN runs r ON r.run_uuid = k.run_uuid
        JOIN experiments e ON e.experiment_id = r.experiment_id
        WHERE k.key = ? AND k.value = ? AND r.lifecycle_stage = 'active'
    """
    rows = _rows(settings, sql, KEY, key)
    return Place(*map(str, rows[0])) if rows else None


def look_command(settings: Settings, program: str = "mlflow") -> str:
    """Return the command that shows the store in a browser, at `LOOK_AT`."""
    return f"{shlex.quote(program)} ui --backend-store-uri {shlex.quote(uri_of(settings))} --port {LOOK_PORT}"


def _rows(settings: Settings, sql: str, *values: str) -> list[tuple[Any, ...]]:
    path = database(settings)
    try:
        check_folder(path.parent)
        check_file(path)
        if not path.exists() or path.stat().st_size == 0:
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_S)) as conn:
            if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'tags'").fetchone() is None:
                return []
            return conn.execute(sql, values).fetchall()
    except (OSError, sqlite3.Error) as exc:
        raise failed(path, exc) from exc


def failed(path: Path, exc: BaseException) -> TrackingFailed:
    """Return *exc* as words about the store at *path*, with what to do."""
    why = " ".join(plain_words(exc, path).split())
    lower = why.lower()
    if "locked" in lower:
        hint = "another program writes to it; it is tried again"
    elif "full" in lower or getattr(exc, "errno", None) == errno.ENOSPC:
        hint = "free up space on that disk; it is tried again"
    elif "readonly" in lower or "read-only" in lower:
        hint = "make that disk writable; it is tried again"
    elif "schema" in lower:
        hint = f"`mlflow db upgrade 'sqlite:///{path}'` brings an older store up to date"
    elif "not a database" in lower or "malformed" in lower:
        hint = "move that file away: `cbi-queue track` writes every run into a new one"
    else:
        hint = "`cbi-queue track` tries it again"
    return TrackingFailed(f"runs are not tracked: {path}: {_without_sql(why)}", hint=hint)


def _without_sql(why: str) -> str:
    """Return the first sentence of an error of MLflow, without the statement that it quotes."""
    return why.partition("[SQL:")[0].partition("(Background on")[0].strip()[:300].replace(f"{Path.cwd()}/", "")
