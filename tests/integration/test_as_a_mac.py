"""The whole command line and the daemon as on a Mac (`support.mac`): what they find there, say and do."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.installation import NAIVE
from support.light_libraries import light_libraries
from support.mac import HOMEBREW, OF_TORCH, as_a_mac, denying
from support.rooms import ROOT
from support.service_installation import LAUNCHCTL
from support.waiting import until

from cbi_queue import disk_access
from workers.volume import volume_hold_words

if TYPE_CHECKING:
    from support.installation import Installation

    from cbi_queue.ledger import JobRow

TREES = [
    {"family": "trees", "model": model, "name": model, "horizon": "1w", "params": {"n_estimators": 5}}
    for model in ("lightgbm_dart", "xgboost_dart")
]


def findings(installation: Installation, code: int = 0, libraries: str = "empty") -> dict[str, dict[str, str]]:
    """Return subject -> what `doctor` finds; it imports empty *libraries*, where they need not be the "real" ones."""
    usual = installation.overrides
    if libraries == "empty":
        (light,) = light_libraries().values()
        installation.overrides = {**usual, "PYTHONPATH": f"{usual.get('PYTHONPATH', '')}:{light}".strip(":")}
    rows = json.loads(installation.cli("doctor", "--json", code=code))
    installation.overrides = usual
    return {row["subject"]: row for row in rows}


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
    found = findings(installation)
    told = found["runtime native"]
    assert (told["verdict"], told["advice"]) == ("note", "it needs the OpenMP library: run `brew install libomp`")
    assert "lightgbm, xgboost" in told["seen"]
    assert "no copy was found" in found["OpenMP"]["seen"]


def test_doctor_calls_ok_what_it_has_imported(installation: Installation) -> None:
    installation.overrides |= as_a_mac(files=(OF_TORCH,))
    found = findings(installation, libraries="real")
    assert found["runtime native"]["verdict"] == "ok"
    assert OF_TORCH in found["OpenMP"]["seen"]


# --- what the machine shows


def test_a_level_that_never_moved_is_a_note_with_the_command_that_proves_it(installation: Installation) -> None:
    installation.overrides |= as_a_mac()
    cool = findings(installation)["sensor thermal, notify(3)"]
    assert cool["verdict"] == "note"
    assert "sudo thermal simulate cpu heavy" in cool["advice"]

    installation.overrides["MAC_NOTIFY"] = "1"
    findings(installation)
    del installation.overrides["MAC_NOTIFY"]
    assert findings(installation)["sensor thermal, notify(3)"]["verdict"] == "ok"


def test_every_sensor_but_macmon_answers(installation: Installation) -> None:
    installation.overrides |= as_a_mac()
    rows = json.loads(installation.cli("sensors", "show", "--json", "--pid", str(os.getpid())))
    assert {row["sensor"] for row in rows if row["trust"] is None} == {"macmon"}
    assert {"notify(3)", "sysctl", "vm_stat", "ioreg", "pmset -g", "proc_pidinfo"} <= {row["sensor"] for row in rows}


# --- disks


def test_a_disk_that_launchd_may_not_open_holds_the_slot_and_burns_no_retry(
    installation: Installation, tmp_path: Path
) -> None:
    """What is there can be seen and made, and not opened: every job would fail until its retries are gone."""
    flag = tmp_path / "denied"
    flag.touch()
    repo = installation.settings.repo
    installation.overrides |= as_a_mac() | denying(repo, MAC_DENIED_WHILE=str(flag)) | {"CBI_VOLUME_CHECK_S": "0.1"}
    installation.enqueue({**NAIVE, "name": "patient"})
    installation.start_daemon(wait=False)  # a Mac tells the start of a process in another way than this machine

    def hold() -> str | None:
        with installation.ledger() as ledger:
            return volume_hold_words(ledger)

    words = until(hold, "the daemon found at boot that it may not open the data")
    assert "Operation not permitted" in words
    assert f"give Full Disk Access to {os.path.realpath(sys.executable)}" in words
    assert installation.job("patient").attempts == 0

    clean = {key: value for key, value in installation.overrides.items() if key != "LD_PRELOAD"}
    installation.overrides = clean  # doctor runs in a terminal, which may open them
    found = findings(installation, code=1)
    assert found["data folder"]["verdict"] == "ok"
    told = found["data, as the daemon last found them"]
    assert (told["verdict"], "Operation not permitted" in told["seen"]) == ("bad", True)
    assert "Full Disk Access" in told["advice"]

    flag.unlink()  # the permission is given
    assert installation.until_state("patient", "succeeded").attempts == 1
    assert hold() is None


def test_a_refusal_while_a_job_trains_requeues_it_and_holds_the_slot(
    installation: Installation, tmp_path: Path
) -> None:
    flag = tmp_path / "denied"
    repo = installation.settings.repo
    installation.overrides |= as_a_mac() | denying(repo, MAC_DENIED_WHILE=str(flag)) | {"CBI_VOLUME_CHECK_S": "0.1"}
    installation.enqueue({**NAIVE, "name": "interrupted", "retries": 0})
    daemon = installation.start_daemon("--until-empty", wait=False)
    until(lambda: installation.job("interrupted").state != "queued", "it was claimed")
    flag.touch()

    job = until(lambda: _again(installation), "it was taken out of the slot, or had ended before")
    if job.state != "succeeded":
        assert (job.state, job.reason) == ("queued", "volume_gone")
    flag.unlink()
    assert daemon.wait(60) == 0, "the refusal was no error of the job, which has no retry"


def _again(installation: Installation) -> JobRow | None:
    job = installation.job("interrupted")
    return job if job.state in {"queued", "succeeded", "failed"} else None


def test_a_disk_that_gives_no_answer_holds_the_slot_too(installation: Installation, monkeypatch) -> None:
    monkeypatch.setattr(disk_access, "PROBE_TIMEOUT_S", 0.5)
    for name, value in denying(installation.settings.repo, MAC_DENIED_HANGS="1").items():
        monkeypatch.setenv(name, value)
    words = disk_access.why_refused(installation.settings)
    assert words is not None
    assert "gives no answer" in words


@pytest.mark.parametrize(
    ("disks", "kind"),
    [("/=apfs", None), ("/=hfs", None), ("/=lifs", "lifs"), ("/=fskit", "fskit"), ("/=macfuse", "macfuse")],
)
def test_sqlite_is_used_on_apfs_and_hfs_only(installation: Installation, disks: str, kind: str | None) -> None:
    """ExFAT calls itself `lifs` on macOS 13 and later; a write-ahead log there ends with SIGBUS."""
    installation.overrides |= as_a_mac(disks=disks)
    said = installation.cli("pause", code=0 if kind is None else 1)
    assert ("where SQLite's write-ahead log is not safe" in said) == (kind is not None)
    assert f"is on {kind}, " in said or kind is None


# --- launchd


def test_the_service_is_installed_into_launchd(installation: Installation) -> None:
    launchctl = installation.root / "bin" / "launchctl"
    launchctl.parent.mkdir()
    launchctl.write_text(LAUNCHCTL)
    launchctl.chmod(0o755)
    path = f"{launchctl.parent}:{os.environ['PATH']}"
    installation.overrides |= as_a_mac() | {"HOME": str(installation.root), "PATH": path}

    assert "started by launchd" in installation.cli("service", "install")
    assert "worker: running, pid 7" in installation.cli("service", "status")
    assert "restarted org.cbi-queue.worker" in installation.cli("service", "restart", "--only", "worker")
    installation.cli("service", "uninstall")
    assert list((installation.root / "Library" / "LaunchAgents").iterdir()) == []


# --- the demo


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_every_command_of_the_demo_ends_well_with_torch_s_copy_of_openmp(installation: Installation) -> None:
    """The two commands of the README are all that a person with a new Mac will type first."""
    (installation.root / "profiles").mkdir()
    shutil.copy(ROOT / "schedules" / "governed-demo.toml", installation.root / "profiles")
    installation.overrides |= as_a_mac(files=(OF_TORCH,)) | {"CBI_GOVERNOR": "on"}
    installation.cli("run", str(ROOT / "schedules" / "quickstart.yaml"), within_s=600)
    assert "lightgbm_dart" in installation.cli("leaderboard", "--json")
    installation.overrides |= {
        "CBI_PROFILE": "governed-demo",
        "CBI_SAMPLE_S": "0.5",
        "CBI_SENSORS_SCRIPT": str(ROOT / "schedules" / "heat-wave.jsonl"),
    }
    installation.cli("run", str(ROOT / "schedules" / "governed-demo.yaml"), within_s=300)
    assert "paused" in installation.cli("governor", "why", "governed-lstm-1w")


# --- the checklist


def test_the_checklist_runs_what_it_can_and_writes_one_file(installation: Installation) -> None:
    installation.overrides |= as_a_mac(files=(HOMEBREW,)) | {"USER": "annabel", "LOGNAME": "annabel"}
    said = installation.cli("doctor", "--mac-checklist")
    (path,) = installation.root.glob("cbi-queue-mac-checklist-*.txt")
    text = path.read_text()

    assert str(path) in said
    assert "macOS 15.6\nApple M4, 17179869184, Mac16,10" in text
    assert f"the OpenMP library that they get: {HOMEBREW}" in text
    assert "thermal, notify(3): nominal" in text
    assert "from this terminal: the data folders can be opened" in text
    assert "annabel" not in text
    assert str(Path.home()) not in text
