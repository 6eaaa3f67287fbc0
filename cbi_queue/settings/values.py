"""The settings: one frozen `Settings`, and the paths and folders that follow from it.

There are two places. *State* (ledger, telemetry, lock, token, daemon log, backups) is on the internal disk, where the
platform keeps such files, because SQLite's WAL is not safe on exFAT or a network disk. *Data, models and training logs*
are below the repo root and may be on an external volume, which must really be mounted: it is never created as a plain
folder.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.errors import SettingsError, VolumeMissing
from cbi_queue.settings.state_folder import keep_private

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, with its unit, its environment variable, its default and the reason for it."""

    state_dir: Path
    """Ledger, lock, token, daemon log. CBI_STATE_DIR. Default: the platform's state folder, internal disk."""
    repo: Path
    """Root of data, models and logs. CBI_V14_REPO. Default: EXTERNAL_DRIVE/Projects/CBI-V14, else ~/CBI-V14."""
    training_data: Path
    """raw/, processed/, exports/. CBI_V14_TRAINING_DATA. Default: repo/TrainingData."""
    models: Path
    """local/, vertex-ai/, bqml/, mlflow/. CBI_V14_MODELS. Default: repo/Models."""
    logs: Path
    """training/, ingestion/, deployment/. CBI_V14_LOGS. Default: repo/Logs."""
    volume: Path | None = None
    """Mount point that must be mounted before the repo is used. EXTERNAL_DRIVE. Default: none."""
    profile: str = "auto"
    """Hardware profile: auto (by the machine), a shipped one, or your own file in profiles/ beside the TOML file.
    CBI_PROFILE."""
    trainer_memory_mib: float = 0.0
    """MiB that a trainer may map for data and heap (RLIMIT_DATA), 0 for no limit. CBI_TRAINER_MEMORY_MIB. Libraries and
    their threads map much memory that they never use, so this is not a budget; it ends a runaway trainer before the
    machine swaps."""
    governor: str = "on"
    """What the thermal and memory governor may do: on; watch (record decisions, carry out none); off (only sample).
    CBI_GOVERNOR."""
    heat_ladder: tuple[str, ...] = ("pace", "micro_batch", "pause")
    """What the governor may do against heat, in this order: pace, micro_batch, pause; each at most once. A list in the
    TOML file. CBI_HEAT_LADDER, separated by commas. Default: all three; a pause comes last because it does no work."""
    foreign_gpu: str = "wait"
    """When another program holds memory of the GPU, a net may wait or train beside it. CBI_FOREIGN_GPU. NVIDIA only."""
    foreign_gpu_mib: float = 500.0
    """MiB of the GPU's memory that other programs hold in all, from which that counts. CBI_FOREIGN_GPU_MIB. A desktop's
    helpers hold some hundred."""
    threads: int = 1
    """Threads of the trainer (OMP_NUM_THREADS). CBI_THREADS. Default: all cores but two; both cores of a machine with
    two, because the daemon itself needs almost none."""
    trainer_environment: tuple[str, ...] = field(default_factory=tuple)
    """Environment variables that trainers get beside those that libraries need, by name. CBI_TRAINER_ENVIRONMENT, with
    commas between. Default: none, so that no password of the shell that started the daemon reaches a trainer."""
    grace_s: float = 20.0
    """Seconds that a trainer has to checkpoint before SIGKILL. CBI_GRACE_S. Well within the 60 s of the service
    manager."""
    backoff_s: float = 30.0
    """Seconds before the first retry after an error; doubles each time, at most an hour. CBI_BACKOFF_S."""
    poll_s: float = 0.1
    """Seconds between checks of the ledger while idle or supervising. CBI_POLL_S. 0.1 starts a job at once and costs
    about 0.2 % of a core."""
    volume_check_s: float = 2.0
    """Seconds between checks that the volume is mounted. CBI_VOLUME_CHECK_S."""
    tracking: str = "on"
    """Whether finished runs are written to MLflow's store in models/mlflow while the daemon runs: on, off. CBI_TRACKING.
    Without the package mlflow nothing is written, and nothing is lost: `cbi-queue track` catches up."""
    tracking_gather_s: float = 600.0
    """Seconds that an ended run waits at most for others while the slot works, so that they are written together.
    CBI_TRACKING_GATHER_S. Most of the cost is MLflow's start. When the slot has nothing to do, runs are written at once."""
    host: str = "127.0.0.1"
    """Address of the status page. CBI_HOST. Loopback; another needs `other_machines`."""
    port: int = 8000
    """Port of the status page. CBI_PORT."""
    page_reading: str = "auto"
    """Who may read the page: auto (everybody on a loopback where no other account could connect, else whoever has a
    right), token (only whoever has a right), open (whoever can connect). CBI_PAGE_READING."""
    other_machines: str = "refuse"
    """Whether `host` may be an address that other machines can reach: refuse, allow. CBI_OTHER_MACHINES. There is no
    encryption."""
    log_max_bytes: int = 5_000_000
    """Bytes at which a log rolls over. CBI_LOG_MAX_BYTES."""
    log_keep: int = 3
    """Number of rolled-over logs that are kept. CBI_LOG_KEEP."""
    keep_days: int = 90
    """Days that telemetry is kept. CBI_KEEP_DAYS. Daily backups of the ledger are kept for two weeks."""
    sample_s: float = 2.0
    """Seconds between readings of the sensors. CBI_SAMPLE_S. Heat and memory change over tens of seconds; a reading of
    all sensors costs about 2 ms."""
    thermal_key: str = "com.apple.system.thermalpressurelevel"
    """notify(3) key of the thermal pressure on macOS. CBI_THERMAL_KEY. Default: Apple's. To test the chain without
    root, name a key that any user may post."""
    sensors_script: Path | None = None
    """Trace that every sensor replays instead of measuring, for tests and demos. CBI_SENSORS_SCRIPT. Default: none."""
    forecast_at: str = "off"
    """Time of day at which every data set is forecast: 18:00 in this machine's time zone, or 18:00 America/Chicago; off.
    CBI_FORECAST_AT. Off until it is wanted. A day that was missed while the daemon was down is made up for once."""
    forecast_max_age: int = 5
    """Trading days that the newest row may be old before a forecast is refused. CBI_FORECAST_MAX_AGE. A week, so that
    holidays and a late export are no reason; where rows are further apart, rows that are missing by now."""
    retrain: str = "ask"
    """What happens when errors or drift say that a model should be trained again: ask (say so, with the command) or
    enqueue. CBI_RETRAIN. Training for hours is not begun without consent."""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Interpreter per backend, TOML table [runtimes]. A backend without an entry uses the runtime installed by
    `cbi-queue runtime install`, else this Python."""
    config_file: Path | None = None
    """The TOML file that was read, if any."""

    @property
    def ledger_path(self) -> Path:
        """The queue's database."""
        return self.state_dir / "ledger.db"

    @property
    def telemetry_path(self) -> Path:
        """Per-epoch rows and samples; no job depends on it."""
        return self.state_dir / "telemetry.db"

    @property
    def lock_path(self) -> Path:
        """The slot: the process that holds its flock may train."""
        return self.state_dir / "slot.lock"

    @property
    def hashes_path(self) -> Path:
        """SHA-256 of large exports, so that they need not be read at each look; may be deleted."""
        return self.state_dir / "export-hashes.json"

    @property
    def checks_path(self) -> Path:
        """What was found in exports, by their content; may be deleted."""
        return self.state_dir / "export-checks.json"

    @property
    def token_path(self) -> Path:
        """Secret that the API requires for changes; readable by the owner only."""
        return self.state_dir / "api-token"

    @property
    def page_origin(self) -> str:
        """Scheme, host and port of the status page, for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared with
        return f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{self.port}"

    @property
    def page_url(self) -> str:
        """Address of the status page, for a browser on this machine."""
        return f"{self.page_origin}/status"

    @property
    def daemon_log_path(self) -> Path:
        """The daemon's own log, on the internal disk."""
        return self.state_dir / "daemon.log"

    @property
    def backup_dir(self) -> Path:
        """Folder of the backups of the ledger."""
        return self.state_dir / "backups"

    @property
    def runtimes_dir(self) -> Path:
        """Folder of the runtimes installed by `cbi-queue runtime install`."""
        return self.state_dir / "runtimes"

    @property
    def exports_dir(self) -> Path:
        """Folder of the exports: training data in Parquet, one file per horizon."""
        return self.training_data / "exports"

    @property
    def processed_dir(self) -> Path:
        """The feature cache."""
        return self.training_data / "processed"

    @property
    def training_log_dir(self) -> Path:
        """Folder of the training logs, one per attempt."""
        return self.logs / "training"

    @property
    def profiles_dir(self) -> Path:
        """The user's own hardware profiles, one TOML file each."""
        return (self.config_file or default_config_path()).parent / "profiles"

    def interpreter_for(self, backend: str) -> str:
        """Return the Python for trainers of *backend*: the one that is set, else installed for it, else our own."""
        installed = self.runtimes_dir / backend / "bin" / "python"
        return self.runtimes.get(backend) or (str(installed) if installed.exists() else sys.executable)

    def require_volume(self) -> None:
        """Check that the volume, if one is configured, is mounted.

        Raises:
            VolumeMissing: when it is absent, or a plain folder.
        """
        if self.volume is not None and not os.path.ismount(self.volume):
            seen, hint = "absent", "connect the disk, or unset EXTERNAL_DRIVE to keep data on this disk"
            if self.volume.is_symlink():
                target = os.path.realpath(self.volume)
                seen, hint = (
                    f"a link to {target}, not a mount",
                    f"set EXTERNAL_DRIVE to {target}, if the disk is mounted there",
                )
            elif os.path.exists(self.volume):  # noqa: PTH110 - as ismount
                seen = "a plain folder, not a mount"
            raise VolumeMissing(f"the data volume {self.volume} is {seen}; nothing was created there", hint=hint)

    def make_layout(self) -> None:
        """Create the folders of data, models and logs below the repo, and the state folder.

        Raises:
            VolumeMissing: before anything is created, when the volume is not mounted.
        """
        self.make_state_dir()
        self.require_volume()
        for folder in _layout(self):
            folder.mkdir(parents=True, exist_ok=True)

    def make_state_dir(self) -> None:
        """Create the state folder, accessible to its owner only; close one that others can read.

        Raises:
            VolumeMissing: when the folder is on the volume and the volume is not mounted.
            SettingsError: when it cannot be created, or belongs to another user.
        """
        if self.volume is not None and self.state_dir.is_relative_to(self.volume):
            self.require_volume()
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            keep_private(self.state_dir, self.token_path)
        except OSError as exc:
            raise SettingsError(
                f"cannot create the state folder {self.state_dir}, or keep it private: {exc.strerror}",
                hint="set CBI_STATE_DIR to a folder on the internal disk that you may write to",
            ) from exc


def _layout(settings: Settings) -> list[Path]:
    local = ("baselines", "scripts", "1w", "1m", "3m", "6m", "12m")
    return [
        *(settings.training_data / name for name in ("raw", "processed", "exports")),
        *(settings.models / "local" / name for name in local),
        *(settings.models / name for name in ("vertex-ai", "bqml", "mlflow")),
        *(settings.logs / name for name in ("training", "ingestion", "deployment")),
    ]


def default_config_path() -> Path:
    """Return the path of the TOML file by the platform's convention, whether or not it exists."""
    import platformdirs

    return Path(platformdirs.user_config_dir("cbi-queue", appauthor=False)) / "config.toml"
