"""The files that are imported as one relation of DuckDB: text columns of CSV, typed columns of Parquet.

CSV in another encoding, and Parquet with types that DuckDB does not know, are first rewritten beside the target, in
pieces; nothing is ever held whole.
"""

from __future__ import annotations

import glob
import gzip
import shutil
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cbi_queue.regular_files import check_file, plain_words
from jobs.data.columns import index_columns, is_number, words_of
from jobs.importing.form import form_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobs.importing.form import Form

PARQUET = (".parquet", ".parq", ".pq")
TEXT = (".csv", ".tsv", ".txt", ".tab")
GZIP, ZIP = ".gz", ".zip"
BATCH_ROWS = 1 << 17
MOST_UNPACKED = 100
"""Bytes that one packed byte may become: text about prices becomes 3 to 20, a packed file that never ends about 1,000."""
UNPACKED_ANYWAY = 1 << 26
"""Bytes that a packed file of any size may become."""
MOST_MEMBERS = 1000
"""Files that a zip archive may hold."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is imported."""

    connection: duckdb.DuckDBPyConnection
    """Has it as the view `source`."""
    files: tuple[str, ...]
    columns: dict[str, str]
    """Name -> text, date or number, in the file's order."""
    left_out: dict[str, str]
    """Name -> why, for columns that are not in the view."""
    repeated: frozenset[str] = frozenset()
    """Names that several columns of a text file have."""
    separator: str | None = None
    """Of a text file."""
    apart: tuple[str, ...] = ()
    """Names of files in folders and archives that are no tables with the columns of the others."""


def open_source(
    paths: Sequence[Path], work: Path, threads: int, memory_mib: int = 512, *, parallel: bool = True
) -> Source:
    """Open *paths*, files and folders or zip archives of part files, as one relation.

    Args:
        paths: all of one kind, with the same columns.
        work: an empty folder for what has to be rewritten.
        threads: for DuckDB.
        memory_mib: DuckDB's limit; beyond it, it works on the disk.
        parallel: False for CSV with line breaks inside quotes.

    Raises:
        BrokenSpec: naming the file and what is wrong with it.
    """
    files: list[Path] = []
    named: list[str] = []
    apart: list[str] = []
    members: dict[Path, str] = {}
    for path in paths:
        tables, others = _tables_among(_files_of(path))
        if path.suffix.lower() == ZIP and path.is_file():
            members |= (inside := _members_of(path, work, apart))
            tables, others = _tables_among(list(inside))
        files += tables
        named += [str(path)] if path.is_file() else map(str, tables)
        apart += [members.get(file, file.name).rpartition(": ")[2] for file in others]
    with _in_own_names(members):
        kinds = {_kind(file) for file in files}
        if len(kinds) > 1:
            raise BrokenSpec("CSV and Parquet files cannot be imported together; import one kind at a time")
        connection = duckdb.connect()
        connection.execute(
            f"SET threads = {threads}; SET memory_limit = '{memory_mib}MiB'; SET preserve_insertion_order = true; SET enable_progress_bar = false"
        )
        connection.execute("SET temp_directory = ?", [str(work)])
        if kinds == {"text"}:
            form = _open_text(connection, [_unpacked(file, work) for file in files], work, parallel=parallel)
            columns = dict.fromkeys(form.names, "text")
            return Source(connection, tuple(named), columns, {}, form.repeated, form.separator, apart=tuple(apart))
        return Source(connection, tuple(named), *_open_parquet(connection, files, work), apart=tuple(apart))


@contextmanager
def _in_own_names(members: dict[Path, str]) -> Iterator[None]:
    """Let a complaint name a member of an archive as the archive does."""
    try:
        yield
    except BrokenSpec as exc:
        words = str(exc)
        for file, name in members.items():
            words = words.replace(str(file), name)
        raise BrokenSpec(words) from exc


