"""Where tests lie, and which of them `make test-of` runs for a room."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from support.rooms import (
    LONGEST,
    ROOT,
    TESTS,
    THROUGH_PROCESSES,
    belongs,
    place_in_line,
    room_named,
    rooms,
    rooms_imported,
)

SHARED = {"clock", "errors", "lifecycle", "protocol", "settings", "spec", "wording"}
"""Rooms that tests of any other room import from."""


def test_each_folder_of_unit_tests_is_a_room() -> None:
    """So that whoever changes a room finds its tests by its name."""
    folders = {path.parent.relative_to(TESTS / "unit").as_posix() for path in (TESTS / "unit").rglob("test_*.py")}
    assert folders - {"docs", "."} - set(rooms()) == set()
    modules = {path.stem.removeprefix("test_") for path in (TESTS / "unit").glob("test_*.py")}
    assert modules - set(rooms()) == set(), "a test directly in tests/unit is named like a module of cbi_queue"


def test_every_file_of_tests_belongs_to_a_room() -> None:
    """`make test-of` runs those; what belongs nowhere would only run with everything."""
    files = [path for path in TESTS.rglob("test_*.py") if path.parent != TESTS / "unit" / "docs"]
    lost = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if not any(belongs(path, room) for room in set(rooms()) - SHARED)
    ]
    assert [name for name in lost if Path(name).stem.removeprefix("test_") not in SHARED] == []


def test_every_room_that_processes_reach_exists_and_so_do_its_tests() -> None:
    assert {room for named in THROUGH_PROCESSES.values() for room in named} - set(rooms()) == set()
    assert [place for place in THROUGH_PROCESSES if not (TESTS / place).exists()] == []


def test_the_longest_files_exist_and_begin_before_all_others() -> None:
    assert [place for place in LONGEST if not (TESTS / place).exists()] == []
    assert max([Path(__file__), *(TESTS / place for place in LONGEST)], key=place_in_line) == Path(__file__)


def test_a_room_is_found_with_and_without_its_package() -> None:
    assert room_named("cbi_queue/ledger/") == room_named("ledger") == "ledger"
    assert room_named("lifecycle.py") == "lifecycle"
    with pytest.raises(
        ValueError, match=r"there is no room 'jobs/dat'; there are: api, .*, jobs/data, .*, workers/trainer"
    ):
        room_named("jobs/dat")


def test_a_file_of_tests_belongs_to_the_rooms_that_it_imports_from() -> None:
    crashes, features = (
        TESTS / "integration" / "test_daemon_crashes.py",
        TESTS / "integration" / "test_feature_cache.py",
    )
    assert "jobs/data" in rooms_imported(features)
    assert [belongs(features, room) for room in ("jobs/data", "jobs", "jobs/nets")] == [True, True, False]
    assert belongs(crashes, "workers/recovery"), "through processes"
    assert belongs(TESTS / "unit" / "jobs" / "data" / "test_series.py", "jobs/data")


# --- what CONTRIBUTING promises

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_make_verb_is_told() -> None:
    verbs = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"check", "quick", "test", "test-of"} <= set(verbs)
    assert [verb for verb in verbs if f"`make {verb}" not in CONTRIBUTING and verb != "help"] == []


def test_every_mark_is_told_and_quick_leaves_each_of_them_out() -> None:
    """`make quick` promises no processes and nothing long; a new mark must decide what it means for that."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    marks = {line.partition(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]}
    assert {mark for mark in marks if f"\n| `{mark}` |" not in CONTRIBUTING} == set()
    left_out = re.search(r"-m 'not \((.*)\)'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert left_out
    assert set(left_out[1].split(" or ")) == marks


def test_every_folder_of_tests_is_told() -> None:
    folders = {path.relative_to(ROOT).as_posix() for path in TESTS.iterdir() if list(path.rglob("test_*.py"))}
    assert {name for name in folders if f"\n| `{name}` |" not in CONTRIBUTING} == set()
