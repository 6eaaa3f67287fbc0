"""Which queue writes to the models folder: run folders are named by content, and two queues would overwrite them.

A marker in the folder names the state folder of the daemon that used it first, and counts while that has a ledger.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.artifacts import write_atomic
from cbi_queue.regular_files import file_lock, read_text

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

MARKER = ".cbi-queue-owner"
PATIENCE_S = 5.0
"""Longest wait for another daemon that marks the folder, which takes it milliseconds."""


def taken_by_another(settings: Settings) -> str | None:
    """Return in words that another queue writes to the models folder, and what to do; None when none does."""
    marker = settings.models / MARKER
    owner = Path((_written(marker) or "").strip())
    is_ours = os.path.realpath(owner) == os.path.realpath(settings.state_dir)
    if is_ours or not owner.is_absolute() or not _is_there(owner / settings.ledger_path.name):
        return None
    return (
        f"the models folder {settings.models} is that of the queue in {owner}, and two queues overwrite each other's "
        f"runs; set CBI_V14_MODELS and CBI_V14_LOGS to folders of their own, or delete {marker} if that queue is over"
    )


def claim_models(settings: Settings) -> str | None:
    """Mark the models folder as this queue's, unless it is another's: then return what `taken_by_another` says."""
    marker, ours = settings.models / MARKER, f"{settings.state_dir}\n"
    with (
        suppress(OSError),  # a folder that cannot be written to is told by what has to be written there
        file_lock(marker.with_name(f"{MARKER}.lock"), PATIENCE_S) as is_alone,
    ):
        if not is_alone:
            return f"another queue is taking the models folder {settings.models} at this moment"
        if taken_by_another(settings) is None and _written(marker) != ours:
            write_atomic(marker, ours.encode())
    return taken_by_another(settings)


def _written(marker: Path) -> str | None:
    try:
        found = read_text(marker)
    except (OSError, ValueError):
        return None
    return found if found.strip().isprintable() else None


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # such as the private folder of another account
        return True
    return True
