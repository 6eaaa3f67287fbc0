"""Whether data can be opened is probed by opening them; what is harmless holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.mac import compiled

from cbi_queue import disk_access
from cbi_queue.disk_access import why_refused
from cbi_queue.doctor import _repo as examine_folders
from cbi_queue.models_owner import MARKER, claim_models, taken_by_another
from cbi_queue.regular_files import file_lock
from cbi_queue.settings import load_settings
from workers.volume import hold_if_unusable, volume_hold_words

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.toml").touch()
    own = {"STATE_DIR": "state", "V14_REPO": "repo", "CONFIG": "config.toml"}
    found = load_settings({f"CBI_{name}": str(tmp_path / value) for name, value in own.items()})
    found.make_layout()
    (found.exports_dir / "an export").write_text("x")
    return found


@pytest.mark.process
def test_folders_that_can_be_used_are_and_nothing_is_left_in_them(settings: Settings) -> None:
    before = sorted(settings.repo.rglob("*"))
    assert why_refused(settings) is None
    assert sorted(settings.repo.rglob("*")) == before


@pytest.mark.process
@pytest.mark.parametrize("name", ["exports_dir", "processed_dir", "training_log_dir"])
def test_a_refusal_to_open_is_found_wherever_it_is(settings: Settings, monkeypatch, name: str) -> None:
    folder = getattr(settings, name)
    monkeypatch.setenv("LD_PRELOAD", str(compiled("denied.c")))
    monkeypatch.setenv("MAC_DENIED", str(folder))
    words = why_refused(settings)
    assert words is not None
    assert words.startswith(f"{folder} cannot be opened: Operation not permitted; check the disk")


@pytest.mark.process
def test_an_export_that_may_not_be_opened_is_found_in_a_folder_that_may(settings: Settings, monkeypatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", str(compiled("denied.c")))
    monkeypatch.setenv("MAC_DENIED", str(settings.exports_dir / "an export"))
    assert "an export cannot be opened" in (why_refused(settings) or "")


@pytest.mark.process
def test_a_planted_pipe_or_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    """A pipe that nobody writes to would hang the probe, a link lead it out of the folder."""
    (settings.exports_dir / "an export").unlink()
    os.mkfifo(settings.exports_dir / "pipe")
    (settings.exports_dir / "link").symlink_to("/dev/zero")
    assert why_refused(settings) is None


@pytest.mark.process
@pytest.mark.parametrize(("number", "holds", "is_told"), [(13, False, True), (28, False, False), (1, True, True)])
def test_permissions_and_a_full_disk_hold_no_slot(
    settings: Settings, monkeypatch, number: int, holds: bool, is_told: bool
) -> None:
    """Features that are only read are a way to work; doctor tells of them all the same."""
    monkeypatch.setattr(disk_access, "_PROBE", f"print({number}, '/data')")
    assert (why_refused(settings) is not None) == holds
    assert (why_refused(settings, permissions=True) is not None) == is_told


@pytest.mark.process
def test_folders_that_are_not_made_yet_are_no_refusal(settings: Settings) -> None:
    subprocess.run([sys.executable, "-c", "import shutil, sys; shutil.rmtree(sys.argv[1])", settings.repo], check=True)
    assert why_refused(settings) is None


@pytest.mark.process
def test_a_folder_of_models_is_written_to_by_one_queue_alone(
    settings: Settings, ledger: Ledger, tmp_path: Path, monkeypatch
) -> None:
    """Run folders are named by content: another queue's jobs of the same content would overwrite them."""
    other = replace(settings, state_dir=tmp_path / "other")
    for each in (settings, other):
        each.make_state_dir()
        each.ledger_path.touch()
    monkeypatch.setattr("cbi_queue.models_owner.PATIENCE_S", 0.0)
    with file_lock(settings.models / f"{MARKER}.lock"):
        assert "another queue is taking" in str(claim_models(settings)), "one looks and marks at a time"
    assert not (settings.models / MARKER).exists()
    assert not hold_if_unusable(settings, ledger)
    assert not hold_if_unusable(settings, ledger), "its own mark holds nothing"
    assert hold_if_unusable(other, ledger)
    words = volume_hold_words(ledger)
    assert f"is that of the queue in {settings.state_dir}, and two queues overwrite each other's runs" in words
    assert words in [f"{each.seen}; {each.advice}" for each in examine_folders(other)]
    apart = replace(other, models=tmp_path / "models", logs=tmp_path / "logs")
    assert not hold_if_unusable(apart, ledger)
    settings.ledger_path.unlink()
    assert not hold_if_unusable(other, ledger), "the state folder was moved"
    assert taken_by_another(settings) is not None
    settings.ledger_path.touch()
    (settings.models / MARKER).write_bytes(b"\xff\0")
    assert not hold_if_unusable(settings, ledger), "a broken mark is written again"
    assert taken_by_another(other) is not None


@pytest.mark.process
def test_a_disk_on_which_no_folder_can_be_made_gets_the_same_remedy(
    settings: Settings, ledger: Ledger, monkeypatch
) -> None:
    """The first start on a disk that launchd may not use is refused at mkdir; its probe would find no folder at all."""

    def refused(*_args: object, **_keys: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(settings.models))

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(disk_access.with_remedy, "__kwdefaults__", {"platform": "darwin"})
    monkeypatch.setattr(type(settings), "make_state_dir", lambda _settings: None)
    assert hold_if_unusable(settings, ledger)
    words = volume_hold_words(ledger)
    assert f"cannot be created: {settings.models}: operation not permitted" in words
    assert "give Full Disk Access to" in words
