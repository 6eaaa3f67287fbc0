"""The files of the client, for scripts in an environment without cbi-queue."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = ("client.py", "client_adapters.py")


def copy_client(folder: Path) -> Path:
    """Copy the client to *folder*`/cbi_queue`, which `PYTHONPATH=`*folder* or a script in *folder* finds; return it.

    There is no `__init__.py`: an installed cbi_queue comes first.

    Raises:
        OSError: when it cannot be written.
    """
    package = folder / "cbi_queue"
    package.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(Path(__file__).with_name(name), package / name)
    return package
