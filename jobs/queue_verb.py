"""Runs a verb of cbi-queue as the work of a job: what the ledger must say, a trainer does not know.

The verb runs in a process of the job's group: it pauses and ends with it. It ends in one step, and a stopped one starts over.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from cbi_queue.protocol import EpochReport, Note
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.trainer import Task

POLL_S = 0.2
REFUSED = 2
"""Exit code of a verb that refused."""


def run_verb(task: Task, *arguments: str, also: tuple[int, ...] = ()) -> dict[str, Any]:
    """Run the verb with `--json`, obeying stops while it works; report what it said in `words`, and one epoch.

    Args:
        task: whose channel is asked for stops.
        arguments: the verb and its options.
        also: exit codes beside 0 with which it prints JSON.

    Raises:
        BrokenSpec: when it refused.
        RuntimeError: when it failed; a later attempt may not.
        StopRequested: when the slot asks for it.
    """
    task.channel.safe_point(0)
    started_s = time.monotonic()
    said = _said(task, [sys.executable, "-P", "-m", "cbi_queue.cli", *arguments, "--json"], also)
    for sentence in said["words"]:
        task.channel.report(Note(sentence))
    resumed = task.channel.take_was_paused()
    task.channel.report(EpochReport(1, 1, time.monotonic() - started_s, samples=1, resumed=resumed))
    task.channel.safe_point(1)
    return said


def _said(task: Task, command: list[str], also: tuple[int, ...]) -> dict[str, Any]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            while True:
                try:
                    answer, complaint = child.communicate(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    task.channel.safe_point(0)
        finally:
            if child.poll() is None:
                child.terminate()  # the verb then ends its own process and removes what it wrote
    if child.returncode == 0 or (child.returncode in also and answer.strip()):
        return dict(json.loads(answer))
    words = " ".join(complaint.split()).removeprefix("Error: ")[:1000] or f"it ended with {child.returncode}"
    if child.returncode == REFUSED:
        raise BrokenSpec(words)
    raise RuntimeError(words)
