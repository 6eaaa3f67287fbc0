"""Runs one verb of `cbi-queue` in a process of its own: the page and the MCP server answer what the command prints, and a
fault ends the verb and not the server. Nothing of it reaches the server's own standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Printed:
    """What a verb printed, and how it ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """What it says to people, without the lines on how to call it; its hint follows `Hint: ` on a line of its own."""
        lines = self.err.decode(errors="replace").strip().splitlines()
        kept = [line for line in lines if not line.startswith(("Usage: ", "Try '", "Warning: "))]
        return "\n".join(kept).strip().removeprefix("Error: ")


def run_verb(*arguments: str, within_s: float) -> Printed:
    """Run `cbi-queue ARGUMENTS`, for at most *within_s* seconds.

    Raises:
        subprocess.TimeoutExpired: when it did not end in time; it is ended.
        OSError: when it cannot be started.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cbi_queue.cli", *arguments],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=within_s, process_group=0,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    return Printed(done.returncode, done.stdout, done.stderr)


def run_on_plan(content: bytes, name: str, *verb: str, within_s: float) -> Printed:
    """Run a verb with `--json` on a plan that is a text; complaints, and the ledger, call it *name*.

    Raises:
        subprocess.TimeoutExpired, OSError: as `run_verb`; also when the text cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="cbi-queue-plan-") as folder:
        path = Path(folder, "plan.yaml")
        path.write_bytes(content)
        return run_verb(*verb, "--json", f"--copy-of={name}", "--", str(path), within_s=within_s)
