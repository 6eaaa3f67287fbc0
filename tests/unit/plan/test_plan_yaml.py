"""What a plan file may hold as YAML, and how little work it is to refuse the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.call_counting import calls_of
from support.plan_files import accept, refuse, refuse_bytes, write

from cbi_queue.plan.complaints import Complaints
from cbi_queue.plan.yaml_source import MAX_BYTES, read_source
from cbi_queue.values.written import core_value

if TYPE_CHECKING:
    from collections.abc import Callable


def test_every_key_and_list_entry_knows_its_line(tmp_path: Path) -> None:
    """A complaint that points at the wrong line sends the reader searching."""
    # Given a file with a comment, a nested mapping and a flow list
    path = write(
        tmp_path, "# note\nday: 1\njobs:\n  - name: a\n    params: {x: 1,\n      y: 2}\n    needs: [a,\n      b]\n"
    )
    # When it is read
    source = read_source(path, Complaints())
    # Then lines count from 1, as editors do
    assert source is not None
    assert [source.line_of(key) for key in [("day",), ("jobs", 0), ("jobs", 0, "params", "y")]] == [2, 4, 6]
    assert source.line_of(("jobs", 0, "needs", 1)) == 8
    assert source.line_of(("jobs", 0, "params", "absent")) == 5, "an absent key is shown where it would stand"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-3", -3), ("+4", 4), ("0.05", 0.05), ("1e-3", 0.001), (".5", 0.5), ("2.", 2.0),
        ("true", True), ("False", False), ("", None), ("~", None), ("null", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("1w", "1w"), ("12m", "12m"),
        ("2024-01-01", "2024-01-01"), ("1:30", "1:30"), ("1_000", "1_000"), ("010", "010"), ("0x10", "0x10"),
    ],
)  # fmt: skip
def test_unquoted_text_is_read_by_the_rules_of_yaml_1_2(text: str, value: object) -> None:
    """YAML 1.1 makes 90 of `1:30`, 8 of `010`, true of `on` and text of `1e-3`; editors follow 1.2."""
    assert core_value(text) == value
    assert type(core_value(text)) is type(value)


def test_quoted_numbers_stay_text(tmp_path: Path) -> None:
    assert refuse(tmp_path, "day: '1'\njobs: []\n")[0] == (
        "plan.yaml:1: day: '1' is not allowed; allowed: a whole number from 0 to 366"
    )


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['true']", "!mine x", "!!str 1", "!!binary aGk="])
def test_a_tag_is_refused_and_nothing_of_it_runs(tmp_path: Path, tag: str) -> None:
    """`!!python/...` would run code with an unsafe loader; a plan needs no tag at all."""
    complaints = refuse(tmp_path, f"day: 1\ntitle: {tag}\njobs: []\n")
    assert complaints[0].startswith("plan.yaml:2: title: the tag ")
    assert "is not allowed" in complaints[0]


def test_a_python_tag_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    refuse(tmp_path, f"day: 1\njobs: !!python/object/apply:os.mkdir ['{witness}']\n")
    assert not witness.exists()


def test_a_billion_laughs_are_refused_before_they_are_laughed(tmp_path: Path) -> None:
    """Ten lines of aliases expand to gigabytes."""

    def bomb(lines: int) -> str:
        return "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, lines))

    assert calls_of(lambda: refuse(tmp_path, bomb(12))) <= 1.1 * calls_of(lambda: refuse(tmp_path, bomb(6)))
    assert refuse(tmp_path, bomb(60)) == [
        "plan.yaml:1: anchors (&) and aliases (*) are not allowed: 'a0'; write the values out"
    ]


@pytest.mark.parametrize(
    ("text_of", "size", "words"),
    [
        (lambda size: "[" * size, 200_000, "nested deeper than 16 levels"),
        (lambda size: "{a: " * size, 50_000, "nested deeper than 16 levels"),
        (lambda size: "- " * size, 100_000, "nested deeper than 16 levels"),
        (lambda size: "jobs: [" + "1," * size + "]", 120_000, "more than 20000 keys and values"),
        (lambda size: "x" * size, MAX_BYTES + 1, "larger than 256 KiB"),
        (lambda size: "\n".join(f"key{i}: 1" for i in range(size)), 9_000, "unknown key 'key0'"),
        (lambda size: "day: 1\njobs:\n" + "- {nam: a}\n" * size, 5_000, "a list of 5000 entries is not allowed"),
    ],
    ids=["lists", "mappings", "dashes", "wide", "large", "keys", "jobs"],
)
def test_a_file_out_of_all_proportion_is_refused_without_much_work(
    tmp_path: Path, text_of: Callable[[int], str], size: int, words: str
) -> None:
    """The work grows no faster than the file, whose size is limited."""
    assert any(words in complaint for complaint in refuse(tmp_path, text_of(size)))

    whole, half = (calls_of(lambda part=part: refuse(tmp_path, text_of(part))) for part in (size // 20, size // 40))
    assert whole <= 2.1 * half


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "plan.yaml:1: the file is empty; a plan needs at least `day` and `jobs`"),
        (b"# only a comment\n", "plan.yaml:1: the file is empty; a plan needs at least `day` and `jobs`"),
        (b"day: 1\ntitle: caf\xe9\n", "plan.yaml:2: byte 17 (0xe9) is not UTF-8; save it as UTF-8"),
        (b"\xff\xfed\x00a\x00", "plan.yaml:1: byte 0 (0xff) is not UTF-8; save it as UTF-8"),
        (
            b"day: 1\n---\nday: 2\n",
            "plan.yaml:2: a second document starts here (`---`); a plan file holds one document",
        ),
        (b"day: 1\n\x00\n", "plan.yaml:2: column 1: the character U+0000 is not allowed in YAML"),
        (b"- 1\n", "plan.yaml:1: the list [1] is not allowed; allowed: a mapping"),
        (b"hello\n", "plan.yaml:1: 'hello' is not allowed; allowed: a mapping"),
        (b"---\n", "plan.yaml:2: null is not allowed; allowed: a mapping"),
    ],
)
def test_a_file_that_is_no_plan_says_where_and_why(tmp_path: Path, content: bytes, complaint: str) -> None:
    assert refuse_bytes(tmp_path, content) == [complaint]


def test_broken_yaml_names_line_and_column(tmp_path: Path) -> None:
    (complaint,) = refuse(tmp_path, "day: 1\njobs: [a, b\ntitle: x\n")
    assert complaint.startswith("plan.yaml:3: column 6: broken YAML while parsing a flow sequence")


def test_a_bare_placeholder_in_a_list_is_told_to_wear_quotes(tmp_path: Path) -> None:
    """The first thing everybody trips over: `[features-{horizon}]` is no YAML."""
    (complaint,) = refuse(tmp_path, "jobs: [features-{horizon}]\n")
    assert complaint.endswith("text with {placeholders} needs quotes inside [ ]")


def test_a_duplicate_key_is_refused_naming_both_lines(tmp_path: Path) -> None:
    """Most readers take the last one silently, and the first setting is lost."""
    complaints = refuse(tmp_path, "day: 1\ntitle: a\nday: 2\njobs: []\n")
    assert complaints[0] == "plan.yaml:3: day: this key appears twice; first in line 1"


def test_a_key_that_is_a_list_is_refused(tmp_path: Path) -> None:
    assert "plan.yaml:2: a key must be text, not a list or mapping" in refuse(
        tmp_path, "day: 1\n? [a]\n: 1\njobs: []\n"
    )


@pytest.mark.parametrize("escape", ["\\0", "\\e[31m", "\\n", "\\u202E", "\\uD800", "\\u2028"])
def test_characters_that_a_terminal_obeys_are_refused(tmp_path: Path, escape: str) -> None:
    """A title is printed; an escape sequence in it would recolour or rewrite the screen."""
    complaints = refuse(tmp_path, f'day: 1\ntitle: "a{escape}b"\njobs: []\n')
    assert "is not allowed; use printable text on one line" in complaints[0]
    assert complaints[0].startswith("plan.yaml:2: title: the character U+")


def test_an_impossible_escape_is_broken_yaml_and_no_crash(tmp_path: Path) -> None:
    assert refuse(tmp_path, 'day: "\\UFFFFFFFF"\n')[0].startswith("plan.yaml: broken YAML")


def test_a_missing_file_a_folder_and_a_pipe_cannot_be_read(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever for somebody to write."""
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("absent", "no such file"),
        (".", "it is a folder, not a file"),
        ("pipe", "it is a pipe, not a file"),
    ):
        complaints = Complaints()
        assert read_source(tmp_path / name, complaints) is None
        assert complaints.sentences() == [f"{tmp_path / name}: cannot be read: {words}"]


