"""The slot as a file lock: only the process that holds its `flock` may train.

The lock belongs to an open file description, which the trainer inherits: the slot stays taken until the trainer has
ended, even when the daemon was killed. The file's text names the daemon that took it, for messages.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError, SlotTaken
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.regular_files import in_words, open_file, read_text
from cbi_queue.standard_streams import above_standard

if TYPE_CHECKING:
    from pathlib import Path

HOLDER_WRITES_WITHIN_S = 1.0
"""Seconds that a reader waits for the daemon's name, which the daemon writes right after it took the lock."""
SPACE_HINT = "free up space on the disk of the state folder"


class SlotLock:
    """The slot's lock file."""

    def __init__(self, path: Path) -> None:
        """Use the file *path*; nothing is opened yet."""
        self._path = path
        self._descriptor: int | None = None
        self.was_left = False
        """True once the slot was taken after a daemon that did not release it: it crashed or was killed."""

    @property
    def descriptor(self) -> int:
        """The open, locked descriptor that a trainer inherits."""
        if self._descriptor is None:
            msg = "the slot lock is not held"
            raise RuntimeError(msg)
        return self._descriptor

    @property
    def is_in_place(self) -> bool:
        """True while the file at the path is the one that is locked: otherwise another process can lock a new one."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self._path.stat())
        except OSError:
            return False

    def try_acquire(self) -> bool:
        """Take the slot if it is free; return True if this process holds it now."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = above_standard(open_file(self._path, os.O_RDWR | os.O_CREAT))
        except OSError as exc:
            raise in_words(exc) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            if isinstance(exc, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        self.was_left = os.fstat(descriptor).st_size > 0
        try:
            self._write_holder()
        except OSError as exc:
            self.release()
            raise CbiError(
                f"cannot take the slot: {self._path} cannot be written: {exc.strerror or exc}", hint=SPACE_HINT
            ) from exc
        return True

    def release(self) -> None:
        """Release the slot (a living trainer still holds it). May be called twice."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> ProcessIdentity | None:
        """Return the daemon that the file names, if that process is alive."""
        try:
            body = json.loads(read_text(self._path))
            identity = ProcessIdentity(int(body["pid"]), float(body["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return identity if identity.is_alive() else None

    def refuse_if_daemon_holds_it(self) -> None:
        """Raise if a daemon holds the slot; a lock that only an orphaned trainer holds passes.

        Raises:
            SlotTaken: when a living daemon holds it.
        """
        deadline = clock.monotonic_s() + HOLDER_WRITES_WITHIN_S
        while (holder := self.holder()) is None and clock.monotonic_s() < deadline:
            time.sleep(0.05)
        if holder is not None:
            raise SlotTaken(
                f"the slot is taken: the daemon with pid {holder.pid} holds {self._path}",
                holder_pid=holder.pid,
            )

    def _write_holder(self) -> None:
        me = ProcessIdentity.of(os.getpid())
        text = json.dumps({"pid": os.getpid(), "started": me.started if me else 0.0})
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)


def is_slot_taken(path: Path) -> bool:
    """Return True if a daemon or an orphaned trainer holds the slot now."""
    try:
        descriptor = open_file(path)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise in_words(exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
