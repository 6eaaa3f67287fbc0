"""Settings: environment over file over defaults; what is unusable is refused with its source; no phantom volumes."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from cbi_queue.errors import SettingsError, VolumeMissing
from cbi_queue.settings import ENVIRONMENT, Settings, load_settings, sources, values

VALUES = {
    "state_dir": "/some/where", "repo": "/re/po", "training_data": "/da/ta", "models": "/mo/dels", "logs": "/lo/gs",
    "volume": "/vol/ume", "profile": "m4-16gb", "governor": "watch", "trainer_memory_mib": 512.5, "threads": 3,
    "grace_s": 7.5, "backoff_s": 1.5, "poll_s": 0.05,
    "volume_check_s": 3.5, "host": "0.0.0.0", "port": 8123, "log_max_bytes": 123456, "log_keep": 5, "keep_days": 30,
    "sample_s": 0.5, "thermal_key": "own.key", "sensors_script": "/tra/ce", "trainer_environment": "AWS_PROFILE,OWN",
    "heat_ladder": "pause,micro_batch", "foreign_gpu": "wait", "foreign_gpu_mib": 750.5, "tracking": "on",
    "tracking_gather_s": 60.0,
    "forecast_at": "18:00", "forecast_max_age": 3, "retrain": "ask",
    "page_reading": "token", "other_machines": "refuse",
}  # fmt: skip
"""A value unlike its default (or, of two choices, unlike the one in the file) for every field with a variable."""
IN_FILE = {
    **{name: f"/file{value}" if isinstance(value, str) else 9 for name, value in VALUES.items()},
    "governor": "off",
    "heat_ladder": "pace",
    "foreign_gpu": "beside",
    "tracking": "off",
    "forecast_at": "06:30 Europe/Berlin",
    "retrain": "enqueue",
    "page_reading": "open",
    "other_machines": "allow",
    "log_max_bytes": 2000,
    "poll_s": 0.125,
    "trainer_environment": "PROXY",
}
"""Another value, written in the file."""


@pytest.fixture
def config(tmp_path):
    """Write a configuration file; return the environment that names it."""

    def write(text: str = "", **environ: str) -> dict[str, str]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return {"CBI_CONFIG": str(path), "CBI_STATE_DIR": str(tmp_path / "state"), **environ}

    return write


def toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value)


def plain(value):
    return ",".join(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def test_every_field_has_an_environment_variable_or_says_that_it_has_none():
    with_variable = set(ENVIRONMENT.values())
    without = {field.name for field in fields(Settings)} - with_variable

    assert set(VALUES) == with_variable
    assert without == {"runtimes", "config_file"}, "both can only be set in a file, or by CBI_CONFIG"


def test_every_field_says_its_variable_beneath_it():
    source = Path(values.__file__).read_text()
    for variable, name in ENVIRONMENT.items():
        declared = re.search(rf"^    {name}: .*\n    \"\"\"(?s:.*?)\"\"\"", source, re.MULTILINE)
        assert declared, name
        assert variable in declared[0]


@pytest.mark.parametrize(("variable", "name"), ENVIRONMENT.items())
def test_the_environment_is_believed_over_the_file_and_the_file_over_the_default(config, variable, name):
    value = VALUES[name]
    in_file = IN_FILE[name]
    default = plain(getattr(load_settings(config()), name))

    from_file = load_settings(config(f"{name} = {toml(in_file)}"))
    from_both = load_settings(config(f"{name} = {toml(in_file)}", **{variable: str(value)}))

    if name != "state_dir":
        assert plain(getattr(from_file, name)) == in_file != default
    assert plain(getattr(from_both, name)) == value != in_file


def test_names_for_trainers_are_a_list_or_a_text_with_commas(config):
    for written in ('["AWS_PROFILE", "OWN"]', '"AWS_PROFILE, OWN"'):
        assert load_settings(config(f"trainer_environment = {written}")).trainer_environment == ("AWS_PROFILE", "OWN")
    for wrong in ("7", "true", '["A=1"]', '[""]', '["A B"]', "[7]", '"A,,B"', '"AWS_*"', "{}"):
        with pytest.raises(SettingsError, match=r"trainer_environment is .* allowed are names of variables"):
            load_settings(config(f"trainer_environment = {wrong}"))


@pytest.mark.parametrize("value", ['"pace,pace"', '["pause", "pause"]', "[]", '["evict"]', "[3]", "7", '","', "{}"])
def test_a_ladder_with_an_unknown_a_doubled_or_no_rung_is_refused(config, value):
    """A rung that is never tried, or tried twice, is a slip of the pen."""
    with pytest.raises(SettingsError, match=r"config.toml:1: heat_ladder is .*; allowed is one or more of pace, "):
        load_settings(config(f"heat_ladder = {value}"))


def test_an_empty_variable_is_no_value(config):
    assert load_settings(config("port = 9", CBI_PORT="", EXTERNAL_DRIVE="")).port == 9


def test_the_layout_follows_from_the_drive_as_the_plan_for_the_mac_says(config):
    seen = load_settings(config(EXTERNAL_DRIVE="/Volumes/Satechi Hub"))

    root = Path("/Volumes/Satechi Hub/Projects/CBI-V14")
    assert (seen.repo, seen.training_data) == (root, root / "TrainingData")
    assert (seen.models, seen.logs) == (root / "Models", root / "Logs")
    assert seen.exports_dir == root / "TrainingData" / "exports"
    assert seen.training_log_dir == root / "Logs" / "training"
    assert not seen.state_dir.is_relative_to(seen.volume), "the ledger is not on the external drive"


def test_without_a_drive_the_data_are_at_home(config):
    seen = load_settings(config())

    assert seen.repo == Path.home() / "CBI-V14"
    assert seen.volume is None
    seen.require_volume()


def test_the_folders_of_the_plan_for_the_mac_are_made_and_no_others(config, tmp_path):
    seen = load_settings(config(CBI_V14_REPO=str(tmp_path / "repo")))

    seen.make_layout()
    seen.make_layout()

    made = {path.relative_to(seen.repo).as_posix() for path in seen.repo.rglob("*") if not any(path.iterdir())}
    assert made == {
        *(f"TrainingData/{name}" for name in ("raw", "processed", "exports")),
        *(f"Models/local/{name}" for name in ("baselines", "scripts", "1w", "1m", "3m", "6m", "12m")),
        *(f"Models/{name}" for name in ("vertex-ai", "bqml", "mlflow")),
        *(f"Logs/{name}" for name in ("training", "ingestion", "deployment")),
    }
    assert seen.state_dir.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["absent", "a plain folder", "a file", "a link to a folder"])
def test_a_volume_that_is_not_mounted_is_told_and_never_made(config, tmp_path, kind):
    """A plain folder under the name of the disk would fill the small internal one, unseen."""
    volume = tmp_path / "Satechi Hub"
    if kind == "a plain folder":
        volume.mkdir()
    elif kind == "a file":
        volume.touch()
    elif kind == "a link to a folder":
        (tmp_path / "elsewhere").mkdir()
        volume.symlink_to(tmp_path / "elsewhere")
    seen = load_settings(config(EXTERNAL_DRIVE=str(volume)))
    before = sorted(tmp_path.rglob("*"))

    for act in (seen.require_volume, seen.make_layout):
        with pytest.raises(VolumeMissing, match="nothing was created there") as missing:
            act()
    is_link = kind == "a link to a folder"
    assert (f"a link to {tmp_path / 'elsewhere'}" in missing.value.message) == is_link
    assert (f"set EXTERNAL_DRIVE to {tmp_path / 'elsewhere'}" in (missing.value.hint or "")) == is_link

    assert sorted(set(tmp_path.rglob("*")) - {seen.state_dir}) == before


def test_a_state_folder_on_the_missing_volume_is_not_made_either(config, tmp_path):
    volume = tmp_path / "disk"
    seen = load_settings(config(EXTERNAL_DRIVE=str(volume), CBI_STATE_DIR=str(volume / "state")))

    with pytest.raises(VolumeMissing):
        seen.make_state_dir()

    assert not volume.exists()


def test_a_mounted_volume_is_accepted(config):
    load_settings(config(EXTERNAL_DRIVE="/")).require_volume()


def test_a_state_folder_that_cannot_be_made_is_told_in_words(config, tmp_path):
    (tmp_path / "file").touch()
    seen = load_settings(config(CBI_STATE_DIR=str(tmp_path / "file" / "state")))

    with pytest.raises(SettingsError, match="cannot create the state folder") as refused:
        seen.make_state_dir()
    assert "CBI_STATE_DIR" in refused.value.hint


# --- what is refused


@pytest.mark.parametrize(("variable", "name"), [item for item in ENVIRONMENT.items() if item[1] in sources.RANGES])
def test_a_number_outside_its_range_is_refused_with_its_source(config, variable, name):
    low, high = sources.RANGES[name]
    step = 1 if name in sources._INTEGERS else 0.001
    for good in (low, high):
        assert getattr(load_settings(config(**{variable: str(good)})), name) == good
    for bad in (low - step, high + step, "nan", "inf", "-inf", "many", "1e99", " "):
        with pytest.raises(SettingsError, match=f"{variable}: {name} is .*allowed is"):
            load_settings(config(**{variable: str(bad)}))


@pytest.mark.parametrize("value", ["1.5", "inf", "nan", "true", '"eight"', "[]", "{}"])
def test_a_file_with_another_kind_of_number_is_refused_with_its_name(config, value):
    with pytest.raises(SettingsError, match=r"config\.toml:1: threads is"):
        load_settings(config(f"threads = {value}"))


@pytest.mark.parametrize("value", ["2024-01-01", "2024-01-01T07:32:00Z", "07:32:00"])
def test_a_date_where_a_number_belongs_is_told_as_it_was_written(config, value):
    """Not as `datetime.date(2024, 1, 1)`."""
    told = value.replace("Z", r"\+00:00")
    with pytest.raises(SettingsError, match=rf"config\.toml:1: threads is the date or time {told}; allowed is"):
        load_settings(config(f"threads = {value}"))


@pytest.mark.parametrize(
    "value", ["relative/path", ".", "~no-such-user-at-all/x", "/with/\nbreak", "/with/\x1b[31m", "/\udcff"]
)
@pytest.mark.parametrize("variable", ["CBI_STATE_DIR", "CBI_V14_REPO", "EXTERNAL_DRIVE", "CBI_CONFIG"])
def test_a_path_that_a_service_could_not_use_is_refused(config, variable, value):
    with pytest.raises(SettingsError, match=variable):
        load_settings(config(**{variable: value}))


def test_a_path_from_home_is_understood(config):
    assert load_settings(config(CBI_V14_REPO="~/data")).repo == Path.home() / "data"


@pytest.mark.parametrize("text", ["repo = 7", "repo = ['/a']", 'repo = "a\\u0000b"', "profile = 7", 'volume = ""'])
def test_a_file_with_a_value_of_the_wrong_kind_is_refused(config, text):
    with pytest.raises(SettingsError, match=r"config\.toml"):
        load_settings(config(text))


def test_an_unknown_key_is_refused_with_the_known_ones(config):
    with pytest.raises(
        SettingsError,
        match=r"config\.toml:1: unknown setting 'thread' \(did you mean 'threads'\?\); allowed: backoff_s, .*volume_check_s",
    ):
        load_settings(config("thread = 2"))


@pytest.mark.parametrize("text", ["= 1", "threads = ", "a\x00b", "[runtimes"])
def test_a_file_that_is_no_toml_is_refused_with_its_name(config, text):
    with pytest.raises(SettingsError, match=r"cannot read settings from .*config\.toml"):
        load_settings(config(text))


def test_a_file_that_cannot_be_read_is_refused(config, tmp_path):
    with pytest.raises(SettingsError, match="cannot read settings"):
        load_settings(config(CBI_CONFIG=str(tmp_path)))
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(config(CBI_CONFIG=str(tmp_path / "absent.toml")))
    (tmp_path / "latin.toml").write_bytes(b'host = "\xe4"')
    with pytest.raises(SettingsError, match="cannot read settings"):
        load_settings(config(CBI_CONFIG=str(tmp_path / "latin.toml")))


def test_runtimes_name_an_interpreter_per_backend(config):
    seen = load_settings(config('[runtimes]\ntorch = "~/venvs/torch/bin/python"'))

    assert seen.interpreter_for("torch") == str(Path.home() / "venvs/torch/bin/python")
    assert seen.interpreter_for("native") == sys.executable


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("runtimes = 7", r"config\.toml:1: \[runtimes\] maps a backend to the path of a Python; this is 7"),
        ("[runtimes]\ntorch = 7", r"config\.toml:2: the Python of torch is 7; allowed is a path"),
        (
            '[runtimes]\n\ntorch = "venv/bin/python"',
            r"config\.toml:3: the Python of torch is 'venv/bin/python'; write an ab",
        ),
        (
            '[runtimes]\ntorch = "python3.12"',
            r"config\.toml:2: the Python of torch is 'python3.12'; write an absolute path",
        ),
    ],
)
def test_runtimes_of_another_kind_or_place_are_refused(config, text, told):
    """A relative path would mean another Python in every folder; it is refused like every other path of the settings."""
    with pytest.raises(SettingsError, match=told):
        load_settings(config(text))


def test_the_default_of_threads_leaves_room_only_where_there_is_some(config, monkeypatch):
    seen = []
    for cores in (1, 2, 3, 10, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        seen.append(load_settings(config()).threads)

    assert seen == [1, 2, 1, 8, 1]


def test_a_byte_order_mark_is_read_as_in_plans(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfport = 8765\n")
    assert load_settings({"CBI_CONFIG": str(path)}).port == 8765


@pytest.mark.parametrize("text", ["port = " + "9" * 5000, "runtimes = " + "[" * 3000, "port = \x00"])
def test_a_file_that_breaks_the_reader_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"cannot read settings from .*config\.toml"):
        load_settings({"CBI_CONFIG": str(path)})
