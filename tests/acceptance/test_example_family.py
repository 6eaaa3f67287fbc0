"""The example package of docs/families.md: installed as a user would, it is planned, trained, scored and ranked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
from support.light_libraries import light_libraries

import cbi_queue

if TYPE_CHECKING:
    from support.installation import Installation

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-family"
(PLAN,) = re.findall(r"```yaml\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@dataclass
class Commands:
    """`cbi-queue` in a Python that has the example package, beside everything that this one has."""

    python: Path
    site: Path
    installation: Installation

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command there; return what it printed."""
        done = subprocess.run(
            [self.python, "-P", "-m", "cbi_queue.cli", *arguments],
            env={**self.installation.environ, "COLUMNS": "200", **(light_libraries() if "doctor" in arguments else {})},
            cwd=self.installation.root, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json."""
        return json.loads(self.run(*arguments, "--json", code=code))


@pytest.fixture(scope="module")
def python_with_example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Python of its own into which pip has installed the example; nothing is fetched."""
    root = tmp_path_factory.mktemp("python")
    venv.create(root / "venv", symlinks=True)
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    packages = dict.fromkeys(str(Path(module.__file__).parents[1]) for module in (cbi_queue, click, np))
    (site / "all-else.pth").write_text("\n".join(packages), encoding="utf-8")
    shutil.copytree(EXAMPLE, root / "source")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", site, root / "source"],
        capture_output=True, text=True, check=False, env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root / "venv" / "bin" / "python", site


@pytest.fixture
def commands(python_with_example: tuple[Path, Path], installation: Installation) -> Commands:
    (installation.root / "ewma.yaml").write_text(PLAN, encoding="utf-8")
    return Commands(*python_with_example, installation)


def test_an_installed_family_is_planned_trained_scored_and_ranked(commands: Commands) -> None:
    assert "OK: 2 jobs" in commands.run("plan", "check", "ewma.yaml")
    assert "ewma_drift" in commands.run("plan", "schema")
    assert "likely" in commands.run("estimate", "ewma.yaml")

    said = commands.run("run", "ewma.yaml")

    assert re.search(r"finish\s+ewma-1w\s+skill [-+0]", said)
    assert commands.json("show", "ewma-1w")["state"] == "succeeded"
    (row,) = (row for row in commands.json("leaderboard")["1w"] if row["name"] == "ewma-1w")
    assert row["model"] == "ewma_drift"
    assert row["skill_mase"] is not None
    (model,) = commands.installation.settings.models.rglob("model.json")
    assert json.loads(model.read_bytes())["half_life"] in {21, 63, 126, 252, 504}
    (found,) = (row for row in commands.json("doctor") if row["subject"].startswith("package "))
    assert (found["subject"], found["verdict"]) == ("package cbi-queue-example-family 0.1.0", "ok")


IN_ONE_PROCESS = """
import sys
from jobs.registry import trainer_for
trainer_for(sys.argv[1], "native")
import jobs.families.lightgbm_trees
import pandas
from lightgbm import LGBMRegressor
frame = pandas.DataFrame({"x": range(40), "kind": pandas.Categorical(["a", "b"] * 20)})
print(LGBMRegressor(n_estimators=1, verbosity=-1).fit(frame, frame["x"]).n_features_in_)
"""


def test_its_trainer_may_use_scikit_learn_and_pandas_with_a_booster(python_with_example: tuple[Path, Path]) -> None:
    """Trees that ship import LightGBM without both, and that lasts as long as the process (`test_openmp`)."""
    python, _ = python_with_example
    done = subprocess.run([python, "-c", IN_ONE_PROCESS, "ewma_drift"], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr


def test_its_parameters_are_checked_like_any_other(commands: Commands) -> None:
    bad = PLAN.replace("needs:", "params: {half_lives: [0]}, needs:")
    (commands.installation.root / "bad.yaml").write_text(bad, encoding="utf-8")
    assert "half_lives[0]: 0 is not allowed; allowed: a whole number from 1 to 5000" in commands.run(
        "plan", "check", "bad.yaml", code=2
    )


def test_a_package_that_is_gone_or_broken_leaves_the_queue_at_work(commands: Commands) -> None:
    """Its jobs are refused in words; everything else is planned, trained and shown as before."""
    commands.run("enqueue", "ewma.yaml")
    info = commands.site / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cbi_queue.families]\nbroken = broken_family:MODELS\n")
    why = "its entry point 'broken' cannot be loaded: ModuleNotFoundError: No module named 'broken_family'"
    hidden = commands.site / "ewma_family"
    hidden.rename(hidden.with_suffix(".away"))
    try:
        (finding,) = (row for row in commands.json("doctor", code=1) if row["subject"] == "package broken 1.0")
        assert (finding["verdict"], finding["seen"]) == ("bad", why)
        refused = commands.run("plan", "check", "ewma.yaml", code=2)
        assert "unknown model 'ewma_drift'" in refused
        assert f"package broken 1.0: {why}" in refused
        assert "package cbi-queue-example-family 0.1.0: its entry point 'ewma' cannot be loaded: " in refused

        naive = PLAN.replace("ewma_drift", "naive").replace("ewma-1w", "naive-1w")
        (commands.installation.root / "naive.yaml").write_text(naive, encoding="utf-8")
        assert f"note: package broken 1.0: {why}" in commands.run("plan", "check", "naive.yaml")
        commands.run("run", "naive.yaml", code=1)
        assert commands.json("show", "naive-1w")["state"] == "succeeded"
        failed = commands.json("show", "ewma-1w")
        assert failed["state"] == "failed"
        assert "this runtime has no model 'ewma_drift'" in json.dumps(failed)
    finally:
        hidden.with_suffix(".away").rename(hidden)
        shutil.rmtree(info)
