"""Makes the command line and the daemon believe that they run on a Mac; trainers stay on Linux, but for dyld's rules.

Variables: MAC_LIB, the library of `libsystem.c`; MAC_BIN, the folder of the commands; MAC_FILES, files that seem to exist; MAC_DISKS,
mount points with their file systems.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

FILES = set(filter(None, os.environ.get("MAC_FILES", "").split(":")))
MINE = ("cbi_queue", "workers")
COMMANDS = ("/usr/bin/", "/usr/sbin/")


def dyld_finds_libomp() -> bool:
    """Return True where dyld would find @rpath/libomp.dylib of these wheels: in Homebrew's folder or a fallback folder."""
    folders = ["/opt/homebrew/opt/libomp/lib", *os.environ.get("DYLD_FALLBACK_LIBRARY_PATH", "").split(":")]
    return any(f"{folder}/libomp.dylib" in FILES for folder in folders)


class NotLoaded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """What these two packages say without it; the words of lightgbm 4.7.0 and xgboost 3.4.1."""

    def find_spec(self, name, *_rest):
        """Take the place of the package."""
        missing = name in {"lightgbm", "xgboost"} and not dyld_finds_libomp()
        return importlib.machinery.ModuleSpec(name, self) if missing else None

    def exec_module(self, module):
        """Fail as it does."""
        words = "Library not loaded: @rpath/libomp.dylib\n  Referenced from: <D44045CD> /Users/me/lib"
        if module.__name__ == "lightgbm":
            raise OSError(f"dlopen(/Users/me/lib_lightgbm.dylib, 0x0006): {words}")
        raise ValueError(
            "\nXGBoost Library (libxgboost.dylib) could not be loaded.\nLikely causes:\n  * OpenMP runtime is not "
            f'installed\n    - libgomp.so for Linux\nError message(s): ["dlopen(libxgboost.dylib, 0x0006): {words}"]'
        )


def be_a_mac() -> None:
    """Change what tells the platform, after the modules that choose their code by it at import."""
    import asyncio  # noqa: F401
    import multiprocessing  # noqa: F401
    import platform
    import socket  # noqa: F401
    import sysconfig
    import time

    import psutil

    sysconfig.get_config_vars(), platform.uname()
    real_cdll, real_popen, real_is_file = ctypes.CDLL, subprocess.Popen, Path.is_file

    class CDLL(real_cdll):
        def __init__(self, name, *rest, **named):
            super().__init__(os.environ["MAC_LIB"] if name == "/usr/lib/libSystem.B.dylib" else name, *rest, **named)

    class Popen(real_popen):
        def __init__(self, args, *rest, **named):
            if not isinstance(args, str) and str(args[0]).startswith(COMMANDS):
                args = [str(Path(os.environ["MAC_BIN"], Path(args[0]).name)), *args[1:]]
            super().__init__(args, *rest, **named)

    pairs = (text.split("=") for text in os.environ["MAC_DISKS"].split(":"))
    disks = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in pairs]
    psutil.disk_partitions = lambda **_named: disks
    Path.is_file = lambda self, **named: str(self) in FILES or real_is_file(self, **named)
    time.CLOCK_UPTIME_RAW = time.CLOCK_MONOTONIC
    ctypes.CDLL, subprocess.Popen, sys.platform = CDLL, Popen, "darwin"


if "MAC_LIB" in os.environ:
    sys.meta_path.insert(0, NotLoaded())
    if any(word.startswith(MINE) or word.endswith("bin/cbi-queue") for word in sys.orig_argv[1:6]):
        be_a_mac()
