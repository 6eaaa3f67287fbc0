"""Every model that can be exported: trained small, exported, and asked again by what lies in the package alone.

A model of the catalogue is either here or refused in words. What is compared: ONNX with the native model, the whole chain
with what the run recorded, and the forecast of a Python that has numpy and onnxruntime and nothing else with the run's own.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from bench import BLOCKS, SMALL, last_days, present
from support.fakes import make_task
from support.slot_end import Slot

from cbi_queue.artifacts import sha256_of
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import PREPARING, REPORTING
from cbi_queue.models.not_exported import NOT_EXPORTED
from jobs.exporting import checks, trees
from jobs.exporting.finished_run import FinishedRun, read_run
from jobs.exporting.kinds import EXPORTED, NotExportable, row_of
from jobs.exporting.package.forecast import Package
from jobs.exporting.writing import write_package
from jobs.registry import trainer_of

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.usefixtures("torch_as_found")]
HORIZON = "1w"
DAYS = 1200
"""The last of the real series: enough for every model."""
NATIVE_FILES = {
    "lightgbm_dart": {"model.txt"},
    "xgboost_dart": {"model.json"},
    "naive": {"model.json"},
    "drift": {"model.json"},
}
NET_FILES = {"model.json", "model.safetensors"}


class Workshop:
    """Trains and exports each model once."""

    def __init__(self, exports: Path, features: Path, root: Path) -> None:
        self.features = features
        self._exports, self._root = exports, root
        self._made: dict[str, tuple[FinishedRun, Path, dict[str, Any]]] = {}

    def train(self, model: str, name: str = "", **params: Any) -> Path:
        """Train a model small; return its run folder."""
        present(model)
        chosen = SMALL.get(model, BLOCKS) | params
        spec = {"family": MODELS[model].family, "model": model, "horizon": HORIZON, "params": chosen}
        run_dir = self._root / f"run-{name or model}"
        task = make_task(run_dir, spec, self.features, self._exports, Slot().channel)
        trainer = trainer_of(task.spec)
        trainer.prepare(task)
        trainer.train(task)
        return run_dir

    def read(self, run_dir: Path) -> FinishedRun:
        """Read a run as the exporter does."""
        return read_run(run_dir, self.features, "native")

    def exported(self, model: str) -> tuple[FinishedRun, Path, dict[str, Any]]:
        """Return the run, the package and the facts about it."""
        if model not in self._made:
            run, folder = self.read(self.train(model)), self._root / f"package-{model}"
            folder.mkdir()
            self._made[model] = run, folder, write_package(run, self.features, folder)
        return self._made[model]


@pytest.fixture(scope="module")
def workshop(sample_exports: Path, feature_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    features = last_days(feature_dir, tmp_path_factory.mktemp("features"), DAYS)
    return Workshop(sample_exports, features, tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A Python that sees numpy and onnxruntime and no other package, and its environment."""
    site, bare = Path(sysconfig.get_paths()["purelib"]), tmp_path_factory.mktemp("bare")
    site = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "onnxruntime", "google", "flatbuffers", "packaging"):
        if name in {"numpy", "numpy.libs", "onnxruntime"} and (site / name).exists():
            (bare / name).symlink_to(site / name)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(base), {**environ, "PYTHONPATH": str(bare), "OMP_NUM_THREADS": "1"}


every_exported = pytest.mark.parametrize("model", EXPORTED)


def test_every_model_is_exported_or_refused_in_words() -> None:
    forecasters = [model for model, entry in MODELS.items() if entry.family not in PREPARING | REPORTING]
    assert set(forecasters) <= EXPORTED.keys() | NOT_EXPORTED.keys()
    assert not EXPORTED.keys() & NOT_EXPORTED.keys()
    for model in NOT_EXPORTED:
        with pytest.raises(NotExportable, match=f"{model} is not exportable: it "):
            row_of(model, "native")
    with pytest.raises(NotExportable, match="no exporter knows this model"):
        row_of("fourier_forest", "native")


@every_exported
def test_onnx_forecasts_what_the_native_model_does(workshop: Workshop, model: str) -> None:
    _, folder, facts = workshop.exported(model)
    told = json.loads((folder / "metrics.json").read_bytes())

    assert 0 <= facts["parity"] <= checks.LIMIT
    assert told["parity"]["held_out_rows"] >= 60
    assert set(told["parity"]["by_batch"]) == {"1", "32"}
    written = {path.name for path in (folder / "model").iterdir()}
    assert written == {"model.onnx", *NATIVE_FILES.get(model, NET_FILES)}, "one file of ONNX, and the native ones"
    assert {path.suffix for path in folder.rglob("*")}.isdisjoint({".pkl", ".pickle", ".pt", ".bin"})
    loaded = onnx.load(folder / "model" / "model.onnx")
    assert max(opset.version for opset in loaded.opset_import if not opset.domain) >= 17
    assert loaded.graph.input[0].type.tensor_type.shape.dim[0].WhichOneof("value") != "dim_value", "any batch"


