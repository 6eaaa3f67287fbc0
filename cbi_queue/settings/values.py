"""What can be set: one frozen `Settings`, the places that follow from it, and their folders.

Two places, on purpose. *State* (the ledger, telemetry, lock, token, daemon log, backups) lives on the internal disk by
the platform's convention, because SQLite's WAL is not safe on exFAT or a network disk. *Data, models and training
logs* live under the repo root, with the seed's directory layout, and may be on an external volume, which must
really be mounted: it is never created as a plain folder. Where values come from is not known here. Neighbour:
`sources`, which reads them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
        return (self.config_file or default_config_path()).parent / "profiles"

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


def default_config_path() -> Path:
    """Return where the TOML file lies by the platform's convention, whether or not it is there."""
    import platformdirs

    return Path(platformdirs.user_config_dir("cbi-queue", appauthor=False)) / "config.toml"
