"""What text means: as a value, by the rules of YAML 1.2 that plans follow; as a command; and blanks that only look like
spaces.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|(0|[1-9][0-9]{0,30})(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,5})?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def core_value(text: str) -> str | int | float | bool | None:
    """Read an unquoted scalar by YAML 1.2's core rules; what is not a number, true, false or null stays text.

    A leading zero keeps a number text (`010` is 8 to some readers and 10 to others).
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION = re.compile("(?=[0-9])" + "".join(rf"(?: ?([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?) ?{unit})?" for unit in _SECONDS))
"""A length of time with its units, the longest first: `90s`, `1.5h`, `2 d`, `2h30m`."""


def seconds_of(value: object) -> float | None:
    """Return a length of time in seconds: a number of seconds, or text like `90s`, `10m`, `2h30m`, `1d`; else None."""
    if isinstance(value, str) and (match := DURATION.fullmatch(value)):
        return float(
            sum(float(number) * size for number, size in zip(match.groups("0"), _SECONDS.values(), strict=True))
        )
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def shape_of(command: Sequence[str]) -> str:
    """Return a command without its numbers, at most 210 characters: runs that differ only in them are alike."""
    shape = " ".join(re.sub(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", "#", argument) for argument in command)
    return f"command - {shape[:200]}"


_LOOK_ALIKES = frozenset("\x85\xad\u115f\u1160\u180e\u200b\u200c\u200d\u2060\u2800\u3164\ufeff\uffa0")
"""Blanks, and characters of no width, that Unicode does not count as spaces."""


def is_look_alike(character: str) -> bool:
    """Return True for what looks like a space, or like nothing, but is neither a space nor a tab."""
    if character.isascii():
        return False
    return character in _LOOK_ALIKES or unicodedata.category(character) in {"Zs", "Zl", "Zp"}


def look_alikes(text: str, skipped: re.Pattern[str]) -> list[tuple[int, int, str]]:
    """Return line, column (both from 1) and character of every look-alike blank outside what *skipped* matches."""
    if text.isascii():
        return []
    plain = skipped.sub(lambda match: "x" * len(match[0]), text)
    return [
        (text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), character)
        for at, character in enumerate(plain)
        if is_look_alike(character)
    ]


def not_utf8_words(exc: UnicodeDecodeError) -> tuple[int, str]:
    """Return the line, counted from 1, and the complaint about a byte that is not UTF-8."""
    line = exc.object.count(b"\n", 0, exc.start) + 1
    return line, f"byte {exc.start} (0x{exc.object[exc.start]:02x}) is not UTF-8; save it as UTF-8"


def character_words(character: str) -> str:
    """Return a character's code point and name: `U+00A0 NO-BREAK SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def blanks_in(text: str) -> str:
    """Return the look-alike blanks in *text*, each once, in words; empty without any."""
    return ", ".join(character_words(character) for character in dict.fromkeys(text) if is_look_alike(character))
