"""Recipes of runtimes: one for each machine that there are packages for, every version held."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cbi_queue.errors import Refused
from cbi_queue.models.catalogue import MODELS
from cbi_queue.runtimes.recipes import BACKENDS, RECIPES, recipe_for
from cbi_queue.runtimes.trial import MODULES

HELD = re.compile(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*( ; [^-]+)?( --hash=sha256:[0-9a-f]{64})+")

CONSTRAINTS = Path(__file__).parents[3] / "constraints"


def requirements(path: Path) -> list[str]:
    """The requirements of a file, each with its hashes on one line."""
    text = re.sub(r" \\\n +", " ", path.read_text())
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_package_of_make_env_but_torch_has_its_hashes():
    """Torch's CPU build comes from another index or a disk, with other hashes than PyPI's; on macOS 27 2.13 aborts."""
    hashed = requirements(CONSTRAINTS / "hashes.txt")

    assert [line for line in hashed if not HELD.fullmatch(line)] == []
    held = {line.partition(" --hash")[0] for line in hashed}
    assert {line.partition(" ;")[0] for line in held ^ set(requirements(CONSTRAINTS / "lock.txt"))} == {
        "torch==2.13.0", "torch>=2.13.0,<2.15",
    }  # fmt: skip
    assert "--require-hashes --requirement constraints/hashes.txt" in (CONSTRAINTS.parent / "Makefile").read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_holds_one_version_of_everything_and_what_it_promises(recipe):
    lines = requirements(recipe.requirements)

    assert [line for line in lines if not HELD.fullmatch(line)] == [], "a version, and the hashes of its files"
    held = dict(re.split(" ; | --hash", line)[0].split("==") for line in lines)
    for name, version in re.findall(r"([\w-]+) ([0-9.]+)", recipe.words.lower()):
        assert held[name] == version
    assert {"numpy", "polars", "pydantic", "safetensors"} <= held.keys(), "what the trainers themselves import"


@pytest.mark.process
def test_what_a_trainer_of_the_runtime_imports_is_in_every_recipe():
    """All but TensorFlow itself, imported with every other package of `make env` out of reach."""
    held = [set(re.findall(r"^([\w.-]+)==", recipe.requirements.read_text(), re.MULTILINE)) for recipe in RECIPES]
    locked = re.findall(r"^([\w.-]+)[=>]=", (CONSTRAINTS / "lock.txt").read_text(), re.MULTILINE)
    absent = {name.lower().replace("-", "_") for name in locked} - {
        name.lower().replace("-", "_") for name in set.intersection(*held)
    }
    code = (
        "import sys\n"
        f"absent = {sorted(absent | {'yaml'})}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0].lower() in absent:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import jobs.session, jobs.registry, jobs.nets.run, jobs.nets.loop, jobs.nets.parity\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("system", "machine", "newer", "name"),
    [
        ("linux", "x86_64", False, "linux"),
        ("linux", "aarch64", True, "linux"),
        ("darwin", "arm64", False, "macos"),
        ("darwin", "arm64", True, "macos-newer"),
    ],
)
def test_a_machine_gets_its_recipe(system, machine, newer, name):
    assert recipe_for("tensorflow", system=system, machine=machine, newer=newer).name == name


@pytest.mark.parametrize(
    ("backend", "system", "machine"), [("tensorflow", "darwin", "x86_64"), ("torch", "linux", "x86_64")]
)
def test_what_has_no_packages_is_refused_with_the_alternatives(backend, system, machine):
    with pytest.raises(Refused, match=r"there (is one|are some) for"):
        recipe_for(backend, system=system, machine=machine)


def test_the_guides_pins_stand_on_the_mac():
    """The training guide names them, and tensorflow-metal loads into nothing newer than 2.19."""
    text = recipe_for("tensorflow", system="darwin", machine="arm64").requirements.read_text()
    assert "tensorflow-macos==2.16.2" in text
    assert "tensorflow-metal==1.2.0" in text


def test_every_backend_that_needs_a_runtime_can_be_made_and_tried():
    used = {backend for entry in MODELS.values() for backend in entry.backends}
    assert used - {"native", "torch"} == set(BACKENDS) == set(MODULES)


def test_the_recipes_are_part_of_the_package():
    """Or an installed cbi-queue could make no runtime."""
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert "runtimes/*.txt" in pyproject["tool"]["setuptools"]["package-data"]["cbi_queue"]
