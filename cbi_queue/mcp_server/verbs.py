"""Runs one verb of `cbi-queue` and returns its JSON: what a tool answers is what the command prints, and a fault ends the
verb and not the server. Nothing of it reaches the server's own standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    code, out, err = _run(arguments)
    try:
        body = json.loads(out)
    except ValueError as exc:
        raise VerbFailed(_words(err) or f"`cbi-queue {arguments[0]}` ended with exit code {code}") from exc
    return body


def text(*arguments: str) -> tuple[str, bool]:
    """Run `cbi-queue ARGUMENTS` and return the last part of what it prints, and whether something was left out.

    Raises:
        VerbFailed: with its message and hint.
    """
    code, out, err = _run(arguments)
    if code != 0:
        raise VerbFailed(_words(err) or f"`cbi-queue {arguments[0]}` ended with exit code {code}")
    return out[-MOST_LOG_BYTES:].decode(errors="replace"), len(out) > MOST_LOG_BYTES


def with_plan(plan: str, *arguments: str) -> Any:
    """Run a verb on the text of a plan; its complaints name the file `plan.yaml`.

    Raises:
        VerbFailed: when the text is too long, or the verb refuses it.
    """
    content = plan.encode(errors="replace")
    if len(content) > MOST_PLAN_BYTES:
        raise VerbFailed(f"the plan has {len(content):,} bytes; allowed are {MOST_PLAN_BYTES:,}")
    with tempfile.TemporaryDirectory(prefix="cbi-queue-mcp-") as folder:
        path = Path(folder, PLAN_NAME)
        path.write_bytes(content)
        return answer(*arguments, "--json", f"--copy-of={PLAN_NAME}", "--", str(path))


def _run(arguments: tuple[str, ...]) -> tuple[int, bytes, bytes]:
    if any("\0" in each for each in arguments):
        raise VerbFailed("an argument contains a null character, which no name has")
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", *arguments]
    plain = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            env=plain,
            process_group=0,
        )
    except subprocess.TimeoutExpired as exc:
        raise VerbFailed(f"`cbi-queue {arguments[0]}` did not end within {PATIENCE_S:g} s") from exc
    except OSError as exc:
        raise VerbFailed(f"cannot run `cbi-queue {arguments[0]}`: {exc.strerror}") from exc
    return done.returncode, done.stdout, done.stderr


def _words(err: bytes) -> str:
    """Return what a verb says to people, without the lines on how to call it."""
    lines = err.decode(errors="replace").strip().splitlines()
    kept = [line for line in lines if not line.startswith(("Usage: ", "Try '", "Warning: "))]
    return "\n".join(kept).strip().removeprefix("Error: ")[:MOST_TEXT]
