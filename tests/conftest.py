"""What every test may ask for, which tests belong to a room (`--room`), and what each test is marked as needing."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import signal
import subprocess
import sys
from functools import cache

# Two OpenMP processes on two cores run 15 to 30 times slower otherwise; libraries read these once, when imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"

from types import CodeType
from typing import TYPE_CHECKING

import psutil
import pytest
from support import rooms
from support.fakes import make_task
from support.installation import Installation

from cbi_queue.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# --- a part of the tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--room", help="run the tests of one room only, as in --room=jobs/data (tests/support/rooms.py)")


def pytest_configure(config: pytest.Config) -> None:
    # Ignored in a shell's background and under nohup, they would be ignored by every command that a test starts, too.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    if config.option.room is not None:
        try:
            config.option.room = rooms.room_named(config.option.room)
        except ValueError as exc:
            raise pytest.UsageError(str(exc)) from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test_file = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.option.room is None or not is_test_file:
        return None
    return None if rooms.belongs(collection_path, config.option.room) else True


# --- what a test needs

MARKS_OF_FOLDERS = {"acceptance": "process", "browser": "browser"}
PLATFORM = os.environ.get("CBI_TEST_PLATFORM", sys.platform)
IN_CHILD_ON_A_MAC = ("conformance/test_families.py", "unit/jobs/boosting", "integration/test_boosting_directives.py")
"""Tests that train trees here. On a Mac LightGBM and XGBoost have one OpenMP library and torch another, and both in one process can
crash it; trainers never have both."""
CHILD = "CBI_TEST_CHILD"
PROCESS_FIXTURES = {"installation", "home"}
"""Fixtures whose methods start daemons, trainers and commands."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what can be seen: tests of a folder, of a fixture, and those whose code uses `subprocess`.

    Where several workers share the files, put the longest first.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: rooms.place_in_line(item.path))
    for item in items:
        folder = item.path.relative_to(rooms.TESTS).parts[0]
        if folder in MARKS_OF_FOLDERS:
            item.add_marker(MARKS_OF_FOLDERS[folder])
        if folder == "browser" or _starts_processes(item) or _runs_in_child(item):
            item.add_marker("process")


def _runs_in_child(item: pytest.Item) -> bool:
    place = item.path.relative_to(rooms.TESTS).as_posix()
    return PLATFORM == "darwin" and CHILD not in os.environ and place.startswith(IN_CHILD_ON_A_MAC)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test in a process of its own, where this platform needs that."""
    if not _runs_in_child(pyfuncitem):
        return None
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    node = f"{pyfuncitem.path}::{pyfuncitem.nodeid.partition('::')[2]}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", node],
        cwd=rooms.ROOT, env={**environ, CHILD: "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return True


def _starts_processes(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    fixtures = item._fixtureinfo.name2fixturedefs
    own = [definition.func for name in fixtures for definition in fixtures[name] if definition.scope == "function"]
    code = [item.function, *(each for each in own if each.__module__ != __name__)]
    return bool(PROCESS_FIXTURES & fixtures.keys()) or any(_uses_subprocess(each) for each in code)


@cache
def _uses_subprocess(function: Callable[..., object]) -> bool:
    """Return True if a function of the tests uses `subprocess`, by itself or through others of its kind."""
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return False
    named = [function.__globals__.get(name) for name in _names_in(function.__code__)]
    functions = [inspect.unwrap(each) for each in named if inspect.isfunction(each)]
    ours = [each for each in functions if str(rooms.TESTS) in each.__code__.co_filename and each is not function]
    return any(each is subprocess for each in named) or any(map(_uses_subprocess, ours))


def _names_in(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


@pytest.fixture(autouse=True)
def starts_only_processes_that_it_is_marked_for(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts Python unmarked: `make quick` promises that it starts no daemon, trainer or command.

    A ledger is migrated in a process of its own; that is part of opening one.
    """
    started: list[list[str]] = []
    real = subprocess.Popen.__init__

    def start(process: subprocess.Popen[bytes], arguments: object, *rest: object, **keys: object) -> None:
        words = [os.fspath(word) for word in arguments] if isinstance(arguments, list | tuple) else [str(arguments)]
        if words[0] == sys.executable and "cbi_queue.ledger.migrations" not in words:
            started.append(words)
        real(process, arguments, *rest, **keys)

    if request.node.get_closest_marker("process") is not None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", start)
        yield
    assert not started, f"mark it with @pytest.mark.process; it started {started}"


