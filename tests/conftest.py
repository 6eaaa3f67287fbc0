"""What every test may ask for: real sample exports, the feature cache that is built from them, a new ledger."""

from __future__ import annotations

import os
import shutil

# Two OpenMP processes on two cores run 15 to 30 times slower otherwise; libraries read these once, when imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"

from typing import TYPE_CHECKING

import psutil
import pytest
from support.fakes import make_task
from support.installation import Installation

from cbi_queue.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    torch.set_flush_denormal(False)


SET_BY_LIBRARIES = ("PYTEST_", "TORCH", "KMP_")
"""Variables that the test runner and libraries set themselves when first used."""


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a child process running or an environment variable changed: the next one would suffer."""
    children = set(psutil.Process().children())
    environ = dict(os.environ)
    yield
    left = [child for child in psutil.Process().children() if child not in children and _runs(child)]
    assert not left, f"processes were left running: {left}"
    names = {name for name in {*environ, *os.environ} if not name.startswith(SET_BY_LIBRARIES)}
    changed = {name for name in names if environ.get(name) != os.environ.get(name)}
    assert not changed, f"environment variables were left changed: {sorted(changed)}"


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
