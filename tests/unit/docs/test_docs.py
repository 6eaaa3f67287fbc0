"""The documentation says everything, and says it as it is: states, settings, verbs, options, keys, links, file lengths."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from cbi_queue import lifecycle
from cbi_queue.cli import VERBS, cli
from cbi_queue.hardware import PROFILES
from cbi_queue.ledger import settlement, upkeep
from cbi_queue.lifecycle import REASON_WORDS, TRANSITIONS, HoldMode, HoldReason, JobState, Outcome, Reason
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import Family
from cbi_queue.plan.document import Defaults, JobEntry, PlanFile
from cbi_queue.protocol import ExitCode, Failed, FailureKind
from cbi_queue.settings import ENVIRONMENT, Settings
from cbi_queue.settings.sources import RANGES
from workers import chores
from workers.recovery import recovery
from workers.trainer import pausing
from workers.trainer.ending import Seen, StopCause, classify_ending

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "constraints").glob("*.md")])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
EVERYTHING = "\n".join(TEXTS.values())
LIFECYCLE = TEXTS["docs/lifecycle.md"]
OPERATIONS, SETTINGS = TEXTS["docs/operations.md"], TEXTS["docs/settings.md"]
DEFAULTS = {field.name: field.default for field in fields(Settings) if field.default not in {MISSING, None}}


def rows_below(text: str, *head: str) -> list[list[str]]:
    """The rows, as lists of cells, of the table in *text* with the columns *head*."""
    _, found, after = text.partition(f"\n| {' | '.join(head)} |\n")
    assert found, f"no table with the columns {head}"
    lines = itertools.takewhile(lambda line: line.startswith("|"), after.splitlines()[1:])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def names_in(cell: str) -> list[str]:
    """The words in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- lifecycle


def test_every_state_has_its_sentence_in_order() -> None:
    rows = rows_below(LIFECYCLE, "state", "in one sentence")
    assert [names_in(name) for name, _ in rows] == [[state.value] for state in JobState]
    assert all(sentence.endswith(".") for _, sentence in rows)


def test_the_diagram_draws_exactly_the_transitions() -> None:
    """The diagram is what people remember: an arrow too many is a promise."""
    diagram = re.search(r"```mermaid\n(.*?)```", LIFECYCLE, flags=re.DOTALL)
    assert diagram
    arrows = re.findall(r"^ +(\S+) --> (\w+) : (\w+)$", diagram[1], flags=re.MULTILINE)
    allowed = {(source.value, change.target.value, change.name) for change in TRANSITIONS for source in change.sources}
    assert sorted(arrows) == sorted([*allowed, ("[*]", "queued", "enqueue"), ("[*]", "waiting", "enqueue")])


def test_the_table_of_transitions_is_the_code_s() -> None:
    rows = rows_below(LIFECYCLE, "name", "from", "to", "who", "why")
    told = {names_in(name)[0]: (frozenset(names_in(source)), names_in(target)) for name, source, target, *_ in rows}
    assert told == {change.name: (frozenset(change.sources), [change.target]) for change in TRANSITIONS}
    assert all(who and why for *_, who, why in rows)


def test_every_reason_is_listed_with_the_words_that_people_read() -> None:
    rows = rows_below(LIFECYCLE, "reason", "words")
    assert [[*names_in(name), words] for name, words in rows] == [[r.value, REASON_WORDS[r]] for r in Reason]


@pytest.mark.parametrize(
    ("head", "members"),
    [
        (("outcome", "means"), Outcome),
        (("reason", "placed and lifted by"), HoldReason),
        (("mode", "what it does to the job in the slot"), HoldMode),
    ],
)
def test_every_member_has_its_row(head: tuple[str, str], members: type[Outcome | HoldReason | HoldMode]) -> None:
    assert [names_in(name) for name, _ in rows_below(LIFECYCLE, *head)] == [[member.value] for member in members]


ENDINGS = {
    1: {"complete": True},
    2: {"stop_cause": StopCause.CANCEL},
    3: {"stop_cause": StopCause.TIMEOUT},
    4: {"stop_cause": StopCause.EVICT},
    5: {"stop_cause": StopCause.RECYCLE},
    6: {"stop_cause": StopCause.DAEMON},
    7: {"volume_missing": True},
    8: {"failed": Failed(FailureKind.BROKEN_SPEC, "x")},
    9: {"failed": Failed(FailureKind.OUT_OF_MEMORY, "x")},
    10: {"failed": Failed(FailureKind.DISK_FULL, "x")},
    11: {"fault": "metrics.json is missing"},
    12: {"killed_by_us": True},
    13: {"exit_code": -9, "memory_evidence": "memory pressure was critical"},
    14: {"exit_code": int(ExitCode.OUT_OF_MEMORY)},
    15: {"exit_code": -6, "memory_refused": "memory allocation of 8388608 bytes failed"},
    16: {"exit_code": -15},
    17: {"exit_code": int(ExitCode.STOPPED)},
    18: {"exit_code": 1},
}
"""What each row of the table of exit classification describes."""


