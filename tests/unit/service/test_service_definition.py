"""Service definitions: what is written for launchd and for systemd, and what is refused or worried about."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import cbi_queue
from cbi_queue import service
from cbi_queue.errors import Refused
from cbi_queue.service import launchd, systemd
from cbi_queue.service.definition import PARTS, Definition, define, fill, require_readable_by_launchd, risks
from cbi_queue.settings import Settings, load_settings

AWKWARD = '/srv/Tom\'s "big" disk 100% $HOME %h @PYTHON@ ü \\n;#'
"""A folder name with everything that XML, systemd or a shell could trip over."""
TEMPLATE_MARK = re.compile(r"@[A-Z_]+@")


def settings_for(**environ: str) -> Settings:
    return load_settings({"CBI_STATE_DIR": "/srv/state", "CBI_V14_REPO": "/srv/repo", **environ})


def definition_for(part: str = "worker", python: str = "/opt/venv/bin/python", **environ: str) -> Definition:
    return define(settings_for(**environ), environ, python, part)


def plist_for(part: str = "worker", python: str = "/opt/venv/bin/python", **environ: str) -> dict:
    return plistlib.loads(launchd.render(definition_for(part, python, **environ)))


def awkward_environ() -> dict[str, str]:
    return {"CBI_STATE_DIR": f"{AWKWARD}/state", "EXTERNAL_DRIVE": f"{AWKWARD}/volume", "CBI_PROFILE": "linux-cpu"}


@pytest.fixture(autouse=True)
def _no_settings_file(monkeypatch, tmp_path):
    """Settings of the person who runs the tests must not show."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("part", PARTS)
def test_the_agent_restarts_after_a_failure_only_and_gets_a_minute_to_stop(part):
    """Unset, these keys mean throttled work, five seconds to stop, or a daemon that stays dead."""
    plist = plist_for(part)

    assert plist["Label"] == f"org.cbi-queue.{part}"
    assert plist["ProcessType"] == "Interactive"
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    assert plist["RunAtLoad"] is True
    assert plist["ThrottleInterval"] == 10
    assert plist["ExitTimeOut"] == 60
    assert plist["LimitLoadToSessionType"] == ["Aqua", "Background", "LoginWindow", "StandardIO", "System"]


@pytest.mark.parametrize(
    ("part", "arguments"),
    [("worker", ["-P", "-m", "workers", "--quiet"]), ("api", ["-P", "-m", "cbi_queue.cli", "serve"])],
)
def test_the_agent_runs_the_very_interpreter_it_was_installed_with(part, arguments):
    """A resolved symbolic link would lead out of the venv."""
    assert plist_for(part, "/opt/my venv/bin/python")["ProgramArguments"] == ["/opt/my venv/bin/python", *arguments]


@pytest.mark.parametrize("part", PARTS)
def test_the_agent_holds_absolute_paths_and_nothing_to_expand(part):
    """Launchd expands neither ~ nor $VAR, and a placeholder left over would be taken literally."""
    plist = plist_for(part, EXTERNAL_DRIVE="/mnt/disk")
    paths = [plist["ProgramArguments"][0], plist["WorkingDirectory"]]
    paths += [plist["StandardOutPath"], plist["StandardErrorPath"]]
    paths += [plist["EnvironmentVariables"][name] for name in ("CBI_STATE_DIR", "CBI_V14_REPO", "EXTERNAL_DRIVE")]

    assert all(Path(path).is_absolute() for path in paths)
    assert not set("~$@") & set(json.dumps(plist))


def test_logs_stay_in_the_state_folder_and_never_on_the_volume():
    """Launchd creates missing parents of a log path: on an unmounted volume that is a phantom folder."""
    plist = plist_for(EXTERNAL_DRIVE="/mnt/disk")

    for key in ("StandardOutPath", "StandardErrorPath", "WorkingDirectory"):
        assert Path(plist[key]).is_relative_to("/srv/state")


def test_every_setting_in_force_reaches_the_service():
    """The service inherits no shell: paths are pinned, set variables carried over, anything else left to the file."""
    environ = {"EXTERNAL_DRIVE": "/mnt/disk", "CBI_PORT": "9000", "CBI_V14_MODELS": "/srv/models", "EDITOR": "vi"}
    variables = plist_for(**environ)["EnvironmentVariables"]

    assert variables == {
        "PATH": "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
        "CBI_STATE_DIR": "/srv/state",
        "CBI_V14_REPO": "/srv/repo",
        "CBI_V14_TRAINING_DATA": "/srv/repo/TrainingData",
        "CBI_V14_MODELS": "/srv/models",
        "CBI_V14_LOGS": "/srv/repo/Logs",
        "EXTERNAL_DRIVE": "/mnt/disk",
        "CBI_PORT": "9000",
    }


