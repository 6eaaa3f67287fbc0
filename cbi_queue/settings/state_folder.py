"""The state folder belongs to one user and is open to nobody else: it holds the token, and what is written there runs.

A folder that others own is refused. One that was open to others is closed, unless somebody has put something there.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""What group and others may do; nothing of it is left in the state folder."""
OWN_NAMES = frozenset(
    {
        "ledger.db",
        "telemetry.db",
        "slot.lock",
        "api-token",
        "daemon.log",
        "backups",
        "runtimes",
        "config.toml",
        "profiles",
    }
)
"""By any of these a folder is known as a state folder; on macOS the settings lie there, too."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def keep_private(folder: Path, token: Path) -> None:
    """Check that *folder* is this user's, and close it to others where it was open, with a note on standard error.

    Args:
        folder: the state folder, which exists.
        token: the API's token in it; deleted when others could have replaced it.

    Raises:
        SettingsError: when another user owns it or something in it, or when its disk keeps no permissions.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise SettingsError(
            f"the state folder {folder} belongs to {_user(found.st_uid)}, and this is {_user(os.geteuid())}: its owner "
            "could change the queue and read the token",
            hint="run cbi-queue as that user, or set CBI_STATE_DIR to a folder of your own",
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & OTHERS:
        _close(folder, mode, token)


def open_parents(folder: Path) -> list[Path]:
    """Return the folders above *folder* in which every account may rename what is there (world-writable, not sticky)."""
    above = {parent: None for start in (folder.absolute(), Path(os.path.realpath(folder))) for parent in start.parents}
    return [parent for parent in above if _is_open(parent)]


def _is_open(folder: Path) -> bool:
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _close(folder: Path, mode: int, token: Path) -> None:
    _refuse_to_close(folder, f"the state folder {folder} is open to other accounts (mode {mode:04o})", mode)
    folder.chmod(stat.S_IRWXU)
    if folder.stat().st_mode & OTHERS:
        raise SettingsError(
            f"the state folder {folder} is open to other accounts (mode {mode:04o}), and its disk keeps no permissions",
            hint="set CBI_STATE_DIR to a folder on the internal disk",
        )
    for path in (*folder.iterdir(), *(folder / "backups").glob("*")):
        found = path.lstat()
        if found.st_mode & OTHERS and not stat.S_ISLNK(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
    renewed = ""
    if mode & _OTHERS_WRITE and token.exists():
        token.unlink()
        renewed = (
            ", and the API's token was deleted, because they could have replaced it: `cbi-queue serve` makes another"
        )
    print(
        f"Note: the state folder {folder} was open to other accounts (mode {mode:04o}); it is yours alone now{renewed}.",
        file=sys.stderr,
        flush=True,
    )


def _refuse_to_close(folder: Path, seen: str, mode: int) -> None:
    """Raise for a folder that is not ours to close, such as /tmp or a home, and for one where somebody put something."""
    names = {path.name for path in folder.iterdir()}
    if mode & stat.S_ISVTX or (names and not names & OWN_NAMES):
        raise SettingsError(
            f"{seen} and holds other things than cbi-queue's: closing it could lock others out of them",
            hint="set CBI_STATE_DIR to a folder of its own, which may be a new one",
        )
    for path, found in _inside(folder):
        if found.st_uid != os.geteuid():
            raise SettingsError(
                f"{seen}, and {path} in it belongs to {_user(found.st_uid)}: somebody may have put it there",
                hint="look at it; delete it or `chown` it, then run the command again",
            )


def _inside(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            yield path, path.lstat()


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"
