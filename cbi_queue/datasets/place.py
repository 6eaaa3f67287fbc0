"""Where the files of a data set are. Pure.

The default data set keeps the folders `exports/` and `processed/` of the training data. Any other has the same two
folders below `datasets/NAME/`. Its export is one file a horizon, or a single one that serves every horizon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "default"
"""The data set of a plan that names none."""
ROOM = "datasets"
DESCRIPTION_NAME = "dataset.json"
"""In the folder of the exports."""
ONE_FOR_ALL = "production_training_data.parquet"
"""The export that serves every horizon without a file of its own."""


def of_dataset(default_folder: Path, dataset: str) -> Path:
    """Return the folder of *dataset* that corresponds to *default_folder*, the one of the default data set."""
    if dataset == DEFAULT:
        return default_folder
    return default_folder.parent / ROOM / dataset / default_folder.name


def export_name(horizon: str) -> str:
    """Return the file name of *horizon*'s own export."""
    return f"production_training_data_{horizon}.parquet"


def export_path(exports_dir: Path, horizon: str) -> Path:
    """Return the path of the export that *horizon* reads: its own, else the one for all; its own when neither exists."""
    own, shared = exports_dir / export_name(horizon), exports_dir / ONE_FOR_ALL
    return shared if shared.is_file() and not own.is_file() else own


def exports_in(exports_dir: Path) -> list[Path]:
    """Return every export in the folder of one data set, by name."""
    return sorted(
        path for path in exports_dir.glob("production_training_data*.parquet") if not path.name.startswith(".")
    )


def every_exports_dir(default_folder: Path) -> list[Path]:
    """Return the folder of the exports of every data set that has one, the default one first."""
    named = sorted(default_folder.parent.glob(f"{ROOM}/*/{default_folder.name}"))
    return [folder for folder in [default_folder, *named] if folder.is_dir()]


def dataset_names(default_folder: Path) -> list[str]:
    """Return the name of every data set that has a folder for its exports, the default one first."""
    return [DEFAULT if folder == default_folder else folder.parent.name for folder in every_exports_dir(default_folder)]


def manifest_path(processed_dir: Path, horizon: str) -> Path:
    """Return the path of the manifest of *horizon*'s feature cache."""
    return processed_dir / f"{horizon}_features.manifest.json"
