"""What a real installation leaves on the disk and hands to its trainers: for its owner only, whatever the umask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.api_installation import free_port
from support.installation import NET
from support.waiting import until

from workers.trainer.environment import trainer_environment
from workers.trainer.trainer_process import TrainerProcess, TrainerSetup

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

pytestmark = pytest.mark.process

LONG = {**NET["params"], "epochs": 10_000, "patience": 10_000}
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "x1", "AWS_PROFILE": "x2", "GITHUB_TOKEN": "x3", "HF_TOKEN": "x4", "DATABASE_URL": "x5",
    "SSH_AUTH_SOCK": "x6", "https_proxy": "http://me:pw@proxy", "PYTHON_KEYRING_PASSWORD": "x7", "KERAS_API_KEY": "x8",
}  # fmt: skip
NEEDED = {
    "LC_ALL": "C.UTF-8", "TZ": "Europe/Berlin", "TMPDIR": "/tmp", "LD_LIBRARY_PATH": "/opt/lib",
    "CUDA_VISIBLE_DEVICES": "0",
    "PYTORCH_ENABLE_MPS_FALLBACK": "1", "XLA_FLAGS": "--x", "KERAS_HOME": "/k", "HF_HOME": "/h",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "DYLD_FALLBACK_LIBRARY_PATH": "/d", "OMP_PROC_BIND": "true", "MKL_DEBUG_CPU_TYPE": "5", "CBI_OVERLAP_LOG": "/o",
    "XDG_CACHE_HOME": "/c",
}  # fmt: skip


def open_to_others(root: Path) -> list[str]:
    """Files and folders below *root* that group or others may do anything with."""
    found = [path for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    return [f"{path.relative_to(root)} {path.stat().st_mode & 0o7777:o}" for path in found]


def test_everything_of_a_real_run_is_its_owners_under_umask_000(installation: Installation) -> None:
    """Ledger, log of writes, telemetry, locks, logs, backups, token, run folder, checkpoints: also while it trains."""
    for folder in (installation.settings.state_dir, installation.settings.repo):
        for path in folder.rglob("*"):  # what the fixture has copied
            path.chmod(0o700 if path.is_dir() else 0o600)
    started = ["/bin/sh", "-c", 'umask 000; exec "$@"', "sh", sys.executable, "-P", "-m"]
    installation.overrides |= {"CBI_LOG_MAX_BYTES": "2000", "CBI_PORT": str(free_port())}
    installation.enqueue({**NET, "name": "net", "params": LONG})
    daemon = subprocess.Popen([*started, "workers", "--quiet"], env=installation.environ, cwd=installation.root)
    installation.daemons.append(daemon)
    installation.until_epoch("net", 3)
    serve = subprocess.Popen([*started, "cbi_queue.api"], env=installation.environ, stdout=subprocess.DEVNULL)
    until(installation.settings.token_path.exists, "the page has made its token")
    serve.terminate()
    serve.wait(60)
    while_it_trains = open_to_others(installation.settings.state_dir)
    assert (installation.settings.state_dir / "ledger.db-wal").exists()
    daemon.terminate()
    daemon.wait(60)
    subprocess.run([*started, "cbi_queue.cli", "status"], env=installation.environ, check=True, capture_output=True)
    run_dir = installation.settings.models / "local" / "1w"

    assert while_it_trains == []
    assert open_to_others(installation.settings.state_dir) == []
    assert list(run_dir.rglob("*.safetensors")), "it has written a checkpoint"
    assert open_to_others(run_dir) == []
    assert [path for path in installation.settings.training_log_dir.iterdir() if path.stat().st_mode & 0o077] == []


def test_a_trainer_gets_no_secret_of_the_shell_but_what_it_needs_and_what_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SECRETS, **NEEDED}.items():
        monkeypatch.setenv(name, value)
    told = environment_of_a_trainer(tmp_path, ("AWS_PROFILE", "HF_TOKEN", "NOT_SET"))

    assert told.items() >= NEEDED.items()
    threads = {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "500"}
    assert told.items() >= {"PATH": os.environ["PATH"], **threads}.items()
    assert {name for name in SECRETS if name in told} == {"AWS_PROFILE", "HF_TOKEN"}
    assert not set(SECRETS) & set(trainer_environment(3))


def environment_of_a_trainer(tmp_path: Path, passed: tuple[str, ...]) -> dict[str, str]:
    """Start a real trainer process that writes its environment down."""
    script, written = tmp_path / "trainer", tmp_path / "environment.json"
    program = f"import json, os\nopen({str(written)!r} + '.part', 'w').write(json.dumps(dict(os.environ)))\n"
    program += f"os.rename({str(written)!r} + '.part', {str(written)!r})\n"
    script.write_text(f"#!{sys.executable}\n{program}")
    script.chmod(0o755)
    lock = os.open(tmp_path / "slot.lock", os.O_RDWR | os.O_CREAT)
    process = TrainerProcess(TrainerSetup(str(script), 3, tmp_path / "log", tmp_path, lock, passed))
    os.close(lock)
    try:
        until(written.exists, "the trainer has written its environment")
    finally:
        process.kill()
        process.wait(60)
        process.close()
    return json.loads(written.read_text())


def test_the_setting_reaches_a_real_trainer_of_a_real_daemon(installation: Installation) -> None:
    """From the shell through settings, daemon and slot into the process that trains, read from the kernel."""
    if not os.path.exists("/proc/self/environ"):  # noqa: PTH110 - as the kernel names it
        pytest.skip("reads /proc")
    installation.overrides |= {**SECRETS, "CBI_TRAINER_ENVIRONMENT": "DATABASE_URL"}
    installation.enqueue(installation.lasting("net"))
    installation.start_daemon()
    trainer = installation.trainer("net")

    with open(f"/proc/{trainer.pid}/environ", "rb") as file:  # noqa: PTH123 - as above
        names = {entry.partition(b"=")[0].decode() for entry in file.read().split(b"\0")}

    assert names & set(SECRETS) == {"DATABASE_URL"}
