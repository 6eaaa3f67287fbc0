"""`python -m jobs.importing.headlines`: a request on standard input, `work`/headlines.parquet and an answer.

Runs on the trainers' Python, started by `text import`. A time with a zone is an instant; one without is in the zone
that was declared, and an hour that occurs twice there is the later one. A date without a time of day counts from the
end of the day: nobody knows when on that day it was published.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from cbi_queue.artifacts import sha256_of
from cbi_queue.datasets.headlines import FILE
from cbi_queue.errors import CbiError
from cbi_queue.regular_files import plain_words
from cbi_queue.wording import counted
from jobs.data.columns import words_of
from jobs.data.headlines import PUBLISHED, SCHEMA, TEXT
from jobs.importing.source import apart_words, open_source
from jobs.importing.values import MISSING, quoted
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PUBLISHED_NAMES = (
    "published_at",
    "published",
    "publication_time",
    "timestamp",
    "datetime",
    "date_time",
    "time",
    "date",
)
TEXT_NAMES = ("headline", "title", "text", "news", "article")
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_TEXT = 100_000
_EPOCH = re.compile(r"\d{9,10}\Z|\d{12,13}\Z")
_DAY = re.compile(r"\d{4}-?\d{2}-?\d{2}\Z")
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def stage(request: dict[str, Any]) -> dict[str, Any]:
    """Read `files` into `work`/headlines.parquet.

    Args:
        request: `files`, `work`, `threads`, `published`, `text`, `zone`, `time_format`, and `add`: the file to add
        to, or None.

    Returns:
        What would be imported.

    Raises:
        BrokenSpec: naming file, column, row and remedy.
    """
    work = Path(request["work"])
    rows, empty = [], 0
    clock = _Clock(request.get("zone"), request.get("time_format"))
    columns, apart = ("", ""), list[str]()
    for name in request["files"]:
        times, texts, columns = _columns(Path(name), work, request, apart)
        for number, (moment, text) in enumerate(zip(times, texts, strict=True), start=1):
            words = " ".join(str(text).split()) if text is not None else ""
            if words.lower() in MISSING:
                empty += 1
                continue
            rows.append((clock.instant(moment, f"{name}, row {number}, column {columns[0]!r}"), words[:LONGEST_TEXT]))
    if not rows:
        raise BrokenSpec(
            f"{', '.join(request['files'])}: no headline in column {columns[1]!r}; allowed are rows with a text"
        )
    before = _earlier(request.get("add"))
    every = sorted({*before, *rows})
    target = work / FILE
    published = pa.array([moment for moment, _ in every], pa.int64()).cast(SCHEMA.field(PUBLISHED).type)
    pq.write_table(
        pa.table([published, pa.array([text for _, text in every], pa.string())], SCHEMA), target, compression="zstd"
    )
    return {
        "files": list(request["files"]),
        "published": columns[0],
        "text": columns[1],
        "headlines": len(every),
        "read": len(rows),
        "new": len(every) - len(before),
        "first": _written(every[0][0]),
        "last": _written(every[-1][0]),
        "notes": apart_words(apart) + _notes(rows, before, every, empty, clock),
        "staged": str(target),
        "sha256": sha256_of(target),
    }


def _notes(rows: list[Any], before: set[Any], every: list[Any], empty: int, clock: _Clock) -> list[str]:
    notes = []
    if doubles := len(rows) - len(set(rows)):
        notes.append(f"{counted(doubles, 'headline')} left out: the same text at the same time")
    if known := len(set(rows) & before):
        notes.append(f"{counted(known, 'headline')} left out: imported before")
    if empty:
        notes.append(f"{counted(empty, 'row')} without a text left out")
    if clock.days:
        notes.append(f"{counted(clock.days, 'headline')} without a time of day: counted from the end of the day")
    if clock.naive:
        notes.append(f"{counted(clock.naive, 'time')} without a zone: taken as {clock.zone}")
    now = (datetime.now(UTC) - _EPOCH_START) // timedelta(microseconds=1)
    if future := sum(moment > now for moment, _ in every):
        notes.append(f"{counted(future, 'headline')} dated after this machine's present time: is the zone right?")
    return notes


def _earlier(path: str | None) -> set[tuple[int, str]]:
    if path is None or not Path(path).exists():
        return set()
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as exc:
        raise BrokenSpec(
            f"{path} cannot be added to: {' '.join(plain_words(exc).split())[:200]}; import all files again with --replace"
        ) from exc
    return set(zip(table[PUBLISHED].cast(pa.int64()).to_pylist(), table[TEXT].to_pylist(), strict=True))


class _Clock:
    """Turns what a file says into instants, microseconds since 1970; counts what had to be assumed."""

    def __init__(self, zone: str | None, form: str | None) -> None:
        self.zone, self._form = zone, form
        self._at = ZoneInfo(zone) if zone else None
        self.naive = self.days = 0

    def instant(self, written: Any, where: str) -> int:
        """Return the instant; *where* names the place for a refusal."""
        moment = written if isinstance(written, datetime) else self._read(written, where)
        if moment.tzinfo is None:
            if self._at is None:
                raise BrokenSpec(
                    f"{where}: the time {str(written)!r} has no zone; say in which one it is with --zone, such as "
                    "--zone UTC or "
                    "--zone America/New_York"
                )
            self.naive += 1
            moment = moment.replace(tzinfo=self._at, fold=1)
        if not FIRST <= moment < LAST:
            raise BrokenSpec(
                f"{where}: the time {str(written)!r} is in the year {moment.year}; allowed are 1900 to 2199"
            )
        return int((moment - _EPOCH_START) / timedelta(microseconds=1))

    def _read(self, written: Any, where: str) -> datetime:
        text = " ".join(str(written).split()) if written is not None else ""
        if text.lower() in MISSING:
            raise BrokenSpec(
                f"{where}: the publication time is missing; every headline needs one, leave the row out otherwise"
            )
        if self._form is not None:
            return self._by_form(text, where)
        if _EPOCH.match(text):
            return datetime.fromtimestamp(int(text) / (1 if len(text) < 12 else 1000), UTC)
        if _DAY.match(text):
            self.days += 1
            return self._first_of(text, where, lambda day: datetime.combine(datetime.fromisoformat(day), time.max))
        return self._first_of(text, where, datetime.fromisoformat, parsedate_to_datetime)

    def _by_form(self, text: str, where: str) -> datetime:
        form = str(self._form)
        found = self._first_of(text, where, lambda t: datetime.strptime(t, form))  # noqa: DTZ007 - a zone follows
        if not any(sign in form for sign in ("%H", "%I", "%c", "%X", "%T", "%s")):
            self.days += 1
            return datetime.combine(found, time.max, found.tzinfo)
        return found

    def _first_of(self, text: str, where: str, *readers: Callable[[str], datetime]) -> datetime:
        for read in readers:
            try:
                return read(text)
            except (ValueError, TypeError, IndexError, OverflowError):
                continue
        allowed = "2024-03-01T13:20:00Z, 2024-03-01 13:20, Fri, 01 Mar 2024 13:20:00 GMT, seconds since 1970"
        expected = f"in the form {self._form!r}" if self._form else f"a time such as {allowed}"
        hint = "" if self._form else "; for another form: --time-format, such as '%m/%d/%Y %H:%M'"
        raise BrokenSpec(f"{where}: {text[:60]!r} is not {expected}{hint}")


def _columns(
    path: Path, work: Path, request: dict[str, Any], apart: list[str]
) -> tuple[list[Any], list[Any], tuple[str, str]]:
    """Return times and texts of one file or folder of part files, and the names of their columns; *apart* gets the rest."""
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if parts and all(part.suffix.lower() in {".parquet", ".parq", ".pq"} for part in parts):
        return _parquet_columns(parts, request)
    room = work / f"text-{len(list(work.iterdir()))}"
    room.mkdir()
    source = open_source([path], room, request.get("threads") or 1, parallel=False)
    if set(source.columns.values()) != {"text"}:
        raise BrokenSpec(f"{path} is a Parquet file whose name does not end in .parquet; rename it")
    apart += source.apart
    names = _chosen(list(source.columns), request, str(path))
    table = source.connection.execute(f"SELECT {quoted(names[0])}, {quoted(names[1])} FROM source").fetchall()
    return [row[0] for row in table], [row[1] for row in table], names


def _parquet_columns(parts: Sequence[Path], request: dict[str, Any]) -> tuple[list[Any], list[Any], tuple[str, str]]:
    times: list[Any] = []
    texts: list[Any] = []
    names = ("", "")
    for part in parts:
        try:
            schema = pq.read_schema(part)
            names = _chosen(schema.names, request, str(part))
            table = pq.read_table(part, columns=list(names))
        except (OSError, pa.ArrowException) as exc:
            raise BrokenSpec(f"{part} cannot be read as Parquet: {' '.join(plain_words(exc).split())[:200]}") from exc
        times += _moments(table[names[0]], f"{part}, column {names[0]!r}")
        texts += [None if text is None else str(text) for text in table[names[1]].to_pylist()]
    return times, texts, names


def _moments(column: Any, where: str) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return list(column.cast(pa.timestamp("us", tz=kind.tz), safe=False).to_pylist())
    if pa.types.is_date(kind):
        return [None if day is None else str(day)[:10] for day in column.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.to_pylist())
    raise BrokenSpec(f"{where} is of type {words_of(kind)}; allowed are times, dates, text, and seconds since 1970")


def _chosen(names: Sequence[str], request: dict[str, Any], path: str) -> tuple[str, str]:
    published = _named(names, request.get("published"), PUBLISHED_NAMES, "published", "publication times", path)
    return published, _named(names, request.get("text"), TEXT_NAMES, "text", "headlines", path)


def _named(names: Sequence[str], wanted: str | None, usual: Sequence[str], option: str, what: str, path: str) -> str:
    have = ", ".join(names[:20])
    if wanted is not None:
        if wanted not in names:
            raise BrokenSpec(f"{path}: no column {wanted!r} (--{option}); it has {have}")
        return wanted
    lower = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None:
        raise BrokenSpec(
            f"{path}: which column holds the {what} cannot be told; name it with --{option}; it has {have}"
        )
    return found


def _written(moment: int) -> str:
    return (_EPOCH_START + timedelta(microseconds=moment)).isoformat(timespec="seconds")


def main() -> int:
    """Answer one request; return the exit code."""
    request = json.load(sys.stdin)
    try:
        answer = stage(request)
    except (BrokenSpec, CbiError) as exc:
        answer = {"fault": str(exc)}
    except OSError as exc:
        answer = {"fault": f"{exc.filename}: {exc.strerror}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