def apart_words(names: Sequence[str]) -> list[str]:
    """Return the note about files that are not imported; empty without any."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"left out, no tables with the columns of the others: {', '.join(names[:5])}{more}"] if names else []


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise BrokenSpec(f"{path} does not exist")
    found = [path]
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
        found = sorted(file for file in inside if _is_known(file))
    if not found:
        raise BrokenSpec(f"{path} holds no CSV or Parquet file")
    for file in found:
        try:
            check_file(file, follow=True)  # reading a pipe, or /proc/kmsg through a link, never ends
        except OSError as exc:
            raise BrokenSpec(f"{file} cannot be imported: {exc.strerror}") from exc
    return found


def _tables_among(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Part *files* from texts that lie beside tables, such as README.txt, and have not their columns."""
    texts = {file for file in files if file.name.lower().removesuffix(GZIP).endswith(".txt")}
    if not texts or len(texts) == len(files):
        return files, []
    wanted = _names_in(next(file for file in files if file not in texts))
    apart = [file for file in files if file in texts and (wanted is None or _names_in(file) != wanted)]
    return [file for file in files if file not in apart], apart


def _names_in(file: Path) -> tuple[str, ...] | None:
    try:
        return form_of(file).names
    except BrokenSpec:
        return None


def _members_of(archive: Path, work: Path, apart: list[str]) -> dict[Path, str]:
    """Write the tables of a zip archive into *work*, under names of our own: no path in it is followed.

    Args:
        archive: its members are counted and measured before any is read.
        work: an own folder.
        apart: gets the names of members that are no tables.

    Returns:
        Each table with what it is called in complaints.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [member for member in opened.infolist() if not member.is_dir() and not _is_hidden(member.filename)]
            tables = sorted((each for each in inside if each.filename.lower().endswith(TEXT)), key=lambda m: m.filename)
            size = sum(member.file_size for member in tables)
            most = max(MOST_UNPACKED * archive.stat().st_size, UNPACKED_ANYWAY)
            why = None
            if len(inside) > MOST_MEMBERS:
                why = f"holds {len(inside):,} files; allowed are {MOST_MEMBERS:,}"
            elif not tables:
                names = ", ".join(member.filename for member in inside[:5])
                why = f"holds no CSV file; it holds {names or 'nothing'}"
            elif size > most:
                why = f"of {archive.stat().st_size:,} bytes unpacks to {size:,}; allowed are {most:,}"
            elif any(member.flag_bits & 1 or member.compress_type not in _PACKINGS for member in tables):
                why = "is encrypted, or packed in a way that is not read here"
            if why:
                raise BrokenSpec(f"{archive} {why}; unpack it yourself and import what it holds")
            apart += [member.filename for member in inside if member not in tables]
            found, before = {}, len(list(work.iterdir()))
            for number, member in enumerate(tables):
                target = work / f"member-{before}-{number}{Path(member.filename).suffix.lower()}"
                with opened.open(member) as packed, target.open("xb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)  # at most the size that was measured
                found[target] = f"{archive}: {member.filename}"
            return found
    except (zipfile.BadZipFile, zlib.error, EOFError) as exc:
        raise BrokenSpec(f"{archive} cannot be unpacked to its end: {exc}") from exc


def _is_hidden(member: str) -> bool:
    return any(part.startswith((".", "_")) for part in member.split("/") if part not in {".", ".."})


def _is_known(file: Path) -> bool:
    return file.name.lower().removesuffix(GZIP).endswith((*PARQUET, *TEXT))


def _kind(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(4)
    if start == b"PAR1":
        return "parquet"
    if file.suffix.lower() in PARQUET:
        raise BrokenSpec(f"{file} is no Parquet file: it begins with {start!r}, not PAR1")
    if start[:2] == b"\x1f\x8b":
        if not file.name.lower().removesuffix(GZIP).endswith(TEXT):
            raise BrokenSpec(f"{file} is an archive; unpack it, or name it as what it holds, such as zl.csv.gz")
        return "text"
    if start[:2] == b"PK" or start == b"\xd0\xcf\x11\xe0":
        raise BrokenSpec(
            f"{file} is a workbook or an archive; save its sheet as CSV, or unpack it and import its files"
        )
    return "text"


def _unpacked(file: Path, work: Path) -> Path:
    """Return *file*, or what it holds when gzip packed it."""
    with file.open("rb") as opened:
        if opened.read(2) != b"\x1f\x8b":
            return file
    target = work / f"unpacked-{len(list(work.iterdir()))}.csv"
    size, most = 0, max(MOST_UNPACKED * file.stat().st_size, UNPACKED_ANYWAY)
    try:
        with gzip.open(file) as packed, target.open("wb") as plain:
            while piece := packed.read(1 << 20):
                size += len(piece)
                if size > most:
                    target.unlink()
                    raise BrokenSpec(
                        f"{file} of {file.stat().st_size:,} bytes unpacks to more than {most:,}; allowed are "
                        f"{MOST_UNPACKED} times its size; unpack it yourself and import what it holds"
                    )
                plain.write(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise BrokenSpec(f"{file} cannot be unpacked to its end: {exc}") from exc
    return target


def _open_text(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], work: Path, *, parallel: bool) -> Form:
    first = form_of(files[0])
    reads = []
    for number, file in enumerate(files):
        form = first if number == 0 else form_of(file)
        if form.names != first.names:
            raise BrokenSpec(f"{file} has other columns than {files[0]}: {', '.join(form.names[:10])}")
        readable = file
        if form.encoding not in {"utf-8", "utf-8-sig"}:
            readable = work / f"{number}.csv"
            with file.open(encoding=form.encoding) as old, readable.open("w", encoding="utf-8", newline="") as new:
                shutil.copyfileobj(old, new, 1 << 20)
        names = "{" + ", ".join(f"{_text(name)}: 'VARCHAR'" for name in form.names) + "}"
        reads.append(
            f"SELECT * FROM read_csv({_path(readable)}, delim = {_text(form.separator)}, quote = '\"', escape = '\"', "
            f"header = false, skip = {form.lines_before_data}, columns = {names}, auto_detect = false, "
            f"null_padding = true, strict_mode = false, parallel = {str(parallel).lower()}, max_line_size = 4000000, "
            "buffer_size = 8000000)"
        )
    connection.execute(f"CREATE VIEW source AS {' UNION ALL '.join(reads)}")
    return first


def _path(file: Path) -> str:
    """Write a path so that DuckDB reads this file: `zl[1].csv` would be a pattern to it, that of zl1.csv."""
    return _text(glob.escape(str(file)))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _open_parquet(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], work: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Rewrite the files with dates, floats and texts only: DuckDB does not know every type, Arrow does."""
    try:
        schema = pq.read_schema(files[0])
    except (OSError, pa.ArrowException) as exc:
        raise BrokenSpec(f"{files[0]} cannot be read as Parquet: {plain_words(exc)}") from exc
    columns, left_out = _kinds_of(schema)
    target = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(work / "source.parquet", target, compression="zstd", compression_level=1) as writer:
        for file in files:
            try:
                with pq.ParquetFile(file) as opened:
                    for batch in opened.iter_batches(BATCH_ROWS, columns=list(columns)):
                        arrays = [_plain(batch.column(name), kind) for name, kind in columns.items()]
                        writer.write_table(pa.Table.from_arrays(arrays, schema=target))
            except (OSError, KeyError, pa.ArrowException) as exc:
                raise BrokenSpec(
                    f"{file} cannot be read to its end: {' '.join(plain_words(exc).split())[:200]}"
                ) from exc
    connection.execute(f"CREATE VIEW source AS SELECT * FROM read_parquet({_path(work / 'source.parquet')})")
    return columns, left_out