@every_exported
def test_a_bare_python_forecasts_what_the_run_said(
    workshop: Workshop, bare_python: tuple[str, dict[str, str]], model: str, tmp_path: Path
) -> None:
    """The promise of the package: numpy, onnxruntime, a CSV file, and no cbi-queue anywhere."""
    run, folder, _ = workshop.exported(model)
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    python, environ = bare_python
    done = subprocess.run(
        [python, str(moved / "forecast.py"), str(moved / "example.csv")],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got, told = json.loads(done.stdout), run.metrics["forecast"]

    assert (got["date"], got["target_date"]) == (told["date"], told["target_date"])
    for name in ("price", "predicted_price", "lower_80", "upper_80", "lower_95", "upper_95"):
        assert math.isclose(got[name], told[name], rel_tol=1e-6), name


def test_the_bare_python_is_bare(bare_python: tuple[str, dict[str, str]]) -> None:
    python, environ = bare_python
    code = "import numpy, onnxruntime\nimport importlib.util as u\nprint([n for n in ('cbi_queue','jobs','torch','polars','pyarrow','pandas') if u.find_spec(n)])"
    done = subprocess.run([python, "-c", code], env=environ, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# --- what must be refused, and what must be allowed


def test_a_walked_forward_run_is_exported_with_its_last_fit(workshop: Workshop, tmp_path: Path) -> None:
    """Its earlier forecasts are those of fits that are gone; the newest one is of the model that is kept."""
    run_dir = workshop.train("lightgbm_dart", "walked", scheme="walk_forward", final_block_rows=0, refit_every_rows=40)
    run = workshop.read(run_dir)
    facts = write_package(run, workshop.features, tmp_path)
    assert facts["forecast"]["date"] == run.metrics["forecast"]["date"]
    assert json.loads((tmp_path / "metrics.json").read_bytes())["cv_scheme"]["scheme"]


def test_features_in_quarantine_are_hidden_from_the_exported_model_too(workshop: Workshop, tmp_path: Path) -> None:
    run = workshop.read(workshop.train("lightgbm_dart", "quarantined", quarantine_psi=0.001))
    hidden = run.preproc["quarantined"]
    assert hidden
    write_package(run, workshop.features, tmp_path)
    package, rows = Package(tmp_path), run.held_out[-5:]
    windows = run.frame.x[rows][:, None, :].copy()
    before = package.moves(windows)
    for name in hidden:
        windows[:, :, run.frame.feature_names.index(name)] = 99.0
    assert (package.moves(windows) == before).all()


def test_a_package_that_differs_is_refused(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By a thousandth of a usual move: a hundred times the limit, and far too little to be seen."""
    run = workshop.read(workshop.train("xgboost_dart", "shifted"))
    right = trees.XGBoost.run
    monkeypatch.setattr(trees.XGBoost, "run", lambda model, inputs: right(model, inputs) + 1e-3 * run.label_sd)
    with pytest.raises(NotExportable, match=r"differ by 0\.001 standard deviations of the label"):
        write_package(run, workshop.features, tmp_path)


def test_a_forecast_that_is_no_number_is_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = workshop.read(workshop.train("xgboost_dart", "nothing"))
    monkeypatch.setattr(trees.XGBoost, "run", lambda _model, inputs: np.full(len(inputs), np.nan))
    with pytest.raises(NotExportable, match="differ by inf standard deviations"):
        write_package(run, workshop.features, tmp_path)


def test_features_that_changed_since_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    """A daily update appends rows, which is fine; a corrected price or another column is other data."""
    run_dir = workshop.train("lightgbm_dart", "updated")
    name = f"{HORIZON}_features"
    table = pl.read_parquet(workshop.features / f"{name}.parquet")

    def with_cache(changed: pl.DataFrame, folder: str) -> FinishedRun:
        (tmp_path / folder).mkdir()
        changed.write_parquet(tmp_path / folder / f"{name}.parquet")
        manifest = json.loads((workshop.features / f"{name}.manifest.json").read_bytes())
        manifest["output_sha256"] = sha256_of(tmp_path / folder / f"{name}.parquet")
        (tmp_path / folder / f"{name}.manifest.json").write_text(json.dumps(manifest))
        return read_run(run_dir, tmp_path / folder, "native")

    newer = table.tail(1).with_columns(pl.col("date") + pl.duration(days=1), pl.col("price") + 1)
    run = with_cache(pl.concat([table, newer]), "newer")
    (tmp_path / "package").mkdir()
    write_package(run, tmp_path / "newer", tmp_path / "package")
    with pytest.raises(NotExportable, match="prices changed since"):
        with_cache(table.with_columns(price=pl.col("price") * 1.01), "corrected")
    with pytest.raises(NotExportable, match="they lack days"):
        with_cache(table.head(table.height - 3), "shorter")
    with pytest.raises(NotExportable, match="they have other columns"):
        with_cache(table.drop(table.columns[5]), "narrower")
    moved = with_cache(table.with_columns(pl.exclude("date", "price") * 1.7), "moved")
    (tmp_path / "other").mkdir()
    with pytest.raises(NotExportable, match="does not forecast what the run recorded"):
        write_package(moved, tmp_path / "moved", tmp_path / "other")
