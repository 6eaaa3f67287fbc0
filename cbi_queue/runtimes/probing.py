"""Whether a Python has what trainers need: cbi-queue's own code, and libraries that really load."""

from __future__ import annotations

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.lean_imports import UNUSED_BY_TREES
from cbi_queue.openmp import openmp_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

PROBE_TIMEOUT_S = 10.0
IMPORT_TIMEOUT_S = 60.0
"""Seconds that one library may take to load: from a cold disk, on a busy machine."""
_IMPORT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[2:]))
try:
    __import__(sys.argv[1])
except BaseException as exc:
    print(type(exc).__name__, *str(exc).split())
"""
"""Prints why a library cannot be imported, without those that are named after it; nothing when it can."""
TREES = ("lightgbm", "xgboost")


@cache
def import_errors(interpreter: str, libraries: tuple[str, ...]) -> dict[str, str]:
    """Import each library as a trainer does; return the errors.

    Each in a process of its own: two OpenMP libraries in one can crash it. As many at a time as there are cores, the last
    first: it takes the longest.
    """
    from cbi_queue.models.catalogue import has_outside_code

    def error_of(library: str) -> str:
        unused = UNUSED_BY_TREES if library in TREES and not has_outside_code() else ()
        try:
            done = subprocess.run(
                [interpreter, "-P", "-c", _IMPORT, library, *unused],
                capture_output=True, text=True, errors="replace", timeout=IMPORT_TIMEOUT_S, check=False,
                env={**os.environ, **openmp_environment(interpreter)},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no answer within {IMPORT_TIMEOUT_S:.0f} s"
        return done.stdout.strip() if done.returncode == 0 else f"the import ended with {done.returncode}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = dict(zip(reversed(libraries), pool.map(error_of, reversed(libraries)), strict=True))
    return {library: errors[library] for library in libraries if errors[library]}


_PROBE = """
import hashlib, importlib.util, pathlib, sys
print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])
jobs, digest = importlib.util.find_spec("jobs"), hashlib.sha256()
for path in sorted(pathlib.Path(jobs.origin).parent.rglob("*.py")) if jobs else ():
    digest.update(path.read_bytes())
print(digest.hexdigest())
"""
"""Prints the libraries that are missing, then the SHA-256 of the trainer's code, which may be an older copy."""


def probe_runtime(interpreter: str, libraries: Iterable[str]) -> tuple[list[str], str] | None:
    """Return the missing libraries and the digest of the trainer's code; None when *interpreter* does not start."""
    try:
        done = subprocess.run(
            [interpreter, "-P", "-c", _PROBE, "jobs", *libraries],
            capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
        missing, code = done.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return (missing.split(), code) if done.returncode == 0 else None


def code_digest() -> str:
    """Return what `_PROBE` prints for our own trainer's code."""
    digest, spec = hashlib.sha256(), find_spec("jobs")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
