"""The TensorFlow backend on real daily series: conformance, equal bits, equal sums, whole folders.

Runs where a Python with TensorFlow is found: CBI_TEST_TENSORFLOW_PYTHON, or what `make test-tensorflow` makes. One
process of that Python plays every scenario of `keras_scenarios`; the tests check what it prints.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.forgetful_runs import forgetting

from jobs.exporting.finished_run import read_run
from jobs.exporting.kinds import NotExportable, native_model
from jobs.exporting.package.forecast import Package
from jobs.exporting.writing import write_package
from jobs.forecasting.stored import stored_run

TREE = Path(__file__).parents[2]
NAMED = os.environ.get("CBI_TEST_TENSORFLOW_PYTHON")
PYTHON = Path(NAMED or TREE / ".runtimes/runtimes/tensorflow/bin/python")
STOPS = {"feed_forward": (40, 134), "lstm": (40, 7, 134, 60), "gru_2_layer": (134,)}
"""Micro-batches at which a stop comes, as `keras_scenarios` has them."""
MODELS = ("feed_forward", "lstm", "gru_2_layer")

pytestmark = [
    pytest.mark.process,
    pytest.mark.tensorflow,
    pytest.mark.timeout(1800),  # thirty small trainings, each with graphs to trace
    pytest.mark.skipif(
        not NAMED and not PYTHON.exists(),
        reason="no Python with TensorFlow: `make test-tensorflow` makes one, or name it in CBI_TEST_TENSORFLOW_PYTHON",
    ),
]
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def told(sample_exports, feature_dir, tmp_path_factory) -> dict:
    """What came of every scenario, by its name."""
    root = tmp_path_factory.mktemp("keras")
    script = TREE / "tests" / "support" / "keras_scenarios.py"
    done = subprocess.run(
        [PYTHON, script, sample_exports, feature_dir, root],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TREE), str(TREE / "tests")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {"root": root, **dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))}


def forecasts(outcome: dict) -> np.ndarray:
    return np.array(outcome["seen"]["predicted"])


@every_model
def test_every_epoch_is_reported_with_what_the_governor_needs(told, model):
    outcome = told[f"{model} undisturbed"]
    started, epochs = outcome["started"], outcome["epoch"]

    assert [report["epoch"] for report in epochs] == list(range(1, started["total_epochs"] + 1))
    for report in epochs:
        assert report["samples"] == started["samples"] > 3000
        assert report["micro_batch"] == 32
        assert 0 < report["train_s"] <= report["wall_s"]
        assert report["cpu_s"] > 0
        assert math.isfinite(report["train_loss"])
        assert math.isfinite(report["validation_loss"])
    assert epochs[0]["resumed"], "its graph is traced in the first epoch: no baseline"
    assert not epochs[-1]["resumed"]
    assert set(started["can"]) == {"pace", "micro_batch", "probe", "checkpoint"}


@every_model
def test_it_learns(told, model):
    losses = [report["train_loss"] for report in told[f"{model} undisturbed"]["epoch"]]
    assert losses[-1] < 0.95 * losses[0]


def test_two_fresh_runs_are_identical(told):
    assert told["again"]["seen"]["weights"] == told["lstm undisturbed"]["seen"]["weights"]
    assert told["again"]["seen"]["predicted"] == told["lstm undisturbed"]["seen"]["predicted"]


@every_model
def test_a_stop_is_obeyed_at_that_very_micro_batch_and_leaves_a_checkpoint(told, model):
    *stopped, _ = told[f"{model} stopped"]

    assert {outcome["ended"] for outcome in stopped} == {"stopped"}
    assert tuple(outcome["safe_points"] for outcome in stopped) == STOPS[model]
    assert all(outcome["checkpoint_saved"] for outcome in stopped)


@every_model
def test_a_run_that_was_stopped_again_and_again_ends_with_the_same_bits(told, model):
    whole, last = told[f"{model} undisturbed"], told[f"{model} stopped"][-1]

    assert [(report["exact"], report["note"]) for report in last["restored"]] == [(True, None)]
    assert last["seen"]["weights"] == whole["seen"]["weights"]
    assert last["seen"]["predicted"] == whole["seen"]["predicted"]


def test_a_killed_run_costs_time_and_no_bits(told):
    killed, after = told["killed"]

    assert killed["ended"] == "killed"
    assert after["seen"]["weights"] == told["lstm undisturbed"]["seen"]["weights"]


@every_model
def test_a_changed_micro_batch_keeps_the_mathematics(told, model):
    """Through 32, 16 and 5: dropout, the last small batch and all; only the order of sums differs."""
    whole, recut = told[f"{model} undisturbed"], told[f"{model} recut"]

    assert [change["micro_batch"] for change in recut["micro_batch_changed"]] == [16, 5]
    assert [report["samples"] for report in recut["epoch"]] == [report["samples"] for report in whole["epoch"]]
    assert forecasts(recut) == pytest.approx(forecasts(whole), abs=2e-6)
    assert recut["epoch"][-1]["validation_loss"] == pytest.approx(whole["epoch"][-1]["validation_loss"], rel=1e-5)


def test_a_change_takes_effect_after_the_step_at_hand(told):
    """Ordered at the 50th micro-batch, which is a step, and at the 181st, the first half of one that is finished so."""
    recut = told["lstm recut"]
    steps, validation = math.ceil(recut["started"]["samples"] / 32), math.ceil(504 / (5 * 4))
    in_halves = math.ceil((181 - 50) / 2)
    first_epoch = 50 + 2 * in_halves + 7 * (steps - 50 - in_halves) + validation

    later = recut["started"]["total_epochs"] - 1
    forecast = math.ceil(len(recut["seen"]["predicted"]) / (5 * 4))
    why = json.loads((told["root"] / "lstm-c" / "why.json").read_bytes())
    passes = 1 + why["measured_on"]["repeats"] * len(why["importance"])
    explaining = passes * math.ceil(why["measured_on"]["samples"] / (5 * 4))
    assert recut["safe_points"] == first_epoch + later * (7 * steps + validation) + forecast + explaining


def test_a_run_that_begins_with_a_downgraded_micro_batch_ends_the_same(told):
    assert told["assigned"]["started"]["micro_batch"] == 16
    assert forecasts(told["assigned"]) == pytest.approx(forecasts(told["lstm undisturbed"]), abs=2e-6)


def test_a_downgrade_is_kept_by_the_checkpoint(told):
    """Also when the slot has lost sight of it."""
    _, after = told["sticky"]

    assert after["started"]["micro_batch"] == 16
    assert {report["micro_batch"] for report in after["epoch"]} == {16}
    assert after["restored"][0]["exact"]


@every_model
def test_the_folder_alone_gives_the_same_forecasts(told, model):
    """Read by Keras, with none of our classes."""
    again = np.array(told[f"{model} reloaded"])
    assert again == pytest.approx(forecasts(told[f"{model} undisturbed"]), abs=1e-6)


@every_model
def test_every_promised_file_is_there(told, model):
    seen = told[f"{model} undisturbed"]["seen"]

    assert {"model.keras", "model.json", "metrics.json", "preproc.json", "feature_schema.json"} <= set(seen["files"])
    assert {"tensorflow", "keras", "numpy"} <= set(seen["libraries"])


def test_the_saved_net_is_the_guides_template(told):
    layers = {model: told[f"{model} undisturbed"]["seen"]["layers"] for model in MODELS}

    assert layers["lstm"] == ["InputLayer", "LSTM", "Dropout", "Dense"]
    assert layers["gru_2_layer"] == ["InputLayer", "GRU", "Dropout", "GRU", "Dropout", "Dense"]
    assert layers["feed_forward"] == ["InputLayer", "Flatten", "Dense", "Dropout", "Dense"]


def test_half_precision_is_a_policy_of_the_layers(told):
    assert told["half"]["seen"]["policies"] == ["float32", "mixed_float16"]
    assert told["lstm undisturbed"]["seen"]["policies"] == ["float32"]
    assert forecasts(told["half"]) == pytest.approx(forecasts(told["lstm undisturbed"]), abs=0.01)


def test_half_precision_resumes_and_is_cut_again_like_any_other(told):
    """The scale of the loss is part of the state, and what it skips does not shift the steps."""
    assert told["half stopped"][-1]["seen"]["weights"] == told["half"]["seen"]["weights"]
    assert forecasts(told["half recut"]) == pytest.approx(forecasts(told["half"]), abs=5e-3)


def test_a_gpu_that_computes_something_else_is_not_used(told):
    fine, coarse, wrong, broken = (told["parity"][error] for error in ("0.001", "0.05", "1.0", "nan"))

    assert (fine["device"], fine["precision"], fine["refusals"]) == ("mps", "float16", [])
    assert (coarse["device"], coarse["precision"]) == ("mps", "float16")
    for placement in (wrong, broken):
        assert (placement["device"], placement["precision"]) == ("cpu", "float32")
        assert len(placement["refusals"]) == 2
    assert "loss off by 1, gradient by 1 of the CPU's, 0.15 is allowed" in wrong["refusals"][0]


def test_the_probe_reports_this_device(told):
    assert told["probed"]["device"] == "cpu"
    assert 0 < told["probed"]["wall_s"] < told["probed"]["total_s"]


@pytest.mark.parametrize("run", ["feed_forward-a", "lstm-a", "gru_2_layer-a", "half"])
def test_it_is_exported_by_its_weights_and_forecasts_later_rows_by_keras(told, feature_dir, tmp_path, monkeypatch, run):
    """ONNX is compared with Keras itself before a package is there; one trained in half precision computes in single."""
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    finished = read_run(told["root"] / run, feature_dir, "tensorflow", str(PYTHON))
    (tmp_path / "package").mkdir()
    facts = write_package(finished, feature_dir, tmp_path / "package")

    assert facts["parity"] <= 1e-5
    assert {path.name for path in (tmp_path / "package/model").iterdir()} == {"model.onnx", "model.keras", "model.json"}
    frame, package = finished.frame, Package(tmp_path / "package")
    rows = np.arange(frame.rows - 31, frame.rows)
    moves = package.moves(frame.x[rows[:, None] + np.arange(1 - package.window_rows, 1)])
    forgetting(told["root"] / run, tmp_path / "run", 30, last=moves[0])

    asked = {"job": run, "backend": "tensorflow", "interpreter": str(PYTHON), "params": {}}
    stored = stored_run({**asked, "run_dir": str(tmp_path / "run")}, frame, same_data=True)

    assert stored.is_live
    assert stored.f[-30:] == pytest.approx(moves[1:], abs=1e-5 * finished.label_sd)
    assert np.ptp(moves) > 1e-4

    with pytest.raises(NotExportable, match=r"cannot import TensorFlow|No module named"):
        native_model(read_run(told["root"] / run, feature_dir, "tensorflow", sys.executable))


def test_a_job_of_the_queue_trains_on_the_runtime(installation):
    """Daemon, real trainer, pause and resume, run folder: nothing scripted."""
    installation.environ  # noqa: B018 - makes the settings file
    (installation.root / "config.toml").write_text(f'[runtimes]\ntensorflow = "{PYTHON}"\n')
    installation.overrides["PYTHONPATH"] = str(TREE)
    params = {"epochs": 6, "patience": 6, "hidden_size": 8, "sequence_length": 16}
    net = {"name": "keras-1w", "family": "simple_neural", "model": "lstm", "horizon": "1w", "backend": "tensorflow"}
    (number,) = installation.enqueue({**net, "params": params})
    installation.hold("keras-1w", after=1)
    installation.start_daemon()

    installation.until_epoch(number, 1, within_s=300)
    installation.cli("pause", "--evict")
    installation.until_state(number, "queued", within_s=300)
    installation.let_end("keras-1w")
    installation.cli("resume")
    installation.until_state(number, "succeeded", within_s=300)

    assert [attempt.outcome for attempt in installation.attempts(number)] == ["evicted", "success"]
    assert list(installation.settings.models.glob("local/1w/keras-1w-*/model.keras"))
