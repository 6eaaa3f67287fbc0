"""Whether the data can really be opened. On macOS a process without Full Disk Access sees the folders of an external disk, of
~/Documents or of iCloud, may even create them, and is refused (EPERM) or kept waiting when it opens what is in them.

So a child process opens, writes and reads, with a time limit. A full disk is no refusal: it is reported where it happens.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

PROBE_TIMEOUT_S = 10.0
"""Seconds for an answer; a disk that spins up takes up to eight."""
_NO_REFUSAL = {errno.ENOENT, errno.ENOSPC, errno.EDQUOT}
"""A folder that is not made yet, and a full disk."""
_PERMISSIONS = {errno.EACCES, errno.EROFS}
"""What a folder's own permissions forbid may be meant so: features that are only read, a file of somebody else."""
_PROBE = """
import os, sys

def use(folder, writes):
    with os.scandir(folder) as entries:
        file = next((each.path for each in entries if each.is_file(follow_symlinks=False)), None)
    if file:
        os.read(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), 1)
    if writes:
        probe = os.path.join(folder, f".cbi-queue-probe-{os.getpid()}")
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"x")
            os.lseek(descriptor, 0, 0)
            os.read(descriptor, 1)
        finally:
            os.unlink(probe)

for number, folder in enumerate(sys.argv[1:]):
    try:
        use(folder, number > 0)
    except OSError as exc:
        print(exc.errno, exc.filename or folder)
"""
"""Reads from the first folder and also writes into the others; prints the number of an error and the path."""


def why_refused(settings: Settings, *, permissions: bool = False) -> str | None:
    """Return in words why the data cannot be used, and what to do about it; None when they can.

    Takes a tenth of a second, and `PROBE_TIMEOUT_S` when there is no answer.

    Args:
        settings: name the folders.
        permissions: count what permissions or a read-only disk forbid, too; jobs report that themselves.
    """
    folders = [
        settings.exports_dir, settings.processed_dir, settings.models / "local", settings.training_log_dir,
    ]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROBE, *map(str, folders)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=tempfile.gettempdir(),
    )  # fmt: skip
    try:
        lines = child.communicate(timeout=PROBE_TIMEOUT_S)[0].splitlines()
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel; it ends when the disk answers or is unplugged
            child.communicate(timeout=1.0)
        return with_remedy(f"{settings.repo} gives no answer within {PROBE_TIMEOUT_S:.0f} s", may_be_privacy=True)
    refusals = [(int(number), path) for number, _, path in (line.partition(" ") for line in lines)]
    harmless = _NO_REFUSAL if permissions else _NO_REFUSAL | _PERMISSIONS
    found = next(((number, path) for number, path in refusals if number not in harmless), None)
    if found is None:
        return None
    return with_remedy(f"{found[1]} cannot be opened: {os.strerror(found[0])}", may_be_privacy=found[0] == errno.EPERM)


def with_remedy(seen: str, *, may_be_privacy: bool, platform: str = sys.platform) -> str:
    """Return *seen* with what to do about it; *may_be_privacy*: macOS may be protecting the data from this program."""
    if may_be_privacy and platform == "darwin":
        python = os.path.realpath(sys.executable)
        return f"{seen}; in System Settings, Privacy & Security, give Full Disk Access to {python} (docs/service.md)"
    return f"{seen}; check the disk and the permissions of the user of the daemon"
