"""One TOML file -> its table, with the line of every key. What is wrong with the file is told with its line."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

from cbi_queue.errors import SettingsError
from cbi_queue.regular_files import read_text
from cbi_queue.values.written import character_words, look_alikes, not_utf8_words

if TYPE_CHECKING:
    from pathlib import Path

MOST_DIGITS = 4300
"""Digits of a number from which Python refuses to read it."""
MOST_NESTED = 100
"""Brackets within brackets; settings need two."""


class TomlFile(NamedTuple):
    """The content of one file."""

    path: Path
    table: dict[str, Any]
    lines: dict[str, int]
    """Line, counted from 1, of every table and key as written, such as `runtimes.torch`."""

    def place(self, key: str) -> str:
        """Return where *key* stands: `/home/me/config.toml:3`, or the file alone where the line is not known."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def read_toml(path: Path, what: str) -> TomlFile:
    """Read *path*.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        what: what the file holds, for the complaint: `settings from`.

    Raises:
        SettingsError: when it cannot be read, or is no TOML; with its line.
    """
    try:
        text = read_text(path, follow=True, encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line, words = not_utf8_words(exc)
        raise SettingsError(f"cannot read {what} {path}:{line}: {words}") from exc
    except OSError as exc:
        raise SettingsError(f"cannot read {what} {path}: {exc.strerror}") from exc
    if found := look_alikes(text, _QUOTED_OR_COMMENT):
        line, column, character = found[0]
        words = f"column {column}: {character_words(character)} looks like a space; write an ordinary space"
        raise SettingsError(f"cannot read {what} {path}:{line}: {words}")
    try:
        return TomlFile(path, tomllib.loads(text), _lines(text))
    except (ValueError, RecursionError) as exc:
        line, words = _words(exc, text)
        raise SettingsError(f"cannot read {what} {path}:{line}: {words}") from exc


_QUOTED_OR_COMMENT = re.compile(r'"{3}[\s\S]*?"{3}|\'{3}[\s\S]*?\'{3}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*')
_AT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\-\"']+)\s*=")


def _words(exc: Exception, text: str) -> tuple[int, str]:
    """Return the line and the fault, of what `tomllib` raised about *text*."""
    if match := _AT.fullmatch(str(exc)):
        last = text.rstrip("\n").count("\n") + 1
        where = f"column {match[3]}: " if match[3] else ""
        return int(match[2] or last), f"{where}broken TOML: {match[1][:1].lower()}{match[1][1:]}"
    if isinstance(exc, RecursionError):
        return _deepest_line(text), f"brackets are nested deeper than {MOST_NESTED} levels"
    if found := re.search(rf"[0-9_]{{{MOST_DIGITS + 1},}}", text):
        return text.count("\n", 0, found.start()) + 1, f"a number of more than {MOST_DIGITS:,} digits"
    return 1, "broken TOML"


def _deepest_line(text: str) -> int:
    depth, plain = 0, _QUOTED_OR_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(plain.splitlines(), start=1):
        depth += sum(line.count(mark) for mark in "[{") - sum(line.count(mark) for mark in "]}")
        if depth > MOST_NESTED or sum(line.count(mark) for mark in "[{") > MOST_NESTED:
            return number
    return 1


def _lines(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if match := _TABLE.match(line):
            prefix = f"{_unquoted(match[1])}."
            lines.setdefault(prefix[:-1], number)
        elif match := _KEY.match(line):
            lines.setdefault(prefix + _unquoted(match[1]), number)
    return lines


def _unquoted(key: str) -> str:
    return re.sub(r"[\"'\s]", "", key)
