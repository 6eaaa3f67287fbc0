"""The whole command line and the daemon as on a Mac (`support.mac`): what they find there, say and do."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from support.mac import HOMEBREW, OF_TORCH, as_a_mac

if TYPE_CHECKING:
    from support.installation import Installation

TREES = [
    {"family": "trees", "model": model, "name": model, "horizon": "1w", "params": {"n_estimators": 5}}
    for model in ("lightgbm_dart", "xgboost_dart")
]


def finding(installation: Installation, subject: str, code: int = 0) -> dict[str, str]:
    """Return what `doctor` finds about *subject*."""
    rows = json.loads(installation.cli("doctor", "--json", code=code))
    return next(row for row in rows if row["subject"] == subject)


# --- OpenMP


@pytest.mark.parametrize("files", [(HOMEBREW,), (OF_TORCH,), (HOMEBREW, OF_TORCH)], ids=["homebrew", "torch", "both"])
def test_tree_models_train_with_either_copy_of_openmp(installation: Installation, files: tuple[str, ...]) -> None:
    installation.overrides |= as_a_mac(files=files)
    installation.enqueue(*TREES)

    assert installation.start_daemon("--until-empty", wait=False).wait(120) == 0

    told = [event.words for event in installation.events("xgboost_dart") if "torch's OpenMP library" in event.words]
    assert bool(told) == (HOMEBREW not in files), "whoever reads the job's story knows which copy it was"


def test_without_openmp_no_retry_is_wasted_and_the_remedy_is_named(installation: Installation) -> None:
    """With their own words they would wait, fail again, and never name Homebrew."""
    installation.overrides |= as_a_mac()
    installation.enqueue(*TREES)

    assert installation.start_daemon("--until-empty", wait=False).wait(120) == 1

    for name in ("lightgbm_dart", "xgboost_dart"):
        job = installation.job(name)
        assert (job.state, job.attempts, job.reason) == ("failed", 1, "broken_spec")
        assert "brew install libomp" in str(installation.attempts(name)[-1].error)
    told = finding(installation, "runtime native")
    assert (told["verdict"], told["advice"]) == ("note", "it needs the OpenMP library: run `brew install libomp`")
    assert "lightgbm, xgboost" in told["seen"]
    assert "no copy was found" in finding(installation, "OpenMP")["seen"]


def test_doctor_calls_ok_what_it_has_imported(installation: Installation) -> None:
    installation.overrides |= as_a_mac(files=(OF_TORCH,))
    assert finding(installation, "runtime native")["verdict"] == "ok"
    assert OF_TORCH in finding(installation, "OpenMP")["seen"]


# --- what the machine shows


def test_a_level_that_never_moved_is_a_note_with_the_command_that_proves_it(installation: Installation) -> None:
    installation.overrides |= as_a_mac()
    cool = finding(installation, "sensor thermal, notify(3)")
    assert cool["verdict"] == "note"
    assert "sudo thermal simulate cpu heavy" in cool["advice"]

    installation.overrides["MAC_NOTIFY"] = "1"
    finding(installation, "sensor thermal, notify(3)")
    del installation.overrides["MAC_NOTIFY"]
    assert finding(installation, "sensor thermal, notify(3)")["verdict"] == "ok"


def test_every_sensor_but_macmon_answers(installation: Installation) -> None:
    installation.overrides |= as_a_mac()
    rows = json.loads(installation.cli("sensors", "show", "--json", "--pid", str(os.getpid())))
    assert {row["sensor"] for row in rows if row["trust"] is None} == {"macmon"}
    assert {"notify(3)", "sysctl", "vm_stat", "ioreg", "pmset -g", "proc_pidinfo"} <= {row["sensor"] for row in rows}
