"""How settings are read: environment over a TOML file over defaults, each value checked before anything uses it.

A complaint names the variable or the file, the value and what is allowed. No other file is read.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import SettingsError
from cbi_queue.settings.daily_time import daily_time
from cbi_queue.settings.values import Settings, default_config_path
from cbi_queue.values.words import did_you_mean, seen, shortened, unknown
from cbi_queue.values.written import core_value, seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.values.toml_source import TomlFile

_OTHER_NAMES = {
    "repo": "CBI_V14_REPO",
    "training_data": "CBI_V14_TRAINING_DATA",
    "models": "CBI_V14_MODELS",
    "logs": "CBI_V14_LOGS",
    "volume": "EXTERNAL_DRIVE",
}
ENVIRONMENT: dict[str, str] = {
    _OTHER_NAMES.get(f.name, f"CBI_{f.name.upper()}"): f.name
    for f in fields(Settings)
    if f.name not in {"runtimes", "config_file"}
}
"""Environment variable -> field of `Settings`. CBI_CONFIG names the TOML file itself."""

OTHER_VARIABLES = frozenset({"CBI_CONFIG", "CBI_OVERLAP_LOG"})
"""Variables of ours that are no setting."""
SURELY_MEANT = 0.8
"""Likeness of two names, of 1, from which the one is a slip of the other and not another program's."""

RANGES: dict[str, tuple[float, float]] = {
    "trainer_memory_mib": (0, 1_048_576),
    "foreign_gpu_mib": (0, 1_048_576),
    "threads": (1, 1024),
    "grace_s": (0.1, 45.0),
    "backoff_s": (0.0, 3600.0),
    "poll_s": (0.01, 0.15),
    "volume_check_s": (0.1, 60.0),
    "tracking_gather_s": (0.0, 86_400.0),
    "port": (1, 65535),
    "log_max_bytes": (1_000, 1_000_000_000),
    "log_keep": (0, 100),
    "keep_days": (1, 3650),
    "sample_s": (0.2, 60.0),
    "forecast_max_age": (0, 1000),
}
"""Least and greatest value of each setting that is a number."""
LISTS: dict[str, tuple[str, ...]] = {"heat_ladder": ("pace", "micro_batch", "pause")}
"""What each setting that is a list may hold, every word at most once, in any order."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "governor": ("on", "watch", "off"),
    "foreign_gpu": ("wait", "beside"),
    "tracking": ("on", "off"),
    "retrain": ("ask", "enqueue"),
    "page_reading": ("auto", "token", "open"),
    "other_machines": ("refuse", "allow"),
}
_PATHS = frozenset({"state_dir", "repo", "training_data", "models", "logs", "volume", "sensors_script"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGERS = frozenset({"threads", "port", "log_max_bytes", "log_keep", "keep_days", "forecast_max_age"})


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings: environment over TOML over defaults.

    Raises:
        SettingsError: on an unreadable file, an unknown key, or a value that is not allowed.
    """
    env = os.environ if environ is None else environ
    config_file, from_file = _read_config(env)
    values: dict[str, Any] = {**from_file, **_from_environment(env)}
    runtimes = values.pop("runtimes", {})
    checked = {name: _convert(name, value, source) for name, (value, source) in values.items()}
    return Settings(**_with_defaults(checked), runtimes=runtimes, config_file=config_file)


