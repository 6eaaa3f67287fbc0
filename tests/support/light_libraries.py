"""Empty stand-ins for the trainers' libraries, for tests of `cbi-queue doctor` that are about something else.

It imports each library in a process of its own, which takes most of its four seconds of processor time.
"""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cbi_queue.doctor import LIBRARIES

USED_ELSEWHERE = "polars"
"""The one of them that other checks of the doctor read exports with."""


@cache
def _folder() -> Path:
    folder = Path(mkdtemp(prefix="cbi-queue-light-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for library in LIBRARIES:
        if library != USED_ELSEWHERE:
            (folder / f"{library}.py").touch()
    return folder


def light_libraries() -> dict[str, str]:
    """Return what makes a command, and every process it starts, import the stand-ins."""
    return {"PYTHONPATH": str(_folder())}
