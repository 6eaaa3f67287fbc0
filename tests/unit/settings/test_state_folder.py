"""The state folder is one user's: another's is refused, an open one is closed with a word, what others planted is named."""

from __future__ import annotations

import os
import stat

import pytest

from cbi_queue.api.token import ensure_token
from cbi_queue.errors import SettingsError
from cbi_queue.settings import load_settings
from cbi_queue.settings.state_folder import open_parents

STRANGER = 12_345


@pytest.fixture
def settings(tmp_path):
    """Settings whose state folder does not exist yet."""
    config = tmp_path / "config.toml"
    config.touch()
    return load_settings({"CBI_CONFIG": str(config), "CBI_STATE_DIR": str(tmp_path / "state")})


def mode_of(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_another(monkeypatch) -> None:
    """Everything that exists belongs to somebody else from now on."""
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)


def test_a_new_folder_is_its_owners_whatever_the_umask(settings, capsys):
    before = os.umask(0)
    try:
        settings.make_state_dir()
    finally:
        os.umask(before)

    assert mode_of(settings.state_dir) == 0o700
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o755, 0o750, 0o711])
def test_an_open_folder_is_closed_once_with_a_word(settings, capsys, mode):
    settings.make_state_dir()
    (settings.backup_dir).mkdir(mode=0o755)
    inside = [settings.ledger_path, settings.telemetry_path, settings.backup_dir / "ledger-1.db"]
    for path in inside:
        path.touch()
        path.chmod(0o666)
    settings.state_dir.chmod(mode)

    settings.make_state_dir()
    told = capsys.readouterr().err
    settings.make_state_dir()

    assert {mode_of(path) for path in inside} == {0o600}
    assert (mode_of(settings.state_dir), mode_of(settings.backup_dir)) == (0o700, 0o700)
    assert f"{settings.state_dir} was open to other accounts (mode {mode:04o})" in told
    assert capsys.readouterr().err == "", "said once"


@pytest.mark.parametrize(("mode", "stays"), [(0o777, False), (0o775, False), (0o755, True)])
def test_a_token_that_others_could_have_replaced_is_not_believed(settings, capsys, mode, stays):
    settings.make_state_dir()
    known = ensure_token(settings)
    settings.state_dir.chmod(mode)

    settings.make_state_dir()

    assert (ensure_token(settings) == known) is stays
    assert ("token was deleted" in capsys.readouterr().err) is not stays


def test_a_folder_of_another_user_is_refused_with_both_names(settings, monkeypatch):
    settings.make_state_dir()
    as_another(monkeypatch)

    with pytest.raises(SettingsError, match=r"belongs to user .*, and this is user ") as refused:
        settings.make_state_dir()
    assert "CBI_STATE_DIR" in refused.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_put_into_an_open_folder_is_named_and_nothing_changes(settings):
    settings.make_state_dir()
    planted = settings.state_dir / "runtimes" / "tensorflow"
    planted.mkdir(parents=True)
    os.chown(planted, STRANGER, STRANGER)
    settings.state_dir.chmod(0o777)

    with pytest.raises(SettingsError, match=f"{planted} in it belongs to user {STRANGER}"):
        settings.make_state_dir()
    assert mode_of(settings.state_dir) == 0o777, "refused, and not half mended"


@pytest.mark.parametrize(("mode", "own"), [(0o755, False), (0o777, False), (0o1777, False), (0o1777, True)])
def test_a_folder_with_other_things_is_never_closed(settings, mode, own):
    """CBI_STATE_DIR=/tmp or =$HOME, by root or by mistake, must lock nobody out."""
    settings.make_state_dir()
    (settings.state_dir / ("ledger.db" if own else "letter.txt")).touch(mode=0o644)
    settings.state_dir.chmod(mode)

    with pytest.raises(SettingsError, match="holds other things than cbi-queue's"):
        settings.make_state_dir()
    assert mode_of(settings.state_dir) == mode
    assert {path.stat().st_mode & 0o777 for path in settings.state_dir.iterdir()} == {0o644}


def test_a_link_in_an_open_folder_leads_to_no_change_outside(settings, tmp_path):
    outside = tmp_path / "outside"
    outside.touch()
    outside.chmod(0o644)
    settings.make_state_dir()
    (settings.state_dir / "ledger.db").symlink_to(outside)
    settings.state_dir.chmod(0o755)

    settings.make_state_dir()

    assert mode_of(outside) == 0o644


def test_a_parent_that_anyone_may_rename_in_is_found_also_behind_a_link(tmp_path):
    opened = tmp_path / "open"
    (opened / "state").mkdir(parents=True)
    (tmp_path / "link").symlink_to(opened / "state")
    assert open_parents(opened / "state") == []

    opened.chmod(0o777)
    assert open_parents(opened / "state") == open_parents(tmp_path / "link") == [opened]
    opened.chmod(0o1777)
    assert open_parents(opened / "state") == [], "sticky, as /tmp is: only the owner may rename"
