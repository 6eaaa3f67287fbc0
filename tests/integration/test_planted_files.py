"""Pipes, links, devices and folders in the place of our files: refused in words at once, never followed, never a hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.installation import NAIVE, NET

if TYPE_CHECKING:
    from support.installation import Installation

KINDS = ("pipe", "link", "endless", "kernel", "folder")
WORDS = {
    "pipe": "it is a pipe, not a file",
    "link": "it is a symbolic link",
    "endless": "it is a symbolic link",
    "kernel": "it is a symbolic link",
    "folder": "it is a folder, not a file",
}
AT_ONCE_S = 45.0
"""Generous: the verbs take a second, and what they must not do is to wait for ever."""


def plant(path: Path, kind: str) -> Path:
    """Put something else in the place of *path*; return the file that a link must not reach."""
    if path.exists():
        path.unlink()
    outside = path.parent / "outside"
    outside.write_bytes(b"do not touch")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(outside)
        case "endless":
            path.symlink_to("/dev/zero")
        case "kernel":
            path.symlink_to("/proc/kmsg")
        case "folder":
            path.mkdir()
    return outside


def refused(installation: Installation, *command: str) -> str:
    """Run one of our modules, which must refuse at once; return what it says."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command],
        env=installation.environ, capture_output=True, text=True, check=False, timeout=AT_ONCE_S,
    )  # fmt: skip
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("ledger.db", ("cbi_queue.cli", "list")),
        ("ledger.db", ("workers", "--until-empty")),
        ("ledger.db-wal", ("cbi_queue.cli", "status")),
        ("slot.lock", ("cbi_queue.cli", "status")),
        ("slot.lock", ("workers", "--until-empty")),
        ("daemon.log", ("workers", "--until-empty")),
        ("api-token", ("cbi_queue.api",)),
    ],
)
def test_a_file_of_the_state_folder_is_a_regular_file_or_refused(
    installation: Installation, name: str, command: tuple[str, ...], kind: str
) -> None:
    path = installation.settings.state_dir / name
    outside = plant(path, kind)
    said = refused(installation, *command)
    assert str(path) in said
    assert WORDS[kind] in said
    assert outside.read_bytes() == b"do not touch"
    path.rmdir() if kind == "folder" else path.unlink()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_telemetry_that_is_no_file_is_left_off_and_the_job_trains(installation: Installation, kind: str) -> None:
    outside = plant(installation.settings.telemetry_path, kind)
    installation.enqueue({**NAIVE, "name": "n"})
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert outside.read_bytes() == b"do not touch"
    assert WORDS[kind] in installation.settings.daemon_log_path.read_text()


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/proc/kmsg", "folder"])
def test_plan_settings_and_traces_that_are_no_files_are_refused(installation: Installation, target: str) -> None:
    path = Path(target)
    if not path.is_absolute():
        path = installation.root / "it.yaml"
        os.mkfifo(path) if target == "pipe" else path.mkdir()
    elif not path.exists():
        pytest.skip(f"there is no {path} here")
    for command in (["plan", "check", str(path)], ["governor", "replay", str(path)]):
        assert str(path) in refused(installation, "cbi_queue.cli", *command)
    profiles = installation.root / "profiles"
    profiles.mkdir()
    (profiles / "mine.toml").symlink_to(path)
    for variable, value in (("CBI_CONFIG", str(path)), ("CBI_SENSORS_SCRIPT", str(path)), ("CBI_PROFILE", "mine")):
        installation.overrides[variable] = value
        verb = ["sensors", "show"] if variable == "CBI_SENSORS_SCRIPT" else ["profile", "list"]
        assert "cannot read" in refused(installation, "cbi_queue.cli", *verb)
        del installation.overrides[variable]


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_is_no_file_is_neither_written_nor_printed(installation: Installation, kind: str) -> None:
    installation.enqueue({**NAIVE, "name": "n"})
    log = installation.settings.training_log_dir / "n-1-attempt-1.log"
    outside = plant(log, kind)
    assert installation.start_daemon("--until-empty", wait=False).wait(60) in {0, 1}
    assert WORDS[kind] in (installation.attempts("n")[0].error or "")
    assert outside.read_bytes() == b"do not touch"


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_was_exchanged_is_not_printed(installation: Installation, kind: str) -> None:
    installation.enqueue({**NAIVE, "name": "n"})
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    plant(installation.log_of("n"), kind)
    for verb in (["logs", "n"], ["logs", "-f", "n"]):
        assert WORDS[kind] in refused(installation, "cbi_queue.cli", *verb)