def test_a_service_reads_the_same_settings_as_the_installer(tmp_path):
    """The round trip that matters: load, install, load again from the installed environment alone."""
    config = tmp_path / "my config.toml"
    config.write_text('port = 9001\n[runtimes]\ntensorflow = "/opt/tf/bin/python"\n')
    environ = {"CBI_CONFIG": str(config), "CBI_GRACE_S": "30", "CBI_STATE_DIR": "/srv/s t", "EXTERNAL_DRIVE": "/mnt/d"}
    settings = load_settings(environ)

    plist = plistlib.loads(launchd.render(define(settings, environ, "/opt/python", "worker")))

    assert load_settings(plist["EnvironmentVariables"]) == settings


@pytest.mark.parametrize("part", PARTS)
def test_awkward_paths_survive_the_plist(part):
    """Values go into the loaded dictionary, never into XML text."""
    plist = plist_for(part, f"{AWKWARD}/bin/python", **awkward_environ())

    assert plist["ProgramArguments"][0] == f"{AWKWARD}/bin/python"
    assert plist["WorkingDirectory"] == f"{AWKWARD}/state"
    assert plist["StandardErrorPath"] == f"{AWKWARD}/state/{part}.stderr.log"
    assert plist["EnvironmentVariables"]["EXTERNAL_DRIVE"] == f"{AWKWARD}/volume"


@pytest.mark.parametrize("part", PARTS)
def test_the_unit_restarts_on_failure_but_not_when_the_slot_is_taken(part):
    """Exit 75 means that another daemon trains: trying again every few seconds is of no use."""
    lines = systemd.render(definition_for(part)).decode().splitlines()

    for line in (
        "Type=exec",
        "Restart=on-failure",
        "RestartSec=3",
        "RestartPreventExitStatus=75",
        "KillMode=process",
        "TimeoutStopSec=60",
        "OOMPolicy=continue",
        "StandardOutput=journal",
        "WantedBy=default.target",
    ):
        assert line in lines


@pytest.mark.parametrize("part", PARTS)
def test_the_unit_holds_nothing_to_expand(part):
    """No placeholder, home sign or variable is left in any setting of the unit."""
    text = systemd.render(definition_for(part)).decode()
    settings = [line for line in text.splitlines() if not line.startswith("#")]

    assert not set("~$@") & set("\n".join(settings))


@pytest.mark.parametrize(
    ("item", "written"),
    [
        ("plain", '"plain"'),
        ("two words", '"two words"'),
        ("100% of %h", '"100%% of %%h"'),
        ('say "yes"', '"say \\"yes\\""'),
        ("a\\nb", '"a\\\\nb"'),
        ("$HOME", '"$HOME"'),
    ],
)
def test_a_word_is_quoted_by_systemds_rules(item, written):
    """The rules of systemd.syntax(7): backslash, double quote and percent sign are the special ones."""
    assert systemd.quoted(item) == written


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("folder", ["a b 100% $HOME %h ü ;#", 'Tom\'s "b" 100% $HOME \\n'])
def test_systemd_itself_reads_back_what_was_meant(part, folder, tmp_path):
    """The oracle is systemd's own parser: its dump of the unit shows command, folder and variables unquoted."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: nothing here can parse a unit as systemd does")
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.symlink_to("/bin/sh")
    environ = awkward_environ()
    unit = tmp_path / systemd.unit_of(part)
    unit.write_bytes(systemd.render(definition_for(part, str(python), **environ)))

    verdict = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_PAGER": ""},
    )
    dump = [line.strip() for line in (verdict.stdout + verdict.stderr).splitlines()]

    assert verdict.returncode == 0, verdict.stderr
    assert not [line for line in dump if line.startswith(str(unit))], "systemd complains about a line of the unit"
    assert f"WorkingDirectory: {environ['CBI_STATE_DIR']}" in dump
    assert f"Environment: EXTERNAL_DRIVE={environ['EXTERNAL_DRIVE']}" in dump
    escaped = str(python).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert [line for line in dump if line.startswith("Command Line: ") and f'"{escaped}" -P -m ' in line]


def test_a_placeholder_inside_a_value_is_left_alone():
    """A folder may be called @STATE_DIR@; filling twice would put another path there."""
    assert fill("@A@/@B@", {"A": "@B@", "B": "b"}) == "@B@/b"


def test_every_placeholder_of_the_sources_is_filled():
    """A template with a placeholder that is never filled is a mistake at build time."""
    for part in PARTS:
        assert not TEMPLATE_MARK.search(launchd.render(definition_for(part)).decode())
        assert not TEMPLATE_MARK.search(systemd.render(definition_for(part)).decode())


@pytest.mark.parametrize("state", ["/mnt/disk/state", "/Volumes/Satechi/state"])
def test_a_state_folder_on_a_removable_disk_is_refused(state):
    """SQLite's WAL is not safe there, and a missing disk would leave launchd to make a phantom folder."""
    with pytest.raises(Refused, match="internal disk") as refusal:
        definition_for(CBI_STATE_DIR=state, EXTERNAL_DRIVE="/mnt/disk")

    assert "CBI_STATE_DIR" in (refusal.value.hint or "")