def test_a_path_with_a_null_byte_is_a_complaint() -> None:
    complaints = Complaints()
    assert read_source(Path("a\0b"), complaints) is None
    assert "cannot be read" in complaints.sentences()[0]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xef\xbb\xbfday: 1\n")
    source = read_source(path, Complaints())
    assert source is not None
    assert source.data == {"day": 1}


def test_the_smallest_plan_is_accepted(tmp_path: Path) -> None:
    (plan,) = accept(tmp_path, "day: 0\njobs:\n- {name: f, family: features, horizon: 1w}\n")
    assert (plan.day, plan.title, [job.name for job in plan.jobs]) == (0, "", ["f"])


@pytest.mark.parametrize("code", [0xA0, 0x2007, 0x202F, 0x3000, 0x200B, 0x2060, 0xFEFF])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("day:{}1\njobs: []\n", "plan.yaml:1: column 5"),
        ("day: 1\n{}title: x\njobs: []\n", "plan.yaml:2: column 1"),
        ("day: 1\njobs:\n- {{name: a,{}family: features}}\n", "plan.yaml:3: column 12"),
        ("day: 1{}\njobs: []\n", "plan.yaml:1: column 7"),
    ],
)
def test_a_blank_that_only_looks_like_a_space_is_named_on_its_line(
    tmp_path: Path, code: int, text: str, place: str
) -> None:
    """They come from web pages and word processors; nobody sees them, and YAML takes them for letters."""
    (complaint,) = refuse(tmp_path, text.format(chr(code)))
    assert complaint.startswith(f"{place}: U+{code:04X} ")
    assert complaint.endswith("looks like a space; write an ordinary space, or put the text in quotes")


def test_such_blanks_in_quotes_and_comments_are_the_writers_own(tmp_path: Path) -> None:
    job = "jobs:\n- {name: f, family: features, horizon: 1w}\n"
    (plan,) = accept(tmp_path, f"day: 0 # d\u00e8s 5\u202f%\ntitle: 'a\u00a0b'\n{job}")
    assert plan.title == "a\u00a0b"


def test_a_tab_is_named(tmp_path: Path) -> None:
    (complaint,) = refuse(tmp_path, "day: 1\njobs:\n\t- {name: a}\n")
    assert complaint == "plan.yaml:3: column 1: a tab (U+0009) cannot indent or begin a value in YAML; use spaces"