def test_the_order_of_questions_about_an_ending_is_the_code_s() -> None:
    rows = rows_below(LIFECYCLE, "#", "what was seen", "settlement", "outcome", "reason")
    assert [int(row[0]) for row in rows] == list(ENDINGS)
    for number, _, expected, outcome, reason in rows:
        for later in (later for later in ENDINGS if later >= int(number)):
            seen = Seen(**{"exit_code": 1, "complete": False, **ENDINGS[later], **ENDINGS[int(number)]})
            ending = classify_ending(seen)
            told = [expected, *names_in(outcome), *names_in(reason)]
            assert told == [ending.settlement, ending.outcome, ending.reason], f"row {number} beside row {later}"


def test_the_table_of_recovery_is_the_module_s() -> None:
    rows = [line for line in (recovery.__doc__ or "").splitlines() if line.startswith("| ")]
    assert len(rows) > 3
    assert "\n".join(rows[1:]) in LIFECYCLE


def test_the_numbers_of_coming_back_are_the_code_s() -> None:
    told = " ".join(LIFECYCLE.split())
    assert f"at most {settlement.MAX_OOMS} times" in told
    assert settlement.MAX_BACKOFF_S == 3600
    assert f"`CBI_BACKOFF_S` ({DEFAULTS['backoff_s']:g} s), doubles each time, and is at most an hour" in told
    assert f"within {pausing.SAFE_POINT_S} s" in told
    assert f"keeps the newest {chores.BACKUPS_KEPT}" in OPERATIONS
    assert f"`{upkeep.BACKUP_PREFIX}YYYYMMDDTHHMMSSZ.db`" in OPERATIONS


# --- settings


def setting_rows() -> dict[str, list[str]]:
    """Setting -> the rest of its row in docs/settings.md."""
    rows = rows_below(SETTINGS, "setting", "variable", "unit", "default", "allowed", "why")
    return {names_in(row[0])[0]: row[1:] for row in rows}


def test_every_setting_has_its_row_with_its_variable() -> None:
    variables = {name: [variable] for variable, name in ENVIRONMENT.items()} | {"config_file": ["CBI_CONFIG"]}
    told = {name: names_in(row[0]) for name, row in setting_rows().items()}
    assert told == {field.name: variables.get(field.name, []) for field in fields(Settings)}
    assert all(unit and why for _, unit, _, _, why in setting_rows().values())


def test_defaults_and_ranges_of_settings_are_the_code_s() -> None:
    rows = setting_rows()
    for name in DEFAULTS.keys() - {"threads"}:  # depends on the machine
        default = DEFAULTS[name]
        told = json.dumps(default) if isinstance(default, tuple) else str(default)
        assert names_in(rows[name][2]) == [told], name
    for name, (low, high) in RANGES.items():
        assert [float(number) for number in rows[name][3].split(" to ")] == [low, high], name
    assert names_in(rows["profile"][3]) == ["auto", *PROFILES]


# --- verbs, options, keys


def test_every_verb_is_in_the_reference_and_in_prose() -> None:
    prose = "\n".join(text for name, text in TEXTS.items() if name != "docs/reference.md")
    for verb in VERBS:
        assert f"\n## {verb}\n" in TEXTS["docs/reference.md"]
    rarely_typed = {"completions"}
    assert {verb for verb in VERBS if not re.search(rf"cbi-queue {verb}\b", prose)} <= rarely_typed