def _read_config(env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    named = env.get("CBI_CONFIG")
    path = _absolute("CBI_CONFIG", named) if named else default_config_path()
    if not path.exists():
        if named:
            raise SettingsError(
                f"CBI_CONFIG names {path}, which does not exist", hint="create the file, or unset CBI_CONFIG"
            )
        return None, {}
    from cbi_queue.values.toml_source import read_toml

    file = read_toml(path, "settings from")
    known = {f.name for f in fields(Settings)} - {"config_file"}
    if wrong := sorted(set(file.table) - known):
        raise SettingsError(f"{file.place(wrong[0])}: {unknown('setting', wrong[0], sorted(known))}")
    runtimes = _runtimes(file, file.table.pop("runtimes", {}))
    return path, {"runtimes": runtimes, **{name: (value, file.place(name)) for name, value in file.table.items()}}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Return setting -> value and variable; text of a setting that is a number is read as a plan reads it."""
    return {
        name: (core_value(env[variable]) if name in RANGES else env[variable], variable)
        for variable, name in ENVIRONMENT.items()
        if env.get(variable)
    }


def unknown_variables(environ: Mapping[str, str] | None = None, *, likeness: float = 0.0) -> list[str]:
    """Return in words each variable named like ours that is no setting, and so is ignored, with the nearest that is one.

    Args:
        environ: default: the process's own.
        likeness: leave out names that are less like one of ours than this; 0 takes all.
    """
    env = os.environ if environ is None else environ
    known = [*ENVIRONMENT, *sorted(OTHER_VARIABLES)]
    found = []
    for name in sorted(env):
        upper = name.upper()
        if not env[name] or name in known or not upper.startswith("CBI_") or upper.startswith("CBI_TEST_"):
            continue
        if not likeness or did_you_mean(upper, known, cutoff=likeness):
            meant = did_you_mean(upper, known)
            found.append(f"the environment variable {_printable(name)} is not a setting and is ignored{meant}")
    return found


def _printable(name: str) -> str:
    return shortened(name if name.isprintable() else ascii(name))


def _runtimes(file: TomlFile, table: Any) -> dict[str, str]:
    if not isinstance(table, dict):
        where = file.place("runtimes")
        raise SettingsError(f"{where}: [runtimes] maps a backend to the path of a Python; this is {seen(table)}")
    return {
        name: str(_absolute(f"{file.place(f'runtimes.{name}')}: the Python of {name}", path))
        for name, path in table.items()
    }


def _convert(name: str, value: Any, source: str) -> Any:
    if name in _PATHS:
        return _absolute(f"{source}: {name}", value)
    if name in RANGES:
        return _number(name, value, source)
    if name == "trainer_environment":
        return _names(name, value, source)
    if name in LISTS:
        return _words(name, value, source)
    if not isinstance(value, str):
        raise SettingsError(f"{source}: {name} is {seen(value)}; allowed is a text in quotes")
    if name == "forecast_at" and daily_time(value) is None and value != "off":
        raise SettingsError(
            f"{source}: {name} is {seen(value)}; allowed: a time such as 18:00, a time and a zone such as 18:00 "
            "America/Chicago, or off"
        )
    if value not in _CHOICES.get(name, (value,)):
        raise SettingsError(f"{source}: {name} is {seen(value)}; allowed: {', '.join(_CHOICES[name])}")
    return value


def _number(name: str, value: Any, source: str) -> float | int:
    """Check a number as a plan does: no text, no true for 1, no 12.0 for 12; a length of time may have a unit."""
    low, high = RANGES[name]
    if name.endswith("_s"):
        number, what = seconds_of(value), "seconds, or text like 90s or 2m, from "
    else:
        is_number = isinstance(value, int if name in _INTEGERS else int | float) and not isinstance(value, bool)
        number, what = value if is_number else None, "a whole number from " if name in _INTEGERS else ""
    if number is None or not low <= number <= high:
        raise SettingsError(f"{source}: {name} is {seen(value)}; allowed is {what}{low:,} to {high:,}")
    return number if name in _INTEGERS else float(number)


def _names(name: str, value: Any, source: str) -> tuple[str, ...]:
    found = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) and _VARIABLE.fullmatch(each) for each in found):
        raise SettingsError(f'{source}: {name} is {value!r}; allowed are names of variables, such as ["AWS_PROFILE"]')
    return tuple(dict.fromkeys(found))


def _words(name: str, value: Any, source: str) -> tuple[str, ...]:
    """Return the words of a TOML list, or of a text from the environment that separates them by commas."""
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
    allowed = LISTS[name]
    is_list = isinstance(words, list) and words and all(isinstance(word, str) for word in words)
    if not is_list or len(set(words)) < len(words) or not set(words) <= set(allowed):
        raise SettingsError(
            f"{source}: {name} is {seen(value)}; allowed is one or more of {', '.join(allowed)}, each once, in any order"
        )
    return tuple(words)


def _absolute(what: str, value: Any) -> Path:
    if not isinstance(value, str) or not value.isprintable():
        raise SettingsError(f"{what} is {seen(value)}; allowed is a path without control characters")
    try:
        path = Path(value).expanduser()
    except RuntimeError as exc:
        raise SettingsError(f"{what} is {seen(value)}, but that user does not exist") from exc
    if not path.is_absolute():
        raise SettingsError(
            f"{what} is {seen(value)}; write an absolute path or one that begins with ~, because a service does not "
            "start in your folder"
        )
    return path


def _with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    volume: Path | None = given.get("volume")
    repo: Path = given.get("repo") or (volume / "Projects" / "CBI-V14" if volume else Path.home() / "CBI-V14")
    defaults: dict[str, Any] = {
        "repo": repo,
        "training_data": repo / "TrainingData",
        "models": repo / "Models",
        "logs": repo / "Logs",
        "threads": _default_threads(),
    }
    if "state_dir" not in given:
        defaults["state_dir"] = _default_state_dir()
    return {**defaults, **given}


def _default_threads() -> int:
    cores = os.cpu_count() or 1
    return cores if cores <= 2 else max(1, cores - 2)


def _default_state_dir() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("cbi-queue", appauthor=False))
