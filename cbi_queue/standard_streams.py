"""Standard input, output and error, and the umask, made safe at the start of every process of ours; and how it ends.

A service manager, cron or a shell (`<&-`) may start a process with some of them closed. The next file that is opened
then gets number 0, 1 or 2, and a child's redirection overwrites it: a slot lock that is lost this way lets two trainers
run at once.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import io
import os
import signal
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_FREE = 3
"""Lowest descriptor that no child's redirection touches."""
PRIVATE = 0o077
"""The umask of every process of ours: ledger, logs, token, models and checkpoints are the user's own."""
_LOST = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare_streams() -> None:
    """Open `/dev/null` in place of closed streams, and show letters that the terminal's encoding lacks as `?`.

    Files that this process and its children make are for their owner only.
    """
    os.umask(PRIVATE)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            _point_at_null(number)
        if getattr(sys, name) is None:  # as the interpreter leaves it when the descriptor was closed
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def above_standard(descriptor: int) -> int:
    """Return *descriptor*, or a copy of it above 2 in its place when it is lower; not inherited by default."""
    if descriptor >= FIRST_FREE:
        return descriptor
    lifted = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(descriptor)
    return lifted


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Prepare the streams; when what the body prints cannot be written, end with one line on standard error and 1."""
    prepare_streams()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as exc:
        if exc.filename is not None or exc.errno not in _LOST:
            raise
        with contextlib.suppress(OSError):
            if exc.errno != errno.EPIPE:  # the reader left: it knows
                what = "the output" if _is_lost(sys.stdout) else "a file"
                print(f"Error: cannot write {what}: {exc.strerror}", file=sys.stderr, flush=True)
        _point_at_null(sys.stdout.fileno())  # the interpreter flushes once more at its end
        raise SystemExit(1) from None


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as an exception does: what it began is removed, its children are ended."""

    def end(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    heeded = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, end) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def leave(status: int) -> NoReturn:
    """End the process with *status* at once, after all that was registered for its end.

    The interpreter would first take every imported class apart: 20 ms of a verb, 60 to 500 ms of a trainer. With a thread
    still alive that it waits for, it ends the usual way.
    """
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        atexit._run_exitfuncs()  # noqa: SLF001 - what `os._exit` leaves out
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(status)
    sys.exit(status)


def _is_lost(stream: TextIO) -> bool:
    """Return True if what *stream* still holds cannot be written, nor a line end: an unbuffered one holds nothing."""
    mode = os.fstat(stream.fileno()).st_mode
    if stream.isatty() or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return False  # they are never full
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        return True
    return False


def _point_at_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)
