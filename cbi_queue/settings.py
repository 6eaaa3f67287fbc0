"""One frozen `Settings`: environment over a TOML file over defaults.

Two places, on purpose. *State* (the ledger, telemetry, lock, token, daemon log, backups) lives on the internal disk by
the platform's convention, because SQLite's WAL is not safe on exFAT or a network disk. *Data, models and training
logs* live under the repo root, with the seed's directory layout, and may be on an external volume, which must
really be mounted: it is never created as a plain folder.
"""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import SettingsError, VolumeMissing

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Each field says its unit, why its default, and its environment variable."""

    state_dir: Path
    """Ledger, lock, token, daemon log. CBI_STATE_DIR. Default: the platform's state folder, internal disk."""
    repo: Path
    """Root of the data layout. CBI_V14_REPO. Default: EXTERNAL_DRIVE/Projects/CBI-V14, else ~/CBI-V14."""
    training_data: Path
    """raw/, processed/, exports/. CBI_V14_TRAINING_DATA. Default: repo/TrainingData."""
    models: Path
    """local/, vertex-ai/, bqml/, mlflow/. CBI_V14_MODELS. Default: repo/Models."""
    logs: Path
    """training/, ingestion/, deployment/. CBI_V14_LOGS. Default: repo/Logs."""
    volume: Path | None = None
    """Mount point that must be mounted before anything touches the repo. EXTERNAL_DRIVE. Default: none."""
    profile: str = "auto"
    """Hardware profile: auto (look at the machine), one that ships, or a file of your own in profiles/ beside the TOML
    file. CBI_PROFILE."""
    trainer_memory_mib: float = 0.0
    """MiB that a trainer may map for data and heap (RLIMIT_DATA), 0 for no limit. CBI_TRAINER_MEMORY_MIB. Libraries and
    their threads map a good deal that they never touch, so a limit is no budget; it ends a runaway trainer before the
    machine swaps."""
    governor: str = "on"
    """What the thermal and memory governor may do: on; watch (decide and write down, act on nothing); off (only
    sample). CBI_GOVERNOR."""
    threads: int = 1
    """Threads of the trainer (OMP_NUM_THREADS). CBI_THREADS. Default: all cores but two, at least one; two cores
    keep both, because the daemon itself needs almost nothing."""
    grace_s: float = 20.0
    """Seconds that a trainer gets to checkpoint before SIGKILL. CBI_GRACE_S. Stays well inside the service
    manager's 60 s."""
    backoff_s: float = 30.0
    """Seconds before the first retry after an error; doubles each time, at most an hour. CBI_BACKOFF_S."""
    poll_s: float = 0.1
    """Seconds between looks at the ledger while idle or supervising. CBI_POLL_S. 0.1 picks a job up at once for
    about 0.2 % of a core."""
    volume_check_s: float = 2.0
    """Seconds between checks that the volume is mounted. CBI_VOLUME_CHECK_S."""
    host: str = "127.0.0.1"
    """Address of the status page. CBI_HOST. Loopback; anything else must be asked for."""
    port: int = 8000
    """Port of the status page. CBI_PORT."""
    log_max_bytes: int = 5_000_000
    """Bytes before a log rolls over. CBI_LOG_MAX_BYTES."""
    log_keep: int = 3
    """Rolled logs kept beside the current one. CBI_LOG_KEEP."""
    keep_days: int = 90
    """Days that telemetry is kept. CBI_KEEP_DAYS. Daily backups of the ledger are kept for two weeks."""
    sample_s: float = 2.0
    """Seconds between looks of the monitor at its sensors. CBI_SAMPLE_S. Heat and memory change over tens of seconds; a
    look costs about 2 ms."""
    thermal_key: str = "com.apple.system.thermalpressurelevel"
    """notify(3) key that tells the thermal pressure on macOS. CBI_THERMAL_KEY. Apple's own; a key that any user may post
    tries the whole chain without root."""
    sensors_script: Path | None = None
    """Trace that every sensor replays in place of measuring. CBI_SENSORS_SCRIPT. Default: none. For tries and demos."""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Interpreter per backend, TOML table [runtimes]. A backend without an entry runs on the runtime that
    `cbi-queue runtime install` made for it, else on this Python."""
    config_file: Path | None = None
    """The TOML file that was read, if any."""

    @property
    def ledger_path(self) -> Path:
        """The queue's database."""
        return self.state_dir / "ledger.db"

    @property
    def telemetry_path(self) -> Path:
        """Per-epoch rows and samples; may be lost without losing a job."""
        return self.state_dir / "telemetry.db"

    @property
    def lock_path(self) -> Path:
        """The slot: whoever holds its flock may train."""
        return self.state_dir / "slot.lock"

    @property
    def token_path(self) -> Path:
        """Secret that the API asks for before it changes anything; readable by the owner only."""
        return self.state_dir / "api-token"

    @property
    def daemon_log_path(self) -> Path:
        """The daemon's own log, on the internal disk."""
        return self.state_dir / "daemon.log"

    @property
    def backup_dir(self) -> Path:
        """Where online backups of the ledger go."""
        return self.state_dir / "backups"

    @property
    def runtimes_dir(self) -> Path:
        """Pythons of their own for backends, made by `cbi-queue runtime install`."""
        return self.state_dir / "runtimes"

    @property
    def exports_dir(self) -> Path:
        """Ready-to-train Parquet, one file a horizon."""
        return self.training_data / "exports"

    @property
    def processed_dir(self) -> Path:
        """The feature cache."""
        return self.training_data / "processed"

    @property
    def training_log_dir(self) -> Path:
        """One log per attempt."""
        return self.logs / "training"

    @property
    def profiles_dir(self) -> Path:
        """The user's own hardware profiles, one TOML file each."""
        return (self.config_file or _default_config_path()).parent / "profiles"

    def interpreter_for(self, backend: str) -> str:
        """Return the Python that runs trainers of *backend*: as set, else as installed for it, else our own."""
        installed = self.runtimes_dir / backend / "bin" / "python"
        return self.runtimes.get(backend) or (str(installed) if installed.exists() else sys.executable)

    def require_volume(self) -> None:
        """Make sure that the volume, if one is configured, is really mounted.

        Raises:
            VolumeMissing: when it is absent, or only a plain folder of that name.
        """
        if self.volume is not None and not os.path.ismount(self.volume):
            seen = "a plain folder, not a mount" if os.path.exists(self.volume) else "absent"  # noqa: PTH110 - as ismount
            raise VolumeMissing(
                f"the data volume {self.volume} is {seen}; nothing was created there",
                hint="plug the disk in, or unset EXTERNAL_DRIVE to keep data on this disk",
            )

    def make_layout(self) -> None:
        """Create the seed's folders below the repo (and the state folder).

        Raises:
            VolumeMissing: before anything is created, when the volume is not mounted.
        """
        self.make_state_dir()
        self.require_volume()
        for folder in _layout(self):
            folder.mkdir(parents=True, exist_ok=True)

    def make_state_dir(self) -> None:
        """Create the state folder, for its owner only.

        Raises:
            VolumeMissing: when the folder lies on the volume and the volume is not mounted.
            SettingsError: when it cannot be created.
        """
        if self.volume is not None and self.state_dir.is_relative_to(self.volume):
            self.require_volume()
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise SettingsError(
                f"cannot create the state folder {self.state_dir}: {exc.strerror}",
                hint="set CBI_STATE_DIR to a folder on the internal disk that you may write to",
            ) from exc


