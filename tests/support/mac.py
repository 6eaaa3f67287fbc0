"""A Mac on Linux: Apple's layouts in a small C library, the system's commands, and a Python that believes that it is there.

It proves what follows from Apple's published sources. What only a Mac can prove is in docs/mac.md.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

PARTS = Path(__file__).parents[1] / "data" / "mac"
HOMEBREW = "/opt/homebrew/opt/libomp/lib/libomp.dylib"
FOR_TRAINERS = ("MAC_LIB", "MAC_FILES", "MAC_DISKS", "MAC_DENIED", "MAC_DENIED_WHILE")
"""Variables that reach trainers, which get only what they are known to need."""
OF_TORCH = f"{sysconfig.get_path('platlib')}/torch/lib/libomp.dylib"
"""Where torch's wheel for macOS has its own."""


@cache
def compiled(source: str, *options: str) -> Path:
    """Compile a file of tests/data/mac into a library; skip the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("there is no C compiler; .ci/run installs gcc")
        pytest.skip("there is no C compiler to make the stand-in for libSystem with (apt-get install gcc libc6-dev)")
    folder = Path(mkdtemp(prefix="cbi-queue-mac-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / f"{Path(source).stem}.so"
    command = [compiler, "-shared", "-fPIC", *options, "-o", str(library)]
    subprocess.run([*command, str(PARTS / source), "-ldl"], check=True)
    return library


def as_a_mac(*, files: tuple[str, ...] = (), disks: str = "/=apfs", bin_folder: Path = PARTS / "bin") -> dict[str, str]:
    """Return what makes a command, and every process it starts, believe that it runs on a Mac.

    Args:
        files: that seem to exist.
        disks: mount points and their file systems, as `/=apfs:/Volumes/X=lifs`.
        bin_folder: the system's commands.
    """
    return {
        "MAC_LIB": str(compiled("libsystem.c")),
        "MAC_BIN": str(bin_folder),
        "MAC_FILES": ":".join(files),
        "MAC_DISKS": disks,
        "PYTHONPATH": str(PARTS / "site"),
        "CBI_TRAINER_ENVIRONMENT": ",".join(FOR_TRAINERS),
    }


def denying(folder: Path, **more: str) -> dict[str, str]:
    """Return what makes every opening below *folder* fail with EPERM, as for an agent without Full Disk Access."""
    return {"LD_PRELOAD": str(compiled("denied.c")), "MAC_DENIED": str(folder), **more}
