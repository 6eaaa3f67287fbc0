"""A TOML file that cannot be read is told with its line; a value knows the line that it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cbi_queue.errors import SettingsError
from cbi_queue.values.toml_source import read_toml

if TYPE_CHECKING:
    from pathlib import Path


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_toml(path, "settings from")
    return caught.value.message.replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"port = 1\nport = " + b"9" * 5000, "a.toml:2: a number of more than 4,300 digits"),
        (b"# x\n\nruntimes = " + b"[" * 3000, "a.toml:3: brackets are nested deeper than 100 levels"),
        (b"port = 1\nhost = \n", "a.toml:2: column 8: broken TOML: invalid value"),
        (b'port = 1\nhost = "\n', "a.toml:2: column 9: broken TOML: illegal character '\\n'"),
        (b"[runtimes", "a.toml:1: broken TOML: expected ']' at the end of a table declaration"),
        (b'port = 1\nhost = "\xe4"\n', "a.toml:2: byte 17 (0xe4) is not UTF-8; save it as UTF-8"),
        ("port = 1\nhost\u00a0= 'x'".encode(), "a.toml:2: column 5: U+00A0 NO-BREAK SPACE looks like a space"),
        ("port =\u30008000".encode(), "a.toml:1: column 7: U+3000 IDEOGRAPHIC SPACE looks like a space"),
        ("port = 1\n\ufeffhost = 'x'".encode(), "a.toml:2: column 1: U+FEFF ZERO WIDTH NO-BREAK SPACE looks like"),
        ("a = 1\n\u200bhost = 'x'".encode(), "a.toml:2: column 1: U+200B ZERO WIDTH SPACE looks like a space"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    message = refused(tmp_path / "a.toml", content)
    assert message.startswith("cannot read settings from ")
    assert told in message


def test_blanks_within_quotes_and_comments_are_the_writers_own(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('\ufeffwords = \'a\u00a0b\'  # c\u202fd\nmore = """\n\u2007\n"""\nport\t=\t1\n', encoding="utf-8")
    assert read_toml(path, "x").table == {"words": "a\u00a0b", "more": "\u2007\n", "port": 1}


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("# note\nport = 1\n\n[runtimes]\n'torch' = 'x'\n")
    file = read_toml(path, "x")
    assert [file.place(key) for key in ("port", "runtimes", "runtimes.torch", "absent")] == [
        f"{path}:2", f"{path}:4", f"{path}:5", str(path),
    ]  # fmt: skip
