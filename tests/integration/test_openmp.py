"""One OpenMP library per process: on a Mac torch brings one, LightGBM and XGBoost use another, and two can crash a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.rooms import ROOT

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import BOOSTED

TREES = {
    m: "xgboost" if "xgboost" in m else "lightgbm"
    for m, entry in MODELS.items()
    if entry.family in BOOSTED or m == "lightgbm_stacker"
}
"""Boosted model -> its library."""
NETS = [model for model, entry in MODELS.items() if entry.default_backend == "torch"]
OTHERS = [model for model in MODELS if model not in {*TREES, *NETS}]
IMPORT = """
import sys
from cbi_queue.models.catalogue import MODELS
from jobs.registry import trainer_for
import jobs.session
for model in sys.argv[1:]:
    trainer_for(model, MODELS[model].default_backend)
trees = {"lightgbm", "xgboost"} & set(sys.modules)
print(*sorted({"torch", *trees, *(("sklearn", "pandas") if trees else ())} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("models", "loaded"),
    [
        *(([model for model in TREES if TREES[model] == library], [library]) for library in ("lightgbm", "xgboost")),
        (NETS, ["torch"]),
        (OTHERS, []),
    ],
    ids=["lightgbm", "xgboost", "nets", "others"],
)
def test_no_tree_trainer_imports_torch_and_no_net_imports_a_tree_library(models: list[str], loaded: list[str]) -> None:
    """Nor do trees bring scikit-learn and pandas with them, which take longer to import than a small fit."""
    command = [sys.executable, "-P", "-c", IMPORT, *models]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == loaded


@pytest.mark.slow
def test_on_a_mac_families_are_trained_in_children_of_the_tests() -> None:
    """The conformance tests train every family, which in one process is both libraries: not one of them stays in it.

    What runs here is a quick test of the same kind.
    """
    ask = """
import pytest, sys
quiet = ["-q", "-p", "no:cacheprovider"]
ran = pytest.main([*quiet, "tests/unit/jobs/boosting/test_contributions.py", "-k", "every_forecast and lightgbm_dart"])
loaded = sorted({"lightgbm", "xgboost"} & set(sys.modules))
stay = pytest.main([*quiet, "tests/conformance/test_families.py", "--collect-only", "-m", "not process"])
print("loaded", *loaded, "ran", int(ran), "stay", int(stay))
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ask],
        cwd=ROOT, env={**environ, "CBI_TEST_PLATFORM": "darwin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout[-2000:]
    assert done.stdout.splitlines()[-1] == f"loaded ran 0 stay {pytest.ExitCode.NO_TESTS_COLLECTED:d}"
