"""What the data page shows of every data set. Read-only; exports are opened in the background, by a process of its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.datasets.description import DataSet, read_description
from cbi_queue.datasets.place import DESCRIPTION_NAME, dataset_names, exports_in, manifest_path, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.ledger import Ledger, queries
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.views.data_sets import Newest, built_words, looked_into, newest_beside, newest_forecasts
from cbi_queue.views.forecast import FOLDER, LATEST, flags_of, folder_of, read_latest
from cbi_queue.views.history import ledger_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cbi_queue.api.asked_once import AskedOnce
    from cbi_queue.settings import Settings

FEATURES_SHOWN = 10
FORECASTS = f"{FOLDER}/{LATEST}"


@dataclass(frozen=True, slots=True)
class Export:
    """One file, as it was opened."""

    name: str
    size: int | None
    """Bytes; None: not known."""
    body: Mapping[str, Any]
    """What `jobs.data_check` said of it; without "rows" it was not read to its end."""
    columns: tuple[tuple[str, str, float, str], ...]
    """Name, role, coverage from 0 to 1, and the choices about it."""


@dataclass(frozen=True, slots=True)
class SetView:
    """One data set."""

    name: str
    is_there: bool
    """False: jobs name it, and it has no folder."""
    choices: DataSet | None
    fault: str
    """Why it could not be looked into; empty: it could, or is not yet."""
    is_waiting: bool
    """True while its exports are being opened."""
    exports: tuple[Export, ...]
    snapshots: tuple[tuple[str, str | None, str], ...]
    """Horizon, snapshot, what its features were built from; empty: not known."""
    users: tuple[tuple[str, str, int], ...]
    """Horizon, state, number of jobs."""
    newest: tuple[Newest, ...]
    beside: tuple[tuple[str, ...], ...]
    """Newest volatility and regimes, as `newest_beside` has them."""
    flags: tuple[str, ...]
    made_at: str
    """When the newest forecasts were written, for `<time>`; empty: there are none."""

    @property
    def jobs(self) -> int:
        """How many jobs use it."""
        return sum(count for *_, count in self.users)


def data_sets(settings: Settings, asked_once: AskedOnce) -> Iterator[SetView]:
    """Yield every data set that has a folder or that a job names.

    Raises:
        VolumeMissing: when the volume of the data is not mounted.
    """
    settings.require_volume()
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        users = _users(ledger, settings.ledger_path)
    there = dataset_names(settings.exports_dir)
    for name in dict.fromkeys([*there, *(dataset for dataset, *_ in users)]):
        used = tuple((horizon, state, count) for dataset, horizon, state, count in users if dataset == name)
        if not used and not exports_in(of_dataset(settings.exports_dir, name)):
            continue  # the empty folder that every installation begins with
        yield _set(settings, asked_once, name, used, is_there=name in there)


_users_lock = threading.Lock()
_kept_users: dict[Path, tuple[tuple[object, ...], list[tuple[str, str, str, int]]]] = {}


def _users(ledger: Ledger, path: Path) -> list[tuple[str, str, str, int]]:
    """Return which jobs use which data, kept until the ledger changes: it takes a look into every job."""
    stamp = ledger_stamp(ledger, path)
    with _users_lock:
        kept = _kept_users.get(path)
        if kept is None or kept[0] != stamp:
            _kept_users.clear()
            kept = _kept_users[path] = (stamp, queries.users_of_data(ledger))
        return kept[1]


def _set(
    settings: Settings, asked_once: AskedOnce, name: str, users: tuple[tuple[str, str, int], ...], *, is_there: bool
) -> SetView:
    folder = of_dataset(settings.exports_dir, name)
    choices, fault = DataSet(), ""
    found: dict[str, Any] | None = None
    has_exports = is_there and bool(exports_in(folder))
    if is_there:
        try:
            choices = read_description(folder)
        except Refused as exc:
            fault = f"{exc.message}; {exc.hint}"
        else:
            if has_exports:
                found, fault = asked_once.answer(_key(settings, name), lambda: looked_into(settings, name))
    latest = read_latest(settings.logs, name) if is_there else None
    path = folder_of(settings.logs, name) / LATEST
    return SetView(
        name=name,
        is_there=is_there,
        choices=choices,
        fault=fault,
        is_waiting=has_exports and found is None and not fault,
        exports=tuple(_exports(folder, found, choices)) if is_there else (),
        snapshots=_snapshots(found),
        users=users,
        newest=tuple(newest_forecasts(latest)),
        beside=tuple(newest_beside(latest)),
        flags=tuple(flag.words for flag in flags_of(latest, name)),
        made_at=clock.from_epoch_s(path.stat().st_mtime).isoformat() if latest else "",
    )


def _key(settings: Settings, name: str) -> tuple[object, ...]:
    """Return what an answer about a data set depends on: every file that it reads, as the folder lists them now."""
    folder, processed = of_dataset(settings.exports_dir, name), of_dataset(settings.processed_dir, name)
    paths = [*exports_in(folder), folder / DESCRIPTION_NAME, *(manifest_path(processed, one) for one in HORIZONS)]
    return ("data", name, *map(_stamp, paths))


def _stamp(path: Path) -> tuple[str, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return path.name, status.st_size, status.st_mtime_ns


def _exports(folder: Path, found: Mapping[str, Any] | None, choices: DataSet) -> Iterator[Export]:
    bodies = {str(body["path"]): body for body in (found or {}).get("exports", ())}
    for path in exports_in(folder):
        body = bodies.get(str(path), {})
        stamp = _stamp(path)
        columns = tuple(
            (str(one["name"]), str(one["role"]).replace("_", " "), float(one["coverage"]), _chosen(one, choices))
            for one in body.get("columns", ())
        )
        yield Export(path.name, stamp[1] if stamp else None, body, columns)


def _chosen(column: Mapping[str, Any], choices: DataSet) -> str:
    chosen = choices.columns.get(str(column.get("in_the_file"))) or choices.columns.get(str(column["name"]))
    if chosen is None:
        return ""
    words = [f"published {chosen.lag_days} d later"] if chosen.lag_days else []
    words += [f"filled for {chosen.max_age_days} d"] if chosen.max_age_days else []
    return ", ".join(words)


def _snapshots(found: Mapping[str, Any] | None) -> tuple[tuple[str, str | None, str], ...]:
    if found is None:
        return ()
    return tuple(
        (horizon, snapshot, built_words(snapshot, found["features_of"][horizon]))
        for horizon, snapshot in found["snapshots"].items()
    )
