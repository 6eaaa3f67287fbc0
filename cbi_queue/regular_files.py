"""Opens regular files only: a pipe, a device, a link or an endless file in their place is refused in words, at once.

Another program, or a person by mistake, may put anything where a log, a checkpoint or a setting belongs. Reading a pipe
waits for ever, reading `/dev/zero` takes all memory, and writing through a link changes a file that is not ours. Files
that only cbi-queue writes are never reached through a link at their name; a file that the user named may be one.
Every refusal is an `OSError` whose `strerror` is a sentence.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from cbi_queue.errors import CbiError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

SMALL = 1 << 20
"""Bytes that a file of settings, a token or a record may have: a thousand times more than any has."""
LARGE = 1 << 26
"""Bytes that a manifest or a file of stored fits may have."""
_KINDS = (
    (stat.S_ISLNK, "it is a symbolic link, which is not followed here"),
    (stat.S_ISFIFO, "it is a pipe, not a file"),
    (stat.S_ISDIR, "it is a folder, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
)
_PLACES = "CBI_STATE_DIR (the queue) or CBI_V14_REPO (data, models, logs)"
_HINTS = {
    errno.EINVAL: "move it away; what cbi-queue needs there it makes again",
    errno.ELOOP: "move it away; what cbi-queue needs there it makes again",
    errno.EROFS: f"the disk is read-only: make it writable, or set {_PLACES} to a folder on another one",
    errno.EACCES: f"make it readable and writable for this user, or set {_PLACES} to a folder that is",
    errno.EPERM: f"make it readable and writable for this user, or set {_PLACES} to a folder that is",
    errno.ENOSPC: "free up space on that disk",
    errno.EDQUOT: "free up space on that disk",
}


def check_file(path: Path, *, follow: bool = False) -> None:
    """Refuse *path* unless a regular file is there, or nothing.

    Args:
        path: nothing is opened, for a device may act on being opened.
        follow: True for a path that the user typed: a link to a regular file is one.

    Raises:
        OSError: with what is there in words.
    """
    with contextlib.suppress(FileNotFoundError):
        _refuse_unless_regular(path.stat() if follow else path.lstat(), path)


def check_folder(path: Path) -> None:
    """Refuse *path* when something else than a real folder is there, such as a link to one.

    Raises:
        OSError: with what is there in words.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            what = "a symbolic link, which is not followed here" if stat.S_ISLNK(mode) else "not a folder"
            raise OSError(errno.EINVAL, f"it is {what}", str(path))


def open_file(path: Path, flags: int = os.O_RDONLY, *, follow: bool = False, mode: int = 0o600) -> int:
    """Open the regular file at *path*; return its descriptor, which children do not inherit.

    Args:
        path: where it is.
        flags: those of `os.open`.
        follow: see `check_file`.
        mode: permissions of a new file.

    Raises:
        OSError: from the file system, or with what is there instead.
    """
    check_file(path, follow=follow)
    no_follow = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | no_follow, mode)
    try:
        _refuse_unless_regular(os.fstat(descriptor), path)  # it may have been exchanged since the check
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_stream(path: Path, *, follow: bool = False) -> io.BufferedReader:
    """Open the regular file at *path* for reading, as `open_file` does."""
    return os.fdopen(open_file(path, follow=follow), "rb")


def open_to_append(path: Path) -> io.BufferedWriter:
    """Open the regular file at *path* to write at its end, as `open_file` does; a new one is its owner's only."""
    return os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


@contextlib.contextmanager
def file_lock(path: Path, within_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock of the file at *path*, which is free again when this process ends, however it does.

    Yields False, and holds nothing, when another process had it for all of *within_s* seconds. Raises as `open_file`.
    """
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        until_s = time.monotonic() + within_s
        while not (is_held := _takes_lock(descriptor)) and time.monotonic() < until_s:
            time.sleep(0.1)
        yield is_held
    finally:
        os.close(descriptor)


def _takes_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_whole(path: Path, most_bytes: int = SMALL, *, follow: bool = False) -> bytes:
    """Read the regular file at *path*, of *most_bytes* at most.

    Raises:
        OSError: from the file system, with what is there instead, or because it is too large.
    """
    with open_stream(path, follow=follow) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes; at most {most_bytes:,} are read", str(path))
        return stream.read(most_bytes)


def read_text(path: Path, most_bytes: int = SMALL, *, follow: bool = False, encoding: str = "utf-8") -> str:
    """Read the regular file at *path* as text; see `read_whole`. Raises UnicodeDecodeError too."""
    return read_whole(path, most_bytes, follow=follow).decode(encoding)


def in_words(exc: OSError) -> CbiError:
    """Return *exc* as an error for people: the file, what is wrong with it, what to do."""
    return CbiError(f"cannot use {plain_words(exc)}", hint=_HINTS.get(exc.errno or 0))


def plain_words(exc: BaseException, path: Path | None = None) -> str:
    """Return what an exception says: of the file system, the file and why; never its number, as in `[Errno 22]`.

    Args:
        exc: any.
        path: what was written or read, in case that an error of the file system does not say so.
    """
    if not isinstance(exc, OSError) or exc.strerror is None:
        return str(exc)
    first, rest = exc.strerror[:1], exc.strerror[1:]
    why = (first.lower() if rest[:1].islower() else first) + rest
    place = exc.filename or path
    return why if place is None else f"{place}: {why}"


def failure_of(exc: BaseException) -> str:
    """Return what an exception says in one line, after its kind; an error of the file system says enough by itself."""
    text = " ".join(plain_words(exc).split())
    if isinstance(exc, OSError) and exc.strerror is not None:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _refuse_unless_regular(found: os.stat_result, path: Path) -> None:
    why = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), None)
    if why is None and found.st_dev in _kernel_devices():
        why = "it belongs to the kernel and is on no disk"  # such as /proc/kmsg, which calls itself a regular file
    if why is not None:
        raise OSError(errno.EINVAL, why, str(path))


def _kernel_devices() -> set[int]:
    found = set()
    for folder in ("/proc", "/sys"):
        with contextlib.suppress(OSError):
            found.add(os.stat(folder).st_dev)  # noqa: PTH116 - at every opening
    found.discard(os.stat("/").st_dev)  # noqa: PTH116 - a plain folder of that name
    return found