def test_a_state_folder_that_links_to_the_volume_is_refused(tmp_path):
    """The name of a path does not show the disk it is on."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "disk")

    with pytest.raises(Refused):
        definition_for(CBI_STATE_DIR=str(tmp_path / "state"), EXTERNAL_DRIVE=str(tmp_path / "disk"))


@pytest.mark.parametrize("state", ["/srv/two\nlines", "/srv/\udcff"])
def test_a_value_that_no_service_file_can_hold_is_refused(state):
    """A line break would end a unit's setting and start another."""
    with pytest.raises(Refused, match="control characters"):
        definition_for(CBI_STATE_DIR=state)


def test_an_interpreter_that_a_unit_cannot_start_is_refused():
    """Quotes need env(1) in front, and env takes a name with an equals sign for a variable."""
    with pytest.raises(Refused, match="equals sign"):
        systemd.render(definition_for(python="/opt/Tom's=disk/python"))


@pytest.mark.parametrize("state", ["/srv/ends in a blank ", "/srv/ends in a backslash\\"])
def test_a_working_directory_that_a_unit_cannot_say_is_refused(state):
    """WorkingDirectory= knows no quotes: trailing blanks are cut and a backslash joins the next line."""
    with pytest.raises(Refused, match="unit file"):
        systemd.render(definition_for(CBI_STATE_DIR=state))


@pytest.mark.parametrize(
    "python", ["/tmp/x/bin/python", "/home/u/.cache/uv/archive/bin/python", "/opt/homebrew/Cellar/python/3.12/python"]
)
def test_an_interpreter_that_will_be_cleared_away_is_worried_about(python):
    """It installs today and does not start after the next clean-up."""
    assert "is cleared from time to time" in risks(definition_for(python=python), settings_for())[0]


def test_an_interpreter_on_the_volume_is_worried_about():
    """The service could not even start to wait for the disk."""
    settings = settings_for(EXTERNAL_DRIVE="/mnt/disk")

    (risk,) = risks(definition_for(python="/mnt/disk/venv/bin/python"), settings)

    assert "while the disk is not mounted" in risk
    assert risks(definition_for(python="/opt/venv/bin/python"), settings) == []


HOME = Path("/Users/me")


@pytest.mark.parametrize(
    "place", ["Documents", "Desktop", "Downloads", "Library/Mobile Documents/com~apple~CloudDocs", "../../Volumes/T7"]
)
def test_what_launchd_may_not_read_is_refused(place, tmp_path):
    """It installs, and ends at every start with PermissionError on pyvenv.cfg: no prompt is shown to an agent."""
    folder = Path(os.path.normpath(HOME / place))
    with pytest.raises(Refused, match=r"the interpreter .* does not let a service read") as refusal:
        require_readable_by_launchd(definition_for(python=f"{folder}/cbi/.venv/bin/python"), Path("/opt/cbi"), HOME)
    with pytest.raises(Refused, match="the package"):  # an editable install imports from the checkout
        require_readable_by_launchd(definition_for(), folder / "cbi/cbi_queue", HOME)
    assert "move the checkout" in refusal.value.hint
    require_readable_by_launchd(definition_for(python="/Users/me/cbi/.venv/bin/python"), Path("/Users/me/cbi"), HOME)


def test_an_interpreter_that_links_into_such_a_folder_is_refused(tmp_path):
    """The venv may be elsewhere; what it starts is not."""
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "python").touch()
    (tmp_path / "python").symlink_to(tmp_path / "Documents" / "python")
    with pytest.raises(Refused, match="the interpreter"):
        require_readable_by_launchd(definition_for(python=str(tmp_path / "python")), Path("/opt/cbi"), tmp_path)


def test_data_where_launchd_may_not_read_are_worried_about(monkeypatch):
    """They can be opened with Full Disk Access, so this is no reason to refuse."""
    monkeypatch.setenv("HOME", "/Users/me")
    settings = settings_for(CBI_V14_REPO="/Users/me/Documents/CBI-V14")
    (risk,) = risks(definition_for(), settings, "darwin")
    assert "Full Disk Access" in risk
    assert risks(definition_for(), settings, "linux") == []


@pytest.mark.parametrize("part", PARTS)
def test_a_service_may_open_more_files_than_launchd_allows_by_itself(part):
    assert plist_for(part)["SoftResourceLimits"] == {"NumberOfFiles": 4096}


def test_nothing_is_written_where_launchd_could_not_read_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cbi_queue, "__file__", str(tmp_path / "Documents" / "cbi" / "cbi_queue" / "__init__.py"))
    settings = settings_for(CBI_STATE_DIR=str(tmp_path / "state"))
    with pytest.raises(Refused, match="the package"):
        service.install(launchd.Launchd(), [definition_for()], settings, start=False)
    assert list(tmp_path.iterdir()) == []
