"""The runner's side of a script's client: a private folder with the socket, orders down, reports up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.protocol import EpochReport, Note
from cbi_queue.regular_files import failure_of
from jobs.script.client_channel import ClientChannel

if TYPE_CHECKING:
    from cbi_queue.protocol import Report, Started
    from jobs.script.progress import Progress
    from jobs.trainer import Task

OUTPUT_FOLDER = "outputs"
"""Below the run folder: what a script puts into CBI_QUEUE_OUTPUT, and what its job's `outputs` name."""
PROGRESS_S = 2.0
"""Least seconds between reports of what the output says."""
_LONGEST_FOLDER = 90
"""Bytes: a socket's path may have 104 on macOS."""


class ClientLink:
    """What connects one attempt with the clients of its script; without a socket the script runs as untouched."""

    def __init__(self, task: Task, started: Started) -> None:
        """Make folder and socket. *started* is what has been reported; what a client adds to it is reported anew."""
        self._task, self._started = task, started
        self._lock = threading.Lock()
        self._ordered: dict[str, Any] = {}
        self._told_s = self._worked_s = time.monotonic()
        self._is_spoken = False
        self.epoch = 0
        """Finished epochs that were reported or restored."""
        self._folder: Path | None = None
        self._channel: ClientChannel | None = None
        try:
            self._folder = _private_folder(task)
            self._channel = ClientChannel(self._folder, self.report)
            self._order(micro_batch=task.assignment.micro_batch)  # before a script can ask for the first time
        except OSError as exc:
            self._remove()
            task.channel.report(Note(f"the script cannot report, its socket was not made: {failure_of(exc):.200}"))

    @property
    def has_client(self) -> bool:
        """True when the script can be asked to stop."""
        return self._channel is not None and self._channel.has_client

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that the script reported."""
        return self._channel.metrics if self._channel else {}

    def environment(self, python_path: str) -> dict[str, str]:
        """Return the variables by which a script finds its folders and the queue.

        Args:
            python_path: the PYTHONPATH that it has otherwise.
        """
        output = self._task.run_dir / OUTPUT_FOLDER
        for folder in (output, self._task.checkpoint_dir):
            folder.mkdir(exist_ok=True)
        found = {"CBI_QUEUE_CHECKPOINTS": str(self._task.checkpoint_dir), "CBI_QUEUE_OUTPUT": str(output)}
        if self._channel is None:
            return found
        path = os.pathsep.join(filter(None, (str(self._folder), python_path)))
        return {**found, "CBI_QUEUE_SOCKET": str(self._channel.path), "PYTHONPATH": path}

    def report(self, report: Report) -> None:
        """Pass a client's report on, after what it shows about the script."""
        if isinstance(report, EpochReport):
            plan: dict[str, Any] = {} if self._is_spoken else {"unit": "epoch", "total_epochs": report.total_epochs}
            self.epoch, self._is_spoken = report.epoch, True
            self.announce(micro_batch=self._started.micro_batch or report.micro_batch, **plan)
        self._task.channel.report(report)

    def saw_progress(self, progress: Progress | None) -> None:
        """Report what the output says, every few seconds at most; a client's own reports count instead."""
        now_s, worked_s = time.monotonic(), time.monotonic() - self._task.channel.paused_s
        if progress is None or self._is_spoken or now_s - self._told_s < PROGRESS_S or progress.done <= self.epoch:
            return
        wall_s, self._told_s, self._worked_s, self.epoch = worked_s - self._worked_s, now_s, worked_s, progress.done
        self.announce(unit=progress.unit, total_epochs=progress.of)
        self._task.channel.report(EpochReport(progress.done, progress.of, max(wall_s, 0.0)))

    def announce(self, **changes: Any) -> None:
        """Report what is known about the script beyond its start; nothing when that is nothing new: each begins a governor."""
        with self._lock:
            channel = self._channel
            if channel is not None and channel.can:
                changes["can"] = ("pace", *sorted(channel.can))
                if full := channel.full_micro_batch:
                    changes["micro_batch"] = min(full, self._task.assignment.micro_batch or full)
            started = replace(self._started, **changes)
            if started != self._started:
                self._started = started
                self._task.channel.report(started)

    def obey(self) -> None:
        """Pass the slot's orders on when they have changed, and report what the script can do by now."""
        channel = self._task.channel
        self._order(duty=channel.duty, micro_batch=channel.wanted_micro_batch or self._task.assignment.micro_batch)
        self.announce()

    def order_stop(self) -> None:
        """Ask the script to write a checkpoint and end."""
        self._order(stop=True, checkpoint=True)

    def was_stopped(self, seconds: float) -> None:
        """Tell the script that it stood still; called just before it is continued."""
        if self._channel is not None:
            self._channel.was_stopped(seconds)

    def close(self) -> None:
        """Hear the last words and remove the folder."""
        if self._channel is not None:
            self._channel.close()
        self._remove()

    def _order(self, **orders: Any) -> None:
        if self._channel is not None and orders.items() - self._ordered.items():
            self._ordered |= orders
            self._channel.order(**orders)

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder(task: Task) -> Path:
    """Make a folder that only this user may enter; remove those that killed runners of this job left."""
    job = hashlib.sha256(f"{task.assignment.ledger_id}:{task.assignment.job_id}".encode()).hexdigest()
    prefix = f"cbi-{job[:10]}-"
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent)) + len(prefix) > _LONGEST_FOLDER - 16:
        parent = Path("/tmp")  # noqa: S108 - mkdtemp makes the folder with mode 0700 and a name that nobody can guess
    with contextlib.suppress(OSError):
        for left in parent.glob(f"{prefix}*"):
            if left.is_dir() and not left.is_symlink() and left.stat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
