"""Installs a runtime: a virtual environment, its packages, cbi-queue itself and a trial, and only then into place.

If a step fails or is interrupted, an existing runtime stays and nothing half-built is left. pip fetches packages with
its user's ordinary configuration.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import cbi_queue
from cbi_queue.errors import CbiError, Refused
from cbi_queue.regular_files import file_lock
from cbi_queue.runtimes.own_code import put_own_code, source_tree
from cbi_queue.runtimes.place import Record, read_record, write_record
from cbi_queue.runtimes.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cbi_queue.runtimes.recipes import Recipe
    from cbi_queue.settings import Settings

QUESTION_TIMEOUT_S = 30.0
"""Seconds within which a Python must print its version."""


class Installation(NamedTuple):
    """What `install` did."""

    folder: Path
    change: str
    """made | refreshed | none: everything, only cbi-queue itself, or nothing was installed."""


class Python(NamedTuple):
    """A Python that can make a virtual environment."""

    path: str
    version: tuple[int, int]


def install(
    settings: Settings, recipe: Recipe, *, python: str | None, report: Callable[[str], None], output_fd: int
) -> Installation:
    """Install the runtime of *recipe*, unless it is up to date.

    Args:
        settings: with the state folder.
        recipe: what to install.
        python: path of the Python to build it from; None: the first that fits, cbi-queue's own or one on PATH.
        report: called with each step in words.
        output_fd: file descriptor for the output of pip.

    Raises:
        Refused: when the Python does not fit, the disk has no room, or another installation is running.
        CbiError: when a step failed; nothing has changed.
    """
    settings.make_state_dir()
    settings.runtimes_dir.mkdir(exist_ok=True)
    folder = settings.runtimes_dir / recipe.backend
    with _exclusive(settings.runtimes_dir):
        chosen = find_python(recipe, python)
        if _old(folder).exists() and not folder.exists():  # killed between the two steps of `_swap`
            _old(folder).rename(folder)
        record = read_record(folder)
        if record is not None and record.digest == recipe.digest and record.python == _dotted(chosen.version):
            return _brought_up_to_date(folder, record)
        require_room(settings.runtimes_dir, recipe)
        _make(settings, recipe, chosen, report, output_fd)
    return Installation(folder, "made")


def remove(settings: Settings, backend: str) -> bool:
    """Delete the runtime of *backend*; return True if there was one."""
    if not settings.runtimes_dir.exists():
        return False
    folder = settings.runtimes_dir / backend
    with _exclusive(settings.runtimes_dir):
        _discard(_old(folder))
        _discard(_aside(folder))
        was_there = folder.exists()
        if was_there:
            folder.rename(_aside(folder))  # one that is deleted in part must not be taken for a runtime
            _discard(_aside(folder))
    return was_there


def find_python(recipe: Recipe, named: str | None) -> Python:
    """Return the Python to build the runtime from.

    Raises:
        Refused: when the named one does not fit, or none is found.
    """
    if named is not None:
        version = _version_of(named)
        if version is None:
            raise Refused(f"{named} did not run as a Python; {recipe.words} need Python {recipe.python_words}")
        if version not in recipe.pythons:
            raise Refused(
                f"{named} is Python {_dotted(version)}; {recipe.words} need Python {recipe.python_words}",
                hint=f"name another one, such as `--python python{_dotted(recipe.pythons[0])}`",
            )
        return Python(named, version)
    if sys.version_info[:2] in recipe.pythons:
        return Python(sys.executable, sys.version_info[:2])
    for wanted in recipe.pythons:
        found = shutil.which(f"python{_dotted(wanted)}")
        if found is not None and _version_of(found) == wanted:
            return Python(found, wanted)
    raise Refused(
        f"cbi-queue runs on Python {_dotted(sys.version_info[:2])}, but {recipe.words} need Python "
        f"{recipe.python_words}, and none is on PATH",
        hint="install one, then run `cbi-queue runtime install tensorflow --python /path/to/python3.12`",
    )


def commands(recipe: Recipe, python: str, folder: Path) -> list[list[str]]:
    """Return the commands that make the environment in *folder* and install its packages."""
    inside = str(folder / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes"]
    return [[python, "-m", "venv", str(folder)], [*pip, "--requirement", str(recipe.requirements)]]


def _make(settings: Settings, recipe: Recipe, python: Python, report: Callable[[str], None], output_fd: int) -> None:
    folder = settings.runtimes_dir / recipe.backend
    aside = _aside(folder)
    _discard(aside)
    try:
        environment, fill = commands(recipe, python.path, aside)
        report(f"1/4 virtual environment of Python {_dotted(python.version)}, from {python.path}")
        _run(environment, output_fd)
        report(f"2/4 {recipe.words} and their dependencies: about {recipe.download_mib} MB to download")
        _run(fill, output_fd)
        report(f"3/4 cbi-queue {cbi_queue.__version__} itself")
        tree = put_own_code(_site_packages(aside))
        report("4/4 trial: import everything, train a tiny net for one step")
        trial = try_out(str(aside / "bin" / "python"), recipe.backend, settings.state_dir)
        if trial.fault is not None:
            raise CbiError(f"the new runtime cannot train: {trial.fault}; it was removed, nothing was changed")
        source = None if tree is None else str(tree)
        version = _dotted(python.version)
        write_record(aside, Record(recipe.backend, recipe.name, recipe.digest, version, cbi_queue.__version__, source))
        _swap(aside, folder)
    except BaseException:
        _discard(aside)
        raise


def _brought_up_to_date(folder: Path, record: Record) -> Installation:
    """Install cbi-queue itself again in a runtime with the right packages, if it has changed."""
    tree = source_tree()
    source = None if tree is None else str(tree)
    if (record.cbi_queue, record.source) == (cbi_queue.__version__, source):
        return Installation(folder, "none")
    put_own_code(_site_packages(folder))
    write_record(
        folder,
        Record(record.backend, record.recipe, record.digest, record.python, cbi_queue.__version__, source),
    )
    return Installation(folder, "refreshed")


def _run(command: list[str], output_fd: int) -> None:
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output_fd, check=False).returncode
    except OSError as exc:
        raise CbiError(f"cannot start {command[0]}: {exc.strerror}; nothing was installed") from exc
    if code != 0:
        raise CbiError(
            f"`{' '.join(command[:4])} …` failed with exit code {code} (its output is above); nothing was installed",
            hint="without a network, set PIP_FIND_LINKS to a folder of packages or PIP_INDEX_URL to another index",
        )


def _site_packages(folder: Path) -> Path:
    found = sorted(folder.glob("lib/python*/site-packages"))
    if not found:
        raise CbiError(
            f"{folder} is not a virtual environment: it has no lib/python*/site-packages; nothing was installed"
        )
    return found[0]


def _swap(aside: Path, folder: Path) -> None:
    """Move *aside* to *folder*, then delete the runtime that was there."""
    old = _old(folder)
    _discard(old)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    _discard(old)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}-building")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}-old")


def _discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path, recipe: Recipe) -> None:
    """Raise Refused when the disk has no room for the runtime and for what pip unpacks meanwhile."""
    free_mib = shutil.disk_usage(folder).free / 2**20
    needed_mib = recipe.disk_mib + recipe.download_mib
    if free_mib < needed_mib:
        raise Refused(
            f"a runtime for {recipe.backend} needs about {needed_mib} MB in {folder}; {free_mib:.0f} MB are free",
            hint="free some space, or move the state folder (CBI_STATE_DIR)",
        )


def _version_of(python: str) -> tuple[int, int] | None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=QUESTION_TIMEOUT_S, check=True
        )
        major, minor = done.stdout.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


@contextmanager
def _exclusive(runtimes_dir: Path) -> Iterator[None]:
    """Allow one installation at a time; the lock ends with the process."""
    with file_lock(runtimes_dir / ".lock") as is_alone:
        if not is_alone:
            raise Refused(f"another `runtime install` is running in {runtimes_dir}; wait until it has ended")
        yield
