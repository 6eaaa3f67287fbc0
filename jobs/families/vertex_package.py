"""A job that exports the model of its horizon that ranks first, as `cbi-queue export` does, and by that verb itself.

Which model ranks first is for the ledger to say, which a trainer does not know; so the verb is run, in a process of this
one's group: it pauses and ends with it. It ends in one step, and a stopped export starts over; nothing of it is left.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from cbi_queue.artifacts import write_json
from cbi_queue.protocol import EpochReport, Finished, Note, Started
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.export import ExportParams
    from jobs.trainer import Task

POLL_S = 0.2
REFUSED = 2
"""Exit code of a verb that refused."""


class VertexPackage:
    """Exports one model."""

    def prepare(self, task: Task) -> Started:
        """Say what will be done."""
        return Started(
            total_epochs=1, unit="fit", one_shot=True, fingerprint=f"{task.spec.model} {task.spec.horizon} export"
        )

    def train(self, task: Task) -> Finished:
        """Run the verb, obeying stops while it works; keep what it said.

        Raises:
            BrokenSpec: when it refused.
            RuntimeError: when it failed; a later attempt may not.
            StopRequested: when the slot asks for it.
        """
        task.channel.safe_point(0)
        started_s = time.monotonic()
        said = self._exported(task)
        for sentence in said["words"]:
            task.channel.report(Note(sentence))
        task.channel.report(
            EpochReport(1, 1, time.monotonic() - started_s, samples=1, resumed=task.channel.take_was_paused())
        )
        task.channel.safe_point(1)
        metrics = {
            name: said[name] for name in ("job", "job_id", "model_id", "display_name", "folder", "parity", "words")
        }
        metrics["latency_class"] = said["latency"]["class"]
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

    def _exported(self, task: Task) -> dict[str, Any]:
        spec, params = task.spec, cast("ExportParams", task.spec.typed_params)
        command = [
            sys.executable,
            "-P",
            "-m",
            "cbi_queue.cli",
            "export",
            spec.horizon,
            "--dataset",
            spec.dataset,
            "--json",
        ]
        if params.job is not None:
            command += ["--job", params.job]
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
        if child.returncode == 0:
            return dict(json.loads(answer))
        words = " ".join(complaint.split()).removeprefix("Error: ")[:1000] or f"it ended with {child.returncode}"
        if child.returncode == REFUSED:
            raise BrokenSpec(words)
        raise RuntimeError(words)
