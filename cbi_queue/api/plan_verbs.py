"""A plan that is a text: `cbi-queue plan check` and `enqueue` run on it, so the page says what the commands say.

Each runs in a process of its own, one at a time: a plan that takes long or much memory cannot stop the page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbi_queue.errors import CbiError, Refused

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
    code, out, err = _run(content, name, "plan", "check")
    try:
        found = json.loads(out)
    except ValueError as exc:
        raise _failed(code, err) from exc
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
    code, out, err = _run(content, name, "enqueue")
    try:
        found: dict[str, Any] = json.loads(out)
    except ValueError as exc:
        raise _failed(code, err) from exc
    return found


def _complaint(sentence: str, name: str) -> Complaint:
    found = _PLACE.fullmatch(sentence.removeprefix(name)) if sentence.startswith(name) else None
    if found is None:
        return Complaint(None, None, sentence)
    column = _COLUMN.search(found[2])
    return Complaint(int(found[1]) if found[1] else None, int(column[1]) if column else None, found[2])


def _run(content: bytes, name: str, *verb: str) -> tuple[int, str, str]:
    if not _turn.acquire(timeout=TURN_WITHIN_S):
        raise PlanBusy("another plan is being checked; nothing was changed", hint="try again in a moment")
    try:
        with tempfile.TemporaryDirectory(prefix="cbi-queue-plan-") as folder:
            path = Path(folder, "plan.yaml")
            path.write_bytes(content)
            command = [
                sys.executable,
                "-P",
                "-m",
                "cbi_queue.cli",
                *verb,
                "--json",
                f"--copy-of={name}",
                "--",
                str(path),
            ]
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=WITHIN_S, process_group=0,
                env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
            )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        words = f"the plan was not read within {WITHIN_S:.0f} s"
        raise CbiError(words, hint="split the plan, or use `cbi-queue plan check` in a terminal") from exc
    except OSError as exc:
        raise CbiError(f"the plan could not be checked: {exc.strerror}", hint="run `cbi-queue doctor`") from exc
    finally:
        _turn.release()
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def _failed(code: int, err: str) -> CbiError:
    """Return the error of a command that printed no JSON, in its own words for people."""
    lines = [line for line in err.strip().splitlines() if not line.startswith(("Usage: ", "Try '", "Warning: "))]
    message, _, hint = "\n".join(lines).removeprefix("Error: ").partition("\nHint: ")
    kind = Refused if code == Refused.exit_code else CbiError
    return kind(message[:MOST_WORDS] or f"the command ended with exit code {code}", hint=hint or None)
