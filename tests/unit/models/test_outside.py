"""Models of installed packages: what joins the catalogue, and what is refused with which words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from cbi_queue.models import catalogue
from cbi_queue.models.catalogue import MODELS, SHIPPED, entry_for, models_of
from cbi_queue.models.kinds import Family
from cbi_queue.models.memory_formulas import TABLE, Shape
from cbi_queue.models.outside import Outside, find_outside

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
from cbi_queue.models.entry import ModelEntry
from cbi_queue.models.kinds import Family
from cbi_queue.models.kinds import Family
from cbi_queue.models.memory_formulas import CorrectionLine, MemoryFormula

def row(**changed):
    given = dict(
        family=Family.STATISTICAL, params_class="cbi_queue.models.parameters.statistical:DriftParams",
        trainers={"native": "acme.trainer:Acme"}, resumes_from="start", words="a test",
    )
    return ModelEntry(**{**given, **changed})

"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a package with an entry point into a folder of Python's path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(models: str, name: str = "acme", point: str = "", metadata: str | None = None) -> Path:
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cbi_queue.families]\n{name} = {point or f'{name}:MODELS'}\n")
        (site / f"{name}.py").write_text(f"{HEAD}{models}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return site

    yield put
    for name in ("acme", "other"):
        sys.modules.pop(name, None)


def refused(install, models: str) -> str:
    install(models)
    found = find_outside(SHIPPED)
    assert not found.models
    (fault,) = found.faults
    return str(fault)


@pytest.mark.parametrize("models", ["MODELS = {'acme_drift': row()}", "MODELS = [('acme_drift', row())]"])
def test_the_models_of_a_package_join_the_catalogue(install, monkeypatch, models: str) -> None:
    install(models)
    monkeypatch.setattr(catalogue, "outside", lambda: find_outside(SHIPPED))

    assert list(MODELS) == [*SHIPPED, "acme_drift"]
    assert len(MODELS) == len(SHIPPED) + 1
    assert MODELS["acme_drift"].backends == ("native",)
    assert models_of("statistical")[-1] == "acme_drift"
    assert entry_for("statistical", "acme_drift") is not None
    assert catalogue.outside().packages == {"acme_drift": "acme 1.0"}
    assert catalogue.outside().faults == ()


def test_a_name_that_ships_is_found_without_looking_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The everyday verbs must not pay for packages that they do not ask for."""
    monkeypatch.setattr(catalogue, "outside", lambda: pytest.fail("looked at the installed packages"))
    assert MODELS["lstm"] is SHIPPED["lstm"]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("import nothing_of_that_name", "entry point 'acme' cannot be loaded: ModuleNotFoundError: No module named"),
        ("raise SystemExit('bye')", "cannot be loaded: SystemExit: bye"),
        ("", "cannot be loaded: AttributeError: module 'acme' has no attribute 'MODELS'"),
        ("MODELS = 7", "cannot be loaded: TypeError: 'int' object is not iterable"),
        ("MODELS = {'drift': row()}", "its model 'drift' is refused: a model of cbi-queue has that name"),
        ("MODELS = {'Acme Drift': row()}", "'Acme Drift' is refused: a name is made of lower-case letters"),
        ("MODELS = {'x': 'row'}", "'x' is refused: it is a str, not a ModelEntry"),
        ("MODELS = {'x': row(family='foundation')}", "its family is 'foundation'; allowed: features, trees"),
        ("MODELS = {'x': row(trainers={})}", "its trainers are {}; allowed: a runtime each, with 'module:Class'"),
        ("MODELS = {'x': row(trainers={'native': 'acme'})}", "its trainers are {'native': 'acme'}; allowed"),
        ("MODELS = {'x': row(trainers=None)}", "'x' is refused: its trainers are None"),
        ("MODELS = {'x': row(batch_kind='wavenet')}", "its batch_kind is 'wavenet'; allowed: one of cbi-queue, or"),
        (
            "MODELS = {'x': row(params_class='acme:Nothing')}",
            "AttributeError: module 'acme' has no attribute 'Nothing'",
        ),
        ("MODELS = {'x': row(params_class='builtins:dict')}", "its parameter class builtins:dict is not a ModelParams"),
        (
            "MODELS = {'x': row(memory=MemoryFormula(lambda *_: 0.0, CorrectionLine(1, 1, 1)))}",
            "memory formula gives no amount",
        ),
        ("MODELS = {'x': row(memory=MemoryFormula(lambda: 1.0, CorrectionLine(1, 1, 1)))}", "TypeError: "),
        ("MODELS = {'x': row(memory=MemoryFormula(lambda *_: 1.0, None))}", "AttributeError: "),
    ],
)
def test_what_cannot_be_used_is_refused_with_package_and_reason(install, models: str, told: str) -> None:
    words = refused(install, models)
    assert words.startswith("package acme 1.0: its ")
    assert told in words


def test_a_family_may_be_written_as_text(install) -> None:
    install("MODELS = {'x': row(family='trees')}")
    assert find_outside(SHIPPED).models["x"].family is Family.TREES


def test_one_bad_row_takes_no_other_with_it(install) -> None:
    install("MODELS = {'x': 7, 'acme_wavenet': row(batch_kind='acme-wavenet')}")
    found = find_outside(SHIPPED)
    assert list(found.models) == ["acme_wavenet"]
    assert len(found.faults) == 1


def test_a_name_that_two_packages_claim_is_refused_to_both(install) -> None:
    """Which of the two came first must not decide what a plan trains."""
    install("MODELS = {'same': row(), 'mine': row()}")
    install("MODELS = {'same': row()}", name="other")
    found = find_outside(SHIPPED)
    assert list(found.models) == ["mine"]
    assert {str(fault) for fault in found.faults} == {
        "package acme 1.0: its model 'same' is refused: other 1.0 declares that name as well",
        "package other 1.0: its model 'same' is refused: acme 1.0 declares that name as well",
    }


def test_torn_metadata_is_a_fault_and_no_more(install) -> None:
    site = install("MODELS = {'x': row()}")
    (site / "acme-1.0.dist-info" / "entry_points.txt").write_bytes(b"[cbi_queue.families]\n\xff\xfe = 1\n")
    (fault,) = find_outside(SHIPPED).faults
    assert "its metadata cannot be read: " in fault.why


def test_the_working_directory_is_not_searched(install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that somebody hands over must not bring code with it."""
    monkeypatch.chdir(install("MODELS = {'x': row()}"))
    monkeypatch.syspath_prepend("")
    assert find_outside(SHIPPED) == Outside({}, {}, ())


def test_a_formula_that_fails_later_counts_as_a_table(install) -> None:
    """The daemon asks before every claim: the code of a package must not end it."""
    install("MODELS = {'x': row(memory=MemoryFormula(lambda p, d, b: 1 / (b - 2), CorrectionLine(1, 1, 1)))}")
    memory = find_outside(SHIPPED).models
    assert not memory, "negative for a batch of one"
    data = Shape(100, 5, "a test")
    install(
        "MODELS = {'y': row(memory=MemoryFormula(lambda p, d, b: 7 / (3 - b), CorrectionLine(1, 1, 1)))}", name="other"
    )
    formula = find_outside(SHIPPED).models["y"].memory
    assert formula.mib({}, data, 1) == 3.5
    assert formula.mib({}, data, 3) == formula.mib({}, data, 4) == TABLE.mib({}, data, 1)
