"""A plan that is a text: `cbi-queue plan check` and `enqueue` run on it, so the page says what the commands say.

Each runs in a process of its own, one at a time: a plan that takes long or much memory cannot stop the page.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from dataclasses import dataclass
from typing import Any

from cbi_queue.errors import CbiError, Refused
from cbi_queue.own_verbs import Printed, run_on_plan

WITHIN_S = 45.0
"""Seconds for a command; `connections` waits a minute for the answer."""
TURN_WITHIN_S = 10.0
"""Seconds to wait for another request's plan."""
MOST_WORDS = 4_000
"""Characters of a message."""
PASTED = "pasted on the page"
LONGEST_NAME = 80
_PLACE = re.compile(r"(?::(\d+))?: (.*)", re.DOTALL)
_COLUMN = re.compile(r"(?:^|: )column (\d+): ")
_turn = threading.Lock()


class PlanBusy(CbiError):
    """Other plans are being checked; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong with a plan."""

    line: int | None
    """Counted from 1; None when it concerns the plan as a whole."""
    column: int | None
    """Counted from 1; None when it is not known."""
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a plan found."""

    complaints: tuple[Complaint, ...]
    summary: dict[str, Any] | None
    """As `cbi-queue plan check --json` prints it; None when there are complaints."""


def called(filename: str | None) -> str:
    """Return what a plan is called in complaints and in the ledger: where it comes from, with the name of its file."""
    kept = "".join(each if each.isprintable() else "?" for each in filename or "")[:LONGEST_NAME].strip()
    return f"{kept} (uploaded on the page)" if kept else PASTED


def check(content: bytes, name: str) -> Checked:
    """Check a plan; changes nothing.

    Args:
        content: its text as it came, not decoded.
        name: what `called` calls it.

    Raises:
        CbiError: when the check could not be made.
    """
    printed = _run(content, name, "plan", "check")
    try:
        found = json.loads(printed.out)
    except ValueError as exc:
        raise _failed(printed) from exc
    if found["ok"]:
        return Checked((), found)
    return Checked(tuple(_complaint(each, name) for each in found["complaints"]), None)


def enqueue(content: bytes, name: str) -> dict[str, Any]:
    """Enqueue a plan, all of it or nothing.

    Returns:
        The jobs as `cbi-queue enqueue --json` prints them: `new`, `already_there`, `renewed`.

    Raises:
        Refused: when the plan or the queue does not allow it.
        CbiError: when it could not be tried.
    """
    printed = _run(content, name, "enqueue")
    try:
        found: dict[str, Any] = json.loads(printed.out)
    except ValueError as exc:
        raise _failed(printed) from exc
    return found


def _complaint(sentence: str, name: str) -> Complaint:
    found = _PLACE.fullmatch(sentence.removeprefix(name)) if sentence.startswith(name) else None
    if found is None:
        return Complaint(None, None, sentence)
    column = _COLUMN.search(found[2])
    return Complaint(int(found[1]) if found[1] else None, int(column[1]) if column else None, found[2])


def _run(content: bytes, name: str, *verb: str) -> Printed:
    if not _turn.acquire(timeout=TURN_WITHIN_S):
        raise PlanBusy("another plan is being checked; nothing was changed", hint="try again in a moment")
    try:
        return run_on_plan(content, name, *verb, within_s=WITHIN_S)
    except subprocess.TimeoutExpired as exc:
        words = f"the plan was not read within {WITHIN_S:.0f} s"
        raise CbiError(words, hint="split the plan, or use `cbi-queue plan check` in a terminal") from exc
    except OSError as exc:
        raise CbiError(f"the plan could not be checked: {exc.strerror}", hint="run `cbi-queue doctor`") from exc
    finally:
        _turn.release()


def _failed(printed: Printed) -> CbiError:
    """Return the error of a command that printed no JSON, in its own words for people."""
    message, _, hint = printed.words.partition("\nHint: ")
    kind = Refused if printed.code == Refused.exit_code else CbiError
    return kind(message[:MOST_WORDS] or f"the command ended with exit code {printed.code}", hint=hint or None)