def _layout(settings: Settings) -> list[Path]:
    local = ("baselines", "1w", "1m", "3m", "6m", "12m")
    return [
        *(settings.training_data / name for name in ("raw", "processed", "exports")),
        *(settings.models / "local" / name for name in local),
        *(settings.models / name for name in ("vertex-ai", "bqml", "mlflow")),
        *(settings.logs / name for name in ("training", "ingestion", "deployment")),
    ]


ENVIRONMENT: dict[str, str] = {
    "CBI_STATE_DIR": "state_dir",
    "CBI_V14_REPO": "repo",
    "CBI_V14_TRAINING_DATA": "training_data",
    "CBI_V14_MODELS": "models",
    "CBI_V14_LOGS": "logs",
    "EXTERNAL_DRIVE": "volume",
    "CBI_PROFILE": "profile",
    "CBI_TRAINER_MEMORY_MIB": "trainer_memory_mib",
    "CBI_GOVERNOR": "governor",
    "CBI_THREADS": "threads",
    "CBI_GRACE_S": "grace_s",
    "CBI_BACKOFF_S": "backoff_s",
    "CBI_POLL_S": "poll_s",
    "CBI_VOLUME_CHECK_S": "volume_check_s",
    "CBI_HOST": "host",
    "CBI_PORT": "port",
    "CBI_LOG_MAX_BYTES": "log_max_bytes",
    "CBI_LOG_KEEP": "log_keep",
    "CBI_KEEP_DAYS": "keep_days",
    "CBI_SAMPLE_S": "sample_s",
    "CBI_THERMAL_KEY": "thermal_key",
    "CBI_SENSORS_SCRIPT": "sensors_script",
}
"""Environment variable -> field. CBI_CONFIG names the TOML file itself."""

