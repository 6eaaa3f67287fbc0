"""Where LightGBM and XGBoost find the OpenMP library on a Mac.

Their wheels load `@rpath/libomp.dylib` and bundle none; they look in Homebrew's folder. What dyld does not find there it
looks for, by its last name, in the folders of DYLD_FALLBACK_LIBRARY_PATH: so torch's copy can serve. The variable works only
when the process starts with it, and an interpreter that is signed for it may drop it.

Source: the load commands of lightgbm 4.7.0, xgboost 3.2.0 and 3.4.1 and torch 2.13.0 (macosx arm64); dyld(1). That torch's copy serves
has not been tried on a Mac, so each trainer that needs it finds out when it starts (`jobs.boosting.library`), and `doctor` too.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FALLBACK = "DYLD_FALLBACK_LIBRARY_PATH"
HOMEBREW = Path("/opt/homebrew/opt/libomp/lib/libomp.dylib")
_OF_DYLD = ("/usr/local/lib", "/usr/lib")
"""Where dyld looks when the variable is unset."""
_REMEDIES = (
    ("Library not loaded: @rpath/libomp", "it needs the OpenMP library: run `brew install libomp`"),
    ("libgomp.so", "it needs the OpenMP library: install the system's package libgomp1 (or libgomp)"),
    ("No module named", "install cbi-queue[train] into that Python"),
)


def openmp_environment(interpreter: str, platform: str = sys.platform) -> dict[str, str]:
    """Return what a trainer of *interpreter* needs in its environment to find OpenMP; empty where nothing is needed.

    Args:
        interpreter: path of the Python that trains.
        platform: as `sys.platform`.
    """
    copy = None if platform != "darwin" or HOMEBREW.is_file() else _copy_of_torch(interpreter)
    if copy is None:
        return {}
    folders = (os.environ.get(FALLBACK), str(copy.parent), *_OF_DYLD)
    return {FALLBACK: ":".join(filter(None, folders))}


def torch_copy_in_use() -> str | None:
    """Return torch's folder if `openmp_environment` put it into the environment of this process; else None."""
    return next((each for each in os.environ.get(FALLBACK, "").split(":") if each.endswith("/torch/lib")), None)


def openmp_of(interpreter: str) -> Path | None:
    """Return the library that the tree models of *interpreter* get on this Mac; None when there is none."""
    return HOMEBREW if HOMEBREW.is_file() else _copy_of_torch(interpreter)


def remedy_for(error: str) -> str:
    """Return what to do about the *error* of an import that failed."""
    return next((remedy for word, remedy in _REMEDIES if word in error), "install it again in that Python")


def _copy_of_torch(interpreter: str) -> Path | None:
    copies = (site / "torch" / "lib" / "libomp.dylib" for site in _sites(interpreter))
    return next((copy for copy in copies if copy.is_file()), None)


def _sites(interpreter: str) -> Iterable[Path]:
    """Return where *interpreter* has its packages, without starting it."""
    if interpreter == sys.executable:
        return [Path(sysconfig.get_path("platlib"))]
    return sorted(Path(interpreter).parent.parent.glob("lib/python3.*/site-packages"))
