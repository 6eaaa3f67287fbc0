"""What text means, and which blanks only look like spaces."""

from __future__ import annotations

import re

import pytest

from cbi_queue.plan.yaml_source import read_value
from cbi_queue.values.words import seen
from cbi_queue.values.written import blanks_in, is_look_alike, seconds_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0), (0.5, 0.5), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("2 d", 172_800.0),
        ("2h30m", 9000.0), ("1d 12h", 129_600.0), ("30m2h", None), ("2hm", None), ("2h ", None), (" 2h", None),
        ("90", None), ("1:30", None), ("10:00", None), ("1_000", None), ("٣s", None), ("s", None), ("-1s", None),
        (True, None), (None, None), ([90], None), ("1e3s", None), ("90S", None), ("9" * 5000 + "s", None),
    ],
)  # fmt: skip
def test_a_length_of_time_is_a_number_of_seconds_or_has_a_unit(written: object, seconds: float | None) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "code", [0xA0, 0x2007, 0x202F, 0x3000, 0x200B, 0x200D, 0x2060, 0xFEFF, 0xAD, 0x85, 0x2028, 0x3164]
)
def test_a_blank_that_is_no_space_is_named_with_its_code_point(code: int) -> None:
    character = chr(code)
    assert is_look_alike(character)
    assert blanks_in(f"8000{character}").startswith(f"U+{code:04X}")
    assert f"(holds U+{code:04X}" in seen(f"8000{character}")


@pytest.mark.parametrize("character", [" ", "\t", "\n", "x", "é", "日", "—"])
def test_ordinary_characters_are_no_look_alikes(character: str) -> None:
    assert not is_look_alike(character)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", 50), ("1e-3", 0.001), ("[128, 64]", [128, 64]), ("null", None), ("", None), (" ", None), ("true", True),
        ("1:30", "1:30"), ("0200", "0200"), ("1_000", "1_000"), ("0x10", "0x10"), ('"12"', "12"), ("yes", "yes"),
        ("2024-01-01", "2024-01-01"), ("{a: 1}", {"a": 1}), ("12.0", 12.0),
    ],
)  # fmt: skip
def test_a_value_of_a_command_line_means_what_it_means_in_a_plan(text: str, value: object) -> None:
    read = read_value(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("&a [*a, *a]", "anchors (&) and aliases (*) are not allowed: 'a'; write the values out"),
        ("[" * 3000, "nested deeper than 16 levels, the limit for a plan"),
        ("!!python/name:os.system", "the tag '!!python/name:os.system' is not allowed"),
        ("[1, ", "broken YAML"),
        ("5\u00a0", "column 2: U+00A0 NO-BREAK SPACE looks like a space"),
        ("\ufeff5", "column 1: U+FEFF ZERO WIDTH NO-BREAK SPACE looks like a space"),
        ("a\x00b", "the character U+0000 is not allowed in YAML"),
    ],
)
def test_a_value_that_no_plan_could_hold_is_refused_in_words(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        read_value(text)
