"""How a text file is written: encoding, separator, where its header is. Looks at the beginning of the file only."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

LOOKED_AT_BYTES = 1 << 17
SEPARATORS = (",", ";", "\t", "|")
_VALUE = re.compile(r"[-+]?[\d.,]*\d[\d.,]*\Z|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|table|\?xml)\b", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """How one text file is written."""

    encoding: str
    separator: str
    lines_before_data: int
    names: tuple[str, ...]
    """As in the header; empty ones are named by their position."""
    repeated: frozenset[str] = frozenset()
    """Names that several columns have; the later ones got a number."""


def form_of(path: Path) -> Form:
    """Look at *path*.

    Raises:
        BrokenSpec: when it is no table of text.
    """
    with path.open("rb") as file:
        head = file.read(LOOKED_AT_BYTES)
    encoding = _encoding(head)
    text = head.decode(encoding, errors="ignore")
    if not text.strip():
        raise BrokenSpec(f"{path} is empty")
    if _PAGE.match(text):
        raise BrokenSpec(f"{path} is a web page or XML, not a table; save the table itself as CSV")
    if "\0" in text:
        raise BrokenSpec(
            f"{path} is no text: it holds zero bytes; allowed are CSV and Parquet files, and folders of them"
        )
    lines = text.splitlines()
    if len(head) == LOOKED_AT_BYTES and len(lines) > 1:
        lines = lines[:-1]  # cut off in the middle
    separator, header, width = _table(lines)
    if header == 0 and lines[0].lower().startswith("sep="):  # Excel's own line, as wide as a header by accident
        header = 1
    header += _titles(lines[header : header + 10], separator)
    if width < 2:
        raise BrokenSpec(
            f"{path} has one column; allowed are tables with at least two, such as a date and a price, separated by comma, "
            "semicolon, tab or |"
        )
    cells = next(csv.reader([lines[header]], delimiter=separator))
    if 2 * sum(_is_value(cell.strip()) for cell in cells) >= len(cells):
        raise BrokenSpec(
            f"{path} has no line of column names: its first row is {lines[header][:80]!r}; write one above it"
        )
    names = [cell.strip() for cell in cells]
    below = _more_names(lines[header + 1 : header + 5], separator, names)
    if below:
        names = [" ".join(dict.fromkeys(part for part in parts if part)) for parts in zip(names, *below, strict=True)]
    repeated = frozenset(name for name in names if name and names.count(name) > 1)
    return Form(encoding, separator, header + 1 + len(below), _unique(names), repeated)


def _titles(lines: list[str], separator: str) -> int:
    """Return how many rows above the names are a title that a spreadsheet made as wide as the table: `Prices;;;`, `;;;`."""
    for position, row in enumerate(csv.reader(lines, delimiter=separator)):
        if any(cell.strip() for cell in row[1:]):
            return 0 if any(_is_value(cell.strip()) for cell in row) else position
    return 0


def _more_names(lines: list[str], separator: str, names: list[str]) -> list[list[str]]:
    """Return the rows below a header that is written in several lines: its first line has gaps, or one name twice."""
    if all(names[1:]) and len(set(names)) == len(names):
        return []
    found: list[list[str]] = []
    for row in csv.reader(lines, delimiter=separator):
        cells = [cell.strip() for cell in row]
        if len(cells) != len(names) or not any(cells) or any(map(_is_value, cells)):
            return found
        found.append(cells)
    return []


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if 2 * head[parity::2].count(0) > len(head[parity::2]) > 0 and not head[1 - parity :: 2].count(0):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)  # a character that the cut divides is no fault
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _table(lines: list[str]) -> tuple[str, int, int]:
    """Return separator, position of the header, and number of columns: the widest shape that most lines have."""
    best: tuple[int, int, str, int, int] = (0, 0, ",", 0, 1)
    for rank, separator in enumerate(SEPARATORS):
        widths = (
            [len(row) for row in csv.reader(lines, delimiter=separator)]
            if len(lines) < 4000
            else [len(row) for row in csv.reader(lines[:4000], delimiter=separator)]
        )
        usual, count = Counter(width for width in widths if width > 0).most_common(1)[0] if any(widths) else (1, 0)
        if usual > 1 and (count, -rank) > best[:2]:
            best = (count, -rank, separator, widths.index(usual), usual)
    return best[2], best[3], best[4]


def _is_value(cell: str) -> bool:
    """Return True for a number or a date, which no column is called."""
    return _VALUE.match(cell) is not None


def _unique(names: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for position, name in enumerate(names, start=1):
        wanted, number = name or f"column_{position}", 2
        while wanted in found:
            wanted, number = f"{name or 'column'}_{number}", number + 1
        found.append(wanted)
    return tuple(found)
