"""A plain command is stored byte for byte as the full check stores it; what that refuses is never plain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbi_queue.identity import MAX_TIMEOUT_S
from cbi_queue.models.parameters.script import ScriptParams
from cbi_queue.plain_script import PlainScript, plain_script
from cbi_queue.spec import DayPlan, JobSpec, strict_spec

PARAMS: dict[str, Any] = {
    "command": ["python", "train.py", "--lr", "0.1", ""], "workdir": "/home/me/müller", "environment": {"LR": "0,1"},
    "environment_file": "/home/me/.env", "inputs": ["/data/a.csv"], "outputs": ["results/*.csv"], "memory_mib": 2048.0,
    "project": "energy", "rank_by": {"error": "lower"}, "mlflow": True,
}  # fmt: skip
BARE = {"environment": {}, "environment_file": None, "inputs": [], "outputs": [], "memory_mib": None, "project": None,
        "rank_by": None, "mlflow": False}  # fmt: skip


def written(params: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What `add` hands over: *changes* to a command with every option, *params* among its parameters."""
    return {
        "day": 0, "name": "a", "family": "script", "model": "command", "horizon": "-", "params": {**PARAMS, **params},
        "needs": ["b", "c-1"], "after": ["d"], "priority": -1000, "retries": 20, "timeout_s": 7200.0, **changes,
    }  # fmt: skip


def same_as_the_full_check(spec: dict[str, Any]) -> PlainScript | None:
    """Compare both ways, with and without a snapshot; return the plain one."""
    plain = plain_script(spec)
    if plain is not None:
        full = strict_spec(spec)
        assert plain.canonical_json() == full.canonical_json()
        assert plain.on_snapshot("a" * 64).canonical_json() == full.on_snapshot("a" * 64).canonical_json()
        assert all(getattr(plain, field) == getattr(full, field) for field in JobSpec.model_fields)
    return plain


@pytest.mark.parametrize("params", [{}, BARE, *({key: value} for key, value in BARE.items())], ids=str)
def test_what_people_write_is_plain_and_the_same(params: dict[str, Any]) -> None:
    assert same_as_the_full_check(written(params)) is not None
    assert same_as_the_full_check(written(params, needs=[], after=[], timeout_s=None, priority=1000, retries=0))
    assert PARAMS.keys() | {"values"} == ScriptParams.model_fields.keys(), (
        "a new parameter has its place in plain_script"
    )
    assert DayPlan.model_fields.keys() == {"day", "title", "source", "jobs"}


ODD = [
    "", "\0", "a\n", "a\nb", "\x7f", "\udc80", "ä", ".", "..", "/", "/a", "a/../b", "-a", "A", "1a", "a b", "A B",
    "a.b-c_1", "ä_1", *("x" * length for length in (64, 65, 80, 81, 100, 101, 128, 129, 1000, 1001, 4097, 40_000)),
]  # fmt: skip


def wherever_it_stands(text: str) -> list[PlainScript | None]:
    """Compare commands that hold *text* in one place each."""
    places: list[dict[str, Any]] = [
        {"command": [text]}, {"workdir": text}, {"environment": {text: "1"}}, {"environment": {"A": text}},
        {"environment_file": text}, {"inputs": [text]}, {"outputs": [text]}, {"project": text},
        {"rank_by": {text: "lower"}},
    ]  # fmt: skip
    rest: list[dict[str, Any]] = [{"name": text}, {"needs": [text]}, {"after": [text]}]
    specs = [*(written({**BARE, **params}) for params in places), *(written(BARE, **change) for change in rest)]
    return [same_as_the_full_check(spec) for spec in specs]


def test_a_single_odd_text_is_the_same_or_left_to_the_full_check_wherever_it_stands() -> None:
    """`same_as_the_full_check` raises where the full check refuses what passed as plain."""
    for text in ODD:
        wherever_it_stands(text)
    assert None not in wherever_it_stands("a")


@given(st.text(max_size=6))
def test_any_text_is_the_same_or_left_to_the_full_check(text: str) -> None:
    wherever_it_stands(text)


@pytest.mark.parametrize(
    "spec",
    [
        *(written({"command": ["a"] * many}) for many in (90, 101, 1001)),
        *(written({"outputs": ["a"] * many, "inputs": ["/a"] * many}) for many in (40, 101, 1001)),
        *(written({"memory_mib": mib}) for mib in (0.001, 16_777_216.0)),
        *(written({}, timeout_s=limit) for limit in (0.0, 0.001, MAX_TIMEOUT_S, MAX_TIMEOUT_S + 0.1, 366 * 86400.0)),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_many_of_it_and_long_times_are_the_same_or_left_to_the_full_check(spec: dict[str, Any]) -> None:
    same_as_the_full_check(spec)