@pytest.mark.parametrize("what", ["", "checkpoints"])
def test_a_run_folder_that_is_a_link_is_not_followed(installation: Installation, what: str) -> None:
    """Neither the folder itself nor that of its checkpoints; the words name it."""
    installation.enqueue({**NET, "name": "net"})
    settings, job = installation.settings, installation.job("net")
    away = installation.root / "away"
    away.mkdir()
    (away / "manifest.json").write_bytes(b"do not touch")
    place = settings.models / "local" / "1w" / f"net-{job.identity[:12]}"
    if what:
        place.mkdir()
    (place / what).symlink_to(away)
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 1
    assert installation.attempts("net")[0].error == (
        f"cannot use {place / what}: it is a symbolic link, which is not followed here; "
        "move it away; what cbi-queue needs there it makes again"
    )
    assert [path.name for path in away.iterdir()] == ["manifest.json"]


def test_a_checkpoint_or_a_manifest_that_is_no_file_is_rejected_and_the_job_trains(installation: Installation) -> None:
    """A net with a checkpoint of each kind; a job for each kind of manifest."""
    manifests = [kind for kind in KINDS if kind != "folder"]  # one that cannot be removed is an error of its own
    net = {**NET, "name": "net", "params": {**NET["params"], "epochs": 2, "patience": 2}}
    installation.enqueue(net, *({**NAIVE, "name": kind} for kind in manifests))

    def place(name: str) -> Path:
        folder = "1w" if name == "net" else "baselines"
        return installation.settings.models / "local" / folder / f"{name}-{installation.job(name).identity[:12]}"

    for epoch, kind in enumerate(KINDS, 1):
        (place("net") / "checkpoints").mkdir(parents=True, exist_ok=True)
        plant(place("net") / "checkpoints" / f"checkpoint-{epoch:08}-{'0' * 64}.safetensors", kind)
    for kind in manifests:
        place(kind).mkdir(parents=True)
        plant(place(kind) / "manifest.json", kind)
    assert installation.start_daemon("--until-empty", wait=False).wait(240) == 0
    told = " ".join(event.words or "" for event in installation.events("net"))
    assert all(WORDS[kind] in told for kind in KINDS), told
    assert all((place(kind) / "manifest.json").is_file() for kind in manifests)


@pytest.mark.parametrize("kind", ["pipe", "link", "endless", "kernel"])
def test_a_feature_cache_that_is_no_file_is_not_read_but_built_again(installation: Installation, kind: str) -> None:
    cache = installation.settings.processed_dir / "1w_features.parquet"
    outside = plant(cache, kind)
    installation.enqueue({**NAIVE, "name": "n"})
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 0
    assert cache.is_file()
    assert not cache.is_symlink()
    assert outside.read_bytes() == b"do not touch"


@pytest.mark.parametrize("kind", ["pipe", "endless", "kernel", "folder"])
def test_an_export_that_is_no_file_is_refused(installation: Installation, kind: str) -> None:
    """One that the user keeps elsewhere and links to is fine."""
    export = installation.settings.exports_dir / "production_training_data_1w.parquet"
    kept = shutil.copy(export, installation.root / "kept.parquet")
    plant(export, kind)
    features = {"family": "features", "model": "feature_cache", "horizon": "1w"}
    installation.enqueue({**features, "name": "planted"})
    assert installation.start_daemon("--until-empty", wait=False).wait(60) == 1
    assert "cannot be read: it " in (installation.attempts("planted")[0].error or "")
    export.rmdir() if kind == "folder" else export.unlink()
    export.symlink_to(kept)
    installation.enqueue({**features, "name": "linked"})
    installation.start_daemon("--until-empty", wait=False).wait(60)
    assert installation.job("linked").state == "succeeded"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root on Linux")
def test_a_read_only_state_folder_is_named_with_what_to_do(installation: Installation) -> None:
    """By every verb that needs it, with exit code 1; it is not said that space is short."""
    installation.enqueue({**NAIVE, "name": "n"})
    state = installation.settings.state_dir
    plan = installation.root / "plan.yaml"
    plan.write_text("day: 1\njobs:\n  - {name: m, family: statistical, model: naive, horizon: 1w}\n")
    subprocess.run(["mount", "--bind", str(state), str(state)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(state)], check=True)
        for command in (
            ["workers"], ["cbi_queue.api"],
            *(["cbi_queue.cli", *verb.split()] for verb in ("list", "pause", "show n", "wait", "logs n", f"run {plan}")),
        ):  # fmt: skip
            said = refused(installation, *command)
            assert f"{state}" in said
            assert "read-only: make it writable" in said
            assert "free up" not in said
        subprocess.run(["mount", "-o", "remount,rw,bind", str(state)], check=True)
        (state / "slot.lock").touch()
        with installation.ledger():
            for each in state.glob("ledger.db-*"):
                shutil.copy(each, state / f"{each.name}.kept")
        for each in state.glob("*.kept"):  # as after a crash: what SQLite needs to read is there
            each.rename(each.with_suffix(""))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(state)], check=True)
        assert "Slot idle" in installation.cli("status")
        assert "read-only: make it writable" in refused(installation, "cbi_queue.cli", "pause")
        assert f"BAD  state folder: {state}" in installation.doctor(code=1)
    finally:
        subprocess.run(["umount", str(state)], check=True)