# --- data, ledgers, installations


@pytest.fixture(scope="session")
def sample_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the five exports, built from real daily series as `cbi-queue data sample` does."""
    from jobs.sample_data import build

    root = tmp_path_factory.mktemp("TrainingData")
    raw, exports = root / "raw", root / "exports"
    raw.mkdir()
    exports.mkdir()
    build(raw, exports)
    return exports


@pytest.fixture(scope="session")
def feature_dir(sample_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the feature cache of horizons 1w and 1m, built by the family that builds it."""
    from jobs.families.feature_cache import FeatureCache

    processed = tmp_path_factory.mktemp("processed")
    for horizon in ("1w", "1m"):
        run_dir = tmp_path_factory.mktemp(f"features-{horizon}")
        spec = {"family": "features", "model": "feature_cache", "horizon": horizon}
        task = make_task(run_dir, spec, processed, sample_exports)
        family = FeatureCache()
        family.prepare(task)
        family.train(task)
    return processed


@pytest.fixture(scope="session")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger as the first command makes it, to be copied: making one takes a process of its own."""
    path = tmp_path_factory.mktemp("state") / "ledger.db"
    Ledger.open(path).close()
    return path


@pytest.fixture
def torch_as_found() -> Iterator[None]:
    """Give torch back the settings that a trainer makes for its whole process."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


SET_BY_LIBRARIES = (
    "PYTEST_", "TORCH", "KMP_", "_RJEM_", "CMDSTAN", "HF_HUB_", "TRANSFORMERS_OFFLINE", "TOKENIZERS_",
)  # fmt: skip
"""Variables that the test runner and libraries set themselves when first used; the last three keep FinBERT off the network."""


os.umask(MASK := os.umask(0))  # which asks for it

OPEN: set[str] = set()
"""Numbers of the descriptors that were open when the last test ended."""


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a child process, an environment variable or a file: a later one would suffer.

    What commands and trainers set for their whole process, when a test runs one here, is given back: the mask of new files,
    and that numbers close to 0 are 0.
    Files, sockets, pipes and processes that nothing refers to complain when they are collected. That happens here, as soon
    as a descriptor or an ended child is left; else it would happen in any later test.
    """
    children = set(_children())
    environ = dict(os.environ)
    yield
    os.umask(MASK)
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
    new = [child for child in _children() if child not in children]
    if new or not OPEN.issuperset(_descriptors()):
        gc.collect()
        OPEN.clear()
        OPEN.update(_descriptors())
    left = [child for child in new if _runs(child)]
    assert not left, f"processes were left running: {left}"
    names = {name for name in {*environ, *os.environ} if not name.startswith(SET_BY_LIBRARIES)}
    changed = {name for name in names if environ.get(name) != os.environ.get(name)}
    assert not changed, f"environment variables were left changed: {sorted(changed)}"


def _children() -> list[psutil.Process]:
    """Children of this process; where the kernel can say that there are none, no other process is looked at."""
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
    return psutil.Process().children()


def _descriptors() -> list[str]:
    return [entry.name for entry in os.scandir("/dev/fd")]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def installation(tmp_path: Path, sample_exports: Path, feature_dir: Path, new_ledger: Path) -> Iterator[Installation]:
    """A whole installation of its own, with real exports, the feature cache of 1w and 1m and an empty ledger in place."""
    installation = Installation(tmp_path)
    installation.furnish(sample_exports, feature_dir)
    shutil.copy(new_ledger, installation.settings.ledger_path)
    yield installation
    installation.close()