def test_the_reference_is_current() -> None:
    """When this fails: make docs."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert TEXTS["docs/reference.md"] == module.render()


COMMAND_LINE = re.compile(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?cbi-queue (.*)")


def commands() -> Iterator[tuple[str, str, bool]]:
    """Every `cbi-queue …` of every page: the page, the words after it, and whether it stands on a line of its own."""
    for page, text in TEXTS.items():
        blocks = re.findall(r"^ *```(?:bash|sh|console)?\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in block.splitlines() if "[OPTIONS]" not in line]
        yield from ((page, match[1], True) for match in map(COMMAND_LINE.match, lines) if match)
        without_blocks = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
        yield from ((page, words, False) for words in re.findall(r"`cbi-queue ([^`]+)`", without_blocks))


@pytest.mark.parametrize(("page", "written", "is_whole"), sorted(set(commands())))
def test_every_command_shown_is_one_that_the_command_line_takes(page: str, written: str, is_whole: bool) -> None:
    """Parsed by the real commands, without running them. In running text arguments may be left out."""
    bare = re.split(r"  +| [|&;>#]|;", re.sub(r"\[[^\]]*\]", "", written))[0]
    words = shlex.split(bare.replace("…", "NAME"))
    context, command = click.Context(cli, info_name="cbi-queue"), cli
    if words[0] == "VERB":
        return
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found, f"{page}: `cbi-queue {written}`: there is no {words[0]!r}"
        command, words = found, words[1:]
    if words or is_whole:
        parse(command, words, page, written, is_whole=is_whole)


def parse(command: click.Command, words: list[str], page: str, written: str, *, is_whole: bool) -> None:
    """Let click read *words*; running nothing."""
    try:
        command.make_context(command.name or "", words)
    except click.exceptions.Exit:
        pass  # --help, --version
    except click.MissingParameter:
        assert not is_whole, f"{page}: `cbi-queue {written}` lacks an argument"
    except click.UsageError as exc:
        pytest.fail(f"{page}: `cbi-queue {written}`: {exc.format_message()}")


def test_every_key_of_a_plan_every_model_and_every_parameter_is_documented() -> None:
    keys = {name for cls in (PlanFile, Defaults, JobEntry) for name in cls.model_fields}
    parameters = {name for entry in MODELS.values() for name in entry.params.model_fields}
    for name in [*keys, *parameters, *MODELS, *Family]:
        assert f"`{name}`" in TEXTS["docs/day-plans.md"], name


def test_every_word_of_the_glossary_is_in_order_and_used_once() -> None:
    words = [row[0] for row in rows_below(TEXTS["docs/glossary.md"], "word", "means")]
    assert words == sorted(set(words), key=str.lower)
    for needed in (*(mode.value for mode in HoldMode), "plan", "spec", "job", "attempt", "slot", "settle", "claim"):
        assert needed in words


# --- links, words, lengths


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as renderers make them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]+)?\)", TEXTS[page])
    for target, anchor in links:
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {target} is not there"
        if anchor and path.suffix == ".md":
            assert anchor[1:] in anchors_of(path.read_text(encoding="utf-8")), (
                f"{page}: no heading for {target}{anchor}"
            )


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Paths may leave out `cbi_queue/`. A folder ends in a slash."""
    named = re.findall(
        r"`((?:[\w.-]+/)+[\w-]+\.(?:py|md|toml|yaml|html|txt)|(?:cbi_queue|workers|jobs|tests)/(?:[\w.-]+/)*)`",
        TEXTS[page],
    )
    folders = (ROOT, ROOT / "cbi_queue")
    skipped = "CHANGELOG.md"
    assert page == skipped or [name for name in named if not any((folder / name).exists() for folder in folders)] == []


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    index = TEXTS["docs/README.md"]
    for page in TEXTS:
        if page.startswith("docs/") and page != "docs/README.md":
            assert f"]({page.removeprefix('docs/')})" in index, page


UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|T[B]D|X[X]X|lorem[ ]ipsum|coming[ ]soon)\b")


def sources() -> list[Path]:
    """Every Python file of ours, tests included."""
    folders = ("cbi_queue", "workers", "jobs", "schedules", "launchd", "docs", "benchmarks", "tests")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_nothing_is_left_unfinished() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in [*PAGES, *sources()]}
    assert [str(path) for path, text in texts.items() if UNFINISHED.search(text)] == []


MOST_LINES, MOST_TEST_LINES = 400, 450


def test_no_file_is_longer_than_is_allowed() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()
    }
    too_long = {name: lines for name, lines in lengths.items() if lines > most_lines(name)}
    assert not too_long, "split by noun"


def most_lines(name: str) -> int:
    """How many lines that file may have."""
    return MOST_TEST_LINES if name.startswith("tests/") else MOST_LINES


def test_the_lifecycle_page_names_its_source() -> None:
    assert Path(lifecycle.__file__).relative_to(ROOT).as_posix() in LIFECYCLE
