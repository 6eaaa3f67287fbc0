"""Which files of a script are kept: those of all attempts of its job, and the rest although one of them cannot be read."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from jobs.script.results import keep_outputs, note_begin

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_files_of_an_earlier_attempt_are_kept_and_one_that_cannot_be_read_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that was evicted left its part; the next one writes the rest."""
    work, checkpoints, run = (tmp_path / name for name in ("work", "checkpoints", "run"))
    for folder in (work, checkpoints, run):
        folder.mkdir()
    note_begin(checkpoints)
    os.utime(checkpoints / ".begun", (time.time() - 100,) * 2)
    for name in ("early.csv", "late.csv", "secret.csv"):
        (work / name).write_text(name)
    os.utime(work / "early.csv", (time.time() - 50,) * 2)
    opened = os.open

    def guarded(path: Any, *options: Any, **named: Any) -> int:
        if str(path).endswith("work/secret.csv"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *options, **named)

    monkeypatch.setattr(os, "open", guarded)  # tests may run as root, who can read everything
    note_begin(checkpoints)
    told = list(keep_outputs(work, ["*.csv"], (run, checkpoints)))
    assert sorted(path.name for path in (run / "outputs").iterdir()) == ["early.csv", "late.csv"]
    assert told == ["outputs '*.csv': 'secret.csv' cannot be read: Permission denied; it was not kept"]
