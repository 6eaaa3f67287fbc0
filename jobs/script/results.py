"""What a script leaves behind: files that go into the run folder, and figures that it wrote into a file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from typing import TYPE_CHECKING

from cbi_queue.artifacts import NoRegularFile, atomic_file, open_inside
from cbi_queue.regular_files import failure_of
from jobs.script.link import OUTPUT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MOST_BYTES = 4 * 2**30
"""Of all the files that `outputs` names; what a script puts into CBI_QUEUE_OUTPUT itself is its own affair."""
MOST_FILES = 1_000
METRICS_NAME = "metrics.json"
_MOST_METRICS, _MOST_METRICS_BYTES, _LONGEST_NAME = 1_000, 2**20, 100
_SLACK_S = 2.0
"""Seconds by which clocks of two file systems may differ."""
_BEGUN = ".begun"


def note_begin(checkpoint_dir: Path) -> None:
    """Note when the first attempt of this job began; checkpoints live as long as the job is not done."""
    with contextlib.suppress(FileExistsError):  # a touch of a file that is there would say: now
        (checkpoint_dir / _BEGUN).touch(exist_ok=False)


def keep_outputs(workdir: Path, patterns: Sequence[str], task_folders: tuple[Path, Path]) -> Iterator[str]:
    """Copy what *patterns* name below *workdir* into the run folder; yield what was not kept and why, in words.

    Regular files alone, no link on the way, and only those that were written since the job first began.

    Args:
        workdir: where the command ran; it may be gone.
        patterns: as `Path.glob` reads them, relative.
        task_folders: run folder, and folder of the checkpoints.

    Raises:
        OSError: when a copy cannot be written.
    """
    run_dir, checkpoint_dir = task_folders
    since_s = (checkpoint_dir / _BEGUN).stat().st_mtime - _SLACK_S
    left, kept = MOST_BYTES, 0
    for pattern in patterns:
        found, old = _matches(workdir, pattern), 0
        for name in found:
            try:
                stream = open_inside(workdir, name)
            except FileNotFoundError:
                continue
            except OSError as exc:
                why = exc if isinstance(exc, NoRegularFile) else f"cannot be read: {exc.strerror}"
                yield f"outputs {pattern!r}: {name!r} {why}; it was not kept"
                continue
            with stream:
                status = os.fstat(stream.fileno())
                if status.st_mtime < since_s:
                    old += 1
                    continue
                if status.st_size > left or kept >= MOST_FILES:
                    most = f"a job keeps {MOST_FILES:,} files and {MOST_BYTES >> 30} GiB at most"
                    yield f"outputs {pattern!r}: {name!r} and what follows were not kept: {most}"
                    return
                target = run_dir / OUTPUT_FOLDER / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(target) as part, part.open("wb") as copy:
                    shutil.copyfileobj(stream, copy, 2**20)
            left, kept = left - status.st_size, kept + 1
        if not found:
            yield f"outputs {pattern!r} names no file in {workdir}"
        elif old:
            yield f"outputs {pattern!r}: {old} file(s) are older than the job and were not kept"


def figures_of(run_dir: Path, tell: Callable[[str], object]) -> dict[str, float]:
    """Return the figures of `metrics.json` among the outputs: a flat object, name -> finite number; else nothing.

    Args:
        run_dir: the run folder.
        tell: called with why a file is not believed.
    """
    found = sorted((run_dir / OUTPUT_FOLDER).rglob(METRICS_NAME), key=lambda path: (len(path.parts), str(path)))
    if not found:
        return {}
    name = str(found[0].relative_to(run_dir))
    try:
        with open_inside(run_dir, name) as stream:
            content = stream.read(_MOST_METRICS_BYTES + 1)
        figures = json.loads(content) if len(content) <= _MOST_METRICS_BYTES else None
        if not isinstance(figures, dict) or len(figures) > _MOST_METRICS:
            raise ValueError(f"it is no object of at most {_MOST_METRICS:,} names in {_MOST_METRICS_BYTES >> 20} MiB")
        return {key: _figure(key, value) for key, value in figures.items()}
    except (OSError, ValueError, RecursionError) as exc:
        why = "it is no JSON" if isinstance(exc, json.JSONDecodeError | RecursionError | UnicodeDecodeError) else exc
        why = failure_of(exc) if isinstance(exc, OSError) else why
        tell(f"{name} is not taken as the result: {why}; allowed is a flat object of names and finite numbers")
        return {}


def _figure(name: str, value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        is_finite = is_number and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(f"{name[:60]!r} is {str(value)[:40]!r}, which is no finite number")
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"{name[:60]!r} is no name of 1 to {_LONGEST_NAME} printable characters")
    return value  # type: ignore[return-value]


def _matches(workdir: Path, pattern: str) -> list[str]:
    try:
        paths = [path.relative_to(workdir) for path in workdir.glob(pattern) if not path.is_dir() or path.is_symlink()]
    except (OSError, ValueError, NotImplementedError):  # the folder is gone
        return []
    return [str(path) for path in sorted(paths) if ".." not in path.parts and not path.name.startswith(".")]