_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods whose unpacking takes a bounded piece of memory."""
_TYPES = {"date": pa.date32(), "number": pa.float64(), "text": pa.string(), "flag": pa.float64()}


def _kinds_of(schema: Any) -> tuple[dict[str, str], dict[str, str]]:
    columns, left_out, index = {}, {}, index_columns(schema)
    for name in dict.fromkeys(schema.names):
        kind = schema.field(schema.names.index(name)).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_date = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        is_text = any(
            is_kind(inner) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        )
        if schema.names.count(name) > 1:
            left_out[name] = "several columns have that name"
        elif name in index and not is_date:
            left_out[name] = "it is the row number or index that pandas stored"
        elif is_date or is_text:
            columns[name] = "date" if is_date else "text"
        elif is_number(kind):
            columns[name] = "flag" if pa.types.is_boolean(inner) else "number"
        else:
            left_out[name] = f"its type {words_of(kind)} is not a number"
    return columns, left_out


def _plain(column: Any, kind: str) -> Any:
    import pyarrow.compute as pc  # 25 ms that a text file does not need

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind == "date" and pa.types.is_timestamp(column.type):
        column = pc.local_timestamp(column) if column.type.tz else column
        column = pc.cast(pc.floor_temporal(column, unit="day"), pa.timestamp("ms"), safe=False)
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    return pc.cast(column, _TYPES[kind], safe=False)
