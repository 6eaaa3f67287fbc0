"""The JSON of one verb of `cbi-queue`, for a tool, or its refusal as `VerbFailed`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from cbi_queue.own_verbs import Printed, run_on_plan, run_verb

PATIENCE_S = 120.0
"""Seconds for one verb: the first board of a week takes some."""
MOST_TEXT = 4_000
"""Characters of an error."""
MOST_PLAN_BYTES = 1 << 20
MOST_LOG_BYTES = 64 << 10
"""Bytes of a log in one answer."""
PLAN_NAME = "plan.yaml"


class VerbFailed(Exception):
    """The verb refused or failed; the message is what it printed for people."""


def answer(*arguments: str) -> Any:
    """Run `cbi-queue ARGUMENTS` and return the JSON that it prints.

    Raises:
        VerbFailed: with its message and hint.
    """
    return _json(arguments[0], _run(arguments))


def text(*arguments: str) -> tuple[str, bool]:
    """Run `cbi-queue ARGUMENTS` and return the last part of what it prints, and whether something was left out.

    Raises:
        VerbFailed: with its message and hint.
    """
    printed = _run(arguments)
    if printed.code != 0:
        raise _failed(arguments[0], printed)
    return printed.out[-MOST_LOG_BYTES:].decode(errors="replace"), len(printed.out) > MOST_LOG_BYTES


def with_plan(plan: str, *arguments: str) -> Any:
    """Run a verb on the text of a plan; its complaints name the file `plan.yaml`.

    Raises:
        VerbFailed: when the text is too long, or the verb refuses it.
    """
    content = plan.encode(errors="replace")
    if len(content) > MOST_PLAN_BYTES:
        raise VerbFailed(f"the plan has {len(content):,} bytes; allowed are {MOST_PLAN_BYTES:,}")
    return _json(arguments[0], _run(arguments, content))


def _json(verb: str, printed: Printed) -> Any:
    try:
        return json.loads(printed.out)
    except ValueError as exc:
        raise _failed(verb, printed) from exc


def _run(arguments: tuple[str, ...], plan: bytes | None = None) -> Printed:
    if any("\0" in each for each in arguments):
        raise VerbFailed("an argument contains a null character, which no name has")
    try:
        if plan is None:
            return run_verb(*arguments, within_s=PATIENCE_S)
        return run_on_plan(plan, PLAN_NAME, *arguments, within_s=PATIENCE_S)
    except subprocess.TimeoutExpired as exc:
        raise VerbFailed(f"`cbi-queue {arguments[0]}` did not end within {PATIENCE_S:g} s") from exc
    except OSError as exc:
        raise VerbFailed(f"cannot run `cbi-queue {arguments[0]}`: {exc.strerror}") from exc


def _failed(verb: str, printed: Printed) -> VerbFailed:
    return VerbFailed(printed.words[:MOST_TEXT] or f"`cbi-queue {verb}` ended with exit code {printed.code}")
