"""What the code of a script job is: a SHA-256 that changes when it does, read in bounded time.

In a git repository: the commit, the uncommitted changes, and untracked source files that are not ignored. Other untracked
files do not count: a script writes results there, and would be another job after each run. Without a repository: the
files that the command names.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LIMIT_S = 5.0
"""Longest that one question to git may take; a repository that is slower counts as none."""
_MAX_FILES = 500
_MAX_BYTES = 16 * 2**20
"""Of a larger file only the size counts."""
SOURCES = frozenset(
    [
        ".py",
        ".pyx",
        ".sh",
        ".bash",
        ".zsh",
        ".r",
        ".jl",
        ".js",
        ".ts",
        ".c",
        ".cc",
        ".cpp",
        ".cu",
        ".h",
        ".hpp",
        ".rs",
        ".go",
        ".java",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
    ]
)
"""Endings of untracked files that are code or its settings."""
_GIT = (
    "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false",
)  # fmt: skip

_CHANGES = ("diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD")
_UNTRACKED = ("ls-files", "--others", "--exclude-standard", "--full-name", "-z", ":/")


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code that a command would run now."""

    sha256: str
    commit: str | None
    """Of the repository around the workdir; None: there is none, or no commit yet."""
    is_dirty: bool
    """Whether there is more than the commit: changes, or untracked source files."""


def code_state(workdir: Path, command: Sequence[str]) -> CodeState:
    """Look at the code that *command* would run in *workdir*."""
    top, _, commit = (_git(workdir, "rev-parse", "--show-toplevel", "HEAD") or b"").rstrip().rpartition(b"\n")
    changes = _git(workdir, *_CHANGES) if commit else None
    others = _git(workdir, *_UNTRACKED) if changes is not None else None
    if changes is None or others is None:
        named = [workdir / part for part in command if part]
        return CodeState(_hash_files(hashlib.sha256(), named), None, is_dirty=False)
    root = Path(top.decode(errors="surrogateescape"))
    names = [name.decode(errors="surrogateescape") for name in others.split(b"\0") if name]
    untracked = [root / name for name in sorted(names) if Path(name).suffix.lower() in SOURCES]
    digest = hashlib.sha256(commit + b"\n" + changes)
    return CodeState(_hash_files(digest, untracked), commit.decode(), is_dirty=bool(changes or untracked))


def code_of(scripts: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Look at the code and the input files of each script job; *scripts* holds their parameters by name.

    Returns:
        Their SHA-256 by the job's name, and the workdirs whose code has changes that are in no commit.
    """
    seen: dict[tuple[str, str], CodeState] = {}  # a matrix runs one code many times
    found, dirty = {}, set()
    for name, params in scripts.items():
        files = sorted({part for part in params["command"] if _is_file(Path(params["workdir"]) / part)})
        key = params["workdir"], "\0".join(files)
        if key not in seen:
            seen[key] = code_state(Path(params["workdir"]), files)
        if seen[key].is_dirty:
            dirty.add(str(params["workdir"]))
        found[name] = with_inputs(seen[key].sha256, params.get("inputs", ()))
    return found, tuple(sorted(dirty))


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - never raises: an argument may be too long for a name


def with_inputs(code_sha256: str, inputs: Iterable[str]) -> str:
    """Return the SHA-256 of the code with the content of the files that the script reads; the code's without any."""
    digest = hashlib.sha256(code_sha256.encode())
    for path in inputs:
        try:
            digest.update(f"\n{path}:{sha256_of(Path(path), follow=True)}".encode(errors="surrogateescape"))
        except OSError:  # an earlier job may write it
            digest.update(f"\n{path}:-".encode(errors="surrogateescape"))
    return digest.hexdigest() if inputs else code_sha256


def _git(workdir: Path, *question: str) -> bytes | None:
    try:
        done = subprocess.run(
            [*_GIT, *question], cwd=workdir, capture_output=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _hash_files(digest: hashlib._Hash, paths: Iterable[Path]) -> str:
    for path in list(paths)[:_MAX_FILES]:
        try:
            if not path.is_file():
                continue
            size = path.stat().st_size
            digest.update(f"{path.name}:{size}:".encode(errors="surrogateescape"))
            if size <= _MAX_BYTES:
                digest.update(path.read_bytes())
        except (OSError, ValueError):  # such as an argument that is no path
            continue
    return digest.hexdigest()
