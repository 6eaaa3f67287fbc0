"""One trainer session: greet, receive the assignment, train, complete the run folder, report how it ended.

One of the three places that catch every exception (the others are the command line and the daemon): whatever a library
raises becomes a `Failed` report and an exit code.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cbi_queue.artifacts import Manifest, complete_folder, reopen_folder
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import PREPARING
from cbi_queue.protocol import ExitCode, Failed, FailureKind, Finished, Hello, Stopped
from cbi_queue.regular_files import failure_of, in_words
from cbi_queue.spec import JobSpec, spec_faults
from jobs.process.channel import Channel, StopRequested, log
from jobs.process.fingerprint import with_cost
from jobs.process.log_rollover import roll_in_background
from jobs.process.out_of_memory import is_out_of_memory
from jobs.registry import trainer_of
from jobs.trainer import BrokenSpec, CommandFailed, CommandKilled, Task

if TYPE_CHECKING:
    from cbi_queue.protocol import Assignment

_EXIT_CODES = {
    FailureKind.BROKEN_SPEC: ExitCode.BROKEN_SPEC,
    FailureKind.OUT_OF_MEMORY: ExitCode.OUT_OF_MEMORY,
    FailureKind.DISK_FULL: ExitCode.ERROR,
    FailureKind.KILLED: ExitCode.ERROR,
    FailureKind.ERROR: ExitCode.ERROR,
}


def run_session(report_fd: int) -> int:
    """Speak the protocol on *report_fd*, an open descriptor, and standard input; return the exit code."""
    channel = Channel(os.fdopen(report_fd, "wb"), os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False))
    channel.has_nothing_to_save = True
    channel.listen()
    channel.report(Hello(os.getpid(), sys.version.split()[0]))
    begin = channel.wait_begin()
    if begin is None:
        return ExitCode.STOPPED
    return _work(begin.assignment, channel)


def _work(assignment: Assignment, channel: Channel) -> int:
    channel.exit_hard_after(assignment.grace_s)
    note_presence(assignment)
    if assignment.log_path:
        roll_in_background(Path(assignment.log_path), assignment.log_max_bytes, assignment.log_keep)
    limit_memory(assignment.memory_limit_mib)
    try:
        _train(assignment, channel)
    except StopRequested:
        channel.report(Stopped(channel.last_epoch, checkpointed=channel.has_checkpoint))
        return ExitCode.STOPPED
    except BaseException as exc:  # a top loop; a panic of Rust code is no Exception
        if not isinstance(exc, Exception) and not _is_panic(exc):
            raise
        kind = classify(exc)
        channel.report(Failed(kind, _one_line(exc)))
        with contextlib.suppress(OSError):  # the disk that is full may be the log's
            if not isinstance(exc, CommandFailed):
                traceback.print_exc()
        return _EXIT_CODES[kind]
    return ExitCode.DONE


def _train(assignment: Assignment, channel: Channel) -> None:
    task = Task(assignment, _spec(assignment), channel)
    reopen_folder(task.run_dir)
    trainer = trainer_of(task.spec)
    gc.freeze()  # the collector, off until here, need not look through what the libraries are made of
    gc.enable()
    channel.safe_point(0)
    if task.spec.family not in PREPARING:
        from jobs.data.cache_repair import mend_cache  # numpy with it, which no script needs
        from jobs.data.feature_store import check_returns, check_snapshot

        mend_cache(task)
        if snapshot := check_snapshot(task.processed_dir, task.spec):
            log(f"data set {task.spec.dataset}, snapshot {snapshot[:8]}")
        check_returns(task.processed_dir, task.spec)
    started = with_cost(trainer.prepare(task), task.spec)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda _signum, _frame: channel.stop())
    channel.has_nothing_to_save = False
    channel.report(started)
    finished = trainer.train(task)
    finished = replace(finished, peak_rss_mib=peak_rss_mib())
    complete_folder(task.run_dir, _manifest(assignment, finished))
    shutil.rmtree(task.checkpoint_dir, ignore_errors=True)
    channel.report(finished)


def _spec(assignment: Assignment) -> JobSpec:
    """Check the spec again: this runtime may have another version of cbi-queue than the one that planned the job."""
    model = assignment.spec.get("model")
    if model not in MODELS:
        raise BrokenSpec(f"this runtime has no model {model!r}: the package that brings it is not installed there")
    try:
        return JobSpec.model_validate(assignment.spec)
    except ValidationError as exc:
        raise BrokenSpec(f"this runtime's cbi-queue cannot read the job: {spec_faults(exc, assignment.spec)}") from exc


def _manifest(assignment: Assignment, finished: Finished) -> Manifest:
    return Manifest(
        ledger_id=assignment.ledger_id,
        job_id=assignment.job_id,
        attempt=assignment.attempt,
        identity=assignment.identity,
        metrics=finished.metrics,
        veto=finished.veto,
        peak_rss_mib=finished.peak_rss_mib,
    )


def limit_memory(limit_mib: float) -> None:
    """Limit this process to *limit_mib* of data and heap; 0 for no limit.

    Linux counts every private writable mapping. macOS accepts the limit and does not enforce it.
    """
    if limit_mib > 0:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = int(limit_mib * 2**20)
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
        )


def note_presence(assignment: Assignment) -> None:
    """Write to the file named by CBI_OVERLAP_LOG, if it is set, whether this trainer is the only one.

    The trainer locks a file beside the log for as long as it lives, and writes that it is not alone when it cannot.
    """
    path = os.environ.get("CBI_OVERLAP_LOG")
    if not path:
        return
    presence = os.open(f"{path}.presence", os.O_RDWR | os.O_CREAT, 0o600)  # stays open until the process ends
    try:
        fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    line = json.dumps({"pid": os.getpid(), "job": assignment.job_id, "attempt": assignment.attempt, "alone": alone})
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, line.encode() + b"\n")
    os.close(log)


def classify(exc: BaseException) -> FailureKind:
    """Return what kind of failure an exception is."""
    if isinstance(exc, BrokenSpec) or _is_panic(exc):
        return FailureKind.BROKEN_SPEC
    if is_out_of_memory(exc):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailureKind.DISK_FULL
    if isinstance(exc, CommandKilled):
        return FailureKind.KILLED
    return FailureKind.ERROR


def _is_panic(exc: BaseException) -> bool:
    """Return True for a panic of Polars: it derives from BaseException, and the same data cause it again."""
    return type(exc).__name__ == "PanicException"


def _one_line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())[:500]
    if _is_panic(exc):
        return f"the data library failed on these data: {text}"
    if isinstance(exc, BrokenSpec | CommandFailed) and text:
        return text  # a sentence of our own
    if isinstance(exc, OSError) and exc.filename is not None:
        refused = in_words(exc)
        return f"{refused.message}; {refused.hint}" if refused.hint else refused.message
    return failure_of(exc)[:500]


def peak_rss_mib() -> float:
    """Return the largest resident set so far, of this process or of a child that ended, in MiB.

    `ru_maxrss` is KiB on Linux, bytes on macOS. An export works in a child.
    """
    peak = max(resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