_RANGES: dict[str, tuple[float, float]] = {
    "trainer_memory_mib": (0, 1_048_576),
    "threads": (1, 1024),
    "grace_s": (0.1, 45.0),
    "backoff_s": (0.0, 3600.0),
    "poll_s": (0.01, 0.15),
    "volume_check_s": (0.1, 60.0),
    "port": (1, 65535),
    "log_max_bytes": (1_000, 1_000_000_000),
    "log_keep": (0, 100),
    "keep_days": (1, 3650),
    "sample_s": (0.2, 60.0),
}
_CHOICES: dict[str, tuple[str, ...]] = {"governor": ("on", "watch", "off")}
_PATHS = frozenset({"state_dir", "repo", "training_data", "models", "logs", "volume", "sensors_script"})
_INTEGERS = frozenset({"threads", "port", "log_max_bytes", "log_keep", "keep_days"})


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings: environment over TOML over defaults.

    Raises:
        SettingsError: on an unreadable file, an unknown key, or a value out of its range.
    """
    env = os.environ if environ is None else environ
    config_file, from_file = _read_config(env)
    values: dict[str, Any] = {**from_file, **_from_environment(env)}
    runtimes = _runtimes(values.pop("runtimes", {}), config_file)
    checked = {name: _convert(name, value, source) for name, (value, source) in values.items()}
    return Settings(**_with_defaults(checked), runtimes=runtimes, config_file=config_file)


def _read_config(env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    named = env.get("CBI_CONFIG")
    path = _absolute("CBI_CONFIG", named) if named else _default_config_path()
    if not path.exists():
        if named:
            raise SettingsError(f"CBI_CONFIG names {path}, which does not exist", hint="write it, or unset CBI_CONFIG")
        return None, {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"cannot read settings from {path}: {exc}") from exc
    known = {f.name for f in fields(Settings)} - {"config_file"}
    if unknown := sorted(set(table) - known):
        raise SettingsError(f"{path}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return path, {name: (value, str(path)) for name, value in table.items()}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    return {name: (env[variable], variable) for variable, name in ENVIRONMENT.items() if env.get(variable)}


def _runtimes(value: Any, config_file: Path | None) -> dict[str, str]:
    table, source = value if isinstance(value, tuple) else (value, config_file)
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise SettingsError(f"{source}: [runtimes] maps a backend to the path of a Python, got {table!r}")
    return {name: str(Path(path).expanduser()) for name, path in table.items()}


def _convert(name: str, value: Any, source: str) -> Any:
    if name in _PATHS:
        return _absolute(f"{source}: {name}", value)
    if name in _RANGES:
        return _number(name, value, source)
    if not isinstance(value, str):
        raise SettingsError(f"{source}: {name} must be text, got {value!r}")
    if value not in _CHOICES.get(name, (value,)):
        raise SettingsError(f"{source}: {name} is {value!r}; allowed: {', '.join(_CHOICES[name])}")
    return value


def _number(name: str, value: Any, source: str) -> float | int:
    low, high = _RANGES[name]
    kind = int if name in _INTEGERS else float
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    rounded = isinstance(value, float) and number != value
    if number is None or rounded or isinstance(value, bool) or not low <= number <= high:
        what = "a whole number from " if kind is int else ""
        raise SettingsError(f"{source}: {name} is {value!r}; allowed is {what}{low:,} to {high:,}")
    return number


def _absolute(what: str, value: Any) -> Path:
    if not isinstance(value, str) or not value.isprintable():
        raise SettingsError(f"{what} must be a path without control characters, got {value!r}")
    try:
        path = Path(value).expanduser()
    except RuntimeError as exc:
        raise SettingsError(f"{what} is {value!r}, and there is no such user") from exc
    if not path.is_absolute():
        raise SettingsError(f"{what} is {value!r}; an absolute path is needed, because a service has no working folder")
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


def _default_config_path() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_dir("cbi-queue", appauthor=False)) / "config.toml"
